"""What a store held at one revision."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec


class Value(NamedTuple):
    """What one key of the store holds, and the revision that it was written at."""

    data: bytes
    revision: int


class Event(NamedTuple):
    """One change: the key's name below the prefix, and what it holds now; None when it was removed."""

    name: str
    value: Value | None
    revision: int


class Stored(msgspec.Struct, frozen=True):
    """Everything below the prefix at one revision: name (`llm/model`) → value.

    `cluster` tells one etcd from another: revisions of two are not to be compared.
    """

    cluster: int
    revision: int
    values: Mapping[str, Value]

    def data(self, name: str) -> bytes | None:
        """What a key holds; None when there is no such key."""
        value = self.values.get(name)
        return value.data if value is not None else None

    def after(self, events: Iterable[Event]) -> Stored:
        """This with later events; one that is not later changes nothing.

        The revision is that of the last event, and never the one in a message's header: that may be ahead of events
        that are still to come.
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
        """The SHA-256, in hex, of all names and what they hold: equal digests, equal stores."""
        found = hashlib.sha256()
        for name, value in sorted(self.values.items()):
            for part in (name.encode(), value.data):
                found.update(b"%d:" % len(part) + part)
        return found.hexdigest()
