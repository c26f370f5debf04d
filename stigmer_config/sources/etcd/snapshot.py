"""The content of a store at one revision."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec


class Value(NamedTuple):
    """The value of one key of the store, and the revision at which it was written."""

    data: bytes
    revision: int

    def __repr__(self) -> str:
        return f"Value({len(self.data)} bytes, revision={self.revision})"


class Event(NamedTuple):
    """One change: the key's name below the prefix, and its new value; None when it was removed."""

    name: str
    value: Value | None
    revision: int


class Stored(msgspec.Struct, frozen=True):
    """Everything below the prefix at one revision: name (`llm/model`) → value.

    `cluster` identifies the etcd: revisions of different clusters must not be compared.
    """

    cluster: int
    revision: int
    values: Mapping[str, Value]

    def data(self, name: str) -> bytes | None:
        """The bytes of a key; None when there is no such key."""
        value = self.values.get(name)
        return value.data if value is not None else None

    def after(self, events: Iterable[Event]) -> Stored:
        """This state with later events applied; events that are not later change nothing.

        The revision is that of the last event, never the one in a message's header, which may be ahead of events that
        are yet to come.
        """
        values, revision = dict(self.values), self.revision
        for event in events:
            if event.revision <= self.revision:
                continue
            revision = max(revision, event.revision)
            if event.value is None:
                values.pop(event.name, None)
            else:
                values[event.name] = event.value
        return Stored(self.cluster, revision, values)

    @property
    def digest(self) -> str:
        """The SHA-256, in hex, of all names and values: equal digests mean equal stores."""
        found = hashlib.sha256()
        for name, value in sorted(self.values.items()):
            for part in (name.encode(), value.data):
                found.update(b"%d:" % len(part) + part)
        return found.hexdigest()
