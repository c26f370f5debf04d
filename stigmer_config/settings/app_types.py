"""The types of an application's settings: annotations → kinds, with msgspec's constraints."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import msgspec

from ..core.decoding import from_json
from ..core.problems import quoted
from ..core.secret import Secret
from .frozen import FrozenDict, FrozenList
from .value_types import MAX_INT, Choice, Credential, InvalidValueError, Kind, Number, Whole, described, shape

_CONSTRAINTS = ("ge", "gt", "le", "lt", "multiple_of", "pattern", "min_length", "max_length")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """msgspec's constraints (https://jcristharif.com/msgspec/constraints.html). None: no limit."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    multiple_of: float | None = None
    pattern: str | None = None
    min_length: int | None = None
    max_length: int | None = None

    def names(self) -> set[str]:
        return {name for name in _CONSTRAINTS if getattr(self, name) is not None}

    def bounds(self) -> str:
        """The bounds of a number, or of a length, in words; "" where there are none."""
        words = [
            f"at least {self.ge:g}" if self.ge is not None else "",
            f"greater than {self.gt:g}" if self.gt is not None else "",
            f"at most {self.le:g}" if self.le is not None else "",
            f"less than {self.lt:g}" if self.lt is not None else "",
            f"a multiple of {self.multiple_of:g}" if self.multiple_of is not None else "",
        ]
        return " and ".join(filter(None, words))

    def hold(self, value: float) -> bool:
        """Whether a number is within the bounds."""
        return (
            (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
            and (self.multiple_of is None or value % self.multiple_of == 0)
        )

    def check_length(self, length: int, what: str, unit: str) -> None:
        """Raises `InvalidValueError` for a length out of the limits."""
        least, most = self.min_length or 0, self.max_length
        if length < least or (most is not None and length > most):
            top = f" and at most {most}" if most is not None else ""
            raise InvalidValueError("out-of-range", f"{what} must have at least {least}{top} {unit}, not {length}")


class Boolean(Kind, frozen=True):
    """`true` or `false`."""

    @property
    def expects(self) -> str:
        return "true or false"

    def check(self, value: Any, what: str) -> bool:
        if type(value) is not bool:
            raise self.wrong_type(value, what, "write it without quotes" if isinstance(value, str) else "")
        return value

    def parse(self, text: str, what: str) -> bool:
        word = text.lower()
        if word not in ("true", "false"):
            raise self.wrong_type(text, what)
        return word == "true"


class Integer(Kind, frozen=True):
    """A whole number of 64 bits within limits."""

    limits: Limits

    @property
    def expects(self) -> str:
        bounds = self.limits.bounds()
        return f"a whole number, {bounds}" if bounds else "a whole number"

    def check(self, value: Any, what: str) -> int:
        if type(value) is not int:
            raise self.wrong_type(value, what)
        if not -MAX_INT - 1 <= value <= MAX_INT:
            raise InvalidValueError("out-of-range", f"{what} must fit into 64 bits, not {quoted(value)}")
        if not self.limits.hold(value):
            raise InvalidValueError("out-of-range", f"{what} must be {self.limits.bounds()}, not {quoted(value)}")
        return value

    def parse(self, text: str, what: str) -> int:
        return self.check(Whole(-MAX_INT - 1).parse(text, what), what)


class Real(Kind, frozen=True):
    """A finite number within limits."""

    limits: Limits

    @property
    def expects(self) -> str:
        bounds = self.limits.bounds()
        return f"a number, {bounds}" if bounds else "a number"

    def check(self, value: Any, what: str) -> float:
        if type(value) not in (int, float):
            raise self.wrong_type(value, what)
        if not -1e300 < value < 1e300:  # compared before it is converted: an int of 400 digits has no float
            raise InvalidValueError("out-of-range", f"{what} must be a finite number, not {quoted(value)}")
        if not self.limits.hold(value):
            raise InvalidValueError("out-of-range", f"{what} must be {self.limits.bounds()}, not {quoted(value)}")
        return float(value)

    def parse(self, text: str, what: str) -> float:
        return self.check(Number(-1e300).parse(text, what), what)


class String(Kind, frozen=True):
    """A text within limits. It may be empty."""

    limits: Limits

    @property
    def expects(self) -> str:
        return f"text that matches {self.limits.pattern}" if self.limits.pattern else "text"

    def check(self, value: Any, what: str) -> str:
        if not isinstance(value, str):
            raise self.wrong_type(value, what, "put it in quotes" if isinstance(value, (int, float)) else "")
        if "\0" in value or (not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value)):
            raise InvalidValueError("out-of-range", f"{what} must be valid text, without NUL characters")
        self.limits.check_length(len(value), what, "characters")
        pattern = self.limits.pattern
        if pattern is not None and re.search(pattern, value) is None:
            raise InvalidValueError("out-of-range", f"{what} must match {pattern}, not {quoted(value)}")
        return value


class ListOf(Kind, frozen=True):
    """A list of values of one kind. A higher layer's list replaces it."""

    item: Kind
    limits: Limits

    @property
    def expects(self) -> str:
        return f"a list, each item {self.item.expects}"

    def check(self, value: Any, what: str) -> FrozenList:
        if not isinstance(value, (list, tuple)):
            given = shape(value) if isinstance(self.item, Credential) else described(value)
            raise InvalidValueError("wrong-type", f"{what} must be {self.expects}, not {given}", "for example [a, b]")
        self.limits.check_length(len(value), what, "items")
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


class MappingType(Kind, frozen=True):
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


class Parts(NamedTuple):
    """An annotation taken apart: the type, whether None is a value, and what `Annotated` says beside it."""

    type: Any
    nullable: bool
    metadata: tuple[Any, ...]


def parts(annotation: Any) -> Parts:
    """Takes `Annotated`, `| None` and aliases off a type. Raises `TypeError` for another union."""
    nullable, metadata = False, []
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation, *beside = get_args(annotation)
            metadata += beside
        elif origin in (Union, types.UnionType):
            others = [part for part in get_args(annotation) if part is not type(None)]
            if len(others) != 1:
                raise TypeError(f"{annotation} is a union of more than one type and None")
            annotation, nullable = others[0], nullable or len(get_args(annotation)) > 1
        elif hasattr(annotation, "__value__"):  # type X = …
            annotation = annotation.__value__
        elif hasattr(annotation, "__supertype__"):  # NewType
            annotation = annotation.__supertype__
        else:
            return Parts(annotation, nullable, tuple(metadata))


def limits_of(metadata: Sequence[Any]) -> Limits:
    """The constraints that `Annotated` says."""
    found: dict[str, Any] = {}
    for beside in metadata:
        if isinstance(beside, (msgspec.Meta, Limits)):
            found |= {name: one for name in _CONSTRAINTS if (one := getattr(beside, name)) is not None}
    return Limits(**found)


def kind_of(annotation: Any, limits: Limits) -> Kind | None:
    """The kind of a scalar or a list; None for what is neither. Raises `TypeError` for limits it does not take."""
    kinds: dict[Any, tuple[set[str], Any]] = {
        bool: (set(), Boolean),
        int: ({"ge", "gt", "le", "lt", "multiple_of"}, lambda: Integer(limits)),
        float: ({"ge", "gt", "le", "lt", "multiple_of"}, lambda: Real(limits)),
        str: ({"pattern", "min_length", "max_length"}, lambda: String(limits)),
        Secret: (set(), Credential),
    }
    origin = get_origin(annotation)
    if annotation in kinds:
        allowed, made = kinds[annotation]
    elif origin is Literal:
        allowed, made = set(), lambda: _choice(annotation)
    elif origin in (list, tuple, Sequence) or annotation in (list, tuple):
        allowed, made = {"min_length", "max_length"}, lambda: ListOf(_item(annotation), limits)
    else:
        return None
    wrong = limits.names() - allowed
    if wrong:
        raise TypeError(f"{', '.join(sorted(wrong))}: no constraint of {getattr(annotation, '__name__', annotation)}")
    if limits.pattern is not None:
        re.compile(limits.pattern)
    kind: Kind = made()
    return kind


def _choice(annotation: Any) -> Choice:
    words = get_args(annotation)
    if not all(isinstance(word, str) for word in words):
        raise TypeError(f"{annotation}: choices are strings")
    return Choice("value", words)


def _item(annotation: Any) -> Kind:
    """The kind of a list's items."""
    arguments = [one for one in get_args(annotation) if one is not Ellipsis]
    if len(arguments) != 1 or (get_origin(annotation) is tuple and Ellipsis not in get_args(annotation)):
        raise TypeError(f"{annotation}: write list[str] or tuple[str, ...]")
    inner = parts(arguments[0])
    kind = kind_of(inner.type, limits_of(inner.metadata)) if not inner.nullable else None
    if kind is None or isinstance(kind, ListOf):
        raise TypeError(
            f"{annotation}: a list holds bool, int, float, str, Literal or Secret; name others: dict[str, …]"
        )
    return kind
