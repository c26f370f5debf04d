"""The gate between forks and the sections of other threads."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from stigmer_config.core.forks import WAIT, ForkGate

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
DEADLINE = 15.0


@contextlib.contextmanager
def in_section(gate: ForkGate) -> Iterator[threading.Event]:
    """Another thread in a section until the event is set."""
    begun, may_end = threading.Event(), threading.Event()

    def stay() -> None:
        with gate.section():
            begun.set()
            may_end.wait(DEADLINE)

    thread = threading.Thread(target=stay)
    thread.start()
    assert begun.wait(DEADLINE)
    try:
        yield may_end
    finally:
        may_end.set()
        thread.join()


def test_a_fork_waits_for_a_section_to_end() -> None:
    gate = ForkGate()
    with in_section(gate) as may_end:
        threading.Timer(0.05, may_end.set).start()
        gate.before()
        assert may_end.is_set()
        assert not gate._inside
    gate.in_parent()


def test_it_does_not_wait_for_the_forking_thread() -> None:
    """Neither does that thread wait for itself, however deep it is."""
    gate = ForkGate()
    with gate.section(), gate.section():
        gate.before()
        with gate.section():
            pass
        gate.in_parent()
    assert not gate._inside


def test_it_waits_once_for_a_section_that_does_not_end() -> None:
    """WAIT seconds, and no more at the next forks; for another section it waits again."""
    gate = ForkGate()
    with in_section(gate):
        began = time.monotonic()
        gate.before()
        gate.in_parent()
        assert time.monotonic() - began >= WAIT
        assert gate._stuck == gate._inside.keys()
        gate.before()
        assert gate._stuck == gate._inside.keys()
        gate.in_parent()
    assert not gate._stuck


def test_no_section_begins_during_a_fork() -> None:
    gate = ForkGate()
    gate.before()
    begun = threading.Event()

    def begin() -> None:
        with gate.section():
            begun.set()

    thread = threading.Thread(target=begin)
    thread.start()
    assert not begun.wait(0.05)
    gate.in_parent()
    assert begun.wait(DEADLINE)
    thread.join()


# A thread that writes to a stream whose pipe is full, and a child that writes to the same stream.
FULL = """
import fcntl, os, signal, sys, threading
from stigmer_config.core import forks
forks.register()
reader, writer = os.pipe()
os.dup2(writer, 2)
sys.stderr = sys.__stderr__ = open(2, "w", buffering=1, closefd=False)
LOGGER
def fill():
    with forks.section():
        log("x" * 200_000)
threading.Thread(target=fill, daemon=True).start()
os.read(reader, 1)
child = os.fork()
if child == 0:
    signal.alarm(20)
    threading.Thread(target=lambda: [os.read(reader, 4096) for _ in iter(int, 1)], daemon=True).start()
    log("here")
    sys.stderr.write("and here")
    sys.stderr.flush()
    os._exit(0)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
os._exit(status if status >= 0 else 9)
"""
LOGGERS = {
    "print": "log = lambda text: print(text, file=sys.stderr)",
    "structlog": "import structlog\nlog = structlog.PrintLogger(sys.stderr).info",
    "logging": "import logging\nlogging.basicConfig()\nlog = logging.getLogger().error",
}


@pytest.mark.parametrize("logger", LOGGERS)
def test_a_child_can_write_to_a_stream_that_a_lost_thread_was_writing_to(logger: str) -> None:
    """The pipe is full, the thread that holds the stream's lock is not in the child, and the child hangs nowhere."""
    code = FULL.replace("LOGGER", LOGGERS[logger])
    # From 3.12 on Python warns of such a fork, in the parent: into the pipe that is full.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code]
    assert subprocess.run(command, timeout=60, check=False).returncode == 0
