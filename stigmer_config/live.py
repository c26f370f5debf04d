"""LiveConfig: the current Config of a worker that never restarts for a change. The only mutable thing.

One thread (the watcher's) reloads, another runs the callbacks. The swap is one reference: a reader sees the
whole old or the whole new Config.
"""

from __future__ import annotations

import datetime
import os
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from . import loader
from .config import Config
from .environment import Environment
from .loader import Loaded, ProjectDir
from .problems import ConfigError, Problem
from .provenance import Change
from .reloader import Reloader
from .report import Reporter
from .settings import SETTINGS
from .state import Published
from .subscribers import Callback, Subscribers
from .watch import State, Watcher

FAULT_GRACE = 0.15  # seconds until a fault is reported: a slip between two saves stays quiet

# What a running worker cannot take on: it must restart to use it.
_RESTART = tuple(key for key, setting in SETTINGS.items() if setting.reload == "restart" and key != "mode")


class Closed(RuntimeError):  # noqa: N818 - a state, by its contract's name
    """The LiveConfig was closed: `current` can be read, nothing can be waited for."""


class Forked(RuntimeError):  # noqa: N818 - a state, by its contract's name
    """This is a forked child: call `restart()` first."""


class Reloaded(msgspec.Struct, frozen=True):
    """A reload took a change."""

    config: Config
    changes: tuple[Change, ...]


class Unchanged(msgspec.Struct, frozen=True):
    """A reload found the same effective values."""

    config: Config


class Rejected(msgspec.Struct, frozen=True):
    """A reload found faults: the last good configuration stays."""

    problems: tuple[Problem, ...]


class Status(msgspec.Struct, frozen=True):
    """How a LiveConfig is doing.

    `loaded_at` is when the current values were taken (UTC); `last_error` what the newest reload was rejected
    for, None once a later one was good; `restart_required` the keys whose new values wait for a restart;
    `watching` how changes are noticed.
    """

    generation: int
    loaded_at: datetime.datetime
    last_error: ConfigError | None
    restart_required: tuple[str, ...]
    watching: State


class LiveConfig:
    """The current configuration, kept current. Made by `LiveConfig.start(…)`.

    `current` is the newest good Config: read it once per execution, and keep what you took.
    """

    __slots__ = (
        "__weakref__",
        "_closed",
        "_degraded",
        "_failing_since",
        "_fault",
        "_forked",
        "_loaded_at",
        "_newest",
        "_published",
        "_publishes",
        "_reloader",
        "_reloading",
        "_reporter",
        "_start",
        "_subscribers",
        "_watched",
        "_watcher",
        "current",
    )

    current: Config

    def __init__(self, reloader: Reloader, reporter: Reporter | None = None, *, publishes: bool = True) -> None:
        """Loads, and watches once `begin` is called: `start` does both. Raises `ConfigError`.

        `publishes`: whether `stigmer config workers` lists it.
        """
        self._reloader = reloader
        self._reporter = reporter if reporter is not None else Reporter()
        self._publishes = publishes
        self._newest: Loaded = reloader.first()
        self.current = self._start = loader.settled(self._newest)
        self._loaded_at = _now()
        self._closed = False
        self._fault: ConfigError | None = None
        self._failing_since: float | None = None
        self._degraded = False

    def begin(self) -> None:
        """Follows every file from now on. Once in a process."""
        self._forked = False
        self._reloading = threading.Lock()
        self._subscribers = Subscribers(self._callback_failed)
        self._watched = self._reloader.paths()
        self._watcher = Watcher(self._watched, self._on_change, on_state=self._on_state)
        self._published = Published(self._reloader.asked) if self._publishes else None
        _living.add(self)
        self._watcher.start()
        self._publish()

    @classmethod
    def start(
        cls,
        mode: str | None = None,
        project_dir: ProjectDir = None,
        flags: Mapping[str, Any] | None = None,
        overrides: Sequence[Mapping[str, Any]] | None = None,
        require: Iterable[str] = (),
        environment: Environment | None = None,
    ) -> LiveConfig:
        """Loads (the arguments are `load`'s), logs `config.loaded`, and follows every file from now on.

        Raises `ConfigError` when the configuration is not good. It keeps the mode it starts with.
        """
        live = cls(Reloader(loader.request(mode, project_dir, flags, overrides, require, environment)))
        live._reporter.loaded(live.current, live._newest.layers)
        live.begin()
        return live

    def __enter__(self) -> LiveConfig:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def status(self) -> Status:
        """How it is doing now."""
        return Status(
            generation=self.current.generation,
            loaded_at=self._loaded_at,
            last_error=self._fault,
            restart_required=self._restart_required(),
            watching="stopped" if self._forked else self._watcher.state,
        )

    def subscribe(self, callback: Callback, path: str = "") -> Callable[[], None]:
        """Calls `callback(new, changes)` after each change of an effective value below `path`.

        `path` is a key, a section, or "" for everything. There is no first call; calls come in one thread, in
        the order of subscription; changes that come fast are one. Returns what unsubscribes. Raises `KeyError`
        for a path that does not exist.
        """
        self._usable()
        return self._subscribers.add(callback, path, self.current)

    def wait_for(self, predicate: Callable[[Config], bool], timeout: float | None = None) -> Config:
        """The first Config for which `predicate` holds, checked at once and after every change.

        Raises `TimeoutError` after `timeout` seconds, `Closed` once closed.
        """
        self._usable()
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._subscribers.listening() as changed:
            while True:
                changed.clear()
                config = self._matching(predicate)
                if config is not None:
                    return config
                left = None if deadline is None else max(deadline - time.monotonic(), 0)
                if not changed.wait(left):
                    raise TimeoutError(f"no configuration for which it holds came in {timeout} s")

    async def wait_for_async(
        self,
        predicate: Callable[[Config], bool],
        timeout: float | None = None,  # noqa: ASYNC109 - the contract's signature
    ) -> Config:
        """`wait_for`, without holding up the event loop."""
        import asyncio

        self._usable()

        async def first() -> Config:
            async with self._subscribers.listening_async() as changed:
                while True:
                    changed.clear()
                    config = self._matching(predicate)
                    if config is not None:
                        return config
                    await changed.wait()

        return await asyncio.wait_for(first(), timeout)

    def _matching(self, predicate: Callable[[Config], bool]) -> Config | None:
        self._usable()
        config = self.current
        return config if predicate(config) else None

    async def changes(self) -> AsyncIterator[Config]:
        """The current Config, then the newest after each change (one waits at most); ends at `close()`."""
        self._usable()
        last: Config | None = None
        async with self._subscribers.listening_async() as changed:
            while not self._closed:
                changed.clear()
                config = self.current
                if config != last:
                    last = config
                    yield config
                else:
                    await changed.wait()

    def reload(self) -> Reloaded | Unchanged | Rejected:
        """Reads every file again, in this thread, and takes what is good. Never raises for bad configuration."""
        self._usable()
        with self._reloading:
            outcome = self._take(self._reloader.read(None))
        self._follow()
        return outcome

    def close(self) -> None:
        """Ends watching and callbacks; `current` stays. From any thread, any number of times.

        No callback begins after it returns; it waits for a running one, unless called from it.
        """
        self._closed = True
        if not self._forked:
            self._watcher.close()
            self._subscribers.close()
            if self._published is not None:
                self._published.remove()

    def restart(self) -> None:
        """In a forked child: watches anew, with the parent's subscriptions dropped. Raises `Closed`."""
        if self._closed:
            raise Closed("it was closed")
        if self._forked:
            self.begin()

    def _usable(self) -> None:
        if self._closed:
            raise Closed("it was closed")
        if self._forked:
            raise Forked("this process is a fork: call restart() first")

    def _on_change(self, told: frozenset[Path]) -> None:
        """In the watcher's thread: these paths changed, or are due again."""
        with self._reloading:
            loaded = self._reloader.read(told)
            if loaded.errors and self._in_grace(told):
                return
            self._take(loaded)
        self._follow()

    def _in_grace(self, told: frozenset[Path]) -> bool:
        """Whether a fault is too young to be news; then it is looked at again when it is not."""
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        left = FAULT_GRACE - (now - self._failing_since)
        if self._fault is not None or left <= 0:
            return False
        for path in told:
            self._watcher.request(path, left)
        return True

    def _follow(self) -> None:
        """Watches what has to be watched now, and looks again at files that somebody is writing."""
        for path, seconds in self._reloader.waiting.items():
            self._watcher.request(path, seconds)
        paths = self._reloader.paths()
        if paths != self._watched:
            self._watched = paths
            self._watcher.set_paths(paths)

    def _take(self, loaded: Loaded) -> Reloaded | Unchanged | Rejected:
        """Takes a load, or rejects it whole. Under the reload lock."""
        if loaded.errors:
            return self._reject(loaded)
        self._newest = loaded
        self._failing_since = None
        recovered, self._fault = self._fault is not None, None
        old, config = self.current, loaded.config
        if config == old:
            self.current = _numbered(config, old.generation)
            if recovered:
                self._publish()
            return Unchanged(self.current)
        self.current = new = _numbered(config, old.generation + 1)
        self._loaded_at = _now()
        self._subscribers.tell(new)
        changes = old.diff(new)
        self._reporter.reloaded(new, changes, self._restart_required())
        self._publish()
        return Reloaded(new, changes)

    def _reject(self, loaded: Loaded) -> Rejected:
        fault = ConfigError(loaded.problems)
        known, self._fault = self._fault, fault
        if known is None or str(known) != str(fault):
            self._reporter.rejected(self.current, fault.problems)
            self._publish()
        return Rejected(fault.problems)

    def _restart_required(self) -> tuple[str, ...]:
        changed = tuple(key for key in _RESTART if self.current.value(key) != self._start.value(key))
        return ("mode", *changed) if self._newest.wanted_mode != self.current.mode else changed

    def _publish(self) -> None:
        if self._published is not None:
            error = self._published.write(self.current, self._newest, self._restart_required(), self._fault)
            if error is not None:
                self._reporter.unpublished(self.current, error)

    def _callback_failed(self, callback: Callback, error: BaseException) -> None:
        self._reporter.callback_failed(self.current, callback, error)

    def _on_state(self, state: State, detail: str) -> None:
        degraded = state in ("degraded", "polling")
        if degraded or (state == "native" and self._degraded):
            self._reporter.watching(self.current, state, detail)
        self._degraded = degraded

    def _forget(self) -> None:
        """In a forked child: the parent's threads are not here, its watches and its state file are its own."""
        self._forked = True
        self._watcher.forget()


def _numbered(config: Config, generation: int) -> Config:
    return msgspec.structs.replace(config, generation=generation)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


_living: weakref.WeakSet[LiveConfig] = weakref.WeakSet()


def _after_fork() -> None:
    for live in list(_living):
        live._forget()  # noqa: SLF001 - a fork is this module's own business


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
