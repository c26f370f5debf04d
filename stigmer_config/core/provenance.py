"""The types that record where values come from: Key, Origin, Entry, Layer, and why a value lost.

A Key is a dotted path of one setting (`llm.model`), a plain `str`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

import msgspec

from .masked_repr import MaskedRepr

LayerName = Literal["defaults", "vendor", "site", "etcd", "user", "project", "env", "flags", "execution"]
Status = Literal["loaded", "absent", "error", "untrusted", "empty"]
Reason = Literal[
    "overridden",
    "provider-switched",
    "bound-elsewhere",
    "untrusted",
    "locked",
    "enforced",
    "not-in-mode",
    "unused",
    "unsupported",
]


class Origin(msgspec.Struct, frozen=True, gc=False):
    """The exact place where a value was written.

    `source` is a file's path, a variable's name, a flag or the call's argument; `line` and `column`
    are 1-based, in characters, and `None` for sources without lines.
    """

    layer: LayerName
    source: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        if self.line is None:
            return self.source
        return f"{self.source}:{self.line}:{self.column}"


# The origin of a running worker's mode when the layers now choose another.
STARTING_MODE = Origin("flags", "the mode at the start")


class Entry(msgspec.Struct, frozen=True, eq=False, gc=False):  # no value leads back to its entry
    """One value that one layer gave, converted to the setting's type, and its Origin.

    Entries compare by identity: equal values of two layers are two entries.
    """

    value: Any
    origin: Origin


class RefusedEntry(msgspec.Struct, frozen=True):
    """An entry that vetting removed from a layer, and why."""

    entry: Entry
    reason: Reason


class Layer(MaskedRepr, frozen=True, eq=False):
    """The content of one source.

    `entries` holds the entries in effect, `refused` those that vetting removed, `faulty` the keys with an invalid value
    and its place, `named` the places of providers that are named as keys, `not_read` the keys that belong to another
    program. `granted` are the keys of an untrusted layer that the user trusts. `text` is a file's text, for the
    excerpts in messages; `secret_lines` computes which of its lines are never shown, `hashed` the digest of its
    content. `implied_provider` is the provider that this layer names when nothing else in it names one
    (`--anthropic-key`). `apps` is the file's content below `apps`, unchecked, whichever applications are registered;
    None without such a section.
    """

    _shown = ("name", "source", "status")

    name: LayerName
    source: str
    status: Status
    entries: Mapping[str, Entry] = {}
    refused: Mapping[str, RefusedEntry] = {}
    faulty: Mapping[str, Origin] = {}
    named: Mapping[str, Origin] = {}
    granted: frozenset[str] = frozenset()
    why: str = ""
    text: str | None = None
    secret_lines: Callable[[], frozenset[int]] = frozenset
    hashed: Callable[[], str] | None = None
    implied_provider: Entry | None = None
    apps: Mapping[str, Entry] | None = None
    not_read: tuple[str, ...] = ()

    @property
    def digest(self) -> str | None:
        """The SHA-256, in hex, of the content; None without one."""
        return self.hashed() if self.hashed is not None else None

    @property
    def is_trusted(self) -> bool:
        """Whether the operator or the user wrote it: false for a project's file and for a store without https."""
        return self.name != "project" and (self.name != "etcd" or self.source.startswith("https://"))

    def trusts(self, key: str) -> bool:
        """Whether the entry of a key is trusted: because its layer is, or because it is granted."""
        return key in self.granted or self.is_trusted


@functools.lru_cache(maxsize=16)  # needed several times in a load, and by a reload of the layers that did not change
def by_section(layer: Layer) -> Mapping[str, Mapping[str, Entry]]:
    """A layer's entries by the first part of their keys, such as `llm`."""
    found: dict[str, dict[str, Entry]] = {}
    for key, entry in layer.entries.items():
        section = key.partition(".")[0]
        if section in found:
            found[section][key] = entry
        else:
            found[section] = {key: entry}
    return found


class Loser(msgspec.Struct, frozen=True):
    """A value that did not win, its place, and why it lost."""

    value: Any
    origin: Origin
    reason: Reason


class Hop(msgspec.Struct, frozen=True):
    """One step of an alias: `name` means `target`, as `origin` says."""

    name: str
    target: str
    origin: Origin


class Explanation(msgspec.Struct, frozen=True):
    """Why a key has its value: the winner, every loser highest layer first, and the alias hops.

    `origin` is `None` when nothing set the key. `value` is the effective value; a secret is a `Secret`.
    """

    key: str
    value: Any
    origin: Origin | None
    losers: tuple[Loser, ...] = ()
    hops: tuple[Hop, ...] = ()


class Change(msgspec.Struct, frozen=True):
    """One effective value that differs between two Configs."""

    key: str
    old: Any
    new: Any
    old_origin: Origin | None
    new_origin: Origin | None
    restart_required: bool


def placed(value: Any, origin: Origin) -> Entry:
    """The entry of a value with an origin; the parts of a mapping become entries with the same origin."""
    if type(value) is not dict:
        return Entry(value, origin)
    parts = cast("dict[str, Any]", value).items()
    return Entry({name: part if isinstance(part, Entry) else Entry(part, origin) for name, part in parts}, origin)


def plain_value(entry: Entry) -> Any:
    """An entry's value, with entries in it replaced by their values."""
    by_name = alias_targets(entry)
    if by_name is not None:
        return {name: part.value for name, part in by_name.items()}
    value: Any = entry.value
    if isinstance(value, tuple):
        parts = cast("Sequence[Any]", value)
        return tuple(part.value if isinstance(part, Entry) else part for part in parts)
    return value


def items(entry: Entry) -> tuple[Entry, ...]:
    """The items of a list's entry, each with its own origin, or else with the list's."""
    values = entry.value or ()
    return tuple(item if isinstance(item, Entry) else Entry(item, entry.origin) for item in values)


def alias_targets(entry: Entry) -> Mapping[str, Entry] | None:
    """An alias's mapping of provider → entry; None for an alias that is not a mapping."""
    is_mapping = type(entry.value) is dict
    return entry.value if is_mapping else None
