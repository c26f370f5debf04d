"""Selects the provider in force and the values that belong to it, in one pass over the layers, lowest first.

The last layer that names a provider decides. A value under `llm` belongs to the provider in force at its own layer, so
that a provider never gets a value for another one, and switching back restores the earlier values.

Only trusted entries name the provider in force. A provider that an untrusted layer names applies to that layer's own
entries only; vetting decides what to do if it would have changed the provider in force (`ProviderSelection.claimed`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from ..core.layer_stack import LayerStack
from ..core.problems import Problem, Severity
from ..core.provenance import Entry, Layer
from ..settings.declarations import FREE_FIELDS, LLM_FIELDS, MERGED_FIELDS
from ..settings.packaged_providers import COMPANIES, CORE_PROVIDERS
from ..settings.urls import same_url
from .declared_providers import is_gateway, provider_of
from .model_strings import ModelNames, provider_mismatch

# The keys under `llm`, which belong to the provider in force, and their fields.
_OWN_FIELDS = {f"llm.{field}": field for field in LLM_FIELDS}


class CredentialGrant(NamedTuple):
    """The user's permission to send a credential to an endpoint: its key, its file or variable, and the endpoint."""

    key: str
    source: str
    endpoint: str


class Pinned(msgspec.Struct, frozen=True):
    """A credential, its key, and the URL it is pinned to; None: the provider's in `ProviderSelection.pins`."""

    key: str
    entry: Entry
    endpoint: str | None


class Owners(NamedTuple):
    """The provider that a layer's trusted entries belong to, and the one of its other entries."""

    trusted: str
    untrusted: str

    def of(self, layer: Layer, key: str) -> str:
        """The provider that the entry of a key belongs to."""
        return self.trusted if key in layer.granted else self.untrusted


class SelectionInputs(msgspec.Struct, frozen=True, eq=False):
    """The inputs of a selection besides the layers.

    `names` are the aliases of all layers, `trusted_names` those of trusted entries, which decide the provider that a
    trusted layer names. `packaged_urls` are the providers' URLs in the packaged defaults, `smart_default` is the
    meaning of `auto` when no model decides. `baseline` is the selection without the project, if there is one: it
    decides which provider and URL a credential belongs to. `granted` are further credential grants of the user.
    """

    names: ModelNames
    trusted_names: ModelNames
    packaged_urls: Mapping[str, str]
    smart_default: str
    baseline: ProviderSelection | None = None
    granted: frozenset[CredentialGrant] = frozenset()


class ProviderSelection(msgspec.Struct, frozen=True, eq=False):
    """The provider in force after the last layer, and the entries of each provider. Immutable.

    `named_by` is the entry that named `provider`; `claimed` is the provider that would be in force if untrusted entries
    counted. `owners` has the owners at each of `layers`, `chosen` the winning entry by provider and field, `shared` the
    entries that belong to every provider, `free` those of overrides for every provider, `left_out` the ids of entries
    that no provider takes. `candidates` are each provider's credentials, lowest first, and `pins` the URL that each
    provider's credentials are pinned to.
    """

    inputs: SelectionInputs
    layers: tuple[Layer, ...]
    owners: tuple[Owners, ...]
    provider: str
    named_by: Entry | None
    claimed: str
    chosen: Mapping[str, Mapping[str, Entry]]
    shared: Mapping[str, Entry]
    free: Mapping[str, Entry]
    left_out: frozenset[int]
    candidates: Mapping[str, tuple[Pinned, ...]]
    pins: Mapping[str, str | None]
    problems: tuple[Problem, ...]

    @property
    def names(self) -> ModelNames:
        return self.inputs.names

    def with_overrides(self, overrides: Iterable[Layer]) -> ProviderSelection:
        """The selection with execution layers on top."""
        selection = self
        for layer in overrides:
            selection = selection.with_override(layer)
        return selection

    def with_override(self, layer: Layer) -> ProviderSelection:
        """The selection with one execution layer on top."""
        state = _State(self.inputs)
        state.resume(self)
        state.add(layer)
        return state.result(self.pins)

    def rows(self) -> Iterator[tuple[Layer, Owners]]:
        """The layers with their owners, highest first."""
        return zip(reversed(self.layers), reversed(self.owners), strict=True)

    def owners_at(self, layer: Layer) -> Owners | None:
        """The owners at a layer; None for a layer that is not in this selection."""
        return next((owners for known, owners in self.rows() if known is layer), None)

    def of(self, provider: str) -> Mapping[str, Entry]:
        """The winning entries that belong to a provider, by field."""
        chosen = self.chosen.get(provider, self.shared)
        return {**chosen, **self.free} if self.free else chosen

    def kind(self, provider: str) -> str:
        """The protocol that a provider speaks."""
        return _kind(provider, self.of(provider))

    def is_gateway(self, provider: str) -> bool:
        """Whether the provider may serve any model name."""
        return _is_gateway(provider, self.of(provider), self.inputs)

    def endpoint(self, provider: str) -> str | None:
        """The URL in force for a provider; without one, the packaged URL of a provider that has a fixed one."""
        return _endpoint(provider, self.of(provider), self.inputs)

    def needs_key(self, provider: str, url: str | None) -> bool:
        """Whether a provider needs a key at a URL, if none is configured."""
        if self.kind(provider) == "ollama":
            return False
        return not (url or "").lower().startswith("http:") or self.is_at_home(provider, url)

    def is_at_home(self, provider: str, url: str | None) -> bool:
        """Whether the provider is anthropic or openai at its packaged address."""
        return provider in COMPANIES and same_url(url, self.inputs.packaged_urls.get(provider))

    def rank(self, entry: Entry) -> int:
        """The rank of an entry's layer: its index in `layers`."""
        return next(n for n, layer in enumerate(self.layers) if any(e is entry for e in layer.entries.values()))

    def replace_layer(self, old: Layer, new: Layer) -> ProviderSelection:
        """A copy with a layer replaced by another object with the same entries."""
        layers = tuple(new if layer is old else layer for layer in self.layers)
        return msgspec.structs.replace(self, layers=layers)


def select(layers: LayerStack, inputs: SelectionInputs) -> ProviderSelection:
    """The selection over a layer stack."""
    state = _State(inputs)
    for layer in layers:
        state.add(layer)
    baseline = inputs.baseline
    providers = dict.fromkeys((*state.chosen, *(baseline.chosen if baseline is not None else ())))
    if baseline is not None:
        return state.result({provider: baseline.endpoint(provider) for provider in providers})
    return state.result({provider: _endpoint(provider, state.of(provider), inputs) for provider in providers})


class _State:
    """A selection that is being built."""

    __slots__ = (
        "candidates",
        "chosen",
        "claimed",
        "free",
        "inputs",
        "layers",
        "left_out",
        "named_by",
        "own",
        "owners",
        "problems",
        "provider",
        "shared",
    )

    def __init__(self, inputs: SelectionInputs) -> None:
        self.inputs = inputs
        self.provider = self.claimed = "anthropic"
        self.named_by: Entry | None = None
        self.layers: list[Layer] = []
        self.owners: list[Owners] = []
        self.chosen: dict[str, Mapping[str, Entry]] = {provider: {} for provider in CORE_PROVIDERS}
        self.own: dict[str, dict[str, Entry]] = {}  # the mappings of `chosen` that no other selection shares
        self.shared: Mapping[str, Entry] = {}
        self.free: dict[str, Entry] = {}
        self.left_out: frozenset[int] = frozenset()
        self.candidates: dict[str, tuple[Pinned, ...]] = {}
        self.problems: list[Problem] = []

    def resume(self, selection: ProviderSelection) -> None:
        """Continues from a selection without changing it."""
        self.provider, self.claimed, self.named_by = selection.provider, selection.claimed, selection.named_by
        self.layers, self.owners = list(selection.layers), list(selection.owners)
        self.chosen = dict(selection.chosen)
        self.shared, self.free, self.left_out = selection.shared, dict(selection.free), selection.left_out
        self.candidates = dict(selection.candidates)
        self.problems = list(selection.problems)

    def result(self, pins: Mapping[str, str | None]) -> ProviderSelection:
        return ProviderSelection(
            inputs=self.inputs,
            layers=tuple(self.layers),
            owners=tuple(self.owners),
            provider=self.provider,
            named_by=self.named_by,
            claimed=self.claimed,
            chosen=self.chosen,
            shared=self.shared,
            free=self.free,
            left_out=self.left_out,
            candidates=self.candidates,
            pins=pins,
            problems=tuple(self.problems),
        )

    def of(self, provider: str) -> Mapping[str, Entry]:
        """The winning entries that belong to a provider so far."""
        chosen = self.chosen.get(provider, self.shared)
        return {**chosen, **self.free} if self.free else chosen

    def _is_gateway(self, provider: str) -> bool:
        return _is_gateway(provider, self.of(provider), self.inputs)

    def add(self, layer: Layer) -> None:
        """Adds a layer on top."""
        owners = self._untrusted_owners(layer) if not layer.is_trusted else self._trusted_owners(layer)
        self.layers.append(layer)
        self.owners.append(owners)
        models = self._choose(layer, owners, self._out_of_range(layer, owners))
        self._check(layer, owners, models)

    def _trusted_owners(self, layer: Layer) -> Owners:
        named, entry = self._named(layer, layer.entries, self.inputs.trusted_names)
        if named is not None:
            self.provider, self.named_by, self.claimed = named, entry, named
        return Owners(self.provider, self.provider)

    def _untrusted_owners(self, layer: Layer) -> Owners:
        """The provider that the granted entries name is in force; the one that the others name owns only those."""
        claimed, _ = self._named(layer, layer.entries, self.inputs.names)
        granted = {key: entry for key, entry in layer.entries.items() if key in layer.granted}
        if granted:
            self._trusted_owners(msgspec.structs.replace(layer, entries=granted, implied_provider=None))
        self.claimed = claimed or self.claimed
        return Owners(self.provider, claimed or self.provider)

    def _named(self, layer: Layer, entries: Mapping[str, Entry], names: ModelNames) -> tuple[str | None, Entry | None]:
        """The provider that some entries of a layer name, and the entry that names it."""
        entry = entries.get("llm.provider")
        if entry is not None and entry.value != "auto":
            return entry.value, entry
        model = entries.get("llm.model")
        if model is not None:
            gateway = self._is_gateway(self.provider)
            named = names.named_by(model.value, gateway=gateway)
            if named is not None:
                return named, entry or model
        if entry is not None:
            return self.inputs.smart_default, entry
        implied = layer.implied_provider
        return (implied.value, implied) if implied is not None else (None, None)

    def _choose(self, layer: Layer, owners: Owners, left_out: Entry | None) -> list[tuple[str, str, Entry]]:
        """Replaces chosen entries by a layer's; within a layer `llm.*` wins over `providers.*`.

        Returns the providers' own models: key, provider, entry.
        """
        own: list[tuple[str, str, Entry]] = []
        models: list[tuple[str, str, Entry]] = []
        for key, entry in layer.entries.items():
            if key.startswith("providers."):
                provider, field = provider_of(key)
                self._put(provider, field, entry)
                if field == "api_key":
                    self._add_candidate(layer, provider, key, entry)
                elif field == "model":
                    models.append((key, provider, entry))
            elif key in _OWN_FIELDS:
                own.append((key, _OWN_FIELDS[key], entry))
        self._choose_own(layer, owners, own, left_out)
        return models

    def _choose_own(
        self, layer: Layer, owners: Owners, own: list[tuple[str, str, Entry]], left_out: Entry | None
    ) -> None:
        """Replaces chosen entries by a layer's `llm.*` entries (key, field, entry)."""
        for key, field, entry in own:
            if field in FREE_FIELDS and layer.name == "execution":
                self.free[field] = entry  # only another override can replace it
            elif field in FREE_FIELDS:
                self.shared = {**self.shared, field: entry}
                for provider in self.chosen:
                    self._put(provider, field, entry)
            elif field != "api_key" and entry is not left_out:
                self._put(owners.of(layer, key), field, entry)
        own_key = layer.entries.get("llm.api_key")
        if own_key is not None:  # last, because an override's credential is pinned to the URL beside it
            baseline = self.inputs.baseline
            judged = (baseline.owners_at(layer) if baseline is not None else None) or owners
            if _kind(judged.trusted, self.of(judged.trusted)) != "ollama":  # it takes a key only from providers.*
                self._add_candidate(layer, judged.trusted, "llm.api_key", own_key)

    def _put(self, provider: str, field: str, entry: Entry) -> None:
        """Chooses an entry. Copies a mapping first that it shares with the earlier selection."""
        own = self.own.get(provider)
        if own is None:
            self.chosen[provider] = self.own[provider] = own = {**self.chosen.get(provider, self.shared)}
        if field in MERGED_FIELDS:
            before = own.get(field)
            if before is not None and before.value and entry.value is not None:
                entry = Entry({**before.value, **entry.value}, entry.origin)
        own[field] = entry

    def _add_candidate(self, layer: Layer, provider: str, key: str, entry: Entry) -> None:
        # An override's key is for the endpoint in force in that override.
        endpoint = _endpoint(provider, self.of(provider), self.inputs) if layer.name == "execution" else None
        self.candidates[provider] = (*self.candidates.get(provider, ()), Pinned(key, entry, endpoint))

    def _check(self, layer: Layer, owners: Owners, models: list[tuple[str, str, Entry]]) -> None:
        """Reports a layer that contradicts itself, or that assigns a model string to another provider than it names."""
        entries = layer.entries
        for key, provider, entry in models:
            if entry.value is None:
                continue
            end = self.inputs.names.expand(entry.value, provider)
            if end.prefix not in (None, provider):
                self.problems.append(provider_mismatch(key, end, provider, entry, f"{key} is for {provider}"))
        provider_entry, model = entries.get("llm.provider"), entries.get("llm.model")
        if provider_entry is not None and provider_entry.value != "auto" and model is not None:
            self._check_model(model, owners.of(layer, "llm.model"))

    def _out_of_range(self, layer: Layer, owners: Owners) -> Entry | None:
        """Checks the temperature against the owner's protocol: an error, or left out if a project could not know.

        Returns the entry to be left out.
        """
        entry = layer.entries.get("llm.temperature")
        owner = owners.of(layer, "llm.temperature")
        if entry is None or (entry.value or 0) <= 1 or _kind(owner, self.of(owner)) != "anthropic":
            return None
        message = f"llm.temperature must be at least 0 and at most 1 for {owner}, not {entry.value:g}"
        names = self.inputs.names
        if layer.name == "project" and self._named(layer, layer.entries, names)[0] is None:
            self.problems.append(_temperature_problem(f"{message}: it is left out", entry, "warning"))
            self.left_out |= {id(entry)}
            return entry
        self.problems.append(_temperature_problem(message, entry, "error"))
        return None

    def _check_model(self, model: Entry, provider: str) -> None:
        """`provider-mismatch` when the model beside an `llm.provider` is another provider's."""
        names = self.inputs.names
        # `chosen` has the URL in force, including the layer's own.
        named = names.named_by(model.value, gateway=self._is_gateway(provider))
        if named not in (None, provider):
            end = msgspec.structs.replace(names.expand(model.value, None), prefix=named)
            use = f"llm.provider beside it is {provider}"
            self.problems.append(provider_mismatch("llm.model", end, provider, model, use))


def _temperature_problem(message: str, temperature: Entry, severity: Severity) -> Problem:
    key, origin = "llm.temperature", temperature.origin
    return Problem(severity=severity, code="out-of-range", key=key, message=message, origin=origin)


def _kind(provider: str, chosen: Mapping[str, Entry]) -> str:
    if provider in CORE_PROVIDERS:
        return provider
    entry = chosen.get("kind")
    return entry.value if entry is not None else "openai"


def _is_gateway(provider: str, chosen: Mapping[str, Entry], inputs: SelectionInputs) -> bool:
    url = chosen.get("base_url")
    return is_gateway(provider, url.value if url is not None else None, inputs.packaged_urls.get(provider))


def _endpoint(provider: str, chosen: Mapping[str, Entry], inputs: SelectionInputs) -> str | None:
    entry = chosen.get("base_url")
    url: str | None = entry.value if entry is not None else None
    return inputs.packaged_urls.get(provider) if url is None and provider in COMPANIES else url
