"""Parses YAML to pieces: where each key and each value begins and ends, and its style.

It extends `sources/yaml/parser.py`, and so refuses the same syntax; spans are stored beside the nodes, so that only
editing pays for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from ..core.provenance import LayerName
from ..sources.yaml.nodes import Node
from ..sources.yaml.parser import YamlReader

# A line ends where the parser says so (YAML 1.1's breaks).
BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_BLOCK_HEADER = re.compile(r"[|>][0-9+-]*")
_LAST_BREAK = re.compile("(?:\r\n|[\n\r\x85\u2028\u2029])\\Z")
_BLANK_TAIL = re.compile("(?:[ \t]*(?:\r\n|[\n\r\x85\u2028\u2029]))+[ \t]*\\Z")


class Piece(msgspec.Struct, eq=False):
    """A value and its span, in characters of the text: `text[start:end]`.

    `value` is a scalar's plain value, a list of pieces, or a dict name → piece. `style` is its first character: `'`,
    `"`, `|` or `>` for a scalar that is not plain, `{` or `[` for a flow collection, else "". `key` is its key, or None
    for the root and a list's items.
    """

    value: Any
    start: int
    end: int
    style: str
    key: Piece | None = None

    @property
    def first(self) -> int:
        """The start of its entry: its key's, if it has one."""
        return self.key.start if self.key is not None else self.start

    @property
    def is_flow(self) -> bool:
        return self.style in ("{", "[")

    @property
    def children(self) -> list[Piece]:
        """Its direct children, in the text's order."""
        if type(self.value) is dict:
            return list(self.value.values())
        return self.value if type(self.value) is list else []

    def walk(self) -> Iterator[Piece]:
        """This piece and all its descendants."""
        yield self
        for child in self.children:
            yield from child.walk()


class Spans(msgspec.Struct, frozen=True):
    """The pieces of one text. `root` is None when it is empty; `end` is the position of its `...`, or its length.

    `readable` is False when the parser found any fault: then the pieces are incomplete.
    """

    root: Piece | None
    end: int
    readable: bool


class _SpanReader(YamlReader):
    """A reader that records each node's span, style and key."""

    def __init__(self, text: str, layer: LayerName, source: str) -> None:
        super().__init__(text, layer, source)
        self._event: Any = None

    def begin(self) -> None:
        super().begin()
        self.kept: dict[int, tuple[Node, Piece, Node | None]] = {}
        self.document_end = len(self.text)

    def _document_end(self, event: Any) -> None:
        super()._document_end(event)
        if event.explicit:
            self.document_end = event.start_mark.index

    def _scalar(self, event: Any) -> None:
        self._event = event
        super()._scalar(event)

    def _start(self, event: Any, empty: Any) -> None:
        self._event = event
        super()._start(event, empty)

    def _alias(self, event: Any) -> None:
        self._event = event
        super()._alias(event)

    def _end(self, event: Any) -> None:
        piece = self.kept[id(self.open[-1])][1]
        if piece.is_flow:
            piece.end = event.end_mark.index
        super()._end(event)

    def _place(self, node: Node) -> None:
        key = self.keys[-1] if self.keys else None
        super()._place(node)
        start, end = self._event.start_mark.index, self._event.end_mark.index
        style = getattr(self._event, "style", None) or ""
        if getattr(self._event, "flow_style", None):
            style = self.text[start]
        elif style in ("|", ">"):
            end = start + len(_content(self.text[start:end]))
        # The node is stored, too, so that no other one gets its id.
        self.kept[id(node)] = (node, Piece(None, start, end, style), key)

    def piece(self, node: Node) -> Piece:
        """The piece of a node, with its descendants."""
        _, piece, key = self.kept[id(node)]
        piece.value = node.value
        if key is not None:
            piece.key = self.kept[id(key)][1]
            piece.key.value = key.value
        if type(node.value) is dict:
            piece.value = {name: self.piece(child) for name, child in node.value.items()}
        elif type(node.value) is list:
            piece.value = [self.piece(child) for child in node.value]
        if not piece.is_flow and type(piece.value) in (dict, list):
            piece.end = max((child.end for child in piece.children), default=piece.start)
        return piece


def _content(text: str) -> str:
    """The span of a block scalar without the blank lines after it, unless it keeps them (`|+`)."""
    header = _BLOCK_HEADER.match(text)
    keeps = header is not None and "+" in header.group()
    return (_LAST_BREAK if keeps else _BLANK_TAIL).sub("", text)


def spans(text: str) -> Spans:
    """The pieces of a text."""
    reader = _SpanReader(text, "user", "")
    node = reader.read()
    readable = not reader.problems
    root = reader.piece(node) if node is not None and readable else None
    return Spans(root, reader.document_end, readable)


def plain(piece: Piece | None) -> Any:
    """A piece's value as plain Python; an empty mapping is None, as an empty section is."""
    if piece is None:
        return None
    if type(piece.value) is dict:
        return {name: plain(child) for name, child in piece.value.items()} or None
    if type(piece.value) is list:
        return [plain(item) for item in piece.value]
    return piece.value
