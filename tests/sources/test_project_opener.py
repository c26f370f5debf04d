"""A project's file is opened beneath the project's folder, and is not taken where another user can change it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stigmer_config import LiveConfig
from stigmer_config.loading.load import Loaded
from tests.support.acls import let_user
from tests.support.sandbox import Sandbox

STRANGER = 4_000_000
SETTINGS = "llm: {max_tokens: 77}\n"
OUTSIDE = "llm: {max_tokens: 13}\n"
LOCAL = {"MODE": "local"}

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to give a file to another user")


def status(loaded: Loaded) -> tuple[str, str]:
    layer = next(found for found in loaded.layers if found.name == "project")
    return layer.status, layer.why


def strangers(path: Path) -> None:
    os.chown(path, STRANGER, -1)


def writable(path: Path) -> None:
    path.chmod(path.stat().st_mode | 0o022)


def by_acl(path: Path) -> None:
    let_user(path, STRANGER, 7)


@pytest.mark.parametrize("place", ["file", "folder", "project"])
@pytest.mark.parametrize("spoil", [pytest.param(strangers, marks=as_root), writable, by_acl])
def test_a_file_that_another_user_can_change_is_not_taken(
    sandbox: Sandbox, place: str, spoil: Callable[[Path], None]
) -> None:
    """It breaks nothing: a warning says why, and so does `path`."""
    sandbox.write(project=SETTINGS)
    spoil({"file": sandbox.project_file, "folder": sandbox.project_file.parent, "project": sandbox.project}[place])
    loaded = sandbox.read(LOCAL)
    assert [(problem.severity, problem.code) for problem in loaded.problems] == [("warning", "insecure-permissions")]
    assert loaded.config.llm.max_tokens != 77
    assert status(loaded)[0] == "untrusted"
    shown = sandbox.run("path", variables=LOCAL)
    assert (shown.returncode, "not used" in shown.stdout) == (0, True)
    with LiveConfig.start(environment=sandbox.environment(LOCAL)) as live:
        assert live.current.llm.max_tokens != 77


@as_root
def test_a_strangers_project_above_ones_own_folder(sandbox: Sandbox) -> None:
    """`/tmp/x/.stigmer/config.yaml`, mode 777, of another user, and the victim works in `/tmp/x/victim`."""
    with tempfile.TemporaryDirectory() as shared:
        above = Path(shared)
        above.chmod(0o1777)
        plant = f"mkdir -m 777 {above}/.stigmer; echo '{SETTINGS}' > {above}/.stigmer/config.yaml"
        setpriv = ["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups"]
        subprocess.run([*setpriv, "sh", "-c", plant], check=True)
        (above / "victim").mkdir()
        shown = sandbox.run("get", "llm.max_tokens", variables=LOCAL, cwd=above / "victim")
        assert shown.stdout != "77\n"
        assert "another user" in sandbox.run("path", variables=LOCAL, cwd=above / "victim").stdout


def test_ones_own_file_in_a_sticky_folder_is_taken(sandbox: Sandbox) -> None:
    """In `/tmp` only its owner can replace a file."""
    sandbox.write(project=SETTINGS).project.chmod(0o1777)
    assert sandbox.load(LOCAL).llm.max_tokens == 77


@pytest.mark.parametrize("target", ["real.yaml", "../real.yaml", "./../a/../real.yaml", "ABSOLUTE"])
def test_a_link_within_the_project_is_followed_and_none_of_its_lines_is_shown(sandbox: Sandbox, target: str) -> None:
    text = "llm:\n  max_tokens: 77\n  temperature: much\n"
    sandbox.write(project="").project_file.unlink()
    (sandbox.project / "a").mkdir()
    for folder in (sandbox.project, sandbox.project_file.parent):
        (folder / "real.yaml").write_text(text)
    sandbox.project_file.symlink_to(str(sandbox.project / "real.yaml") if target == "ABSOLUTE" else target)
    (problem,) = sandbox.problems(LOCAL)
    assert (problem.code, problem.excerpt) == ("wrong-type", None)
    assert (problem.origin and problem.origin.source) == str(sandbox.project_file)
    for folder in (sandbox.project, sandbox.project_file.parent):
        (folder / "real.yaml").write_text(SETTINGS)
    assert sandbox.load(LOCAL).llm.max_tokens == 77
    with LiveConfig.start(environment=sandbox.environment(LOCAL)) as live:
        assert live.current.llm.max_tokens == 77


def test_a_linked_folder_within_the_project_is_followed(sandbox: Sandbox) -> None:
    (sandbox.project / "conf").mkdir()
    (sandbox.project / "conf" / "config.yaml").write_text(SETTINGS)
    (sandbox.project / ".stigmer").symlink_to("conf")
    assert sandbox.load(LOCAL).llm.max_tokens == 77


@pytest.mark.parametrize(
    "target", ["../../outside.yaml", "../.git/config.yaml", "../.GIT/config.yaml", "/etc/passwd", "../../project/../x"]
)
def test_no_link_leads_out_of_the_project_or_into_git(sandbox: Sandbox, target: str) -> None:
    sandbox.write(project="").project_file.unlink()
    for path in (sandbox.project.parent / "outside.yaml", sandbox.project / ".git" / "config.yaml"):
        path.write_text(OUTSIDE)
    sandbox.project_file.symlink_to(target)
    loaded = sandbox.read(LOCAL)
    assert [problem.code for problem in loaded.problems] == ["unreadable-file"]
    assert loaded.config.llm.max_tokens != 13


def test_links_without_end_are_an_error(sandbox: Sandbox) -> None:
    sandbox.write(project="").project_file.unlink()
    sandbox.project_file.symlink_to("../.stigmer/config.yaml")
    assert [problem.code for problem in sandbox.problems(LOCAL)] == ["unreadable-file"]


@contextlib.contextmanager
def exchanging(sandbox: Sandbox) -> Iterator[None]:
    """Another process exchanges the project's `.stigmer` with a link to elsewhere, all the time."""
    elsewhere = sandbox.root / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "config.yaml").write_text(OUTSIDE)
    program = (
        "import os, sys\n"
        "a, b, other = sys.argv[1:]\n"
        "os.symlink(other, b)\n"
        "print(flush=True)\n"
        "while True:\n"
        "    os.rename(a, a + '.1'); os.rename(b, a); os.rename(a, b); os.rename(a + '.1', a)\n"
    )
    argv = [
        sys.executable,
        "-c",
        program,
        str(sandbox.project_file.parent),
        str(sandbox.project / "link"),
        str(elsewhere),
    ]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_nothing_outside_is_read_whatever_is_exchanged(sandbox: Sandbox) -> None:
    """29 of 100 loads read the file that the link led to."""
    sandbox.write(project=SETTINGS)
    with exchanging(sandbox):
        found = {sandbox.read(LOCAL).config.llm.max_tokens for _ in range(400)}
    assert 13 not in found
    assert 77 in found


def test_a_worker_reads_nothing_outside_either(sandbox: Sandbox) -> None:
    """Through reloads, by the reads that wait for a writer."""
    sandbox.write(project=SETTINGS)
    seen: set[int | None] = set()
    with LiveConfig.start(environment=sandbox.environment(LOCAL)) as live:
        live.subscribe(lambda config, _changes: seen.add(config.llm.max_tokens))
        with exchanging(sandbox):
            for _ in range(300):
                live.reload()
                seen.add(live.current.llm.max_tokens)
    assert 77 in seen
    assert 13 not in seen
