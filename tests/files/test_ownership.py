"""Whose a configuration file is: in sticky folders, in real user namespaces, and of other users."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.cli_tools import COMMAND
from tests.support.sandbox import Sandbox

NAMESPACE = ["unshare", "--user", "--map-user=1000"]  # every other owner is unmapped in it
STRANGER = 12345

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another user")


@functools.cache
def _why_no_namespace() -> str:
    try:
        done = subprocess.run([*NAMESPACE, "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "there is no unshare here"
    return "" if done.returncode == 0 else f"unshare --user: {done.stderr.strip()}"


in_namespace = pytest.mark.skipif(bool(_why_no_namespace()), reason=_why_no_namespace() or "never")


def _site(folder: Path, *, owner: int, mode: int = 0o644, folder_mode: int = 0o755) -> Path:
    folder.mkdir()
    folder.chmod(folder_mode)
    file = folder / "config.yaml"
    file.write_text("llm: {max_tokens: 5}\n")
    file.chmod(mode)
    os.chown(file, owner, owner)
    return file


def _get(sandbox: Sandbox, site: Path, *prefix: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": "/usr/bin:/bin",
        "MODE": "local",
        "HOME": str(sandbox.home),
        "STIGMER_SITE_CONFIG": str(site),
    }
    return subprocess.run(
        [*prefix, COMMAND, "config", "get", "llm.max_tokens"],
        cwd=sandbox.project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@as_root
@in_namespace
def test_an_unmapped_owner_counts_as_root(sandbox: Sandbox) -> None:
    """In a user namespace the machine's own files show the overflow user id as their owner."""
    site = _site(sandbox.root / "etc", owner=STRANGER)
    os.chown(site.parent, STRANGER, STRANGER)
    assert _get(sandbox, site).returncode == 1  # outside it is another user's
    done = _get(sandbox, site, *NAMESPACE)
    assert (done.returncode, done.stdout) == (0, "5\n"), done.stderr


@as_root
@in_namespace
def test_a_file_of_an_unmapped_owner_that_we_can_write_is_not_roots(sandbox: Sandbox) -> None:
    """Others can write it, too."""
    site = _site(sandbox.root / "etc", owner=STRANGER, mode=0o666)
    done = _get(sandbox, site, *NAMESPACE)
    assert (done.returncode, "belongs to another user" in done.stderr) == (1, True), done.stderr


def test_a_file_of_ones_own_in_a_sticky_folder_passes(sandbox: Sandbox) -> None:
    """Nobody else can replace it there: `/tmp`, `/nix/store`."""
    site = _site(sandbox.root / "store", owner=os.getuid(), folder_mode=0o1777)
    done = _get(sandbox, site)
    assert (done.returncode, done.stdout) == (0, "5\n"), done.stderr
    site.parent.chmod(0o777)
    done = _get(sandbox, site)
    assert (done.returncode, f"chmod go-w '{site.parent}'" in done.stderr) == (1, True)


@as_root
def test_a_link_of_another_user_in_a_sticky_folder_does_not_pass(sandbox: Sandbox) -> None:
    """Whoever owns the link chooses the file."""
    site = _site(sandbox.root / "etc", owner=0)
    store = sandbox.root / "store"
    store.mkdir()
    store.chmod(0o1777)
    link = store / "config.yaml"
    link.symlink_to(site)
    assert _get(sandbox, link).returncode == 0
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    assert _get(sandbox, link).returncode == 1


@as_root
def test_no_hint_takes_a_file_from_its_owner(sandbox: Sandbox) -> None:
    """A mounted home is its owner's on the machine outside, too: the hint names the read-only mount."""
    site = _site(sandbox.root / "mounted", owner=STRANGER, mode=0o664)
    done = _get(sandbox, site)
    assert done.returncode == 1
    assert "chown" not in done.stderr
    assert "mount it read-only" in done.stderr
