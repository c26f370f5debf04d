"""A value in YAML, and its place."""

from __future__ import annotations

from typing import Any


class Node:
    """A value and its place: a scalar, a list of nodes, or a dict of name → node.

    Lines and columns are 1-based, in characters. `key_line` and `key_column` are the place of the node's key; for the
    root and list items they are the node's own place. `end_line` is the last line of the value. `bad` marks a value
    that was refused already.
    """

    __slots__ = ("bad", "column", "end_line", "key_column", "key_line", "line", "value")

    def __init__(self, value: Any, line: int, column: int) -> None:
        self.value = value
        self.line = self.end_line = self.key_line = line
        self.column = self.key_column = column
        self.bad = False
