"""Converts a mapping that a program passes, dotted or nested, to entries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any

from ..core.problems import Problem, did_you_mean, quoted
from ..core.provenance import Entry, LayerName, Origin, placed
from ..core.secret import Secret
from ..settings.declarations import BUILT_IN, KEY_LISTS
from ..settings.interpolation import uninterpolated
from ..settings.packaged_providers import PROVIDER_NAME, packaged_providers
from ..settings.schema import NAME, UNREGISTERED, Schema, Setting
from ..settings.value_types import InvalidValueError
from .entries import ALIAS_NAME, MODEL, unknown_item

# The content of a mapping, flat: key, value, key, value, … in the settings' types. A Config keeps overrides in this
# form because it is small.
Pairs = tuple[Any, ...]
_NOTHING: Mapping[str, str] = {}
_NAMED_SECTIONS = ("apps.", "providers.")  # any name may be a section there
_REMARKABLE = frozenset({str, Secret, tuple})  # the types of values that may cause a warning


def from_mapping(
    given: Mapping[str, Any], layer: LayerName, place: Callable[[str], Origin], schema: Schema = BUILT_IN
) -> tuple[dict[str, Entry], list[Problem]]:
    """Entries of a mapping, dotted or nested (`{"llm": {"model": "fast"}}` or `{"llm.model": "fast"}`).

    `place` returns an entry's Origin by its key.
    """
    pairs, problems = read_pairs(given, layer, place, schema)
    return entries_of(pairs, place), problems


def entries_of(pairs: Pairs, place: Callable[[str], Origin]) -> dict[str, Entry]:
    """The entries of pairs."""
    keys = pairs[::2]
    return dict(zip(keys, map(placed, pairs[1::2], map(place, keys)), strict=True))


def read_pairs(
    given: Mapping[str, Any], layer: LayerName, place: Callable[[str], Origin], schema: Schema = BUILT_IN
) -> tuple[Pairs, list[Problem]]:
    """The checked pairs of a mapping, and every fault.

    In the execution layer an empty string counts as unset (a request's unset field), and only `llm.*` and keys that an
    application declares `per_execution` may be set.
    """
    if type(given) is not dict and not isinstance(given, Mapping):  # the first check is fast, and usually enough
        what = "an override" if layer == "execution" else layer
        raise TypeError(f"{what} must be a mapping such as {{'llm.model': 'fast'}}, not {type(given).__name__}")
    pairs: list[Any] = []
    problems: list[Problem] = []
    is_override = layer == "execution"
    settings = schema.per_execution if is_override else schema.settings
    for key, value in _flat(given, "", [], schema):
        if type(value) is str and not value and is_override:
            continue
        try:
            setting = settings.get(key)
            if setting is not None:
                checked = setting.check(value, key)
                pairs += key, checked
                if type(checked) in _REMARKABLE:
                    problems += _warnings(key, setting, checked, place, schema)
                continue
            setting = schema.find(key)
            if setting is None or (is_override and not setting.per_execution):
                problems.append(_not_settable(key, place(key), schema))
            elif key.startswith("aliases."):
                pairs += key, _alias_value(key, value, place(key))
            elif setting is UNREGISTERED:
                from .app_entries import given_leaves, masked  # imported late: most mappings have no applications

                pairs += chain(*((one, masked(one, part)) for one, part in given_leaves(key, value)))
            else:
                pairs += key, setting.check(value, key)
                problems += _warnings(key, setting, pairs[-1], place, schema)
        except InvalidValueError as fault:
            problems.append(fault.problem(key, place(key)))
    return tuple(pairs), problems


def _warnings(
    key: str, setting: Setting, value: Any, place: Callable[[str], Origin], schema: Schema
) -> Iterable[Problem]:
    """The problems of a value of the right type: text that looks like a reference, a list that names no key."""
    if key in KEY_LISTS:
        return filter(None, (unknown_item(key, name, place(key), schema) for name in value))
    warning = uninterpolated(setting, value, place(key), key)
    return (warning,) if warning is not None else ()


def _not_settable(key: str, origin: Origin, schema: Schema) -> Problem:
    """The fault of a key that does not exist, or that an override may not set."""
    if key and schema.is_section(key):
        names = [name for name in schema.children[schema.declared(key) or key] if name != NAME]
        message = "must hold keys: it is a section"
        hint = f"known keys: {', '.join(names)}" if names else f"for example {key}.fast"
        return Problem(code="not-a-mapping", key=key, message=message, hint=hint, origin=origin)
    setting = schema.find(key)
    if setting is not None:
        message = "an override sets llm.* only"
        if key.startswith("apps."):
            message = "an override does not set it: it is not declared per_execution=True"
        variable = f", in the variable {setting.variable}" if setting.variable else ""
        hint = f"set {key} in a file{variable} or by a flag"
    else:
        near = schema.suggest(key)
        message = "there is no such key"
        hint = f"did you mean {near}?" if near else "stigmer config schema lists the keys"
    return Problem(code="unknown-key", key=key, message=message, hint=hint, origin=origin)


def _flat(given: Mapping[str, Any], section: str, rows: list[tuple[str, Any]], schema: Schema) -> list[tuple[str, Any]]:
    children = schema.children.get(section, _NOTHING)
    for name, value in given.items():
        key = children.get(name)
        if key is None:
            key = f"{section}.{name}" if section else f"{name}"
            is_section = key in schema.children or (key.startswith(_NAMED_SECTIONS) and schema.is_section(key))
        else:
            is_section = key in schema.children
        if not is_section:
            rows.append((key, value))
        elif type(value) is dict or isinstance(value, Mapping):  # the first check is fast, and usually true
            found = len(rows)
            _flat(value, key, rows, schema)
            if found == len(rows) and schema.is_struct(schema.declared(key) or ""):  # it exists, with its defaults
                rows.append((key, {}))
        elif value is not None or _is_nullable(key, schema):  # another section that is null is empty
            rows.append((key, value))
    return rows


def _is_nullable(key: str, schema: Schema) -> bool:
    setting = schema.find(key)
    return setting is not None and setting.nullable


def _alias_value(key: str, value: Any, origin: Origin) -> Any:
    name = key.removeprefix("aliases.")
    if not ALIAS_NAME.fullmatch(name):
        raise InvalidValueError("unknown-key", f"{quoted(name)} is not an alias name", "for example aliases.fast")
    if not isinstance(value, Mapping) or not value:
        return MODEL.check(value, key)
    for provider in value:
        if not isinstance(provider, str) or not PROVIDER_NAME.fullmatch(provider):
            hint = did_you_mean(str(provider), packaged_providers(), f"providers: {', '.join(packaged_providers())}")
            raise InvalidValueError("unknown-alias-provider", f"there is no provider {quoted(provider)}", hint)
    return {provider: Entry(MODEL.check(target, f"{key}.{provider}"), origin) for provider, target in value.items()}
