"""Runs the tests of what depends on versions on other Pythons, with the lowest and with the locked dependencies.

    python -m tests.support.versions [PYTHON-DEPENDENCIES]…      e.g. 3.12-lowest 3.13-locked

Without arguments: every pair but that of `make test`, which runs all tests. What is not on this machine (uv, an
interpreter) is skipped with a note; an environment that cannot be made is a failure. The exit status is 1 when
something failed. The environments are kept in .venvs/.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from .paths import REPOSITORY

LOCKS = {"lowest": "requirements-lowest.lock", "locked": "requirements.lock"}
VERSIONS = ("3.11", "3.12", "3.13")
# Of `make test` are this Python and the locked dependencies.
OWN = f"{sys.version_info.major}.{sys.version_info.minor}-locked"
PAIRS = [pair for python in VERSIONS for lock in LOCKS if (pair := f"{python}-{lock}") != OWN]
# What these tests need besides the package and two of its extras: a tenth of what is locked.
PACKAGES = (
    *("hatchling", "editables", "pytest", "pytest-xdist", "hypothesis"),
    *("opentelemetry-sdk", "opentelemetry-exporter-prometheus"),
)
# Types, threads, forks, files, watching, packaging; and what calls each dependency.
TESTS = [
    *("tests/core", "tests/config", "tests/files", "tests/settings/test_apps.py", "tests/sources/yaml"),
    *("tests/live/test_forks.py", "tests/live/test_close.py", "tests/integrations/test_metrics.py"),
    *("tests/test_api.py", "tests/test_packaging.py"),
]
SAME_EXAMPLES = {"CI": "true"}  # each time: a difference is one of versions


def interpreter(version: str) -> str | None:
    """A Python of this version: one on the path, or one of pyenv's, whose commands on the path may not run."""
    candidates = [shutil.which(f"python{version}"), *Path.home().glob(f".pyenv/versions/{version}.*/bin/python")]
    for candidate in filter(None, candidates):
        asked = [str(candidate), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        if done.stdout.strip() == version:
            return str(candidate)
    return None


def environment(pair: str) -> str | None:
    """The interpreter of an environment with these dependencies. None when there is no such Python.

    Raises `CalledProcessError` when it cannot be made: a package that is not found, or no index to ask.
    """
    version, _, lock = pair.partition("-")
    base = interpreter(version)
    if base is None:
        return None
    folder = REPOSITORY / ".venvs" / pair
    python, stamp = folder / "bin" / "python", folder / "made-from"
    made_from = [(REPOSITORY / name).read_bytes() for name in (LOCKS[lock], "pyproject.toml")]
    digest = hashlib.sha256(b"".join([*made_from, *(name.encode() for name in PACKAGES)])).hexdigest()
    if not stamp.exists() or stamp.read_text() != digest:
        install = ["uv", "pip", "install", "-q", "--python", str(python), "--constraint", LOCKS[lock]]
        for command in (
            ["uv", "venv", "-q", "--seed", "--clear", "--python", base, str(folder)],
            [*install, "-r", "pyproject.toml", "--extra", "etcd", "--extra", "metrics", *PACKAGES],
            [*install, "--no-deps", "--no-build-isolation", "-e", "."],
        ):
            subprocess.run(command, cwd=REPOSITORY, check=True, timeout=600)
        stamp.write_text(digest)
    return str(python)


def row(pair: str) -> tuple[bool, str]:
    """Whether a pair passed, and its line of the table."""
    try:
        python = environment(pair)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        return False, f"the environment could not be made: {error}"
    if python is None:
        return True, "skipped: there is no such Python here"
    began = time.monotonic()
    done = subprocess.run(
        [python, "-m", "pytest", "-p", "no:cacheprovider", *TESTS],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, **SAME_EXAMPLES},
    )
    if done.returncode:
        print(done.stdout)  # noqa: T201
    counts = [line for line in done.stdout.splitlines() if " passed" in line or " failed" in line]
    count = counts[-1] if counts else f"status {done.returncode}"
    return done.returncode == 0, f"{count} ({time.monotonic() - began:.0f} s with the start)"


def main(pairs: list[str]) -> int:
    """The table: a line for each pair."""
    if shutil.which("uv") is None:
        print("versions: skipped, there is no uv here")  # noqa: T201
        return 0
    failed = False
    for pair in pairs:
        passed, line = row(pair)
        failed |= not passed
        print(f"{pair:<14} {line}", flush=True)  # noqa: T201
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or PAIRS))
