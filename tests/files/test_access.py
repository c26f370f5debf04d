"""Who can write a file is read from its ACL, too, where it has one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stigmer_config.files.access import READ, WRITE, acl_of, others_may
from tests.support.acls import let_user
from tests.support.sandbox import Sandbox

STRANGER = 4_000_000
SECRET = "providers: {anthropic: {api_key: sk-c4n4ry-file}}\n"


def may(path: Path, permission: int, uid: int = STRANGER + 1) -> bool:
    status = path.stat()
    return others_may(permission, status, acl_of(str(path), status), uid)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("x")
    path.chmod(0o600)
    return path


def test_a_named_user_may_what_the_acl_gives(file: Path) -> None:
    let_user(file, STRANGER)
    assert (may(file, WRITE), may(file, READ)) == (True, True)


def test_a_mask_takes_it_back(file: Path) -> None:
    """`chmod go-w` on a file with an ACL changes its mask."""
    let_user(file, STRANGER)
    file.chmod(0o640)
    assert (may(file, WRITE), may(file, READ)) == (False, True)
    file.chmod(0o600)
    assert (may(file, WRITE), may(file, READ)) == (False, False)


@pytest.mark.parametrize("uid", [0, "owner", STRANGER + 1])
def test_root_the_owner_and_the_user_are_no_others(file: Path, uid: int | str) -> None:
    let_user(file, file.stat().st_uid if isinstance(uid, str) else uid)
    assert (may(file, WRITE), may(file, READ)) == (False, False)


def test_the_mode_alone_would_pass_for_the_private_groups(file: Path) -> None:
    """With an ACL the group bits of the mode are its mask, and say nothing about the group."""
    let_user(file, STRANGER, 2)
    assert file.stat().st_mode & 0o070
    assert (may(file, WRITE), may(file, READ)) == (True, False)


@pytest.mark.parametrize("place", ["file", "folder"])
def test_a_user_file_that_an_acl_opens_is_refused(sandbox: Sandbox, place: str) -> None:
    """The hint is the `chmod` that takes the right from the ACL, and following it is enough."""
    sandbox.write(user="llm: {max_tokens: 77}\n")
    path = sandbox.user_file if place == "file" else sandbox.user_file.parent
    path.chmod(0o700 if place == "folder" else 0o600)
    let_user(path, STRANGER, 7)
    (problem,) = sandbox.problems({"MODE": "local"})
    assert problem.code == "insecure-permissions"
    assert "by its ACL" in problem.message
    assert problem.hint == f"chmod go-w '{path}'"
    path.chmod(path.stat().st_mode & ~0o022)
    assert sandbox.load({"MODE": "local"}).llm.max_tokens == 77


def test_a_secret_that_an_acl_shows_is_refused(sandbox: Sandbox) -> None:
    sandbox.write(user=SECRET)
    let_user(sandbox.user_file, STRANGER, 4)
    assert [problem.code for problem in sandbox.problems({"MODE": "local"})] == ["insecure-permissions"]


def test_a_worker_judges_the_acl_as_well(sandbox: Sandbox) -> None:
    from stigmer_config import LiveConfig, Rejected

    sandbox.write(user="llm: {max_tokens: 77}\n")
    with LiveConfig.start(environment=sandbox.environment({"MODE": "local"})) as live:
        let_user(sandbox.user_file, STRANGER)
        os.utime(sandbox.user_file)
        assert isinstance(live.reload(), Rejected)
        assert live.current.llm.max_tokens == 77
