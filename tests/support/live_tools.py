"""A LiveConfig in the sandbox, and ways to wait for what it does without sleeping a guess."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import structlog
from structlog.testing import capture_logs

from stigmer_config import Change, Config, Environment, LiveConfig
from tests.support.sandbox import Sandbox

DEADLINE = 15.0  # seconds for what should take milliseconds: only a failure waits for it
LOCAL = "mode: local\n"


def world(sandbox: Sandbox, variables: Mapping[str, str] | None = None, **options: Any) -> Environment:
    """The sandbox's environment with a runtime folder of its own."""
    return sandbox.environment({"XDG_RUNTIME_DIR": str(sandbox.root / "run"), **(variables or {})}, **options)


@contextlib.contextmanager
def living(sandbox: Sandbox, variables: Mapping[str, str] | None = None, **arguments: Any) -> Iterator[LiveConfig]:
    """A LiveConfig in local mode, closed at the end."""
    if not sandbox.user_file.exists():
        sandbox.write(user=LOCAL)
    with LiveConfig.start(environment=world(sandbox, variables), **arguments) as live:
        yield live


@contextlib.contextmanager
def no_logging_configured() -> Iterator[None]:
    """The root logger without pytest's handlers: a program that has configured no logging."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    root.handlers[:] = []
    try:
        yield
    finally:
        root.handlers[:] = handlers


@contextlib.contextmanager
def logged() -> Iterator[list[Any]]:
    """The events of the block; structlog is left as it was found."""
    try:
        with capture_logs() as events:
            yield events
    finally:
        structlog.reset_defaults()


def heard(events: list[Any], name: str, times: int = 1) -> bool:
    """Waits until an event was logged this many times; its effect is visible a moment before."""
    return until(lambda: sum(event["event"] == name for event in events) >= times)


def save(path: Path, text: str) -> None:
    """Writes a file atomically, as most programs do."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    new = path.with_name("new.tmp")
    new.write_text(text, encoding="utf-8")
    new.chmod(0o600)
    new.replace(path)


def until(condition: Callable[[], object], timeout: float = DEADLINE) -> bool:
    """Polls every two milliseconds, for conditions without an event. Returns whether it became true."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


def rejected(live: LiveConfig) -> bool:
    """Waits for a reload to be rejected."""
    return until(lambda: live.status.last_error is not None)


def takes(live: LiveConfig, **llm: Any) -> Config:
    """Waits for a Config with these values of `llm`."""
    return live.wait_for(lambda c: all(getattr(c.llm, name) == value for name, value in llm.items()), DEADLINE)


class Calls:
    """A callback that notes how it is called."""

    def __init__(self) -> None:
        self.seen: list[tuple[Config, tuple[Change, ...]]] = []
        self._changed = threading.Condition()

    def __call__(self, new: Config, changes: tuple[Change, ...]) -> None:
        with self._changed:
            self.seen.append((new, changes))
            self._changed.notify_all()

    def reaches(self, number: int) -> bool:
        """Waits for so many calls."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.seen) >= number, DEADLINE)

    @property
    def keys(self) -> list[set[str]]:
        """The changed keys of each call."""
        return [{change.key for change in changes} for _, changes in self.seen]


def resources() -> tuple[int, int]:
    """How many threads and descriptors this process has."""
    return threading.active_count(), len(os.listdir("/proc/self/fd"))
