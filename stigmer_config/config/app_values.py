"""The applications' part of a Config: the effective value of each key, and each application's struct."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from ..core.problems import Problem
from ..core.provenance import Entry, Origin
from ..core.secret import Secret, password_in, without_password
from ..settings.declarations import BUILT_IN
from ..settings.frozen import Frozen, FrozenDict
from ..settings.schema import Schema
from .structs import CheckError, made, nested

if TYPE_CHECKING:
    from ..settings.apps import App

FAILED_CHECK = "failed-check"
_LONGEST = 400  # the most characters of an application's own message


class Applications(Frozen, frozen=True, eq=False):
    """The values of registered applications, and the keys below `apps` of others.

    `values` has the effective value of every key of a registered application; an empty mapping and a section that is
    None count as values. `structs` has the structs that `Config.app` returns, without those that their own check
    refused. Two objects are equal when their values are.
    """

    schema: Schema = BUILT_IN
    values: Mapping[str, Any] = {}
    structs: Mapping[type, Any] = {}
    unregistered: Mapping[str, Any] = {}
    passwords: tuple[Secret, ...] = ()  # passwords in addresses: kept alive, so that the log masks them

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Applications) and (self is other or self.values == other.values)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(frozenset(self.values.items()))

    def value(self, key: str) -> Any:
        """The value of a key, or of a mapping as a whole; None when it is not set. Raises `KeyError`."""
        if key in self.values:
            return self.values[key]
        if key in self.unregistered:
            return self.unregistered[key]
        if self.schema.find(key) is None:
            raise KeyError(key)
        below = {name: value for name, value in self.values.items() if name.startswith(f"{key}.")}
        return nested(below, f"{key}.") if below else None


NONE = Applications()


def applications(
    schema: Schema, values: Mapping[str, Any], winners: Mapping[str, Entry]
) -> tuple[Applications, list[Problem]]:
    """The applications' values and structs of merged values, and the faults that the applications' own checks found."""
    below = {key: value for key, value in values.items() if key.startswith("apps.")}
    if not below and not schema.apps:
        return NONE, []
    mine: dict[str, Any] = {}
    structs: dict[type, Any] = {}
    problems: list[Problem] = []
    for app in schema.apps.values():
        own = {key: value for key, value in below.items() if key.startswith(f"{app.key}.")}
        mine |= own
        try:
            structs[app.cls] = made(app.root, app.key, nested(own, f"{app.key}."))
        except CheckError as error:
            problems.append(_problem(app, error, winners))
    others = {key: value for key, value in below.items() if schema.is_unregistered(key)}
    return Applications(schema, mine, structs, others, tuple(_passwords(mine))), problems


def with_values(before: Applications, changes: Mapping[str, Any]) -> tuple[Applications, list[Problem]]:
    """A copy with an override's values."""
    values = {**before.values, **before.unregistered}
    for key, value in changes.items():
        for other in [one for one in values if one.startswith(f"{key}.") or key.startswith(f"{one}.")]:
            del values[other]  # when a key has a mapping and None, the newer one counts
        values[key] = value
    origins = {key: Entry(value, Origin("execution", f"override[{key}]")) for key, value in changes.items()}
    missing, marks = completed(before.schema, values)
    values = {key: value for key, value in values.items() if key not in marks}
    values |= {key: entry.value for key, entry in missing.items()}
    return applications(before.schema, values, origins)


def completed(schema: Schema, values: Mapping[str, Any]) -> tuple[dict[str, Entry], set[str]]:
    """Fills in the defaults of structs that exist, and drops the marks that are no longer needed.

    A nullable struct, or a mapping's item, exists once one of its keys is set, or by `{}`.
    """
    missing: dict[str, Entry] = {}
    marks: set[str] = set()
    sections = {section for key in values for section in _sections(key)}
    marked = {key for key, value in values.items() if isinstance(value, FrozenDict) and not value}
    for section in (*sections, *marked):
        app = schema.apps.get(section.split(".")[1])
        declared = (schema.declared(section) or "") if app is not None and app.below else ""
        if app is None or declared not in app.below:
            continue
        marks.add(section)
        for leaf, value in app.below[declared].items():
            actual = section + leaf.removeprefix(declared)
            if actual not in values and actual not in sections:
                missing[actual] = Entry(value, Origin("defaults", app.source))
    return missing, marks & values.keys()


def _sections(key: str) -> Iterator[str]:
    """The sections above a key, from the application's section down."""
    parts = key.split(".")
    return (".".join(parts[:depth]) for depth in range(3, len(parts)))


def _problem(app: App, failed: CheckError, winners: Mapping[str, Entry]) -> Problem:
    """The fault of a section, at the place of its highest value, which is the one to change."""
    message = f"the check of {app.source} raised {type(failed.error).__name__}"
    if isinstance(failed.error, ValueError):
        from ..secrets.redaction import spellings, without_secrets

        try:
            text = without_password(str(without_secrets(str(failed.error), spellings())))
        except Exception:  # noqa: BLE001 - an exception of an application's own
            text = ""
        message = text[:_LONGEST] or message
    origins = [entry.origin for key, entry in winners.items() if key.startswith(f"{failed.key}.")]
    written = [origin for origin in origins if origin.layer != "defaults"]
    origin = max(written, key=lambda one: _RANKS[one.layer]) if written else origins[-1] if origins else None
    hint = f"{app.source} checks its settings together: see stigmer config show {failed.key}"
    return Problem(code=FAILED_CHECK, key=failed.key, message=message, hint=hint, origin=origin)


_LAYERS = ("defaults", "vendor", "site", "etcd", "user", "project", "env", "flags", "execution")
_RANKS = {name: rank for rank, name in enumerate(_LAYERS)}


def _passwords(values: Mapping[str, Any]) -> Iterator[Secret]:
    for value in values.values():
        texts = cast("Sequence[Any]", value) if isinstance(value, list) else (value,)
        for text in texts:
            password = password_in(text) if isinstance(text, str) else None
            if password is not None:
                yield Secret(password)


def hidden(winners: Mapping[str, Entry], order: Mapping[str, int]) -> set[str]:
    """The keys below `apps` that are hidden: of a mapping and another value at one key, the higher layer's counts.

    `order` maps each layer's name to its rank.
    """
    found: set[str] = set()
    for key, entry in winners.items():
        parts = key.split(".")
        for depth in range(2, len(parts)):
            parent = ".".join(parts[:depth])
            above = winners.get(parent)
            if above is None:
                continue
            is_empty = isinstance(above.value, FrozenDict) and not above.value
            if not is_empty and order[above.origin.layer] > order[entry.origin.layer]:
                found.add(key)
            else:
                found.add(parent)
    return found


__all__ = ["FAILED_CHECK", "NONE", "Applications", "applications", "completed", "hidden", "with_values"]
