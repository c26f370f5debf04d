"""`LiveConfig`: the current Config of a worker, replaced at each change. The only mutable object.

The watcher's thread reloads, another one runs the callbacks. A change replaces a single reference: a reader sees the
whole old or the whole new Config.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any

from ..config.config import Config
from ..core import forks
from ..core.environment import Environment
from ..core.provenance import Change
from ..loading.request import ProjectDir
from ..loading.request import request as load_request
from ..reload.reloader import Reloader
from .log_events import Reporter, logging_aside
from .provider_check import Readiness
from .reload_loop import ReloadLoop
from .results import Closed, Forked, Rejected, Reloaded, Status, Unchanged
from .subscribers import Callback, Subscribers
from .waiters import Waiters

__all__ = ["Closed", "Forked", "LiveConfig", "Rejected", "Reloaded", "Status", "Unchanged"]


class LiveConfig:
    """A configuration that follows its files. Create it with `LiveConfig.start(…)`.

    `current` is the newest good Config: read it once per execution, and use that Config throughout.
    """

    __slots__ = (
        "__weakref__",
        "_begun",
        "_changing",
        "_follower",
        "_follows_forks",
        "_forked",
        "_readiness",
        "_reporter",
        "_subscribers",
        "_waiters",
        "current",
    )

    current: Config

    def __init__(
        self,
        reloader: Reloader | None = None,
        reporter: Reporter | None = None,
        *,
        publishes: bool = True,
        follow_forks: bool = False,
    ) -> None:
        """Loads; `begin` starts following the files. `start` does both. Raises `ConfigError`.

        `publishes`: whether `stigmer config workers` lists it.
        """
        if reloader is None:
            raise TypeError("LiveConfig() is not called directly: use LiveConfig.start(…), which loads and follows")
        self._reporter = reporter if reporter is not None else Reporter()
        self._follower = ReloadLoop(reloader, self._reporter, self._swap, self._notify, publishes=publishes)
        self.current = self._follower.last_good.current
        self._forked = False
        self._follows_forks = follow_forks
        self._readiness: Readiness | None = None

    def begin(self) -> None:
        """Follows every file from now on. Call it once."""
        _watch_forks()
        with forks.section():
            self._begin_anew()
            self._follower.begin()
            _living.add(self)

    def _begin_anew(self) -> None:
        """Creates the locks and lists of this process."""
        self._subscribers = Subscribers(self._callback_failed)
        self._waiters = Waiters(self._current)
        self._changing = threading.RLock()  # serialises restart()
        self._begun = threading.Event()  # in a forked child: whether it restarted or closed

    @classmethod
    def start(
        cls,
        mode: str | None = None,
        project_dir: ProjectDir = None,
        flags: Mapping[str, Any] | None = None,
        overrides: Sequence[Mapping[str, Any]] | None = None,
        require: Iterable[str] = (),
        environment: Environment | None = None,
        *,
        apps: Iterable[type] = (),
        check: bool = False,
        follow_forks: bool = False,
    ) -> LiveConfig:
        """Loads (the arguments are `load`'s), logs `config.loaded`, and follows every file from now on.

        With `check` it also checks, in the background, whether the provider can answer: now and after each change of
        provider, endpoint or model. It logs `provider.ready`, or `provider.unreachable` with the fix.

        With `follow_forks` each forked child (gunicorn's `--preload`, multiprocessing) follows the files, too, with a
        copy of the subscriptions, and `stigmer config workers` lists it. Without it a child keeps the configuration of
        the fork until it calls `restart()`, and logs `config.not_following`.

        The mode never changes. Raises `ConfigError` when the configuration has errors.
        """
        request = load_request(mode, project_dir, flags, overrides, require, environment, apps)
        live = cls(Reloader(request), follow_forks=follow_forks)
        live._reporter.loaded(live.current, live._follower.last_good.newest.layers)
        live.begin()
        if check:
            live._readiness = Readiness(live._reporter)
            live._readiness.check(live.current)
        return live

    def __enter__(self) -> LiveConfig:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def status(self) -> Status:
        """Generation, watch state, and the newest reload's result."""
        last_good = self._follower.last_good
        return Status(
            generation=self.current.generation,
            loaded_at=last_good.loaded_at,
            last_error=last_good.fault,
            restart_required=last_good.restart_required,
            watching=self._follower.watching,
            reloads=last_good.reloads,
            rejections=last_good.rejections,
            last_success=last_good.last_success,
        )

    def subscribe(self, callback: Callback, path: str = "") -> Callable[[], None]:
        """Calls `callback(new, changes)` after each change of an effective value below `path`.

        `path` is a key, a section, or "" for everything. There is no initial call. Calls are made in one thread, in the
        order of subscription; rapid changes are combined. Returns a function that unsubscribes (and does not wait for a
        running call). Raises `KeyError` for a path that does not exist, `TypeError` for a coroutine function or an
        object that is not callable.
        """
        return self._subscribers.add(callback, path, self._current())

    def wait_for(self, predicate: Callable[[Config], bool], timeout: float | None = None) -> Config:
        """Waits for a Config for which `predicate` is true: checks the current one, then each newer one.

        Raises `TimeoutError` after `timeout` seconds, `Closed` once closed.
        """
        self._current()
        return self._waiters.first(predicate, timeout)

    async def wait_for_async(
        self,
        predicate: Callable[[Config], bool],
        timeout: float | None = None,  # noqa: ASYNC109 - the contract's signature
    ) -> Config:
        """`wait_for` for asyncio."""
        self._current()
        return await self._waiters.first_async(predicate, timeout)

    def changes(self) -> AsyncIterator[Config]:
        """Yields the current Config, then the newest after each change (queues at most one); ends at `close()`."""
        if not self._follower.closed:
            self._current()
        return self._waiters.each()

    def reload(self) -> Reloaded | Unchanged | Rejected:
        """Reads every file that may have changed, in this thread, and applies a good configuration.

        Never raises for a bad one. Does not wait for the callbacks. In a signal handler that interrupts a reload, it
        defers to the watcher and returns `Unchanged`.
        """
        self._current()
        return self._follower.reload()

    def close(self) -> None:
        """Ends watching and callbacks; `current` stays. From any thread, any number of times.

        No callback begins after it returns; it waits for a running one, unless called from it.
        """
        self._follower.closed = True
        self._begun.set()
        if self._forked:
            return
        self._waiters.wake()
        if self._follower.is_here():  # the reload that called this has to end first
            threading.Thread(target=self._finish, name="stigmer-config-close", daemon=True).start()
        else:
            self._finish()

    def _finish(self) -> None:
        self._follower.close()
        self._subscribers.close()
        if self._readiness is not None:
            self._readiness.close()
        _living.discard(self)

    def restart(self) -> None:
        """In a forked child that does not follow the files: starts following, without the parent's subscriptions.

        Elsewhere it does nothing. Raises `Closed`, and `RuntimeError` when the system has no more threads.
        """
        with self._changing:
            if self._follower.closed:
                raise Closed("it was closed")
            if not self._forked:
                return
            self._begun.set()
            with forks.section():
                self._subscribers = Subscribers(self._callback_failed)
                self._follow_again()

    def _current(self) -> Config:
        """The current Config. Raises `Closed` or `Forked`."""
        if self._follower.closed:
            raise Closed("it was closed")
        if self._forked:
            raise Forked("this process is a fork: call restart() first, or start with follow_forks=True")
        return self.current

    def _swap(self, new: Config) -> None:
        """Makes `new` current. In the reloading thread."""
        self.current = new
        self._waiters.wake()

    def _notify(self, old: Config, new: Config, changes: tuple[Change, ...]) -> None:
        self._subscribers.notify(old, new, changes)
        if self._readiness is not None:
            self._readiness.check(new)

    def _callback_failed(self, callback: Callback, error: BaseException) -> None:
        if not (isinstance(error, Closed) and self._follower.closed):
            self._reporter.callback_failed(self.current, callback, error)

    def _follow_in_child(self) -> None:
        """In this order: a callback that runs at once may call any method."""
        try:
            self._subscribers.inherit(self.current)
            self._follow_again()
            self._subscribers.start()
        except Exception:  # noqa: BLE001 - no more threads, say: restart() may be tried later
            self._subscribers.forget()

    def _follow_again(self) -> None:
        self._follower.restart()
        self._forked = False

    def _after_fork(self) -> None:
        """In a forked child: replaces the locks, which the parent's threads may hold, and follows or warns."""
        self._forked = True
        self._changing, self._begun = threading.RLock(), threading.Event()
        self.current = self._follower.last_good.current  # it may have been accepted but not swapped in yet
        self._readiness = self._readiness.in_child() if self._readiness is not None else None
        self._follower.forget()
        self._waiters.forget()
        if self._follower.closed or not self._follows_forks:
            self._subscribers.forget()
        else:
            self._follow_in_child()
        if self._forked and not self._follower.closed:
            with contextlib.suppress(RuntimeError):  # no more threads
                threading.Thread(target=self._warn, name="stigmer-config-forked", daemon=True).start()

    def _warn(self) -> None:
        """Logs that this process does not follow the files, unless it restarts or closes at once."""
        if not self._begun.wait(_WARNS_AFTER):
            self._reporter.not_following(self.current)


_WARNS_AFTER = 0.2  # seconds after a fork: children that restart at once, or run another program, do not log it

_living: weakref.WeakSet[LiveConfig] = weakref.WeakSet()
_watches_forks = False


def _watch_forks() -> None:
    """Registers the fork handlers, once, before the first threads start."""
    global _watches_forks  # noqa: PLW0603
    forks.register()
    if not _watches_forks and hasattr(os, "register_at_fork"):
        _watches_forks = True
        os.register_at_fork(after_in_child=_after_fork)


def _after_fork() -> None:
    """Logs in separate threads: stderr's pipe may be full, and this process may be its reader."""
    with logging_aside():
        for live in list(_living):
            live._after_fork()  # noqa: SLF001 - forks are handled by this module


@atexit.register
def _at_exit() -> None:
    for live in list(_living):
        live._follower.leave()  # noqa: SLF001 - and so is the exit
