"""Advisory locks on open files: the system releases one when its last descriptor is closed."""

from __future__ import annotations

import sys


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Locks an open file, against all or (`shared`) against those that lock it alone. Never waits.

    False when another holder is in the way. Raises `OSError` where the file system has no locks.
    """
    if sys.platform == "win32":
        import msvcrt

        from . import windows_locks

        return windows_locks.try_lock(descriptor, msvcrt)
    import fcntl

    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
