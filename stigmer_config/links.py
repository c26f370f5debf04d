"""A path without its links, while others may be changing them."""

from __future__ import annotations

import contextlib
import os

_TRIES = 100  # each one lost only if the link changed in the microseconds between two calls


def real_path(path: str | os.PathLike[str]) -> str:
    """As `os.path.realpath`, which before Python 3.13 raises when a link stops being one between its two calls."""
    for _ in range(_TRIES):
        with contextlib.suppress(OSError):
            return os.path.realpath(path)
    return os.path.abspath(path)
