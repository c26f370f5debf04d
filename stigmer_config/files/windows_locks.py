"""Windows' locks: a byte of an open file, for one holder alone. The system releases it when the file is closed."""

from __future__ import annotations

import os
from typing import Protocol


class Msvcrt(Protocol):
    """What is used of the module `msvcrt`."""

    @property
    def LK_NBLCK(self) -> int: ...  # noqa: N802 - msvcrt's name

    def locking(self, fd: int, mode: int, nbytes: int, /) -> None: ...


def try_lock(descriptor: int, msvcrt: Msvcrt) -> bool:
    """Locks the first byte of an open file, which may be empty. Never waits.

    There are no shared locks: of two that only look whether a file is locked, one may find the other. False when
    another holder is in the way. Raises `OSError` where the file system has no locks.
    """
    os.lseek(descriptor, 0, os.SEEK_SET)  # it is the bytes from the current position that are locked
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except PermissionError:
        return False
    return True
