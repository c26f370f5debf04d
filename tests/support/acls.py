"""POSIX ACLs for tests: set without the `acl` package, whose commands a machine may lack."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import pytest

_NO_ID = 0xFFFFFFFF
_ENTRY = struct.Struct("<HHI")


def let_user(path: Path, uid: int, permissions: int = 6) -> None:
    """Gives a user rights to a file or folder, as `setfacl -m u:UID:rw` does. Skips where there are no ACLs."""
    if sys.platform != "linux":
        pytest.skip("POSIX ACLs are set by an extended attribute on Linux only")
    bits = path.stat().st_mode
    entries = [
        (0x01, bits >> 6 & 7, _NO_ID),
        (0x02, permissions, uid),
        (0x04, bits >> 3 & 7, _NO_ID),
        (0x10, permissions | bits >> 3 & 7, _NO_ID),
        (0x20, bits & 7, _NO_ID),
    ]
    data = struct.pack("<I", 2) + b"".join(_ENTRY.pack(*entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", data)
    except OSError as error:
        pytest.skip(f"this file system has no ACLs: {error.strerror}")
