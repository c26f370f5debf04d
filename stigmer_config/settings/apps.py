"""The settings of applications: `@app`, and their declarations and defaults for a load."""

from __future__ import annotations

import functools
import re
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast, dataclass_transform

import msgspec

from ..core.provenance import Entry, Layer, Origin
from ..core.secret import without_password
from .annotations import Declaration, setting
from .builder import Builder, StructNode, defaults_of, hints_of
from .collection_types import MappingType
from .declarations import BUILT_IN
from .frozen import Frozen, frozen
from .schema import Schema, Setting
from .value_types import InvalidValueError

T = TypeVar("T")

_APP_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_APP = "__stigmer_app__"


class App(msgspec.Struct, frozen=True, eq=False):
    """One application: its settings, its defaults by key, and the structure of its class.

    `source` is the name of its class, which is the origin of its defaults. `below` has, for each optional struct and
    each item of a mapping (`<name>`), the defaults that apply once a key in it is set.
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
    """Declares a class as the settings of the application `name`, and makes it a frozen, keyword-only msgspec struct.

    Its keys are `apps.<name>.<field>`. Every field needs a type and a default. Raises `TypeError` for a type that a
    configuration cannot hold, and for a default that does not fit its own field.
    """
    if not isinstance(name, str) or not _APP_NAME.fullmatch(name):
        raise TypeError(f"an application's name is lowercase letters, digits, _ and -, 64 at most, not {name!r}")

    def declare(cls: type[T]) -> type[T]:
        caller = sys._getframe(1)  # noqa: SLF001 - annotations in a function may use its names
        local = caller.f_locals if caller.f_locals is not caller.f_globals else {}
        struct = _struct(cls, hints_of(cls, local), name)
        builder = Builder(local)
        root = builder.struct(f"apps.{name}", struct, Declaration(), defaults_of(struct))
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
    """The built-in settings and those of these classes. Raises `TypeError` if two applications have the same name."""
    classes = tuple(apps)
    return _schema(classes) if classes else BUILT_IN


@functools.lru_cache(maxsize=32)
def _schema(classes: tuple[type, ...]) -> Schema:
    apps: dict[str, App] = {}
    for cls in classes:
        found = app_of(cls)
        if apps.setdefault(found.name, found) is not found:
            raise TypeError(f"two applications are named {found.name}: {apps[found.name].source} and {found.source}")
    settings = [one for found in apps.values() for one in found.settings]
    _check_variables(settings)
    return Schema([*BUILT_IN.every(), *settings], apps)


def with_defaults(layer: Layer, schema: Schema) -> Layer:
    """The layer of the packaged defaults, with the applications' defaults added."""
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


def _struct(cls: type, hints: Mapping[str, Any], name: str) -> Any:
    """The frozen struct with the fields and methods of a plain class."""
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


def _is_method(value: object) -> bool:
    return callable(value) or isinstance(value, (property, classmethod, staticmethod, functools.cached_property))


def _rebind(old: type, new: type, space: Mapping[str, Any]) -> None:
    """Makes `super()` and `__class__` in methods refer to the new class."""
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
    """The base class of every application's struct. Its `repr` masks passwords in addresses."""

    def __repr__(self) -> str:
        shown = (f"{name}={without_password(repr(getattr(self, name)))}" for name in self.__struct_fields__)
        return f"{type(self).__name__}({', '.join(shown)})"


def _check_variables(settings: Iterable[Setting]) -> None:
    """Raises `TypeError` if a variable is declared for two keys."""
    owners = {name: one.key for one in BUILT_IN.every() for name in one.variables}
    for one in settings:
        for name in one.variables:
            owner = owners.setdefault(name, one.key)
            if owner != one.key:
                raise TypeError(f"{one.key}: {name} is the variable of {owner}")


def _check(made: App) -> None:
    """Raises `TypeError` for a default that a file could not contain, and for a variable of another key."""
    _check_variables(made.settings)
    schema = Schema([*BUILT_IN.every(), *made.settings], {made.name: made})
    for key, value in made.defaults.items():
        found = schema.find(key)
        if found is None:
            raise TypeError(f"{key}: a mapping's names are letters, digits, _ and -, 64 at most")
        try:
            if not isinstance(found.value_type, MappingType):
                found.check(value, key)
        except InvalidValueError as fault:
            raise TypeError(f"the default of {fault.message}") from None


__all__ = ["App", "app", "app_of", "schema_of", "setting", "with_defaults"]
