"""Work counted in function calls: the same on every machine, however busy it is."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def calls(work: Callable[[], Any]) -> int:
    """How many functions `work` calls, of Python and of C, once everything is cached."""
    work()
    found = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        del frame, argument
        nonlocal found
        found += event in ("call", "c_call")

    before = sys.getprofile()
    collects = gc.isenabled()
    gc.disable()  # a collection calls functions of its own
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
        if collects:
            gc.enable()
    return found
