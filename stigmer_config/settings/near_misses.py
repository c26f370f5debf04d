"""What to write instead of a number that is nearly right: `"0.7"`, `8k`, `60s`, `1e4`, `0,7`."""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?", re.ASCII)
_GROUPED = re.compile(r"[0-9]{1,3}(?:[,_ '][0-9]{3})+", re.ASCII)
_COMMA = re.compile(r"[0-9]*,[0-9]+", re.ASCII)
_WITH_UNIT = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>[a-zA-Z]+)", re.ASCII)
_MULTIPLES = {"k": 1_000, "m": 1_000_000}
_SECONDS = {"ms": 0.001, "s": 1, "sec": 1, "secs": 1, "second": 1, "seconds": 1, "m": 60, "min": 60, "h": 3600}
_LONGEST = 24  # characters; nothing longer is meant as one of these


def number_hint(text: str, *, whole: bool) -> str:
    """The hint with the number that a string was probably meant to be; "" when it was meant as none.

    `whole`: whether a whole number is expected. A unit is a multiple then (`8k`), else a duration in seconds.
    """
    plain = text.strip().strip("\"'") if len(text) <= _LONGEST else ""
    meant = _meant(plain, whole=whole)
    if meant is None or (whole and not meant.is_integer()):
        return ""
    shown = f"{meant:.0f}" if meant.is_integer() else repr(meant)
    if plain == text and _PLAIN.fullmatch(text) and shown == text.lstrip("+"):
        return f"write {shown} without quotes"
    return f"write {shown}"


def _meant(text: str, *, whole: bool) -> float | None:
    if _PLAIN.fullmatch(text):
        return float(text)
    if _GROUPED.fullmatch(text) and (whole or text.count(",") != 1):
        return float(re.sub("[,_ ']", "", text))
    if _COMMA.fullmatch(text) and not whole:
        return float(text.replace(",", "."))
    unit = _WITH_UNIT.fullmatch(text)
    if unit is None:
        return None
    factor = (_MULTIPLES if whole else _SECONDS).get(unit["unit"].lower())
    return None if factor is None else round(float(unit["number"]) * factor, 6)
