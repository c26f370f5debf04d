"""What makes a fork safe while threads of ours run: it waits until none of them is in the middle of something.

A child gets a copy of every lock as it is at the fork, and no thread that would ever release it. So whatever our
threads do under locks of others (a log call above all) they do in a `section`, and a fork waits for the end of those
that have begun, WAIT seconds at most, while no other begins. Locks of our own are made anew in the child besides.
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
    """Counts the threads in sections, and closes for forks. `before`, `in_parent` and `in_child` are the fork's.

    Re-entrant: a thread that is in a section may begin others, and the forking thread may always.
    """

    def __init__(self) -> None:
        self._inside: dict[int, int] = {}  # how many sections each thread is in
        self._forking: list[int] = []  # the threads that fork
        self._stuck: set[int] = set()  # threads that a fork has waited for in vain: the next one does not
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def section(self) -> Iterator[None]:
        """What is done in here no fork of another thread cuts in two, unless it takes more than WAIT seconds."""
        thread = threading.get_ident()
        with self._changed:
            if thread not in self._inside and thread not in self._forking:
                # Not for ever: the fork may wait for a lock that this thread has.
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
        """Opens for the other threads."""
        with self._changed:
            with contextlib.suppress(ValueError):  # an interrupt came before it was there
                self._forking.remove(threading.get_ident())
            self._changed.notify_all()

    def in_child(self) -> None:
        """The forking thread is the only one that is left."""
        thread = threading.get_ident()
        lost = self._inside.keys() - {thread}
        self._inside = {thread: self._inside[thread]} if thread in self._inside else {}
        self._forking, self._stuck, self._changed = [], set(), threading.Condition()
        if lost:
            _free_streams()


def _free_streams() -> None:
    """Frees the locks of the standard streams.

    A thread that is not in this process may hold them in the middle of writing to a full pipe. What it had not
    written yet is for the parent to write.
    """
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        buffer = getattr(stream, "buffer", None)
        if type(buffer) is io.BufferedWriter:
            with contextlib.suppress(OSError, ValueError):  # closed or detached
                buffer.__init__(buffer.raw)  # type: ignore[misc]  # a new lock is all that it makes beside the buffer
    with contextlib.suppress(Exception):  # no public name: structlog's print loggers hold a lock of each stream's
        for lock in list(sys.modules["structlog._output"].WRITE_LOCKS.values()):
            lock._at_fork_reinit()  # noqa: SLF001


_gate = ForkGate()
section = _gate.section
_is_registered = False


def register() -> None:
    """Makes forks wait from now on. Any number of times; before a process has threads of ours.

    After logging, whose own lock a fork takes first and gives back last: the other way round a thread that logs
    could wait for a fork that waits for it.
    """
    global _is_registered  # noqa: PLW0603
    import logging  # noqa: F401

    if not _is_registered and hasattr(os, "register_at_fork"):
        _is_registered = True
        os.register_at_fork(before=_gate.before, after_in_parent=_gate.in_parent, after_in_child=_gate.in_child)
