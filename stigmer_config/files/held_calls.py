"""System calls that never wait, made without releasing the GIL. Linux only.

`os.read` and `fcntl.fcntl` release the GIL at each call. While other threads are busy, getting it back costs 5 ms for
each of them, so calls that are answered from memory keep it.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable
from typing import Final

_BUFFER: Final = 16 * 1024


def fcntl(descriptor: int, command: int, argument: int) -> int:
    """Runs a command that needs neither a disk nor a server. Returns 0, or the errno."""
    return ctypes.get_errno() if _fcntl()(descriptor, command, argument) else 0


def read_ready(descriptor: int) -> bytes:
    """read(2) of a descriptor that poll(2) has found readable. Raises `OSError`."""
    buffer = ctypes.create_string_buffer(_BUFFER)
    size = _read()(descriptor, buffer, _BUFFER)
    if size < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return ctypes.string_at(buffer, size)


@functools.cache
def _fcntl() -> Callable[[int, int, int], int]:
    function = ctypes.PyDLL(None, use_errno=True).fcntl
    function.argtypes, function.restype = (ctypes.c_int, ctypes.c_int, ctypes.c_int), ctypes.c_int
    return function


@functools.cache
def _read() -> Callable[[int, ctypes.Array[ctypes.c_char], int], int]:
    function = ctypes.PyDLL(None, use_errno=True).read
    function.argtypes, function.restype = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t), ctypes.c_ssize_t
    return function
