"""Selects the provider in force and the values that belong to it, in one pass over the layers, lowest first.

The last layer that names a provider decides. A value under `llm` belongs to the provider in force at its own layer, so
that a provider never gets a value for another one, and switching back restores the earlier values.

Only trusted entries name the provider in force. A provider that an untrusted layer names applies to that layer's own
entries only; vetting decides what to do if it would have changed the provider in force (`ProviderSelection.claimed`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
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
_NOTHING: Mapping[str, Entry] = {}

Chosen = Mapping[str, Mapping[str, Entry]]  # the winning entry, by provider and field


class CredentialGrant(NamedTuple):
    """The user's permission to send a credential to an endpoint: its key, its file or variable, and the endpoint."""

    key: str
    source: str
    endpoint: str


class Pinned(msgspec.Struct, frozen=True):
    """A credential, its key, and the URL it is pinned to; None: the provider's, by `ProviderSelection.pin`."""

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
    counted. `owners` has the owners at each of `layers`, `chosen` the winning entry by provider and field but for those
    that belong to every provider, which are `shared`; `left_out` has the ids of entries that no provider takes.
    `candidates` are each provider's credentials, lowest first. `pinned_by` is the selection whose URLs they are pinned
    to; None: this one.
    """

    inputs: SelectionInputs
    layers: tuple[Layer, ...]
    owners: tuple[Owners, ...]
    provider: str
    named_by: Entry | None
    claimed: str
    chosen: Chosen
    shared: Mapping[str, Entry]
    left_out: frozenset[int]
    candidates: Mapping[str, tuple[Pinned, ...]]
    pinned_by: ProviderSelection | None
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
        return state.result(self.pinned_by or self)

    def rows(self) -> Iterator[tuple[Layer, Owners]]:
        """The layers with their owners, highest first."""
        return zip(reversed(self.layers), reversed(self.owners), strict=True)

    def owners_at(self, layer: Layer) -> Owners | None:
        """The owners at a layer; None for a layer that is not in this selection."""
        return next((owners for known, owners in self.rows() if known is layer), None)

    def of(self, provider: str) -> Mapping[str, Entry]:
        """The winning entries that belong to a provider, by field."""
        chosen = self.chosen.get(provider, _NOTHING)
        return {**self.shared, **chosen} if self.shared else chosen

    def kind(self, provider: str) -> str:
        """The protocol that a provider speaks."""
        return _kind(provider, self.chosen)

    def is_gateway(self, provider: str) -> bool:
        """Whether the provider may serve any model name."""
        return _is_gateway(provider, self.chosen, self.inputs)

    def endpoint(self, provider: str) -> str | None:
        """The URL in force for a provider; without one, the packaged URL of a provider that has a fixed one."""
        return _endpoint(provider, self.chosen, self.inputs)

    def pin(self, provider: str) -> str | None:
        """The URL that a provider's credentials are pinned to: that of the layers without the project and overrides."""
        return (self.pinned_by or self).endpoint(provider)

    def credentials(self, provider: str) -> tuple[Pinned, ...]:
        """The credentials that a provider takes, lowest first. Kind ollama takes none from `llm.api_key`."""
        found = self.candidates.get(provider, ())
        if found and self.kind(provider) == "ollama":
            return tuple(pinned for pinned in found if pinned.key != "llm.api_key")
        return found

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
    return state.result(inputs.baseline)


class _State:
    """A selection that is being built."""

    __slots__ = (
        "candidates",
        "chosen",
        "claimed",
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
        self.chosen: dict[str, Mapping[str, Entry]] = {}
        self.own: dict[str, dict[str, Entry]] = {}  # the mappings of `chosen` that nothing else shares
        self.shared: Mapping[str, Entry] = _NOTHING
        self.left_out: frozenset[int] = frozenset()
        self.candidates: dict[str, tuple[Pinned, ...]] = {}
        self.problems: list[Problem] = []

    def resume(self, selection: ProviderSelection) -> None:
        """Continues from a selection without changing it."""
        self.provider, self.claimed, self.named_by = selection.provider, selection.claimed, selection.named_by
        self.layers, self.owners = list(selection.layers), list(selection.owners)
        self.chosen = dict(selection.chosen)
        self.shared, self.left_out = selection.shared, selection.left_out
        self.candidates = dict(selection.candidates)
        self.problems = list(selection.problems)

    def result(self, pinned_by: ProviderSelection | None) -> ProviderSelection:
        return ProviderSelection(
            inputs=self.inputs,
            layers=tuple(self.layers),
            owners=tuple(self.owners),
            provider=self.provider,
            named_by=self.named_by,
            claimed=self.claimed,
            chosen=self.chosen,
            shared=self.shared,
            left_out=self.left_out,
            candidates=self.candidates,
            pinned_by=pinned_by,
            problems=tuple(self.problems),
        )

    def add(self, layer: Layer) -> None:
        """Adds a layer on top."""
        if not layer.entries and layer.implied_provider is None:
            self.layers.append(layer)
            self.owners.append(Owners(self.provider, self.provider))
            return
        owners = self._untrusted_owners(layer) if not layer.is_trusted else self._trusted_owners(layer)
        self.layers.append(layer)
        self.owners.append(owners)
        given = _given(layer) if layer.name == "execution" else _given_by_source(layer)
        self._choose(layer, given, owners, self._out_of_range(layer, owners))
        self._check(layer, owners, given)

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
            gateway = _is_gateway(self.provider, self.chosen, self.inputs)
            named = names.named_by(model.value, gateway=gateway)
            if named is not None:
                return named, entry or model
        if entry is not None:
            return self.inputs.smart_default, entry
        implied = layer.implied_provider
        return (implied.value, implied) if implied is not None else (None, None)

    def _choose(self, layer: Layer, given: _Given, owners: Owners, left_out: Entry | None) -> None:
        """Replaces chosen entries by a layer's; within a layer `llm.*` wins over `providers.*`."""
        for provider, fields in given.of_providers.items():
            self._put(provider, fields)
            if "api_key" in fields:
                self._add_candidate(layer, provider, f"providers.{provider}.api_key", fields["api_key"])
        if given.free:
            self._share(given.free)
        own: dict[str, dict[str, Entry]] = {}
        for key, field, entry in given.own:
            if entry is not left_out:
                own.setdefault(owners.of(layer, key), {})[field] = entry
        for provider, fields in own.items():
            self._put(provider, fields)
        own_key = layer.entries.get("llm.api_key")
        if own_key is not None:  # last, because an override's credential is pinned to the URL beside it
            baseline = self.inputs.baseline
            judged = (baseline.owners_at(layer) if baseline is not None else None) or owners
            self._add_candidate(layer, judged.trusted, "llm.api_key", own_key)

    def _put(self, provider: str, fields: Mapping[str, Entry]) -> None:
        """Chooses entries, by field. Copies a mapping first that something else shares."""
        before = self.chosen.get(provider)
        if before is None:
            self.chosen[provider] = fields
            return
        own = self.own.get(provider)
        if own is None:
            self.chosen[provider] = self.own[provider] = own = {**before}
        if not MERGED_FIELDS.isdisjoint(fields):
            fields = {field: _merged(field, own.get(field), entry) for field, entry in fields.items()}
        own.update(fields)

    def _share(self, free: Mapping[str, Entry]) -> None:
        """Chooses entries for every provider, in the place of its own from lower layers."""
        self.shared = {**self.shared, **free}
        for provider, fields in self.chosen.items():
            if not free.keys().isdisjoint(fields):
                left = {field: entry for field, entry in fields.items() if field not in free}
                self.chosen[provider] = self.own[provider] = left

    def _add_candidate(self, layer: Layer, provider: str, key: str, entry: Entry) -> None:
        # An override's key is for the endpoint in force in that override.
        endpoint = _endpoint(provider, self.chosen, self.inputs) if layer.name == "execution" else None
        self.candidates[provider] = (*self.candidates.get(provider, ()), Pinned(key, entry, endpoint))

    def _check(self, layer: Layer, owners: Owners, given: _Given) -> None:
        """Reports a layer that contradicts itself, or that assigns a model string to another provider than it names."""
        entries = layer.entries
        for provider, entry in given.models:
            if self.inputs.names.is_bare(entry.value):
                continue
            end = self.inputs.names.expand(entry.value, provider)
            if end.prefix not in (None, provider):
                key = f"providers.{provider}.model"
                self.problems.append(provider_mismatch(key, end, provider, entry, f"the setting is for {provider}"))
        provider_entry, model = entries.get("llm.provider"), entries.get("llm.model")
        if provider_entry is not None and provider_entry.value != "auto" and model is not None:
            self._check_model(model, owners.of(layer, "llm.model"))

    def _out_of_range(self, layer: Layer, owners: Owners) -> Entry | None:
        """Checks the temperature against the owner's protocol: an error, or left out if a project could not know.

        Returns the entry to be left out.
        """
        entry = layer.entries.get("llm.temperature")
        if entry is None or (entry.value or 0) <= 1:
            return None
        owner = owners.of(layer, "llm.temperature")
        if _kind(owner, self.chosen) != "anthropic":
            return None
        message = f"must be at least 0 and at most 1 for {owner}, not {entry.value:g}"
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
        named = names.named_by(model.value, gateway=_is_gateway(provider, self.chosen, self.inputs))
        if named not in (None, provider):
            end = msgspec.structs.replace(names.expand(model.value, None), prefix=named)
            use = f"llm.provider beside it is {provider}"
            self.problems.append(provider_mismatch("llm.model", end, provider, model, use))


class _Given(NamedTuple):
    """A layer's entries by what they belong to.

    `of_providers` has those under `providers`, by provider and field, and `models` the model strings among them;
    `free` those under `llm` that belong to every provider, `own` the others under `llm` but the API key.
    """

    of_providers: Mapping[str, Mapping[str, Entry]]
    models: tuple[tuple[str, Entry], ...]
    free: Mapping[str, Entry]
    own: tuple[tuple[str, str, Entry], ...]


def _given(layer: Layer) -> _Given:
    of_providers: dict[str, dict[str, Entry]] = {}
    models: list[tuple[str, Entry]] = []
    free: dict[str, Entry] = {}
    own: list[tuple[str, str, Entry]] = []
    for key, entry in layer.entries.items():
        if key.startswith("providers."):
            provider, field = provider_of(key)
            of_providers.setdefault(provider, {})[field] = entry
            if field == "model" and entry.value is not None:
                models.append((provider, entry))
        elif key in _OWN_FIELDS:
            field = _OWN_FIELDS[key]
            if field in FREE_FIELDS:
                free[field] = entry
            elif field != "api_key":
                own.append((key, field, entry))
    return _Given(of_providers, tuple(models), free, tuple(own))


# A load selects with and without the project, and a reload has the same layers but for the one that has changed.
_given_by_source = lru_cache(maxsize=16)(_given)


def _merged(field: str, before: Entry | None, entry: Entry) -> Entry:
    """An entry over the one before it: the mappings among them are merged."""
    if field not in MERGED_FIELDS or before is None or not before.value or entry.value is None:
        return entry
    return Entry({**before.value, **entry.value}, entry.origin)


def _temperature_problem(message: str, temperature: Entry, severity: Severity) -> Problem:
    key, origin = "llm.temperature", temperature.origin
    return Problem(severity=severity, code="out-of-range", key=key, message=message, origin=origin)


def _kind(provider: str, chosen: Chosen) -> str:
    if provider in CORE_PROVIDERS:
        return provider
    entry = chosen.get(provider, _NOTHING).get("kind")
    return entry.value if entry is not None else "openai"


def _is_gateway(provider: str, chosen: Chosen, inputs: SelectionInputs) -> bool:
    url = chosen.get(provider, _NOTHING).get("base_url")
    return is_gateway(provider, url.value if url is not None else None, inputs.packaged_urls.get(provider))


def _endpoint(provider: str, chosen: Chosen, inputs: SelectionInputs) -> str | None:
    entry = chosen.get(provider, _NOTHING).get("base_url")
    url: str | None = entry.value if entry is not None else None
    return inputs.packaged_urls.get(provider) if url is None and provider in COMPANIES else url
