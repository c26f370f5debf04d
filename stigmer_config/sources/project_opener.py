"""Opening a project's file beneath the project's folder, so that no link exchanged meanwhile leads out of it.

Each part of the path is opened in the folder that was opened before it, never following a link; links are resolved
here, and may lead anywhere in the project but into `.git`.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from ..files.access import acl_of
from ..files.paths import NO_LINK, SAFE, real_path

_MAX_LINKS: Final = 40  # as the kernel has it
_MAX_FOLDERS: Final = 64  # of the project: more are no one's layout, and the watcher follows no more than it can
_FOLDER: Final = getattr(os, "O_DIRECTORY", 0) | SAFE
_LINK: Final = (errno.ELOOP, errno.EMLINK, errno.ENOTDIR)  # what O_NOFOLLOW gives for one


class LeavesProjectError(OSError):
    """A link that leads out of the project, or into its `.git`."""

    def __init__(self, path: str) -> None:
        super().__init__(errno.ELOOP, "a symbolic link leads out of the project", path)


class ProjectOpener:
    """Opens the file `FOLDER/.stigmer/config.yaml` beneath FOLDER.

    After `open`: `folders` are the folders that were passed, with their status and ACL, and `linked` says whether a
    link was followed.
    """

    def __init__(self) -> None:
        self.linked = False
        self.folders: list[tuple[str, os.stat_result, bytes]] = []

    def open(self, path: str | os.PathLike[str], flags: int) -> int:
        """A descriptor of the file. Raises `OSError`."""
        path = os.fspath(path)
        self.linked, self.folders = False, []
        stigmer = os.path.dirname(path)
        if os.open not in os.supports_dir_fd:
            if os.path.islink(stigmer) or os.path.islink(path):
                raise LeavesProjectError(path)
            return os.open(path, flags | NO_LINK)
        opened: list[int] = []
        try:
            return self._walk(
                os.path.dirname(stigmer), [os.path.basename(path), os.path.basename(stigmer)], flags, opened
            )
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def _walk(self, root: str, todo: list[str], flags: int, opened: list[int]) -> int:
        """Follows the parts in `todo`, the next one last. Each folder passed is put on `opened`."""
        names = [root]
        self._enter(root, None, opened)
        links = 0
        while todo:
            name = todo.pop()
            if name in ("", "."):
                continue
            if name == "..":
                if len(opened) == 1:
                    raise LeavesProjectError(os.path.join(*names))
                os.close(opened.pop())
                names.pop()
                continue
            here = os.path.join(*names, name)
            if name.lower() == ".git":
                raise LeavesProjectError(here)
            try:
                if not todo:
                    return os.open(name, flags | NO_LINK, dir_fd=opened[-1])
                self._enter(here, name, opened)
                names.append(name)
            except OSError as error:
                target = _target(name, opened[-1]) if error.errno in _LINK else None
                links += 1
                if target is None or links > _MAX_LINKS:
                    raise
                self.linked = True
                if os.path.isabs(target):
                    target = _within(target, root)
                    while len(opened) > 1:
                        os.close(opened.pop())
                    del names[1:]
                todo += reversed(target.split(os.sep))
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.path.join(*names))

    def _enter(self, path: str, name: str | None, opened: list[int]) -> None:
        """Opens a folder: the project's own by its path, any other by its name in the one before."""
        if len(self.folders) >= _MAX_FOLDERS:
            raise OSError(errno.ELOOP, "too many folders", path)
        flags, within = (_FOLDER, None) if name is None else (_FOLDER | NO_LINK, opened[-1])
        try:
            descriptor = os.open(name or path, os.O_RDONLY | flags, dir_fd=within)
        except PermissionError:  # one that may be passed and not be listed
            descriptor = os.open(name or path, getattr(os, "O_PATH", 0) | flags, dir_fd=within)
        opened.append(descriptor)
        status = os.fstat(descriptor)
        self.folders.append((path, status, acl_of(descriptor, status)))


def _target(name: str, folder: int) -> str | None:
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError:  # not a link
        return None


def _within(target: str, root: str) -> str:
    """What an absolute link's target is from the project's folder."""
    start = os.path.join(real_path(root), "")
    if not target.startswith(start):
        raise LeavesProjectError(target)
    return target.removeprefix(start)
