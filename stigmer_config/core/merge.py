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

import builtins
import functools
from collections.abc import Callable, Iterable, Sequence
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any, cast

from .provenance import Entry, Layer


@functools.cache
def _object_merge() -> Callable[..., dict[Any, Any]]:
    """The fold of dynaconf: its module `dynaconf.utils` and nothing else of it.

    The whole package would read `DYNACONF_*` and `*_FOR_DYNACONF` variables while it is imported
    (`REDIS_PORT_FOR_DYNACONF=abc` breaks that), and take longer than all the rest of a load.
    """
    package = find_spec("dynaconf")  # finds, and runs nothing
    if package is None:
        raise ModuleNotFoundError("broken installation: there is no dynaconf", name="dynaconf")
    fold = _private("dynaconf.utils", package.submodule_search_locations).object_merge
    return cast(Callable[..., dict[Any, Any]], fold)


def _private(name: str, folders: Sequence[str] | None) -> ModuleType:
    """A module without the package it is in, and known to nobody else.

    It does not stand in `sys.modules`: a program that uses dynaconf has its own. What the module imports from
    below itself comes the same way: its `__import__` is ours
    (https://docs.python.org/3/reference/executionmodel.html#builtins-and-restricted-execution).
    """
    spec = PathFinder.find_spec(name, folders)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"broken installation: there is no {name}", name=name)
    module = module_from_spec(spec)

    def import_(wanted: str, *rest: Any) -> ModuleType:
        if wanted.startswith(f"{name}."):
            return _private(wanted, spec.submodule_search_locations)
        return __import__(wanted, *rest)

    vars(module)["__builtins__"] = {**vars(builtins), "__import__": import_}
    spec.loader.exec_module(module)
    return module


def _wrapped(layer: Layer, keys: set[str]) -> dict[Any, Any]:
    """A layer's entries of some keys as the fold gets them: a fresh dict each time, since the fold writes into it."""
    return {
        (key,): {(name,): target for name, target in entry.value.items()} if type(entry.value) is dict else entry
        for key, entry in layer.entries.items()
        if key in keys
    }


def merge(layers: Iterable[Layer], below: str = "") -> dict[str, Entry]:
    """The winning entry of each key over the layers, lowest first; of those only that start with `below`.

    An alias given as mappings in several layers is one mapping of them all, at the highest one's place;
    `locked` is the union of all layers.
    """
    layers = list(layers)
    winners: dict[str, Entry] = {}
    contested: set[str] = set()  # what one layer alone says needs no fold
    for layer in layers:
        for key, entry in layer.entries.items():
            if key.startswith(below):
                if key in winners:
                    contested.add(key)
                winners[key] = entry
    for key, value in _folded(layers, contested).items():
        if isinstance(value, Entry):
            winners[key] = value
        else:
            winners[key] = Entry({name: target for (name,), target in value.items()}, winners[key].origin)
    locks = [layer.entries["locked"] for layer in layers if "locked" in layer.entries]
    if len(locks) > 1 and "locked" in winners:
        winners["locked"] = Entry(unique(key for entry in locks for key in entry.value), locks[-1].origin)
    return winners


def _folded(layers: list[Layer], keys: set[str]) -> dict[str, Any]:
    """What dynaconf makes of some keys of the layers: an entry each, or a mapping provider → entry."""
    if not keys:
        return {}
    fold = _object_merge()
    merged: dict[Any, Any] = {}
    for layer in layers:
        wrapped = _wrapped(layer, keys)
        if wrapped:
            merged = fold(merged, wrapped, list_merge="shallow") if merged else wrapped
    return {key: value for (key,), value in merged.items()}


def unique(names: Iterable[str]) -> tuple[str, ...]:
    """The names without repetitions, in their order."""
    return tuple(dict.fromkeys(names))
