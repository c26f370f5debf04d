"""Files that are probably meant and not read, and a `STIGMER_HOME` that is no folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from stigmer_config import Problem
from tests.support.sandbox import Sandbox

LOCAL = {"MODE": "local"}


def _put(path: Path) -> Path:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    path.write_text("llm: {max_tokens: 5}\n")
    return path


def _only(sandbox: Sandbox, variables: dict[str, str] | None = None) -> Problem:
    loaded = sandbox.read({**LOCAL, **(variables or {})})
    (problem,) = loaded.problems
    assert (problem.severity, problem.code) == ("warning", "misplaced-file")
    assert loaded.config.llm.max_tokens == 8192  # it was not read
    return problem


@pytest.mark.parametrize("name", ["config.yml", "config.json", "config.toml", "Config.yaml", "CONFIG.YML"])
@pytest.mark.parametrize("place", ["user", "site", "project", "above"])
def test_a_file_with_another_ending_or_case(sandbox: Sandbox, name: str, place: str) -> None:
    """In each folder that is looked at; the hint has the right place."""
    deep = sandbox.project / "src"
    right = {
        "user": sandbox.user_file,
        "site": sandbox.site_file,
        "project": sandbox.project_file,
        "above": sandbox.project_file,
    }[place]
    deep.mkdir()
    wrong = _put(right.with_name(name))
    if place == "above":
        loaded = sandbox.read(LOCAL, project_dir=None)
        assert [problem.code for problem in loaded.problems] == ["misplaced-file"]
        return
    problem = _only(sandbox)
    assert str(problem.origin) == str(wrong)
    assert name in problem.message
    assert str(right) in problem.hint


def test_beside_the_right_file_another_one_is_no_problem(sandbox: Sandbox) -> None:
    """It may be another tool's."""
    sandbox.write(user="llm: {max_tokens: 6}\n")
    _put(sandbox.user_file.with_name("config.json"))
    assert sandbox.problems(LOCAL) == []


def test_the_platforms_config_folder(sandbox: Sandbox) -> None:
    """`~/.config/stigmer/config.yaml` is where other tools have theirs."""
    problem = _only_after(sandbox, sandbox.home / ".config" / "stigmer" / "config.yaml")
    assert str(sandbox.user_file) in problem.hint


def _only_after(sandbox: Sandbox, path: Path) -> Problem:
    _put(path)
    return _only(sandbox)


def test_a_stigmer_home_that_names_the_file(sandbox: Sandbox) -> None:
    """The hint names its folder."""
    file = _put(sandbox.root / "own" / "config.yaml")
    problem = _only(sandbox, {"STIGMER_HOME": str(file)})
    assert "not a folder" in problem.message
    assert problem.hint.endswith(f"STIGMER_HOME={file.parent}")


def test_a_stigmer_home_that_names_nothing(sandbox: Sandbox) -> None:
    """A mistyped one would mean defaults in silence; `init` makes it."""
    variables = {**LOCAL, "STIGMER_HOME": str(sandbox.root / "own")}
    problem = _only(sandbox, variables)
    assert "does not exist" in problem.message
    assert sandbox.run("init", variables=variables).returncode == 0
    assert sandbox.problems(variables) == []


def test_the_right_file_that_appears_meanwhile_is_not_misplaced(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is created between the look at its path and the listing of its folder."""
    folder = sandbox.user_file.parent
    folder.mkdir(mode=0o755)
    scandir = os.scandir

    def late(path: str) -> Any:
        if path == str(folder):
            _put(sandbox.user_file)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", late)
    assert sandbox.read(LOCAL).problems == ()
    assert sandbox.user_file.exists()
