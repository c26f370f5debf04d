"""Merges layers to the winning entry of each key. The only module that imports dynaconf.

| older | newer | result |
|---|---|---|
| nothing | anything | the newer |
| mapping | mapping | merged key by key |
| anything else | anything | the newer |
| `locked` | `locked` | both |

dynaconf's `object_merge` merges mappings that several layers give; it is imported on first need. It opens no file and
runs no loader. Keys are wrapped in tuples and values are entries, so dynaconf treats nothing in a file as one of its
reserved names (`dynaconf_merge`, …), and changes no case, splits no dots, casts and evaluates nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from .environment import process_variables
from .problems import ConfigError, Problem
from .provenance import Entry, Layer, Origin


def _object_merge() -> Callable[..., dict[Any, Any]]:
    """Dynaconf's merge. Raises `ConfigError` when one of dynaconf's own variables breaks its import."""
    try:
        from dynaconf.utils import object_merge
    except (ValueError, TypeError) as error:  # dynaconf converts its variables while it is imported
        raise ConfigError([_broken_import(error)]) from None
    return cast(Callable[..., dict[Any, Any]], object_merge)


def _broken_import(error: Exception) -> Problem:
    """The problem that names the variable which dynaconf cannot read."""
    own = {name: text for name, text in process_variables().items() if name.endswith("_FOR_DYNACONF")}
    blamed = [name for name, text in own.items() if repr(text) in str(error)] or sorted(own)
    name = blamed[0] if blamed else "a variable"
    message = f"dynaconf, which merges the layers, does not start with {', '.join(blamed) or 'these variables'} as set"
    return Problem(code="wrong-type", message=message, hint=f"unset {name}", origin=Origin("env", name))


_UNITED = ("locked", "enforced")  # lists that are the union of all layers


def merge(layers: Iterable[Layer], prefix: str = "") -> dict[str, Entry]:
    """The winning entry of each key that starts with `prefix`; `layers` are lowest first.

    An alias that several layers give as a mapping becomes one mapping, with the origin of the highest;
    `locked` and `enforced` are the unions of all layers. Raises `ConfigError` when dynaconf cannot be imported.
    """
    layers = list(layers)
    winners: dict[str, Entry] = {}
    mappings: set[str] = set()  # the keys that have mappings in two adjacent layers
    for layer in layers:
        entries = layer.entries
        if prefix:
            entries = {key: entry for key, entry in entries.items() if key.startswith(prefix)}
        for key in entries.keys() & winners.keys():
            if type(winners[key].value) is dict and type(entries[key].value) is dict:
                mappings.add(key)
        winners.update(entries)
    for key, value in _merged_mappings(layers, mappings).items():
        if not isinstance(value, Entry):
            winners[key] = Entry({name: target for (name,), target in value.items()}, winners[key].origin)
    for name in _UNITED:
        lists = [layer.entries[name] for layer in layers if name in layer.entries]
        if len(lists) > 1 and name in winners:
            winners[name] = Entry(unique(key for entry in lists for key in entry.value), lists[-1].origin)
    return winners


def _merged_mappings(layers: Sequence[Layer], keys: set[str]) -> dict[str, Any]:
    """Some keys, merged by dynaconf: for each a mapping (name,) → entry, or the entry that replaced it."""
    if not keys:
        return {}
    object_merge = _object_merge()
    merged: dict[Any, Any] = {}
    for layer in layers:
        wrapped = _wrapped(layer, keys)
        if wrapped:
            merged = object_merge(merged, wrapped, list_merge="shallow") if merged else wrapped
    return {key: value for (key,), value in merged.items()}


def _wrapped(layer: Layer, keys: set[str]) -> dict[Any, Any]:
    """Some entries of a layer, in the form for dynaconf: a new dict each time, because `object_merge` changes it."""
    return {
        (key,): {(name,): target for name, target in entry.value.items()} if type(entry.value) is dict else entry
        for key, entry in layer.entries.items()
        if key in keys
    }


def unique(names: Iterable[str]) -> tuple[str, ...]:
    """The names without repetitions, in their order."""
    return tuple(dict.fromkeys(names))
