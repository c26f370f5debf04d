"""mypy over a user's program; basedpyright reads the same files in `make check`."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY

ROOT = REPOSITORY


@pytest.mark.parametrize("name", ["right", "wrong"])
def test_mypy_strict_agrees_with_a_users_program(name: str, tmp_path: Path) -> None:
    """Every type is as it is written, every mistake is one, and nothing is Any by accident."""
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), f"tests/typing/{name}.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_the_programs_can_be_imported() -> None:
    """What is checked exists at run time, too."""
    assert importlib.import_module("tests.typing.right").loading
    assert importlib.import_module("tests.typing.wrong").arguments_have_types
