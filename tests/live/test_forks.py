"""Forks: what a child has, how it follows, and that it never hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from stigmer_config import Config, LiveConfig
from tests.support.live_tools import DEADLINE, Calls, living, save, takes, until, world
from tests.support.sandbox import Sandbox

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="forks, and looks into /proc"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]
FORKS = int(os.environ.get("STIGMER_FORKS", "3"))  # of a storm; `make fuzz` makes 300


def in_child(work: Callable[[], object], timeout: int = 30) -> int:
    """Runs `work` in a fork of this process. Its exit status: 0 when it returned something true."""
    child = os.fork()
    if child == 0:
        signal.alarm(timeout)
        status = 1
        try:
            status = 0 if work() else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def published(sandbox: Sandbox) -> set[Path]:
    return set((sandbox.root / "run").rglob("*.json"))


def program(sandbox: Sandbox, code: str, *argv: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """A Python program in the sandbox."""
    sandbox.write(user="mode: local\n")
    environment = {
        "HOME": str(sandbox.home),
        "PATH": os.defpath,
        "XDG_RUNTIME_DIR": str(sandbox.root / "run"),
        "XDG_CONFIG_DIRS": str(sandbox.root / "xdg"),
    }
    return subprocess.run(
        [sys.executable, "-c", code, *argv],
        cwd=sandbox.project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


# -- a child that follows --------------------------------------------------------------------------------------------


def test_a_child_follows_by_itself(sandbox: Sandbox) -> None:
    """With `follow_forks` it takes changes, calls the parent's subscribers, and publishes a state of its own."""
    with living(sandbox, follow_forks=True) as live:
        calls, never = Calls(), Calls()
        live.subscribe(calls, "llm.timeout")
        unsubscribe = live.subscribe(never)
        parents = published(sandbox)

        def child() -> bool:
            unsubscribe()
            good = live.status.watching == "native" and len(published(sandbox)) == 2
            save(sandbox.user_file, "mode: local\nllm: {timeout: 1}\n")
            takes(live, timeout=1.0)
            good &= calls.reaches(1) and calls.keys == [{"llm.timeout"}] and not never.seen
            own = Calls()
            live.subscribe(own, "llm.max_tokens")
            save(sandbox.user_file, "mode: local\nllm: {timeout: 1, max_tokens: 5}\n")
            good &= own.reaches(1) and live.reload().config.llm.max_tokens == 5  # type: ignore[union-attr]
            live.restart()  # nothing to do
            live.close()
            return good and published(sandbox) == parents

        assert in_child(child) == 0
        takes(live, max_tokens=5)  # and so does the parent
        assert never.reaches(1)
        assert published(sandbox) == parents


def test_children_of_children_follow(sandbox: Sandbox) -> None:
    """A daemon forks twice."""
    with living(sandbox, follow_forks=True) as live:

        def grandchild() -> bool:
            save(sandbox.user_file, "mode: local\nllm: {timeout: 3}\n")
            return bool(takes(live, timeout=3.0)) and len(published(sandbox)) == 3

        assert in_child(lambda: in_child(grandchild) == 0) == 0


def test_a_child_of_a_closed_one_stays_closed(sandbox: Sandbox) -> None:
    with living(sandbox, follow_forks=True) as live:
        pass
    assert in_child(lambda: live.status.watching == "stopped" and live.current.llm.model) == 0


def test_a_subscriber_that_was_not_called_before_the_fork_is_called_in_the_child(sandbox: Sandbox) -> None:
    """It is still in an earlier call, which the fork cuts off: the child repeats that call, with the newest Config."""
    with living(sandbox, follow_forks=True) as live:
        called, may_end = threading.Event(), threading.Event()
        seen: list[float | None] = []

        def slow(new: Config, _changes: object) -> None:
            seen.append(new.llm.timeout)
            called.set()
            may_end.wait(DEADLINE)

        live.subscribe(slow)
        save(sandbox.user_file, "mode: local\nllm: {timeout: 1}\n")
        assert called.wait(DEADLINE)
        save(sandbox.user_file, "mode: local\nllm: {timeout: 2}\n")
        takes(live, timeout=2.0)
        status = in_child(lambda: until(lambda: seen == [1.0, 2.0]))
        may_end.set()
        assert status == 0
        assert until(lambda: seen == [1.0, 2.0])


def test_a_callback_may_fork(sandbox: Sandbox) -> None:
    """Its child follows, and does not call it again for the same change, which would fork for ever."""
    with living(sandbox, follow_forks=True) as live:
        statuses: list[int] = []
        calls: list[float | None] = []

        def fork(new: Config, _changes: object) -> None:
            calls.append(new.llm.timeout)
            if new.llm.timeout == 1.0:
                statuses.append(in_child(child))

        def child() -> bool:
            save(sandbox.user_file, "mode: local\nllm: {timeout: 2}\n")
            return until(lambda: calls == [1.0, 2.0])

        live.subscribe(fork)
        save(sandbox.user_file, "mode: local\nllm: {timeout: 1}\n")
        assert until(lambda: statuses)
        assert statuses == [0]
        assert until(lambda: calls == [1.0, 2.0])


# -- a child that does not -------------------------------------------------------------------------------------------

NOT_FOLLOWING = """
import os, subprocess, sys, time
from stigmer_config import LiveConfig
live = LiveConfig.start()
child = os.fork()
if child == 0:
    ACT
    os._exit(0)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize(
    ("act", "times"),
    [
        ("[(live.current, time.sleep(0.1)) for _ in range(15)]", 1),
        ("live.restart(); time.sleep(1.0)", 0),
        ("live.close(); time.sleep(1.0)", 0),
        ("os.execv(sys.executable, [sys.executable, '-c', 'import time; time.sleep(1)'])", 0),
    ],
)
def test_a_child_that_does_not_follow_says_so_once(sandbox: Sandbox, act: str, times: int) -> None:
    """With the fix; not when it restarts, closes, or becomes another program."""
    done = program(sandbox, NOT_FOLLOWING.replace("ACT", act))
    lines = [line for line in done.stderr.splitlines() if '"config.not_following"' in line]
    assert (done.returncode, len(lines)) == (0, times), done.stderr
    assert all("follow_forks=True" in line and "live.restart()" in line for line in lines)


def test_a_child_restarts_with_its_provider_check(sandbox: Sandbox) -> None:
    """What the parent checks, a child that restarted checks, too."""
    with living(sandbox, check=True) as live:

        def child() -> bool:
            live.restart()
            return live._readiness is not None and live._readiness._thread is None

        assert in_child(child) == 0


# -- a storm ---------------------------------------------------------------------------------------------------------

# A worker whose stderr is a pipe that is only read by the child. Its argument: how many forks.
STORM = """
import logging, os, pathlib, signal, sys, threading
from stigmer_config import LiveConfig
LOGGER
file = pathlib.Path.home() / ".stigmer" / "config.yaml"
reader, writer = os.pipe()
stderr = os.dup(2)
os.dup2(writer, 2)
sys.stderr = sys.__stderr__ = open(2, "w", buffering=1, closefd=False)

def drain():
    os.set_blocking(reader, False)
    while True:
        try:
            os.read(reader, 65536)
        except BlockingIOError:
            return

def fill():
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(writer, True)

def write(number):
    new = file.with_suffix(".new")
    new.write_text(f"mode: local\\nllm: {{timeout: {number}}}\\n")
    new.chmod(0o600)
    new.replace(file)

live = LiveConfig.start(follow_forks=FOLLOW)
for number in range(1, int(sys.argv[1]) + 1):
    drain()
    live.reload()   # waits for the watcher, which logs the change before this one
    fill()
    write(number)
    live.wait_for(lambda c: c.llm.timeout == number, 30)   # the watcher is about to log that, or hangs in it
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        live.current
        live.status
        drain()
        live.restart()
        live.wait_for(lambda c: c.llm.timeout == number, 30)
        live.subscribe(lambda *_: None)
        live.reload()
        logging.getLogger("app").error("a line of the program's own")
        print("another", file=sys.stderr)
        live.close()
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        os.write(stderr, f"fork {number}: {status}\\n".encode())
        os._exit(1)
os._exit(0)
"""
LOGGERS = {
    "its own": "",
    "structlog": "import structlog\nstructlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))",
    "logging": "logging.basicConfig()",
}


@pytest.mark.parametrize(
    ("logger", "follow"), [("its own", False), ("its own", True), ("structlog", False), ("logging", True)]
)
def test_a_storm_of_forks_under_a_full_stderr(sandbox: Sandbox, logger: str, follow: bool) -> None:
    """Whatever the parent's threads were doing, each child reads, restarts, follows, logs and ends."""
    code = STORM.replace("LOGGER", LOGGERS[logger]).replace("FOLLOW", str(follow))
    done = program(sandbox, code, str(FORKS), timeout=120 + 20 * FORKS)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_child_runs_a_secrets_command_that_a_lost_thread_was_running(sandbox: Sandbox) -> None:
    """A child replaces the lock by which a command runs only once."""
    with living(sandbox) as live:
        kept = live._follower._reloader._secrets
        with kept._running:
            assert in_child(lambda: kept._running.acquire(timeout=5)) == 0


def test_a_fork_at_the_start_waits_for_it(sandbox: Sandbox) -> None:
    """Another thread is starting a LiveConfig: the child has it whole, or nothing of it."""
    ended = threading.Event()

    def start() -> None:
        while not ended.is_set():
            with LiveConfig.start(environment=world(sandbox.write(user="mode: local\n")), follow_forks=True):
                pass

    thread = threading.Thread(target=start)
    thread.start()
    try:
        for _ in range(10):
            assert in_child(lambda: True) == 0
    finally:
        ended.set()
        thread.join()
