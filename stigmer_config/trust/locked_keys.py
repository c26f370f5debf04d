"""The keys and sections that `locked` names: no project changes their effective value, trusted or not."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from ..core.provenance import Entry, Layer, Origin
from ..llm.combined_layers import CombinedLayers
from ..llm.provider_selection import ProviderSelection
from ..llm.resolve import resolve
from ..settings.declarations import MODEL_FIELDS, PROVIDERS

_FIELDS = ("provider", *MODEL_FIELDS)
# An override may choose any provider: what is locked is locked then, too.
_SWITCHES = tuple(
    Layer("execution", "override", "loaded", {"llm.provider": Entry(provider, Origin("execution", "override"))})
    for provider in PROVIDERS
)


class Locks:
    """The locks of the trusted layers, by their winning entries. `origin` is the place of the highest `locked` list."""

    def __init__(self, trusted: Mapping[str, Entry]) -> None:
        entry = trusted.get("locked")
        self._names: tuple[str, ...] = entry.value if entry is not None else ()
        self.origin = entry.origin if entry is not None else None

    def on(self, key: str) -> str | None:
        """The lock that covers a key: the key itself, or a section it is in."""
        return next((name for name in self._names if key == name or key.startswith(f"{name}.")), None)

    def watched(self) -> list[str]:
        """The locked keys whose effective value other keys can change."""
        fields = [f"llm.{field}" for field in _FIELDS]
        models = [f"providers.{provider}.model" for provider in PROVIDERS]
        aliases = [name for name in self._names if name.startswith("aliases.")]
        return [*(key for key in (*fields, *models) if self.on(key)), *aliases]


def effective_values(combined: CombinedLayers, keys: list[str], today: datetime.date) -> dict[str, Any]:
    """The effective values of some watched keys, in a form to compare.

    Those of `llm` are taken now and with each provider chosen by an override. For a model and for an alias they
    include what it stands for; for a key they are the secret or its reference, unread.
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
            values[key] = [_meaning(combined, name, provider) for provider in PROVIDERS]
    return values


def _meaning(combined: CombinedLayers, text: str, provider: str) -> tuple[str | None, str | None]:
    """The model that a string stands for with a provider, and the prefix written before it."""
    expansion = combined.names.expand(text, provider)
    return expansion.prefix, expansion.name


def _llm_values(selection: ProviderSelection, fields: list[str], today: datetime.date) -> dict[str, Any]:
    values: dict[str, Any] = {f"llm.{field}": [] for field in fields}
    for switched in (selection, *map(selection.with_override, _SWITCHES)):
        resolved = resolve(switched, today, opener=None)
        llm, key = resolved.llm, resolved.entries.get("api_key")
        whole = {
            "model": (llm.provider, llm.model, llm.model_name, llm.model_id),
            "api_key": key.value if key is not None else None,
        }
        for field in fields:
            values[f"llm.{field}"].append(whole[field] if field in whole else getattr(llm, field))
    return values
