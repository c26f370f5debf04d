"""A value in YAML, and its place."""

from __future__ import annotations

from typing import Any

import msgspec


class Node(msgspec.Struct, eq=False):
    """A value and its place: a scalar, a list of nodes, or a dict of name → node.

    Lines and columns are 1-based, in characters. `key_line` and `key_column` are the place of the node's key; for the
    root and list items they are the node's own place. `end_line` is the last line of the value. `bad` marks a value
    that was refused already.
    """

    value: Any
    line: int
    column: int
    end_line: int
    key_line: int
    key_column: int
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
