"""Runs the tests of what depends on versions on other Pythons, with the lowest and with the locked dependencies.

    python -m tests.support.versions [PYTHON-DEPENDENCIES]…      e.g. 3.12-lowest 3.13-locked

Without arguments: every pair. What is not on this machine (uv, an interpreter) is skipped with a note. The exit status
is 1 when a test fails. The environments are kept in .venvs/.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

from .paths import REPOSITORY

LOCKS = {"lowest": "requirements-lowest.lock", "locked": "requirements.lock"}
PAIRS = [f"{python}-{lock}" for python in ("3.11", "3.12", "3.13") for lock in LOCKS]
# Types, threads, forks, files, watching; and what calls each dependency.
TESTS = [
    *("tests/core", "tests/config", "tests/files/watch", "tests/files/test_access.py", "tests/test_api.py"),
    *("tests/live/test_forks.py", "tests/live/test_close.py", "tests/live/test_log_events.py"),
    *("tests/sources/yaml", "tests/sources/etcd/test_layer.py", "tests/integrations/test_metrics.py"),
]


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
    """The interpreter of an environment with these dependencies. None when there is no such Python."""
    version, _, lock = pair.partition("-")
    base = interpreter(version)
    if base is None:
        return None
    folder = REPOSITORY / ".venvs" / pair
    python, stamp = folder / "bin" / "python", folder / "lock"
    digest = hashlib.sha256((REPOSITORY / LOCKS[lock]).read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != digest:
        install = ["uv", "pip", "install", "-q", "--python", str(python)]
        for command in (
            ["uv", "venv", "-q", "--seed", "--clear", "--python", base, str(folder)],
            [*install, "--require-hashes", "-r", LOCKS[lock]],
            [*install, "--no-deps", "--no-build-isolation", "-e", "."],
        ):
            subprocess.run(command, cwd=REPOSITORY, check=True)
        stamp.write_text(digest)
    return str(python)


def main(pairs: list[str]) -> int:
    """The table: a line for each pair."""
    if shutil.which("uv") is None:
        print("versions: skipped, there is no uv here")  # noqa: T201
        return 0
    failed, rows = False, []
    for pair in pairs:
        python = environment(pair)
        if python is None:
            rows.append(f"{pair:<14} skipped: there is no such Python here")
            continue
        began = time.monotonic()
        done = subprocess.run(
            [python, "-m", "pytest", "-p", "no:cacheprovider", *TESTS],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        failed |= done.returncode != 0
        if done.returncode:
            print(done.stdout)  # noqa: T201
        counts = [line for line in done.stdout.splitlines() if " passed" in line or " failed" in line]
        rows.append(
            f"{pair:<14} {counts[-1] if counts else f'status {done.returncode}'} ({time.monotonic() - began:.0f} s)"
        )
    print(*rows, sep="\n")  # noqa: T201
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or PAIRS))
