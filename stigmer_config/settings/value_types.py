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
from .near_misses import number_hint, switch_hint
from .packaged_providers import PROVIDER_NAME, packaged_providers

MAX_INT = 2**63 - 1

_WHOLE = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[+-]?\.?(?:inf|infinity|nan)", re.ASCII | re.IGNORECASE)
# Helm writes whole numbers from a million on as 1e+06.
_EXPONENT = re.compile(r"[1-9](?:\.[0-9]+)?e\+[0-9]{2}")
_LEAST_EXPONENT = 1e6
_MODEL = re.compile(r"[A-Za-z0-9._:/@+-]{1,256}")


class InvalidValueError(Exception):
    """A value its kind refuses: a problem's code, message and hint, still without a place."""

    def __init__(self, code: str, message: str, hint: str = "", item: int | None = None) -> None:
        super().__init__(message)
        self.item = item  # the number of the list's item that is at fault
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


class Kind(msgspec.Struct, frozen=True):
    """A shape of value. Subclasses say what they expect in `expects`."""

    @property
    def expects(self) -> str:
        raise NotImplementedError

    @property
    def hint(self) -> str:
        """What to write, for a value about which nothing more is known; "" where the message says it."""
        return ""

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
        word: str = value.lower() if self.fold and value.isascii() else value
        if word not in self.choices and word not in self.extra:
            message = f"Invalid {self.noun} {quoted(value)}. Must be one of: {', '.join(self.choices)}"
            hint = did_you_mean(word, self.choices + self.extra, f"{what} takes {self.expects}")
            raise InvalidValueError("invalid-choice", message, hint)
        return word


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


def _bounds(least: float, most: float, *, above: bool = False) -> str:
    """A range, in words."""
    if most != math.inf:
        return f" from {least:.12g} to {most:.12g}"
    return f" greater than {least:.12g}" if above else f" from {least:.12g} on" if least > -MAX_INT else ""


class Whole(Kind, frozen=True):
    """A whole number from `least` to `most`."""

    least: int
    most: int = MAX_INT

    @property
    def expects(self) -> str:
        return "a whole number"

    @property
    def hint(self) -> str:
        return f"write a whole number{_bounds(self.least, self.most if self.most != MAX_INT else math.inf)}"

    def check(self, value: Any, what: str) -> int:
        if type(value) is float and value.is_integer() and _LEAST_EXPONENT <= value < MAX_INT:
            value = int(value)
        if type(value) is not int:
            hint = number_hint(str(value), whole=True) if type(value) in (str, float) else ""
            raise self.wrong_type(value, what, hint)
        if not self.least <= value <= self.most:
            top = f" and at most {self.most}" if self.most != MAX_INT else ""
            raise InvalidValueError("out-of-range", f"{what} must be at least {self.least}{top}, not {quoted(value)}")
        return value

    def parse(self, text: str, what: str) -> int:
        if _EXPONENT.fullmatch(text):
            return self.check(float(text), what)
        if not _WHOLE.fullmatch(text):
            raise self.wrong_type(text, what, number_hint(text, whole=True))
        # Beyond 64 bits only the sign matters: it is out of range. (Python refuses to read 5 000 digits.)
        return self.check(int(text) if len(text) < 25 else int(text[:25]), what)


_SWITCH = {"true": True, "1": True, "false": False, "0": False}


class Switch(Kind, frozen=True):
    """true or false."""

    @property
    def expects(self) -> str:
        return "true or false"

    def check(self, value: Any, what: str) -> bool:
        if type(value) is not bool:
            raise self.wrong_type(value, what, switch_hint(value))
        return value

    def parse(self, text: str, what: str) -> bool:
        if text.lower() not in _SWITCH:
            raise self.wrong_type(text, what, switch_hint(text))
        return _SWITCH[text.lower()]


class Number(Kind, frozen=True):
    """A finite number from `least` to `most`; `above` excludes `least` itself."""

    least: float
    most: float = math.inf
    above: bool = False

    @property
    def expects(self) -> str:
        return "a number"

    @property
    def hint(self) -> str:
        return f"write a number{_bounds(self.least, self.most, above=self.above)}"

    def check(self, value: Any, what: str) -> float:
        if type(value) is not float and type(value) is not int:
            raise self.wrong_type(value, what, number_hint(value, whole=False) if type(value) is str else "")
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
            raise self.wrong_type(text, what, number_hint(text, whole=False))
        return self.check(float(text), what)


class ModelString(Kind, frozen=True):
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
        if not PROVIDER_NAME.fullmatch(value):
            raise no_provider(value, packaged_providers())
        return value


# What people call a provider by, and other programs whose name only looks like a slip.
_MEANT = {
    "claude": "anthropic", "chatgpt": "openai", "gpt": "openai", "gemini": "google", "google_genai": "google",
    "grok": "xai", "mistral": "mistralai", "togetherai": "together", "together_ai": "together",
}  # fmt: skip
_NO_SLIP = frozenset(("llamacpp", "llama_cpp", "llama", "azure_openai", "azureopenai"))


def no_provider(name: str, known: Iterable[str]) -> InvalidValueError:
    """The fault of a provider that does not exist, among those `known`, in the order of messages."""
    known = tuple(known)
    message = f"Invalid provider {quoted(name)}. Must be one of: {', '.join(known)}"
    declare = (
        f"declare it with providers.{shown_name(name)}.kind and .base_url, or write auto to choose by the keys set"
    )
    close = "" if name.lower().replace("-", "_") in _NO_SLIP else name
    hint = did_you_mean(_MEANT.get(name.lower(), close), (*known, "auto"), declare)
    return InvalidValueError("invalid-choice", message, hint)


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


class Credential(Kind, frozen=True):
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


class KeyList(Kind, frozen=True):
    """A list of keys or sections; each name is checked where the list is read."""

    @property
    def expects(self) -> str:
        return "a list of keys"

    def check(self, value: Any, what: str) -> tuple[str, ...]:
        if not isinstance(value, (list, tuple)):
            raise self.wrong_type(value, what, "for example [llm.model, sandbox]")
        for at, item in enumerate(value):
            if not isinstance(item, str):
                message = f"{what} must be {self.expects}, and one of its items is {described(item)}"
                raise InvalidValueError("wrong-type", message, "for example [llm.model, sandbox]", at)
        return unique(value)

    def parse(self, text: str, what: str) -> tuple[str, ...]:
        del what  # any text is a list of names
        return unique(part.strip() for part in text.strip("[] ").split(",") if part.strip())
