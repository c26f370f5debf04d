"""watchdog on Linux with one thread, which reads inotify and calls us without delay.

watchdog's own emitter has a thread per folder, passes each event through two more threads, and delays every event of
a folder by 0.5 s when a file is moved out of it. One path here needs a dozen folders, and no matched pairs of moves.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Final

from watchdog.events import FileSystemEvent
from watchdog.observers.api import BaseObserver, EventEmitter, EventQueue, ObservedWatch
from watchdog.observers.inotify import InotifyObserver
from watchdog.observers.inotify_c import CallbackId, InotifyConstants, InotifyEvent, InotifyFD, Mask, WatchDescriptor

from ..held_calls import read_ready

Changed = Callable[[str, str, bool], None]  # folder, name, created
Lost = Callable[[str | None], None]  # a folder, or None for all

# Not the events of our own reads (opened, closed without a write).
MASK: Final = Mask(
    InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_MOVE
    | InotifyConstants.IN_CREATE
    | InotifyConstants.IN_DELETE
    | InotifyConstants.IN_ONLYDIR
    | InotifyConstants.IN_DONT_FOLLOW
)


class Inotify(InotifyFD):
    """One inotify instance and its thread. Leaks no descriptor, however early it ends."""

    def __init__(self) -> None:
        self._held: list[int] = []
        try:
            super().__init__()
            self._held = [self._inotify_fd, self._kill_r, self._kill_w]
            os.set_inheritable(self._inotify_fd, False)  # watchdog does not close it
        except OSError:
            if not self._held and "_inotify_fd" in vars(self):  # the instance was created, the pipe was not
                self._held = [self._inotify_fd]
            self.release()
            raise

    def _read_event_buffer(self, event_buffer_size: int) -> bytes:  # noqa: ARG002
        """Like the base class, with one call less that releases the GIL."""
        with self._lock:
            if self._closed:
                return b""
            self._is_reading = True
        try:
            data = read_ready(self._inotify_fd) if self._check_inotify_fd() else b""
        except OSError:  # closed in a forked child
            data = b""
        with self._lock:
            self._is_reading = False
            if self._closed:
                self._close_resources()
                return b""
        return data

    def release(self) -> None:
        """Closes the descriptors, each once. The kernel removes the watches."""
        while self._held:
            os.close(self._held.pop())

    # The base class does not call this when it is stopped before its thread runs, nor guards against a second call.
    _close_resources = release


class Folder(EventEmitter):
    """One watched folder. Has no thread: that of the inotify instance calls it."""

    def __init__(
        self,
        event_queue: EventQueue,
        watch: ObservedWatch,
        *,
        timeout: float,
        event_filter: list[type[FileSystemEvent]] | None,
        inotify: Inotify,
        changed: Changed,
        lost: Lost,
    ) -> None:
        super().__init__(event_queue, watch, timeout=timeout, event_filter=event_filter)
        self._path = watch.raw_path
        self._inotify = inotify
        self._changed = changed
        self._lost = lost
        self._id = CallbackId(id(self))
        self._descriptor: WatchDescriptor | None = None

    def start(self) -> None:
        """Adds the watch. Raises OSError when it is refused."""
        descriptor = self._inotify.add_callback(os.fsencode(self._path), MASK, self, self._id)
        if descriptor == -1:  # watchdog ignores EACCES
            self._inotify.remove_callbacks([(descriptor, self._id)])
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), self._path)
        self._descriptor = descriptor

    def on_thread_stop(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._inotify.remove_callbacks([(descriptor, self._id)])

    def is_alive(self) -> bool:
        return self._inotify.is_alive() and self._descriptor is not None

    def on_event(self, event: InotifyEvent) -> None:
        if event.name:
            self._changed(self._path, os.fsdecode(event.name), event.is_create and not event.is_directory)

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:  # noqa: ARG002
        """The folder was removed or unmounted."""
        self._lost(self._path)

    def on_queue_overflow(self) -> None:
        self._lost(None)


class FolderObserver(InotifyObserver):
    """watchdog's observer, using these two classes instead of its own."""

    def __init__(self, changed: Changed, lost: Lost) -> None:
        self._inotify_fd = self.inotify = Inotify()
        try:
            self.inotify.start()
        except RuntimeError:  # no more threads
            self.inotify.release()
            raise
        BaseObserver.__init__(self, Folder, inotify=self.inotify, changed=changed, lost=lost)
