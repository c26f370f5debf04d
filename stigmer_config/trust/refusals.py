"""The entries that vetting refuses in a layer, and a problem for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..core.problems import Problem, worded
from ..core.provenance import Entry, Layer, Reason, RefusedEntry, alias_targets, plain_value
from ..core.secret import MASK, Secret
from ..llm.combined_layers import CombinedLayers
from .locked_keys import Locks


class Terms(msgspec.Struct, frozen=True):
    """The name of the vetted layer in messages, and the remedies they suggest."""

    who: str
    remedy: str
    removal: str


PROJECT = Terms(
    "an untrusted project",
    "if you trust this project, review it with: stigmer config trust",
    "remove the line from the project's file",
)
STORE = Terms(
    "a store without https://",
    "let STIGMER_ETCD start with https://, so that no one on the network can change the values",
    "remove the key from the store",
)


class _NoValue:
    """An invalid value, which messages do not show."""

    def __str__(self) -> str:
        return "no valid value"


_NO_VALUE = _NoValue()


class Refusals:
    """The remaining entries of an untrusted layer, the refused ones, and the problems."""

    def __init__(self, layer: Layer, baseline: CombinedLayers, locks: Locks, terms: Terms) -> None:
        self.layer = layer
        self.baseline = baseline
        self.locks = locks
        self.terms = terms
        # Presence counts: an invalid value is an attempt like any other.
        self.entries = {**layer.entries, **{key: Entry(_NO_VALUE, origin) for key, origin in layer.faulty.items()}}
        self.refused: dict[str, RefusedEntry] = {}
        self.problems: list[Problem] = []

    def refuse(self, key: str, code: str, message: str, hint: str, reason: Reason | None) -> None:
        """Removes an entry from the layer. `reason` is for `explain`; None: it does not show the entry."""
        entry = self.entries.pop(key)
        if reason is not None and key not in self.layer.faulty:
            self.refused[key] = RefusedEntry(entry, reason)
        self.problems.append(Problem(code=code, key=key, message=message, hint=hint, origin=entry.origin))
        if key == "llm.provider" and reason is not None and "llm.model" in self.entries:
            # It was for the refused provider.
            self.refused["llm.model"] = RefusedEntry(self.entries.pop("llm.model"), reason)

    def refuse_locked(self, key: str, lock: str) -> None:
        """Refuses a key that is locked, or that would change the locked key `lock`."""
        message = f"is locked ({self.locks.origin})"
        if lock != key:
            message = f"{lock} is locked ({self.locks.origin}), and this would change it"
        self.refuse(key, "locked-key", message, self.terms.removal, "locked")

    def refuse_untrusted(self, key: str, remedy: str = "") -> None:
        """Refuses a key that only a trusted project may set; the message shows its value with and without the layer."""
        entry, current = self.entries[key], self._current(key)
        place = f"{entry.origin.source}:{entry.origin.line}" if entry.origin.line else entry.origin.source
        message = f"{key}: {worded(current[0])} ({current[1]}) → {worded(_shown(entry))} ({place})"
        message = f"{self.terms.who} may not set it: {message}"
        self.refuse(key, "untrusted-key", message, remedy or self.terms.remedy, "untrusted")

    def _current(self, key: str) -> tuple[Any, object]:
        """A key's value and place without the layer."""
        entry = self.baseline.winners.get(key)
        selection = self.baseline.selection
        section, _, field = key.partition(".")
        if section == "llm" and field == "provider":
            return selection.provider, selection.named_by.origin if selection.named_by else "packaged"
        if section == "llm":
            entry = selection.of(selection.provider).get(field)
        return (_shown(entry), entry.origin) if entry is not None else ("none", "not set")


def _shown(entry: Entry) -> Any:
    """An entry's value as a message shows it."""
    if isinstance(entry.value, Secret):
        return MASK
    by_provider: Mapping[str, Entry] | None = alias_targets(entry)
    if by_provider is not None:
        return ", ".join(f"{provider}: {target.value}" for provider, target in by_provider.items())
    return plain_value(entry)
