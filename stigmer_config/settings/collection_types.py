"""The types of values that hold others: lists, mappings, and lists of keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..core.decoding import from_json
from ..core.merge import unique
from .frozen import FrozenDict, FrozenList
from .limits import Limits
from .value_types import Credential, InvalidValueError, ValueType, described, shape


class ListOf(ValueType, frozen=True):
    """A list of values of one type. A higher layer's list replaces it."""

    item: ValueType
    limits: Limits = Limits()

    @property
    def expects(self) -> str:
        return f"a list, each item {self.item.expects}"

    def check(self, value: Any, what: str) -> FrozenList:
        if not isinstance(value, (list, tuple)):
            given = shape(value) if isinstance(self.item, Credential) else described(value)
            raise InvalidValueError("wrong-type", f"{what} must be {self.expects}, not {given}", "for example [a, b]")
        wrong = self.limits.length_fault(len(value), "items")
        if wrong:
            raise InvalidValueError("out-of-range", f"{what} must {wrong}")
        found: list[Any] = []
        for number, item in enumerate(value):
            try:
                found.append(self.item.check(item, f"item {number + 1} of {what}"))
            except InvalidValueError as fault:
                fault.item = number
                raise
        return FrozenList(found)

    def parse(self, text: str, what: str) -> FrozenList:
        """A JSON list, or items between commas."""
        if text.lstrip().startswith("["):
            try:
                return self.check(from_json(text, list), what)
            except (msgspec.MsgspecError, UnicodeError, RecursionError):
                text = text.strip("[] ")
        parts = [part.strip() for part in text.split(",") if part.strip()]
        return self.check([self.item.parse(part, what) for part in parts], what)


class MappingType(ValueType, frozen=True):
    """A mapping of free names to values, or a section of its own: its keys are settings themselves."""

    free: bool

    @property
    def expects(self) -> str:
        return "a mapping of names to values" if self.free else "a section"

    def check(self, value: Any, what: str) -> FrozenDict:
        if not isinstance(value, Mapping):
            raise InvalidValueError("wrong-type", f"{what} must be {self.expects}, not {shape(value)}")
        return FrozenDict(value)

    def parse(self, text: str, what: str) -> FrozenDict:
        del text
        raise InvalidValueError("wrong-type", f"{what} holds keys of its own", f"set one of them: {what}.NAME")


class KeyList(ValueType, frozen=True):
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
