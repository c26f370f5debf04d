"""The corpus of awkward styles in `cases/edit`, through the real command."""

from __future__ import annotations

import shlex

import pytest

from tests.support.paths import TESTS
from tests.support.sandbox import Sandbox

CASES = TESTS / "cases" / "edit"
NAMES = sorted(folder.name for folder in CASES.iterdir() if folder.is_dir())


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_what_the_case_says(sandbox: Sandbox, name: str) -> None:
    """`edit.txt` makes `before.yaml` into `after.yaml`, or is refused where there is none."""
    case = CASES / name
    sandbox.write(user="")
    before = (case / "before.yaml").read_bytes()
    sandbox.user_file.write_bytes(before)
    done = sandbox.run(*shlex.split((case / "edit.txt").read_text("utf-8")), variables={"MODE": "local"})
    now = sandbox.user_file.read_bytes()
    if (case / "after.yaml").exists():
        assert (now, done.returncode) == ((case / "after.yaml").read_bytes(), 0), done.stderr
    else:
        assert (now, done.returncode) == (before, 1), done.stderr
        assert "nothing was written" in done.stderr
    assert sandbox.user_file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in sandbox.user_file.parent.iterdir()] == ["config.yaml"]
