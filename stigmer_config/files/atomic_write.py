"""Replaces a file atomically: a crash leaves the whole old file or the whole new one. No writer overwrites another.

A writer holds a lock on a sibling file, writes a temporary file beside the target, makes it durable and
renames it. All calls use one descriptor of the folder, so no link that is created meanwhile can redirect them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import time
from collections.abc import Iterator

from .locks import try_lock
from .paths import NO_LINK, SAFE, real_path

LOCK_WAIT = 60.0  # seconds to wait for another writer
_FIRST_PAUSE = 0.005  # seconds until the next attempt to lock, growing up to _LAST_PAUSE
_LAST_PAUSE = 0.1


class SaveError(Exception):
    """The file could not be written and is unchanged. The message says why."""


class ChangedError(Exception):
    """Another program changed the file since it was read. Their version is left unchanged."""


class Locked:
    """The file at `path`, for the writer that holds its lock.

    `replaced`: whether the new file is in place; `durable`: whether the disk has confirmed that.
    """

    def __init__(self, path: str, folder: int | None) -> None:
        self.path = path
        self.replaced = False
        self.durable = True
        self._folder = folder
        self._name = os.path.basename(path)

    def read(self) -> bytes | None:
        """The current content; None when there is no file."""
        try:
            descriptor = self._open(self._name, os.O_RDONLY)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            return file.read()

    def replace(self, data: bytes, expected: bytes | None, mode: int | None) -> None:
        """Replaces the content `expected` (None: no file) by `data`.

        `mode`: the permission bits; None keeps the file's own, or takes the usual ones for a new file.
        Raises `ChangedError` when the file has other content, `SaveError` for everything else.
        """
        try:
            self._write(data, mode)
            if self.read() != expected:
                raise ChangedError
            self._put(new=expected is None)
        except OSError as error:
            raise SaveError(_reason(error, self.path)) from error
        finally:
            if not self.replaced:
                self._remove(self._temporary)
        self._confirm()

    @property
    def _temporary(self) -> str:
        return f".{self._name}.new"

    def _at(self, name: str) -> str:
        return name if self._folder is not None else os.path.join(os.path.dirname(self.path), name)

    def _open(self, name: str, flags: int, mode: int = 0o600) -> int:
        return os.open(self._at(name), flags | SAFE | NO_LINK, mode, dir_fd=self._folder)

    def _remove(self, name: str) -> None:
        with contextlib.suppress(OSError):  # the next writer removes a leftover
            os.unlink(self._at(name), dir_fd=self._folder)

    def _write(self, data: bytes, mode: int | None) -> None:
        old = self._status()
        if mode is None and old is not None:
            mode = stat.S_IMODE(old.st_mode)
        # Without a mode the umask decides who may read it.
        descriptor = self._open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else 0o600)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(descriptor, left) :]
            status = os.fstat(descriptor)
            if status.st_size != len(data):
                raise OSError(errno.EIO, "not all of it was written")
            if old is not None:
                _give_back(descriptor, status, old)
            if mode is not None and hasattr(os, "fchmod"):
                os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _status(self) -> os.stat_result | None:
        try:
            return os.stat(self._at(self._name), dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _put(self, *, new: bool) -> None:
        if not (new and self._linked()):
            names = self._at(self._temporary), self._at(self._name)
            os.replace(*names, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        self.replaced = True
        if new:
            self._remove(self._temporary)

    def _linked(self) -> bool:
        """Creates the file without ever overwriting one; False on a file system without hard links."""
        names = self._at(self._temporary), self._at(self._name)
        try:
            os.link(*names, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except FileExistsError:
            raise ChangedError from None
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            return False
        return True

    def _confirm(self) -> None:
        if self._folder is not None:
            try:
                os.fsync(self._folder)
            except OSError as error:
                self.durable = error.errno == errno.EINVAL  # a file system that does not need it


def _give_back(descriptor: int, status: os.stat_result, old: os.stat_result) -> None:
    """Keeps the file's owner under sudo."""
    if sys.platform != "win32" and (old.st_uid, old.st_gid) != (status.st_uid, status.st_gid):
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, old.st_uid, old.st_gid)


@contextlib.contextmanager
def locked(path: str, *, follow: bool, wait: float = LOCK_WAIT) -> Iterator[Locked]:
    """Waits for the file's lock and holds it. Creates the file's folder when it is missing.

    `follow`: links in `path` are followed, and a new folder is private to the user; without it a link is refused.
    `wait`: the most seconds to wait for another writer. Raises `SaveError`.
    """
    path = real_path(path) if follow else path
    with contextlib.ExitStack() as held:
        try:
            folder = _folder(os.path.dirname(path), follow=follow)
            if folder is not None:
                held.callback(_close, folder)
            file = Locked(path, folder)
            held.callback(_close, _lock(file, time.monotonic() + wait))
            # A temporary file found now was left by a writer that died.
            file._remove(file._temporary)  # noqa: SLF001
        except OSError as error:
            raise SaveError(_reason(error, path)) from error
        # Removed while it is locked: a waiting writer notices that it is gone, and creates a new one.
        held.callback(file._remove, _lock_name(path))  # noqa: SLF001 - the lock is a part of it
        yield file


def _close(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # nothing was written through it
        os.close(descriptor)


def _folder(path: str, *, follow: bool) -> int | None:
    """A descriptor of the folder; None on a system that has none."""
    if not os.path.isdir(path):
        os.makedirs(path, mode=0o700 if follow else 0o777, exist_ok=True)
        _sync(os.path.dirname(path))
    if sys.platform == "win32":
        return None
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))


def _sync(path: str) -> None:
    if sys.platform != "win32":
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _lock_name(path: str) -> str:
    return f".{os.path.basename(path)}.lock"


def _lock(file: Locked, deadline: float) -> int:
    """A descriptor that holds the lock of a file while it is open."""
    name = _lock_name(file.path)
    while True:
        descriptor = file._open(name, os.O_RDWR | os.O_CREAT)  # noqa: SLF001
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, f"{name} is not a regular file")
            _wait(descriptor, deadline)
            if _is_there(file, name, descriptor):
                held, descriptor = descriptor, -1
                return held
        finally:
            if descriptor >= 0:
                os.close(descriptor)


def _wait(descriptor: int, deadline: float) -> None:
    pause = _FIRST_PAUSE
    while not try_lock(descriptor):
        if time.monotonic() > deadline:
            raise OSError(errno.EAGAIN, "another process is still writing it")
        import random  # imported late: writers seldom wait

        time.sleep(random.uniform(0.5, 1.5) * pause)  # noqa: S311 - so that waiting writers do not march in step
        pause = min(pause * 1.5, _LAST_PAUSE)


def _is_there(file: Locked, name: str, descriptor: int) -> bool:
    """Whether the lock file we hold is still the one at its path."""
    try:
        there = os.stat(file._at(name), dir_fd=file._folder, follow_symlinks=False)  # noqa: SLF001
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))


def _reason(error: OSError, path: str) -> str:
    if error.errno == errno.EBUSY:
        return f"{path} is a mount of its own: change it where it is mounted from"
    if error.errno == errno.ELOOP or (error.errno == errno.ENOTDIR and os.path.islink(os.path.dirname(path))):
        return f"there is a symbolic link on the way to {path}"
    name = os.path.join(os.path.dirname(path), str(error.filename)) if error.filename else path
    return f"{name}: {error.strerror or 'it cannot be written'}"
