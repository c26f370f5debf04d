"""What a field's annotation says: its type, its limits, and `setting(…)` beside them."""

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
    """A field's options, as `setting(…)` declares them. None: those of the struct or mapping around the field."""

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
    """Describes a field of an application's settings, in `Annotated` beside its type.

    `doc`: one sentence. `variable`: an environment variable that sets it; `fallback_variable`: one that counts where
    that is not set. `access`: who may set it, `protected` by default (no project file unless it is trusted) or `open`;
    a `Secret` is always `secret`. `reload`: `live` by default, or `restart`. `per_execution`: whether
    `config.override(…)` may set it. `bound_to`: for a `Secret`, the field or fields beside it that say where it is
    sent; it goes nowhere else. The others are msgspec's constraints: bounds of a number, a pattern (searched) or a
    length of a text, a length of a list.

    What is said of a field that is a struct or a mapping holds for all below it that says nothing else.
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
    """An annotation taken apart: the type, whether None is a value, and what `Annotated` says beside it."""

    type: Any
    nullable: bool
    metadata: tuple[Any, ...]

    @property
    def declaration(self) -> Declaration:
        """The declaration that `setting(…)` makes."""
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
        """The type of a scalar or a list, or the one that `Annotated` names; None for a struct or a mapping.

        Raises `TypeError` for limits that the type does not take, and `re.error` for a pattern that is none.
        """
        named = next((one for one in self.metadata if isinstance(one, ValueType)), None)
        return named or _value_type(self.type, self.limits)


_NOTHING = Declaration()
_NO_LIMITS = Limits()


def taken_apart(annotation: Any) -> Annotation:
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
            return Annotation(annotation, nullable, tuple(metadata))


def _value_type(annotation: Any, limits: Limits) -> ValueType | None:
    """The type of a scalar or a list within limits; None for what is neither."""
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
