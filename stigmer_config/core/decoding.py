"""Typed decoding with msgspec, safe when several threads decode a type for the first time.

msgspec 0.22 crashes the interpreter when two threads build the decoder of one type at the same time. Here each
decoder is built once, under one lock (types share parts, so one lock per type is not enough). Nothing else in the
package calls `msgspec.convert` or builds a decoder (tests/core/test_decoding.py).
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_decoders: dict[tuple[Any, bool], msgspec.json.Decoder[Any]] = {}
_building = threading.RLock()  # re-entrant: a signal handler may interrupt a build


def json_decoder(kind: type[T], *, strict: bool = True) -> msgspec.json.Decoder[T]:
    """The decoder of JSON to `kind`. Threads may use it concurrently."""
    decoder = _decoders.get((kind, strict))
    if decoder is None:
        with _building:
            decoder = _decoders.get((kind, strict))
            if decoder is None:
                decoder = _decoders[kind, strict] = msgspec.json.Decoder(kind, strict=strict)
    return decoder


def from_json(data: bytes | str, kind: type[T], *, strict: bool = True) -> T:
    """Decodes JSON to a `kind`. Raises `msgspec.MsgspecError`, `UnicodeDecodeError` or `RecursionError`."""
    return json_decoder(kind, strict=strict).decode(data)


def from_builtins(value: Any, kind: type[T], *, strict: bool = True) -> T:
    """Converts plain dicts, lists and scalars to a `kind`. Raises `msgspec.ValidationError`."""
    json_decoder(kind, strict=strict)  # from now on msgspec has cached the type
    return msgspec.convert(value, kind, strict=strict)


def _before_fork() -> None:
    _building.acquire(timeout=1.0)  # a type that is half built at a fork would crash the child


def _after_fork_in_parent() -> None:
    with contextlib.suppress(RuntimeError):  # it was not acquired in time
        _building.release()


def _after_fork_in_child() -> None:
    global _building  # noqa: PLW0603
    _building = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
