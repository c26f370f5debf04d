"""Hints for values that are nearly right, above all numbers: `"0.7"`, `8k`, `60s`, `1e4`, `0,7`."""

from __future__ import annotations

import re
from collections.abc import Mapping

_PLAIN = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?"
_GROUPED = r"[0-9]{1,3}(?:[,_ '][0-9]{3})+"
_COMMA = r"[0-9]*,[0-9]+"
_WITH_UNIT = r"(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>[a-zA-Z]+)"
_FRACTION = r"([0-9]{1,3})/([1-9][0-9]{0,2})"
_TOKENS = r"\s*tokens?"
_MULTIPLES = {"k": 1_000, "m": 1_000_000, "ki": 1 << 10, "mi": 1 << 20, "kib": 1 << 10, "mib": 1 << 20}
_SECONDS = {"ms": 0.001, "s": 1, "sec": 1, "secs": 1, "second": 1, "seconds": 1, "m": 60, "min": 60, "h": 3600}
_LONGEST = 24  # the most characters of such a value
_NO_VALUE = frozenset(("none", "nil", "null", "undefined", "unlimited", "unset", "~"))
_SWITCH = {"on": "true", "yes": "true", "y": "true", "off": "false", "no": "false", "n": "false"}
_SWITCH |= {"1": "true", "0": "false", "true": "true", "false": "false"}


def number_hint(text: str, *, whole: bool) -> str:
    """The hint with the number that a string probably means; "" when it means none.

    `whole`: whether an integer is expected. Then a unit is a multiple (`8k`), else a duration in seconds.
    """
    plain = text.strip().strip("\"'") if len(text) <= _LONGEST else ""
    meant = _meant(plain, whole=whole)
    if meant is None or (whole and not meant.is_integer()):
        return ""
    shown = f"{meant:.0f}" if meant.is_integer() else repr(meant)
    if plain == text and re.fullmatch(_PLAIN, text, re.ASCII) and shown == text.lstrip("+"):
        return f"write {shown} without quotes"
    return f"write {shown}"


def is_no_value(value: object) -> bool:
    """Whether a value is another language's word for null, or -1, which some programs use for no limit."""
    return (isinstance(value, str) and value.lower() in _NO_VALUE) or (type(value) is int and value == -1)


def switch_hint(value: object) -> str:
    """The hint with the boolean that a value probably means; "" when it means none."""
    word = str(value).lower() if isinstance(value, (str, int)) else ""
    meant = _SWITCH.get(word)
    return f"write {meant}{' without quotes' if meant == value else ''}" if meant else ""


def _meant(text: str, *, whole: bool) -> float | None:
    text = re.sub(_TOKENS, "", text, flags=re.ASCII | re.IGNORECASE) if whole else text
    if re.fullmatch(_PLAIN, text, re.ASCII):
        return float(text)
    if re.fullmatch(_GROUPED, text, re.ASCII) and (whole or text.count(",") != 1):
        return float(re.sub("[,_ ']", "", text))
    if re.fullmatch(_COMMA, text, re.ASCII) and not whole:
        return float(text.replace(",", "."))
    if (fraction := re.fullmatch(_FRACTION, text, re.ASCII)) and not whole:
        return round(int(fraction[1]) / int(fraction[2]), 6)
    return _with_units(text, _MULTIPLES if whole else _SECONDS)


def _with_units(text: str, factors: Mapping[str, float]) -> float | None:
    """The sum of numbers with their units: `8k`, `60s`, `1h30m`; None for anything else."""
    parts = list(re.finditer(_WITH_UNIT, text, re.ASCII))
    if "".join(part.group() for part in parts) != text or (len(parts) > 1 and factors is not _SECONDS):
        return None
    units = [factors.get(part["unit"].lower()) for part in parts]
    if not units or None in units:
        return None
    return round(sum(float(part["number"]) * (unit or 0) for part, unit in zip(parts, units, strict=True)), 6)
