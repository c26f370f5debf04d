"""The effects of enforced keys: what must stay besides the key's own value, and how it is measured in a layer stack."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from ..core.provenance import plain_value
from ..llm.declared_providers import provider_of
from ..llm.fallbacks import resolve_with_fallbacks
from ..llm.provider_selection import ProviderSelection
from ..settings.declarations import MERGED_FIELDS

_CREDENTIALS = ("api_key", "headers")


class Effect(NamedTuple):
    """One thing that an enforced key decides.

    | kind | name | value |
    |---|---|---|
    | `llm` | a key | the effective value; of the model also what it resolves to, of the key where it is sent |
    | `provider` | `providers.<p>.<field>` | what that provider uses, whichever is in force |
    | `address` | a provider | where its credentials are sent |
    | `alias` | an alias's key | the model that it means, by provider |
    """

    kind: Literal["llm", "provider", "address", "alias"]
    name: str


def effects_of(key: str) -> tuple[Effect, ...]:
    """The effects of an enforced key."""
    if key in ("llm.model", "llm.provider"):
        return Effect("llm", key), Effect("llm", "llm.fallbacks")
    if key.startswith("llm."):
        return (Effect("llm", key),)
    if key.startswith("aliases."):
        return (Effect("alias", key),)
    if key.startswith("providers."):
        provider, field = provider_of(key)
        sent = (Effect("address", provider),) if field in _CREDENTIALS else ()
        return Effect("provider", key), *sent
    return ()


def measured(effects: Iterable[Effect], selection: ProviderSelection, today: datetime.date) -> dict[Effect, Any]:
    """The values of some effects in a selection. Reads no secret."""
    effects = tuple(effects)
    llm = [effect.name for effect in effects if effect.kind == "llm"]
    effective = _effective(selection, llm, today) if llm else {}
    found: dict[Effect, Any] = {}
    for effect in effects:
        match effect.kind:
            case "llm":
                found[effect] = effective[effect.name]
            case "provider":
                found[effect] = _used(selection, *provider_of(effect.name))
            case "address":
                found[effect] = selection.endpoint(effect.name)
            case "alias":
                found[effect] = _meaning(selection, effect.name.removeprefix("aliases."))
    return found


def changed(expected: Mapping[Effect, Any], found: Mapping[Effect, Any]) -> Iterator[Effect]:
    """The effects whose value is not the expected one. What an alias is for providers that are new does not count."""
    for effect, value in found.items():
        wanted = expected[effect]
        if wanted != value and not (effect.kind == "alias" and wanted.items() <= value.items()):
            yield effect


def leaves(expected: Any, value: Any) -> bool:
    """Whether a higher layer's value leaves an expected one as it is: the same, or a mapping with nothing new."""
    if isinstance(expected, dict) and isinstance(value, dict):
        return expected | value == expected
    return bool(expected == value)


def _effective(selection: ProviderSelection, keys: Iterable[str], today: datetime.date) -> dict[str, Any]:
    """The effective values of some `llm` keys."""
    resolved = resolve_with_fallbacks(selection, today, opener=None)
    llm, key = resolved.llm, resolved.entries.get("api_key")
    found: dict[str, Any] = {}
    for name in keys:
        match name.removeprefix("llm."):
            case "model":
                found[name] = (llm.provider, llm.model, llm.model_name, llm.model_id)
            case "api_key":
                sent_to = selection.endpoint(selection.provider)
                found[name] = (key.value if key is not None else None, llm.provider, sent_to)
            case "fallbacks":
                models = llm.fallbacks
                found[name] = tuple((one.model, one.provider, one.model_name, one.model_id) for one in models)
            case field:
                found[name] = getattr(llm, field)
    return found


def _used(selection: ProviderSelection, provider: str, field: str) -> Any:
    """What a provider uses for a field: its own value, or one under `llm` that belongs to it."""
    if field == "api_key":
        candidates = selection.credentials(provider)
        return candidates[-1].entry.value if candidates else None
    entry = selection.of(provider).get(field)
    if entry is None:
        return None
    value = plain_value(entry)
    if field in MERGED_FIELDS:
        return {name: part for name, part in (value or {}).items() if part is not None}
    return value


def _meaning(selection: ProviderSelection, alias: str) -> dict[str, Any]:
    """The model that an alias means for each provider."""
    ends = {provider: selection.names.expand(alias, provider) for provider in selection.names.providers}
    return {provider: (end.prefix, end.name) for provider, end in ends.items()}
