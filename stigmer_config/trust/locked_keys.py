"""The keys and sections that `locked` lists: no project, trusted or not, can change their effective value."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Iterable
from typing import Any

from ..core.provenance import Entry, Layer, Origin, alias_targets, plain_value
from ..llm.combined_layers import CombinedLayers
from ..llm.declared_providers import provider_of
from ..llm.provider_selection import ProviderSelection
from ..llm.resolve import resolve
from ..settings.declarations import BUILT_IN, CORE_PROVIDERS, LLM_FIELDS
from ..settings.schema import Schema

_FIELDS = ("provider", *LLM_FIELDS)
# Keys whose lock also locks the key.
_LOCKING = {"llm.fallbacks": ("llm.model", "llm.provider")}


@functools.lru_cache(maxsize=64)
def _switch(provider: str) -> Layer:
    """An override that chooses a provider: locked values must not change then either."""
    entry = Entry(provider, Origin("execution", "override"))
    return Layer("execution", "override", "loaded", {"llm.provider": entry})


def _switches(selection: ProviderSelection) -> Iterable[Layer]:
    """Overrides to the three providers, and to each provider with more settings than its address."""
    said = {provider for layer in selection.layers if layer.name != "defaults" for provider in _mentioned(layer)}
    return map(_switch, (*CORE_PROVIDERS, *sorted(said - {*CORE_PROVIDERS})))


def _mentioned(layer: Layer) -> Iterable[str]:
    for key, entry in layer.entries.items():
        provider, field = provider_of(key)
        if provider and field not in ("kind", "base_url", "api_key", "headers"):
            yield provider
        elif key.startswith("aliases."):
            yield from alias_targets(entry) or ()


class Locks:
    """The locks of the trusted layers, by their winning entries. `origin` is the place of the highest `locked` list."""

    def __init__(self, trusted: CombinedLayers, schema: Schema = BUILT_IN) -> None:
        entry = trusted.winners.get("locked")
        self._names: tuple[str, ...] = entry.value if entry is not None else ()
        self._of_apps = [name for name in self._names if name.startswith("apps.")]
        self._trusted, self._schema = trusted, schema
        self.origin = entry.origin if entry is not None else None

    @functools.cached_property
    def _present(self) -> frozenset[str]:
        from .app_keys import present_sections  # imported late: few lists name an application's key

        return present_sections(self._trusted.winners, self._trusted.layers, self._schema)

    def on(self, key: str) -> str | None:
        """The lock that covers a key: its own, that of a section it is in, or of what an application's key changes."""
        keys = (key, *_LOCKING.get(key, ()))
        found = next((name for name in self._names for one in keys if one == name or one.startswith(f"{name}.")), None)
        if found is None and self._of_apps and key.startswith("apps."):
            from .app_keys import locked_by

            return locked_by(key, self._of_apps, self._present, self._schema)
        return found

    def watched(self) -> list[str]:
        """The locked keys whose effective values other keys can change."""
        if not any(name.startswith(("llm", "providers", "aliases")) for name in self._names):
            return []
        fields = [f"llm.{field}" for field in _FIELDS]
        models = [f"providers.{provider}.model" for provider in CORE_PROVIDERS]
        aliases = [name for name in self._names if name.startswith("aliases.")]
        return [*(key for key in (*fields, *models) if self.on(key)), *aliases]


def effective_values(combined: CombinedLayers, keys: list[str], today: datetime.date) -> dict[str, Any]:
    """The effective values of some watched keys, in a form to compare.

    Those of `llm` are computed as they are, and with each provider chosen by an override. For a model and for an alias
    they include the model it resolves to; for an API key they are the secret or its reference, unread.
    """
    fields = [key.removeprefix("llm.") for key in keys if key.startswith("llm.")]
    values = _llm_values(combined.selection, fields, today) if fields else {}
    for key in keys:
        if key.startswith("providers."):
            model = combined.winners.get(key)
            provider = key.split(".")[1]
            values[key] = model and (model.value, _meaning(combined, model.value, provider))
        elif key.startswith("aliases."):
            name = key.removeprefix("aliases.")
            values[key] = [_meaning(combined, name, provider) for provider in CORE_PROVIDERS]
    return values


def _meaning(combined: CombinedLayers, text: str, provider: str) -> tuple[str | None, str | None]:
    """The model that a string resolves to for a provider, and the prefix written before it."""
    expansion = combined.names.expand(text, provider)
    return expansion.prefix, expansion.name


def _llm_values(selection: ProviderSelection, fields: list[str], today: datetime.date) -> dict[str, Any]:
    values: dict[str, Any] = {f"llm.{field}": [] for field in fields}
    for switched in (selection, *map(selection.with_override, _switches(selection))):
        resolved = resolve(switched, today, opener=None)
        llm, key = resolved.llm, resolved.entries.get("api_key")
        whole = {
            "model": (llm.provider, llm.model, llm.model_name, llm.model_id),
            "api_key": key.value if key is not None else None,
            "fallbacks": plain_value(fallbacks) if (fallbacks := resolved.entries.get("fallbacks")) else None,
        }
        for field in fields:
            values[f"llm.{field}"].append(whole[field] if field in whole else getattr(llm, field))
    return values
