"""Reads a file's bytes: opens it once, reads a bounded amount, and rejects a file that another user may have written.

Every check is made on the open descriptor, so the bytes that are returned are those that were checked.
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
_MAX_LINKS = 40  # like the kernel


class Contents(MaskedRepr, frozen=True):
    """The result of one read: the bytes, or `None` when there is no such file; and every fault.

    `readable_by_others`: whether another user may read the file, so that it must not contain a literal secret.
    `linked`: a link in the project led to the file, so none of its lines is shown.
    """

    _shown = ("problems", "readable_by_others", "linked")

    data: bytes | None = None
    problems: tuple[Problem, ...] = ()
    readable_by_others: bool = False
    linked: bool = False


def read_contents(path: str, layer: LayerName, uid: int) -> Contents:
    """Reads a layer's file.

    A user's or site's file may be a link (a ConfigMap consists of links), and its permissions are checked:
    `insecure-permissions` when the file or its folder can be written by others, or by its group unless that is the
    owner's private one, or belongs neither to root nor to `uid`. A read-only mount passes.
    A project's file may be hostile: it is opened beneath the project's folder, and one that another user owns or can
    write is ignored with a warning.
    """
    return _read(path, layer, uid)


def failed(path: str, layer: LayerName, message: str, hint: str, code: str = "unreadable-file") -> Contents:
    """The contents of a file that cannot be used, with the fault."""
    return Contents(problems=(Problem(code=code, message=message, hint=hint, origin=Origin(layer, path)),))


def unreadable(path: str, layer: LayerName, error: OSError | ValueError) -> Contents:
    """The contents of a file that could not be opened or read, with the fault."""
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
    """The opener for a project's file; None for the file of any other layer, which is opened by its path."""
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
    """Checks a file that was read: its size, and which other users can write it.

    `is_link`: whether the path itself may be a link, which is then checked, too.
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
    # Checked last: few files have a fault that a read-only mount excuses.
    return good if found is not good and on_read_only_mount(path) else found


def _not_taken(
    path: str, layer: LayerName, uid: int, passed: list[tuple[str, os.stat_result, bytes]]
) -> Contents | None:
    """Why a project's file is ignored: another user owns or can write it or a folder of it. None when it is used."""
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
    """The fault of a file that is too large, else None."""
    if len(data) <= MAX_BYTES:
        return None
    return failed(path, layer, f"larger than {MAX_BYTES // 1024} KiB", "keep settings only in it", "too-large")


def _bytes(descriptor: int) -> bytes:
    """Reads at most one byte more than allowed, even if the file grows meanwhile."""
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
    """Whether an open descriptor or a path is on a read-only mount."""
    if sys.platform == "win32":
        return False
    try:
        return bool(os.statvfs(target).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def insecure(path: str, status: os.stat_result, acl: bytes, uid: int) -> tuple[str, str] | None:
    """Why another user may have written a file or folder, and the command that fixes it; None if none can."""
    is_owned = is_trusted_owner(path, status, uid)
    if is_owned and not others_may(WRITE, status, acl, uid):
        return None
    what = "folder" if stat.S_ISDIR(status.st_mode) else "file"
    shown = quoted(path, 200)
    if not is_owned:
        message = f"the {what} {shown} belongs to another user (uid {status.st_uid})"
        # Not a chown: the owner may be on the other side of a mount, and would lose the file.
        return message, f"mount it read-only, run as its owner, or use a {what} of your own"
    how = "by its ACL" if acl else f"mode {stat.S_IMODE(status.st_mode):04o}"
    return f"others can write to the {what} {shown} ({how})", f"chmod go-w {shown}"  # this removes it from an ACL, too


def _insecure(path: str, status: os.stat_result, acl: bytes, layer: LayerName, uid: int) -> list[Problem]:
    found = insecure(path, status, acl, uid)
    if found is None:
        return []
    message, hint = found
    return [Problem(code="insecure-permissions", message=message, hint=hint, origin=Origin(layer, path))]


def _hops(path: str, *, is_link: bool) -> Iterator[str]:
    """The path, and each path that a link in it leads to: whoever can write to one of their folders can replace it."""
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
                continue  # no other user can replace it there
        except OSError:
            continue  # gone since the file was opened: the next read will see it
        if (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            problems += _insecure(folder, status, acl_of(folder, status), layer, uid)
    return problems
