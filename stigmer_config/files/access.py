"""Which users besides its owner may read or write a file or folder: permission bits, POSIX ACLs, private groups."""

from __future__ import annotations

import os
import struct
import sys
from typing import Final

READ: Final = 4
WRITE: Final = 2

_ACL: Final = "system.posix_acl_access"
_ENTRY: Final = struct.Struct("<HHI")  # tag, permissions, id; after a version of four bytes (acl(5))
_USER, _GROUP_OBJ, _GROUP, _MASK = 0x02, 0x04, 0x08, 0x10


def acl_of(target: int | str, status: os.stat_result) -> bytes:
    """The POSIX ACL of an open descriptor or a path; empty when there is none, or when it changes nothing.

    With an ACL the mode's group bits are the ACL's mask: an upper bound for every named user or group. So an ACL
    matters only when they allow the group more than the other bits allow everyone.
    """
    if sys.platform != "linux" or not (status.st_mode >> 3) & ~status.st_mode & (READ | WRITE):
        return b""
    try:
        return os.getxattr(target, _ACL)
    except OSError:  # no ACL, or a file system without them
        return b""


def others_may(permission: int, status: os.stat_result, acl: bytes = b"", uid: int | None = None) -> bool:
    """Whether anyone but root, the file's owner and the user `uid` has `permission` (`READ` or `WRITE`).

    The owner's private group counts as the owner.
    """
    if sys.platform == "win32":
        return False  # Windows has permissions in a file's security descriptor, not in its mode
    if status.st_mode & permission:
        return True
    if not (status.st_mode >> 3) & permission:
        return False
    if not acl:
        return not is_private_group(status.st_uid, status.st_gid)
    return any(_is_other(tag, number, status, uid) for tag, number in _granted(acl, permission))


def _granted(acl: bytes, permission: int) -> list[tuple[int, int]]:
    """The (tag, id) of the entries that give `permission` within the mask."""
    entries: list[tuple[int, int, int]] = list(_ENTRY.iter_unpack(acl[4 : 4 + (len(acl) - 4) // 8 * 8]))
    mask = next((bits for tag, bits, _ in entries if tag == _MASK), READ | WRITE)
    return [(tag, number) for tag, bits, number in entries if bits & mask & permission]


def _is_other(tag: int, number: int, status: os.stat_result, uid: int | None) -> bool:
    if tag == _USER:
        return number not in (0, status.st_uid, uid)
    if tag in (_GROUP_OBJ, _GROUP):
        return not is_private_group(status.st_uid, status.st_gid if tag == _GROUP_OBJ else number)
    return False


def is_private_group(uid: int, gid: int) -> bool:
    """Whether a group is a user's private one: it has the user's name, and no other member."""
    if sys.platform == "win32":
        return False
    import grp
    import pwd

    try:
        owner = pwd.getpwuid(uid)
        group = grp.getgrgid(gid)
    except KeyError:
        return False
    return owner.pw_gid == group.gr_gid and owner.pw_name == group.gr_name and set(group.gr_mem) <= {owner.pw_name}
