"""One file → its bytes: opened once, bounded, and only when nobody else can have written it.

The bytes that were checked are the bytes that are returned: every check is made on the open descriptor.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterator

import msgspec

from ..core.problems import Problem, quoted
from ..core.provenance import LayerName, Origin
from ..files.ownership import is_sticky, is_trusted_owner
from ..files.paths import NO_LINK, SAFE

MAX_BYTES = 64 * 1024
_MAX_LINKS = 40  # as the kernel has it


class Contents(msgspec.Struct, frozen=True):
    """What one read gave: the bytes, or `None` when there is no such file; and every fault.

    `readable_by_others` tells whether another user may read the file: no place for a literal secret.
    """

    data: bytes | None = None
    problems: tuple[Problem, ...] = ()
    readable_by_others: bool = False


def read_contents(path: str, layer: LayerName, uid: int) -> Contents:
    """A layer's file.

    A user's or site's may be a link (a ConfigMap is made of them), and who can write it is checked:
    `insecure-permissions` when the file or its folder can be written by others, or by its group unless that
    is the owner's private one, or belongs neither to root nor to `uid`. A read-only mount passes.
    A project's file may be hostile: neither it nor its folder may be a link.
    """
    return refused_link(path, layer) or _read(path, layer, uid)


def refused_link(path: str, layer: LayerName) -> Contents | None:
    """The fault of a project's file that is a link, or stands in a linked folder; else None."""
    if layer != "project":
        return None
    name = next((name for name in (os.path.dirname(path), path) if os.path.islink(name)), None)
    if name is None:
        return None
    message = f"{quoted(name, 200)} is a symbolic link"
    return failed(path, layer, message, "a project's configuration must be a file of the project")


def open_flags(layer: LayerName) -> int:
    """What `os.open` gets beyond what it always gets: no links in a project."""
    return NO_LINK if layer == "project" else 0


def failed(path: str, layer: LayerName, message: str, hint: str, code: str = "unreadable-file") -> Contents:
    """The contents of a file that cannot be used, and why."""
    return Contents(problems=(Problem(code=code, message=message, hint=hint, origin=Origin(layer, path)),))


def unreadable(path: str, layer: LayerName, error: OSError | ValueError) -> Contents:
    """The contents of a file that could not be opened or read."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        dangling = os.path.islink(path)
        return failed(path, layer, "the link leads nowhere", "mend or remove the link") if dangling else Contents()
    return failed(path, layer, _reason(error), _hint(error, path))


def _read(path: str, layer: LayerName, uid: int) -> Contents:
    try:
        descriptor = os.open(path, os.O_RDONLY | SAFE | open_flags(layer))
    except (OSError, ValueError) as error:
        return unreadable(path, layer, error)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return failed(path, layer, "not a regular file", "put a YAML file there")
        data = _bytes(descriptor)
    except OSError as error:
        return unreadable(path, layer, error)
    finally:
        with contextlib.suppress(OSError):  # what was read is read
            os.close(descriptor)
    return judged(path, layer, uid, data, status)


def judged(path: str, layer: LayerName, uid: int, data: bytes, status: os.stat_result) -> Contents:
    """The contents of a file that was read: its size, and for a trusted layer who else can write it."""
    too_large = sized(path, layer, data)
    if too_large is not None:
        return too_large
    if layer == "project" or _read_only(path):
        return Contents(data)
    problems = [*_insecure(path, status, layer, uid), *_insecure_folders(path, layer, uid)]
    return Contents(data, tuple(problems), readable_by_others=_others(status, 0o044))


def sized(path: str, layer: LayerName, data: bytes) -> Contents | None:
    """The fault of a file that is larger than a file may be, else None."""
    if len(data) <= MAX_BYTES:
        return None
    return failed(path, layer, f"larger than {MAX_BYTES // 1024} KiB", "keep settings only in it", "too-large")


def _bytes(descriptor: int) -> bytes:
    """At most one byte more than allowed, however the file grows meanwhile."""
    parts: list[bytes] = []
    left = MAX_BYTES + 1
    while left > 0 and (part := os.read(descriptor, left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return "it is a symbolic link, or a loop of them"
    return f"cannot be read: {error.strerror if isinstance(error, OSError) else 'not a path'}"


def _hint(error: OSError | ValueError, path: str) -> str:
    if isinstance(error, PermissionError):
        return f"chmod u+r {quoted(path, 200)}, or run as the user it belongs to"
    return "check the path"


def _read_only(path: str) -> bool:
    if sys.platform == "win32":
        return False
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _others(status: os.stat_result, bits: int) -> bool:
    """Whether anyone but the owner has one of `bits` (of 0o066). A private group is the owner."""
    if sys.platform == "win32":
        return False  # who may do what stands in a file's ACL there, and nothing in its mode
    if status.st_mode & bits & 0o007:
        return True
    return bool(status.st_mode & bits & 0o070) and not _private_group(status)


def _private_group(status: os.stat_result) -> bool:
    """Whether the file's group is its owner's own: the same name, and nobody else in it."""
    if sys.platform == "win32":
        return False
    import grp
    import pwd

    try:
        owner = pwd.getpwuid(status.st_uid)
        group = grp.getgrgid(status.st_gid)
    except KeyError:
        return False
    return owner.pw_gid == group.gr_gid and owner.pw_name == group.gr_name and set(group.gr_mem) <= {owner.pw_name}


def _insecure(path: str, status: os.stat_result, layer: LayerName, uid: int) -> list[Problem]:
    what = "folder" if stat.S_ISDIR(status.st_mode) else "file"
    shown = quoted(path, 200)
    if not is_trusted_owner(path, status, uid):
        message = f"the {what} {shown} belongs to another user (uid {status.st_uid})"
        # Not a chown: it would take the file from its owner, who may be on the other side of a mount.
        hint = f"mount it read-only, run as its owner, or use a {what} of your own"
    elif _others(status, 0o022):
        message = f"others can write to the {what} {shown} (mode {stat.S_IMODE(status.st_mode):04o})"
        hint = f"chmod go-w {shown}"
    else:
        return []
    return [Problem(code="insecure-permissions", message=message, hint=hint, origin=Origin(layer, path))]


def _hops(path: str) -> Iterator[str]:
    """The path, and each that a link on the way leads to: who can write in the folder of one replaces the file."""
    for _ in range(_MAX_LINKS):
        yield path
        try:
            path = os.path.join(os.path.dirname(path), os.readlink(path))
        except OSError:  # not a link
            return


def _insecure_folders(path: str, layer: LayerName, uid: int) -> list[Problem]:
    problems: list[Problem] = []
    seen: set[tuple[int, int]] = set()
    for hop in _hops(path):
        folder = os.path.dirname(hop)
        try:
            status, there = os.stat(folder), os.lstat(hop)
        except OSError:
            continue  # gone since the file was opened: the next read will see it
        if is_sticky(status) and is_trusted_owner(folder, status, uid) and is_trusted_owner(hop, there, uid):
            continue  # nobody else can replace it there
        if (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            problems += _insecure(folder, status, layer, uid)
    return problems
