"""A mapping given by a program, dotted or nested, as entries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..core.problems import Problem, did_you_mean, quoted
from ..core.provenance import Entry, LayerName, Origin, placed
from ..settings.declarations import CHILDREN, SETTINGS, children, find, suggest
from ..settings.providers import NAME, packaged_providers
from ..settings.value_types import InvalidValueError
from .entries import ALIAS_NAME, MODEL, lock_problem

# What a mapping gives, flat: key, value, key, value, … in the settings' types. Overrides are kept so: they must stay
# small.
Pairs = tuple[Any, ...]


_OVERRIDABLE = {key: setting for key, setting in SETTINGS.items() if key.startswith("llm.")}


def from_mapping(
    given: Mapping[str, Any], layer: LayerName, place: Callable[[str], Origin]
) -> tuple[dict[str, Entry], list[Problem]]:
    """Entries of a mapping, dotted or nested (`{"llm": {"model": "fast"}}` or `{"llm.model": "fast"}`).

    `place` gives an entry's Origin by its key.
    """
    pairs, problems = read_pairs(given, layer, place)
    return entries_of(pairs, place), problems


def entries_of(pairs: Pairs, place: Callable[[str], Origin]) -> dict[str, Entry]:
    """The entries of pairs."""
    keys = pairs[::2]
    return dict(zip(keys, map(placed, pairs[1::2], map(place, keys)), strict=True))


def read_pairs(
    given: Mapping[str, Any], layer: LayerName, place: Callable[[str], Origin]
) -> tuple[Pairs, list[Problem]]:
    """The checked pairs of a mapping, and every fault.

    In the execution layer an empty string counts as unset (a request's unset field), and only `llm.*` may be set.
    """
    pairs: list[Any] = []
    problems: list[Problem] = []
    is_override = layer == "execution"
    setting_of = _OVERRIDABLE.get if is_override else find
    for key, value in _flat(given, "", []):
        if is_override and type(value) is str and not value:
            continue
        setting = setting_of(key) if not key.startswith("aliases.") else None
        try:
            if setting is not None:
                pairs += key, setting.check(value, key)
                if key == "locked":
                    problems += filter(None, (lock_problem(name, place(key)) for name in pairs[-1]))
            elif key.startswith("aliases.") and not is_override:
                pairs += key, _alias_value(key, value, place(key))
            else:
                problems.append(_not_settable(key, place(key)))
        except InvalidValueError as fault:
            problems.append(fault.problem(key, place(key)))
    return tuple(pairs), problems


def _not_settable(key: str, origin: Origin) -> Problem:
    """The fault of a key that does not exist, or is none of those that an override may set."""
    if key and (key in CHILDREN or children(key)):
        message = f"{key} is a section: it must hold keys"
        hint = f"known keys: {', '.join(children(key))}" if children(key) else "for example aliases.fast"
        return Problem(code="not-a-mapping", key=key, message=message, hint=hint, origin=origin)
    if find(key) is not None:
        message = f"an override sets llm.* only, not {key}"
        hint = f"set {key} in a file, a variable or a flag"
    else:
        near = suggest(key)
        message = f"there is no key {quoted(key)}"
        hint = f"did you mean {near}?" if near else "stigmer config schema lists the keys"
    return Problem(code="unknown-key", key=key, message=message, hint=hint, origin=origin)


def _flat(given: Mapping[str, Any], prefix: str, rows: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    for name, value in given.items():
        key = f"{prefix}{name}"
        if key not in CHILDREN and not (prefix == "providers." and children(key)):
            rows.append((key, value))
        elif type(value) is dict or isinstance(value, Mapping):  # the first is the usual one, and quick
            _flat(value, f"{key}.", rows)
        elif value is not None:  # a section that is null is empty
            rows.append((key, value))
    return rows


def _alias_value(key: str, value: Any, origin: Origin) -> Any:
    name = key.removeprefix("aliases.")
    if not ALIAS_NAME.fullmatch(name):
        raise InvalidValueError("unknown-key", f"{quoted(name)} is not an alias name", "for example aliases.fast")
    if not isinstance(value, Mapping) or not value:
        return MODEL.check(value, key)
    for provider in value:
        if not isinstance(provider, str) or not NAME.fullmatch(provider):
            hint = did_you_mean(str(provider), packaged_providers(), f"providers: {', '.join(packaged_providers())}")
            raise InvalidValueError("unknown-alias-provider", f"there is no provider {quoted(provider)}", hint)
    return {provider: Entry(MODEL.check(target, f"{key}.{provider}"), origin) for provider, target in value.items()}
