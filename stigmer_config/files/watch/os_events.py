"""Native events of a set of folders. They are hints: the sweep finds changes that they miss."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Set
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Final

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

from .path_route import Identity

if TYPE_CHECKING:
    from .inotify import FolderObserver

LINUX: Final = sys.platform == "linux"

# Our own reads raise none of these. Only Linux reports that a file was closed; elsewhere we use each write.
EVENTS: Final[list[type[FileSystemEvent]]] = [
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileClosedEvent if LINUX else FileModifiedEvent,
]


def _own_observer(
    changed: Callable[[str, str, bool], None], lost: Callable[[str | None], None]
) -> FolderObserver | None:
    """The observer of `inotify.py`. None where it is unavailable; watchdog's public one is slower, but works.

    It is unavailable on other systems, and with a watchdog whose private names or arguments differ from those that
    `inotify.py` was written for. Raises `OSError` when the system has no resources left for watching.
    """
    if not LINUX:
        return None
    try:
        from .inotify import FolderObserver

        return FolderObserver(changed, lost)
    except (ImportError, AttributeError, TypeError):
        return None


class Native(FileSystemEventHandler):
    """Follows folders, with one non-recursive watch each.

    Calls `changed(folder, name, created)` for each event in a folder, and `lost(folder)` when a folder is gone or its
    events were lost (None: those of all folders). Both are called in a thread of watchdog. The methods are for one
    thread at a time.
    """

    def __init__(self, changed: Callable[[str, str, bool], None], lost: Callable[[str | None], None]) -> None:
        """Raises watchdog's error when the system has no resources left for watching, without leaking any."""
        # Elsewhere a watch includes everything below the folder (FSEvents), or needs a descriptor per file in it
        # (kqueue).
        self.deep = LINUX
        # Whether every event arrives, or `lost` is called. watchdog's own emitters lose some when a watch is replaced.
        self.is_complete = False
        self._changed = changed
        self._sound = True
        self._watches: dict[str, tuple[Identity, ObservedWatch]] = {}
        self._release: Callable[[], None] = lambda: None
        self._observer: BaseObserver
        self._reader: Thread
        own = _own_observer(changed, lost)
        if own is not None:
            self.is_complete = True
            self._observer = own
            self._reader, self._release = own.inotify, own.inotify.release
        else:
            self._reader = self._observer = Observer()
        try:
            self._observer.start()
        except BaseException:
            self.close()
            raise

    def follow(self, folders: Mapping[str, Identity], renew: Set[str]) -> dict[str, Exception]:
        """Watches these folders and no others. Returns those that cannot be watched, and why.

        A watch stays with the folder that it was added for: it is replaced if the path now names another folder, and
        for each folder in `renew`.
        """
        for folder, (known, watch) in list(self._watches.items()):
            if folders.get(folder) != known or folder in renew:
                del self._watches[folder]
                try:
                    self._observer.unschedule(watch)
                except Exception:  # noqa: BLE001  its records are wrong: alive() is False, so all are replaced
                    self._sound = False
        refused: dict[str, Exception] = {}
        for folder in folders.keys() - self._watches.keys():
            try:
                watch = self._observer.schedule(self, folder, recursive=False, event_filter=EVENTS)
            except Exception as error:  # noqa: BLE001  no watch or thread left, not allowed, gone: it is polled
                refused[folder] = error
            else:
                self._watches[folder] = (folders[folder], watch)
        return refused

    def alive(self) -> bool:
        """Whether events can still reach us."""
        return self._sound and self._observer.is_alive() and self._reader.is_alive()

    def ended(self) -> list[str]:
        """The folders whose watches ended without an event."""
        return [emitter.watch.raw_path for emitter in self._observer.emitters if not emitter.is_alive()]

    def close(self) -> None:
        """Ends every thread and watch and closes every descriptor."""
        with suppress(Exception):  # watchdog's records may be wrong; the kernel removes the watches with the descriptor
            self._observer.stop()
        if self._observer.is_alive():
            self._observer.join()
        self._release()

    def forget(self) -> None:
        """In a forked child: closes its copies of the descriptors. The watches are the parent's and stay."""
        self._release()

    def dispatch(self, event: FileSystemEvent) -> None:
        """For watchdog: receives events from its own emitters, where they are used."""
        for path in (event.src_path, event.dest_path):
            if path:
                folder, name = os.path.split(os.fsdecode(path))
                self._changed(folder, name, isinstance(event, FileCreatedEvent))
