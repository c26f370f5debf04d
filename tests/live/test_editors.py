"""Saves by real programs: each is taken once, whole, and none is rejected on the way."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stigmer_config import Config, LiveConfig
from stigmer_config.files import stable_read as settled
from tests.support.live_tools import living, logged, save, takes, until
from tests.support.sandbox import Sandbox


def needs(*names: str) -> pytest.MarkDecorator:
    missing = [name for name in names if shutil.which(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed here: {', '.join(missing)}")


def text(number: int) -> str:
    return f"mode: local\nllm:\n  timeout: {number}\n# the end\n"


class Terminal:
    """A program on a terminal of its own, in tmux."""

    def __init__(self, folder: Path, command: str, home: Path) -> None:
        self._socket = str(folder / "tmux")
        environment = {"PATH": os.defpath, "HOME": str(home), "TERM": "xterm", "LC_ALL": "C.UTF-8"}
        self._environment = environment
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", command)

    def _tmux(self, *argv: str) -> str:
        command = ["tmux", "-S", self._socket, *argv]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False).stdout

    def types(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def shows(self, what: str) -> bool:
        return until(lambda: what in self._tmux("capture-pane", "-p"))

    def end(self) -> None:
        self._tmux("kill-server")


@contextlib.contextmanager
def terminal(sandbox: Sandbox, command: str) -> Iterator[Terminal]:
    window = Terminal(sandbox.root, command, sandbox.home)
    try:
        yield window
    finally:
        window.end()


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may pause a program between its two steps for longer than 0.1 s."""
    monkeypatch.setattr(settled, "GRACE", 1.0)


@contextlib.contextmanager
def each_save_once(sandbox: Sandbox, saves: int) -> Iterator[LiveConfig]:
    """A LiveConfig for which so many saves happen: as many reloads, none rejected."""
    sandbox.write(user=text(100))
    with logged() as events, living(sandbox) as live:
        yield live
        takes(live, timeout=float(100 + saves))
        generation = live.current.generation
        live.reload()
    assert [event["event"] for event in events] == ["config.loaded", *["config.reloaded"] * saves]
    assert generation == 1 + saves


# How vim writes: in place; by a new file that is renamed, the old one being the backup; with a backup copy; and
# with undo and swap files beside it, as people have it.
VIM = [
    "set nobackup nowritebackup",
    "set backup backupcopy=no",
    "set backup backupcopy=yes",
    "set nobackup writebackup backupcopy=auto swapfile undofile",
]


@needs("vim", "tmux")
@pytest.mark.parametrize("settings", VIM)
def test_vim(sandbox: Sandbox, settings: str) -> None:
    """Three saves in one session of vim, by each of its ways to write."""
    with (
        each_save_once(sandbox, 3) as live,
        terminal(sandbox, f"vim -u NONE -c '{settings}' {sandbox.user_file}") as window,
    ):
        assert window.shows("the end")
        for number in (101, 102, 103):
            window.types(f":%s/1\\d\\d/{number}/", "Enter", ":w", "Enter")
            takes(live, timeout=float(number))
        window.types(":q", "Enter")


@needs("nano", "tmux")
@pytest.mark.parametrize("options", ["", "-B"])
def test_nano(sandbox: Sandbox, options: str) -> None:
    """Two saves in one session of nano, without a backup and with one."""
    with (
        each_save_once(sandbox, 2) as live,
        terminal(sandbox, f"nano -I {options} +3,12 {sandbox.user_file}") as window,
    ):
        assert window.shows("the end")
        for number in (101, 102):
            window.types("End", "BSpace", str(number % 10), "C-s")
            takes(live, timeout=float(number))
        window.types("C-x")


def sed(path: Path, number: int) -> None:
    subprocess.run(["sed", "-i", f"s/timeout: .*/timeout: {number}/", str(path)], check=True)


def copy(path: Path, number: int) -> None:
    other = path.with_name("other.yaml")
    other.write_text(text(number))
    subprocess.run(["cp", str(other), str(path)], check=True)


def move(path: Path, number: int) -> None:
    other = path.with_name("other.yaml")
    other.write_text(text(number))
    other.chmod(0o600)
    subprocess.run(["mv", str(other), str(path)], check=True)


def redirect(path: Path, number: int) -> None:
    script = 'printf "%s" "$1" > "$2"'
    subprocess.run(["/bin/sh", "-c", script, "sh", text(number), str(path)], check=True)


def install(path: Path, number: int) -> None:
    other = path.with_name("other.yaml")
    other.write_text(text(number))
    subprocess.run(["install", "-m", "600", str(other), str(path)], check=True)


@pytest.mark.parametrize("program", [sed, copy, move, redirect, install])
def test_commands_that_write(sandbox: Sandbox, program: Callable[[Path, int], None]) -> None:
    """`sed -i`, `cp`, `mv`, a shell's `>` and `install`: five saves, five reloads."""
    with each_save_once(sandbox, 5) as live:
        for number in range(101, 106):
            program(sandbox.user_file, number)
            takes(live, timeout=float(number))


@needs("git")
def test_git_checkout(sandbox: Sandbox) -> None:
    """Switching between branches with and without a project's file, there and back: each time once."""
    shutil.rmtree(sandbox.project / ".git")

    def git(*argv: str) -> None:
        settings = ("-c", "user.name=n", "-c", "user.email=e@example.com", "-c", "init.defaultBranch=none")
        subprocess.run(
            ["git", *settings, *argv],
            cwd=sandbox.project,
            env={"PATH": os.defpath, "HOME": str(sandbox.home)},
            check=True,
            capture_output=True,
        )

    git("init")
    (sandbox.project / "README").write_text("x")
    git("add", ".")
    git("commit", "-m", "empty")
    for number in (1, 2):
        git("checkout", "-b", f"b{number}", "none")
        save(sandbox.project_file, f"llm:\n  max_retries: {number}\n")
        git("add", ".")
        git("commit", "-m", f"branch {number}")
    with logged() as events, living(sandbox) as live:
        assert live.current.llm.max_retries == 2
        for branch, retries in (("b1", 1), ("none", None), ("b2", 2), ("b1", 1), ("none", None), ("b1", 1)):
            git("checkout", branch)
            takes(live, max_retries=retries)
    assert [event["event"] for event in events] == ["config.loaded", *["config.reloaded"] * 6]


def test_our_own_set(sandbox: Sandbox) -> None:
    """`stigmer config set` is one save, too."""
    with each_save_once(sandbox, 2) as live:
        for number in (101, 102):
            done = sandbox.run("set", "llm.timeout", str(number))
            assert done.returncode == 0, done.stderr
            takes(live, timeout=float(number))


def test_a_slow_writer_is_waited_for(sandbox: Sandbox) -> None:
    """A program that writes a file piece by piece, with pauses, makes one reload: when it closes it."""
    with each_save_once(sandbox, 1) as live:
        seen: list[Config] = []
        live.subscribe(lambda new, _: seen.append(new))
        with sandbox.user_file.open("w") as file:
            for line in text(101).splitlines(keepends=True):
                file.write(line)
                file.flush()
                end = time.monotonic() + 0.15
                assert not until(lambda: live.current.generation > 1, end - time.monotonic())
        takes(live, timeout=101.0)
    assert [config.llm.timeout for config in seen] == [101.0]
