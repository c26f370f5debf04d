"""Walks classes of annotated fields: the settings that they declare, their defaults, and the trees of their structs."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import NODEFAULT

from .annotations import Annotation, Declaration, taken_apart
from .collection_types import MappingType
from .frozen import FrozenDict
from .schema import NAME, Setting
from .value_types import Credential, InvalidValueError, ValueType

_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


class StructNode(msgspec.Struct, frozen=True):
    """A struct in a declaration: its class and its fields; `optional`: it may be None."""

    cls: type
    fields: tuple[tuple[str, Node], ...]
    optional: bool


class MappingNode(msgspec.Struct, frozen=True):
    """A mapping in a declaration; `optional`: it may be None."""

    item: Node
    optional: bool


Node = StructNode | MappingNode | Setting


class Builder:
    """Gathers settings, defaults by key, and the defaults of structs that may be missing (see `App.below`).

    `names` are those that annotations may use beside their module's. Every refusal is a `TypeError` that names the key.
    """

    def __init__(self, names: Mapping[str, Any] | None = None) -> None:
        self.settings: list[Setting] = []
        self.defaults: dict[str, Any] = {}
        self.below: dict[str, Mapping[str, Any]] = {}
        self._names = names or {}
        self._within: list[type] = []

    def struct(
        self, key: str, cls: type, above: Declaration, default: Any = NODEFAULT, *, optional: bool = False
    ) -> StructNode:
        """The section `key`, declared by a class. `above`: what holds for fields that say nothing.

        `default` has a default for each field as its attribute; without it they have none.
        """
        if cls in self._within:
            raise TypeError(f"{key}: {cls.__qualname__} contains itself: a configuration cannot be recursive")
        self._within.append(cls)
        fields: list[tuple[str, Node]] = []
        for name, annotation in hints_of(cls, self._names).items():
            if not _FIELD.fullmatch(name):
                raise TypeError(f"{key}.{name}: a field's name is ASCII letters, digits and _, a letter first")
            fields.append((name, self._field(f"{key}.{name}", annotation, above, getattr(default, name, NODEFAULT))))
        self._within.pop()
        self._check_bound(key, {name for name, _ in fields})
        return StructNode(cls, tuple(fields), optional)

    def _check_bound(self, key: str, names: set[str]) -> None:
        for one in self.settings:
            if one.bound_to and one.key.rpartition(".")[0] == key:
                for beside in one.bound_to:
                    if beside.rpartition(".")[2] not in names:
                        raise TypeError(f"{one.key}: it is bound to {beside}, which is no field beside it")

    def _field(self, key: str, annotation: Any, above: Declaration, default: Any) -> Node:
        try:
            taken = taken_apart(annotation)
            value_type = taken.value_type()
        except (TypeError, re.error) as error:
            raise TypeError(f"{key}: {error}") from error
        declaration = _inherited(taken.declaration, above)
        if value_type is not None:
            return self._leaf(key, _setting(key, value_type, declaration, nullable=taken.nullable), default)
        if taken.limits.names() or declaration.variable or declaration.fallback_variable or declaration.bound_to:
            raise TypeError(f"{key}: constraints, variables and bound_to are for the fields below it")
        declaration = msgspec.structs.replace(declaration, doc="")
        if isinstance(taken.type, type) and issubclass(taken.type, msgspec.Struct):
            return self._nested_struct(key, taken, declaration, default)
        if get_origin(taken.type) in (dict, Mapping) and len(get_args(taken.type)) == 2:
            return self._mapping(key, taken, declaration, default)
        what = getattr(taken.type, "__name__", taken.type)
        raise TypeError(
            f"{key}: a configuration cannot hold {what}; it holds bool, int, float, str, Literal, Secret, lists and "
            "dict[str, …] of these, frozen msgspec structs of these, and None beside them"
        )

    def _nested_struct(self, key: str, taken: Annotation, declaration: Declaration, default: Any) -> StructNode:
        _check_struct(key, taken.type)
        before, self.defaults = self.defaults, {}
        node = self.struct(key, taken.type, declaration, defaults_of(taken.type), optional=taken.nullable)
        own, self.defaults = self.defaults, before
        if taken.nullable or NAME in key.rpartition(".")[2]:
            self.below[key] = own
            self._mark(key, declaration, free=False, nullable=taken.nullable)
        if default is not NODEFAULT:
            self.defaults |= {key: None} if default is None else {**own, **dict(_leaves(key, default))}
        return node

    def _mapping(self, key: str, taken: Annotation, declaration: Declaration, default: Any) -> MappingNode:
        names, values = get_args(taken.type)
        if names is not str:
            raise TypeError(f"{key}: a mapping's names are str, not {names}")
        item = self._field(f"{key}.{NAME}", values, declaration, NODEFAULT)
        self._mark(key, declaration, free=True, nullable=taken.nullable)
        if default is not NODEFAULT and not default:
            self.defaults[key] = None if default is None else FrozenDict()
        elif default is not NODEFAULT:
            for name, value in default.items():
                self.defaults |= _leaves(f"{key}.{name}", value)
        return MappingNode(item, taken.nullable)

    def _mark(self, key: str, declaration: Declaration, *, free: bool, nullable: bool) -> None:
        """The setting that a section is by itself: for null, and for a mapping without names."""
        self.settings.append(_setting(key, MappingType(free), declaration, nullable=nullable))

    def _leaf(self, key: str, made: Setting, default: Any) -> Setting:
        if made.variables and NAME in key:
            raise TypeError(f"{key}: a variable sets one key, and here are many")
        if made.bound_to and not made.is_secret:
            raise TypeError(f"{key}: only a Secret is bound to an address")
        self.settings.append(made)
        if default is not NODEFAULT:
            try:
                self.defaults[key] = made.check(default, key)
            except InvalidValueError as fault:
                raise TypeError(f"the default of {fault.message}") from None
        return made


def hints_of(cls: type, names: Mapping[str, Any]) -> dict[str, Any]:
    """The annotations of a class's fields. Raises `TypeError` for one that names what does not exist."""
    try:
        hints = get_type_hints(cls, localns=dict(names), include_extras=True)
    except NameError as error:
        raise TypeError(f"{cls.__qualname__}: an annotation names what does not exist: {error}") from error
    return {name: hint for name, hint in hints.items() if get_origin(hint) is not ClassVar and hint is not ClassVar}


def defaults_of(struct: Any) -> Any:
    """The defaults of a struct's fields, without making one: its own checks may want more than defaults."""
    found = {
        field.name: field.default if field.default is not NODEFAULT else field.default_factory()
        for field in msgspec.structs.fields(struct)
    }
    return types.SimpleNamespace(**found)


def _check_struct(key: str, cls: Any) -> None:
    config = cls.__struct_config__
    if not config.frozen:
        raise TypeError(
            f"{key}: {cls.__qualname__} can be changed: write class {cls.__name__}(msgspec.Struct, frozen=True)"
        )
    if config.tag is not None or cls.__struct_encode_fields__ != cls.__struct_fields__:
        raise TypeError(f"{key}: {cls.__qualname__} has a tag or renamed fields")
    # Those at the end have the defaults; a keyword-only field without one has NODEFAULT there.
    without = len(cls.__struct_fields__) - len(cls.__struct_defaults__)
    defaults = (NODEFAULT,) * without + cls.__struct_defaults__
    for name, default in zip(cls.__struct_fields__, defaults, strict=True):
        if default is NODEFAULT:
            raise TypeError(f"{key}.{name}: it has no default, and every field needs one")


def _setting(key: str, value_type: ValueType, declaration: Declaration, *, nullable: bool) -> Setting:
    is_secret = isinstance(value_type, Credential) or isinstance(getattr(value_type, "item", None), Credential)
    if declaration.access == "secret" and not is_secret and not isinstance(value_type, MappingType):
        raise TypeError(f"{key}: access is secret, so its type is Secret")
    section = key.rpartition(".")[0]
    return Setting(
        key=key,
        value_type=value_type,
        doc=declaration.doc,
        variable=declaration.variable,
        fallback_variable=declaration.fallback_variable,
        access="secret" if is_secret else declaration.access or "protected",
        reload=declaration.reload or "live",
        nullable=nullable,
        per_execution=bool(declaration.per_execution),
        bound_to=tuple(f"{section}.{name}" for name in declaration.bound_to),
    )


def _inherited(own: Declaration, above: Declaration) -> Declaration:
    """What is said of a field, and of what it is in where the field says nothing."""
    return msgspec.structs.replace(
        own,
        access=own.access or above.access,
        reload=own.reload or above.reload,
        per_execution=own.per_execution if own.per_execution is not None else above.per_execution,
    )


def _leaves(key: str, value: Any) -> dict[str, Any]:
    """The values below a key, by key: of structs and of mappings that are not empty."""
    if isinstance(value, msgspec.Struct):
        rows = {name: getattr(value, name) for name in value.__struct_fields__}
    elif isinstance(value, dict) and value:
        rows = value
    else:
        return {key: value}
    return {leaf: part for name, below in rows.items() for leaf, part in _leaves(f"{key}.{name}", below).items()}
