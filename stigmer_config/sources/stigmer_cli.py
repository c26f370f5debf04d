"""The Stigmer CLI's own settings in `~/.stigmer/config.yaml`, which this package leaves unchanged.

They are not read, cause no problem, and are preserved when the file is edited.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ..core.provenance import Layer
from ..settings.declarations import SETTINGS
from .yaml.nodes import Node
from .yaml.parser import parse

KEYS = frozenset(
    {"backends", "current_backend", "context", "marketplaces", "backend.type", "backend.local", "backend.cloud"}
)
# Its settings that have a counterpart here: the CLI's key → ours.
_COUNTERPARTS = {
    "backend.type": "mode",
    "backend.local.endpoint": "backend.endpoint",
    "backend.local.llm.provider": "llm.provider",
    "backend.local.llm.model": "llm.model",
    "backend.local.llm.base_url": "llm.base_url",
    "backend.local.llm.api_key": "llm.api_key",
    "backend.local.temporal.address": "temporal.address",
    "backend.cloud.endpoint": "backend.endpoint",
    "backend.cloud.token": "backend.api_key",
}
_OF_TYPE = {"backend.local.": "local", "backend.cloud.": "cloud"}


class Counterpart(NamedTuple):
    """A key of the Stigmer CLI, its key here, the value (None for a secret), and its place in the file."""

    theirs: str
    ours: str
    value: str | None
    line: int
    column: int


def counterparts(layer: Layer) -> list[Counterpart]:
    """The Stigmer CLI's keys in the user's file that have a counterpart here which the file does not set."""
    if layer.name != "user" or layer.text is None or not layer.not_read:
        return []
    tree, _ = parse(layer.text, layer.name, layer.source)
    found = dict(_leaves(tree, "")) if tree is not None else {}
    kind = found["backend.type"].value if "backend.type" in found else None
    return [
        Counterpart(theirs, ours, _shown(ours, str(node.value)), node.line, node.column)
        for theirs, ours in _COUNTERPARTS.items()
        if (node := found.get(theirs)) is not None
        and ours not in layer.entries
        and all(kind in (None, of) for start, of in _OF_TYPE.items() if theirs.startswith(start))
    ]


def _shown(key: str, value: str) -> str | None:
    """A value that a message may show: without secrets, and without passwords in addresses."""
    if SETTINGS[key].is_secret:
        return None
    return "VALUE" if "@" in value else value


def _leaves(node: Node, prefix: str) -> Iterator[tuple[str, Node]]:
    value: Any = node.value
    if type(value) is dict:
        for name, child in value.items():
            yield from _leaves(child, f"{prefix}{name}.")
    elif type(value) is not list and value not in (None, "") and not node.bad:
        yield prefix.removesuffix("."), node
