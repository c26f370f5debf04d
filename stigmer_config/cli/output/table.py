"""Prints tables: aligned everywhere, never cut in a pipe, never wider than a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, TextIO

import click
import msgspec

_GAP = "  "
_OWN_SIGNS = "→…"  # those of this package, beyond ASCII
# Enough for `…/config.yaml:12:10`, and for `…:12:10` in a narrow terminal.
LEAST_PLACE, _LEAST_SPOT = 19, 8
# The width of a usual value, and the least width of its column.
_USUAL, _LEAST = 22, 12


class Cell(msgspec.Struct, frozen=True):
    """A cell's text, already safe to print, and its arguments of `click.style`."""

    text: str
    style: Mapping[str, Any] = {}


def columns(
    rows: Sequence[Sequence[Cell | str]],
    *,
    give_way: int | None = None,
    least: int = LEAST_PLACE,
    whole: int | None = None,
    right: Collection[int] = (),
) -> None:
    """Prints rows to standard output with aligned columns, those of `right` to the right.

    On a terminal the rows fit its width: cells are shortened in the middle, first those of the column `give_way` (an
    index) down to `least`, then those of the widest columns. A cell of the column `whole` that is too long is printed
    on its own lines instead, with the rest of its row below.
    """
    table = [[cell if isinstance(cell, Cell) else Cell(click.unstyle(cell)) for cell in row] for row in rows]
    number = max((len(row) for row in table), default=0)
    widths = [max((_width(row[n].text) for row in table if n < len(row)), default=0) for n in range(number)]
    for row in table:
        for n in right:
            row[n] = Cell(" " * (widths[n] - _width(row[n].text)) + row[n].text, row[n].style)
    room = terminal_width(sys.stdout)
    if room is not None:
        _fit(widths, table, room - len(_GAP) * (number - 1), give_way, least, whole)
    for row in table:
        if room is not None and whole is not None and whole < len(row) and _width(row[whole].text) > widths[whole]:
            for line in _unfolded(row, widths, whole, room):
                click.echo(line)
        else:
            click.echo(_line(row, widths))


def fitting(rows: Sequence[Sequence[Cell]], optional: Sequence[int], shortest: int | None = None) -> list[list[Cell]]:
    """Rows with a header, without empty columns and, on a terminal, without the `optional` ones that do not fit.

    Optional columns are left out in their order until the rest fits. A column of paths, `shortest`, is counted with
    the least width that its cells are shortened to.
    """
    header, *body = rows
    kept = [n for n, cell in enumerate(header) if not cell.text or any(row[n].text for row in body)]
    room = terminal_width(sys.stdout)
    for least in optional:
        widths = {n: max(_width(row[n].text) for row in rows) for n in kept}
        if shortest in widths:
            widths[shortest] = min(widths[shortest], LEAST_PLACE)
        if room is None or sum(widths.values()) + len(_GAP) * (len(kept) - 1) <= room:
            break
        kept = [n for n in kept if n != least]
    return [[row[n] for n in kept] for row in rows]


def _unfolded(row: list[Cell], widths: Sequence[int], whole: int, room: int) -> Iterator[str]:
    """The lines of a row whose `whole` cell is too long for its column."""
    room -= sum(widths[:whole]) + len(_GAP) * whole
    before, cell, after = row[:whole], row[whole], row[whole + 1 :]
    *parts, last = fold(cell.text, room)
    for part in parts:
        yield _line([*before, Cell(part, cell.style)], [*widths[:whole], room])
        before = [Cell("")] * whole
    if _width(last) > widths[whole]:
        yield _line([*before, Cell(last, cell.style)], [*widths[:whole], room])
        before, last = [Cell("")] * whole, ""
    if last or any(one.text for one in after):
        yield _line([*before, Cell(last, cell.style), *after], widths)


def _line(row: list[Cell], widths: Sequence[int]) -> str:
    while row and not row[-1].text:
        row = row[:-1]
    parts: list[str] = []
    for n, cell in enumerate(row):
        shown = shorten(cell.text, widths[n])
        parts.append(click.style(shown, **cell.style) if cell.style and shown else shown)
        if n < len(row) - 1:
            parts.append(" " * (widths[n] - _width(shown)) + _GAP)
    return "".join(parts)


def _fit(
    widths: list[int], table: Sequence[Sequence[Cell]], room: int, give_way: int | None, least: int, whole: int | None
) -> None:
    """Narrows the columns until they fit into `room`; the first column, which names the row, last."""
    steps = [(give_way, least)]
    if whole is not None:
        steps += [(whole, _USUAL), (whole, _LEAST), (give_way, _LEAST_SPOT)]
    for column, kept in steps:
        if column is not None:
            widths[column] = max(min(widths[column], kept), widths[column] - max(sum(widths) - room, 0))
            _tighten(widths, table, whole)
    name_kept = min(widths[0], 24) if widths else 0
    for kept in (name_kept, 1):
        while sum(widths) > room:
            width, wide = max((width, n) for n, width in enumerate(widths) if n or width > kept or len(widths) == 1)
            if width <= 1:
                break
            widths[wide] -= 1
    _tighten(widths, table, whole)


def _tighten(widths: list[int], table: Sequence[Sequence[Cell]], whole: int | None) -> None:
    """Removes the width that shortened cells do not use."""
    for n in range(len(widths)):
        if n != whole:
            widths[n] = max(_width(shorten(row[n].text, widths[n])) for row in table if n < len(row))


def terminal_width(stream: TextIO | None) -> int | None:
    """The columns of a stream's terminal, None when it is not a terminal.

    COLUMNS takes precedence over the terminal's own answer; 80 when both are unknown.
    """
    if stream is None or not stream.isatty():
        return None
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def fold(text: str, width: int | None, indent: int = 0) -> list[str]:
    """`text` as lines of at most `width` columns, split between words; all except the first are indented.

    A longer word is on its own line. None: no limit.
    """
    lines = [text]
    while width is not None and _width(lines[-1]) > width:
        line = lines[-1]
        begin = len(line) - len(line.lstrip(" "))
        fitting = _head(line, width + 1).rfind(" ", begin)
        at = fitting if fitting > begin else line.find(" ", begin)
        if at < 0:
            break
        lines[-1:] = [line[:at].rstrip(" "), " " * indent + line[at:].lstrip(" ")]
    return lines


def shorten(text: str, width: int) -> str:
    """`text` in at most `width` columns: paths and variables lose their first parts, other strings their middle."""
    if _width(text) <= width:
        return text
    if " " not in text and (text.isupper() and "_" in text):
        return _without_first(text, width, "_") or "…" + _tail(text, width - 1)
    if "/" in text and " " not in text:
        return _short_path(text, width)
    head_width = width // 2
    return _head(text, head_width) + "…" + _tail(text, width - 1 - head_width)


def _short_path(text: str, width: int) -> str:
    shorter = _without_first(text, width, "/")
    if shorter:
        return shorter
    spot = "…" + "".join(text.rpartition("/")[2].partition(":")[1:])  # line and column, if any
    return spot if 1 < _width(spot) <= width else "…" + _tail(text, width - 1)


def _without_first(text: str, width: int, separator: str) -> str:
    """`text` without the first parts that do not fit; "" when even the last one is too long."""
    parts = text.split(separator)
    for n in range(1, len(parts)):
        shorter = f"…{separator}{separator.join(parts[n:])}"
        if _width(shorter) <= width:
            return shorter
    return ""


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
    """The columns of a character on a terminal: East Asian wide ones have two, combining marks none."""
    if character.isascii() or character in _OWN_SIGNS:
        return 1
    import unicodedata  # imported late: only names in other scripts need it

    if unicodedata.combining(character) or unicodedata.category(character) in ("Me", "Mn", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1
