"""Detects the style of a file, and formats new keys and values in the same style."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from ..sources.yaml.nodes import Node
from ..sources.yaml.scalars import scalar
from .spans import BREAK

# Plain scalars that every YAML version reads as the same string: no indicator, no blank, no `: `.
_PLAIN = re.compile(r"[A-Za-z_./](?:[A-Za-z0-9_./+-]|[:@](?=[A-Za-z0-9_./+-]))*")
# Words that other YAML versions convert (https://yaml.org/type/): in quotes all read them as strings.
_YAML_1_1 = re.compile(
    r"y|n|yes|no|on|off|true|false|null|[-+]?[0-9._:]*|[-+]?\.?[0-9][0-9_.]*(e[-+]?[0-9]+)?", re.ASCII | re.IGNORECASE
)
_ODD = {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}
_BLANK_LINE = re.compile("(?:\r\n|[\n\r\x85\u2028\u2029])[ \t]*(?:\r\n|[\n\r\x85\u2028\u2029])")


class Style(msgspec.Struct, frozen=True):
    """A file's usual line end, indentation, quotes, and blank lines between sections.

    `quotes` and `key_quotes` are `'`, `"` or "" for none.
    """

    newline: str = "\n"
    step: int = 2
    quotes: str = ""
    key_quotes: str = ""
    spaced: bool = False


def style_of(text: str, root: Node | None) -> Style:
    """The style of a text; by default two spaces and no quotes."""
    first = BREAK.search(text)
    newline = first.group() if first else "\n"
    if root is None:
        return Style(newline, spaced=_BLANK_LINE.search(text) is not None)
    nodes = list(root.walk())
    texts = [node for node in nodes if type(node.value) is str and node.style in ("", "'", '"')]
    key_quotes = _most(node.key.style for node in nodes if node.key is not None)
    return Style(
        newline=newline,
        step=_step(text, nodes),
        quotes=_most(node.style for node in texts) or ("" if texts else key_quotes),
        key_quotes=key_quotes,
        spaced=_spaced(text, root),
    )


def _most(styles: Iterable[str]) -> str:
    counted = Counter(styles)
    quoted = max("'\"", key=lambda quotes: counted[quotes])
    return quoted if counted[quoted] > counted[""] else ""


def _step(text: str, nodes: Sequence[Node]) -> int:
    for outer in nodes:
        for inner in outer.children if type(outer.value) is dict and not outer.is_flow else ():
            if type(inner.value) is dict and not inner.is_flow:
                return max(column(text, inner.start) - column(text, outer.start), 1)
    return 2


def _spaced(text: str, root: Node) -> bool:
    """Whether there are blank lines between sections; with only one section, anywhere."""
    children = root.children
    if len(children) < 2:
        return _BLANK_LINE.search(text) is not None
    gaps = (text[one.end : (other.key or other).start] for one, other in itertools.pairwise(children))
    return any(_BLANK_LINE.search(gap) for gap in gaps)


def line_start(text: str, index: int) -> int:
    """The start of the line of a character."""
    last = 0
    for match in BREAK.finditer(text, 0, index):
        last = match.end()
    return last


def line_end(text: str, index: int) -> int:
    """The end of the line of a character, before its line break."""
    match = BREAK.search(text, index)
    return match.start() if match else len(text)


def column(text: str, index: int) -> int:
    """The number of characters before this one on its line."""
    return index - line_start(text, index)


def key_text(name: str, style: Style) -> str:
    """A key in the file's style."""
    return value_text(name, style.key_quotes, flow=False)


def value_text(value: Any, quotes: str, *, flow: bool) -> str:
    """A value as YAML, in `quotes` if it is a string that they can contain; `flow`: it is inside a flow collection."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        # A number that no setting accepts is written in YAML's form, and the load refuses it.
        return _ODD.get(repr(value), repr(value))
    if isinstance(value, dict):
        rows = (
            f"{value_text(name, '', flow=True)}: {value_text(part, quotes, flow=True)}" for name, part in value.items()
        )
        return f"{{{', '.join(rows)}}}"
    if isinstance(value, list):
        return f"[{', '.join(value_text(item, quotes, flow=True) for item in value)}]"
    if not quotes and _is_plain(value) and not (flow and ":" in value):
        return str(value)
    return _single(value) if quotes == "'" and value.isprintable() else _double(value)


def _is_plain(text: str) -> bool:
    return (
        _PLAIN.fullmatch(text) is not None
        and _YAML_1_1.fullmatch(text) is None
        and not text.startswith("...")
        and scalar(text) == text
    )


def _single(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _double(text: str) -> str:
    return '"' + "".join(_escaped(character) for character in text) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
