"""The types of scalar values. They convert strictly, and their messages say what was expected.

`check` takes a value from YAML or Python, `parse` takes text from a variable or a command line. Both return the value
in the setting's type and raise `InvalidValueError` for anything else.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ..core.problems import Problem, did_you_mean, quoted
from ..core.provenance import Origin
from ..core.secret import Secret
from .limits import Limits

MAX_INT = 2**63 - 1
MIN_INT = -MAX_INT - 1

_WHOLE = re.compile(r"[+-]?[0-9]+")
_DECIMAL = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_NOT_FINITE = r"[+-]?\.?(?:inf|infinity|nan)"
# Helm writes whole numbers from a million on as 1e+06.
_EXPONENT = r"[1-9](?:\.[0-9]+)?e\+[0-9]{2}"
_LEAST_EXPONENT = 1e6
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


class InvalidValueError(Exception):
    """A value that does not fit its type: the code, message and hint of a problem, without a place."""

    def __init__(self, code: str, message: str, hint: str = "", item: int | None = None) -> None:
        super().__init__(message)
        self.item = item  # the index of the invalid item of a list
        self.code = code
        self.message = message
        self.hint = hint

    def message_for(self, key: str) -> str:
        """The message without `key` as its subject: a Problem shows the key before the message."""
        return self.message.removeprefix(f"{key} ").removeprefix(f"{key}.").replace(f" of {key} ", " ", 1)

    def problem(self, key: str, origin: Origin, hint: str = "") -> Problem:
        """The Problem for a key at a place. `hint` is used when the type gives none."""
        return Problem(code=self.code, key=key, message=self.message_for(key), hint=self.hint or hint, origin=origin)


def described(value: object) -> str:
    """A value with its type, for messages like `must be X, not Y`."""
    if value is None or isinstance(value, bool):
        return quoted(value)
    if isinstance(value, str):
        return f"the string {quoted(value)}" if value else "an empty string"
    if isinstance(value, (int, float)):
        return f"the number {quoted(value)}"
    return shape(value)


def shape(value: object) -> str:
    """What a value is, without the value itself: for what may hold a secret."""
    if value is None or isinstance(value, bool):
        return quoted(value)
    if isinstance(value, Secret):
        return "a secret"
    if isinstance(value, (str, int, float)):
        return "a string" if isinstance(value, str) else "a number"
    if hasattr(value, "keys"):
        return "a mapping"
    return "a list" if isinstance(value, (list, tuple)) else f"a {type(value).__name__} object"


class ValueType(msgspec.Struct, frozen=True):
    """A type of value. Subclasses say what they expect in `expects`."""

    @property
    def expects(self) -> str:
        raise NotImplementedError

    @property
    def takes(self) -> str:
        """What it expects, with its limits."""
        return self.expects

    def check(self, value: Any, what: str) -> Any:
        """`value` in the setting's type. Raises `InvalidValueError`."""
        raise NotImplementedError

    def parse(self, text: str, what: str) -> Any:
        """`text` in the setting's type. Raises `InvalidValueError`."""
        return self.check(text, what)

    def wrong_type(self, value: object, what: str, hint: str = "") -> InvalidValueError:
        return InvalidValueError("wrong-type", f"{what} must be {self.expects}, not {described(value)}", hint)


def _switch_hint(value: object) -> str:
    from .near_misses import switch_hint  # imported late: only messages need it

    return switch_hint(value)


def _number_hint(text: str, *, whole: bool) -> str:
    from .near_misses import number_hint

    return number_hint(text, whole=whole)


class Boolean(ValueType, frozen=True):
    """true or false."""

    @property
    def expects(self) -> str:
        return "true or false"

    def check(self, value: Any, what: str) -> bool:
        if type(value) is not bool:
            raise self.wrong_type(value, what, _switch_hint(value))
        return value

    def parse(self, text: str, what: str) -> bool:
        if text.lower() not in _BOOLEANS:
            raise self.wrong_type(text, what, _switch_hint(text))
        return _BOOLEANS[text.lower()]


class Integer(ValueType, frozen=True):
    """A whole number of 64 bits, within limits."""

    limits: Limits = Limits()

    @property
    def expects(self) -> str:
        return "a whole number"

    @property
    def takes(self) -> str:
        return f"{self.expects}{self.limits.range()}"

    def check(self, value: Any, what: str) -> int:
        if type(value) is float and value.is_integer() and _LEAST_EXPONENT <= value < MAX_INT:
            value = int(value)
        if type(value) is not int:
            hint = _number_hint(str(value), whole=True) if type(value) in (str, float) else ""
            raise self.wrong_type(value, what, hint)
        if not self.limits.allow(value):
            raise InvalidValueError("out-of-range", f"{what} must be {self.limits.bounds()}, not {quoted(value)}")
        if not MIN_INT <= value <= MAX_INT:
            raise InvalidValueError("out-of-range", f"{what} must fit into 64 bits, not {quoted(value)}")
        return value

    def parse(self, text: str, what: str) -> int:
        if not _WHOLE.fullmatch(text):
            if re.fullmatch(_EXPONENT, text):
                return self.check(float(text), what)
            raise self.wrong_type(text, what, _number_hint(text, whole=True))
        # Beyond 64 bits only the sign matters: it is out of range. (Python refuses to read 5 000 digits.)
        return self.check(int(text) if len(text) < 25 else int(text[:25]), what)


class Float(ValueType, frozen=True):
    """A finite number within limits."""

    limits: Limits = Limits()

    @property
    def expects(self) -> str:
        return "a number"

    @property
    def takes(self) -> str:
        return f"{self.expects}{self.limits.range()}"

    def check(self, value: Any, what: str) -> float:
        if type(value) is not float and type(value) is not int:
            raise self.wrong_type(value, what, _number_hint(value, whole=False) if type(value) is str else "")
        # Compared before it is converted: an int of 400 digits has no float. A file's int beyond 64 bits is cut.
        most = 1e300 if type(value) is float else MAX_INT
        if not (-most < value < most and self.limits.allow(value)):
            words = " and ".join(filter(None, (self.limits.bounds(), "" if self.limits.has_top else "finite")))
            raise InvalidValueError("out-of-range", f"{what} must be {words}, not {quoted(value)}")
        return float(value)

    def parse(self, text: str, what: str) -> float:
        if re.fullmatch(_DECIMAL, text):
            return self.check(float(text), what)
        if re.fullmatch(_NOT_FINITE, text, re.ASCII | re.IGNORECASE):
            return self.check(float(text.replace(".", "")), what)
        raise self.wrong_type(text, what, _number_hint(text, whole=False))


class String(ValueType, frozen=True):
    """Text within limits."""

    limits: Limits = Limits()

    @property
    def expects(self) -> str:
        return "text"

    @property
    def takes(self) -> str:
        return f"text that matches {self.limits.pattern}" if self.limits.pattern else "text"

    def check(self, value: Any, what: str) -> str:
        if not isinstance(value, str):
            raise self.wrong_type(value, what, "put it in quotes" if isinstance(value, (int, float)) else "")
        # A variable that is not UTF-8 has halves of characters: nothing can print or send them. NUL ends C's texts.
        if "\0" in value or (not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value)):
            raise InvalidValueError("out-of-range", f"{what} must be valid text, without NUL characters")
        fault = self.limits.length_fault(len(value), "characters")
        if fault:
            raise InvalidValueError("out-of-range", f"{what} must {fault}")
        pattern = self.limits.pattern
        if pattern is not None and re.search(pattern, value) is None:
            raise InvalidValueError("out-of-range", f"{what} must match {pattern}, not {quoted(value)}")
        return value


class Choice(ValueType, frozen=True):
    """One of a few words. `extra` are accepted but not offered; `fold` ignores case."""

    noun: str
    choices: tuple[str, ...]
    extra: tuple[str, ...] = ()
    fold: bool = False

    @property
    def expects(self) -> str:
        return "one of " + ", ".join(self.choices + self.extra)

    def check(self, value: Any, what: str) -> str:
        if not isinstance(value, str):
            raise self.wrong_type(value, what)
        word: str = value.lower() if self.fold and value.isascii() else value
        if word not in self.choices and word not in self.extra:
            message = f"Invalid {self.noun} {quoted(value)}. Must be one of: {', '.join(self.choices)}"
            hint = did_you_mean(word, self.choices + self.extra)
            raise InvalidValueError("invalid-choice", message, hint)
        return word


def _unsendable(text: str) -> tuple[str, str] | None:
    """Why a text cannot be sent as a credential, in an HTTP header, and what to do about it; None when it can."""
    if not text:
        return "is empty", "give the key, or remove it"
    if not text.isascii():
        return "contains characters that are not ASCII", "copy the key again; an editor or a chat may have changed it"
    if len(text.split()) > 1:
        where = "a line break" if len(text.splitlines()) > 1 else "white space"
        return f"contains {where}", "give the key alone, without anything before or after it"
    if not text.isprintable():
        return "contains control characters", "copy the key again"
    return None


class Credential(ValueType, frozen=True):
    """A secret string, without the white space around it. The value is never part of a message."""

    @property
    def expects(self) -> str:
        return "text"

    def check(self, value: Any, what: str) -> Secret:
        if isinstance(value, Secret):
            return value
        if not isinstance(value, str):
            hint = "put it in quotes" if isinstance(value, (int, float)) else ""
            raise InvalidValueError("wrong-type", f"{what} must be text, not {shape(value)}", hint)
        text = value.strip()
        fault = _unsendable(text)
        if fault:
            raise InvalidValueError("invalid-credential", f"{what} {fault[0]}", fault[1])
        return Secret(text)
