"""Patches to a text: replacements, insertions and removals, by span. Everything else stays the same.

In block style whole lines are patched, in flow style entries and their commas. A comment on its own line always stays;
one beside a value is removed only with its line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..sources.yaml.nodes import Node
from .spans import BREAK, spans
from .style import column, key_text, line_end, line_start, style_of, value_text

# (`*+`: a comma in a comment is none.)
_COMMA = re.compile("(?:[ \t\r\n\x85\u2028\u2029]|#[^\r\n\x85\u2028\u2029]*+)*,")
_COLON = re.compile(r"[ \t]*:")
_HEADER_COMMENT = re.compile("[|>][0-9+-]*([ \t]+#[^\r\n\x85\u2028\u2029]*)")
_REST_IS_COMMENT = re.compile("[ \t]*(?:#[^\r\n\x85\u2028\u2029]*)?(?=[\r\n\x85\u2028\u2029]|\\Z)")


class EditError(Exception):
    """The requested change to the text is impossible. The message says why, and contains no value."""


class Patch(NamedTuple):
    """`text[start:end]` becomes `new`."""

    start: int
    end: int
    new: str


class Patches:
    """Creates the patches to one text. Each method returns the patches of one change."""

    def __init__(self, text: str) -> None:
        found = spans(text)
        if not found.readable:
            raise EditError("the file has an error and cannot be read")
        self.text = text
        self.root = found.root
        self.document_end = found.end
        self.style = style_of(text, found.root)

    def apply(self, patches: Sequence[Patch]) -> str:
        """Applies patches to the text. They must not overlap; two at one place are applied in order."""
        parts: list[str] = []
        at = 0
        for start, end, new in sorted(patches, key=lambda patch: patch[:2]):
            parts += [self.text[at:start], new]
            at = end
        return "".join([*parts, self.text[at:]])

    def replaced(self, node: Node, value: Any, *, flow: bool) -> list[Patch]:
        """Replaces a scalar or a collection by `value`."""
        quotes = node.style if node.style in ("'", '"') else self.style.quotes
        if type(node.value) is str and not node.style:
            quotes = ""
        new = value_text(value, quotes, flow=flow)
        if type(node.value) in (dict, list) and not node.is_flow:
            colon = self._colon(node)
            return [Patch(colon, colon, f" {new}"), self._without_lines(node.start, node.end)]
        return [self.rewritten(node, new)]

    def rewritten(self, node: Node, new: str) -> Patch:
        """Replaces a scalar or a flow collection by the text `new`."""
        if node.start == node.end:  # an empty value: the new one follows the colon
            colon = self.text[node.start - 1 : node.start] == ":"
            return Patch(node.start, node.end, f" {new}" if colon else f": {new}")
        comment = _HEADER_COMMENT.match(self.text, node.start) if node.style in ("|", ">") else None
        return Patch(node.start, node.end, new + (comment[1] if comment else ""))

    def filled(self, section: Node, parent: Node, names: Sequence[str], value: Any, *, flow: bool) -> list[Patch]:
        """Inserts the first key of an empty section."""
        if flow:
            return [self.rewritten(section, f"{{{self._entry(names, value, None)}}}")]
        patches: list[Patch] = []
        start = section.start
        if section.start < section.end:  # an explicit `null`
            while self.text[start - 1] in " \t":
                start -= 1
            patches.append(Patch(start, section.end, ""))
        lines = self._lines(names, value, column(self.text, parent.start) + self.style.step)
        return [*patches, self._below(section.end, lines)]

    def inserted(self, parent: Node, names: Sequence[str], value: Any) -> list[Patch]:
        """Inserts a new key in a mapping, after the last one."""
        last = max(parent.children, key=lambda child: child.end, default=None)
        if parent.is_flow:
            return self._entered(parent, last, self._entry(names, value, last))
        if last is None:
            raise EditError("an empty block")
        return [self._below(last.end, self._lines(names, value, column(self.text, parent.start)))]

    def appended(self, names: Sequence[str], value: Any) -> list[Patch]:
        """Appends a new key or section to the file."""
        patches: list[Patch] = []
        root = self.root
        if root is not None and root.value is None and root.start < root.end:
            patches.append(Patch(root.start, root.end, ""))
        content = len(self.text[: self.document_end].rstrip())
        if root is not None and root.value is not None:
            content = max(content, root.end)
        lines = self._lines(names, value, column(self.text, root.start) if root is not None and root.value else 0)
        if content == 0:
            return [Patch(0, 0, self.style.newline.join([*lines, ""]))]
        lines = ["", *lines] if self.style.spaced else lines
        return [*patches, self._below(content, lines)]

    def item_added(self, listed: Node, value: str) -> list[Patch]:
        """Appends an item to a non-empty list."""
        last = listed.children[-1]
        quotes = last.style if last.style in ("'", '"') else ""
        if listed.is_flow:
            return self._entered(listed, last, value_text(value, quotes, flow=True))
        prefix = self.text[line_start(self.text, last.start) : last.start]
        if prefix.strip() != "-":
            raise EditError("a list in an unusual form")
        return [self._below(last.end, [prefix + value_text(value, quotes, flow=False)])]

    def removed(self, parent: Node, node: Node) -> list[Patch]:
        """Removes an entry of a mapping or an item of a list, with its lines or its comma."""
        if not parent.is_flow:
            return [self._without_lines((node.key or node).start, node.end)]
        siblings = sorted(parent.children, key=lambda child: child.start)
        at = siblings.index(node)
        own_comma = self._comma(node.end, parent.end)
        if own_comma is None and at > 0:
            return self._last_removed(siblings[at - 1], node)
        end = node.end if own_comma is None else own_comma + 1
        return [self._without_span((node.key or node).start, end)]

    def _last_removed(self, before: Node, node: Node) -> list[Patch]:
        comma = self._comma(before.end, (node.key or node).start)
        if comma is None:
            raise EditError("a list without its commas")
        if not self.text[comma + 1 : (node.key or node).start].strip(" \t"):
            return [Patch(comma, node.end, "")]
        return [Patch(comma, comma + 1, ""), self._without_span((node.key or node).start, node.end)]

    def _without_span(self, start: int, end: int) -> Patch:
        """Removes a span in flow style: with its lines when nothing else is on them, else with surrounding blanks."""
        lead = self.text[line_start(self.text, start) : start]
        if not lead.strip(" \t") and _REST_IS_COMMENT.match(self.text, end):
            return self._without_lines(start, end)
        while self.text[end : end + 1] in (" ", "\t"):
            end += 1
        return Patch(start, end, "")

    def _without_lines(self, start: int, end: int) -> Patch:
        """Removes the lines of a span, except comments on their own lines."""
        first, last = line_start(self.text, start), line_end(self.text, end)
        stop = BREAK.match(self.text, last)
        after = stop.end() if stop else last
        kept = "".join(line for at, line in _lines_of(self.text, first, after) if self._is_comment(at, line))
        if stop is None:  # the file had no final line break, and still has none
            if kept:
                kept = kept[: len(kept) - len(_break_at_end(kept))]
            else:
                first -= len(_break_at_end(self.text[:first]))
        return Patch(first, after, kept)

    def _is_comment(self, at: int, line: str) -> bool:
        """Whether the line there is a comment, and not part of a multi-line string."""
        if not line.lstrip(" \t").startswith("#") or self.root is None:
            return False
        return not any(node.start < at < node.end for node in self.root.walk() if type(node.value) not in (dict, list))

    def _below(self, index: int, lines: Sequence[str]) -> Patch:
        """Inserts lines below the line of a character."""
        at = line_end(self.text, index)
        stop = BREAK.match(self.text, at)
        newline = stop.group() if stop else self.style.newline
        return Patch(at, at, "".join(newline + line for line in lines))

    def _lines(self, names: Sequence[str], value: Any, indent: int) -> list[str]:
        style = self.style
        *sections, name = (key_text(name, style) for name in names)
        lines = [f"{' ' * (indent + n * style.step)}{section}:" for n, section in enumerate(sections)]
        indent += len(sections) * style.step
        return [*lines, f"{' ' * indent}{name}: {value_text(value, style.quotes, flow=False)}"]

    def _entry(self, names: Sequence[str], value: Any, sibling: Node | None) -> str:
        key = sibling.key if sibling is not None and self.style.key_quotes else None
        tight = sibling is not None and key is not None and self.text[key.end : sibling.start] == ":"
        colon = ":" if tight else ": "
        entry = value_text(value, self.style.quotes, flow=True)
        for name in reversed(names[1:]):
            entry = f"{{{key_text(name, self.style)}{colon}{entry}}}"
        return f"{key_text(names[0], self.style)}{colon}{entry}"

    def _entered(self, parent: Node, last: Node | None, entry: str) -> list[Patch]:
        """Inserts an entry in flow style after the last one: on its own line if the last one has its own."""
        if last is None:
            return [Patch(parent.start + 1, parent.start + 1, entry)]
        comma = self._comma(last.end, parent.end)
        after = last.end if comma is None else comma + 1
        lead = self.text[line_start(self.text, (last.key or last).start) : (last.key or last).start]
        own_line = not lead.strip(" \t") and line_start(self.text, (last.key or last).start) > parent.start
        if not own_line:
            blank = " " if " " in self.text[parent.start : parent.end] or len(parent.children) < 2 else ""
            return [Patch(after, after, f",{blank}{entry}" if comma is None else f"{blank}{entry},")]
        if not _REST_IS_COMMENT.match(self.text, after):  # the bracket closes on this line
            after = last.end
            return [Patch(after, after, f",{self.style.newline}{lead}{entry}")]
        below = self._below(after, [lead + entry + ("" if comma is None else ",")])
        return [below] if comma is not None else [Patch(last.end, last.end, ","), below]

    def _comma(self, start: int, end: int) -> int | None:
        match = _COMMA.match(self.text, start, end)
        return match.end() - 1 if match else None

    def _colon(self, node: Node) -> int:
        match = _COLON.match(self.text, node.key.end) if node.key is not None else None
        if match is None:
            raise EditError("a key in an unusual form")
        return match.end()


def _lines_of(text: str, start: int, end: int) -> list[tuple[int, str]]:
    """The lines of a span, each with its start and its line break."""
    lines: list[tuple[int, str]] = []
    while start < end:
        stop = BREAK.search(text, start, end)
        after = stop.end() if stop else end
        lines.append((start, text[start:after]))
        start = after
    return lines


def _break_at_end(text: str) -> str:
    *_, last = ["", *BREAK.findall(text)]
    return last if text.endswith(last) else ""
