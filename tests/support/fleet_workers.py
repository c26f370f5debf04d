"""`python -m tests.support.fleet_workers COUNT`: so many workers in one process, each telling what it takes and when.

Prints `up`, then a line `WORKER TIMEOUT NANOSECONDS` (CLOCK_MONOTONIC, the machine's) for each `llm.timeout` a worker
takes, its first one included; ends with its standard input.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import sys
import time

from stigmer_config import Change, Config, LiveConfig
from stigmer_config.files.watch import os_events


def refuse(*_: object) -> None:
    """Their files are polled: so many workers would leave no inotify instance (128 a user) to anybody else."""
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def tell(number: int, new: Config, _changes: tuple[Change, ...] = ()) -> None:
    """One line, in one write: the threads' lines do not mix."""
    os.write(1, f"{number} {new.llm.timeout} {time.monotonic_ns()}\n".encode())


def main(count: int) -> None:
    os_events.Native.__init__ = refuse  # type: ignore[method-assign, assignment]
    with contextlib.ExitStack() as ends:
        for number in range(count):
            live = ends.enter_context(LiveConfig.start(mode="local", project_dir=False))
            live.subscribe(functools.partial(tell, number), "llm.timeout")
            tell(number, live.current)
        os.write(1, b"up\n")
        sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]))
