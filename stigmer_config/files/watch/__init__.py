"""Paths in, batches of changed paths out. Knows no configuration.

    watcher.py   one thread: what is due, who is told, the sweep
    routes.py    the folders a path's resolution passes through
    native.py    file events, as hints; watchdog is known here and in inotify.py alone
    inotify.py   watchdog on Linux, without its pauses, its leaks and a thread per folder

watchdog is imported when a Watcher starts, not before.
"""

from .watcher import State, Watcher

__all__ = ["State", "Watcher"]
