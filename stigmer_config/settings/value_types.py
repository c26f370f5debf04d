"""What a setting's value may be: one kind per shape of value, strict, with messages for people.

`check` takes a value as YAML or Python gives it, `parse` takes text as a variable or a command line
gives it. Both return the value in the setting's type and raise `InvalidValueError` for anything else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from ..core.merge import unique
from ..core.problems import Problem, did_you_mean, quoted, shown_name
from ..core.provenance import Origin
from ..core.secret import Secret
from .providers import NAME, packaged_providers

MAX_INT = 2**63 - 1

_WHOLE = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[+-]?\.?(?:inf|infinity|nan)", re.IGNORECASE)
_MODEL = re.compile(r"[A-Za-z0-9._:/@+-]{1,256}")


class InvalidValueError(Exception):
    """A value its kind refuses: a problem's code, message and hint, still without a place."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint

    def problem(self, key: str, origin: Origin, hint: str = "") -> Problem:
        """The Problem it is at that place; `hint` for when the kind has none."""
        return Problem(code=self.code, key=key, message=self.message, hint=self.hint or hint, origin=origin)


def described(value: object) -> str:
    """A value and what it is, for `… must be X, not Y`."""
    if value is None or isinstance(value, bool):
        return quoted(value)
    if isinstance(value, str):
        return f"the text {quoted(value)}" if value else "an empty text"
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
        return "a text" if isinstance(value, str) else "a number"
    if hasattr(value, "keys"):
        return "a mapping"
    return "a list" if isinstance(value, (list, tuple)) else f"a {type(value).__name__} object"


class Kind(msgspec.Struct, frozen=True):
    """A shape of value. Subclasses say what they expect in `expects`."""

    @property
    def expects(self) -> str:
        raise NotImplementedError

    def check(self, value: Any, what: str) -> Any:
        """`value` in the setting's type. Raises `InvalidValueError`."""
        raise NotImplementedError

    def parse(self, text: str, what: str) -> Any:
        """`text` in the setting's type. Raises `InvalidValueError`."""
        return self.check(text, what)

    def wrong_type(self, value: object, what: str, hint: str = "") -> InvalidValueError:
        return InvalidValueError("wrong-type", f"{what} must be {self.expects}, not {described(value)}", hint)


class Text(Kind, frozen=True):
    """Any text that is not empty."""

    @property
    def expects(self) -> str:
        return "text"

    def check(self, value: Any, what: str) -> str:
        if not isinstance(value, str):
            raise self.wrong_type(value, what, "put it in quotes" if isinstance(value, (int, float)) else "")
        if not value:
            raise InvalidValueError("out-of-range", f"{what} must not be empty")
        # A variable that is not UTF-8 has halves of characters: nothing can print or send them. NUL ends C's texts.
        if "\0" in value or (not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value)):
            raise InvalidValueError("out-of-range", f"{what} must be valid text, without NUL characters")
        return value


class Choice(Kind, frozen=True):
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
        word: str = value.lower() if self.fold else value
        if word not in self.choices and word not in self.extra:
            message = f"Invalid {self.noun} {quoted(value)}. Must be one of: {', '.join(self.choices)}"
            hint = did_you_mean(word, self.choices + self.extra, f"{what} takes {self.expects}")
            raise InvalidValueError("invalid-choice", message, hint)
        return word


class Whole(Kind, frozen=True):
    """A whole number from `least` to `most`."""

    least: int
    most: int = MAX_INT

    @property
    def expects(self) -> str:
        return "a whole number"

    def check(self, value: Any, what: str) -> int:
        if type(value) is not int:
            raise self.wrong_type(value, what)
        if not self.least <= value <= self.most:
            top = f" and at most {self.most}" if self.most != MAX_INT else ""
            raise InvalidValueError("out-of-range", f"{what} must be at least {self.least}{top}, not {quoted(value)}")
        return value

    def parse(self, text: str, what: str) -> int:
        if not _WHOLE.fullmatch(text):
            raise self.wrong_type(text, what)
        # Beyond 64 bits only the sign matters: it is out of range. (Python refuses to read 5 000 digits.)
        return self.check(int(text) if len(text) < 25 else int(text[:25]), what)


class Number(Kind, frozen=True):
    """A finite number from `least` to `most`; `above` excludes `least` itself."""

    least: float
    most: float = math.inf
    above: bool = False

    @property
    def expects(self) -> str:
        return "a number"

    def check(self, value: Any, what: str) -> float:
        if type(value) is not float and type(value) is not int:
            raise self.wrong_type(value, what)
        # Compared before it is converted: an int of 400 digits has no float.
        low = value > self.least if self.above else value >= self.least
        high = value <= self.most and value < (1e300 if type(value) is float else MAX_INT)
        if not (low and high):
            bottom = f"greater than {self.least:g}" if self.above else f"at least {self.least:g}"
            top = f" and at most {self.most:g}" if self.most != math.inf else " and finite"
            raise InvalidValueError("out-of-range", f"{what} must be {bottom}{top}, not {quoted(value)}")
        return float(value)

    def parse(self, text: str, what: str) -> float:
        if _NOT_FINITE.fullmatch(text):
            return self.check(float(text.replace(".", "")), what)
        if not _DECIMAL.fullmatch(text):
            raise self.wrong_type(text, what)
        return self.check(float(text), what)


class Model(Kind, frozen=True):
    """An alias, a friendly name, a model id or `provider:model`. It ends in URLs and in commands."""

    @property
    def expects(self) -> str:
        return "a model name"

    def check(self, value: Any, what: str) -> str:
        if not isinstance(value, str):
            raise self.wrong_type(value, what, "put it in quotes" if isinstance(value, (int, float)) else "")
        if not value or (value[-1] == ":" and value[:-1].lower() in packaged_providers()):
            raise InvalidValueError("empty-model", f"{what} names no model", "give a model, or remove the line")
        if not _MODEL.fullmatch(value) or ".." in value or "//" in value:
            hint = "a model name has letters, digits and . _ : / @ + - only, without '..' or '//', 256 at most"
            raise InvalidValueError("invalid-model", f"{quoted(value)} is not a model name", hint)
        return value


class ProviderName(Kind, frozen=True):
    """The name of a provider, or auto. Which ones there are is known once every layer is read."""

    @property
    def expects(self) -> str:
        return "the name of a provider"

    def check(self, value: Any, what: str) -> str:
        if not isinstance(value, str):
            raise self.wrong_type(value, what)
        if not NAME.fullmatch(value):
            raise no_provider(value, packaged_providers())
        return value


def no_provider(name: str, known: Iterable[str]) -> InvalidValueError:
    """The fault of a provider that does not exist, among those `known`, in the order of messages."""
    known = tuple(known)
    message = f"Invalid provider {quoted(name)}. Must be one of: {', '.join(known)}"
    hint = did_you_mean(
        name,
        (*known, "auto"),
        "auto chooses one by the keys there are; a provider of your own needs "
        f"providers.{shown_name(name)}.kind and .base_url",
    )
    return InvalidValueError("invalid-choice", message, hint)


class Credential(Kind, frozen=True):
    """A secret text. The value never stands in a message."""

    @property
    def expects(self) -> str:
        return "text"

    def check(self, value: Any, what: str) -> Secret:
        if isinstance(value, Secret):
            return value
        if not isinstance(value, str):
            hint = "put it in quotes" if isinstance(value, (int, float)) else ""
            raise InvalidValueError("wrong-type", f"{what} must be text, not {shape(value)}", hint)
        # A line end or a control character cannot be part of an HTTP header, where keys are sent.
        if not value.isprintable() or not value.strip() or not value.isascii():
            raise InvalidValueError("out-of-range", f"{what} must be one line of printable ASCII characters")
        return Secret(value)


class KeyList(Kind, frozen=True):
    """A list of keys or sections; each name is checked where the list is read."""

    @property
    def expects(self) -> str:
        return "a list of keys"

    def check(self, value: Any, what: str) -> tuple[str, ...]:
        if not isinstance(value, (list, tuple)):
            raise self.wrong_type(value, what, "for example [llm.model, sandbox]")
        for item in value:
            if not isinstance(item, str):
                message = f"{what} must be {self.expects}, and one of its items is {described(item)}"
                raise InvalidValueError("wrong-type", message, "for example [llm.model, sandbox]")
        return unique(value)

    def parse(self, text: str, what: str) -> tuple[str, ...]:
        del what  # any text is a list of names
        return unique(part.strip() for part in text.strip("[] ").split(",") if part.strip())
