"""The keys and sections that `locked` names: no project changes their effective value, trusted or not."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from ..core.provenance import Entry, Layer, Origin
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

    def fields(self) -> list[str]:
        """The locked fields of `llm`, whose value other keys can change."""
        return [field for field in _FIELDS if self.on(f"llm.{field}")]


def effective_values(selection: ProviderSelection, fields: list[str], today: datetime.date) -> dict[str, Any]:
    """The effective values of some `llm` fields, now and with each provider chosen by an override.

    For the model that includes what it stands for; for the key it is the secret or its reference, unread.
    """
    values: dict[str, Any] = {field: [] for field in fields}
    for switched in (selection, *map(selection.with_override, _SWITCHES)):
        resolved = resolve(switched, today, opener=None)
        llm, key = resolved.llm, resolved.entries.get("api_key")
        whole = {
            "model": (llm.provider, llm.model, llm.model_name, llm.model_id),
            "api_key": key.value if key is not None else None,
        }
        for field in fields:
            values[field].append(whole[field] if field in whole else getattr(llm, field))
    return values
