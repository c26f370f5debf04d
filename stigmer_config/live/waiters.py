"""Waits for a change, in threads and in event loops."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from ..config.config import Config
from .results import Closed

if TYPE_CHECKING:
    import asyncio

Current = Callable[[], Config]  # raises when waiting is impossible
Predicate = Callable[[Config], bool]


class _Signal(Protocol):
    """A `threading.Event`, or an asyncio event set through its loop."""

    def set(self) -> None: ...


class Waiters:
    """The waiting threads and tasks of one LiveConfig. Each calls `current` at once, and after each `wake`."""

    def __init__(self, current: Current) -> None:
        self._current = current
        self._lock = threading.Lock()
        self._signals: tuple[_Signal, ...] = ()

    def wake(self) -> None:
        """Makes every waiter check again."""
        for signal in self._signals:
            signal.set()

    def first(self, predicate: Predicate, timeout: float | None) -> Config:
        """Waits for a Config for which `predicate` is true. Raises `TimeoutError` after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        changed = threading.Event()
        with self._listed(changed):
            while True:
                changed.clear()
                config = self._current()
                if predicate(config):
                    return config
                left = None if deadline is None else max(deadline - time.monotonic(), 0)
                if not changed.wait(left):
                    raise _too_late(timeout)

    async def first_async(self, predicate: Predicate, timeout: float | None) -> Config:  # noqa: ASYNC109 - the contract's
        """`first` for asyncio."""
        import asyncio

        deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        with self._listed_async() as changed:
            while True:
                changed.clear()
                config = self._current()
                if predicate(config):
                    return config
                try:
                    async with asyncio.timeout_at(deadline):
                        await changed.wait()
                except TimeoutError:
                    raise _too_late(timeout) from None

    async def each(self) -> AsyncIterator[Config]:
        """Yields the current Config, then the newest after each change (queues at most one). Ends once closed."""
        last: Config | None = None
        with self._listed_async() as changed:
            while True:
                changed.clear()
                try:
                    config = self._current()
                except Closed:
                    return
                if config == last:
                    await changed.wait()
                else:
                    last = config
                    yield config

    def forget(self) -> None:
        """In a forked child: drops the waiters and the lock, which a thread of the parent may hold."""
        self._lock = threading.Lock()
        self._signals = ()

    @contextlib.contextmanager
    def _listed_async(self) -> Iterator[asyncio.Event]:
        import asyncio

        event = asyncio.Event()
        with self._listed(_LoopSignal(asyncio.get_running_loop(), event)):
            yield event

    @contextlib.contextmanager
    def _listed(self, signal: _Signal) -> Iterator[None]:
        with self._lock:
            self._signals = (*self._signals, signal)
        try:
            yield
        finally:
            with self._lock:
                self._signals = tuple(kept for kept in self._signals if kept is not signal)


class _LoopSignal:
    """Sets an asyncio event from another thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
        self._loop = loop
        self._event = event

    def set(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._event.set)


def _too_late(timeout: float | None) -> TimeoutError:
    return TimeoutError(f"no configuration satisfied the predicate within {timeout} s")
