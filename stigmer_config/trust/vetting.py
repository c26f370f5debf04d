"""What a project file may not do. It arrives with a clone and may be hostile.

Vetting removes from the project's layer whatever its key class, a lock or the provider rules refuse. The provider, the
credential and the endpoint are then those that the trusted layers and the granted entries alone give. Secrets, the mode
and locked keys are refused even where a grant covers them.

A store without verified TLS is vetted in the same way, because anyone on the way may have written its answers; the
project has no influence on that.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from ..core.layer_stack import LayerStack
from ..core.problems import Problem, worded
from ..core.provenance import Entry, Layer, Reason, RefusedEntry, alias_targets, items, plain_value
from ..core.secret import MASK, Secret
from ..llm.catalogue import Catalogue
from ..llm.combined_layers import CombinedLayers, combine
from ..llm.declared_providers import provider_of
from ..llm.model_strings import is_ollama_cloud
from ..llm.provider_selection import ProviderSelection
from ..settings.declarations import BUILT_IN, CORE_PROVIDERS
from ..settings.packaged_providers import is_router
from ..settings.request_fields import OPEN_PARAMETERS
from ..settings.schema import Schema
from .grants import NONE, Trust
from .locked_keys import Locks, effective_values


class Terms(NamedTuple):
    """How messages call the layer that is vetted, and the remedies they name."""

    who: str
    remedy: str
    removal: str


_PROJECT = Terms(
    "an untrusted project",
    "if you trust this project, review it with: stigmer config trust",
    "remove the line from the project's file",
)
_STORE = Terms(
    "a store without https://",
    "let STIGMER_ETCD start with https://, so that no one on the network can change the values",
    "remove the key from the store",
)
# The sections that decide which model is used, and where.
_STEERING = ("llm.", "providers.", "aliases.")


class _NoValue:
    """An invalid value, which messages do not show."""

    def __str__(self) -> str:
        return "no valid value"


_NO_VALUE = _NoValue()


class Vetted(NamedTuple):
    """The layers after vetting, combined, and what was refused. `baseline` is the same without the project."""

    combined: CombinedLayers
    baseline: CombinedLayers
    problems: list[Problem]


class Vetting:
    """One vetting of one untrusted layer. `baseline` is the stack without it."""

    def __init__(
        self,
        layer: Layer,
        layers: LayerStack,
        baseline: CombinedLayers,
        today: datetime.date,
        trust: Trust = NONE,
        terms: Terms = _PROJECT,
        schema: Schema = BUILT_IN,
    ) -> None:
        self.schema = schema
        self.layer = layer
        self.layers = layers
        self.baseline = baseline
        self.terms = terms
        self.today = today
        self.granted = trust.covered
        self.credentials = trust.credentials
        self.catalogue: Catalogue = baseline.names.catalogue
        self.entries = dict(layer.entries)
        self.refused: dict[str, RefusedEntry] = {}
        self.problems: list[Problem] = []
        self.locks = Locks(baseline, schema)
        self._built: tuple[Layer, CombinedLayers] | None = None

    def vet(self) -> tuple[CombinedLayers, list[Problem]]:
        """The stack with what is left of the layer, and what was refused in it."""
        # Presence counts: a value that no layer may have is an attempt like any other.
        self.entries |= {key: Entry(_NO_VALUE, origin) for key, origin in self.layer.faulty.items()}
        self._forbidden()
        self._locked()
        self._protected()
        self.entries = {key: entry for key, entry in self.entries.items() if key not in self.layer.faulty}
        self._parameters()
        self._aliases()
        self._provider()
        self._model()
        self._fallbacks()
        self._providers_own_models()
        self._locked_in_effect()
        built, combined = self._build()
        if not self.problems:
            return combined, []
        status: Any = "untrusted" if any(p.code == "untrusted-key" for p in self.problems) else "error"
        why = self.layer.why or self.problems[0].message
        vetted = msgspec.structs.replace(built, refused=self.refused, status=status, why=why)
        return combined.replace_layer(built, vetted), self.problems

    def _build(self) -> tuple[Layer, CombinedLayers]:
        """What is left of the layer, and the stack combined with it; built again only after a refusal."""
        if self._built is None or self._built[0].entries.keys() != self.entries.keys():
            entries = dict(self.entries)
            layer = msgspec.structs.replace(self.layer, entries=entries, granted=self.granted & entries.keys())
            layers = self.layers.replace(self.layer, layer)
            self._built = layer, combine(layers, self.catalogue, self.baseline, self.credentials)
        return self._built

    @property
    def combined(self) -> CombinedLayers:
        """The stack with what is left of the layer."""
        return self._build()[1]

    def _refuse(self, key: str, code: str, message: str, hint: str, reason: Reason | None) -> None:
        entry = self.entries.pop(key)
        if reason is not None and key not in self.layer.faulty:
            self.refused[key] = RefusedEntry(entry, reason)
        self.problems.append(Problem(code=code, key=key, message=message, hint=hint, origin=entry.origin))
        if key == "llm.provider" and reason is not None and "llm.model" in self.entries:
            # It was meant for the refused provider.
            self.refused["llm.model"] = RefusedEntry(self.entries.pop("llm.model"), reason)

    def _forbidden(self) -> None:
        for key in list(self.entries):
            setting = self.schema.find(key)
            if setting is None or setting.access in ("open", "protected"):
                continue
            if setting.access == "secret":
                message = f"a project's file may not hold {key}: it would be committed"
                hint = f"move it to ~/.stigmer/config.yaml, and if it was committed, replace it at {_issuer(key)}"
                self._refuse(key, "secret-in-project", message, hint, None)
            else:
                message = f"no project may set {key}, trusted or not"
                self._refuse(key, "forbidden-in-project", message, "move it to ~/.stigmer/config.yaml", None)

    def _locked(self) -> None:
        for key in sorted(self.entries):  # llm.model before llm.provider, with which it falls
            lock = self.locks.on(key)
            if lock is not None:
                self._refuse_locked(key, lock)

    def _refuse_locked(self, key: str, lock: str) -> None:
        message = f"it is locked ({self.locks.origin})"
        if lock != key:
            message = f"{lock} is locked ({self.locks.origin}), and {key} would change it"
        self._refuse(key, "locked-key", message, self.terms.removal, "locked")

    def _protected(self) -> None:
        for key in list(self.entries):
            setting = self.schema.find(key)
            if setting is None or setting.access != "protected" or key in self.granted:
                continue
            if key not in self.layer.faulty:
                self._untrusted(key)
            elif not self.granted:  # nothing to grant before it is fixed
                self._untrusted(key, f"fix or remove it; {self.terms.remedy}")

    def _untrusted(self, key: str, remedy: str = "") -> None:
        entry, current = self.entries[key], self._current(key)
        place = f"{entry.origin.source}:{entry.origin.line}" if entry.origin.line else entry.origin.source
        message = f"{key}: {worded(current[0])} ({current[1]}) → {worded(_shown(entry))} ({place})"
        message = f"{self.terms.who} may not set it: {message}"
        self._refuse(key, "untrusted-key", message, remedy or self.terms.remedy, "untrusted")

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

    def _parameters(self) -> None:
        """Of a mapping of parameters a project may set some, and take none away."""
        for key in [key for key in self.entries if key.endswith(".parameters") and key not in self.granted]:
            entry = self.entries[key]
            parts = entry.value if type(entry.value) is dict else {}
            kept = {name: part for name, part in parts.items() if name in OPEN_PARAMETERS}
            lost = {name: part for name, part in parts.items() if name not in OPEN_PARAMETERS}
            if lost or entry.value is None:
                origin = next(iter(lost.values())).origin if lost else entry.origin
                self.entries[key] = Entry(lost or None, origin)
                self._untrusted(key)
                self._built = None
                if kept:
                    self.entries[key] = Entry(kept, entry.origin)

    def _aliases(self) -> None:
        """Refuses each alias that takes a catalogue model's name or leads to another provider's model."""
        mine = [key for key in self.entries if key.startswith("aliases.") and key not in self.granted]
        refused = [key for key in mine if self.catalogue.find(key.removeprefix("aliases.")) is not None]
        while mine:
            for key in refused:
                self._untrusted(key)
                mine.remove(key)
            combined = self.combined
            refused = [key for key in mine if _leads_away(self.entries[key], combined)]  # a refusal may change others
            if not refused:
                return

    def _claims_other_provider(self) -> bool:
        """Whether another provider would be in force if entries without a grant counted."""
        return self.combined.selection.claimed != self.combined.selection.provider

    def _provider(self) -> None:
        if "llm.provider" in self.entries and "llm.provider" not in self.granted and self._claims_other_provider():
            self._untrusted("llm.provider")

    def _model(self) -> None:
        entry = self.entries.get("llm.model")
        if entry is None or "llm.model" in self.granted:
            return
        lock = self.locks.on("llm.provider")
        is_away = self._claims_other_provider()
        if is_away and lock is not None:
            self._refuse_locked("llm.model", lock)
        elif is_away or _is_elsewhere(self.combined.selection, entry, self._owner("llm.model")):
            self._untrusted("llm.model")

    def _owner(self, key: str) -> str:
        """The provider that an entry of the layer belongs to."""
        layer, combined = self._build()
        return next(owners.of(layer, key) for known, owners in combined.selection.rows() if known is layer)

    def _fallbacks(self) -> None:
        """Refuses fallbacks of other providers than those in use without the layer."""
        entry = self.entries.get("llm.fallbacks")
        if entry is None or not entry.value or "llm.fallbacks" in self.granted:
            return
        baseline, selection = self.baseline.selection, self.combined.selection
        own = baseline.of(baseline.provider).get("fallbacks") or Entry((), entry.origin)
        allowed = {selection.provider, *(_with_model(baseline, item).provider for item in items(own))}
        for item in items(entry):
            provider = _with_model(selection, item).provider
            if provider not in allowed or _is_elsewhere(selection, item, provider):
                self._untrusted("llm.fallbacks")
                return

    def _providers_own_models(self) -> None:
        """A provider's own model is a model too: the same rule against Ollama's cloud, and behind a router."""
        for key in [key for key in self.entries if key.startswith("providers.") and key not in self.granted]:
            provider, field = provider_of(key)
            if field == "model" and _is_elsewhere(self.combined.selection, self.entries[key], provider):
                self._untrusted(key)

    def _locked_in_effect(self) -> None:
        """A locked model, alias or other `llm` key keeps its effective value, whatever in the project would change it.

        Entries are admitted together where they change nothing, else by halves; one that changes a locked value
        by itself is refused.
        """
        watched = self.locks.watched()
        steering = [key for key in self.entries if key.startswith(_STEERING)]
        if watched and steering:
            before = effective_values(self.baseline, watched, self.today)
            waiting = {key: self.entries.pop(key) for key in steering}
            self._admit(waiting, watched, before)

    def _admit(self, waiting: dict[str, Entry], watched: list[str], before: dict[str, Any]) -> None:
        if "llm.provider" in self.refused:
            waiting = {key: entry for key, entry in waiting.items() if key != "llm.model"}  # it falls with it
        self.entries |= waiting
        after = effective_values(self.combined, watched, self.today)
        changed = next((key for key in watched if after[key] != before[key]), None)
        if changed is None:
            return
        if len(waiting) == 1:
            self._refuse_locked(next(iter(waiting)), changed)
            return
        for key in waiting:
            del self.entries[key]
        rows = list(waiting.items())
        half = len(rows) // 2
        self._admit(dict(rows[:half]), watched, before)
        self._admit(dict(rows[half:]), watched, before)


def _leads_away(entry: Entry, combined: CombinedLayers) -> bool:
    """Whether an alias's target is a model of another provider than the one in force, or of Ollama's cloud."""
    by_provider = alias_targets(entry)
    names, selection = combined.names, combined.selection
    if by_provider is None:
        gateway = selection.is_gateway(selection.provider)
        if names.named_by(entry.value, gateway=gateway) not in (None, selection.provider):
            return True
        by_provider = dict.fromkeys((*CORE_PROVIDERS, selection.provider), entry)
    return any(_is_elsewhere(selection, target, provider) for provider, target in by_provider.items())


def _is_elsewhere(selection: ProviderSelection, entry: Entry, provider: str) -> bool:
    """Whether others than the provider's own machines may read the prompt: behind a router, or in Ollama's cloud."""
    if is_router(provider):
        return True
    end = selection.names.expand(entry.value, provider)
    is_ollama = end.prefix == "ollama" or (selection.kind(provider) == "ollama" and end.prefix in (None, provider))
    return is_ollama and end.name is not None and is_ollama_cloud(end.name)


def _with_model(selection: ProviderSelection, model: Entry) -> ProviderSelection:
    """The selection with an override of the model."""
    return selection.with_override(Layer("execution", "override", "loaded", {"llm.model": model}))


def _issuer(key: str) -> str:
    return "its provider" if key.startswith(("llm.", "providers.")) else "whoever issued it"


def _shown(entry: Entry) -> Any:
    """An entry's value as a message shows it."""
    if isinstance(entry.value, Secret):
        return MASK
    by_provider: Mapping[str, Entry] | None = alias_targets(entry)
    if by_provider is not None:
        return ", ".join(f"{provider}: {target.value}" for provider, target in by_provider.items())
    return plain_value(entry)


def vet(
    layers: LayerStack,
    catalogue: Catalogue,
    today: datetime.date,
    trust: Trust = NONE,
    schema: Schema = BUILT_IN,
) -> Vetted:
    """Vets the project's layer, and before it a store without verified TLS. `trust` is what the user has granted."""
    problems: list[Problem] = []
    store, project = layers.find("etcd"), layers.project
    others = layers.without(project)
    if store is not None and store.entries and not store.is_trusted:
        without_store = combine(others.without(store), catalogue)
        baseline, problems = Vetting(store, others, without_store, today, terms=_STORE, schema=schema).vet()
        layers = layers.replace(store, baseline.layers.find("etcd") or store)
    else:
        baseline = combine(others, catalogue)
    if project is None or not (project.entries or project.faulty):
        return Vetted(msgspec.structs.replace(baseline, layers=layers), baseline, problems)
    combined, refused = Vetting(project, layers, baseline, today, trust, schema=schema).vet()
    return Vetted(combined, baseline, [*problems, *refused])
