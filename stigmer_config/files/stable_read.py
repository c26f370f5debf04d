"""Reads a file only while no other process is writing it.

A half-written YAML file is usually valid YAML, so parsing does not detect a torn read. A read counts only if no process
has the file open for writing, and the length equals the size. Where we cannot keep writers out meanwhile, the file's
signature must also be the same before and after the read, and the path still name that file.
"""

from __future__ import annotations

import errno
import os
import signal
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from .access import acl_of
from .paths import NO_LINK, SAFE

LIMIT: Final = 65536  # the most bytes of one file; contract, section 6
GRACE: Final = 0.1  # seconds until a vanished or emptied file counts; contract, section 7
QUIET: Final = 0.1  # without leases: seconds without a change after which a file counts as closed
HELD: Final = 2.0  # seconds without a change after which we read although a writer keeps the file open
TRIES: Final = 3  # consecutive reads that may collide with a writer before we pause
FIRST_PAUSE: Final = 0.001  # seconds until the next attempt after that, doubled up to LAST_PAUSE
LAST_PAUSE: Final = 0.05
AGE: Final = 2.0  # seconds: time stamps are at most so far apart that two changes get the same one (FAT)

OpenFunction = Callable[[Path | str, int], int]  # a path and the flags of os.open → a descriptor

_GONE: Final = (errno.ENOENT, errno.ENOTDIR)


class Signature(NamedTuple):
    """The status fields that change when a file does: if equal, the file and (given a fine clock) its content are."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


def signature(status: os.stat_result) -> Signature:
    """The signature within an `os.stat_result`."""
    return Signature(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class Settled(NamedTuple):
    """A complete read of a file that no process was writing.

    `data` holds at most one byte more than the limit, so that callers can detect a longer file. `status` is the
    `os.stat_result` of the opened file and `acl` its POSIX ACL (`files.access`), for checking permissions.
    `is_link`: the path itself is a link to the file. `is_final`: as long as its signature is the same, the file is.
    """

    data: bytes
    status: os.stat_result
    acl: bytes = b""
    is_link: bool = False
    is_final: bool = False

    def __repr__(self) -> str:
        return f"Settled({len(self.data)} bytes)"  # they may hold a secret

    @property
    def signature(self) -> Signature:
        return signature(self.status)

    @property
    def sha256(self) -> str:
        """Hex digest of `data`."""
        import hashlib  # imported late: it takes 10 ms, and commands that only read do not need it

        return hashlib.sha256(self.data).hexdigest()


class Gone(NamedTuple):
    """The file, or a folder in its path, does not exist."""


class Unsettled(NamedTuple):
    """The file could not be read completely yet: read again after `retry_in` seconds, passing this as `earlier`.

    `signature` is the file's signature, unchanged as far as we know since `since` (`time.monotonic()`).
    """

    reason: str
    signature: Signature | None
    since: float
    retry_in: float


class _Attempt(NamedTuple):
    data: bytes
    status: os.stat_result
    acl: bytes
    is_link: bool
    raced: bool
    writer: bool | None  # whether a process has the file open for writing; None: unknown
    age: float  # seconds from the file's last change to this read, by this machine's clock

    def __repr__(self) -> str:
        return f"_Attempt({len(self.data)} bytes)"  # they may hold a secret


def read_settled(
    path: Path | str,
    limit: int = LIMIT,
    *,
    earlier: Unsettled | None = None,
    opener: OpenFunction = os.open,
    known: Settled | None = None,
) -> Settled | Gone | Unsettled:
    """Reads up to `limit` bytes (and one more) of the file at `path`, if it has settled.

    `opener` opens it, by default `os.open`. Returns `known`, the newest read of this path, if it is final and the file
    is the same. Never waits. Raises OSError for faults that do not pass by waiting: no permission, not a regular file.
    """
    final = known if known is not None and known.is_final else None
    try:
        attempt = _attempt(path, limit, opener, final)
        for _ in range(TRIES - 1):
            if isinstance(attempt, Settled) or not attempt.raced:
                break
            attempt = _attempt(path, limit, opener, final)
    except OSError as error:
        if error.errno in _GONE:
            return Gone()
        raise
    return attempt if isinstance(attempt, Settled) else _judge(attempt, limit, earlier)


def _attempt(path: Path | str, limit: int, opener: OpenFunction, final: Settled | None) -> _Attempt | Settled:
    """Opens and reads once. Returns the `final` read if the file is the same.

    Makes few calls: each releases the GIL, which costs 5 ms beside a busy thread.
    """
    descriptor, is_link = _opened(path, opener)
    try:
        before = os.fstat(descriptor)
        if final is not None and not (is_link or final.is_link) and signature(before) == final.signature:
            return final
        _refuse_irregular(path, before)
        age = time.time() - max(before.st_mtime, before.st_ctime)
        size = min(before.st_size, limit) + 1
        writer, data = _read_leased(descriptor, size)
        is_whole = data is not None and len(data) == min(before.st_size, limit + 1)
        if not is_whole:
            data = os.read(descriptor, size)
        acl = acl_of(descriptor, before)
    finally:
        os.close(descriptor)
    raced = not is_whole and not _still_names(path, before)
    return _Attempt(data or b"", before, acl, is_link, raced, writer, age)


def _opened(path: Path | str, opener: OpenFunction) -> tuple[int, bool]:
    """A descriptor of the file, and whether the path itself is a link."""
    try:
        return opener(path, os.O_RDONLY | SAFE | NO_LINK), False if NO_LINK else os.path.islink(path)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EMLINK):
            raise
        return opener(path, os.O_RDONLY | SAFE), True


def _still_names(path: Path | str, status: os.stat_result) -> bool:
    """Whether the path still leads to the file with this status."""
    return signature(os.stat(path)) == signature(status)


def _refuse_irregular(path: Path | str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "Not a regular file", str(path))


def _read_leased(descriptor: int, size: int) -> tuple[bool | None, bytes | None]:
    """Whether a process has the file open for writing: the kernel then refuses a read lease (fcntl(2), Leases).

    None if unknown: the file is not ours, or the system or file system has no leases. A writer that opens the file
    at this moment is blocked until we release the lease, and the kernel signals us: with SIGURG, which is ignored by
    default, because the usual SIGIO would end the process. So what is read meanwhile, at most `size` bytes, was not
    being written; None if it is not in memory.
    """
    if sys.platform != "linux":
        return None, None
    import fcntl  # not on every system

    from . import held_calls  # imported late: only workers need it

    # Leases are in memory, too: a writer is blocked only for microseconds, however busy this process is.
    if held_calls.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG):
        return None, None
    refused = held_calls.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    if refused:
        return True if refused == errno.EAGAIN else None, None
    data = held_calls.read_cached(descriptor, size)
    held_calls.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False, data


def _judge(attempt: _Attempt, limit: int, earlier: Unsettled | None) -> Settled | Unsettled:
    now, seen = time.monotonic(), signature(attempt.status)
    since = earlier.since if earlier and earlier.signature == seen else now
    pause = min(earlier.retry_in * 2, LAST_PAUSE) if earlier else FIRST_PAUSE
    if attempt.raced:
        return Unsettled("changed while it was read", None, now, pause)
    if attempt.writer:
        if now - since < HELD:
            return Unsettled("open for writing", seen, since, pause)
    elif attempt.writer is None or len(attempt.data) != min(seen.size, limit + 1):
        # A wrong clock (of a file server) makes the age negative: then we measure with our own.
        age = max(now - since, time.time() - max(seen.mtime_ns, seen.ctime_ns) / 1e9)
        if age < QUIET:
            return Unsettled("changed just now", seen, since, min(QUIET - age, QUIET))
    return Settled(attempt.data, attempt.status, attempt.acl, attempt.is_link, _is_final(attempt))


def _is_final(attempt: _Attempt) -> bool:
    """Whether every later change of the file will change its signature.

    So it is when no writer was left, and the next change cannot get the same time stamp. Not on network file systems,
    whose signatures may be old ones: only those on a block device count.
    """
    if sys.platform != "linux":
        return False
    return attempt.writer is False and attempt.age > AGE and os.major(attempt.status.st_dev) != 0


class StableReader:
    """Reads files repeatedly, and remembers why each was not readable yet. For one thread at a time.

    A file that had content and is gone or empty is unsettled for GRACE seconds: an editor may be between two steps
    of a save (contract, section 7).
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._waiting: dict[Path | str, Unsettled] = {}
        self._emptied: dict[Path | str, float] = {}  # since when, in time.monotonic()
        self._full: set[Path | str] = set()  # had content when it was last settled

    def read(
        self, path: Path | str, *, opener: OpenFunction = os.open, known: Settled | None = None
    ) -> Settled | Gone | Unsettled:
        """Like `read_settled`: after an `Unsettled`, call again in `retry_in` seconds or at the next change."""
        result = read_settled(path, self._limit, earlier=self._waiting.pop(path, None), opener=opener, known=known)
        if isinstance(result, Unsettled):
            self._waiting[path] = result
            return result
        if isinstance(result, Settled) and result.data:
            self._full.add(path)
            self._emptied.pop(path, None)
        elif path in self._full:
            now = time.monotonic()
            since = self._emptied.setdefault(path, now)
            if now - since < GRACE:
                return Unsettled("gone or empty just now", None, since, GRACE - (now - since))
            self._full.discard(path)
            self._emptied.pop(path)
        return result
