"""The folders and names through which a path is resolved: exactly what must be watched to follow it."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePath
from typing import Final, NamedTuple

LINKS: Final = 40  # the kernel follows no more, path_resolution(7)

FOLDERS: Final = 128  # of one route: links in a clone may lead through thousands; the sweep covers what is behind

Identity = tuple[int, int]  # device and inode


class Route(NamedTuple):
    """One path's way, from its anchor to the file or to the first thing that is missing.

    `steps` are (folder, name) pairs in order, each folder free of links: what happens to any other name cannot
    change where the path leads. `folders` gives the identity of each folder. `end` is where the walk ended, free
    of links. `whole`: nothing of the path is left behind `end`, so that is the file itself (there or not).
    """

    steps: tuple[tuple[str, str], ...]
    folders: dict[str, Identity]
    end: str
    whole: bool


def walk(path: Path) -> Route:
    """Walks an absolute path as the kernel would, link by link, through at most FOLDERS folders."""
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
            if name == "..":  # the folder is free of links, so its parent is what its name says
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
        pass  # missing, not ours to enter, or no name at all: what is behind it matters once it changes
    return Route(tuple(steps), folders, here, not todo)


def identity(status: os.stat_result) -> Identity:
    """Tell a folder from another one of the same name."""
    return status.st_dev, status.st_ino
