"""watch/ and settled.py, with the real watcher on the real file system; another process does the damage."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import importlib
import logging
import math
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest
from watchdog.observers.api import BaseObserver, ObservedWatch

try:
    from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, InotifyFD, WatchDescriptor
except ImportError:  # a watchdog with which native.py takes the public observer
    InotifyFD = None  # type: ignore[assignment,misc]

from stigmer_config.files import held_calls
from stigmer_config.files import stable_read as settled
from stigmer_config.files.stable_read import Gone, Settled, StableReader, Unsettled, read_settled
from stigmer_config.files.watch import State, Watcher, os_events
from stigmer_config.files.watch.due_files import DueFiles
from stigmer_config.files.watch.watcher import TICK
from tests.support.paths import REPOSITORY
from tests.support.vandals import BlobVandal, acting, is_whole

OPS = int(os.environ.get("STIGMER_FUZZ_OPS", "80"))
DEADLINE = 10.0  # seconds for what should take milliseconds: only a failure waits for it
NEVER = 3600.0  # a sweep that far away finds nothing: events have to do

private = pytest.mark.skipif(InotifyFD is None, reason="this watchdog has not the names that inotify.py relies on")
linux = pytest.mark.skipif(sys.platform != "linux", reason="inotify, leases and /proc are Linux's")


class Consumer:
    """Follows paths like a worker: reads the reported ones, and requests those again that have not settled."""

    FAULT = b"cannot be read"

    def __init__(self, *paths: Path, poll: float = NEVER) -> None:
        self.held: dict[Path, bytes | None] = {}
        self.told: list[frozenset[Path]] = []
        self.torn: list[bytes] = []
        self.states: list[State] = []
        self.errors: list[BaseException] = []
        self.rests = False  # no file is due
        self.before_read: Callable[[], None] = lambda: None
        self._changed = threading.Condition()
        self._reader = StableReader()
        self.watcher = Watcher(
            paths, self._take, on_state=lambda state, _: self.states.append(state), on_error=self._error, poll=poll
        )

    def __enter__(self) -> Self:
        paths = set(self.watcher._ledger.files)
        self.watcher.start()
        # Each is reported at the start: once, or again shortly after where events of it may get lost.
        self.wait(lambda: self.held.keys() >= paths and (self.rests or not paths))
        return self

    def __exit__(self, *_: object) -> None:
        self.watcher.close()

    def _take(self, paths: frozenset[Path]) -> None:
        with self._changed:
            self.told.append(paths)
            self._changed.notify_all()
        self.before_read()
        for path in paths:
            self._read(path)
        with self._changed:
            self.rests = all(file.due == math.inf for file in self.watcher._ledger.files.values())
            self._changed.notify_all()

    def _read(self, path: Path) -> None:
        content: bytes | None
        try:
            result = self._reader.read(path)
        except OSError:
            content = self.FAULT
        else:
            if isinstance(result, Unsettled):
                self.watcher.request(path, result.retry_in)
                return
            content = result.data if isinstance(result, Settled) else None
        with self._changed:
            if content and content != self.FAULT and not is_whole(content):
                self.torn.append(content)
            self.held[path] = content
            self._changed.notify_all()

    def _error(self, error: BaseException) -> None:
        with self._changed:
            self.errors.append(error)
            self._changed.notify_all()

    def wait(self, condition: Callable[[], bool], timeout: float = DEADLINE) -> bool:
        with self._changed:
            return self._changed.wait_for(condition, timeout)

    def sees(self, path: Path, content: bytes | None, timeout: float = DEADLINE) -> bool:
        return self.wait(lambda: self.held.get(path, b"-") == content, timeout)


def on_disk(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return Consumer.FAULT


def resources() -> tuple[int, list[str]]:
    return threading.active_count(), sorted(os.listdir("/proc/self/fd"))


def inheritable() -> set[int]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the one that listed them
            if os.get_inheritable(int(name)):
                found.add(int(name))
    return found


def until(condition: Callable[[], bool]) -> bool:
    """Polls every millisecond, for conditions without an event."""
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True


# -- what it sees ----------------------------------------------------------------------------------------------------


def replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def backup_and_rename(path: Path, content: bytes) -> None:
    path.replace(path.with_name(f"{path.name}~"))
    path.write_bytes(content)


def delete_and_create(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def hard_link(path: Path, content: bytes) -> None:
    other = path.with_name("other")
    other.write_bytes(content)
    path.unlink()
    os.link(other, path)


def become_link(path: Path, content: bytes) -> None:
    target = path.parent / "elsewhere" / "target"
    target.parent.mkdir()
    target.write_bytes(content)
    path.unlink()
    path.symlink_to(target)


def swap_folder(path: Path, content: bytes) -> None:
    new = path.parent.with_name("new")
    new.mkdir()
    (new / path.name).write_bytes(content)
    path.parent.rename(path.parent.with_name("old"))
    new.rename(path.parent)


def recreate_folder(path: Path, content: bytes) -> None:
    shutil.rmtree(path.parent)
    path.parent.mkdir()
    path.write_bytes(content)


@pytest.mark.parametrize(
    "save",
    [
        Path.write_bytes,
        replace,
        backup_and_rename,
        delete_and_create,
        hard_link,
        become_link,
        swap_folder,
        recreate_folder,
    ],
)
def test_each_way_to_save_is_seen_by_events_alone(tmp_path: Path, save: Callable[[Path, bytes], object]) -> None:
    """Each way to save a file is followed, and so is a plain write after it."""
    path = tmp_path / "folder" / "config.yaml"
    path.parent.mkdir()
    path.write_bytes(b"old")
    with Consumer(path) as consumer:
        save(path, b"new")
        assert consumer.sees(path, b"new")
        path.write_bytes(b"newer")
        assert consumer.sees(path, b"newer")


def test_a_file_far_from_existing_is_noticed_when_it_appears(tmp_path: Path) -> None:
    """Folders that do not exist yet are followed as they are made."""
    path = tmp_path / "a" / "b" / "c" / "config.yaml"
    with Consumer(path) as consumer:
        assert consumer.held[path] is None
        for _ in range(2):
            path.parent.mkdir(parents=True)
            path.write_bytes(b"here")
            assert consumer.sees(path, b"here")
            shutil.rmtree(tmp_path / "a")
            assert consumer.sees(path, None)


def test_a_renamed_parent_takes_the_file_away_and_brings_it_back(tmp_path: Path) -> None:
    """Whatever is renamed on the way to the file counts, and what happened meanwhile too."""
    path = tmp_path / "a" / "b" / "config.yaml"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"one")
    with Consumer(path) as consumer:
        (tmp_path / "a").rename(tmp_path / "z")
        assert consumer.sees(path, None)
        (tmp_path / "z" / "b" / "config.yaml").write_bytes(b"two")
        (tmp_path / "z").rename(tmp_path / "a")
        assert consumer.sees(path, b"two")
        replace(path, b"three")
        assert consumer.sees(path, b"three")


def test_a_config_map_swaps_its_files_in_one_step(tmp_path: Path) -> None:
    """A swap of `..data`, as Kubernetes does it, is followed, time and again."""
    path = tmp_path / "config.yaml"
    path.symlink_to("..data/config.yaml")
    with Consumer(path) as consumer:
        for number in range(5):
            version = tmp_path / f"..{number}"
            version.mkdir()
            content = f"version {number}".encode()
            (version / "config.yaml").write_bytes(content)
            (tmp_path / "..data_tmp").symlink_to(version.name)
            (tmp_path / "..data_tmp").replace(tmp_path / "..data")
            assert consumer.sees(path, content)


def test_links_are_followed_to_their_targets(tmp_path: Path) -> None:
    """A chain of links through `..` and absolute targets is followed; so is a change at its far end."""
    real = tmp_path / "real" / "config.yaml"
    real.parent.mkdir()
    real.write_bytes(b"one")
    (tmp_path / "one").symlink_to(tmp_path / "real")
    (tmp_path / "folder").mkdir()
    path = tmp_path / "folder" / "link"
    path.symlink_to("../one/config.yaml")
    with Consumer(path) as consumer:
        assert consumer.held[path] == b"one"
        real.write_bytes(b"two")
        assert consumer.sees(path, b"two")
        real.parent.rename(tmp_path / "moved")
        assert consumer.sees(path, None)


@pytest.mark.parametrize("target", ["link", "/"])
def test_a_link_that_leads_nowhere_is_waited_out(tmp_path: Path, target: str) -> None:
    """A loop of links, or a link to a folder, is no file, and does no harm."""
    path = tmp_path / "link"
    path.symlink_to(target)
    with Consumer(path) as consumer:
        assert consumer.held[path] == Consumer.FAULT
        path.unlink()
        path.write_bytes(b"a file")
        assert consumer.sees(path, b"a file")


@private
@linux
def test_a_file_moved_out_is_seen_at_once(tmp_path: Path) -> None:
    """A move out of the folder delays nothing: watchdog's own emitter takes 0.5 s."""
    path = tmp_path / "config.yaml"
    path.write_bytes(b"old")
    (tmp_path / "away").mkdir()
    with Consumer(path) as consumer:

        def move_out_and_rewrite(number: int) -> float:
            told, begin = len(consumer.told), time.monotonic()
            path.rename(tmp_path / "away" / "config.yaml")
            assert consumer.wait(lambda: len(consumer.told) > told)
            path.write_bytes(b"%d" % number)
            assert consumer.sees(path, b"%d" % number)
            return time.monotonic() - begin

        assert min(move_out_and_rewrite(number) for number in range(5)) < 0.4


def test_reads_and_unrelated_events_report_nothing(tmp_path: Path) -> None:
    """Our own reads, and events of other files, report nothing."""
    path, last = tmp_path / "config.yaml", tmp_path / "last"
    path.write_bytes(b"x")
    with Consumer(path, last) as consumer:
        told = len(consumer.told)
        for number in range(100):
            assert path.read_bytes() == b"x"
            (tmp_path / f"noise{number}").write_bytes(b"noise")
        last.write_bytes(b"done")
        assert consumer.sees(last, b"done")
        assert frozenset().union(*consumer.told[told:]) == {last}


def test_a_created_file_is_reported_when_it_is_closed(tmp_path: Path) -> None:
    """A new file that is empty is still being written: it would only be read in vain."""
    path, last = tmp_path / "config.yaml", tmp_path / "last"
    with Consumer(path, last) as consumer:
        told = len(consumer.told)
        with path.open("wb") as writer:
            last.write_bytes(b"done")
            assert consumer.sees(last, b"done")
            assert frozenset().union(*consumer.told[told:]) == {last}
            writer.write(b"whole")
        assert consumer.sees(path, b"whole")


def test_what_appears_between_the_walk_and_the_watch_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder created just before its parent's watch raises no event: the path is resolved until nothing changes."""
    path = tmp_path / "a" / "b" / "config.yaml"
    schedule = BaseObserver.schedule

    def late(self: BaseObserver, handler: object, folder: str, **options: object) -> object:
        if folder == str(tmp_path / "a"):
            path.parent.mkdir(exist_ok=True)
        return schedule(self, handler, folder, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(BaseObserver, "schedule", late)
    with Consumer(path) as consumer:
        (tmp_path / "a").mkdir()
        assert until(path.parent.exists)
        path.write_bytes(b"here")
        assert consumer.sees(path, b"here")


def test_paths_come_and_go(tmp_path: Path) -> None:
    """The followed set may change while it runs, also from the callback; removed paths are not reported any more."""
    one, two = tmp_path / "one", tmp_path / "folder" / "two"
    two.parent.mkdir()
    two.write_bytes(b"two")
    with Consumer(one) as consumer:
        consumer.before_read = lambda: consumer.watcher.set_paths([two])
        one.write_bytes(b"one")
        assert consumer.sees(two, b"two")  # reported once, because it may have changed since its owner read it
        told = len(consumer.told)
        one.write_bytes(b"not yours")
        two.write_bytes(b"more")
        assert consumer.sees(two, b"more")
        assert frozenset().union(*consumer.told[told:]) == {two}
    with pytest.raises(ValueError, match="not an absolute path"):
        consumer.watcher.set_paths([Path("relative")])


def test_a_burst_of_saves_is_reported_rarely_and_its_end_always(tmp_path: Path) -> None:
    """The fastest possible saves are reported about 50 times a second; the last one always is."""
    path = tmp_path / "config.yaml"
    with Consumer(path) as consumer:
        told, begin = len(consumer.told), time.monotonic()
        for number in range(1000):
            replace(path, b"%d" % number)
        assert consumer.sees(path, b"999")
        assert len(consumer.told) - told <= (time.monotonic() - begin) / 0.02 + 2


def test_a_request_is_reported_after_its_delay(tmp_path: Path) -> None:
    """`request` reports a path that did not change, once, and not early."""
    path = tmp_path / "config.yaml"
    with Consumer(path) as consumer:
        told, begin = len(consumer.told), time.monotonic()
        consumer.watcher.request(path, 0.05)
        assert consumer.wait(lambda: len(consumer.told) > told)
        assert time.monotonic() - begin >= 0.05
        consumer.watcher.request(tmp_path / "unknown", 0.0)
    consumer.watcher.request(path, 0.0)
    assert len(consumer.told) == told + 1


def test_a_path_no_file_can_have_is_no_reason_to_fail(tmp_path: Path) -> None:
    """A path with a NUL, too long, or of no name at all is followed in vain, beside others."""
    path = tmp_path / "config.yaml"
    odd = [tmp_path / "a\0b", tmp_path / ("x" * 300) / "y", Path("/"), tmp_path / ".."]
    told: list[Path] = []
    done = threading.Event()

    def take(paths: frozenset[Path]) -> None:
        told.extend(paths)
        if path in told[len(odd) + 1 :]:
            done.set()

    watcher = Watcher([path, *odd], take)
    watcher.start()
    assert until(lambda: len(told) >= len(odd) + 1)
    path.write_bytes(b"x")
    assert done.wait(DEADLINE)
    watcher.close()


def test_what_raises_no_event_is_found_by_the_sweep(tmp_path: Path) -> None:
    """A write through a hard link in another folder raises no event here: the sweep finds it."""
    path, other = tmp_path / "folder" / "config.yaml", tmp_path / "other"
    path.parent.mkdir()
    path.write_bytes(b"old")
    os.link(path, other)
    with Consumer(path, poll=0.05) as consumer:
        other.write_bytes(b"new!")
        assert consumer.sees(path, b"new!")


def test_a_dangling_link_is_reported_without_an_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dangling link is another thing than no file at all: made between the walk and the watch, it has no event."""
    monkeypatch.setattr(DueFiles, "event", lambda *_: None)
    path = tmp_path / "folder" / "config.yaml"
    path.parent.mkdir()
    told: queue.SimpleQueue[frozenset[Path]] = queue.SimpleQueue()
    watcher = Watcher([path], told.put, poll=0.05)
    watcher.start()
    try:
        told.get(timeout=DEADLINE)
        path.symlink_to("nowhere")
        assert told.get(timeout=DEADLINE) == {path}
    finally:
        watcher.close()


def test_a_folder_whose_change_was_missed_is_found_by_the_sweep(tmp_path: Path) -> None:
    """The sweep compares folders too: one that was replaced without an event gets a new watch."""
    path = tmp_path / "folder" / "config.yaml"
    path.parent.mkdir()
    with Consumer(path, poll=0.05) as consumer:
        watcher = consumer.watcher
        known = watcher._folders[str(path.parent)]
        watcher._folders = {**watcher._folders, str(path.parent): (0, 0)}  # as if it had been another
        assert until(lambda: watcher._folders[str(path.parent)] == known)
        path.write_bytes(b"here")
        assert consumer.sees(path, b"here")


def test_a_change_in_the_tick_of_the_last_one_is_not_missed_by_polling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock may give two changes one time: a file polled within it is reported once more."""
    path = tmp_path / "config.yaml"
    path.write_bytes(b"x")
    monkeypatch.setattr(BaseObserver, "schedule", refuse_all(errno.ENOSPC))
    with Consumer(path) as consumer:
        told = len(consumer.told)
        monkeypatch.setattr("stigmer_config.files.watch.watcher.time.time", lambda: path.stat().st_ctime_ns / 1e9)
        consumer.watcher.request(path, 0.0)
        assert consumer.wait(lambda: len(consumer.told) >= told + 2)


# -- what does not stop it -------------------------------------------------------------------------------------------


def test_a_callback_that_raises_hurts_nothing(tmp_path: Path) -> None:
    """A callback's exception is passed on, even SystemExit, and the next change is reported."""
    path = tmp_path / "config.yaml"
    with Consumer(path) as consumer:
        for error in (ValueError("bad"), SystemExit(1)):

            def fail(error: BaseException = error) -> None:
                raise error

            consumer.before_read = fail
            replace(path, b"raises")
            assert consumer.wait(lambda error=error: error in consumer.errors)  # type: ignore[misc]
        consumer.before_read = lambda: None
        replace(path, b"good")
        assert consumer.sees(path, b"good")


def test_errors_go_to_the_threads_hook_without_on_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `on_error`, and when `on_error` raises, `threading.excepthook` is called."""
    hooked: list[object] = []
    done = threading.Event()

    def hook(arguments: threading.ExceptHookArgs) -> None:
        hooked.append(arguments.exc_type)
        done.set()

    monkeypatch.setattr(threading, "excepthook", hook)

    def fail(_: object) -> None:
        raise KeyError

    def fail_worse(_: BaseException) -> None:
        raise LookupError

    for on_error, expected in ((None, KeyError), (fail_worse, LookupError)):
        watcher = Watcher([tmp_path / "x"], fail, on_error=on_error)
        watcher.start()
        assert done.wait(DEADLINE)
        done.clear()
        watcher.close()
        assert hooked.pop() is expected


@linux
def test_two_hundred_lives_leave_nothing_behind(tmp_path: Path) -> None:
    """Starting and closing leaks neither threads nor descriptors, however soon it closes."""
    before, states = resources(), []
    for number in range(200):
        watcher = Watcher([tmp_path / "x" / "y"], lambda _: None)
        watcher.start()
        states.append(watcher.state)
        if number % 3 == 0:
            (tmp_path / "x").mkdir(exist_ok=True)
        watcher.close()
        watcher.close()
        states.append(watcher.state)
    assert states == ["native", "stopped"] * 200
    assert resources() == before


@private
@linux
def test_a_reader_stopped_before_it_ran_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """watchdog's own reader leaks its descriptors when it is stopped before its thread got its turn."""
    before, run = resources(), InotifyFD.run

    def late(self: InotifyFD) -> None:
        self.stopped_event.wait()
        run(self)

    monkeypatch.setattr(InotifyFD, "run", late)
    watcher = Watcher([tmp_path / "x"], lambda _: None)
    watcher.start()
    watcher.close()
    assert resources() == before


@linux
def test_it_may_be_closed_from_its_own_callback(tmp_path: Path) -> None:
    """close() in the callback does not wait for itself; in other threads it waits for the end."""
    before = resources()
    holder: list[Watcher] = []
    watcher = Watcher([tmp_path / "x"], lambda _: holder[0].close())
    holder.append(watcher)
    watcher.start()
    watcher.close()
    assert watcher.state == "stopped"
    assert resources() == before
    with pytest.raises(RuntimeError, match="once"):
        watcher.start()


def test_closing_before_the_start_is_fine(tmp_path: Path) -> None:
    """A watcher that never started closes without a word."""
    watcher = Watcher([tmp_path / "x"], lambda _: None)
    watcher.close()
    assert watcher.state == "stopped"


def refuse_all(number: int) -> Callable[..., object]:
    def schedule(*_: object, **__: object) -> object:
        raise OSError(number, os.strerror(number))

    return schedule


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOSPC, errno.EACCES])
def test_refused_watches_are_polled_until_there_are_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Limits and permissions leave it polling, quickly; once they are lifted it is native again."""
    path = tmp_path / "config.yaml"
    with monkeypatch.context() as broken:
        broken.setattr(BaseObserver, "schedule", refuse_all(number))
        with Consumer(path, poll=0.3) as consumer:
            assert consumer.watcher.state == "polling"
            path.write_bytes(b"polled")
            assert consumer.sees(path, b"polled")
            told = len(consumer.told)
            assert not consumer.wait(lambda: len(consumer.told) > told + 1, timeout=0.3)  # no change, no call
            broken.undo()
            assert until(lambda: consumer.watcher.state == "native")
            path.write_bytes(b"by event")
            assert consumer.sees(path, b"by event")
    assert consumer.states == ["polling", "native", "stopped"]


@linux
def test_one_folder_that_cannot_be_watched_degrades(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one folder refused the state is degraded, and what depends on that folder is polled quickly."""
    schedule = BaseObserver.schedule

    def picky(self: BaseObserver, handler: object, path: str, **options: object) -> object:
        if path == str(tmp_path):
            raise PermissionError(errno.EACCES, "no", path)
        return schedule(self, handler, path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(BaseObserver, "schedule", picky)
    path = tmp_path / "config.yaml"
    with Consumer(path) as consumer:
        assert consumer.watcher.state == "degraded"
        path.write_bytes(b"polled")
        assert consumer.sees(path, b"polled")


@private
@linux
@pytest.mark.parametrize("broken", ["instance", "pipe", "thread", "dispatcher"])
def test_a_failed_start_leaks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    """No inotify instance, descriptor or thread available: it polls, and leaks nothing."""
    path = tmp_path / "config.yaml"
    start = threading.Thread.start

    def no_instance() -> int:
        ctypes.set_errno(errno.EMFILE)
        return -1

    def no_pipe() -> tuple[int, int]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def no_thread(self: threading.Thread) -> None:
        if isinstance(self, InotifyFD if broken == "thread" else BaseObserver):
            raise RuntimeError("can't start new thread")
        start(self)

    before = resources()
    with monkeypatch.context() as patch:
        patch.setattr("watchdog.observers.inotify_c.inotify_init", no_instance) if broken == "instance" else None
        patch.setattr("os.pipe", no_pipe) if broken == "pipe" else None
        patch.setattr(threading.Thread, "start", no_thread) if broken in {"thread", "dispatcher"} else None
        with Consumer(path, poll=0.3) as consumer:
            assert consumer.watcher.state == "polling"
            assert resources() == (before[0] + 1, before[1])
            path.write_bytes(b"polled")
            assert consumer.sees(path, b"polled")
            patch.undo()
            assert until(lambda: consumer.watcher.state == "native")
    assert resources() == before


@linux
def test_without_a_thread_of_its_own_it_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the system gives no thread at all, start() raises and leaves nothing behind."""
    before, start = resources(), threading.Thread.start

    def no_thread(self: threading.Thread) -> None:
        if self.name == "stigmer-config-watch":
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    watcher = Watcher([tmp_path / "x"], lambda _: None)
    with pytest.raises(RuntimeError, match="new thread"):
        watcher.start()
    watcher.close()
    assert watcher.state == "stopped"
    assert resources() == before


@private
@linux
def test_programs_it_runs_inherit_nothing(tmp_path: Path) -> None:
    """The inotify instance is closed on exec."""
    before = inheritable()
    with Consumer(tmp_path / "x"):
        assert inheritable() == before


@private
@linux
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_emitter_is_noticed_and_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When watchdog's thread dies, the sweep detects it, reports it, and starts another."""
    path = tmp_path / "config.yaml"
    with Consumer(path, poll=0.2) as consumer:
        with monkeypatch.context() as patch:
            dead = threading.Event()

            def die(*_: object) -> None:
                dead.set()
                raise OSError(errno.EIO, "broken on purpose")

            patch.setattr(InotifyFD, "handle_event", die)
            path.write_bytes(b"unheard")
            assert dead.wait(DEADLINE)
        assert until(lambda: consumer.states[1:] == ["degraded", "native"]), consumer.states
        assert consumer.sees(path, b"unheard")
        path.write_bytes(b"heard")
        assert consumer.sees(path, b"heard")


@linux
def test_wrong_records_of_watches_are_rebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When watchdog raises while it drops a watch, native watching starts from nothing; the thread goes on."""
    path = tmp_path / "folder" / "config.yaml"
    path.parent.mkdir()
    unschedule = BaseObserver.unschedule
    with Consumer(path, poll=0.2) as consumer:
        with monkeypatch.context() as patch:

            def fail(self: BaseObserver, watch: ObservedWatch) -> None:
                unschedule(self, watch)
                raise KeyError(watch)

            patch.setattr(BaseObserver, "unschedule", fail)
            swap_folder(path, b"swapped")
            assert consumer.sees(path, b"swapped")
            assert until(lambda: consumer.states[1:2] == ["degraded"])
        assert until(lambda: consumer.watcher.state == "native")
        path.write_bytes(b"heard")
        assert consumer.sees(path, b"heard")


@private
@linux
@pytest.mark.parametrize("save", [swap_folder, recreate_folder])
def test_an_overflow_marks_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save: Callable[[Path, bytes], None]
) -> None:
    """After a queue overflow all is looked at again, without waiting for the sweep; a folder swapped too."""
    path = tmp_path / "folder" / "config.yaml"
    path.parent.mkdir()
    handle = InotifyFD.handle_event
    dropped = threading.Event()

    def drop(self: InotifyFD, event: InotifyEvent) -> None:
        if event.name != b"end":
            return
        dropped.set()
        handle(self, InotifyEvent(WatchDescriptor(-1), InotifyConstants.IN_Q_OVERFLOW, 0, b""))

    logging.getLogger("watchdog").setLevel(logging.ERROR)
    with Consumer(path) as consumer:
        with monkeypatch.context() as patch:
            patch.setattr(InotifyFD, "handle_event", drop)
            save(path, b"swapped")
            (tmp_path / "end").touch()
            assert dropped.wait(DEADLINE)
            assert consumer.sees(path, b"swapped")
        path.write_bytes(b"again")
        assert consumer.sees(path, b"again")


@private
@linux
def test_a_watch_that_ends_is_replaced(tmp_path: Path) -> None:
    """The kernel ends a watch without the parent folder hearing of it when a file system is unmounted."""
    path = tmp_path / "folder" / "config.yaml"
    path.parent.mkdir()
    with Consumer(path) as consumer:
        observer: Any = consumer.watcher._native._observer  # type: ignore[union-attr]
        emitter = next(each for each in observer.emitters if each.watch.path == str(path.parent))
        observer.inotify.handle_event(InotifyEvent(emitter._descriptor, InotifyConstants.IN_IGNORED, 0, b""))
        assert until(lambda: emitter not in observer.emitters)
        path.write_bytes(b"heard")
        assert consumer.sees(path, b"heard")


@private
@linux
def test_a_forked_child_leaves_its_parents_watches_alone(tmp_path: Path) -> None:
    """In a child, close() (as forget()) ends nothing of the parent's and takes no lock of the parent's."""
    path = tmp_path / "config.yaml"
    with Consumer(path) as consumer:
        with consumer.watcher._ledger._changed:  # held while it forks: a child that waited for it would hang
            child = os.fork()
            if child == 0:
                signal.alarm(5)
                descriptors = len(os.listdir("/proc/self/fd"))
                consumer.watcher.close()
                consumer.watcher.close()
                consumer.watcher.request(path, 0.0)
                closed = descriptors - len(os.listdir("/proc/self/fd"))
                os._exit(0 if closed == 3 and consumer.watcher.state == "stopped" else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        path.write_bytes(b"still watched")
        assert consumer.sees(path, b"still watched")


def test_importing_it_imports_no_watchdog() -> None:
    """Only a started watcher costs what watchdog costs."""
    code = "import sys, stigmer_config.files.watch; sys.exit('watchdog' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0


# -- the settled read ------------------------------------------------------------------------------------------------


def test_a_settled_read_gives_bytes_signature_and_digest(tmp_path: Path) -> None:
    """A file at rest is read at once."""
    path = tmp_path / "config.yaml"
    path.write_bytes(b"content")
    result = read_settled(path)
    assert isinstance(result, Settled)
    assert result.data == b"content"
    assert result.signature == settled.signature(path.stat())
    assert result.sha256 == hashlib.sha256(b"content").hexdigest()


@pytest.mark.parametrize("missing", ["none", "none/below", "file/below"])
def test_a_missing_file_is_gone(tmp_path: Path, missing: str) -> None:
    """A missing file, a missing folder and a file in a folder's place are the same: no file."""
    (tmp_path / "file").touch()
    assert read_settled(tmp_path / missing) == Gone()


@pytest.mark.parametrize("size", [9, 10, 11, 10_000])
def test_no_more_than_the_limit_and_a_byte_is_read(tmp_path: Path, size: int) -> None:
    """A file over the limit shows as too long, and is never read whole."""
    path = tmp_path / "config.yaml"
    path.write_bytes(b"x" * size)
    result = read_settled(path, 10)
    assert isinstance(result, Settled)
    assert len(result.data) == min(size, 11)


def test_what_waiting_does_not_heal_is_raised(tmp_path: Path) -> None:
    """A folder, a FIFO and a refused link are errors, at once."""
    with pytest.raises(IsADirectoryError):
        read_settled(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="Not a regular file"):
        read_settled(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "target").touch()
    with pytest.raises(OSError, match="symbolic links"):
        read_settled(tmp_path / "link", opener=lambda path, flags: os.open(path, flags | os.O_NOFOLLOW))


@linux
def test_a_file_open_for_writing_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a writer has the file open it has not settled; one that never closes it is given up on."""
    path = tmp_path / "config.yaml"
    with path.open("wb") as writer:
        writer.write(b"half")
        writer.flush()
        first = read_settled(path)
        assert isinstance(first, Unsettled)
        second = read_settled(path, earlier=first)
        assert isinstance(second, Unsettled)
        assert (second.since, second.retry_in) == (first.since, 2 * first.retry_in)
        monkeypatch.setattr(settled, "HELD", 0.0)
        assert isinstance(read_settled(path, earlier=second), Settled)
        monkeypatch.undo()
    assert isinstance(read_settled(path), Settled)


@linux
def test_the_lease_ends_with_the_read_and_no_signal_comes(tmp_path: Path) -> None:
    """A writer right after the read is neither held up nor refused."""
    path = tmp_path / "config.yaml"
    path.write_bytes(b"x")
    for _ in range(1000):
        assert isinstance(read_settled(path), Settled)
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))


def test_without_leases_a_change_has_to_be_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without leases, a file counts after 0.1 s without a change, whatever the clock says."""
    path = tmp_path / "config.yaml"
    path.write_bytes(b"half")
    monkeypatch.setattr(settled, "_read_leased", lambda *_: (None, None))
    first = read_settled(path)
    assert isinstance(first, Unsettled)
    assert 0 < first.retry_in <= settled.QUIET
    old = first._replace(since=first.since - settled.QUIET)
    monkeypatch.setattr(time, "time", lambda: 0.0)  # a file server's clock, far from ours
    assert isinstance(read_settled(path), Unsettled)
    assert isinstance(read_settled(path, earlier=old), Settled)
    path.write_bytes(b"whole")
    assert isinstance(read_settled(path, earlier=old), Unsettled)


@pytest.mark.parametrize("change", [Path.write_bytes, replace, lambda path, _: path.unlink()])
def test_a_read_that_races_a_writer_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path, bytes], object]
) -> None:
    """A file that changes between open and the second look is read again, a few times.

    So it is when it has to be read from the disk, which takes too long to keep writers out.
    """
    path = tmp_path / "config.yaml"
    path.write_bytes(b"0")
    monkeypatch.setattr(held_calls, "read_cached", lambda *_: None)
    read, reads = os.read, [0]

    def racing(descriptor: int, size: int) -> bytes:
        data = read(descriptor, size)
        reads[0] += 1
        change(path, b"longer" * reads[0])
        return data

    monkeypatch.setattr(os, "read", racing)
    result = read_settled(path)
    if path.exists():
        assert isinstance(result, Unsettled)
        assert reads[0] == settled.TRIES
    else:
        assert result == Gone()


def test_a_read_that_falls_short_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer bytes than the size says are no content, unless it stays so (as in /proc)."""
    path = tmp_path / "config.yaml"
    path.write_bytes(b"content")
    read = os.read
    monkeypatch.setattr(held_calls, "read_cached", lambda *_: b"con")
    monkeypatch.setattr(os, "read", lambda descriptor, _: read(descriptor, 3))
    first = read_settled(path)
    assert isinstance(first, Unsettled)
    last = read_settled(path, earlier=first._replace(since=first.since - settled.QUIET))
    assert isinstance(last, Settled)
    assert last.data == b"con"


@linux
def test_a_writer_waits_while_the_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes are read under the lease, from memory: a writer cannot open the file meanwhile."""
    path = tmp_path / "config.yaml"
    path.write_bytes(b"content")
    read, refused = held_calls.read_cached, []

    def beside_a_writer(descriptor: int, size: int) -> bytes | None:
        with pytest.raises(BlockingIOError) as error:
            os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        refused.append(error)
        return read(descriptor, size)

    monkeypatch.setattr(held_calls, "read_cached", beside_a_writer)
    result = read_settled(path)
    assert isinstance(result, Settled)
    assert result.data == b"content"
    assert len(refused) == 1


def rewritten(path: Path, status: os.stat_result) -> None:
    """As long, and the modification time is put back."""
    path.write_bytes(b"CONTENT")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def linked(path: Path, _: os.stat_result) -> None:
    path.rename(path.with_name("target"))
    path.symlink_to("target")


@linux
@pytest.mark.parametrize(
    "change", [rewritten, linked, lambda path, _: replace(path, b"CONTENT"), lambda path, _: path.chmod(0o600)]
)
def test_a_final_read_is_repeated_only_after_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path, os.stat_result], object]
) -> None:
    """Every change of content, path or permissions counts, however the file hides it."""
    path = tmp_path / "config.yaml"
    path.write_bytes(b"content")
    if os.major(path.stat().st_dev) == 0:
        pytest.skip("the file system is on no block device")
    young = read_settled(path)
    assert isinstance(young, Settled)
    assert not young.is_final  # the next change could get the same time stamp
    assert read_settled(path, known=young) is not young
    with monkeypatch.context() as patch:
        patch.setattr(settled, "AGE", -1.0)
        final = read_settled(path)
    assert isinstance(final, Settled)
    assert read_settled(path, known=final) is final
    change(path, path.stat())
    new = read_settled(path, known=final)
    assert isinstance(new, Settled)
    assert new is not final
    assert new.data == path.read_bytes()


@pytest.mark.parametrize("patched", ["_read_leased", "major"])
def test_a_read_without_a_lease_or_from_a_server_is_never_final(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patched: str
) -> None:
    """A writer may still have the file, and a server's signature may be an old one."""
    path = tmp_path / "config.yaml"
    path.write_bytes(b"content")
    monkeypatch.setattr(settled, "AGE", -1.0)
    monkeypatch.setattr(settled, "QUIET", 0.0)
    if patched == "major":
        monkeypatch.setattr(os, "major", lambda _: 0)
    else:
        monkeypatch.setattr(settled, patched, lambda *_: (None, None))
    result = read_settled(path)
    assert isinstance(result, Settled)
    assert not result.is_final


def test_a_vanished_or_emptied_file_counts_after_its_grace(tmp_path: Path) -> None:
    """An editor between two steps reports nothing; a file that never existed or was always empty is at once."""
    path = tmp_path / "config.yaml"
    reader = StableReader()
    assert reader.read(path) == Gone()
    for vanish in (path.unlink, partial(os.truncate, path, 0)):
        path.write_bytes(b"content")
        assert isinstance(reader.read(path), Settled)
        vanish()
        begin = time.monotonic()
        while isinstance(result := reader.read(path), Unsettled):
            assert 0 < result.retry_in <= settled.GRACE
            time.sleep(result.retry_in)
        assert time.monotonic() - begin >= settled.GRACE
        assert isinstance(reader.read(path), type(result))
    vanish()
    path.write_bytes(b"back")
    assert isinstance(reader.read(path), Settled)


def test_a_folder_that_came_back_is_followed_by_polling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request may read the file in it before a poll resolves the path again: a link in its place is still found."""
    monkeypatch.setattr(BaseObserver, "schedule", refuse_all(errno.ENOSPC))
    away, folder = tmp_path / "away", tmp_path / "project" / ".stigmer"
    away.mkdir()
    (away / "config.yaml").write_bytes(b"content")
    folder.parent.mkdir()
    path = folder / "config.yaml"
    with Consumer(path, poll=0.3) as consumer:
        assert consumer.sees(path, None)
        while time.time() - (away / "config.yaml").stat().st_ctime < 5 * TICK:  # a newer file is reported more often
            time.sleep(TICK)
        with consumer._changed:
            consumer.told.clear()
        away.rename(folder)
        consumer.watcher.request(path, 0.0)
        assert consumer.sees(path, b"content")
        assert consumer.wait(lambda: len(consumer.told) == 2)
        with consumer._changed:
            consumer.told.clear()
        folder.rename(away)
        folder.symlink_to(away)
        assert consumer.wait(lambda: bool(consumer.told))


class OneVisit(Consumer):
    """Reads once, after the file was removed, during a visit that no check sees. `met` is what it has then."""

    visit: Callable[[Path], AbstractContextManager[None]] | None = None
    met: bytes | None = None

    def _read(self, path: Path) -> None:
        if self.visit is None or path.exists():
            super()._read(path)
            return
        visit, self.visit = self.visit, None
        with visit(path):
            super()._read(path)
        self.met = self.held[path]


@contextmanager
def a_folder(path: Path) -> Iterator[None]:
    path.mkdir()
    yield
    path.rmdir()


@contextmanager
def another_file(path: Path) -> Iterator[None]:
    path.write_bytes(b"other")
    yield
    path.unlink()


def nothing_heard(patch: pytest.MonkeyPatch) -> None:
    """watchdog's own emitters, as if each event came while a watch is replaced."""
    patch.setattr(os_events, "LINUX", False)
    patch.setattr(os_events.Native, "dispatch", lambda *_: None)


def nothing_watched(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(BaseObserver, "schedule", refuse_all(errno.ENOSPC))


@pytest.mark.parametrize("events", [nothing_heard, nothing_watched])
@pytest.mark.parametrize(("visit", "met"), [(a_folder, Consumer.FAULT), (another_file, b"other")])
def test_what_came_and_went_between_two_checks_is_not_kept(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    events: Callable[[pytest.MonkeyPatch], None],
    visit: Callable[[Path], AbstractContextManager[None]],
    met: bytes,
) -> None:
    """Gone when it is checked, there when it is read, gone again at the next check."""
    events(monkeypatch)
    path = tmp_path / "config.yaml"
    path.write_bytes(b"content")
    with OneVisit(path) as consumer:
        assert consumer.sees(path, b"content")
        consumer.visit = visit
        path.unlink()
        assert consumer.sees(path, None)
        assert consumer.met == met


@pytest.mark.parametrize("events", [nothing_heard, nothing_watched])
def test_a_link_that_left_and_came_back_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """What it leads to is the same all the time."""
    events(monkeypatch)
    target, path, aside = tmp_path / "target", tmp_path / "config.yaml", tmp_path / "aside"
    target.write_bytes(b"content")
    path.symlink_to(target)
    with Consumer(path) as consumer:
        assert consumer.sees(path, b"content")
        path.rename(aside)
        consumer.watcher.request(path, 0.0)
        assert consumer.sees(path, None)
        aside.rename(path)
        assert consumer.sees(path, b"content")


# -- another process, at random --------------------------------------------------------------------------------------


def converge(tmp_path: Path, poll: float, ops: int, quiet: frozenset[str] = frozenset()) -> list[State]:
    """Random operations; whenever they rest, the consumer holds what is on disk. Gives the states it was in."""
    seed = int(os.environ.get("STIGMER_FUZZ_SEED", "1"))
    root = tmp_path / "root"
    paths = [root / where / "config.yaml" for where in ("user/.stigmer", "w/project/.stigmer", "etc/site")]
    root.mkdir()
    choice = random.Random(seed)
    with Consumer(*paths, poll=poll) as consumer, acting(BlobVandal(seed, root, paths, quiet)) as act:
        done = 0
        while done < ops:
            number = choice.randrange(1, 6)
            act(number)
            done += number
            expected = {path: on_disk(path) for path in paths}
            for path, content in expected.items():
                assert consumer.sees(path, content), (
                    f"seed {seed}, after {done} operations: {path} is {content and content[:80]!r}, "
                    f"held is {(consumer.held[path] or b'')[:80]!r}"
                )
            assert not consumer.torn, f"seed {seed}, after {done} operations"
        assert not consumer.errors
    return consumer.states


def test_random_damage_is_followed_by_events_alone(tmp_path: Path) -> None:
    """Without a sweep, whatever another process does, the consumer ends up with what is on disk, never torn."""
    assert converge(tmp_path, NEVER, OPS, quiet=BlobVandal.SILENT) == ["native", "stopped"]


def test_random_damage_is_followed_with_the_sweep(tmp_path: Path) -> None:
    """The same with what raises no events, found by the sweep."""
    assert converge(tmp_path, 0.1, OPS) == ["native", "stopped"]


def test_random_damage_is_followed_by_polling_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with native watching broken on purpose."""
    monkeypatch.setattr(BaseObserver, "schedule", refuse_all(errno.ENOSPC))
    assert converge(tmp_path, 1.0, OPS // 3) == ["polling", "stopped"]


@linux
def test_random_damage_is_followed_with_watchdogs_own_emitters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same as on systems where watchdog's own emitters serve; their pauses and deaf spots are the sweep's."""
    monkeypatch.setattr(os_events, "LINUX", False)
    assert converge(tmp_path, 0.3, OPS // 3)[0] == "native"


def without_inotify_fd(patch: pytest.MonkeyPatch) -> None:
    """Our module finds no `InotifyFD`; watchdog's own modules, which are loaded, keep theirs."""
    importlib.import_module("watchdog.observers.inotify")
    real = importlib.import_module("watchdog.observers.inotify_c")
    fewer = types.ModuleType(real.__name__)
    fewer.__dict__.update({name: value for name, value in vars(real).items() if name != "InotifyFD"})
    patch.setitem(sys.modules, real.__name__, fewer)


# What another version of watchdog may have: a name that is gone, one that is no name of this kind, other arguments.
OTHER_WATCHDOGS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "no InotifyFD": without_inotify_fd,
    "no module": lambda patch: patch.setitem(sys.modules, "watchdog.observers.inotify_c", None),
    "other arguments": lambda patch: patch.setattr("stigmer_config.files.watch.inotify.Inotify", lambda _: None),
}


@linux
@pytest.mark.parametrize("other", OTHER_WATCHDOGS)
def test_with_another_watchdog_its_public_observer_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """It is native all the same: each way to save is seen, with the sweep, and nothing stays behind."""
    module = "stigmer_config.files.watch.inotify"
    if other == "other arguments":
        if InotifyFD is None:
            pytest.skip("this watchdog has not the names, either")
    else:
        monkeypatch.delitem(sys.modules, module, raising=False)
    OTHER_WATCHDOGS[other](monkeypatch)
    threads = threading.active_count()
    path = tmp_path / "folder" / "config.yaml"
    path.parent.mkdir()
    with Consumer(path, poll=0.2) as consumer:
        assert consumer.watcher.state == "native"
        observer = consumer.watcher._native._observer  # type: ignore[union-attr]
        assert type(observer).__module__.startswith("watchdog.observers.")
        for number, save in enumerate((Path.write_bytes, swap_folder, recreate_folder, Path.write_bytes)):
            content = f"content {number}".encode()
            save(path, content)
            assert consumer.sees(path, content), save
    assert consumer.states == ["native", "stopped"]
    assert threading.active_count() == threads
