"""Answers that are read up to a limit: for `doctor --probe`, whose endpoint may be anything."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

from .http import WireError

_LIMIT: contextvars.ContextVar[int | None] = contextvars.ContextVar("limit", default=None)


@contextlib.contextmanager
def bounded_answers(limit: int) -> Iterator[None]:
    """Chat models that are made meanwhile read at most `limit` bytes of each answer to `invoke`, uncompressed."""
    token = _LIMIT.set(limit)
    try:
        yield
    finally:
        _LIMIT.reset(token)


def hooks(request: Callable[[Any], None] | None = None) -> dict[str, list[Callable[[Any], None]]]:
    """The event hooks of an HTTP client (httpx, httpx2) that is made now: `request`, and the limit of its answers."""
    limit = _LIMIT.get()
    own = [request] if request is not None else []
    if limit is None:
        return {"request": own}
    return {"request": [*own, _ask_for_plain], "response": [lambda response: _bound(response, limit)]}


def _ask_for_plain(request: Any) -> None:
    request.headers["Accept-Encoding"] = "identity"


def _bound(response: Any, limit: int) -> None:
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise WireError("garbled", "its answer is compressed, which was not asked for")
    chunks = response.iter_raw

    def iter_raw(chunk_size: int | None = None) -> Iterator[bytes]:
        size = 0
        for chunk in chunks(chunk_size):
            size += len(chunk)
            if size > limit:
                raise WireError("too-large", f"more than {limit // 2**20} MiB")
            yield chunk

    response.iter_raw = iter_raw
