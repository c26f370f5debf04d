"""Watches paths and reports batches of changed paths. Independent of configuration.

    watcher.py     one thread: reports the changed paths, and sweeps for what no event reported
    due_files.py   which paths are due to be looked at, and when
    path_route.py  the folders that a path's resolution passes through
    os_events.py   file events, as hints; only this module and inotify.py import watchdog
    inotify.py     watchdog on Linux, with one thread instead of one per folder, no delays and no leaks

watchdog is imported when a Watcher starts, not before.
"""

from .watcher import State, Watcher

__all__ = ["State", "Watcher"]
