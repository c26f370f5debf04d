"""A value in YAML, its key, and its place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec


class Node(msgspec.Struct, eq=False):
    """A value and its place: a scalar, a list of nodes, or a dict of name → node.

    `line` and `column` are 1-based, in characters; `end_line` is the last line of the value. `start` and `end` are its
    span, `text[start:end]`. `style` is its first character: `'`, `"`, `|` or `>` for a scalar that is not plain, `{` or
    `[` for a flow collection, else "". `key` is its key, or None for the root and a list's items. `bad` marks a value
    that was refused already.
    """

    value: Any
    line: int
    column: int
    end_line: int
    start: int
    end: int
    style: str
    key: Node | None = None
    bad: bool = False

    @property
    def plain(self) -> Any:
        """The value as plain Python, without places."""
        if type(self.value) is dict:
            return {name: child.plain for name, child in self.value.items()}
        if type(self.value) is list:
            return [item.plain for item in self.value]
        return self.value

    def __repr__(self) -> str:
        return f"{type(self).__name__}(line={self.line}, column={self.column})"  # the value may be a secret

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("line", self.line), ("column", self.column)]

    @property
    def is_flow(self) -> bool:
        return self.style in ("{", "[")

    @property
    def children(self) -> list[Node]:
        """Its direct children, in the text's order."""
        if type(self.value) is dict:
            return list(self.value.values())
        return self.value if type(self.value) is list else []

    def walk(self) -> Iterator[Node]:
        """This node and all its descendants, each before its own."""
        yield self
        for child in self.children:
            yield from child.walk()
