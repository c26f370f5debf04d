"""An application's own settings: `@app` and `setting`, and what a load takes of them."""

from __future__ import annotations

import functools
import re
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar, cast, dataclass_transform, get_args, get_origin, get_type_hints

import msgspec

from ..core.provenance import Entry, Layer, Origin
from ..core.secret import Secret, without_password
from .app_types import Limits, MappingType, kind_of, limits_of, parts
from .declarations import BUILT_IN
from .frozen import Frozen, FrozenDict, frozen
from .schema import NAME, Access, Reload, Schema, Setting
from .value_types import Credential, InvalidValueError

T = TypeVar("T")

_APP_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_APP = "__stigmer_app__"


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """What `setting(…)` says of a field, for `Annotated`."""

    doc: str = ""
    variable: str | None = None
    access: Access | None = None
    reload: Reload | None = None
    per_execution: bool | None = None
    bound_to: tuple[str, ...] = ()
    limits: Limits = Limits()


def setting(
    doc: str = "",
    *,
    variable: str | None = None,
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
) -> Declared:
    """Describes a field of an application's settings, in `Annotated` beside its type.

    `doc`: one sentence. `variable`: an environment variable that sets it. `access`: who may set it, `protected` by
    default (no project file unless it is trusted) or `open`; a `Secret` is always `secret`. `reload`: `live` by
    default, or `restart`. `per_execution`: whether `config.override(…)` may set it. `bound_to`: for a `Secret`, the
    field or fields beside it that say where it is sent; it goes nowhere else. The others are msgspec's constraints:
    bounds of a number, a pattern (searched) or a length of a text, a length of a list.

    What is said of a field that is a struct or a mapping holds for all below it that says nothing else.
    """
    limits = Limits(
        ge=ge, gt=gt, le=le, lt=lt, multiple_of=multiple_of, pattern=pattern, min_length=min_length,
        max_length=max_length,
    )  # fmt: skip
    bound = (bound_to,) if isinstance(bound_to, str) else tuple(bound_to)
    return Declared(
        doc=doc,
        variable=variable,
        access=access,
        reload=reload,
        per_execution=per_execution,
        bound_to=bound,
        limits=limits,
    )


class StructNode(msgspec.Struct, frozen=True):
    """A struct in a declaration: its class and its fields; `optional`: it may be None."""

    cls: type
    fields: tuple[tuple[str, Node], ...]
    optional: bool


class NamesNode(msgspec.Struct, frozen=True):
    """A mapping in a declaration; `optional`: it may be None."""

    item: Node
    optional: bool


Node = StructNode | NamesNode | Setting


class App(msgspec.Struct, frozen=True, eq=False):
    """One application: its settings, its defaults by key, and how its struct is built.

    `source` names its class, as the origin of its defaults. `below` has the defaults that count once something below a
    section is set: by a struct that may be None, or by a mapping's name (`<name>`).
    """

    name: str
    cls: type
    source: str
    root: StructNode
    settings: tuple[Setting, ...]
    defaults: Mapping[str, Any]
    below: Mapping[str, Mapping[str, Any]]

    @property
    def key(self) -> str:
        return f"apps.{self.name}"


@dataclass_transform(frozen_default=True, kw_only_default=True)
def app(name: str) -> Callable[[type[T]], type[T]]:
    """Makes a class the settings of the application `name`: a frozen, keyword-only msgspec struct.

    Its keys are `apps.<name>.<field>`. Every field has a type and a default. Raises `TypeError` for what a
    configuration cannot hold, and for a default that its own field would refuse.
    """
    if not isinstance(name, str) or not _APP_NAME.fullmatch(name):
        raise TypeError(f"an application's name is lowercase letters, digits, _ and -, 64 at most, not {name!r}")

    def declare(cls: type[T]) -> type[T]:
        caller = sys._getframe(1)  # noqa: SLF001 - annotations in a function may use its names
        local = caller.f_locals if caller.f_locals is not caller.f_globals else {}
        hints = _hints(cls, local)
        struct = _struct(cls, hints, name)
        builder = _Builder(local)
        root = builder.struct(f"apps.{name}", struct, hints, Declared(), _defaults_of(struct), ())
        source = f"{cls.__module__}:{cls.__qualname__}"
        made = App(name, struct, source, root, tuple(builder.settings), builder.defaults, builder.below)
        _check(made)
        setattr(struct, _APP, made)
        return cast("type[T]", struct)

    return declare


def app_of(cls: type) -> App:
    """The application whose settings a class holds. Raises `TypeError` for a class without `@app(…)`."""
    found = cls.__dict__.get(_APP) if isinstance(cls, type) else None
    if not isinstance(found, App):
        raise TypeError(f"{cls!r} is no application's settings: put @app(name) before the class")
    return found


def schema_of(apps: Any = ()) -> Schema:
    """The built-in settings and those of some applications' classes. Raises `TypeError` for two of one name."""
    classes = tuple(apps)
    return _schema(classes) if classes else BUILT_IN


@functools.lru_cache(maxsize=32)
def _schema(classes: tuple[type, ...]) -> Schema:
    apps: dict[str, App] = {}
    for cls in classes:
        found = app_of(cls)
        if apps.setdefault(found.name, found) is not found:
            raise TypeError(f"two applications are named {found.name}: {apps[found.name].source} and {found.source}")
    variables: dict[str, str] = {}
    for one in (setting for found in apps.values() for setting in found.settings):
        if one.variable is not None and variables.setdefault(one.variable, one.key) != one.key:
            raise TypeError(f"{one.key}: the variable {one.variable} is that of {variables[one.variable]}")
    return Schema([*BUILT_IN.every(), *(one for found in apps.values() for one in found.settings)], apps)


def with_defaults(layer: Layer, schema: Schema) -> Layer:
    """The defaults' layer with the applications' defaults in it."""
    if not schema.apps:
        return layer
    entries = {**layer.entries, **_default_entries(schema)}
    return msgspec.structs.replace(layer, entries=entries)


@functools.lru_cache(maxsize=32)
def _default_entries(schema: Schema) -> dict[str, Entry]:
    return {
        key: Entry(value, Origin("defaults", app.source))
        for app in schema.apps.values()
        for key, value in app.defaults.items()
    }


def _hints(cls: type, names: Mapping[str, Any]) -> dict[str, Any]:
    try:
        hints = get_type_hints(cls, localns=dict(names), include_extras=True)
    except NameError as error:
        raise TypeError(f"{cls.__qualname__}: an annotation names what does not exist: {error}") from error
    return {name: hint for name, hint in hints.items() if get_origin(hint) is not ClassVar and hint is not ClassVar}


def _struct(cls: type, hints: Mapping[str, Any], name: str) -> Any:
    """The frozen struct that a plain class declares."""
    if cls.__bases__ != (object,):
        raise TypeError(f"apps.{name}: {cls.__qualname__} has base classes; an application's settings are one class")
    missing = [field for field in hints if field not in cls.__dict__]
    if missing:
        raise TypeError(f"apps.{name}.{missing[0]}: it has no default, and every field needs one")
    unsaid = [
        field
        for field, value in cls.__dict__.items()
        if field not in hints and not field.startswith("_") and not _is_method(value)
    ]
    if unsaid:
        raise TypeError(f"apps.{name}.{unsaid[0]}: it has no type: write {unsaid[0]}: TYPE = …")
    space = {key: value for key, value in cls.__dict__.items() if key not in ("__dict__", "__weakref__")}
    space |= {field: frozen(cls.__dict__[field]) for field in hints}
    space["__annotations__"] = hints
    space.pop("__annotate__", None)
    space.pop("__annotate_func__", None)
    meta: Any = type(msgspec.Struct)
    made = meta(cls.__name__, (_Settings,), space, frozen=True, kw_only=True)
    _rebind(cls, made, space)
    return made


def _defaults_of(struct: Any) -> Any:
    """The defaults of a struct's fields, without making one: its own checks may want more than defaults."""
    found = {
        field.name: field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
        for field in msgspec.structs.fields(struct)
    }
    return types.SimpleNamespace(**found)


def _is_method(value: object) -> bool:
    return callable(value) or isinstance(value, (property, classmethod, staticmethod, functools.cached_property))


def _rebind(old: type, new: type, space: Mapping[str, Any]) -> None:
    """Lets `super()` and `__class__` in methods mean the new class."""
    for value in space.values():
        for part in (value, getattr(value, "__func__", None), getattr(value, "fget", None)):
            for cell in getattr(part, "__closure__", None) or ():
                if isinstance(cell, types.CellType) and _content(cell) is old:
                    cell.cell_contents = new


def _content(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # empty
        return None


class _Settings(Frozen, frozen=True, kw_only=True):
    """What every application's struct is. No password in an address is part of its `repr`."""

    def __repr__(self) -> str:
        shown = (f"{name}={without_password(repr(getattr(self, name)))}" for name in self.__struct_fields__)
        return f"{type(self).__name__}({', '.join(shown)})"


class _Builder:
    """Walks a class: gathers settings and defaults. Every refusal is a `TypeError` that names the key."""

    def __init__(self, local: Mapping[str, Any]) -> None:
        self.settings: list[Setting] = []
        self.defaults: dict[str, Any] = {}
        self.below: dict[str, Mapping[str, Any]] = {}
        self._local = local

    def struct(
        self, key: str, cls: type, hints: Mapping[str, Any], above: Declared, default: Any, way: tuple[type, ...],
        *, optional: bool = False,
    ) -> StructNode:  # fmt: skip
        if cls in way:
            raise TypeError(f"{key}: {cls.__qualname__} contains itself: a configuration cannot be recursive")
        fields: list[tuple[str, Node]] = []
        for name, annotation in hints.items():
            if not _FIELD.fullmatch(name):
                raise TypeError(f"{key}.{name}: a field's name is ASCII letters, digits and _, a letter first")
            value = getattr(default, name) if default is not None else None
            has_default = default is not None
            fields.append((name, self._field(f"{key}.{name}", annotation, above, value, (*way, cls), has_default)))
        self._check_bound(key, {name for name, _ in fields})
        return StructNode(cls, tuple(fields), optional)

    def _check_bound(self, key: str, names: set[str]) -> None:
        for one in self.settings:
            if one.bound_to and one.key.rpartition(".")[0] == key:
                for beside in one.bound_to:
                    if beside.rpartition(".")[2] not in names:
                        raise TypeError(f"{one.key}: it is bound to {beside}, which is no field beside it")

    def _field(
        self, key: str, annotation: Any, above: Declared, default: Any, way: tuple[type, ...], has_default: bool
    ) -> Node:  # fmt: skip
        taken = parts(annotation)
        said = [one for one in taken.metadata if isinstance(one, Declared)]
        declared = _inherited(said[0] if said else Declared(), above)
        limits = limits_of([*taken.metadata, *(one.limits for one in said)])
        try:
            kind = kind_of(taken.type, limits)
        except (TypeError, re.error) as error:
            raise TypeError(f"{key}: {error}") from error
        if kind is not None:
            return self._leaf(key, kind, declared, default, has_default, nullable=taken.nullable)
        return self._section(key, taken.type, declared, limits, default, way, has_default, taken.nullable)

    def _section(
        self, key: str, annotation: Any, declared: Declared, limits: Limits, default: Any, way: tuple[type, ...],
        has_default: bool, optional: bool,
    ) -> Node:  # fmt: skip
        if limits.names() or declared.variable or declared.bound_to:
            raise TypeError(f"{key}: constraints, variables and bound_to are for the fields below it")
        declared = msgspec.structs.replace(declared, doc="")
        if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
            self._check_struct(key, annotation)
            hints = _hints(annotation, self._local)
            before, self.defaults = self.defaults, {}
            node = self.struct(key, annotation, hints, declared, _defaults_of(annotation), way, optional=optional)
            own, self.defaults = self.defaults, before
            if optional or NAME in key.rpartition(".")[2]:
                self.below[key] = own
            if key in self.below:
                self._mark(key, declared, free=False, nullable=optional)
            if has_default:
                self.defaults |= {key: None} if default is None else {**own, **dict(_leaves(key, default))}
            return node
        if get_origin(annotation) in (dict, Mapping) and len(get_args(annotation)) == 2:
            return self._names_node(key, annotation, declared, default, way, has_default, optional)
        what = getattr(annotation, "__name__", annotation)
        raise TypeError(
            f"{key}: a configuration cannot hold {what}; it holds bool, int, float, str, Literal, Secret, lists and "
            "dict[str, …] of these, frozen msgspec structs of these, and None beside them"
        )

    def _names_node(
        self, key: str, annotation: Any, declared: Declared, default: Any, way: tuple[type, ...],
        has_default: bool, optional: bool,
    ) -> NamesNode:  # fmt: skip
        names, values = get_args(annotation)
        if names is not str:
            raise TypeError(f"{key}: a mapping's names are str, not {names}")
        item = self._field(f"{key}.{NAME}", values, declared, None, way, has_default=False)
        self._mark(key, declared, free=True, nullable=optional)
        if has_default and not default:
            self.defaults[key] = None if default is None else FrozenDict()
        for name, value in (default or {}).items():
            for leaf, part in _leaves(f"{key}.{name}", value):
                self.defaults[leaf] = part
        return NamesNode(item, optional)

    def _mark(self, key: str, declared: Declared, *, free: bool, nullable: bool = True) -> None:
        """The setting that a section is by itself: for null, and for a mapping without names."""
        self.settings.append(_setting(key, MappingType(free), declared, nullable=nullable))

    def _check_struct(self, key: str, cls: type) -> None:
        config = cls.__struct_config__  # type: ignore[attr-defined]
        if not config.frozen:
            raise TypeError(
                f"{key}: {cls.__qualname__} can be changed: write class {cls.__name__}(msgspec.Struct, frozen=True)"
            )
        if config.tag is not None or cls.__struct_encode_fields__ != cls.__struct_fields__:  # type: ignore[attr-defined]
            raise TypeError(f"{key}: {cls.__qualname__} has a tag or renamed fields")
        required = len(cls.__struct_fields__) - len(cls.__struct_defaults__)  # type: ignore[attr-defined]
        bare = [
            name
            for name, value in zip(reversed(cls.__struct_fields__), reversed(cls.__struct_defaults__), strict=False)  # type: ignore[attr-defined]
            if value is msgspec.NODEFAULT
        ]
        if required or bare:
            name = bare[0] if bare else cls.__struct_fields__[0]  # type: ignore[attr-defined]
            raise TypeError(f"{key}.{name}: it has no default, and every field needs one")

    def _leaf(
        self, key: str, kind: Any, declared: Declared, default: Any, has_default: bool, *, nullable: bool
    ) -> Setting:
        made = _setting(key, kind, declared, nullable=nullable)
        if made.variable is not None and NAME in key:
            raise TypeError(f"{key}: a variable sets one key, and here are many")
        if made.variable is not None and made.variable in BUILT_IN.variables:
            raise TypeError(f"{key}: {made.variable} is the variable of {BUILT_IN.variables[made.variable].key}")
        if made.bound_to and not made.is_secret:
            raise TypeError(f"{key}: only a Secret is bound to an address")
        if any(one.variable == made.variable for one in self.settings if made.variable is not None):
            raise TypeError(f"{key}: the variable {made.variable} is declared twice")
        self.settings.append(made)
        if has_default:
            try:
                self.defaults[key] = made.check(default, key)
            except InvalidValueError as fault:
                raise TypeError(f"the default of {fault.message}") from None
        return made


def _setting(key: str, kind: Any, declared: Declared, *, nullable: bool) -> Setting:
    is_secret = isinstance(kind, Credential) or isinstance(getattr(kind, "item", None), Credential)
    if declared.access == "secret" and not is_secret and not isinstance(kind, MappingType):
        raise TypeError(f"{key}: access is secret, so its type is Secret")
    section = key.rpartition(".")[0]
    return Setting(
        key=key,
        kind=kind,
        doc=declared.doc,
        variable=declared.variable,
        access="secret" if is_secret else declared.access or "protected",
        reload=declared.reload or "live",
        nullable=nullable,
        per_execution=bool(declared.per_execution),
        bound_to=tuple(f"{section}.{name}" for name in declared.bound_to),
    )


def _inherited(own: Declared, above: Declared) -> Declared:
    """What is said of a field, and of what it is in where the field says nothing."""
    return msgspec.structs.replace(
        own,
        access=own.access or above.access,
        reload=own.reload or above.reload,
        per_execution=own.per_execution if own.per_execution is not None else above.per_execution,
    )


def _leaves(key: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, msgspec.Struct):
        rows = [(name, getattr(value, name)) for name in value.__struct_fields__]
    elif isinstance(value, dict) and value:
        rows = list(value.items())
    else:
        return [(key, value)]
    return [leaf for name, part in rows for leaf in _leaves(f"{key}.{name}", part)]


def _check(made: App) -> None:
    """Every default is one that a file could give."""
    schema = Schema([*BUILT_IN.every(), *made.settings], {made.name: made})
    for key, value in made.defaults.items():
        found = schema.find(key)
        if found is None:
            raise TypeError(f"{key}: a mapping's names are letters, digits, _ and -, 64 at most")
        try:
            if not isinstance(found.kind, MappingType):
                found.check(value, key)
        except InvalidValueError as fault:
            raise TypeError(f"the default of {fault.message}") from None


__all__ = ["App", "NamesNode", "Secret", "StructNode", "app", "app_of", "schema_of", "setting", "with_defaults"]
