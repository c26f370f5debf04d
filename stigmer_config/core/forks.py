"""Makes a fork safe while threads of this package run: the fork waits until none of them is inside a `section`.

A child gets a copy of every lock in its state at the fork, but not the thread that would release it. So our threads
use other packages' locks (a log call above all) only in a `section`. A fork waits at most WAIT seconds for the running
sections to end, and no new one begins meanwhile. Our own locks are also replaced in the child.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Final

WAIT: Final = 1.0  # seconds; contract, section 5


class ForkGate:
    """Counts the threads in sections, and blocks new ones during a fork, which calls `before`, `in_parent`, `in_child`.

    Re-entrant: a thread inside a section may begin others, and the forking thread always may.
    """

    def __init__(self) -> None:
        self._inside: dict[int, int] = {}  # number of sections that each thread is in
        self._forking: list[int] = []  # the forking threads
        self._stuck: set[int] = set()  # threads for which a fork has timed out: the next fork does not wait for them
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def section(self) -> Iterator[None]:
        """No fork by another thread happens within this block, unless the block takes more than WAIT seconds."""
        thread = threading.get_ident()
        with self._changed:
            if thread not in self._inside and thread not in self._forking:
                # Bounded: the fork may be waiting for a lock that this thread holds.
                self._changed.wait_for(lambda: not self._forking, 2 * WAIT)
            self._inside[thread] = self._inside.get(thread, 0) + 1
        try:
            yield
        finally:
            with self._changed:
                self._inside[thread] -= 1
                if not self._inside[thread]:
                    del self._inside[thread]
                    self._stuck.discard(thread)
                    self._changed.notify_all()

    def before(self) -> None:
        """Waits for the other threads' sections to end."""
        thread, deadline = threading.get_ident(), time.monotonic() + WAIT
        with self._changed:
            self._forking.append(thread)
            while self._inside.keys() - self._stuck - {thread}:
                if not self._changed.wait(max(deadline - time.monotonic(), 0.0)):
                    self._stuck |= self._inside.keys() - {thread}

    def in_parent(self) -> None:
        """Lets the other threads begin sections again."""
        with self._changed:
            with contextlib.suppress(ValueError):  # an interrupt came before it was added
                self._forking.remove(threading.get_ident())
            self._changed.notify_all()

    def in_child(self) -> None:
        """Only the forking thread is left."""
        thread = threading.get_ident()
        lost = self._inside.keys() - {thread}
        self._inside = {thread: self._inside[thread]} if thread in self._inside else {}
        self._forking, self._stuck, self._changed = [], set(), threading.Condition()
        if lost:
            _free_streams()


def _free_streams() -> None:
    """Frees the locks of the standard streams.

    A thread of the parent may have held them while writing to a full pipe. The parent writes the rest of its output.
    """
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        buffer = getattr(stream, "buffer", None)
        if type(buffer) is io.BufferedWriter:
            with contextlib.suppress(OSError, ValueError):  # closed or detached
                buffer.__init__(buffer.raw)  # type: ignore[misc]  # a new lock is all that it makes beside the buffer
    with contextlib.suppress(Exception):  # no public name: structlog's print loggers hold a lock for each stream
        for lock in list(sys.modules["structlog._output"].WRITE_LOCKS.values()):
            lock._at_fork_reinit()  # noqa: SLF001


_gate = ForkGate()
section = _gate.section
_is_registered = False


def register() -> None:
    """Registers the fork handlers. Idempotent. Call it before this package starts threads in the process.

    Handlers registered later run earlier before a fork: these must run before those of `logging`, because a thread that
    logs could otherwise wait for a fork that waits for it.
    """
    global _is_registered  # noqa: PLW0603
    import logging  # noqa: F401

    if not _is_registered and hasattr(os, "register_at_fork"):
        _is_registered = True
        os.register_at_fork(before=_gate.before, after_in_parent=_gate.in_parent, after_in_child=_gate.in_child)
