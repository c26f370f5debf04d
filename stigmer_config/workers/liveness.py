"""Finds the live workers: each locks a file beside its state file, and the system releases the lock when it ends.

A pid is not enough: it is valid in one pid namespace only, and is reused. A lock is visible from every container that
shares the folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from ..files.locks import try_lock
from ..files.paths import NO_LINK, SAFE

_TRIES = 10  # attempts with new names; one fails only if a reader checks between two system calls
_FILE = re.compile(r"(?P<name>[0-9]+-[0-9a-f]{16})\.(?:json|json\.new|lock)")


class WorkerLock:
    """The lock of one worker, with a unique name. `state_path` is the state file that belongs to it."""

    def __init__(self, folder: str) -> None:
        """Chooses a name and locks it. Raises `OSError`."""
        for _ in range(_TRIES):
            name = new_name()
            self.state_path = os.path.join(folder, f"{name}.json")
            self._path = os.path.join(folder, f"{name}.lock")
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | SAFE | NO_LINK, 0o600)
            _held.add(self)
            self._status = os.fstat(self._descriptor)
            if try_lock(self._descriptor) and self.is_in_place:
                return
            self.release()
        raise OSError(errno.EAGAIN, "another process keeps removing it", self._path)

    @property
    def is_in_place(self) -> bool:
        """Whether the locked file is still the one at its path."""
        try:
            return os.path.samestat(os.lstat(self._path), self._status)
        except OSError:
            return False

    def release(self) -> None:
        """Removes the state file and releases the lock. Does nothing in a forked child: both are the parent's."""
        if self not in _held:
            return
        remove(self.state_path)
        self.forget()
        remove(self._path)

    def forget(self) -> None:
        """Closes this process's descriptor; a parent with its own descriptor keeps the lock."""
        _held.discard(self)
        with contextlib.suppress(OSError):
            os.close(self._descriptor)


def new_name() -> str:
    """A new name for a worker. The pid in it is only for people."""
    return f"{os.getpid()}-{os.urandom(8).hex()}"


def remove(path: str) -> None:
    """Removes a file, if it exists and may be removed."""
    with contextlib.suppress(OSError):
        os.unlink(path)


def living(folder: Path) -> Iterator[Path]:
    """The state files of the live workers in a folder. Removes the files of workers that have ended."""
    if not _is_own_folder(folder):
        return
    with contextlib.suppress(OSError):
        names = {found["name"] for found in map(_FILE.fullmatch, os.listdir(folder)) if found is not None}
        for name in sorted(names):
            if _is_held(os.path.join(folder, f"{name}.lock")):
                yield folder / f"{name}.json"
            else:
                for suffix in ("json", "json.new", "lock"):
                    remove(os.path.join(folder, f"{name}.{suffix}"))


def _is_held(path: str) -> bool:
    """Whether a worker holds the lock; also True for a file that cannot be checked, which we must not remove."""
    try:
        descriptor = os.open(path, os.O_RDONLY | SAFE | NO_LINK)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        return not try_lock(descriptor, shared=True)
    except OSError:
        return True
    finally:
        os.close(descriptor)


def _is_own_folder(path: Path) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and (not hasattr(os, "getuid") or status.st_uid == os.getuid())


_held: set[WorkerLock] = set()


def _after_fork_in_child() -> None:
    """Closes the copies of the parent's locks, which would otherwise outlive it."""
    for lock in list(_held):
        lock.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
