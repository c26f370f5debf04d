"""Resolving links in paths, and the flags to open a file safely."""

from __future__ import annotations

import contextlib
import os
from typing import Final

# Does not wait for a FIFO's writer, is not inherited, does not become our terminal, translates no line ends.
SAFE: Final = (
    getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
)
NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0)


_TRIES = 100  # an attempt fails only if the link changed in the microseconds between two calls


def real_path(path: str | os.PathLike[str]) -> str:
    """Like `os.path.realpath`, which before Python 3.13 raises when a link stops being one between two of its calls."""
    for _ in range(_TRIES):
        with contextlib.suppress(OSError):
            return os.path.realpath(path)
    with contextlib.suppress(OSError):
        return os.path.abspath(path)
    return os.fspath(path)  # relative, and the working folder is gone


def expanded(path: str) -> str:
    """`path` with a leading `~` replaced by the home, as an absolute path; any other path as it is."""
    return os.path.abspath(os.path.expanduser(path)) if path.startswith("~") else path
