"""Runs the tests of what depends on versions on other Pythons, with the lowest and with the locked dependencies.

    python -m tests.support.versions [PYTHON-DEPENDENCIES]…      e.g. 3.12-lowest 3.13-locked

Without arguments: every pair but that of `make test`, which runs all tests. A pair is skipped with a note where this
machine has no such Python or cannot install the packages. The exit status is 1 when a test failed. The environments
are kept in .venvs/.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable
from pathlib import Path

from .paths import REPOSITORY

LOCKS = {"lowest": "requirements-lowest.lock", "locked": "requirements.lock"}
VERSIONS = ("3.11", "3.12", "3.13")
# `make test` covers this Python with the locked dependencies.
OWN = f"{sys.version_info.major}.{sys.version_info.minor}-locked"
PAIRS = [pair for python in VERSIONS for lock in LOCKS if (pair := f"{python}-{lock}") != OWN]
# What these tests need besides the package and two of its extras: a tenth of what is locked.
EXTRAS = ("etcd", "metrics")
PACKAGES = (
    *("hatchling", "editables", "pytest", "pytest-xdist", "hypothesis"),
    *("opentelemetry-sdk", "opentelemetry-exporter-prometheus"),
)
# Types, threads, forks, files, watching, packaging; and what calls each dependency.
TESTS = (
    *("tests/core", "tests/config", "tests/files/watch", "tests/files/test_atomic_write.py"),
    *("tests/settings/test_apps.py", "tests/sources/yaml"),
    *("tests/live/test_forks.py", "tests/live/test_close.py", "tests/integrations/test_metrics.py"),
    *("tests/test_api.py", "tests/test_packaging.py"),
)
# Slow, and about the kernel, the command or this package's own source: the same with every version.
LEFT_OUT = (
    "tests/config/test_config.py::TestFingerprint::test_it_differs_exactly_when_a_value_that_is_no_secret_does",
    "tests/config/test_config.py::TestSeedNames",
    "tests/core/test_decoding.py::test_no_other_module_builds_a_typed_decoder",
    "tests/core/test_environment.py",
    "tests/core/test_problems.py::test_no_command_shows_a_secret_of_a_faulty_file",
    "tests/files/test_atomic_write.py::test_any_system_call_that_fails_leaves_the_old_file_or_the_new_one",
    "tests/files/test_atomic_write.py::test_two_hundred_writers_lose_nothing",
    "tests/files/watch/test_watcher.py::test_random_damage_is_followed_by_polling_alone",
    "tests/files/watch/test_watcher.py::test_random_damage_is_followed_with_the_sweep",
    "tests/files/watch/test_watcher.py::test_two_hundred_lives_leave_nothing_behind",  # those of workers are run
)
SAME_EXAMPLES = {"CI": "true"}  # each time: a difference is one of versions
INSTALL_SECONDS = 300
TEST_SECONDS = 1200


def interpreter(version: str) -> str | None:
    """A Python of this version: one on the path, or one of pyenv's, whose commands on the path may not run."""
    candidates = [shutil.which(f"python{version}"), *Path.home().glob(f".pyenv/versions/{version}.*/bin/python")]
    for candidate in filter(None, candidates):
        command = [str(candidate), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.stdout.strip() == version:
            return str(candidate)
    return None


def has_uv() -> bool:
    """Whether uv is here and runs: it installs faster than pip."""
    found = shutil.which("uv")
    return found is not None and subprocess.run([found, "-V"], capture_output=True, check=False).returncode == 0


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(lock: str) -> str:
    """The part of a lock that these tests need, with its hashes."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [*project["dependencies"], *(one for extra in EXTRAS for one in project["optional-dependencies"][extra])]
    return pinned(lock, (re.split(r"[^\w.-]", one)[0] for one in (*named, *PACKAGES)))


def pinned(lock: str, packages: Iterable[str]) -> str:
    """The part of a lock with some packages and what they depend on in turn, with its hashes."""
    needed = set(map(_canonical, packages))
    text = (REPOSITORY / lock).read_text(encoding="utf-8")
    # (name, its pin with hashes, what needs it); a package may have a pin for each Python.
    pins = [
        (pin.split("==")[0], pin, set(re.findall(r"^    #(?: via|  ) (\S+)", pin, re.MULTILINE)))
        for pin in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    ]
    while more := {name for name, _, users in pins if users & needed} - needed:
        needed |= more
    return "".join(pin for name, pin, _ in pins if name in needed)


def environment(pair: str, base: str) -> str:
    """The interpreter of an environment with these dependencies, made from `base` where there is none yet.

    Raises `CalledProcessError` or `TimeoutExpired` when it cannot be made, with what the installer wrote.
    """
    return made(pair, requirements(LOCKS[pair.partition("-")[2]]), base)


def made(name: str, lock: str, base: str, *, with_pip: bool = True, with_package: bool = True) -> str:
    """The interpreter of the environment `name`, with the packages of a lock and this one.

    Without pip there is nothing else in it, not even setuptools, which runs code at each start of an interpreter.
    Raises the errors of `environment`.
    """
    folder = REPOSITORY / ".venvs" / name
    python, stamp, wanted = folder / "bin" / "python", folder / "made-from", folder / "requirements.txt"
    made_from = (lock, (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"), str(REPOSITORY), base)
    digest = hashlib.sha256("\0".join(made_from).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return str(python)
    shutil.rmtree(folder, ignore_errors=True)
    if has_uv():
        make = ["uv", "venv", "-q", *(["--seed"] if with_pip else []), "--python", base, str(folder)]
        install = ["uv", "pip", "install", "-q", "--python", str(python), "--no-deps"]
    else:
        make = [base, "-m", "venv", *([] if with_pip else ["--without-pip"]), str(folder)]
        pip = [str(python), "-m", "pip"] if with_pip else [sys.executable, "-m", "pip", "--python", str(python)]
        install = [*pip, "install", "-q", "--no-deps", "--no-compile"]
    _run(make)
    wanted.write_text(lock)
    _run([*install, "--require-hashes", "-r", str(wanted)])
    if with_package:
        _run([*install, "--no-build-isolation", "-e", "."])
    stamp.write_text(digest)
    return str(python)


def why_not(error: subprocess.SubprocessError) -> str:
    """The message of an installer that failed, or that it took too long."""
    wrote = getattr(error, "stderr", None)
    lines = wrote.splitlines() if isinstance(wrote, str) else []
    return " ".join(line for line in lines if not line.startswith("WARNING")) or str(error)


def _run(command: list[str]) -> None:
    subprocess.run(command, cwd=REPOSITORY, check=True, timeout=INSTALL_SECONDS, capture_output=True, text=True)


def row(pair: str) -> tuple[bool, str]:
    """Whether a pair passed or was skipped, and its line of the table."""
    base = interpreter(pair.partition("-")[0])
    if base is None:
        return True, "skipped: there is no such Python here"
    began = time.monotonic()
    try:
        python = environment(pair, base)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        return True, f"skipped: its packages cannot be installed here: {why_not(error)}"
    made = time.monotonic()
    command = [python, "-m", "pytest", "-p", "no:cacheprovider", *TESTS, *(f"--deselect={one}" for one in LEFT_OUT)]
    try:
        done = subprocess.run(
            command,
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, **SAME_EXAMPLES},
            timeout=TEST_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        return False, str(error)
    if done.returncode:
        print(done.stdout)  # noqa: T201
    counts = [line for line in done.stdout.splitlines() if " passed" in line or " failed" in line]
    count = counts[-1] if counts else f"status {done.returncode}"
    return done.returncode == 0, f"{count}, environment {made - began:.0f} s"


def main(pairs: list[str]) -> int:
    """The table: a line for each pair."""
    failed = False
    for pair in pairs:
        passed, line = row(pair)
        failed |= not passed
        print(f"{pair:<12} {line}", flush=True)  # noqa: T201
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or PAIRS))
