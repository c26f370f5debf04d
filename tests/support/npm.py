"""Installing what a test needs from npm, once for all of pytest's processes."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest


def install(folder: Path, lock: Path) -> None:
    """Runs `npm ci` in `folder` unless that was done; skips the test where Node is missing."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node is not installed")
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = folder / "node_modules" / ".package-lock.json"
        if done.exists() and done.stat().st_mtime >= (folder / "package-lock.json").stat().st_mtime:
            return
        ran = subprocess.run(["npm", "ci"], cwd=folder, capture_output=True, text=True, check=False, timeout=600)
        if ran.returncode and not os.environ.get("CI"):
            pytest.skip(f"npm ci does not work here: {ran.stderr.strip().splitlines()[-1:]}")
        assert ran.returncode == 0, ran.stderr
        done.touch()
