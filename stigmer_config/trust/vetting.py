"""Vets a project's file, which arrives with a clone and may be hostile.

Vetting removes the entries that a key's access class, a lock or the provider rules refuse. Provider, credential and
endpoint are then decided only by the trusted layers and the granted entries. Secrets, the mode and locked keys are
refused even if a grant covers them.

A store without verified TLS is vetted in the same way, because anyone on the network may have forged its answers; the
project has no influence on that.
"""

from __future__ import annotations

import datetime
from typing import Any, NamedTuple

import msgspec

from ..core.layer_stack import LayerStack
from ..core.problems import Problem
from ..core.provenance import Entry, Layer, alias_targets, items
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
from .refusals import PROJECT, STORE, Refusals, Terms

# The sections that decide which model is used, and where.
_STEERING = ("llm.", "providers.", "aliases.")


class Vetted(NamedTuple):
    """The combined layers after vetting, and the refusals. `baseline` is the same without the project."""

    combined: CombinedLayers
    baseline: CombinedLayers
    problems: list[Problem]


class Vetting(Refusals):
    """The rules, applied to one untrusted layer. `baseline` is the stack without it."""

    def __init__(
        self,
        layer: Layer,
        layers: LayerStack,
        baseline: CombinedLayers,
        today: datetime.date,
        trust: Trust = NONE,
        terms: Terms = PROJECT,
        schema: Schema = BUILT_IN,
    ) -> None:
        super().__init__(layer, baseline, Locks(baseline, schema), terms)
        self.schema = schema
        self.layers = layers
        self.today = today
        self.granted = trust.covered
        self.credentials = trust.credentials
        self.catalogue: Catalogue = baseline.names.catalogue
        self._built: tuple[Layer, CombinedLayers] | None = None

    def vet(self) -> tuple[CombinedLayers, list[Problem]]:
        """The stack with the remaining entries of the layer, and the refusals."""
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
        why = self.layer.why or self.problems[0].summary
        vetted = msgspec.structs.replace(built, refused=self.refused, status=status, why=why)
        return combined.replace_layer(built, vetted), self.problems

    def _build(self) -> tuple[Layer, CombinedLayers]:
        """The layer's remaining entries and the stack combined with them; built again only after a refusal."""
        if self._built is None or self._built[0].entries.keys() != self.entries.keys():
            entries = dict(self.entries)
            layer = msgspec.structs.replace(self.layer, entries=entries, granted=self.granted & entries.keys())
            layers = self.layers.replace(self.layer, layer)
            self._built = layer, combine(layers, self.catalogue, self.baseline, self.credentials)
        return self._built

    @property
    def combined(self) -> CombinedLayers:
        """The stack with the layer's remaining entries."""
        return self._build()[1]

    def _forbidden(self) -> None:
        for key in list(self.entries):
            setting = self.schema.find(key)
            if setting is None or setting.access in ("open", "protected"):
                continue
            if setting.access == "secret":
                message = "a project's file may not hold it: it would be committed"
                hint = f"move it to ~/.stigmer/config.yaml, and if it was committed, replace it at {_issuer(key)}"
                self.refuse(key, "secret-in-project", message, hint, None)
            else:
                message = "no project may set it, trusted or not"
                self.refuse(key, "forbidden-in-project", message, "move it to ~/.stigmer/config.yaml", None)

    def _locked(self) -> None:
        for key in sorted(self.entries):  # llm.model before llm.provider, which takes the model with it
            lock = self.locks.on(key)
            if lock is not None:
                self.refuse_locked(key, lock)

    def _protected(self) -> None:
        for key in list(self.entries):
            setting = self.schema.find(key)
            if setting is None or setting.access != "protected" or key in self.granted:
                continue
            if key not in self.layer.faulty:
                self.refuse_untrusted(key)
            elif not self.granted:  # it must be fixed before it can be granted
                self.refuse_untrusted(key, f"fix or remove it; {self.terms.remedy}")

    def _parameters(self) -> None:
        """Vets a mapping of parameters: a project may set some, and remove none."""
        for key in [key for key in self.entries if key.endswith(".parameters") and key not in self.granted]:
            entry = self.entries[key]
            parts = entry.value if type(entry.value) is dict else {}
            kept = {name: part for name, part in parts.items() if name in OPEN_PARAMETERS}
            lost = {name: part for name, part in parts.items() if name not in OPEN_PARAMETERS}
            if lost or entry.value is None:
                origin = next(iter(lost.values())).origin if lost else entry.origin
                self.entries[key] = Entry(lost or None, origin)
                self.refuse_untrusted(key)
                self._built = None
                if kept:
                    self.entries[key] = Entry(kept, entry.origin)

    def _aliases(self) -> None:
        """Refuses each alias that takes a catalogue model's name or leads to another provider's model."""
        mine = [key for key in self.entries if key.startswith("aliases.") and key not in self.granted]
        refused = [key for key in mine if self.catalogue.find(key.removeprefix("aliases.")) is not None]
        while mine:
            for key in refused:
                self.refuse_untrusted(key)
                mine.remove(key)
            combined = self.combined
            refused = [key for key in mine if _leads_away(self.entries[key], combined)]  # a refusal may change others
            if not refused:
                return

    def _claims_other_provider(self) -> bool:
        """Whether another provider would be in force if ungranted entries counted."""
        return self.combined.selection.claimed != self.combined.selection.provider

    def _provider(self) -> None:
        if "llm.provider" in self.entries and "llm.provider" not in self.granted and self._claims_other_provider():
            self.refuse_untrusted("llm.provider")

    def _model(self) -> None:
        entry = self.entries.get("llm.model")
        if entry is None or "llm.model" in self.granted:
            return
        lock = self.locks.on("llm.provider")
        is_away = self._claims_other_provider()
        if is_away and lock is not None:
            self.refuse_locked("llm.model", lock)
        elif is_away or _is_elsewhere(self.combined.selection, entry, self._owner("llm.model")):
            self.refuse_untrusted("llm.model")

    def _owner(self, key: str) -> str:
        """The provider that an entry of the layer belongs to."""
        layer, combined = self._build()
        return next(owners.of(layer, key) for known, owners in combined.selection.rows() if known is layer)

    def _fallbacks(self) -> None:
        """Refuses fallbacks to providers that are not in use with the granted entries alone."""
        entry = self.entries.get("llm.fallbacks")
        if entry is None or not entry.value or "llm.fallbacks" in self.granted:
            return
        granted, selection = self._granted_alone(), self.combined.selection
        own = granted.of(granted.provider).get("fallbacks") or Entry((), entry.origin)
        allowed = {granted.provider, *(_with_model(granted, item).provider for item in items(own))}
        for item in items(entry):
            provider = _with_model(selection, item).provider
            if provider not in allowed or _is_elsewhere(selection, item, provider):
                self.refuse_untrusted("llm.fallbacks")
                return

    def _granted_alone(self) -> ProviderSelection:
        """The selection with the layer's granted entries only."""
        entries = {key: entry for key, entry in self.entries.items() if key in self.granted}
        if not entries:
            return self.baseline.selection
        layer = msgspec.structs.replace(self.layer, entries=entries, granted=frozenset(entries))
        layers = self.layers.replace(self.layer, layer)
        return combine(layers, self.catalogue, self.baseline, self.credentials).selection

    def _providers_own_models(self) -> None:
        """Applies the rules on Ollama's cloud and on routers to the models under `providers`, too."""
        for key in [key for key in self.entries if key.startswith("providers.") and key not in self.granted]:
            provider, field = provider_of(key)
            if field == "model" and _is_elsewhere(self.combined.selection, self.entries[key], provider):
                self.refuse_untrusted(key)

    def _locked_in_effect(self) -> None:
        """Keeps the effective value of a locked model, alias or other `llm` key, whichever entry would change it.

        Entries are admitted together if they change no locked value, else by halves; a single entry that changes one is
        refused.
        """
        watched = self.locks.watched()
        steering = [key for key in self.entries if key.startswith(_STEERING)]
        if watched and steering:
            before = effective_values(self.baseline, watched, self.today)
            waiting = {key: self.entries.pop(key) for key in steering}
            self._admit(waiting, watched, before)

    def _admit(self, waiting: dict[str, Entry], watched: list[str], before: dict[str, Any]) -> None:
        if "llm.provider" in self.refused:
            waiting = {key: entry for key, entry in waiting.items() if key != "llm.model"}  # it is refused, too
        self.entries |= waiting
        after = effective_values(self.combined, watched, self.today)
        changed = next((key for key in watched if after[key] != before[key]), None)
        if changed is None:
            return
        if len(waiting) == 1:
            self.refuse_locked(next(iter(waiting)), changed)
            return
        for key in waiting:
            del self.entries[key]
        rows = list(waiting.items())
        half = len(rows) // 2
        self._admit(dict(rows[:half]), watched, before)
        self._admit(dict(rows[half:]), watched, before)


def _leads_away(entry: Entry, combined: CombinedLayers) -> bool:
    """Whether an alias's target is a model of another provider than the one in force, or in Ollama's cloud."""
    by_provider = alias_targets(entry)
    names, selection = combined.names, combined.selection
    if by_provider is None:
        gateway = selection.is_gateway(selection.provider)
        if names.named_by(entry.value, gateway=gateway) not in (None, selection.provider):
            return True
        by_provider = dict.fromkeys((*CORE_PROVIDERS, selection.provider), entry)
    return any(_is_elsewhere(selection, target, provider) for provider, target in by_provider.items())


def _is_elsewhere(selection: ProviderSelection, entry: Entry, provider: str) -> bool:
    """Whether another company may receive the prompt: through a router, or in Ollama's cloud."""
    if is_router(provider):
        return True
    end = selection.names.expand(entry.value, provider)
    is_ollama = selection.kind(end.prefix or provider) == "ollama"
    return is_ollama and end.name is not None and is_ollama_cloud(end.name)


def _with_model(selection: ProviderSelection, model: Entry) -> ProviderSelection:
    """The selection with an override of the model."""
    return selection.with_override(Layer("execution", "override", "loaded", {"llm.model": model}))


def _issuer(key: str) -> str:
    return "its provider" if key.startswith(("llm.", "providers.")) else "whoever issued it"


def vet(
    layers: LayerStack,
    catalogue: Catalogue,
    today: datetime.date,
    trust: Trust = NONE,
    schema: Schema = BUILT_IN,
) -> Vetted:
    """Vets a store without verified TLS, then the project's layer. `trust` has the user's grants."""
    problems: list[Problem] = []
    store, project = layers.find("etcd"), layers.project
    others = layers.without(project)
    if store is not None and store.entries and not store.is_trusted:
        without_store = combine(others.without(store), catalogue)
        baseline, problems = Vetting(store, others, without_store, today, terms=STORE, schema=schema).vet()
        layers = layers.replace(store, baseline.layers.find("etcd") or store)
    else:
        baseline = combine(others, catalogue)
    if project is None or not (project.entries or project.faulty):
        return Vetted(msgspec.structs.replace(baseline, layers=layers), baseline, problems)
    combined, refused = Vetting(project, layers, baseline, today, trust, schema=schema).vet()
    return Vetted(combined, baseline, [*problems, *refused])
