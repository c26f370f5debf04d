"""The settings that one load knows, by key: the built-in ones and those of registered applications."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from .packaged_providers import PROVIDER_NAME
from .value_types import InvalidValueError, ValueType

if TYPE_CHECKING:
    from .apps import App

Access = Literal["open", "protected", "secret", "forbidden"]
Reload = Literal["live", "restart"]

NAME = "<name>"  # placeholder in a declared key: any name may be here
FREE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NEAR = 0.72  # the least similarity at which one key is suggested for another
_SWAPPED = 0.9  # the similarity of two names with the same letters in another order
_NEAR_PART = 0.6  # the similarity when one name is a part of the other


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """The declaration of one key.

    `access`: which layers may set it. `open`: any; `protected`: no untrusted project file; `secret`: no project file,
    masked everywhere; `forbidden`: no project file. `reload`: whether a running worker applies a change (`live`) or
    must restart for it. `nullable`: whether `null` is allowed. `per_execution`: whether an override may set it.
    `bound_to`: for a secret, the keys that determine where it is sent. `fallback_variable`: another program's variable
    for the same setting, used when `variable` is not set.
    """

    key: str
    value_type: ValueType
    doc: str
    variable: str | None = None
    fallback_variable: str | None = None
    access: Access
    reload: Reload
    nullable: bool = False
    per_execution: bool = False
    bound_to: tuple[str, ...] = ()

    @property
    def is_secret(self) -> bool:
        return self.access == "secret"

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables that set it, the first that is set counts."""
        return tuple(name for name in (self.variable, self.fallback_variable) if name)

    def check(self, value: Any, what: str) -> Any:
        """Converts `value` (from YAML or Python) to this setting's type. Raises `InvalidValueError`."""
        if value is None:
            if self.nullable:
                return None
            raise self.value_type.wrong_type(None, what, "remove the line to take the value of a lower layer")
        try:
            return self.value_type.check(value, what)
        except InvalidValueError as fault:
            raise self._with_hint(fault, value) from None

    def parse(self, text: str, what: str) -> Any:
        """Parses `text` (from a variable or a command line) as this setting's type. Raises `InvalidValueError`."""
        try:
            return self.value_type.parse(text, what)
        except InvalidValueError as fault:
            raise self._with_hint(fault, text) from None

    def _with_hint(self, fault: InvalidValueError, value: Any) -> InvalidValueError:
        """The fault, with a hint if its type gives none: `null` for another word for it, else the expected values."""
        from .near_misses import is_no_value  # imported late: only messages need it

        if self.nullable and not self.is_secret and is_no_value(-1 if value == "-1" else value):
            fault.hint = "write null for none"
        elif not fault.hint and fault.code == "wrong-type" and self.value_type.takes != self.value_type.expects:
            fault.hint = f"write {self.value_type.takes}"
        return fault


class Anything(ValueType, frozen=True):
    """The type of values of an unregistered application: only that application knows the real type."""

    @property
    def expects(self) -> str:
        return "whatever its application takes"

    def check(self, value: Any, what: str) -> Any:
        del what
        return value


# The declaration of each key below `apps.<name>` when that application is not registered.
UNREGISTERED = Setting(
    key="apps.<name>",
    value_type=Anything(),
    doc="A setting of an application that is not registered here.",
    access="open",
    reload="live",
    nullable=True,
)


class Schema:
    """An immutable set of settings.

    `settings` are those with a fixed key, `named` those with a free name in the key (`aliases.<name>`), `variables` all
    by their variables, `apps` the registered applications by name. `per_execution` are the settings with a fixed key
    that an override may set. `children` maps each section to the names in it
    and their keys; a free name is `<name>` there.
    """

    def __init__(self, settings: Iterable[Setting], apps: Mapping[str, App] | None = None) -> None:
        self.apps: Mapping[str, App] = apps or {}
        declared = {setting.key: setting for setting in settings}
        self.settings: Mapping[str, Setting] = {key: one for key, one in declared.items() if NAME not in key}
        self.named: Mapping[str, Setting] = {key: one for key, one in declared.items() if NAME in key}
        self.per_execution: Mapping[str, Setting] = {
            key: one for key, one in self.settings.items() if one.per_execution
        }
        self.variables: Mapping[str, Setting] = {one.variable: one for one in declared.values() if one.variable}
        self.children: Mapping[str, Mapping[str, str]] = _children(declared)

    def every(self) -> tuple[Setting, ...]:
        """All settings."""
        return (*self.settings.values(), *self.named.values())

    def find(self, key: str) -> Setting | None:
        """The setting of `key`, or None. Each `aliases.<name>` has one, and each key of an unregistered application."""
        setting = self.settings.get(key)
        if setting is not None:
            return setting
        declared = self.declared(key)
        if declared is not None:
            return self.settings.get(declared) or self.named.get(declared)
        return UNREGISTERED if self.is_unregistered(key) else None

    def is_section(self, key: str) -> bool:
        """Whether `key` is a section: the top (""), one with fixed keys, or one with free names."""
        return key in self.children or self.declared(key) in self.children

    def is_struct(self, declared: str) -> bool:
        """Whether a declared section is an optional struct: one that may be None, or a mapping's item."""
        return any(declared in app.below for app in self.apps.values())

    def is_unregistered(self, key: str) -> bool:
        """Whether `key` is below an application that is not registered."""
        section, _, rest = key.partition(".")
        return section == "apps" and bool(rest) and rest.partition(".")[0] not in self.children["apps"]

    def declared(self, key: str) -> str | None:
        """The declared form of a key or section, with `<name>` for a free name; None when it does not exist."""
        if key in self.settings or key in self.children:
            return key
        if key.startswith("aliases."):  # its name may contain dots
            return f"aliases.{NAME}"
        return _declared(self, key)

    def child(self, section: str, name: str) -> str | None:
        """The declared key of `name` in a declared section; None when there is none."""
        children = self.children.get(section, {})
        found = children.get(name)
        if found is not None:
            return found
        pattern = PROVIDER_NAME if section == "providers" else FREE_NAME
        return children[NAME] if NAME in children and pattern.fullmatch(name) else None

    @functools.cached_property
    def secret_names(self) -> frozenset[str]:
        """The last parts of all secrets' keys."""
        secrets = (one.key.removesuffix(f".{NAME}") for one in self.every() if one.is_secret)
        return frozenset(key.rpartition(".")[2] for key in secrets)

    @functools.cached_property
    def known_names(self) -> frozenset[str]:
        """The parts of all keys and sections."""
        return frozenset(name for children in self.children.values() for name in children)

    def suggest(self, key: str) -> str | None:
        """The known key nearest to `key`, by its last part; a sibling is nearer than an equally similar key elsewhere.

        At the top level the section may have been forgotten: there a key elsewhere is nearly as near.
        """
        from difflib import SequenceMatcher  # imported late: only messages need it

        dotted = key.lower().replace("_", ".", 1)
        if dotted in self.settings:
            return dotted
        section, _, name = key.rpartition(".")
        siblings = self.children.get(self.declared(section) or section, {})
        elsewhere = 0.2 if section else 0.1
        near: dict[str, float] = {}
        keys = (one for one in self.settings if not one.startswith("providers."))
        for known in [*siblings.values(), *keys, *(one for one in self.children if NAME not in one)]:
            last = known.rpartition(".")[2]
            matcher = SequenceMatcher(None, name.lower(), last)
            if matcher.real_quick_ratio() < _NEAR_PART or matcher.quick_ratio() < _NEAR_PART:
                continue  # upper bounds of the ratio, at a fraction of the cost
            ratio = matcher.ratio()
            if sorted(name.lower()) == sorted(last):
                ratio = max(ratio, _SWAPPED)
            near[known] = max(near.get(known, 0.0), ratio - (0.0 if siblings.get(last) == known else elsewhere))
        if not near:
            return None
        best = max(near, key=lambda known: (near[known], known.startswith("llm.")))
        last = best.rpartition(".")[2]
        is_part = name.lower() in last or last in name.lower()
        return best if near[best] >= (_NEAR_PART if is_part else _NEAR) else None


@functools.lru_cache(maxsize=4096)  # each Config that is shown needs the same keys of providers and applications
def _declared(schema: Schema, key: str) -> str | None:
    found: str | None = ""
    for name in key.split("."):
        found = schema.child(found or "", name)
        if found is None:
            return None
    return found


def _children(declared: Iterable[str]) -> dict[str, dict[str, str]]:
    children: dict[str, dict[str, str]] = {"": {}}
    for key in declared:
        parts = key.split(".") if not key.startswith("aliases.") else ["aliases", ""]  # every name is allowed
        for depth, name in enumerate(parts):
            parent = ".".join(parts[:depth])
            below = children.setdefault(parent, {})
            if name:
                below[name] = ".".join(parts[: depth + 1])
    children[""].setdefault("apps", "apps")
    children.setdefault("apps", {})
    return children
