"""LiveConfig: the current Config of a worker that never restarts for a change. The only mutable thing.

One thread (the watcher's) reloads, another runs the callbacks. The swap is one reference: a reader sees the
whole old or the whole new Config.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any

from ..config.config import Config
from ..core.environment import Environment
from ..core.provenance import Change
from ..loading.request import ProjectDir
from ..loading.request import request as load_request
from ..reload.reloader import Reloader
from .log_events import Reporter
from .provider_check import Readiness
from .reload_loop import Follower
from .results import Closed, Forked, Rejected, Reloaded, Status, Unchanged
from .subscribers import Callback, Subscribers
from .waiters import Waiters

__all__ = ["Closed", "Forked", "LiveConfig", "Rejected", "Reloaded", "Status", "Unchanged"]


class LiveConfig:
    """The current configuration, kept current. Made by `LiveConfig.start(…)`.

    `current` is the newest good Config: read it once per execution, and keep what you took.
    """

    __slots__ = (
        "__weakref__",
        "_follower",
        "_forked",
        "_readiness",
        "_reporter",
        "_subscribers",
        "_waiters",
        "current",
    )

    current: Config

    def __init__(
        self, reloader: Reloader | None = None, reporter: Reporter | None = None, *, publishes: bool = True
    ) -> None:
        """Loads, and follows once `begin` is called: `start` does both. Raises `ConfigError`.

        `publishes`: whether `stigmer config workers` lists it.
        """
        if reloader is None:
            raise TypeError("LiveConfig() is not called directly: use LiveConfig.start(…), which loads and follows")
        self._reporter = reporter if reporter is not None else Reporter()
        self._follower = Follower(reloader, self._reporter, self._swap, self._tell, publishes=publishes)
        self.current = self._follower.held.current
        self._forked = False
        self._readiness: Readiness | None = None

    def begin(self) -> None:
        """Follows every file from now on. Once."""
        self._follow(self._follower.begin)

    def _follow(self, begin: Callable[[], None]) -> None:
        self._subscribers = Subscribers(self._callback_failed)
        self._waiters = Waiters(self._look)
        self._forked = False
        begin()
        _living.add(self)

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
        check: bool = False,
    ) -> LiveConfig:
        """Loads (the arguments are `load`'s), logs `config.loaded`, and follows every file from now on.

        With `check` it also looks whether the provider can answer, now and after each change of provider, endpoint
        or model, and logs `provider.ready` or `provider.unreachable` with the fix; nothing waits for that.

        Raises `ConfigError` when the configuration is not good. It keeps the mode it starts with.
        """
        live = cls(Reloader(load_request(mode, project_dir, flags, overrides, require, environment)))
        live._reporter.loaded(live.current, live._follower.held.newest.layers)
        live.begin()
        if check:
            live._readiness = Readiness(live._reporter)
            live._readiness.look_at(live.current)
        return live

    def __enter__(self) -> LiveConfig:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def status(self) -> Status:
        """How it is doing now."""
        held = self._follower.held
        return Status(
            generation=self.current.generation,
            loaded_at=held.loaded_at,
            last_error=held.fault,
            restart_required=held.restart_required,
            watching=self._follower.watching,
            reloads=held.reloads,
            rejections=held.rejections,
            last_success=held.last_success,
        )

    def subscribe(self, callback: Callback, path: str = "") -> Callable[[], None]:
        """Calls `callback(new, changes)` after each change of an effective value below `path`.

        `path` is a key, a section, or "" for everything. There is no first call; calls come in one thread, in
        the order of subscription; changes that come fast are one. Returns what unsubscribes (a call that has
        begun is not waited for). Raises `KeyError` for a path that does not exist, `TypeError` for a coroutine
        function or what cannot be called.
        """
        return self._subscribers.add(callback, path, self._look())

    def wait_for(self, predicate: Callable[[Config], bool], timeout: float | None = None) -> Config:
        """The current Config once `predicate` holds for it: looked at now, and whenever there is a newer one.

        Raises `TimeoutError` after `timeout` seconds, `Closed` once closed.
        """
        self._look()
        return self._waiters.first(predicate, timeout)

    async def wait_for_async(
        self,
        predicate: Callable[[Config], bool],
        timeout: float | None = None,  # noqa: ASYNC109 - the contract's signature
    ) -> Config:
        """`wait_for`, without holding up the event loop."""
        self._look()
        return await self._waiters.first_async(predicate, timeout)

    def changes(self) -> AsyncIterator[Config]:
        """The current Config, then the newest after each change (one waits at most); ends at `close()`."""
        if not self._follower.closed:
            self._look()
        return self._waiters.each()

    def reload(self) -> Reloaded | Unchanged | Rejected:
        """Reads every file again, in this thread, and takes what is good. Never raises for bad configuration.

        Does not wait for the callbacks. In a signal's handler that came in the middle of a reload, it is left to
        the watcher.
        """
        self._look()
        return self._follower.reload()

    def close(self) -> None:
        """Ends watching and callbacks; `current` stays. From any thread, any number of times.

        No callback begins after it returns; it waits for a running one, unless called from it.
        """
        self._follower.closed = True
        if self._forked:
            return
        self._waiters.wake()
        if self._follower.is_here():  # the reload that called this ends first
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
        """In a forked child: follows the files anew, with the parent's subscriptions dropped. Raises `Closed`."""
        if self._follower.closed:
            raise Closed("it was closed")
        if self._forked:
            self._follow(self._follower.restart)

    def _look(self) -> Config:
        """The current Config. Raises `Closed` or `Forked`."""
        if self._follower.closed:
            raise Closed("it was closed")
        if self._forked:
            raise Forked("this process is a fork: call restart() first")
        return self.current

    def _swap(self, new: Config) -> None:
        """In whichever thread reloads."""
        self.current = new
        self._waiters.wake()

    def _tell(self, old: Config, new: Config, changes: tuple[Change, ...]) -> None:
        self._subscribers.tell(old, new, changes)
        if self._readiness is not None:
            self._readiness.look_at(new)

    def _callback_failed(self, callback: Callback, error: BaseException) -> None:
        if not (isinstance(error, Closed) and self._follower.closed):
            self._reporter.callback_failed(self.current, callback, error)

    def _forget(self) -> None:
        """In a forked child: none of the parent's threads is here, and its locks are not to be waited for."""
        self._forked = True
        self._readiness = None
        self._follower.forget()
        self._subscribers.forget()
        self._waiters.forget()


_living: weakref.WeakSet[LiveConfig] = weakref.WeakSet()


def _after_fork() -> None:
    for live in list(_living):
        live._forget()  # noqa: SLF001 - a fork is this module's own business


@atexit.register
def _at_exit() -> None:
    for live in list(_living):
        live._follower.leave()  # noqa: SLF001 - and so is the end


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
