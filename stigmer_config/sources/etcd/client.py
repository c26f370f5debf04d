"""The etcd operations that a fleet needs: read and watch a prefix, compare and put, and the workers' leases."""

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

MAX_KEYS: Final = 1000  # the most keys below the prefix, far more than there are settings
MAX_COMPARED: Final = 120  # keys of one transaction: etcd allows 128 comparisons (--max-txn-ops)
PAGE: Final = 50  # workers in one answer: each of them may report much
MAX_PAGES: Final = 200
MAX_ANNOUNCED: Final = 16 * MAX_ANSWER  # the most bytes of all of them


class Etcd(Members):
    """A store below its prefix. All methods raise `EtcdError`."""

    def read(self) -> Stored:
        """Reads everything below the prefix, from the majority of the members (a linearizable read)."""
        found = self.call("/v3/kv/range", {**self._span(), "limit": MAX_KEYS + 1}, Range)
        if found.more or len(found.kvs) > MAX_KEYS:
            raise EtcdError(f"more than {MAX_KEYS} keys below {self._fleet.prefix}/")
        if not found.header.revision:  # no etcd has revision 0: this is not an empty store
            raise not_etcd_answer()
        values = {self._name(kv.key): Value(data_of(kv.value), kv.mod_revision) for kv in found.kvs}
        return Stored(found.header.cluster_id, found.header.revision, values)

    def watch(self, revision: int) -> Generator[tuple[snapshot.Event, ...]]:
        """Yields the changes below the prefix from `revision` on, until `interrupt()`; the first message has no events.

        Raises `Compacted` when that revision was compacted, and `EtcdError` when the stream ends.
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
        """Writes keys below the prefix, and removes those with None, if everything below it still is as in `seen`.

        At most `MAX_COMPARED` changes at once. Returns the revision of the write; None when a key is newer, or one of
        the first `MAX_COMPARED` keys is gone.
        """
        older = {**self._span(), "target": "MOD", "result": "LESS", "mod_revision": seen.revision + 1}
        # A removal leaves no revision: each key has to be compared.
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

    # -- workers -----------------------------------------------------------------------------------------------------

    def lease(self, seconds: int) -> int:
        """Creates a lease of that many seconds."""
        return self.call("/v3/lease/grant", {"TTL": seconds}, Lease).id

    def keep(self, lease: int) -> bool:
        """Renews a lease. Returns False when it has ended."""
        return self.call("/v3/lease/keepalive", {"ID": lease}, LeaseLine).result.ttl > 0

    def revoke(self, lease: int) -> None:
        """Revokes a lease, and with it all keys written under it."""
        self.call("/v3/lease/revoke", {"ID": lease}, Message)

    def announce(self, name: str, data: bytes, lease: int) -> None:
        """Writes a worker's state under its lease."""
        key = f"{self._fleet.prefix}.workers/{name}"
        self.call("/v3/kv/put", {"key": key_text(key), "value": data_text(data), "lease": lease}, Message)

    def announced(self) -> dict[str, bytes]:
        """The state that each worker reports, by its name: from all pages, in one deadline and bounded bytes."""
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
    """Parses a line of a watch. Raises when the watch ended."""
    told = line.result
    if line.error is not None or told is None:
        raise WatchRefused("the watch was refused")
    if told.compact_revision:
        raise Compacted("the history was compacted")
    if told.canceled:
        raise WatchRefused("the watch was refused") if told.created else EtcdError("the watch was cancelled")
    return told


def bounded(stored: Stored) -> Stored:
    """Returns its argument. Raises `EtcdError` when that is more than one answer may contain."""
    size = sum(len(name) + len(value.data) for name, value in stored.values.items())
    if len(stored.values) > MAX_KEYS or size > MAX_ANSWER:
        raise EtcdError(f"more than {MAX_KEYS} keys, or {MAX_ANSWER // 1024} KiB")
    return stored
