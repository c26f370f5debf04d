"""Advisory locks on open files: the system releases one when its last descriptor is closed."""

from __future__ import annotations

import sys


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Locks an open file exclusively, or `shared`. Never waits.

    Returns False when another process holds a conflicting lock. Raises `OSError` on a file system without locks.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
