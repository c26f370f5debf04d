"""The files that contain grants: read only if no other user can have written them, replaced atomically.

They are in `trust/` in the user's state folder. Both folders are private to the user.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from pathlib import Path

from ..core.environment import Environment
from ..files.access import acl_of
from ..files.paths import NO_LINK, SAFE
from ..sources.checked_read import insecure, on_read_only_mount

MAX_BYTES = 256 * 1024  # the most bytes of a record; one credential takes about a hundred
FOLDER = "trust"  # below the state folder
_FOLDER = getattr(os, "O_DIRECTORY", 0) | os.O_RDONLY | SAFE | NO_LINK


class UntrustworthyError(Exception):
    """Another user may have written a record or its folder. `hint` is the command that fixes it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def folder_of(environment: Environment) -> Path:
    """The folder of the records. Raises `FileNotFoundError` without a state folder."""
    if environment.state_dir is None:
        raise FileNotFoundError(errno.ENOENT, "there is no home folder, so trust cannot be recorded")
    return environment.state_dir / FOLDER


def read_record(environment: Environment, name: str) -> bytes | None:
    """The bytes of a record; None when there is none.

    Raises `UntrustworthyError` if another user may have written it, and for a link or anything but a regular file;
    `OSError` if it cannot be read.
    """
    if environment.state_dir is None:
        return None
    path = os.path.join(environment.state_dir, FOLDER, name)
    if os.open not in os.supports_dir_fd:
        try:
            return _checked(path, os.open(path, os.O_RDONLY | SAFE | NO_LINK), environment.uid)
        except FileNotFoundError:
            return None
    opened: list[int] = []
    try:
        for folder in (os.fspath(environment.state_dir), os.path.dirname(path)):
            within = opened[-1] if opened else None
            opened.append(os.open(folder if within is None else os.path.basename(folder), _FOLDER, dir_fd=within))
            _check(folder, opened[-1], environment.uid)
        return _checked(path, os.open(name, os.O_RDONLY | SAFE | NO_LINK, dir_fd=opened[-1]), environment.uid)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise _irregular(path) from None
        raise
    finally:
        for descriptor in opened:
            os.close(descriptor)


def write_record(environment: Environment, name: str, data: bytes) -> None:
    """Replaces a record: even if this process is killed, it is the old or the new one.

    Creates the folders, and removes all permissions of others from them. Raises `OSError` and `SaveError`.
    """
    from ..files.atomic_write import locked  # imported late: a load reads records only

    folder = folder_of(environment)
    folder.parent.parent.mkdir(parents=True, exist_ok=True)
    for each in (folder.parent, folder):
        _make_private(os.fspath(each))
    with locked(os.fspath(folder / name), follow=False) as file:
        file.replace(data, file.read(), 0o600)


def move_record(environment: Environment, name: str, to: str) -> None:
    """Replaces a record by another. Raises `OSError`."""
    folder = folder_of(environment)
    (folder / name).replace(folder / to)


def remove_record(environment: Environment, name: str) -> bool:
    """Removes a record. Returns whether there was one. Raises `OSError`."""
    try:
        folder_of(environment).joinpath(name).unlink()
    except FileNotFoundError:
        return False
    return True


def _checked(path: str, descriptor: int, uid: int) -> bytes:
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _irregular(path)
        _check(path, descriptor, uid)
        return file.read(MAX_BYTES + 1)


def _check(path: str, descriptor: int, uid: int) -> None:
    status = os.fstat(descriptor)
    found = insecure(path, status, acl_of(descriptor, status), uid)
    if found is not None and not on_read_only_mount(descriptor):
        raise UntrustworthyError(*found)


def _irregular(path: str) -> UntrustworthyError:
    return UntrustworthyError(f"{path} is a link, or not a regular file", "remove it, and grant again")


def _make_private(path: str) -> None:
    """Creates a private folder, or removes all permissions of others from it. Raises `OSError` for another user's."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    if sys.platform == "win32":
        return  # on Windows a profile's folders are private
    descriptor = os.open(path, _FOLDER)
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid():
            raise PermissionError(errno.EACCES, f"the folder belongs to another user (uid {status.st_uid})", path)
        if status.st_mode & 0o077:
            os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)
