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

from ..core.masked_repr import MaskedRepr
from ..core.problems import Problem, quoted
from ..core.provenance import LayerName, Origin
from ..files.access import READ, WRITE, acl_of, others_may
from ..files.ownership import is_sticky, is_trusted_owner
from ..files.paths import SAFE
from .project_opener import LeavesProjectError, ProjectOpener

MAX_BYTES = 64 * 1024
_MAX_LINKS = 40  # as the kernel has it


class Contents(MaskedRepr, frozen=True):
    """What one read gave: the bytes, or `None` when there is no such file; and every fault.

    `readable_by_others` tells whether another user may read the file: no place for a literal secret. `linked`: a link
    in the project led to it, and no line of it is shown.
    """

    _shown = ("problems", "readable_by_others", "linked")

    data: bytes | None = None
    problems: tuple[Problem, ...] = ()
    readable_by_others: bool = False
    linked: bool = False


def read_contents(path: str, layer: LayerName, uid: int) -> Contents:
    """A layer's file.

    A user's or site's may be a link (a ConfigMap is made of them), and who can write it is checked:
    `insecure-permissions` when the file or its folder can be written by others, or by its group unless that
    is the owner's private one, or belongs neither to root nor to `uid`. A read-only mount passes.
    A project's file may be hostile: it is opened beneath the project's folder, and one that another user owns or can
    write is not taken, which is a warning.
    """
    return _read(path, layer, uid)


def failed(path: str, layer: LayerName, message: str, hint: str, code: str = "unreadable-file") -> Contents:
    """The contents of a file that cannot be used, and why."""
    return Contents(problems=(Problem(code=code, message=message, hint=hint, origin=Origin(layer, path)),))


def unreadable(path: str, layer: LayerName, error: OSError | ValueError) -> Contents:
    """The contents of a file that could not be opened or read."""
    if isinstance(error, LeavesProjectError):
        return failed(
            path,
            layer,
            "the symbolic link leads out of the project",
            "a project's configuration must be a file of the project",
        )
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        dangling = os.path.islink(path)
        return failed(path, layer, "the link is broken", "fix or remove the link") if dangling else Contents()
    return failed(path, layer, _reason(error), _hint(error, path))


def _read(path: str, layer: LayerName, uid: int) -> Contents:
    opener = opener_of(layer)
    try:
        descriptor = (opener.open if opener is not None else os.open)(path, os.O_RDONLY | SAFE)
    except (OSError, ValueError) as error:
        return unreadable(path, layer, error)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return failed(path, layer, "not a regular file", "it must be a YAML file, not a folder or a device")
        data, acl = _bytes(descriptor), acl_of(descriptor, status)
    except OSError as error:
        return unreadable(path, layer, error)
    finally:
        with contextlib.suppress(OSError):  # what was read is read
            os.close(descriptor)
    return check_permissions(path, layer, uid, data, status, acl, opener)


def opener_of(layer: LayerName) -> ProjectOpener | None:
    """What opens a project's file; None for the file of any other layer, which is opened by its path."""
    return ProjectOpener() if layer == "project" else None


def check_permissions(
    path: str,
    layer: LayerName,
    uid: int,
    data: bytes,
    status: os.stat_result,
    acl: bytes,
    opener: ProjectOpener | None,
    *,
    is_link: bool = True,
) -> Contents:
    """The contents of a file that was read: its size, and who else can write it.

    `is_link`: whether the path itself may be a link, which is then looked at.
    """
    too_large = sized(path, layer, data)
    if too_large is not None:
        return too_large
    good = Contents(data, linked=opener is not None and opener.linked)
    if opener is not None:
        found = _not_taken(path, layer, uid, [*opener.folders, (path, status, acl)]) or good
    else:
        problems = [*_insecure(path, status, acl, layer, uid), *_insecure_folders(path, layer, uid, is_link=is_link)]
        readable = others_may(READ, status, acl, uid)
        found = Contents(data, tuple(problems), readable_by_others=readable) if problems or readable else good
    # Last: most files have nothing that a read-only mount would excuse.
    return good if found is not good and on_read_only_mount(path) else found


def _not_taken(
    path: str, layer: LayerName, uid: int, passed: list[tuple[str, os.stat_result, bytes]]
) -> Contents | None:
    """Why a project's file is not taken: another user owns or can write it or a folder of it. None when it is."""
    for name, status, acl in passed:
        found = insecure(name, status, acl, uid)
        if found is None or (is_sticky(status) and status.st_uid in (0, uid)):
            continue
        message = f"the project's file is not used: {found[0]}"
        origin = Origin(layer, path)
        fault = Problem(severity="warning", code="insecure-permissions", message=message, hint=found[1], origin=origin)
        return Contents(problems=(fault,))
    return None


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


def on_read_only_mount(target: int | str) -> bool:
    """Whether an open descriptor or a path is where nothing can be written, whatever the modes say."""
    if sys.platform == "win32":
        return False
    try:
        return bool(os.statvfs(target).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def insecure(path: str, status: os.stat_result, acl: bytes, uid: int) -> tuple[str, str] | None:
    """Why a file or folder may be another user's work, and the command that fixes it; None when it is not."""
    what = "folder" if stat.S_ISDIR(status.st_mode) else "file"
    shown = quoted(path, 200)
    if not is_trusted_owner(path, status, uid):
        message = f"the {what} {shown} belongs to another user (uid {status.st_uid})"
        # Not a chown: it would take the file from its owner, who may be on the other side of a mount.
        return message, f"mount it read-only, run as its owner, or use a {what} of your own"
    if not others_may(WRITE, status, acl, uid):
        return None
    how = "by its ACL" if acl else f"mode {stat.S_IMODE(status.st_mode):04o}"
    return f"others can write to the {what} {shown} ({how})", f"chmod go-w {shown}"  # this takes it from an ACL, too


def _insecure(path: str, status: os.stat_result, acl: bytes, layer: LayerName, uid: int) -> list[Problem]:
    found = insecure(path, status, acl, uid)
    if found is None:
        return []
    message, hint = found
    return [Problem(code="insecure-permissions", message=message, hint=hint, origin=Origin(layer, path))]


def _hops(path: str, *, is_link: bool) -> Iterator[str]:
    """The path, and each that a link on the way leads to: who can write in the folder of one replaces the file."""
    for _ in range(_MAX_LINKS):
        yield path
        if not is_link:
            return
        try:
            path = os.path.join(os.path.dirname(path), os.readlink(path))
        except OSError:  # not a link
            return


def _insecure_folders(path: str, layer: LayerName, uid: int, *, is_link: bool) -> list[Problem]:
    problems: list[Problem] = []
    seen: set[tuple[int, int]] = set()
    for hop in _hops(path, is_link=is_link):
        folder = os.path.dirname(hop)
        try:
            status = os.stat(folder)
            sticky = is_sticky(status) and is_trusted_owner(folder, status, uid)
            if sticky and is_trusted_owner(hop, os.lstat(hop), uid):
                continue  # nobody else can replace it there
        except OSError:
            continue  # gone since the file was opened: the next read will see it
        if (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            problems += _insecure(folder, status, acl_of(folder, status), layer, uid)
    return problems
