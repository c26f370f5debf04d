"""Resolves plain scalars by YAML 1.2's core schema (https://yaml.org/spec/1.2.2/#103-core-schema)."""

from __future__ import annotations

import contextlib
from typing import Any

_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_NUMERIC_START = frozenset("+-.0123456789")
_FLOAT = frozenset("+-.0123456789eE")  # Python reads these as YAML does; `1_0`, `inf` and blanks have other characters
_BASES = {"0o": (8, frozenset("01234567")), "0x": (16, frozenset("0123456789abcdefABCDEF"))}


def scalar(text: str) -> Any:
    """The value of a plain scalar: null, bool, int, float or string."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMERIC_START:
        return text
    digits = text[1:] if text[0] in "+-" else text
    if digits.isascii() and digits.isdecimal():
        return int(text[:25])  # beyond 64 bits only the sign matters: every range refuses it
    if text[:2] in _BASES and len(text) > 2:
        base, allowed = _BASES[text[:2]]
        return int(text[2:25], base) if allowed.issuperset(text[2:]) else text
    if _FLOAT.issuperset(text):
        with contextlib.suppress(ValueError):
            return float(text)
    return text
