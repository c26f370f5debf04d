"""The end, forks, and everything that must not be left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stigmer_config import Closed, Forked, LiveConfig, Reloaded
from stigmer_config.live.log_events import Reporter
from stigmer_config.loading.request import request
from stigmer_config.reload.reloader import Reloader
from stigmer_config.workers import local_workers
from stigmer_config.workers import publish as published_module
from tests.support.live_tools import DEADLINE, Calls, living, logged, resources, save, takes, until, world
from tests.support.sandbox import Sandbox

linux = pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")


def published(sandbox: Sandbox) -> list[Path]:
    return sorted((sandbox.root / "run").rglob("*.json"))


# -- close -----------------------------------------------------------------------------------------------------------


@linux
def test_two_hundred_lives_leave_nothing_behind(sandbox: Sandbox) -> None:
    """No thread, no descriptor and no state file stays, however often it starts and however soon it ends."""
    with living(sandbox) as live:
        live.subscribe(lambda *_: None)
    before = resources()
    for number in range(200):
        with living(sandbox) as live:
            live.subscribe(lambda *_: None)
            if number % 20 == 0:
                save(sandbox.user_file, f"mode: local\nllm: {{timeout: {number + 1}}}\n")
                takes(live, timeout=number + 1.0)
        assert live.status.watching == "stopped"
    assert resources() == before
    assert published(sandbox) == []


@linux
def test_a_start_that_fails_leaves_nothing_behind(sandbox: Sandbox) -> None:
    """A configuration that is not good costs neither a thread nor a descriptor."""
    sandbox.write(user="mode: local\nllm: [")
    before = resources()
    for _ in range(20):
        with pytest.raises(ValueError, match="yaml-syntax"):
            LiveConfig.start(environment=world(sandbox))
    assert resources() == before


def test_current_stays_readable_and_unchanged(sandbox: Sandbox) -> None:
    """After closing, `current` is the last Config, and no later file changes it."""
    with living(sandbox) as live:
        save(sandbox.user_file, "mode: local\nllm: {timeout: 1}\n")
        last = takes(live, timeout=1.0)
    save(sandbox.user_file, "mode: local\nllm: {timeout: 2}\n")
    live.close()
    assert live.current is last
    assert live.status.generation == 2


def test_no_callback_begins_after_close_and_a_running_one_is_waited_for(sandbox: Sandbox) -> None:
    """`close()` returns when the callback that runs has ended, and the next in line is not called."""
    with living(sandbox) as live:
        begun, ended = threading.Event(), threading.Event()
        never = Calls()

        def slow(*_: object) -> None:
            begun.set()
            until(lambda: live._subscribers._closed)
            ended.set()

        live.subscribe(slow)
        live.subscribe(never)
        save(sandbox.user_file, "mode: local\nllm: {timeout: 1}\n")
        assert begun.wait(DEADLINE)
        live.close()
        assert ended.is_set()
    assert not never.seen


@linux
def test_it_may_be_closed_in_a_callback(sandbox: Sandbox) -> None:
    """`close()` in a callback does not wait for itself; whoever closes it besides waits for the end."""
    sandbox.write(user="mode: local\n")
    before = resources()
    with living(sandbox) as live:
        never = Calls()
        closed = threading.Event()

        def close(*_: object) -> None:
            live.close()
            closed.set()

        live.subscribe(close)
        live.subscribe(never)
        save(sandbox.user_file, "mode: local\nllm: {timeout: 1}\n")
        assert closed.wait(DEADLINE)
    assert not never.seen
    assert resources() == before


@linux
def test_many_threads_may_close_it_while_others_reload(sandbox: Sandbox) -> None:
    """Closing and reloading from all sides at once ends, raises nothing but `Closed`, and leaves nothing."""
    sandbox.write(user="mode: local\n")
    before = resources()
    for _ in range(10):
        faults: list[Exception] = []
        with living(sandbox) as live:
            live.subscribe(lambda *_, live=live: live.reload())

            def busy(live: LiveConfig = live, faults: list[Exception] = faults) -> None:
                try:
                    for number in range(1000):
                        sandbox.user_file.write_text(f"mode: local\nllm: {{timeout: {number + 1}}}\n")
                        live.reload()
                except Closed:
                    pass
                except Exception as error:  # noqa: BLE001 - whatever it is, there should be none
                    faults.append(error)

            threads = [threading.Thread(target=busy) for _ in range(3)]
            for thread in threads:
                thread.start()
            takes_one = until(lambda live=live: live.current.generation > 2)  # type: ignore[misc]
            closing = [threading.Thread(target=live.close) for _ in range(4)]
            for thread in closing:
                thread.start()
            for thread in (*threads, *closing):
                thread.join(DEADLINE)
                assert not thread.is_alive()
        assert takes_one
        assert not faults
    assert resources() == before
    assert published(sandbox) == []


@linux
@pytest.mark.parametrize("in_watcher", [True, False])
def test_whoever_logs_may_close_and_reload(sandbox: Sandbox, in_watcher: bool) -> None:
    """A log sink is called in the middle of a reload: there, reload() and close() do not hang."""
    sandbox.write(user="mode: local\n")
    before = resources()
    holder: list[LiveConfig] = []
    done = threading.Event()

    class Sink(Reporter):
        def reloaded(self, *_: object) -> None:
            holder[0].reload()
            holder[0].close()
            done.set()

    live = LiveConfig(reloader(sandbox), Sink())
    holder.append(live)
    live.begin()
    live.subscribe(lambda *_: live.reload())
    if in_watcher:
        save(sandbox.user_file, "mode: local\nllm: {timeout: 1}\n")
    else:
        with live._follower._lock:
            save(sandbox.user_file, "mode: local\nllm: {timeout: 1}\n")
            assert isinstance(live.reload(), Reloaded)
    assert done.wait(DEADLINE)
    assert until(lambda: resources() == before)
    assert published(sandbox) == []


def reloader(sandbox: Sandbox) -> Reloader:
    return Reloader(request(environment=world(sandbox)))


def test_a_signals_handler_may_reload_and_close(sandbox: Sandbox) -> None:
    """SIGHUP → reload(), SIGTERM → close(), whatever the main thread is doing, in the middle of a reload too."""
    with living(sandbox) as live:
        signal.signal(signal.SIGUSR1, lambda *_: live.reload())
        signal.signal(signal.SIGUSR2, lambda *_: live.close())
        done = threading.Event()

        def pester() -> None:
            for _ in range(300):
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
                time.sleep(0.0003)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR2)
            done.set()

        thread = threading.Thread(target=pester)
        thread.start()
        try:
            number = 0
            while not done.is_set():
                number += 1
                save(sandbox.user_file, f"mode: local\nllm: {{timeout: {number}}}\n")
                live.reload()
        except Closed:
            pass
        thread.join()
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        signal.signal(signal.SIGUSR2, signal.SIG_DFL)
        assert until(lambda: live.status.watching == "stopped")
        assert live.current.generation > 1


# -- the process ends ------------------------------------------------------------------------------------------------

NEVER_CLOSED = """
import pathlib, sys, threading
from stigmer_config import LiveConfig
live = LiveConfig.start(mode="local")
live.subscribe(lambda *_: threading.Event().wait())   # stuck for ever
pathlib.Path(sys.argv[1]).write_text("mode: local\\nllm: {timeout: 1}\\n")
live.wait_for(lambda c: c.llm.timeout == 1.0, 30)
print(live.status.watching)
"""


def program(sandbox: Sandbox, code: str, *argv: str) -> subprocess.CompletedProcess[str]:
    """A Python program in the sandbox."""
    environment = {
        "HOME": str(sandbox.home),
        "PATH": os.defpath,
        "XDG_RUNTIME_DIR": str(sandbox.root / "run"),
        "XDG_CONFIG_DIRS": str(sandbox.root / "xdg"),
        "PYTHONWARNINGS": "error",
    }
    return subprocess.run(
        [sys.executable, "-c", code, *argv],
        cwd=sandbox.project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_program_that_never_closes_it_ends_all_the_same(sandbox: Sandbox) -> None:
    """The interpreter exits without delay and output, and removes the state file."""
    sandbox.write(user="mode: local\n")
    done = program(sandbox, NEVER_CLOSED, str(sandbox.user_file))
    assert (done.returncode, done.stdout) == (0, "native\n")
    assert [line for line in done.stderr.splitlines() if not line.startswith('{"timestamp"')] == []
    assert published(sandbox) == []


# -- forks -----------------------------------------------------------------------------------------------------------


def in_child(work: Callable[[], object]) -> int:
    """Runs `work` in a fork of this process. Its exit status: 0 when it returned something true."""
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        status = 1
        try:
            status = 0 if work() else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@linux
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_reads_and_says_what_it_cannot(sandbox: Sandbox) -> None:
    """In a child `current` reads and `status` says stopped; everything else raises `Forked`; close() is harmless."""
    with living(sandbox) as live:
        calls = Calls()
        unsubscribe = live.subscribe(calls)
        locks = [live._follower._lock, live._subscribers._wake, live._waiters._lock]

        def refuses(act: Callable[[], object]) -> bool:
            try:
                act()
            except Forked:
                return True
            return False

        def child() -> bool:
            good = live.current.llm.model == "qwen2.5-coder:7b" and live.status.watching == "stopped"
            good &= refuses(lambda: live.subscribe(calls)) and refuses(live.reload)
            good &= refuses(lambda: live.wait_for(lambda _: True))
            good &= refuses(lambda: live.wait_for_async(lambda _: True).send(None))
            good &= refuses(live.changes)
            unsubscribe()
            live.close()
            return good

        for lock in locks:  # held while it forks: a child that waited for one would hang
            lock.acquire()  # type: ignore[attr-defined]
        try:
            assert in_child(child) == 0
        finally:
            for lock in locks:
                lock.release()  # type: ignore[attr-defined]
        assert len(published(sandbox)) == 1
        save(sandbox.user_file, "mode: local\nllm: {timeout: 1}\n")
        assert calls.reaches(1)
        assert live.status.watching == "native"


@linux
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_may_begin_again(sandbox: Sandbox) -> None:
    """`restart()` follows the files in the child, without the parent's subscriptions, with a state file of its own."""
    with living(sandbox) as live:
        calls = Calls()
        live.subscribe(calls)
        save(sandbox.project_file, "llm: {max_retries: 1}\n")
        takes(live, max_retries=1)
        parents = published(sandbox)

        def child() -> bool:
            save(sandbox.user_file, "mode: local\nllm: {timeout: 1}\n")  # between the fork and the restart
            live.restart()
            live.restart()
            own = Calls()
            live.subscribe(own, "llm.max_tokens")
            takes(live, timeout=1.0)
            save(sandbox.user_file, "mode: local\nllm: {timeout: 1, max_tokens: 5}\n")
            good = own.reaches(1) and len(own.seen) == 1 and live.status.watching == "native"
            good &= len(published(sandbox)) == 2 and len(calls.seen) <= 1
            live.close()
            return good and published(sandbox) == parents

        assert in_child(child) == 0
        assert published(sandbox) == parents
        takes(live, max_tokens=5)  # the parent follows as before
        assert calls.reaches(2)
    with pytest.raises(Closed):
        live.restart()


@linux
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_in_the_middle_of_reloads_loses_nothing(sandbox: Sandbox) -> None:
    """Whatever the parent's thread was doing when it forked, a child that restarts ends up with what is on disk."""
    with living(sandbox) as live:
        ended = threading.Event()

        def write() -> None:
            number = 0
            while not ended.is_set():
                number += 1
                save(sandbox.user_file, f"mode: local\nllm: {{timeout: {number}}}\n")

        writer = threading.Thread(target=write)
        writer.start()

        def child() -> bool:
            live.restart()
            save(sandbox.project_file, "llm: {max_retries: 7}\n")
            return bool(takes(live, max_retries=7))

        try:
            for _ in range(20):
                sandbox.project_file.unlink(missing_ok=True)
                assert in_child(child) == 0
        finally:
            ended.set()
            writer.join()


def test_a_child_that_never_asks_leaves_the_parents_file_alone(sandbox: Sandbox) -> None:
    """A fork that ends by itself, atexit and all, removes nothing."""
    code = """
import os, sys
from stigmer_config import LiveConfig
live = LiveConfig.start(mode="local")
child = os.fork()
if child == 0:
    sys.exit(0)          # runs atexit
os.waitpid(child, 0)
run = os.environ["XDG_RUNTIME_DIR"] + "/stigmer/workers"
print(len([name for name in os.listdir(run) if name.endswith(".json")]))
"""
    assert program(sandbox, code).stdout == "1\n"


# -- the state file --------------------------------------------------------------------------------------------------


def test_an_unwritable_runtime_folder_does_not_stop_the_worker(sandbox: Sandbox) -> None:
    """Something else is at its path: one event reports it once, and the worker works."""
    (sandbox.root / "run").write_text("a file")
    sandbox.write(user="mode: local\n")
    with logged() as events, living(sandbox) as live:
        for number in (1, 2, 3):
            save(sandbox.user_file, f"mode: local\nllm: {{timeout: {number}}}\n")
            takes(live, timeout=float(number))
            live.reload()
        assert live.status.last_error is None
    assert [event["event"] for event in events].count("config.state_unpublished") == 1


@pytest.mark.parametrize("call", ["open", "replace"])
def test_a_full_disk_does_not_stop_the_worker(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """ENOSPC while the state is written: the worker continues, leaves no partial file, and publishes again later."""

    class Full:
        """`os`, with a disk that is full."""

        def __getattr__(self, name: str) -> object:
            if name == call:
                raise OSError(28, "No space left on device")
            return getattr(os, name)

    with living(sandbox) as live:
        [path] = published(sandbox)
        with monkeypatch.context() as patch:
            patch.setattr(published_module, "os", Full())
            save(sandbox.user_file, "mode: local\nllm: {timeout: 1}\n")
            takes(live, timeout=1.0)
            with live._follower._lock:
                assert sorted(entry.name for entry in path.parent.iterdir()) == [path.name, f"{path.stem}.lock"]
        save(sandbox.user_file, "mode: local\nllm: {timeout: 2}\n")
        takes(live, timeout=2.0)
        assert until(lambda: [worker.generation for worker in local_workers.running(world(sandbox))] == [3])
