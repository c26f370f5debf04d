"""Which provider is in force, and which values belong to it: one walk over the layers, lowest first.

The last layer that names a provider decides. A value under `llm` belongs to the provider in force at its
own layer, so that a provider never gets what was meant for another, and switching back finds it again.
Layers above an untrusted project are judged without it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence, Set

import msgspec

from ..core.merge import merge
from ..core.problems import Problem, Severity
from ..core.provenance import Entry, Layer
from ..settings.declarations import FREE_FIELDS, LLM_FIELDS, MERGED_FIELDS
from ..settings.providers import COMPANIES, PROVIDERS
from ..settings.urls import same_url
from .model_strings import ModelNames, foreign
from .providers import is_gateway, provider_of

# Where an `llm` key's entry goes in the provider in force.
_OWN = {f"llm.{field}": field for field in LLM_FIELDS}


class Pinned(msgspec.Struct, frozen=True):
    """A credential, and the URL it was given for; None: the provider's in `Walk.pins`."""

    entry: Entry
    endpoint: str | None


class Walk(msgspec.Struct, eq=False):
    """The walk over `layers`, so far. After the last layer, `provider` is the one in force.

    `chosen` has, by provider and field, the winning entry among those that belong to it, `shared` what belongs to
    every provider, `free` what overrides say for every provider; `left_out` are the ids of entries that no provider
    takes, `owners` the provider in force at each of `layers`; `named_by` the entry that decided. `candidates` are each
    provider's credentials, lowest first, and `pins` the URL each provider's credentials were given for.

    `baseline` is the walk without the project, given when the project is trusted: what a credential belongs
    to is judged there. `granted` are the (credential source, endpoint) pairs that the user allows beyond that.
    `trusted_names` are the aliases without those of layers that are not trusted: by them every other layer names its
    provider. They are worked out where they are not given, and None where they are all there are.

    It is a struct because each override copies it, and a struct does that at once.
    """

    names: ModelNames
    layers: Sequence[Layer]
    baseline: Walk | None = None
    granted: frozenset[tuple[str, str]] = frozenset()
    provider: str = "anthropic"
    named_by: Entry | None = None
    chosen: dict[str, dict[str, Entry]] = {}
    shared: Mapping[str, Entry] = {}
    free: dict[str, Entry] = {}
    left_out: Set[int] = frozenset()
    candidates: dict[str, tuple[Pinned, ...]] = {}
    owners: tuple[str, ...] = ()
    problems: list[Problem] = []
    packaged: Mapping[str, str] = {}
    smart: str = ""
    pins: Mapping[str, str | None] = {}
    project_names: str | None = None
    above_project: bool = False
    trusted_names: ModelNames | None = None

    def __post_init__(self) -> None:
        layers, self.layers = self.layers, ()
        self.chosen = {provider: {} for provider in PROVIDERS}
        self.candidates = {}
        self.packaged = _packaged_urls(layers)
        self.smart = _smart_default(layers)
        if self.baseline is not None or self.trusted_names is None:
            self.trusted_names = _trusted_names(self.names, [layer for layer in layers if self._counts(layer)], layers)
        for layer in layers:
            self._take(layer, trusted=self.baseline is not None or layer.name != "project")
        pinning = self.baseline or self
        self.pins = {provider: pinning.endpoint(provider) for provider in {**self.chosen, **pinning.chosen}}

    def with_overrides(self, overrides: Iterable[Layer]) -> Walk:
        """The walk gone on over execution layers. This one stays as it is."""
        walk = self
        for layer in overrides:
            walk = walk.over(layer)
        return walk

    def is_gateway(self, provider: str, url: Entry | None) -> bool:
        """Whether the provider may serve any name."""
        return is_gateway(provider, url.value if url is not None else None, self.packaged.get(provider))

    def of(self, provider: str) -> Mapping[str, Entry]:
        """The winning entries that belong to a provider, by field."""
        chosen = self.chosen.get(provider, self.shared)
        return {**chosen, **self.free} if self.free else chosen

    def kind(self, provider: str) -> str:
        """The protocol that a provider speaks."""
        if provider in PROVIDERS:
            return provider
        entry = self.of(provider).get("kind")
        return entry.value if entry is not None else "openai"

    def endpoint(self, provider: str) -> str | None:
        """The URL in force for a provider: none means the packaged one for those that have a fixed one."""
        entry = self.of(provider).get("base_url")
        url: str | None = entry.value if entry is not None else None
        return self.packaged.get(provider) if url is None and provider in COMPANIES else url

    def needs_key(self, provider: str, url: str | None) -> bool:
        """Whether a provider wants a key at a URL, where none was written."""
        if self.kind(provider) == "ollama":
            return False
        return not (url or "").lower().startswith("http:") or self.is_at_home(provider, url)

    def is_at_home(self, provider: str, url: str | None) -> bool:
        """Whether it is anthropic or openai at its packaged address."""
        return provider in COMPANIES and same_url(url, self.packaged.get(provider))

    def level(self, entry: Entry) -> int:
        """How high the layer of an entry stands: its place in the walk."""
        return next(n for n, layer in enumerate(self.layers) if any(e is entry for e in layer.entries.values()))

    def owner(self, layer: Layer) -> str | None:
        """The provider in force at a layer of this walk; None for one that is not part of it."""
        return next((owner for known, owner in zip(self.layers, self.owners, strict=True) if known is layer), None)

    def _counts(self, layer: Layer) -> bool:
        """Whether a layer's aliases count for the others: a project's do when it is trusted."""
        return layer.is_trusted or (layer.name == "project" and self.baseline is not None)

    def _past_project(self) -> bool:
        return any(layer.name == "project" for layer in self.layers)

    @property
    def final_with_project(self) -> str:
        """The final provider if the untrusted project's own word counted."""
        if self.project_names is None or self.above_project:
            return self.provider
        return self.project_names

    def _named(self, layer: Layer) -> tuple[str | None, Entry | None]:
        """The provider a layer names, and the entry that does."""
        entry = layer.entries.get("llm.provider")
        if entry is not None and entry.value != "auto":
            return entry.value, entry
        model = layer.entries.get("llm.model")
        if model is not None:
            gateway = self.is_gateway(self.provider, self.of(self.provider).get("base_url"))
            names = self.trusted_names if self.trusted_names is not None and self._counts(layer) else self.names
            named = names.named_by(model.value, gateway=gateway)
            if named is not None:
                return named, entry or model
        if entry is not None:
            return self.smart, entry
        implied = layer.implied_provider
        return (implied.value, implied) if implied is not None else (None, None)

    def _take(self, layer: Layer, *, trusted: bool) -> None:
        named, entry = self._named(layer)
        owner = named or self.provider
        self.above_project = self.above_project or (trusted and named is not None and self._past_project())
        if not trusted:
            self.project_names = named
        elif named is not None:
            self.provider, self.named_by = named, entry
        self.layers = (*self.layers, layer)
        self.owners = (*self.owners, owner)
        self._keep(layer, owner, self._out_of_range(layer, owner, named))
        self._check(layer, owner)

    def over(self, layer: Layer) -> Walk:
        """One execution layer more: only what it touches is copied."""
        walk = copy.copy(self)
        walk.problems = self.problems.copy()
        walk.chosen = self.chosen.copy()
        walk.free = self.free.copy()
        named, entry = self._named(layer)
        if named is not None:
            walk.provider, walk.named_by = named, entry
        owner = walk.provider
        walk.layers = (*self.layers, layer)
        walk.owners = (*self.owners, owner)
        left_out = walk._out_of_range(layer, owner, named)  # noqa: SLF001 - it is this class's own
        walk._keep(layer, owner, left_out)  # noqa: SLF001
        walk._check(layer, owner)  # noqa: SLF001
        return walk

    def _keep(self, layer: Layer, owner: str, left_out: Entry | None) -> None:
        """Puts a layer's entries over what is chosen; within a layer `llm.*` beats `providers.*`."""
        own: list[tuple[str, Entry]] = []
        for key, entry in layer.entries.items():
            if key in _OWN:
                own.append((_OWN[key], entry))
                continue
            provider, field = provider_of(key)
            if provider:
                self._put(provider, field, entry)
                if field == "api_key":
                    self._candidate(layer, provider, entry)
        for field, entry in own:
            if field in FREE_FIELDS:
                if layer.name == "execution":  # nothing comes over it but another override
                    self.free[field] = entry
                    continue
                self.shared = {**self.shared, field: entry}
                for provider in self.chosen:
                    self._put(provider, field, entry)
            elif field != "api_key" and entry is not left_out:
                self._put(owner, field, entry)
        own_key = layer.entries.get("llm.api_key")
        if own_key is not None:  # last: an override's is pinned to the URL beside it
            judged = self.baseline.owner(layer) or owner if self.baseline is not None else owner
            if self.kind(judged) != "ollama":  # Ollama takes a key only from providers.<name>.api_key
                self._candidate(layer, judged, own_key)

    def _put(self, provider: str, field: str, entry: Entry) -> None:
        """Chooses an entry. The walk that this one goes on from shares the old mapping."""
        chosen = self.chosen.get(provider, self.shared)
        before = chosen.get(field)
        if field in MERGED_FIELDS and before is not None and before.value and entry.value is not None:
            entry = Entry({**before.value, **entry.value}, entry.origin)
        self.chosen[provider] = {**chosen, field: entry}

    def _candidate(self, layer: Layer, provider: str, entry: Entry) -> None:
        # An override's own key is meant for the endpoint in force in that override.
        endpoint = self.endpoint(provider) if layer.name == "execution" else None
        # Anew: the walk that this one goes on from shares the old ones.
        self.candidates = {**self.candidates, provider: (*self.candidates.get(provider, ()), Pinned(entry, endpoint))}

    def _check(self, layer: Layer, owner: str) -> None:
        """A layer that contradicts itself, or gives a model string to another provider than it names."""
        entries = layer.entries
        for key, entry in entries.items():
            provider, field = provider_of(key)
            if field != "model" or not provider or entry.value is None:
                continue
            end = self.names.end_of(entry.value, provider)
            if end.prefix not in (None, provider):
                self.problems.append(foreign(key, end, provider, entry, f"{key} is for {provider}"))
        provider_entry, model = entries.get("llm.provider"), entries.get("llm.model")
        if provider_entry is not None and provider_entry.value != "auto" and model is not None:
            self._disagreement(model, owner)

    def _out_of_range(self, layer: Layer, owner: str, named: str | None) -> Entry | None:
        """A temperature that the owner's protocol does not take: an error, and left out where a project cannot know.

        Returns the entry to leave out.
        """
        entry = layer.entries.get("llm.temperature")
        if entry is None or (entry.value or 0) <= 1 or self.kind(owner) != "anthropic":
            return None
        message = f"llm.temperature must be at least 0 and at most 1 for {owner}, not {entry.value:g}"
        if layer.name == "project" and named is None:
            message = f"{message}: it is left out"
            self.problems.append(_fault(message, entry, "warning"))
            self.left_out = {*self.left_out, id(entry)}
            return entry
        self.problems.append(_fault(message, entry, "error"))
        return None

    def _disagreement(self, model: Entry, provider: str) -> None:
        """`provider-mismatch` when the model beside an `llm.provider` is another provider's."""
        # The URL in force, the layer's own included, stands in `chosen` by now.
        gateway = self.is_gateway(provider, self.of(provider).get("base_url"))
        named = self.names.named_by(model.value, gateway=gateway)
        if named not in (None, provider):
            end = msgspec.structs.replace(self.names.end_of(model.value, None), prefix=named)
            use = f"llm.provider beside it is {provider}"
            self.problems.append(foreign("llm.model", end, provider, model, use))


def _fault(message: str, temperature: Entry, severity: Severity) -> Problem:
    key, origin = "llm.temperature", temperature.origin
    return Problem(severity=severity, code="out-of-range", key=key, message=message, origin=origin)


def _trusted_names(names: ModelNames, trusted: Sequence[Layer], layers: Sequence[Layer]) -> ModelNames | None:
    """The aliases of the trusted ones among some layers; None where the others have none."""
    others = (layer for layer in layers if not any(layer is known for known in trusted))
    if not any(key.startswith("aliases.") for layer in others for key in layer.entries):
        return None
    return ModelNames(merge(trusted, "aliases."), names.catalogue, names.providers)


def _packaged_urls(layers: Sequence[Layer]) -> dict[str, str]:
    """Each provider's URL as the packaged defaults have it."""
    defaults = next((layer for layer in layers if layer.name == "defaults"), None)
    if defaults is None:
        return {}
    found = {provider_of(key): entry.value for key, entry in defaults.entries.items()}
    return {provider: url for (provider, field), url in found.items() if field == "base_url"}


def _smart_default(layers: Sequence[Layer]) -> str:
    """What `auto` means when no model decides: who has a key in the trusted layers. Nothing is read or run."""
    for provider in ("anthropic", "openai"):
        key = f"providers.{provider}.api_key"
        trusted = [layer.entries[key] for layer in layers if layer.name != "project" and key in layer.entries]
        if trusted and trusted[-1].value is not None:
            return provider
    return "ollama"
