"""Runs the reloads of one worker, one at a time: read, accept or reject, swap, log, publish, update the watches."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable, Collection
from pathlib import Path

from ..config.config import Config
from ..core import forks
from ..core.provenance import Change
from ..files.watch import State, Watcher
from ..loading.load import Loaded
from ..reload.last_good import LastGood, mode_change
from ..reload.reloader import Reloader
from ..workers.publish import Publisher
from .log_events import Reporter
from .results import Closed, Rejected, Reloaded, ReloadResult, Unchanged

FAULTY = 1.0  # seconds between two full reads while the newest load is faulty
_REVOKED = frozenset({"untrusted-key", "credential-binding"})  # the errors of a project without its grant


class ReloadLoop:
    """Follows the files of one worker from `begin` on.

    `swap(new)` gets each Config that becomes current, `notify(old, new, changes)` each that differs from the one
    before. `publishes`: whether `stigmer config workers` lists this worker.
    """

    def __init__(
        self,
        reloader: Reloader,
        reporter: Reporter,
        swap: Callable[[Config], None],
        notify: Callable[[Config, Config, tuple[Change, ...]], None],
        *,
        publishes: bool,
    ) -> None:
        """Loads. Raises `ConfigError`."""
        self.last_good = LastGood(reloader.first())
        self.closed = False
        self._reloader = reloader
        self._reporter = reporter
        self._swap = swap
        self._notify = notify
        self._publishes = publishes
        self._started = datetime.datetime.now(datetime.UTC)
        self._watching = False

    def begin(self) -> None:
        """Starts watching. Once per process. Raises `RuntimeError` when the system has no more threads."""
        self._lock = threading.RLock()  # held during a reload
        self._inside: set[int] = set()  # the threads in a reload, or waiting for one
        self._publisher = Publisher(self._reloader.request) if self._publishes else None
        self._paths = self._reloader.paths
        self._watcher = Watcher(self._paths, self._on_change, on_state=self._on_state, on_sweep=self._on_sweep)
        self._fleet = self._reloader.fleet
        self._watching = True
        self._publish()
        try:
            self._watcher.start()
            if self._fleet is not None:
                self._fleet.follow(self._on_store, self._on_state, self._on_unannounced)
        except BaseException:  # no more threads
            self.close()
            raise

    @property
    def watching(self) -> State:
        if not self._watching:
            return "stopped"
        fleet = self._fleet.state if self._fleet is not None else "native"
        return fleet if self._watcher.state == "native" else self._watcher.state

    def is_here(self) -> bool:
        """Whether this thread is in the middle of a reload, for example in a log processor or a signal handler."""
        return threading.get_ident() in self._inside

    def reload(self) -> ReloadResult:
        """Reads everything in this thread. Within another reload of the same thread it defers to the watcher."""
        if self.is_here():
            self._watcher.request(self._paths[0], 0.0)
            return Unchanged(self.last_good.current)
        if self._fleet is not None:
            self._fleet.read_now()
        return self._reload(None)

    def close(self) -> None:
        """Ends watching. Waits for the watcher's thread, unless called in it."""
        self.closed = True
        if self._fleet is not None:
            self._fleet.close()
        self._watcher.close()
        with self._lock:  # a thread that is about to publish
            if self._publisher is not None:
                self._publisher.remove()

    def leave(self) -> None:
        """At the interpreter's exit: removes the state file. Waits only briefly for a reload, which may be stuck."""
        self.closed = True
        if self._watching and self._publisher is not None and self._lock.acquire(timeout=1.0):
            self._publisher.remove()
            self._lock.release()

    def forget(self) -> None:
        """In a forked child: drops the parent's watches and state file without removing them."""
        self._watching = False
        self._watcher.forget()
        if self._fleet is not None:
            self._fleet.forget()

    def restart(self) -> None:
        """In a forked child: starts again, with new locks, caches and threads."""
        self._reloader = self._reloader.for_child()
        try:
            self.begin()
        except BaseException:  # it may be called again
            self.closed = self._watching = False
            raise

    def _on_change(self, changed: frozenset[Path]) -> None:
        try:
            self._reload(changed)
        except Closed:  # the end came first
            pass
        except BaseException:  # for example no descriptor or memory left: try again, and let the watcher report it
            for path in changed:
                self._watcher.request(path, FAULTY)
            raise

    def _on_store(self) -> None:
        """In a thread of the fleet's follower: requests a reload in the watcher's thread."""
        self._watcher.request(self._paths[0], 0.0)

    def _reload(self, paths: Collection[Path] | None) -> ReloadResult:
        """Reads these paths again (None: everything, and faults are reported without the grace time)."""
        with forks.section():  # before the lock: the lock's owner must not wait at the fork gate
            return self._reload_now(paths)

    def _reload_now(self, paths: Collection[Path] | None) -> ReloadResult:
        self._inside.add(threading.get_ident())
        try:
            with self._lock:
                if self.closed:  # while this waited
                    raise Closed("it was closed")
                before = self.last_good.newest
                loaded = self._reloader.read(paths if self.last_good.fault is None else None)
                patience = self.last_good.patience(loaded) if paths is not None else 0.0
                result = self._take(loaded) if not patience else Unchanged(self.last_good.current)
                if loaded is not before and not loaded.errors and self._reloader.has_other_warnings():
                    self._take(self._reloader.read(()))
                self._look_ahead(patience)
                return result
        finally:
            self._inside.discard(threading.get_ident())

    def _take(self, loaded: Loaded) -> ReloadResult:
        """Accepts or rejects a load as a whole."""
        if not loaded.errors:
            return self._accept(loaded)
        result = self._accept_revocation(loaded) if self._reloader.is_revoked(loaded) else None
        if self.last_good.reject(loaded):
            self._reporter.rejected(self.last_good.current, loaded.problems)
            self._publish()
        return result if isinstance(result, Reloaded) else Rejected(loaded.problems)

    def _accept_revocation(self, loaded: Loaded) -> ReloadResult | None:
        """Accepts a load without the entries whose grant was revoked; None when it is already in use."""
        newest = self.last_good.newest
        if loaded is newest:
            return None
        if {problem.code for problem in loaded.errors} <= _REVOKED:
            return self._accept(loaded, keep_fault=True)
        project = newest.layers.project
        if project is None or not project.granted:
            return None
        return self._accept(self._reloader.without_grant(newest), keep_fault=True)

    def _accept(self, loaded: Loaded, *, keep_fault: bool = False) -> ReloadResult:
        last_good, old, before = self.last_good, self.last_good.current, self.last_good.newest
        had_fault = last_good.fault is not None and not keep_fault
        if last_good.confirm(loaded):
            return Unchanged(old)
        changes = last_good.accept(loaded, keep_fault=keep_fault)
        new = last_good.current
        self._swap(new)
        if new.generation != old.generation:
            self._notify(old, new, changes)
        self._log((*mode_change(before, loaded), *changes), had_fault=had_fault)
        self._publish()
        return Reloaded(new, changes) if changes else Unchanged(new)

    def _log(self, changes: tuple[Change, ...], *, had_fault: bool) -> None:
        if changes:
            last_good = self.last_good
            self._reporter.reloaded(last_good.current, changes, last_good.restart_required, last_good.fingerprint)
        elif had_fault:
            self._reporter.recovered(self.last_good.current)

    def _look_ahead(self, patience: float) -> None:
        """Updates the watched paths; schedules another read of files that are being written, and of new faults."""
        paths = self._reloader.paths
        if paths != self._paths:
            self._paths = paths
            self._watcher.set_paths(paths)
        for path, seconds in self._reloader.waiting.items():
            self._watcher.request(path, seconds)
        if patience:
            self._watcher.request(paths[0], patience)
        elif self.last_good.fault is not None:
            # A fix may change no watched file, such as a folder's mode, or the removal of a dangling link.
            self._watcher.request(paths[0], FAULTY)

    def _publish(self) -> None:
        if self._publisher is not None and not self.closed:
            self._reporter.published(self.last_good.current, self._publisher.write(self.last_good))
        if self._fleet is not None and self._publishes and not self.closed:
            from ..workers.fleet import encoded  # imported late: most machines have no fleet

            self._fleet.announce(encoded(self.last_good, self._started))

    def _on_sweep(self) -> None:
        """Publishes a state again that a cleaner or a logout has removed; during a reload, the next sweep does."""
        publisher = self._publisher
        if publisher is None or publisher.is_in_place or not self._lock.acquire(blocking=False):
            return
        try:
            if not self.closed:
                self._reporter.published(self.last_good.current, publisher.restore())
        finally:
            self._lock.release()

    def _on_unannounced(self, reason: str) -> None:
        self._reporter.announced(self.last_good.current, reason)

    def _on_state(self, state: State, detail: str) -> None:
        """Reports the worse of the two states, files and store."""
        worst = self.watching
        if worst == "stopped" or (state == "native" and worst != "native"):
            return
        self._reporter.watching(self.last_good.current, worst, detail)
