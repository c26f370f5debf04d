"""Which provider is in force, and which values belong to it: one pass over the layers, lowest first.

The last layer that names a provider decides. A value under `llm` belongs to the provider in force at its own layer,
so that a provider never gets what was meant for another, and switching back finds it again.

Only trusted entries name the provider in force. What an untrusted layer names counts for its own entries alone; whether
it would have changed the provider in force is for vetting to judge (`ProviderSelection.claimed`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from ..core.layer_stack import LayerStack
from ..core.problems import Problem
from ..core.provenance import Entry, Layer
from ..settings.declarations import FREE_FIELDS, MODEL_FIELDS
from ..settings.urls import same_url
from ..settings.value_types import PROVIDERS
from .model_strings import ModelNames, foreign

# A key's provider and field; the provider is "" for a key under `llm`, which belongs to the one in force.
_FIELDS = {f"providers.{p}.{field}": (p, field) for p in PROVIDERS for field in MODEL_FIELDS}
_FIELDS |= {f"llm.{field}": ("", field) for field in MODEL_FIELDS}
_NO_FIELD = ("", "")
_MODEL_KEYS = {provider: f"providers.{provider}.model" for provider in PROVIDERS}
_NEED_KEY = frozenset({"anthropic", "openai"})


class CredentialGrant(NamedTuple):
    """The user lets one credential go to one endpoint: its key, the file or variable it is in, and where it may go."""

    key: str
    source: str
    endpoint: str


class Pinned(msgspec.Struct, frozen=True):
    """A credential, its key, and the URL it was given for; None: the provider's in `ProviderSelection.pins`."""

    key: str
    entry: Entry
    endpoint: str | None


class Owners(NamedTuple):
    """The provider that a layer's trusted entries belong to, and that of its other entries."""

    trusted: str
    untrusted: str

    def of(self, layer: Layer, key: str) -> str:
        """The provider that the entry of a key belongs to."""
        return self.trusted if key in layer.granted else self.untrusted


class SelectionInputs(msgspec.Struct, frozen=True, eq=False):
    """What a selection is made from, beside the layers.

    `names` are the aliases of all layers, `trusted_names` those of trusted entries: by them trusted layers name their
    provider. `packaged_urls` are the providers' URLs in the packaged defaults, `smart_default` is what `auto` means
    when no model decides. `baseline` is the selection without the project, where there is one: it decides which
    provider and URL a credential belongs to. `granted` is what the user allows beyond that.
    """

    names: ModelNames
    trusted_names: ModelNames
    packaged_urls: Mapping[str, str]
    smart_default: str
    baseline: ProviderSelection | None = None
    granted: frozenset[CredentialGrant] = frozenset()


class ProviderSelection(msgspec.Struct, frozen=True, eq=False):
    """The provider in force after the last layer, and what belongs to each provider. Immutable.

    `named_by` is the entry that named `provider`; `claimed` is the provider that would be in force if untrusted entries
    counted. `owners` has the owners at each of `layers`, `chosen` by provider and field the winning entry among those
    that belong to it. `candidates` are each provider's credentials, lowest first, and `pins` the URL that each
    provider's credentials were given for.
    """

    inputs: SelectionInputs
    layers: tuple[Layer, ...]
    owners: tuple[Owners, ...]
    provider: str
    named_by: Entry | None
    claimed: str
    chosen: Mapping[str, dict[str, Entry]]
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

    def is_gateway(self, provider: str) -> bool:
        """Whether the provider is called at another URL than its packaged one: it may serve any name."""
        return _is_gateway(provider, self.chosen, self.inputs)

    def endpoint(self, provider: str) -> str | None:
        """The URL in force for a provider: none means the packaged one for those that have a fixed one."""
        return _endpoint(provider, self.chosen, self.inputs)

    def rank(self, entry: Entry) -> int:
        """The rank of an entry's layer: its index in `layers`."""
        return next(n for n, layer in enumerate(self.layers) if any(e is entry for e in layer.entries.values()))

    def replace_layer(self, old: Layer, new: Layer) -> ProviderSelection:
        """The selection with another object in the place of a layer with the same entries."""
        layers = tuple(new if layer is old else layer for layer in self.layers)
        return msgspec.structs.replace(self, layers=layers)


def select(layers: LayerStack, inputs: SelectionInputs) -> ProviderSelection:
    """The selection over a layer stack."""
    state = _State(inputs)
    for layer in layers:
        state.add(layer)
    baseline = inputs.baseline
    chosen, judged = (state.chosen, inputs) if baseline is None else (baseline.chosen, baseline.inputs)
    return state.result({provider: _endpoint(provider, chosen, judged) for provider in PROVIDERS})


class _State:
    """A selection in the making."""

    __slots__ = ("candidates", "chosen", "claimed", "inputs", "layers", "named_by", "owners", "problems", "provider")

    def __init__(self, inputs: SelectionInputs) -> None:
        self.inputs = inputs
        self.provider = self.claimed = "anthropic"
        self.named_by: Entry | None = None
        self.layers: list[Layer] = []
        self.owners: list[Owners] = []
        self.chosen: dict[str, dict[str, Entry]] = {provider: {} for provider in PROVIDERS}
        self.candidates: dict[str, tuple[Pinned, ...]] = dict.fromkeys(PROVIDERS, ())
        self.problems: list[Problem] = []

    def resume(self, selection: ProviderSelection) -> None:
        """Continues from a selection, which stays as it is."""
        self.provider, self.claimed, self.named_by = selection.provider, selection.claimed, selection.named_by
        self.layers, self.owners = list(selection.layers), list(selection.owners)
        self.chosen = {provider: chosen.copy() for provider, chosen in selection.chosen.items()}
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
            candidates=self.candidates,
            pins=pins,
            problems=tuple(self.problems),
        )

    def add(self, layer: Layer) -> None:
        """Takes one more layer on top."""
        owners = self._untrusted_owners(layer) if not layer.is_trusted else self._trusted_owners(layer)
        self.layers.append(layer)
        self.owners.append(owners)
        self._choose(layer, owners)
        self._check(layer, owners)

    def _trusted_owners(self, layer: Layer) -> Owners:
        named, entry = self._named(layer, layer.entries, self.inputs.trusted_names)
        if named is not None:
            self.provider, self.named_by, self.claimed = named, entry, named
        return Owners(self.provider, self.provider)

    def _untrusted_owners(self, layer: Layer) -> Owners:
        """What the layer's granted entries name is in force; what the others name owns these alone."""
        claimed, _ = self._named(layer, layer.entries, self.inputs.names)
        granted = {key: entry for key, entry in layer.entries.items() if key in layer.granted}
        if granted:
            self._trusted_owners(msgspec.structs.replace(layer, entries=granted, implied_provider=None))
        self.claimed = claimed or self.claimed
        return Owners(self.provider, claimed or self.provider)

    def _named(self, layer: Layer, entries: Mapping[str, Entry], names: ModelNames) -> tuple[str | None, Entry | None]:
        """The provider that some entries of a layer name, and the entry that does."""
        entry = entries.get("llm.provider")
        if entry is not None and entry.value != "auto":
            return entry.value, entry
        model = entries.get("llm.model")
        if model is not None:
            gateway = _is_gateway(self.provider, self.chosen, self.inputs)
            named = names.named_by(model.value, gateway=gateway)
            if named is not None:
                return named, entry or model
        if entry is not None:
            return self.inputs.smart_default, entry
        implied = layer.implied_provider
        return (implied.value, implied) if implied is not None else (None, None)

    def _choose(self, layer: Layer, owners: Owners) -> None:
        """Puts a layer's entries over what is chosen; within a layer `llm.*` beats `providers.*`."""
        own: list[tuple[str, str, Entry]] = []
        for key, entry in layer.entries.items():
            provider, field = _FIELDS.get(key, _NO_FIELD)
            if provider:
                self.chosen[provider][field] = entry
                if field == "api_key":
                    self._add_candidate(layer, provider, key, entry)
            elif field:
                own.append((key, field, entry))
        for key, field, entry in own:
            if field in FREE_FIELDS:
                for chosen in self.chosen.values():
                    chosen[field] = entry
            elif field != "api_key":
                self.chosen[owners.of(layer, key)][field] = entry
        own_key = layer.entries.get("llm.api_key")
        if own_key is not None:  # last: an override's is pinned to the URL beside it
            baseline = self.inputs.baseline
            judged = (baseline.owners_at(layer) if baseline is not None else None) or owners
            if judged.trusted in _NEED_KEY:  # Ollama takes a key only from providers.ollama.api_key
                self._add_candidate(layer, judged.trusted, "llm.api_key", own_key)

    def _add_candidate(self, layer: Layer, provider: str, key: str, entry: Entry) -> None:
        # An override's own key is meant for the endpoint in force in that override.
        endpoint = _endpoint(provider, self.chosen, self.inputs) if layer.name == "execution" else None
        self.candidates[provider] = (*self.candidates[provider], Pinned(key, entry, endpoint))

    def _check(self, layer: Layer, owners: Owners) -> None:
        """Reports a layer that contradicts itself, or gives a model string to another provider than it names."""
        entries = layer.entries
        for provider, key in _MODEL_KEYS.items():
            entry = entries.get(key)
            end = self.inputs.names.expand(entry.value, provider) if entry is not None else None
            if entry is not None and end is not None and end.prefix not in (None, provider):
                self.problems.append(foreign(key, end, provider, entry, f"{key} is for {provider}"))
        provider_entry, model = entries.get("llm.provider"), entries.get("llm.model")
        if provider_entry is not None and provider_entry.value != "auto" and model is not None:
            self._check_model(model, owners.of(layer, "llm.model"))
        temperature = entries.get("llm.temperature")
        owner = owners.of(layer, "llm.temperature")
        if owner == "anthropic" and temperature is not None and (temperature.value or 0) > 1:
            message = f"llm.temperature must be at least 0 and at most 1 for anthropic, not {temperature.value:g}"
            problem = Problem(code="out-of-range", key="llm.temperature", message=message, origin=temperature.origin)
            self.problems.append(problem)

    def _check_model(self, model: Entry, provider: str) -> None:
        """`provider-mismatch` when the model beside an `llm.provider` is another provider's."""
        names = self.inputs.names
        # `chosen` has the URL in force, the layer's own included.
        named = names.named_by(model.value, gateway=_is_gateway(provider, self.chosen, self.inputs))
        if named not in (None, provider):
            end = msgspec.structs.replace(names.expand(model.value, None), prefix=named)
            use = f"llm.provider beside it is {provider}"
            self.problems.append(foreign("llm.model", end, provider, model, use))


_Chosen = Mapping[str, dict[str, Entry]]


def _is_gateway(provider: str, chosen: _Chosen, inputs: SelectionInputs) -> bool:
    url = chosen[provider].get("base_url")
    if provider not in _NEED_KEY or url is None or url.value is None:
        return False
    return not same_url(url.value, inputs.packaged_urls.get(provider))


def _endpoint(provider: str, chosen: _Chosen, inputs: SelectionInputs) -> str | None:
    entry = chosen[provider].get("base_url")
    url: str | None = entry.value if entry is not None else None
    return inputs.packaged_urls.get(provider) if url is None and provider in _NEED_KEY else url
