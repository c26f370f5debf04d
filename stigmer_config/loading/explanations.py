"""Explains a key's value: the entry that won, and why each of the others did not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from ..config.config import RESOLVED
from ..core.layer_stack import LayerStack
from ..core.problems import Problem
from ..core.provenance import Entry, Explanation, Loser, Reason, alias_targets, plain_value
from ..llm.provider_selection import ProviderSelection
from ..llm.resolve import Resolved
from ..settings.declarations import BUILT_IN, FREE_FIELDS, KEY_LISTS
from ..settings.schema import Schema
from ..sources.mapping import Pairs
from .overrides import override_origin, rows


class History(msgspec.Struct, frozen=True):
    """Every layer's entries of one load. `is_unused`: the key's section is not used in this mode."""

    layers: LayerStack
    winners: Mapping[str, Entry]
    passed_over: Mapping[str, Problem]
    is_unused: bool = False

    def explain(self, key: str, value: Any) -> Explanation:
        """Explains the value of a key outside `llm`."""
        winner = self.winners.get(key) if key not in self.passed_over else None
        losers = [
            Loser(
                plain_value(entry), entry.origin, "not-in-mode" if self.is_unused else reason or self._lost(key, entry)
            )
            for entry, reason in self._entries(key)
            if (self.is_unused or reason is not None or entry is not winner) and not self._is_merged(key, entry)
        ]
        return Explanation(key, value, winner.origin if winner and not self.is_unused else None, tuple(losers))

    def _entries(self, key: str) -> Iterator[tuple[Entry, Reason | None]]:
        """Every entry of a key, highest layer first; for a refused one, with the reason."""
        for layer in reversed(self.layers):
            if key in layer.refused:
                yield layer.refused[key].entry, layer.refused[key].reason
            elif key in layer.entries:
                yield layer.entries[key], None

    def _lost(self, key: str, entry: Entry) -> Reason:
        return "bound-elsewhere" if key in self.passed_over and entry is self.winners[key] else "overridden"

    def _is_merged(self, key: str, entry: Entry) -> bool:
        """Whether an entry is part of a merged one: of `locked`, or of an alias's mapping."""
        if key in KEY_LISTS:
            return True
        winner = self.winners.get(key)
        mine, all_targets = alias_targets(entry), alias_targets(winner) if winner else None
        if mine is None or all_targets is None:
            return False
        return all(all_targets.get(provider) is target for provider, target in mine.items())


def explain_overridden(history: History, key: str, value: Any, below: Any, overrides: tuple[Pairs, ...]) -> Explanation:
    """Explains the value of an application's key under overrides: the newest override that sets it wins.

    `below` is the explanation without overrides.
    """
    base = history.explain(key, below)
    layers = [dict(rows(pairs)) for pairs in reversed(overrides)]
    given = [Loser(layer[key], override_origin(key), "overridden") for layer in layers if key in layer]
    if not given:
        return Explanation(key, value, base.origin, base.losers)
    own = history.winners.get(key)
    beaten = [Loser(plain_value(own), own.origin, "overridden")] if own is not None and base.origin else []
    return Explanation(key, value, given[0].origin, (*given[1:], *beaten, *base.losers))


def explain_llm(selection: ProviderSelection, resolved: Resolved, key: str, value: Any) -> Explanation:
    """Explains the value of a key of `llm` from a provider selection and its resolution."""
    if key == "llm.provider":
        winner = selection.named_by
        entry_keys: tuple[str, ...] = ("llm.provider",)
    else:
        field = "model" if key in RESOLVED else key.removeprefix("llm.")
        winner = resolved.entries.get(field)
        entry_keys = (f"llm.{field}", f"providers.{selection.provider}.{field}")
    losers: list[Loser] = []
    for layer, owners in selection.rows():
        for entry_key in entry_keys:
            if entry_key in layer.refused:
                refusal = layer.refused[entry_key]
                losers.append(Loser(plain_value(refusal.entry), refusal.entry.origin, refusal.reason))
            entry = layer.entries.get(entry_key)
            if entry is not None and entry is not winner:
                owner = owners.of(layer, entry_key)
                reason = resolved.reasons.get(id(entry)) or _lost(entry_key, owner, selection.provider)
                losers.append(Loser(plain_value(entry), entry.origin, reason))
    hops = resolved.expansion.hops if key == "llm.model" or key in RESOLVED else ()
    return Explanation(key, value, winner.origin if winner is not None else None, tuple(losers), hops)


def _lost(key: str, owner: str, provider: str) -> Reason:
    field = key.removeprefix("llm.")
    belongs = key != field and field not in FREE_FIELDS | {"provider"}
    switched = belongs and owner != provider
    return "provider-switched" if switched else "overridden"


def definition(key: str, schema: Schema = BUILT_IN) -> Any:
    """The Setting of a key; that of `llm.model` for the keys that a model string resolves to."""
    return schema.find("llm.model" if key in RESOLVED else key)
