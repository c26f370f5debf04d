"""Follows files through all links in their paths, and reports which of them to read again.

`stat` decides; events only say when to check. One thread checks, reports and sweeps: every second over all files, for
lost events, and every QUICK seconds over those that cannot be watched natively.
"""

from __future__ import annotations

import contextlib
import math
import os
import stat
import threading
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from ...core import forks
from ..stable_read import Signature, signature
from .due_files import AGAIN, CHANGED, CREATED, MOVED, Absence, DueFiles, File
from .path_route import Identity, identity, walk

if TYPE_CHECKING:
    from .os_events import Native

State = Literal["native", "polling", "degraded", "stopped"]

VANISHED: Final = (FileNotFoundError, NotADirectoryError)

QUICK: Final = 0.2  # seconds between two checks of a file that cannot be watched natively
TICK: Final = 0.02  # seconds within which two changes of a file may get the same time stamp
WALKS: Final = 8  # consecutive resolutions while folders keep changing
PAUSE: Final = 0.05  # seconds until the next attempt


class Watcher:
    """Calls `on_change` with the paths to read again, in one thread, never concurrently.

    Each path is reported once when watching it begins, so that no change since an earlier read is lost; then after
    each change, at least SPACING apart and always after the last one; and on `request`. Paths are absolute, need not
    exist, and may contain links.

    `on_state(state, detail)` is called when `state` changes: `native`, `degraded` (some folders cannot be watched),
    `polling` (none can), `stopped`. `on_sweep()` is called at each sweep. `on_error` gets the exceptions of these
    callbacks; without it `threading.excepthook` does. `poll` is the sweep's interval in seconds (contract, section 7:
    lost events are covered by a slow poll).
    """

    def __init__(
        self,
        paths: Iterable[Path],
        on_change: Callable[[frozenset[Path]], None],
        *,
        on_state: Callable[[State, str], None] = lambda _state, _detail: None,
        on_sweep: Callable[[], None] = lambda: None,
        on_error: Callable[[BaseException], None] | None = None,
        poll: float = 1.0,
    ) -> None:
        self.state: State = "stopped"
        self._on_change = on_change
        self._on_state = on_state
        self._on_sweep = on_sweep
        self._on_error = on_error or _report
        self._poll = poll
        self._ledger = DueFiles()
        self._ledger.put(paths)
        self._native: Native | None = None
        self._fault = ""
        self._folders: dict[str, Identity] = {}
        self._refused: dict[str, Exception] = {}
        self._thread: threading.Thread | None = None
        self._process = 0

    def start(self) -> None:
        """Starts watching, natively where possible. Limits, permissions and missing folders raise nothing."""
        if self._process or self._ledger.closed:
            raise RuntimeError("a Watcher starts once")
        self._process = os.getpid()
        try:
            self._open()
            self._follow(self._ledger.files.values())
            thread = threading.Thread(target=self._run, name="stigmer-config-watch", daemon=True)
            thread.start()
        except BaseException:
            self._stop()
            raise
        self._thread = thread

    def set_paths(self, paths: Iterable[Path]) -> None:
        """Follows these paths from now on, and no others. From any thread."""
        self._ledger.put(paths)

    def request(self, path: Path, delay: float) -> None:
        """Reports `path` in `delay` seconds, or at its next change if that is earlier. From any thread."""
        self._ledger.ask(path, delay)

    def close(self) -> None:
        """Ends watching. From any thread, any number of times. Waits for the end, except in `on_change`."""
        if self._process not in (0, os.getpid()):
            self.forget()
            return
        self._ledger.close()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def forget(self) -> None:
        """In a forked child: closes its copies of the descriptors. Keeps the parent's watches. Waits for no lock."""
        self._ledger = DueFiles()
        self._ledger.close()
        self._thread, self.state = None, "stopped"
        native, self._native = self._native, None
        if native is not None:
            native.forget()

    def _run(self) -> None:
        agenda: list[File | str] = []  # the rest of a sweep: one step at a time, after events
        swept = looked = time.monotonic()
        try:
            while True:
                due = self._ledger.take(0.0 if agenda else min(swept + self._poll, self._next_look(looked)))
                now = time.monotonic()
                if self._ledger.closed:
                    break
                if due or self._ledger.unwatched:
                    self._react(due)
                elif agenda:
                    self._check(agenda.pop())
                elif now >= swept + self._poll:
                    swept = looked = now
                    self._revive()
                    self._call(self._on_sweep)
                    agenda = [*self._ledger.files.values(), *self._folders]
                elif now >= self._next_look(looked):
                    looked = now
                    agenda = [file for file in self._ledger.files.values() if file.quick]
        finally:
            self._stop()

    def _next_look(self, looked: float) -> float:
        return looked + QUICK if any(file.quick for file in self._ledger.files.values()) else math.inf

    def _react(self, due: Collection[tuple[File, int]]) -> None:
        moved = [file for file, why in due if why & MOVED]
        if moved or self._ledger.unwatched:
            self._follow(moved)
        changed = {file.path for file, why in due if self._look(file, why)}
        changed &= self._ledger.files.keys()  # a file may have been removed meanwhile
        if changed:
            self._call(self._on_change, frozenset(changed))

    def _follow(self, files: Collection[File]) -> None:
        """Resolves the paths and watches their folders until a resolution finds no change since watching them."""
        for _ in range(WALKS):
            routes = [(file, walk(file.path)) for file in files]
            if not self._ledger.unwatched and all(file.route == route for file, route in routes):
                break
            for file, route in routes:
                file.route = route
            self._watch()
        else:
            for file in files:
                self._ledger.walk_again(file, PAUSE)
        self._judge()

    def _watch(self) -> None:
        self._folders, renew = self._ledger.route(deep=self._native is None or self._native.deep)
        self._refused = self._native.follow(self._folders, renew) if self._native else {}
        watched: set[str] = self._folders.keys() - self._refused.keys() if self._native else set()
        for file in self._ledger.files.values():
            file.quick = not watched.issuperset(file.route.folders)

    def _judge(self) -> None:
        """Sets the state. A folder that vanished since the resolution is no fault: the next resolution handles it."""
        faults = [error for error in self._refused.values() if not isinstance(error, VANISHED)]
        if self._native is None:
            self._enter("polling", self._fault)
        elif faults:
            self._enter("polling" if len(faults) == len(self._folders) else "degraded", str(faults[0]))
        else:
            self._enter("native", "")

    def _look(self, file: File, why: int) -> bool:
        """Whether to report the file: it was written to, or differs from the last report."""
        if self._hears_all(file):
            seen, link = _glance(file)
            # A link replaced the file, or a folder came back that was gone when its path was resolved.
            if link or (isinstance(seen, Signature) and not file.route.whole):
                self._follow([file])
                seen, _ = _glance(file)
        else:
            self._follow([file])
            seen = _status(file.path)
        writing = why == CREATED and isinstance(seen, Signature) and seen.size == 0
        another = seen != file.seen or file.route.steps != file.way
        reported = not writing and (bool(why & (CREATED | CHANGED | AGAIN)) or another)
        if reported:
            file.seen, file.way = seen, file.route.steps
        if not reported or not isinstance(seen, Signature):
            self._ledger.spare(file)
        if reported and not self._hears_all(file):
            # What is read next may have come and gone by the next check, and two changes may have the same time stamp.
            fresh = isinstance(seen, Signature) and abs(time.time() - seen.ctime_ns / 1e9) < TICK
            if fresh or another or not why & AGAIN:
                self._ledger.ask(file.path, TICK, AGAIN)
        return reported

    def _hears_all(self, file: File) -> bool:
        """Whether an event follows each change of the file."""
        return self._native is not None and self._native.is_complete and not file.quick

    def _check(self, item: File | str) -> None:
        """One step of the sweep: checks whether this file, or this folder, is still the one we know."""
        if isinstance(item, File):
            if _status(item.path) != item.seen:
                self._ledger.walk_again(item, 0.0)
        elif item in self._folders:
            try:
                same = identity(os.lstat(item)) == self._folders[item]
            except OSError:
                same = False
            if not same:
                self._ledger.lost(item)

    def _revive(self) -> None:
        """Restarts native watching that has died, or that failed for lack of a resource that may be available again."""
        if self._native is not None and not self._native.alive():
            self._enter("degraded", "native watching died")
            self._native.close()
            self._native = None
        if self._native is None:
            self._open()
            if self._native is not None:
                self._ledger.lost(None)
        else:
            for folder in self._native.ended():
                self._ledger.lost(folder)
        if self._native is None or self._refused:
            self._ledger.rewatch()

    def _open(self) -> None:
        try:
            from .os_events import Native

            self._native = Native(self._ledger.event, self._ledger.lost)
        except Exception as error:  # noqa: BLE001  no instance, thread or descriptor left, no watchdog: poll instead
            self._fault = f"{type(error).__name__}: {error}"

    def _stop(self) -> None:
        native, self._native = self._native, None
        if native is not None:
            native.close()
        self._enter("stopped", "")

    def _enter(self, state: State, detail: str) -> None:
        if state != self.state:
            self.state = state
            self._call(self._on_state, state, detail)

    def _call(self, callback: Callable[..., None], *arguments: object) -> None:
        """Calls a callback. No exception of it, not even SystemExit, ends the thread."""
        with forks.section():
            try:
                callback(*arguments)
            except BaseException as error:  # noqa: BLE001
                try:
                    self._on_error(error)
                except BaseException as worse:  # noqa: BLE001
                    _report(worse)


def _report(error: BaseException) -> None:
    arguments = (type(error), error, error.__traceback__, threading.current_thread())
    threading.excepthook(threading.ExceptHookArgs(arguments))


def _glance(file: File) -> tuple[Signature | Absence, bool]:
    """The current signature of the file at the end of its route, from one call; and whether that is now a link."""
    if file.route.whole:
        with contextlib.suppress(OSError, ValueError):
            status = os.lstat(file.route.end)
            return signature(status), stat.S_ISLNK(status.st_mode)
    return _status(file.path), False


def _status(path: Path) -> Signature | Absence:
    try:
        return signature(os.stat(path))
    except (OSError, ValueError) as error:
        number = (error.errno or 0) if isinstance(error, OSError) else 0  # not a possible path
        return Absence(number, os.path.islink(path), os.path.islink(os.path.dirname(path)))
