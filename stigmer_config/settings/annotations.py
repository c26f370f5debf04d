"""Reads the annotation of a field: its type, its limits, and its `setting(…)`."""

from __future__ import annotations

import re
import types
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from ..core.secret import Secret
from .collection_types import ListOf
from .limits import CONSTRAINTS, LENGTH_CONSTRAINTS, NUMBER_CONSTRAINTS, Limits
from .schema import Access, Reload
from .value_types import Boolean, Choice, Credential, Float, Integer, String, ValueType


class Declaration(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a field, from `setting(…)`. None: inherited from the struct or mapping that contains the field."""

    doc: str = ""
    variable: str | None = None
    fallback_variable: str | None = None
    access: Access | None = None
    reload: Reload | None = None
    per_execution: bool | None = None
    bound_to: tuple[str, ...] = ()
    limits: Limits = Limits()


def setting(
    doc: str = "",
    *,
    variable: str | None = None,
    fallback_variable: str | None = None,
    access: Access | None = None,
    reload: Reload | None = None,
    per_execution: bool | None = None,
    bound_to: str | tuple[str, ...] = (),
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    multiple_of: float | None = None,
    pattern: str | None = None,
    min_length: int | None = None,
    max_length: int | None = None,
) -> Declaration:
    """Describes a field of an application's settings; use it in `Annotated`, after the field's type.

    `doc`: a one-sentence description. `variable`: the environment variable that sets the field; `fallback_variable`:
    another one, used when that is not set. `access`: which layers may set it: `protected` (the default: no project file
    unless the user trusts it) or `open`; a `Secret` is always `secret`. `reload`: `live` (the default) or `restart`.
    `per_execution`: whether `config.override(…)` may set it. `bound_to`: for a `Secret`, the fields of the same class
    that determine where it is sent; it is never sent elsewhere. The other arguments are msgspec's constraints: the
    bounds of a number, the pattern (searched) or the length of a string, the length of a list.

    Options of a struct or a mapping apply to everything in it that does not set them itself.
    """
    limits = Limits(
        ge=ge, gt=gt, le=le, lt=lt, multiple_of=multiple_of, pattern=pattern, min_length=min_length,
        max_length=max_length,
    )  # fmt: skip
    bound = (bound_to,) if isinstance(bound_to, str) else tuple(bound_to)
    return Declaration(
        doc=doc,
        variable=variable,
        fallback_variable=fallback_variable,
        access=access,
        reload=reload,
        per_execution=per_execution,
        bound_to=bound,
        limits=limits,
    )


class Annotation(msgspec.Struct, frozen=True):
    """The parts of an annotation: the type, whether None is allowed, and the metadata of `Annotated`."""

    type: Any
    nullable: bool
    metadata: tuple[Any, ...]

    @property
    def declaration(self) -> Declaration:
        """The result of `setting(…)`, or a declaration without options."""
        return next((one for one in self.metadata if isinstance(one, Declaration)), _NOTHING)

    @property
    def limits(self) -> Limits:
        """The constraints of `setting(…)` and of `msgspec.Meta`."""
        found: dict[str, Any] = {}
        for one in self.metadata:
            beside = one.limits if isinstance(one, Declaration) else one
            if isinstance(beside, (msgspec.Meta, Limits)):
                found |= {name: limit for name in CONSTRAINTS if (limit := getattr(beside, name)) is not None}
        return Limits(**found) if found else _NO_LIMITS

    def value_type(self) -> ValueType | None:
        """The value type of a scalar or a list, or the one in the metadata; None for a struct or a mapping.

        Raises `TypeError` for limits that the type does not have, and `re.error` for an invalid pattern.
        """
        named = next((one for one in self.metadata if isinstance(one, ValueType)), None)
        return named or _value_type(self.type, self.limits)


_NOTHING = Declaration()
_NO_LIMITS = Limits()


def taken_apart(annotation: Any) -> Annotation:
    """Unwraps `Annotated`, `| None` and type aliases. Raises `TypeError` for any other union."""
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
            return Annotation(annotation, nullable, tuple(metadata))


def _value_type(annotation: Any, limits: Limits) -> ValueType | None:
    """The value type of a scalar or a list, with its limits; None for other types."""
    origin = get_origin(annotation)
    made: ValueType
    allowed: frozenset[str] = frozenset()
    if annotation is bool:
        made = Boolean()
    elif annotation is int:
        made, allowed = Integer(limits), NUMBER_CONSTRAINTS
    elif annotation is float:
        made, allowed = Float(limits), NUMBER_CONSTRAINTS
    elif annotation is str:
        made, allowed = String(limits), LENGTH_CONSTRAINTS | {"pattern"}
    elif annotation is Secret:
        made = Credential()
    elif origin is Literal:
        made = _choice(annotation)
    elif origin in (list, tuple, Sequence) or annotation in (list, tuple):
        made, allowed = ListOf(_item(annotation), limits), LENGTH_CONSTRAINTS
    else:
        return None
    wrong = limits.names() - allowed
    if wrong:
        raise TypeError(f"{', '.join(sorted(wrong))}: no constraint of {getattr(annotation, '__name__', annotation)}")
    if limits.pattern is not None:
        re.compile(limits.pattern)
    return made


def _choice(annotation: Any) -> Choice:
    words = get_args(annotation)
    if not all(isinstance(word, str) for word in words):
        raise TypeError(f"{annotation}: choices are strings")
    return Choice("value", words)


def _item(annotation: Any) -> ValueType:
    """The type of a list's items."""
    arguments = [one for one in get_args(annotation) if one is not Ellipsis]
    if len(arguments) != 1 or (get_origin(annotation) is tuple and Ellipsis not in get_args(annotation)):
        raise TypeError(f"{annotation}: write list[str] or tuple[str, ...]")
    inner = taken_apart(arguments[0])
    item = inner.value_type() if not inner.nullable else None
    if item is None or isinstance(item, ListOf):
        raise TypeError(
            f"{annotation}: a list holds bool, int, float, str, Literal or Secret; name others: dict[str, …]"
        )
    if msgspec.structs.replace(inner.declaration, limits=_NO_LIMITS) != _NOTHING:
        raise TypeError(f"{annotation}: setting(…) of a list's item may give limits only")
    return item
