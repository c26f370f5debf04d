"""Makes the structs that declarations describe from the values of their keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ..settings.builder import MappingNode, Node, StructNode
from ..settings.frozen import FrozenDict
from ..settings.schema import Setting


class CheckError(Exception):
    """An application's own check refused a section."""

    def __init__(self, key: str, error: BaseException) -> None:
        super().__init__(key)
        self.key = key
        self.error = error


def nested(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Values by key as a tree, without the prefix of the keys."""
    tree: dict[str, Any] = {}
    for key, value in values.items():
        *sections, name = key.removeprefix(prefix).split(".")
        below: dict[str, Any] = tree
        for section in sections:
            found = below.setdefault(section, {})
            # Below a value that is no section there is nothing.
            below = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
        below[name] = value
    return tree


def made(node: Node, key: str, tree: Any) -> Any:
    """What a declaration makes of the values of its keys."""
    if isinstance(node, Setting):
        return tree
    if tree is None or not isinstance(tree, dict):
        return None if node.optional else FrozenDict() if isinstance(node, MappingNode) else _struct(node, key, {})
    parts = cast("dict[str, Any]", tree)
    if isinstance(node, MappingNode):
        return FrozenDict({name: made(node.item, f"{key}.{name}", part) for name, part in parts.items()})
    return _struct(node, key, parts)


def _struct(node: StructNode, key: str, tree: Mapping[str, Any]) -> Any:
    fields = {name: made(below, f"{key}.{name}", tree.get(name)) for name, below in node.fields}
    try:
        return node.cls(**fields)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # any exception of an application's check is a fault with a place
        raise CheckError(key, error) from error
