"""The owner of a file: the user, root, or another user, even when a user namespace hides it."""

from __future__ import annotations

import functools
import os
import stat
import sys

_SHOWN_FOR_UNMAPPED = "/proc/sys/kernel/overflowuid"
_ID_MAP = "/proc/self/uid_map"
_ALL_IDS = 2**32 - 1


def is_trusted_owner(path: str, status: os.stat_result, uid: int) -> bool:
    """Whether a file or folder belongs to the user or to root.

    In a user namespace the owner of a file may be unmapped, most often the root user outside it. Such a file counts as
    root's if this process cannot write it.
    """
    if status.st_uid in (0, uid):
        return True
    return status.st_uid == _overflow_uid() and _has_unmapped_ids() and not _can_write(path)


def is_sticky(status: os.stat_result) -> bool:
    """Whether only the owner of a file in this folder can replace it (`/tmp`, `/nix/store`)."""
    return stat.S_ISDIR(status.st_mode) and bool(status.st_mode & stat.S_ISVTX)


def _can_write(path: str) -> bool:
    if sys.platform == "win32":
        return True
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _overflow_uid() -> int | None:
    """The user id that the kernel shows for an unmapped owner (user_namespaces(7)); None where there is none."""
    try:
        with open(_SHOWN_FOR_UNMAPPED, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


@functools.cache
def _has_unmapped_ids() -> bool:
    """Whether this process is in a user namespace that does not map every user id."""
    try:
        with open(_ID_MAP, encoding="ascii") as file:
            rows = [line.split() for line in file]
    except OSError:
        return False
    return sum(int(row[2]) for row in rows if len(row) == 3) < _ALL_IDS
