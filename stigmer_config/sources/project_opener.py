"""Opens a project's file beneath the project's folder, so that no link that is swapped meanwhile leads out of it.

Each part of the path is opened relative to the folder opened before it, without following links; links are resolved
here, and may lead anywhere in the project except into `.git`.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from ..files.access import acl_of
from ..files.paths import NO_LINK, SAFE, real_path

_MAX_LINKS: Final = 40  # like the kernel
_MAX_FOLDERS: Final = 64  # of the project: no sensible layout has more, and the watcher follows a limited number
_FOLDER: Final = getattr(os, "O_DIRECTORY", 0) | SAFE
_LINK: Final = (errno.ELOOP, errno.EMLINK, errno.ENOTDIR)  # the error of O_NOFOLLOW for a link


class LeavesProjectError(OSError):
    """A link that leads out of the project, or into its `.git`."""

    def __init__(self, path: str) -> None:
        super().__init__(errno.ELOOP, "a symbolic link leads out of the project", path)


class ProjectOpener:
    """Opens the file `FOLDER/.stigmer/config.yaml` beneath FOLDER.

    After `open`, `folders` are the folders on the way, with their status and ACL, and `linked` is whether a link was
    followed.
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
        """Follows the parts in `todo`, the next one last. Appends each opened folder to `opened`."""
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
        """Opens a folder: the project's folder by its path, any other by its name relative to the one before."""
        if len(self.folders) >= _MAX_FOLDERS:
            raise OSError(errno.ELOOP, "too many folders", path)
        flags, within = (_FOLDER, None) if name is None else (_FOLDER | NO_LINK, opened[-1])
        try:
            descriptor = os.open(name or path, os.O_RDONLY | flags, dir_fd=within)
        except PermissionError:  # a folder with execute but no read permission
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
    """An absolute link's target relative to the project's folder."""
    start = os.path.join(real_path(root), "")
    if not target.startswith(start):
        raise LeavesProjectError(target)
    return target.removeprefix(start)
