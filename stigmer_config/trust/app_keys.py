"""The effect of an entry below `apps` on other keys: null removes a section, and a first key creates one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..config.app_values import completed, hidden
from ..core.layer_stack import LayerStack
from ..core.provenance import Entry
from ..settings.frozen import FrozenDict
from ..settings.schema import Schema

PREFIX = "apps."


def sections_above(key: str) -> Iterator[str]:
    """The sections that an application's key is in, nearest first, up to `apps.<name>`."""
    while key.count(".") > 1:
        key = key.rpartition(".")[0]
        yield key


def is_empty(value: Any) -> bool:
    """Whether a value is a section without keys: the keys of other layers stay."""
    return isinstance(value, FrozenDict) and not value


class FixedValues:
    """Values of applications' keys that must not change. `changed_by` finds one that a further entry would change."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._below: dict[str, str] = {}  # a section → a key in it whose value must not change

    def add(self, key: str, value: Any) -> None:
        self._values.setdefault(key, value)
        for section in sections_above(key):
            self._below.setdefault(section, key)

    def changed_by(self, key: str, value: Any) -> str | None:
        """The key whose value a higher layer's entry changes: the same key, one below it, or one above it."""
        if key in self._values:
            return key if self._values[key] != value else None
        if key in self._below and not is_empty(value):
            return self._below[key]
        above = (section for section in sections_above(key) if section in self._values)
        return next((section for section in above if not is_empty(self._values[section])), None)


def present_sections(winners: Mapping[str, Entry], layers: LayerStack, schema: Schema) -> frozenset[str]:
    """The sections below `apps` that exist: a nullable struct does once it has a value."""
    mine = {key: entry for key, entry in winners.items() if key.startswith(PREFIX)}
    gone = hidden(mine, {layer.name: rank for rank, layer in enumerate(layers)})
    values = {key: entry.value for key, entry in mine.items() if key not in gone}
    missing, _ = completed(schema, values)
    return frozenset(section for key in (*values, *missing) for section in sections_above(key))


def locked_by(key: str, names: Iterable[str], present: frozenset[str], schema: Schema) -> str | None:
    """The locked key or section whose value an entry for another key of an application changes, or None.

    The other key is a section above it, which removes or creates it, or the first key of a struct that did not exist.
    """
    created = [
        section
        for section in (key, *sections_above(key))
        if section not in present and schema.is_struct(schema.declared(section) or "")
    ]
    return next((name for name in names for one in (key, *created) if name.startswith(f"{one}.")), None)
