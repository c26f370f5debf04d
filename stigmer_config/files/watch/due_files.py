"""Which files are due to be checked, when, and why: the state that a watcher's threads share, under one lock."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from ..stable_read import Signature
from .path_route import Identity, Route

SPACING: Final = 0.02  # the least seconds between two reactions to one file: bursts of saves must not load the CPU

# Why a file is due.
CREATED: Final = 1  # it was created: while it is empty its writer has it open, and closing it raises an event
CHANGED: Final = 2  # it was written, moved or removed, or a check was requested: report it, whatever stat says
MOVED: Final = 4  # part of its path was: resolve the path again, and report it if it is another file now
AGAIN: Final = 8  # it was reported, and events of it may get lost: report it once more


class Absence(NamedTuple):
    """There is no such file: why, and whether its name, or its folder's, is a link (which is a fault, too)."""

    number: int  # errno
    link: bool
    folder_link: bool


class File:
    """The state of one followed path. `why`, `due`, `ready` belong to `DueFiles`, the rest to the watcher's thread."""

    __slots__ = ("due", "path", "quick", "ready", "route", "seen", "way", "why")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.route = Route((), {}, str(path), whole=False)
        self.seen: Signature | Absence | None = None  # as last reported
        self.way = self.route.steps  # when it was last reported: a link in the path may be a fault
        self.why = CHANGED | MOVED  # reported once when its watch is active: it may have changed since it was read
        self.due = 0.0  # when to check, in time.monotonic()
        self.ready = 0.0  # events before this time have to wait for it
        self.quick = False  # it cannot be watched natively


class DueFiles:
    """The files to check. For any thread, unless a method says otherwise."""

    def __init__(self) -> None:
        self.closed = False
        self.files: dict[Path, File] = {}  # this and `_steps` are replaced, never changed: readable without the lock
        self._steps: dict[tuple[str, str], list[tuple[File, bool]]] = {}
        self._unwatched = True  # the current watches are not those that `files` and `_renew` need
        self._renew: set[str] = set()
        self._changed = threading.Condition()

    def put(self, paths: Iterable[Path]) -> None:
        """Replaces the files. A new one is due at once."""
        wanted = tuple(paths)
        for path in wanted:
            if not path.is_absolute():
                raise ValueError(f"not an absolute path: {path}")
        with self._changed:
            if set(wanted) != self.files.keys():
                self.files = {path: self.files.get(path) or File(path) for path in wanted}
                self.rewatch()

    def ask(self, path: Path, delay: float, why: int = CHANGED) -> None:
        """Makes the file due in `delay` seconds at the latest."""
        with self._changed:
            if file := self.files.get(path):
                self._mark(file, why, time.monotonic() + delay)

    def walk_again(self, file: File, delay: float) -> None:
        """The file looks different: it, or part of its path, may have been replaced."""
        with self._changed:
            self._mark(file, MOVED, time.monotonic() + delay)

    def event(self, folder: str, name: str, created: bool) -> None:
        """Something happened to `name` in `folder`. Few names matter: the others cost one lookup."""
        hits = self._steps.get((folder, name))
        if hits is None:
            return
        with self._changed:
            now = time.monotonic()
            for file, last in hits:
                if last:
                    self._mark(file, CREATED if created else CHANGED, max(now, file.ready))
                else:
                    self._renew.add(os.path.join(folder, name))
                    self._unwatched = True
                    self._mark(file, MOVED, max(now, file.ready))

    def lost(self, folder: str | None) -> None:
        """The watch of `folder` ended, or (None) events of any folder were lost, perhaps that of such an end.

        The folder's identity does not show it: a new folder may get the inode number of the removed one.
        """
        with self._changed:
            self._unwatched = True
            for file in self.files.values():
                if folder is None or folder in file.route.folders:
                    self._renew.update([folder] if folder else file.route.folders)
                    self._mark(file, CHANGED | MOVED, max(time.monotonic(), file.ready))

    def rewatch(self) -> None:
        """Marks that watches have to be added or removed."""
        with self._changed:
            self._unwatched = True
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self.closed = True
            self._changed.notify()

    def take(self, until: float) -> list[tuple[File, int]]:
        """Waits until a file is due, or until that time. Returns the due files, and why. For the watcher's thread."""
        with self._changed:
            while not self.closed and not self._unwatched:
                first = min((file.due for file in self.files.values()), default=math.inf)
                rest = min(first, until) - time.monotonic()
                if rest <= 0:
                    break
                self._changed.wait(min(rest, threading.TIMEOUT_MAX))
            now = time.monotonic()
            taken = [(file, file.why) for file in self.files.values() if file.due <= now]
            for file, _ in taken:
                file.why, file.due, file.ready = 0, math.inf, now + SPACING
            return taken

    def spare(self, file: File) -> None:
        """The check found nothing to read, so the next event need not wait. For the watcher's thread."""
        with self._changed:
            file.ready = 0.0
            if file.why:
                file.due = 0.0

    @property
    def unwatched(self) -> bool:
        return self._unwatched

    def route(self, *, deep: bool) -> tuple[dict[str, Identity], set[str]]:
        """Matches events against the files' routes from now on. Returns the folders to watch, and the watches to renew.

        Not `deep`: only the folders that the files are in, not those on their paths. For the watcher's thread, which
        must call it before it watches them: an event of a step that is not known here is dropped.
        """
        with self._changed:
            self._unwatched = False
            renew, self._renew = self._renew, set()
            steps: dict[tuple[str, str], list[tuple[File, bool]]] = {}
            folders: dict[str, Identity] = {}
            for file in self.files.values():
                route = file.route
                for step in route.steps:
                    last = route.whole and step == route.steps[-1]
                    steps.setdefault(step, []).append((file, last))
                    if deep or last:
                        folders[step[0]] = route.folders[step[0]]
            self._steps = steps
        return folders, renew

    def _mark(self, file: File, why: int, due: float) -> None:
        """With the lock held. Wakes the thread only for a check that is earlier than the one it waits for."""
        file.why |= why
        if due < file.due:
            file.due = due
            self._changed.notify()
