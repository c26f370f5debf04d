"""The keys and sections that `locked` names: no project changes their effective value, trusted or not."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Iterable
from typing import Any

from ..core.merge import merge
from ..core.provenance import Entry, Layer, Origin, targets, value_of
from ..llm.provider_selection import Walk
from ..llm.providers import provider_of
from ..llm.resolve import resolve
from ..settings.declarations import LLM_FIELDS, PROVIDERS

_FIELDS = ("provider", *LLM_FIELDS)
# Whose lock is a lock of the key, too.
_LOCKING = {"llm.fallbacks": ("llm.model", "llm.provider")}


@functools.lru_cache(maxsize=64)
def _switch(provider: str) -> Layer:
    """An override that chooses a provider: what is locked is locked then, too."""
    entry = Entry(provider, Origin("execution", "override"))
    return Layer("execution", "override", "loaded", {"llm.provider": entry})


def _switches(walk: Walk) -> Iterable[Layer]:
    """Overrides to each provider that a layer says more of than where it is."""
    said = {provider for layer in walk.layers if layer.name != "defaults" for provider in _mentioned(layer)}
    return map(_switch, (*PROVIDERS, *sorted(said - {*PROVIDERS})))


def _mentioned(layer: Layer) -> Iterable[str]:
    for key, entry in layer.entries.items():
        provider, field = provider_of(key)
        if provider and field not in ("kind", "base_url", "api_key", "headers"):
            yield provider
        elif key.startswith("aliases."):
            yield from targets(entry) or ()


class Locks:
    """The locks of the trusted layers. `origin` is the place of the highest `locked` list."""

    def __init__(self, trusted: Iterable[Layer]) -> None:
        entry = merge(trusted, "locked").get("locked")
        self._names: tuple[str, ...] = entry.value if entry is not None else ()
        self.origin = entry.origin if entry is not None else None

    def on(self, key: str) -> str | None:
        """The lock that covers a key: the key itself, or a section it is in."""
        keys = (key, *_LOCKING.get(key, ()))
        return next((name for name in self._names for one in keys if one == name or one.startswith(f"{name}.")), None)

    def fields(self) -> list[str]:
        """The locked fields of `llm`, whose value other keys can change."""
        return [field for field in _FIELDS if self.on(f"llm.{field}")]


def in_effect(walk: Walk, fields: list[str], today: datetime.date) -> dict[str, Any]:
    """The effective values of some `llm` fields, now and with each provider chosen by an override.

    A model's is what it stands for, too; a key's is the secret or its reference, unread.
    """
    values: dict[str, Any] = {field: [] for field in fields}
    for switched in (walk, *(walk.over(layer) for layer in _switches(walk))):
        resolved = resolve(switched, today, opener=None)
        llm, key = resolved.llm, resolved.entries.get("api_key")
        whole = {
            "model": (llm.provider, llm.model, llm.model_name, llm.model_id),
            "api_key": key.value if key is not None else None,
            "fallbacks": value_of(fallbacks) if (fallbacks := resolved.entries.get("fallbacks")) is not None else None,
        }
        for field in fields:
            values[field].append(whole[field] if field in whole else getattr(llm, field))
    return values
