"""The unchecked keys and values below `apps`: for a project's grant, and for applications that are not registered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..core.secret import Secret
from ..settings.frozen import FrozenDict, FrozenList, frozen
from ..settings.schema import FREE_NAME
from .yaml.nodes import Node
from .yaml.secret_lines import is_secretive

_NEIGHBOUR = 0.8  # the least similarity at which one application's name may be a typing error for another


def leaves(key: str, node: Node) -> Iterator[tuple[str, Any, Node]]:
    """The leaf keys below `key`, with their values and places. A mapping with names that no key may have is a leaf."""
    value = node.value
    if type(value) is dict and value and all(FREE_NAME.fullmatch(name) for name in value):
        for name, child in value.items():
            yield from leaves(f"{key}.{name}", child)
    elif not node.bad:
        yield key, frozen(node.plain), node


def given_leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The same for a mapping that a program passes."""
    if isinstance(value, Mapping) and value and all(isinstance(n, str) and FREE_NAME.fullmatch(n) for n in value):
        for name, part in value.items():
            yield from given_leaves(f"{key}.{name}", part)
    else:
        yield key, frozen(value)


def masked(key: str, value: Any) -> Any:
    """The value of an unregistered application's key, as a Secret when its name looks like a secret's."""
    if value is None or isinstance(value, (bool, Secret)) or not (is_secretive(key.partition(".")[2]) or _holds(value)):
        return value
    if isinstance(value, FrozenDict):
        return FrozenDict({name: masked(f"{key}.{name}", part) for name, part in value.items()})
    if isinstance(value, FrozenList):
        return FrozenList(masked(key, part) for part in value)
    return Secret(str(value)) if is_secretive(key.partition(".")[2]) else value


def _holds(value: Any) -> bool:
    """Whether a value may contain further names."""
    return isinstance(value, (FrozenDict, FrozenList))


def neighbour(name: str, registered: Iterable[str]) -> str | None:
    """The registered application that an unregistered name probably means."""
    import difflib  # imported late: only messages need it

    found = difflib.get_close_matches(name.lower(), list(registered), n=1, cutoff=_NEIGHBOUR)
    return found[0] if found else None
