"""The reloads of one worker, one at a time: read, judge, swap, log, publish, and watch what has to be watched next."""

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
from ..reload.last_good import Held, mode_change
from ..reload.reloader import Reloader
from ..workers.publish import Publisher
from .log_events import Reporter
from .results import Closed, Outcome, Rejected, Reloaded, Unchanged

FAULTY = 1.0  # seconds until everything is read again while a fault stands
_REVOKED = frozenset({"untrusted-key", "credential-binding"})  # the errors of a project whose grant is gone


class Follower:
    """Follows the files of one worker from `begin` on.

    `swap(new)` gets each Config that is to be current, `tell(old, new, changes)` each that differs from the last.
    `publishes`: whether `stigmer config workers` lists this worker.
    """

    def __init__(
        self,
        reloader: Reloader,
        reporter: Reporter,
        swap: Callable[[Config], None],
        tell: Callable[[Config, Config, tuple[Change, ...]], None],
        *,
        publishes: bool,
    ) -> None:
        """Loads. Raises `ConfigError`."""
        self.held = Held(reloader.first())
        self.closed = False
        self._reloader = reloader
        self._reporter = reporter
        self._swap = swap
        self._tell = tell
        self._publishes = publishes
        self._started = datetime.datetime.now(datetime.UTC)
        self._watching = False

    def begin(self) -> None:
        """Watches from now on. Once in a process. Raises `RuntimeError` when the system has no more threads."""
        self._lock = threading.RLock()  # held by whoever reloads
        self._inside: set[int] = set()  # the threads that reload, or wait for it
        self._publisher = Publisher(self._reloader.asked) if self._publishes else None
        self._paths = self._reloader.paths
        self._watcher = Watcher(self._paths, self._on_change, on_state=self._on_state, on_sweep=self._on_sweep)
        self._fleet = self._reloader.fleet
        self._watching = True
        self._publish()
        try:
            self._watcher.start()
            if self._fleet is not None:
                self._fleet.follow(self._on_store, self._on_state, self._on_unannounced)
        except BaseException:  # no thread to be had
            self.close()
            raise

    @property
    def watching(self) -> State:
        if not self._watching:
            return "stopped"
        fleet = self._fleet.state if self._fleet is not None else "native"
        return fleet if self._watcher.state == "native" else self._watcher.state

    def is_here(self) -> bool:
        """Whether this thread is in the middle of a reload: a log processor can be, or a signal's handler."""
        return threading.get_ident() in self._inside

    def reload(self) -> Outcome:
        """Reads everything in this thread. In the middle of another reload of it, that is left to the watcher."""
        if self.is_here():
            self._watcher.request(self._paths[0], 0.0)
            return Unchanged(self.held.current)
        if self._fleet is not None:
            self._fleet.read_now()
        return self._reload(None)

    def close(self) -> None:
        """Ends watching, and waits for the end but in the watcher's own thread."""
        self.closed = True
        if self._fleet is not None:
            self._fleet.close()
        self._watcher.close()
        with self._lock:  # whoever is about to publish
            if self._publisher is not None:
                self._publisher.remove()

    def leave(self) -> None:
        """The process ends, and with it the threads: nobody is waited for long, who may be stuck."""
        self.closed = True
        if self._watching and self._publisher is not None and self._lock.acquire(timeout=1.0):
            self._publisher.remove()
            self._lock.release()

    def forget(self) -> None:
        """In a forked child: the parent's thread is not here, its watches and its state file are its own."""
        self._watching = False
        self._watcher.forget()
        if self._fleet is not None:
            self._fleet.forget()

    def restart(self) -> None:
        """In a forked child: begins again. The parent may have been in the middle of a reload."""
        self._reloader = self._reloader.anew()
        try:
            self.begin()
        except BaseException:  # it may be tried again
            self.closed = self._watching = False
            raise

    def _on_change(self, told: frozenset[Path]) -> None:
        try:
            self._reload(told)
        except Closed:  # the end came first
            pass
        except BaseException:  # no descriptor or memory left, say: the watcher reports it, and no change is lost
            for path in told:
                self._watcher.request(path, FAULTY)
            raise

    def _on_store(self) -> None:
        """In a thread of the fleet's: the watcher's reloads."""
        self._watcher.request(self._paths[0], 0.0)

    def _reload(self, told: Collection[Path] | None) -> Outcome:
        """Reads what is told (None: everything) and takes it. A fault that nobody asked for may be too young."""
        with forks.section():  # first: whoever waits for the lock in here is not waited for by who has it
            return self._reload_now(told)

    def _reload_now(self, told: Collection[Path] | None) -> Outcome:
        self._inside.add(threading.get_ident())
        try:
            with self._lock:
                if self.closed:  # while this waited
                    raise Closed("it was closed")
                loaded = self._reloader.read(told if self.held.fault is None else None)
                patience = self.held.patience(loaded) if told is not None else 0.0
                outcome = self._take(loaded) if not patience else Unchanged(self.held.current)
                self._look_ahead(patience)
                return outcome
        finally:
            self._inside.discard(threading.get_ident())

    def _take(self, loaded: Loaded) -> Outcome:
        """Takes a load, or rejects it whole."""
        if not loaded.errors:
            return self._accept(loaded)
        outcome = self._accept_revocation(loaded) if self._reloader.is_revoked(loaded) else None
        if self.held.reject(loaded):
            self._reporter.rejected(self.held.current, loaded.problems)
            self._publish()
        return outcome if isinstance(outcome, Reloaded) else Rejected(loaded.problems)

    def _accept_revocation(self, loaded: Loaded) -> Outcome | None:
        """Takes a configuration without what the user no longer grants the project; None when it is in use already."""
        newest = self.held.newest
        if loaded is newest:
            return None
        if {problem.code for problem in loaded.errors} <= _REVOKED:
            return self._accept(loaded, keep_fault=True)
        project = newest.layers.project
        if project is None or not project.granted:
            return None
        return self._accept(self._reloader.without_grant(newest), keep_fault=True)

    def _accept(self, loaded: Loaded, *, keep_fault: bool = False) -> Outcome:
        held, old, before = self.held, self.held.current, self.held.newest
        had_fault = held.fault is not None and not keep_fault
        if held.confirm(loaded):
            return Unchanged(old)
        changes = old.diff(loaded.config)  # before it is held: should this fail, all of it is done again
        new = held.accept(loaded, keep_fault=keep_fault)
        self._swap(new)
        if new.generation != old.generation:
            self._tell(old, new, changes)
        self._log((*mode_change(before, loaded), *changes), had_fault=had_fault)
        self._publish()
        return Reloaded(new, changes) if changes else Unchanged(new)

    def _log(self, changes: tuple[Change, ...], *, had_fault: bool) -> None:
        if changes:
            self._reporter.reloaded(self.held.current, changes, self.held.restart_required)
        elif had_fault:
            self._reporter.recovered(self.held.current)

    def _look_ahead(self, patience: float) -> None:
        """Watches what has to be watched now; looks again at files that somebody is writing, and at young faults."""
        paths = self._reloader.paths
        if paths != self._paths:
            self._paths = paths
            self._watcher.set_paths(paths)
        for path, seconds in self._reloader.waiting.items():
            self._watcher.request(path, seconds)
        if patience:
            self._watcher.request(paths[0], patience)
        elif self.held.fault is not None:
            # What mends it may be no change of a file: the mode of a folder, or a dangling link that goes.
            self._watcher.request(paths[0], FAULTY)

    def _publish(self) -> None:
        if self._publisher is not None and not self.closed:
            self._reporter.published(self.held.current, self._publisher.write(self.held))
        if self._fleet is not None and self._publishes and not self.closed:
            from ..workers.fleet import encoded  # most machines have no fleet

            self._fleet.announce(encoded(self.held, self._started))

    def _on_sweep(self) -> None:
        """Publishes again what a cleaner or a logout has removed. During a reload that can wait for the next sweep."""
        publisher = self._publisher
        if publisher is None or publisher.is_in_place or not self._lock.acquire(blocking=False):
            return
        try:
            if not self.closed:
                self._reporter.published(self.held.current, publisher.restore())
        finally:
            self._lock.release()

    def _on_unannounced(self, reason: str) -> None:
        self._reporter.announced(self.held.current, reason)

    def _on_state(self, state: State, detail: str) -> None:
        """Files and store are watched as well as the worse of them is."""
        worst = self.watching
        if worst == "stopped" or (state == "native" and worst != "native"):
            return
        self._reporter.watching(self.held.current, worst, detail)
