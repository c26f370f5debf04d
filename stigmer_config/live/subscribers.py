"""The callbacks of one LiveConfig, called in a separate thread."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable

from ..config.config import RESOLVED, Config
from ..core import forks
from ..core.provenance import Change
from ..settings.unknown import unknown_key

HANDOVER = 0.005  # the most seconds that a reload waits for the callbacks' thread to begin

Callback = Callable[[Config, tuple[Change, ...]], object]


class _Subscription:
    """A callback, its path, and the last Config it got."""

    __slots__ = ("active", "callback", "path", "seen")

    def __init__(self, callback: Callback, path: str, seen: Config) -> None:
        self.callback = callback
        self.path = path
        self.seen = seen
        self.active = True

    def concerns(self, key: str) -> bool:
        """Whether `key` is the path or below it. The resolved model's keys count as below `llm.model`."""
        path = self.path
        return not path or key == path or key.startswith(f"{path}.") or (path == "llm.model" and key in RESOLVED)


class Subscribers:
    """Runs the callbacks, in order, one generation at a time. Their exceptions go to `on_error(callback, error)`.

    The thread starts with the first subscription.
    """

    def __init__(self, on_error: Callable[[Callback, BaseException], None]) -> None:
        self._on_error = on_error
        self._wake = threading.Condition()
        self._newest: Config | None = None
        self._differences: dict[int, tuple[Config, tuple[Change, ...]]] = {}  # to the newest, by identity
        self._closed = False
        self._subscriptions: tuple[_Subscription, ...] = ()
        self._running: _Subscription | None = None  # the subscription whose callback is running
        self._thread: threading.Thread | None = None
        self._is_idle = False  # the thread waits for `_newest`

    def add(self, callback: Callback, path: str, seen: Config) -> Callable[[], None]:
        """Adds a callback; returns a function that removes it.

        Raises `KeyError` for a path that does not exist, `TypeError` for a callback that is a coroutine function or
        cannot be called.
        """
        schema = seen.schema
        if path and schema.find(path) is None and not schema.is_section(path) and path not in RESOLVED:
            raise unknown_key(path, schema, what="key or section")
        if not callable(callback):
            raise TypeError(f"a callback is a function `callback(new, changes)`, not {type(callback).__name__}")
        if inspect.iscoroutinefunction(callback):
            raise TypeError("a callback is a plain function: for a coroutine use `async for config in live.changes()`")
        subscription = _Subscription(callback, path, seen)
        with self._wake:
            if self._thread is None and not self._closed:
                self._start()
            self._subscriptions = (*self._subscriptions, subscription)

        def unsubscribe() -> None:
            subscription.active = False
            with self._wake:
                self._subscriptions = tuple(kept for kept in self._subscriptions if kept is not subscription)

        return unsubscribe

    def notify(self, old: Config, new: Config, changes: tuple[Change, ...]) -> None:
        """Schedules the callbacks for `new`, which follows `old` and differs from it by these changes."""
        with self._wake:
            self._newest = new
            self._differences = {id(old): (old, changes)}
            self._wake.notify_all()
            if self._is_idle:
                # Lets the callbacks' thread run before the reload continues, which would keep the GIL.
                self._wake.wait(HANDOVER)

    def close(self, *, wait: bool = True) -> None:
        """Stops the callbacks. Waits for a running one, unless called from it; none begins after this returns."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        if wait and self._thread is not None and not self.is_here():
            self._thread.join()

    def is_here(self) -> bool:
        """Whether this is the callbacks' thread."""
        return self._thread is threading.current_thread()

    def forget(self) -> None:
        """In a forked child: drops every subscription, and the lock, which a thread of the parent may hold."""
        self._wake = threading.Condition()
        self._subscriptions, self._thread, self._closed, self._is_idle = (), None, True, False

    def inherit(self, newest: Config) -> None:
        """In a forked child: keeps the parent's subscriptions, for `start`.

        A subscriber that did not get `newest` yet is called, unless it is the callback that forked.
        """
        if self._running is not None and self.is_here():
            self._running.seen = newest
        self._wake = threading.Condition()
        self._running, self._thread, self._is_idle = None, None, False
        self._newest, self._differences = newest, {}

    def start(self) -> None:
        """In a forked child, after `inherit`: starts the thread, if there is anything to call."""
        with self._wake:
            if self._subscriptions and self._thread is None and not self._closed:
                self._start()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="stigmer-config-callbacks", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no more threads
            self._thread = None
            raise

    def _run(self) -> None:
        while True:
            with self._wake:
                self._is_idle = True
                self._wake.wait_for(lambda: self._closed or self._newest is not None)
                self._is_idle = False
                new, self._newest = self._newest, None
                differences, self._differences = self._differences, {}
                self._wake.notify_all()
            if self._closed or new is None:
                return
            with forks.section():
                self._call_all(new, differences)
            if not self.is_here():  # a callback forked, and this is the child
                return

    def _call_all(self, new: Config, differences: dict[int, tuple[Config, tuple[Change, ...]]]) -> None:
        """Calls every subscriber for which an effective value differs, in the order of subscription."""
        for subscription in self._subscriptions:
            seen = subscription.seen
            if seen.generation >= new.generation:
                continue  # it subscribed after this change
            if id(seen) not in differences:
                differences[id(seen)] = (seen, seen.diff(new))
            concerning = tuple(change for change in differences[id(seen)][1] if subscription.concerns(change.key))
            if concerning and subscription.active:
                if self._closed or not self.is_here():
                    return
                self._running = subscription
                self._call(subscription.callback, new, concerning)
                self._running = None
            subscription.seen = new  # after the call: a child forked in the middle of it repeats it

    def _call(self, callback: Callback, new: Config, changes: tuple[Change, ...]) -> None:
        try:
            callback(new, changes)
        except BaseException as error:  # noqa: BLE001 - a callback's fault hurts neither the others nor the thread
            self._on_error(callback, error)
