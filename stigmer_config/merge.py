"""Layers → for each key the entry that wins. The only room that knows dynaconf.

| older | newer | result |
|---|---|---|
| nothing | anything | the newer |
| mapping | mapping | merged key by key |
| anything else | anything | the newer |
| `locked` | `locked` | both |

dynaconf folds the layers (`object_merge`) and nothing else: it opens no file, runs no loader, sees no
text. Keys reach it wrapped in a tuple and values as entries, so nothing in a file can be one of its
reserved names (`dynaconf_merge`, …), be folded in case, split at dots, cast or evaluated.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from .kinds import unique
from .provenance import Entry, Layer

_importing = threading.Lock()


@functools.cache
def _object_merge() -> Callable[..., dict[Any, Any]]:
    """The fold of dynaconf, imported with none of its ambient switches in sight.

    `REDIS_PORT_FOR_DYNACONF=abc` and its like break the import itself, or are read by it for good.
    """
    with _importing:
        hidden = {name: os.environ.pop(name) for name in list(os.environ) if _is_switch(name)}
        try:
            from dynaconf.utils import object_merge
        finally:
            os.environ.update(hidden)
    return cast(Callable[..., dict[Any, Any]], object_merge)


def _is_switch(name: str) -> bool:
    return name.endswith("_FOR_DYNACONF") or name.startswith("DYNACONF_")


def _wrapped(layer: Layer) -> dict[Any, Any]:
    """A layer's entries as the fold gets them: a fresh dict each time, since the fold writes into it."""
    return {
        (key,): {(name,): target for name, target in entry.value.items()} if type(entry.value) is dict else entry
        for key, entry in layer.entries.items()
    }


def merge(layers: Iterable[Layer]) -> dict[str, Entry]:
    """The winning entry of each key over the layers, lowest first.

    An alias given as mappings in several layers is one mapping of them all, at the highest one's place;
    `locked` is the union of all layers.
    """
    fold = _object_merge()
    layers = list(layers)
    merged: dict[Any, Any] = {}
    for layer in layers:
        if layer.entries:
            merged = fold(merged, _wrapped(layer), list_merge="shallow")
    winners = {key: value for (key,), value in merged.items() if isinstance(value, Entry)}
    for (key,), value in merged.items():
        if not isinstance(value, Entry):
            winners[key] = Entry({name: target for (name,), target in value.items()}, _highest(layers, key).origin)
    locks = [layer.entries["locked"] for layer in layers if "locked" in layer.entries]
    if len(locks) > 1:
        winners["locked"] = Entry(unique(key for entry in locks for key in entry.value), locks[-1].origin)
    return winners


def _highest(layers: list[Layer], key: str) -> Entry:
    return next(layer.entries[key] for layer in reversed(layers) if key in layer.entries)


def targets(entry: Entry) -> Mapping[str, Entry] | None:
    """The entry's provider → entry mapping, for an alias that is one; else None."""
    return cast("Mapping[str, Entry]", entry.value) if type(entry.value) is dict else None
