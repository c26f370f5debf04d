"""Columns: aligned everywhere, never cut in a pipe, never wider than a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import click

_GAP = "  "
# Room enough for `…/config.yaml:12:10`, the least that still says where a value stands.
LEAST_PLACE = 17


class Cell(NamedTuple):
    """A cell's text, already safe to print, and how `click.style` draws it."""

    text: str
    style: Mapping[str, Any] = {}


def columns(rows: Sequence[Sequence[Cell | str]], *, give_way: int | None = None, least: int = LEAST_PLACE) -> None:
    """Prints rows to standard output with aligned columns.

    On a terminal the rows fit its width: cells are shortened in the middle, first those of the column
    `give_way` (an index) down to `least`, then those of the widest columns.
    """
    table = [[cell if isinstance(cell, Cell) else Cell(click.unstyle(cell)) for cell in row] for row in rows]
    number = max((len(row) for row in table), default=0)
    widths = [max((_width(row[n].text) for row in table if n < len(row)), default=0) for n in range(number)]
    if sys.stdout.isatty():
        _fit(widths, _terminal_width() - len(_GAP) * (number - 1), give_way, least)
    for row in table:
        click.echo(_line(row, widths))


def _line(row: list[Cell], widths: Sequence[int]) -> str:
    while row and not row[-1].text:
        row = row[:-1]
    parts: list[str] = []
    for n, cell in enumerate(row):
        shown = shorten(cell.text, widths[n])
        parts.append(click.style(shown, **cell.style) if cell.style else shown)
        if n < len(row) - 1:
            parts.append(" " * (widths[n] - _width(shown)) + _GAP)
    return "".join(parts)


def _fit(widths: list[int], room: int, give_way: int | None, least: int) -> None:
    """Narrows the columns until they fit into `room`; the first one, which names the row, comes last."""
    if give_way is not None:
        widths[give_way] = max(min(widths[give_way], least), widths[give_way] - max(sum(widths) - room, 0))
    name_kept = min(widths[0], 24) if widths else 0
    for kept in (name_kept, 1):
        while sum(widths) > room:
            width, wide = max((width, n) for n, width in enumerate(widths) if n or width > kept or len(widths) == 1)
            if width <= 1:
                break
            widths[wide] -= 1


def _terminal_width() -> int:
    """The terminal's width in columns: COLUMNS before what the terminal itself says, 80 when nobody knows."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def shorten(text: str, width: int) -> str:
    """`text` in at most `width` columns: a path loses folders from its middle, other text letters."""
    if _width(text) <= width:
        return text
    if "/" in text and " " not in text:
        head, *rest = text.split("/")
        for n in range(1, len(rest)):
            shorter = f"{head}/…/{'/'.join(rest[n:])}" if head in ("", "~") else f"…/{'/'.join(rest[n:])}"
            if _width(shorter) <= width:
                return shorter
        last = f"…/{rest[-1]}"
        if _width(last) <= width:
            return last
        return "…" + _tail(text, width - 1)
    head_width = width // 2
    return _head(text, head_width) + "…" + _tail(text, width - 1 - head_width)


def _head(text: str, width: int) -> str:
    end = 0
    while end < len(text) and (width := width - _columns(text[end])) >= 0:
        end += 1
    return text[:end]


def _tail(text: str, width: int) -> str:
    start = len(text)
    while start and (width := width - _columns(text[start - 1])) >= 0:
        start -= 1
    return text[start:]


def _width(text: str) -> int:
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    """How many columns a terminal gives a character: East Asian wide ones two, combining marks none."""
    if character.isascii():
        return 1
    import unicodedata  # only names in other scripts need it

    if unicodedata.combining(character) or unicodedata.category(character) in ("Me", "Mn", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1
