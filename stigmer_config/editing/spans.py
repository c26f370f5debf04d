"""Reads a text to be edited: where each key and each value begins and ends, and its style."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ..sources.yaml.nodes import Node
from ..sources.yaml.parser import YamlReader

# A line ends where the parser says so (YAML 1.1's breaks).
BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_BLOCK_HEADER = re.compile(r"[|>][0-9+-]*")
_LAST_BREAK = re.compile("(?:\r\n|[\n\r\x85\u2028\u2029])\\Z")
_BLANK_TAIL = re.compile("(?:[ \t]*(?:\r\n|[\n\r\x85\u2028\u2029]))+[ \t]*\\Z")


class Spans(msgspec.Struct, frozen=True):
    """The nodes of one text. `root` is None when it is empty; `end` is the position of its `...`, or its length.

    `readable` is False when the parser found any fault.
    """

    root: Node | None
    end: int
    readable: bool


def spans(text: str) -> Spans:
    """The nodes of a text."""
    reader = YamlReader(text, "user", "")
    root = reader.read()
    if reader.problems:
        return Spans(None, len(text), readable=False)
    if root is not None:
        _trim(root, text)
    return Spans(root, len(text) if reader.document_end is None else reader.document_end, readable=True)


def _trim(node: Node, text: str) -> None:
    """Ends each span with the last character of its value: the parser adds the blank lines after it."""
    for child in node.children:
        _trim(child, text)
    if node.style in ("|", ">"):
        node.end = node.start + len(_content(text[node.start : node.end]))
    elif type(node.value) in (dict, list) and not node.is_flow:
        node.end = max((child.end for child in node.children), default=node.start)


def _content(text: str) -> str:
    """The span of a block scalar without the blank lines after it, unless it keeps them (`|+`)."""
    header = _BLOCK_HEADER.match(text)
    keeps = header is not None and "+" in header.group()
    return (_LAST_BREAK if keeps else _BLANK_TAIL).sub("", text)


def plain(node: Node | None) -> Any:
    """A node's value as plain Python; an empty mapping is None, as an empty section is."""
    if node is None:
        return None
    if type(node.value) is dict:
        return {name: plain(child) for name, child in node.value.items()} or None
    if type(node.value) is list:
        return [plain(item) for item in node.value]
    return node.value
