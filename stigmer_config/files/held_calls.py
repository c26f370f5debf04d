"""System calls that never wait, made without releasing the GIL. Linux only.

`os.read` and `fcntl.fcntl` release the GIL at each call. While other threads are busy, getting it back costs 5 ms for
each of them, so calls that are answered from memory keep it.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable
from typing import Any, Final

_BUFFER: Final = 16 * 1024
_NOWAIT: Final[int] = getattr(os, "RWF_NOWAIT", 0)


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


def read_cached(descriptor: int, size: int) -> bytes | None:
    """The first bytes of a file, if they are in memory: at most `size`. None where the system cannot tell."""
    preadv2 = _preadv2()
    if preadv2 is None:
        return None
    buffer = ctypes.create_string_buffer(size)
    found = preadv2(descriptor, _Part(ctypes.addressof(buffer), size), 1, 0, _NOWAIT)
    return ctypes.string_at(buffer, found) if found >= 0 else None


class _Part(ctypes.Structure):
    """`struct iovec`."""

    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


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


@functools.cache
def _preadv2() -> Callable[[int, _Part, int, int, int], int] | None:
    """None without RWF_NOWAIT (Linux 4.14, glibc 2.26, musl 1.2.5), and where `off_t` may be longer than a `long`."""
    function: Any = getattr(ctypes.PyDLL(None, use_errno=True), "preadv2", None)
    if function is None or not _NOWAIT or ctypes.sizeof(ctypes.c_long) < 8:
        return None
    function.argtypes = (ctypes.c_int, ctypes.POINTER(_Part), ctypes.c_int, ctypes.c_long, ctypes.c_int)
    function.restype = ctypes.c_ssize_t
    found: Callable[[int, _Part, int, int, int], int] = function
    return found
