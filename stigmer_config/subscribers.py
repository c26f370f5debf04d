"""Who is told of a change: callbacks, in one thread, and those who wait."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from .config import RESOLVED, Config
from .provenance import Change
from .settings import CHILDREN, find, suggest

if TYPE_CHECKING:
    import asyncio

Callback = Callable[[Config, tuple[Change, ...]], object]


class _Signal(Protocol):
    """What can be set: a `threading.Event`, or an asyncio one through its loop."""

    def set(self) -> None: ...


class _Subscription:
    """One callback, the path it is about, and the Config it saw last."""

    def __init__(self, callback: Callback, path: str, seen: Config) -> None:
        self.callback = callback
        self.path = path
        self.seen = seen

    def concerns(self, key: str) -> bool:
        """Whether the value of `key` stands below the path. What a model stands for is below the model."""
        path = self.path
        return not path or key == path or key.startswith(f"{path}.") or (path == "llm.model" and key in RESOLVED)


class Subscribers:
    """The callbacks and waiters of one LiveConfig. `on_error(callback, error)` is told what a callback raises.

    The thread that runs the callbacks starts with the first subscription.
    """

    def __init__(self, on_error: Callable[[Callback, BaseException], None]) -> None:
        self._on_error = on_error
        self._wake = threading.Condition()
        self._newest: Config | None = None
        self._closed = False
        self._subscriptions: tuple[_Subscription, ...] = ()
        self._signals: tuple[_Signal, ...] = ()
        self._thread: threading.Thread | None = None

    def add(self, callback: Callback, path: str, seen: Config) -> Callable[[], None]:
        """Adds a callback; returns what removes it. Raises `KeyError` for a path that does not exist."""
        if path and find(path) is None and path not in CHILDREN and path not in RESOLVED:
            raise KeyError(f"there is no key or section {path!r}: did you mean {suggest(path)}?")
        subscription = _Subscription(callback, path, seen)
        with self._wake:
            self._subscriptions = (*self._subscriptions, subscription)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="stigmer-config-callbacks", daemon=True)
                self._thread.start()

        def unsubscribe() -> None:
            with self._wake:
                self._subscriptions = tuple(kept for kept in self._subscriptions if kept is not subscription)

        return unsubscribe

    def tell(self, config: Config) -> None:
        """A new Config is current."""
        with self._wake:
            self._newest = config
            self._wake.notify_all()
        self._signal()

    def _signal(self) -> None:
        for signal in self._signals:
            signal.set()

    def close(self) -> None:
        """No callback begins after this returns; a running one is waited for, unless this is called from it."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        self._signal()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closed or self._newest is not None)
                new, self._newest = self._newest, None
            if self._closed or new is None:
                return
            self._call_all(new)

    def _call_all(self, new: Config) -> None:
        """One round: every subscriber that sees an effective difference, in the order of subscription."""
        differences: dict[int, tuple[Change, ...]] = {}
        for subscription in self._subscriptions:
            seen = subscription.seen
            if id(seen) not in differences:
                differences[id(seen)] = seen.diff(new) if seen != new else ()
            subscription.seen = new
            concerning = tuple(change for change in differences[id(seen)] if subscription.concerns(change.key))
            if concerning and subscription in self._subscriptions:
                if self._closed:
                    return
                self._call(subscription.callback, new, concerning)

    def _call(self, callback: Callback, new: Config, changes: tuple[Change, ...]) -> None:
        try:
            callback(new, changes)
        except BaseException as error:  # noqa: BLE001 - a callback's fault hurts neither the others nor the thread
            self._on_error(callback, error)

    @contextlib.contextmanager
    def listening(self) -> Iterator[threading.Event]:
        """An event that is set at each change, and at the end."""
        event = threading.Event()
        with self._listed(event):
            yield event

    @contextlib.asynccontextmanager
    async def listening_async(self) -> AsyncIterator[asyncio.Event]:
        """The same for the running event loop."""
        import asyncio

        event = asyncio.Event()
        with self._listed(_LoopSignal(asyncio.get_running_loop(), event)):
            yield event

    @contextlib.contextmanager
    def _listed(self, signal: _Signal) -> Iterator[None]:
        with self._wake:
            self._signals = (*self._signals, signal)
        try:
            yield
        finally:
            with self._wake:
                self._signals = tuple(kept for kept in self._signals if kept is not signal)


class _LoopSignal:
    """Sets an asyncio event from another thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
        self._loop = loop
        self._event = event

    def set(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits there any more
            self._loop.call_soon_threadsafe(self._event.set)
