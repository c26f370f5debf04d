"""What a fleet asks of etcd: everything below a prefix, what changes there, compare and put, and who is there."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Mapping
from typing import Any, Final

from . import snapshot
from .messages import (
    Compacted,
    Denied,
    EtcdError,
    Event,
    Lease,
    LeaseLine,
    Line,
    Message,
    Range,
    Transaction,
    Watched,
    WatchRefused,
    data_of,
    data_text,
    decoded,
    key_text,
    not_etcd_answer,
)
from .snapshot import Stored, Value
from .transport import ANSWER, MAX_ANSWER, Members

__all__ = ["Compacted", "Denied", "Etcd", "EtcdError", "bounded"]

MAX_KEYS: Final = 1000  # below the prefix: nobody has so many settings
MAX_COMPARED: Final = 120  # keys of one transaction: etcd allows 128 comparisons (--max-txn-ops)
PAGE: Final = 50  # workers in one answer: all of them may have much to tell
MAX_PAGES: Final = 200
MAX_ANNOUNCED: Final = 16 * MAX_ANSWER  # bytes of all of them


class Etcd(Members):
    """A store below its prefix. Everything raises `EtcdError`."""

    def read(self) -> Stored:
        """Everything below the prefix, as the majority of the members has it."""
        found = self.call("/v3/kv/range", {**self._span(), "limit": MAX_KEYS + 1}, Range)
        if found.more or len(found.kvs) > MAX_KEYS:
            raise EtcdError(f"more than {MAX_KEYS} keys below {self._fleet.prefix}/")
        if not found.header.revision:  # no etcd is at 0: what looks like an empty store is none
            raise not_etcd_answer()
        values = {self._name(kv.key): Value(data_of(kv.value), kv.mod_revision) for kv in found.kvs}
        return Stored(found.header.cluster_id, found.header.revision, values)

    def watch(self, revision: int) -> Generator[tuple[snapshot.Event, ...]]:
        """What happens below the prefix from `revision` on, until `interrupt()`; the first message has no events.

        Raises `Compacted` when that revision is forgotten, and `EtcdError` when the stream ends.
        """
        try:
            yield from self._watch(revision)
        except WatchRefused:
            if not self.forget_token():
                raise
            yield from self._watch(revision)

    def _watch(self, revision: int) -> Generator[tuple[snapshot.Event, ...]]:
        create = {**self._span(), "start_revision": revision}
        with contextlib.closing(self.stream("/v3/watch", {"create_request": create})) as lines:
            for line in filter(None, lines):
                told = _watched(decoded(line, Line))
                if told.created or told.events:
                    yield tuple(self._event(event) for event in told.events)
        raise EtcdError("the watch ended")

    def _event(self, event: Event) -> snapshot.Event:
        value = None if event.type == "DELETE" else Value(data_of(event.kv.value), event.kv.mod_revision)
        return snapshot.Event(self._name(event.kv.key), value, event.kv.mod_revision)

    def write(self, changes: Mapping[str, bytes | None], seen: Stored) -> int | None:
        """Writes keys below the prefix, and removes those of None, when everything below it is as it was `seen`.

        At most `MAX_COMPARED` changes at once. The revision that they were written at; None when something is newer,
        or gone (of the first `MAX_COMPARED`).
        """
        older = {**self._span(), "target": "MOD", "result": "LESS", "mod_revision": seen.revision + 1}
        # A removal leaves no revision behind: each key is asked for.
        there = [
            {"key": key_text(f"{self._fleet.prefix}/{known}"), "target": "CREATE", "result": "GREATER"}
            for known in sorted(seen.values)[:MAX_COMPARED]
        ]
        success = [self._change(name, data) for name, data in changes.items()]
        done = self.call("/v3/kv/txn", {"compare": [older, *there], "success": success}, Transaction)
        return done.header.revision if done.succeeded else None

    def _change(self, name: str, data: bytes | None) -> dict[str, Any]:
        key = key_text(f"{self._fleet.prefix}/{name}")
        if data is None:
            return {"request_delete_range": {"key": key}}
        return {"request_put": {"key": key, "value": data_text(data)}}

    # -- who is there ------------------------------------------------------------------------------------------------

    def lease(self, seconds: int) -> int:
        """A lease of that many seconds."""
        return self.call("/v3/lease/grant", {"TTL": seconds}, Lease).id

    def keep(self, lease: int) -> bool:
        """Keeps a lease for another while. False when it has ended."""
        return self.call("/v3/lease/keepalive", {"ID": lease}, LeaseLine).result.ttl > 0

    def revoke(self, lease: int) -> None:
        """Ends a lease, and with it what was written under it."""
        self.call("/v3/lease/revoke", {"ID": lease}, Message)

    def announce(self, name: str, data: bytes, lease: int) -> None:
        """Writes what a worker tells of itself, for as long as its lease."""
        key = f"{self._fleet.prefix}.workers/{name}"
        self.call("/v3/kv/put", {"key": key_text(key), "value": data_text(data), "lease": lease}, Message)

    def announced(self) -> dict[str, bytes]:
        """What each worker reports about itself, by its name: in one deadline and bounded bytes, whatever the pages."""
        deadline = time.monotonic() + ANSWER
        start = f"{self._fleet.prefix}.workers/"
        found: dict[str, bytes] = {}
        for _ in range(MAX_PAGES):
            span = {"key": key_text(start), "range_end": key_text(f"{self._fleet.prefix}.workers0"), "limit": PAGE}
            page = self.call("/v3/kv/range", span, Range, deadline)
            keys = [data_of(kv.key).decode("utf-8", "replace") for kv in page.kvs]
            found |= {key.rpartition("/")[2]: data_of(kv.value) for key, kv in zip(keys, page.kvs, strict=True)}
            if not page.more or not keys:
                return found
            if keys[-1] < start or sum(map(len, found.values())) > MAX_ANNOUNCED:
                break
            start = f"{keys[-1]}\0"
        raise EtcdError("the list of workers does not end")

    def _span(self) -> dict[str, Any]:
        return {"key": key_text(f"{self._fleet.prefix}/"), "range_end": key_text(f"{self._fleet.prefix}0")}

    def _name(self, key: str) -> str:
        name, prefix = data_of(key).decode("utf-8", "backslashreplace"), f"{self._fleet.prefix}/"
        if not name.startswith(prefix):
            raise not_etcd_answer()
        return name.removeprefix(prefix)


def _watched(line: Line) -> Watched:
    """What a line of a watch tells. Raises for its end."""
    told = line.result
    if line.error is not None or told is None:
        raise WatchRefused("the watch was refused")
    if told.compact_revision:
        raise Compacted("the history was compacted")
    if told.canceled:
        raise WatchRefused("the watch was refused") if told.created else EtcdError("the watch was cancelled")
    return told


def bounded(stored: Stored) -> Stored:
    """The same. Raises `EtcdError` when it is more than one answer may hold."""
    size = sum(len(name) + len(value.data) for name, value in stored.values.items())
    if len(stored.values) > MAX_KEYS or size > MAX_ANSWER:
        raise EtcdError(f"more than {MAX_KEYS} keys, or {MAX_ANSWER // 1024} KiB")
    return stored
