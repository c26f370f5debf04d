"""The type of `logging.level`."""

from __future__ import annotations

from typing import Any

from .value_types import Choice

_LEVELS = ("debug", "info", "warning", "error", "critical")
LEVEL_SYNONYMS = {"trace": "debug", "notset": "debug", "warn": "warning", "fatal": "critical"}


class LogLevel(Choice, frozen=True):
    """A log level: one of five words in any case, a synonym of one, or a number as Python's `logging` counts."""

    noun: str = "log level"
    choices: tuple[str, ...] = _LEVELS
    fold: bool = True

    def check(self, value: Any, what: str) -> str:
        if type(value) is str and value.isascii() and value.isdecimal() and len(value) < 3:
            value = int(value)
        if type(value) is int and 0 <= value <= 10 * len(_LEVELS):
            return _LEVELS[max(value - 1, 0) // 10]  # the lowest level that such a logger lets through
        synonym = LEVEL_SYNONYMS.get(value.lower()) if isinstance(value, str) else None
        return synonym or super().check(value, what)
