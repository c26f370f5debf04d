"""Paths in, batches of changed paths out. Knows no configuration.

    watcher.py     one thread: reports the changed paths, and sweeps for what no event reported
    due_files.py   which paths are due to be looked at, and when
    path_route.py  the folders that a path's resolution passes through
    os_events.py   file events, as hints; only this module and inotify.py import watchdog
    inotify.py     watchdog on Linux, without its pauses, its leaks and a thread per folder

watchdog is imported when a Watcher starts, not before.
"""

from .watcher import State, Watcher

__all__ = ["State", "Watcher"]
