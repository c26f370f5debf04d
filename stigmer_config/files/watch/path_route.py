"""The folders and names through which a path is resolved: exactly those that must be watched to follow it."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePath
from typing import Final, NamedTuple

LINKS: Final = 40  # the kernel's limit, path_resolution(7)

FOLDERS: Final = 128  # of one route: links in a clone may lead through thousands; the sweep covers the rest

Identity = tuple[int, int]  # device and inode


class Route(NamedTuple):
    """The resolution of one path, from its anchor to the file or to the first missing part.

    `steps` are (folder, name) pairs in order, each folder free of links: changes to any other name cannot change where
    the path leads. `folders` gives the identity of each folder. `end` is where the resolution ended, free of links.
    `whole`: no part of the path is left after `end`, so `end` is the file itself (existing or not).
    """

    steps: tuple[tuple[str, str], ...]
    folders: dict[str, Identity]
    end: str
    whole: bool


def walk(path: Path) -> Route:
    """Resolves an absolute path as the kernel does, link by link, through at most FOLDERS folders."""
    folder = here = path.anchor
    todo = list(reversed(path.parts[1:]))
    steps: list[tuple[str, str]] = []
    folders: dict[str, Identity] = {}
    links = 0
    try:
        while todo and links <= LINKS and len(folders) < FOLDERS:
            if folder not in folders:
                folders[folder] = identity(os.lstat(folder))
            name = todo.pop()
            if name == "..":  # the folder is free of links, so `dirname` is its parent
                folder = here = os.path.dirname(folder)
                continue
            here = os.path.join(folder, name)
            steps.append((folder, name))
            status = os.lstat(here)
            if stat.S_ISLNK(status.st_mode):
                links += 1
                target = PurePath(os.readlink(here))
                folder = target.anchor or folder
                todo += reversed(target.parts[1:] if target.anchor else target.parts)
            elif todo and not stat.S_ISDIR(status.st_mode):
                break
            elif todo:
                folder, folders[here] = here, identity(status)
    except (OSError, ValueError):
        pass  # missing, without permission, or not a possible name: the rest matters once this changes
    return Route(tuple(steps), folders, here, not todo)


def identity(status: os.stat_result) -> Identity:
    """The device and inode, which distinguish a folder from another one with the same name."""
    return status.st_dev, status.st_ino
