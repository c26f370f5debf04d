"""A mapping given by a program, dotted or nested, as entries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..core.problems import Problem, did_you_mean, quoted
from ..core.provenance import Entry, LayerName, Origin
from ..core.secret import Secret
from ..settings.declarations import CHILDREN, SETTINGS, suggest
from ..settings.interpolation import uninterpolated
from ..settings.value_types import PROVIDERS, InvalidValueError
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
    return dict(zip(keys, map(Entry, pairs[1::2], map(place, keys)), strict=True))


def read_pairs(
    given: Mapping[str, Any], layer: LayerName, place: Callable[[str], Origin]
) -> tuple[Pairs, list[Problem]]:
    """The checked pairs of a mapping, and every fault.

    In the execution layer an empty string counts as unset (a request's unset field), and only `llm.*` may be set.
    """
    pairs: list[Any] = []
    problems: list[Problem] = []
    is_override = layer == "execution"
    settings = _OVERRIDABLE if is_override else SETTINGS
    for key, value in _flat(given, "", []):
        if is_override and type(value) is str and not value:
            continue
        setting = settings.get(key)
        try:
            if setting is not None:
                pairs += key, setting.check(value, key)
                if type(pairs[-1]) in (str, Secret):
                    warning = uninterpolated(setting, pairs[-1], place(key), key)
                    problems += (warning,) if warning else ()
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
    if key and key in CHILDREN:
        message = f"{key} is a section: it must hold keys"
        hint = f"known keys: {', '.join(CHILDREN[key])}" if CHILDREN[key] else "for example aliases.fast"
        return Problem(code="not-a-mapping", key=key, message=message, hint=hint, origin=origin)
    if key in SETTINGS or key.startswith("aliases."):
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
        if key not in CHILDREN:
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
        if provider not in PROVIDERS:
            hint = did_you_mean(str(provider), PROVIDERS, f"providers: {', '.join(PROVIDERS)}")
            raise InvalidValueError("unknown-alias-provider", f"there is no provider {quoted(provider)}", hint)
    return {provider: Entry(MODEL.check(target, f"{key}.{provider}"), origin) for provider, target in value.items()}
