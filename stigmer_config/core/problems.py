"""Faults, each with its place and its fix, and the exception that carries them.

`ConfigError` is a `ValueError`; its `problems` are every fault of every layer, errors first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from .provenance import Origin

Severity = Literal["error", "warning"]

# Control characters, marks that reorder text on a screen (https://trojansource.codes), and invisible characters
# (Unicode's Default_Ignorable_Code_Point): a message or a table must show them escaped.
_UNPRINTABLE = (  # a string, as all patterns that few runs need: `re` compiles it on first use
    r"[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    r"\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    r"\U000e0000-\U000e0fff]"
)


def printable(text: str) -> str:
    """`text` with control characters and bidirectional overrides written as `\\xNN` or `\\uNNNN`."""
    if text.isascii() and text.isprintable():
        return text
    return re.sub(_UNPRINTABLE, _escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code > 0xFFFF:
        return f"\\U{code:08x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def quoted(value: object, limit: int = 60) -> str:
    """A value for a message: escaped, in quotes if it is a string, cut after `limit` characters."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > 4 * limit:
        # Python refuses to write more than 4 300 digits.
        return f"≈{'-' if value < 0 else ''}1e{int(value.bit_length() * 0.30103)}"
    if not isinstance(value, str):
        return printable(str(value))[:limit]
    text = printable(value)
    return f"'{text if len(text) <= limit else text[: limit - 1] + '…'}'"


_WORD = r"[A-Za-z0-9._:/@+~-]{1,200}"


def is_word(value: str) -> bool:
    """Whether a string can be shown without quotes: nothing in it could be mistaken for a part of the message."""
    return re.fullmatch(_WORD, value) is not None


def worded(value: object) -> str:
    """A word unchanged, anything else `quoted`, so that it cannot be mistaken for a part of the message."""
    return value if isinstance(value, str) and is_word(value) else quoted(value)


# A usual name, up to where a provider's key begins (sk-… with a digit in it).
_NAME_START = r"(?:(?!sk-[^0-9]*[0-9])[A-Za-z0-9_.-]){0,64}"


def shown_name(name: str) -> str:
    """The part of an unknown key that looks like a name: where a colon was forgotten, a secret may follow."""
    plain = re.match(_NAME_START, name)
    start = plain.group() if plain else ""
    return name if start == name else f"{start}…"


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The choice most similar to `name`, or None when none is similar enough."""
    import difflib  # imported late: only messages need it

    folded = {choice.lower(): choice for choice in choices}
    found = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def did_you_mean(name: str, choices: Iterable[str], otherwise: str = "") -> str:
    """`did you mean X?` for the choice nearest to `name`, else `otherwise`."""
    choice = nearest(name, choices)
    return f"did you mean {choice}?" if choice else otherwise


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One fault.

    `code` is stable (docs list them all); `key` is the setting's dotted path, or "" for a fault of a whole file;
    `message` is the sentence after the key: "must be a whole number, not the string 'x'";
    `hint` says how to fix it; `excerpt` is the source line with a caret under the place, or None when there is no
    line or it holds a secret. No field ever contains a secret.
    """

    severity: Severity = "error"
    code: str
    key: str = ""
    message: str
    hint: str = ""
    origin: Origin | None = None
    excerpt: str | None = None

    @property
    def summary(self) -> str:
        """The key and the message, without place and hint: for where the key is not shown beside the message."""
        return f"{self.key}: {self.message}" if self.key else self.message

    def __str__(self) -> str:
        place = f"{printable(str(self.origin))}: " if self.origin else ""
        key = f" {printable(self.key)}" if self.key else ""
        lines = [f"{place}{self.severity}[{self.code}]{key}: {printable(self.message)}"]
        if self.excerpt:
            lines.append(self.excerpt)
        if self.hint:
            lines.append(f"hint: {printable(self.hint)}")
        return "\n".join(lines)


def has_errors(problems: Iterable[Problem]) -> bool:
    """Whether any of the problems is an error."""
    return any(problem.severity == "error" for problem in problems)


def excerpt(line: str, column: int) -> str:
    """A source line, escaped for a terminal, with a caret under `column` (1-based, in characters)."""
    start = column - 1
    # Only the part that may be shown: a whole file may be one line.
    head, tail = (printable(part.replace("\t", " ")) for part in (line[max(start - 61, 0) : start], line[start:][:61]))
    if len(head) > 60:  # of a long line only the part around the place is shown
        head = "…" + head[-59:]
    if len(tail) > 60:
        tail = tail[:59] + "…"
    return f"    {head}{tail}\n    {' ' * _cells(head)}^"


def _cells(text: str) -> int:
    """The width of a string in terminal cells: East Asian characters take two, combining marks none."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


MOST_SHOWN = 50  # the most problems that a log event, a state file or an exception's message shows
_LONGEST_SHOWN = 2000  # the most characters of each


def texts(problems: Iterable[Problem], most: int = MOST_SHOWN) -> list[str]:
    """The problems as strings, bounded: a hostile file may have thousands. The last string then says how many more."""
    every = list(problems)
    found = [_cut(str(problem)) for problem in every[:most]]
    return [*found, f"and {len(every) - most} more"] if len(every) > most else found


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"


class ConfigError(ValueError):
    """The configuration cannot be used. `problems` holds every fault, errors first; the message shows the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(sorted(problems, key=lambda p: p.severity != "error"))
        super().__init__("\n".join(texts(self.problems)))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)
