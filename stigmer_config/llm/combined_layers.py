"""A combined layer stack: its merged entries, its aliases, and its provider selection."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from ..core.layer_stack import LayerStack
from ..core.merge import merge
from ..core.provenance import Entry, Layer
from .catalogue import Catalogue
from .declared_providers import known_providers, provider_of
from .model_strings import ModelNames
from .provider_selection import CredentialGrant, ProviderSelection, SelectionInputs, select


class CombinedLayers(msgspec.Struct, frozen=True, eq=False):
    """The winning entry of each key, and the provider selection, of one layer stack. Immutable."""

    layers: LayerStack
    winners: dict[str, Entry]
    selection: ProviderSelection

    @property
    def names(self) -> ModelNames:
        return self.selection.names

    def replace_layer(self, old: Layer, new: Layer) -> CombinedLayers:
        """A copy with a layer replaced by another object with the same entries."""
        return CombinedLayers(self.layers.replace(old, new), self.winners, self.selection.replace_layer(old, new))


def combine(
    layers: LayerStack,
    catalogue: Catalogue,
    baseline: CombinedLayers | None = None,
    granted: frozenset[CredentialGrant] = frozenset(),
) -> CombinedLayers:
    """Merges a stack, and builds its aliases and its provider selection.

    `baseline` are the layers without the one being vetted, `granted` the credentials that the user allows for other
    endpoints than their own.
    """
    winners = merge(layers)
    names = ModelNames(winners, catalogue, known_providers(layers))
    inputs = SelectionInputs(
        names=names,
        trusted_names=_trusted_names(layers, names, baseline),
        packaged_urls=_packaged_urls(layers),
        smart_default=_smart_default(layers),
        baseline=baseline.selection if baseline is not None else None,
        granted=granted,
    )
    return CombinedLayers(layers, winners, select(layers, inputs))


def _trusted_names(layers: LayerStack, names: ModelNames, baseline: CombinedLayers | None) -> ModelNames:
    """The aliases of the trusted entries; built only if they differ from those of the stack and the baseline."""
    untrusted = [
        (layer, key) for layer in layers if not layer.is_trusted for key in layer.entries if key.startswith("aliases.")
    ]
    granted = [key for layer, key in untrusted if key in layer.granted]
    if len(granted) == len(untrusted):
        return names
    if baseline is not None and not granted:
        trusted = baseline.selection.inputs.trusted_names
        if set(trusted.providers) == set(names.providers):  # a granted entry may declare a provider
            return trusted
    return ModelNames(merge(layers.trusted, "aliases."), names.catalogue, names.providers)


def _packaged_urls(layers: LayerStack) -> dict[str, str]:
    """Each provider's URL in the packaged defaults."""
    defaults = layers.find("defaults")
    return _urls(defaults) if defaults is not None else {}


@lru_cache(maxsize=4)  # the packaged defaults never change
def _urls(defaults: Layer) -> dict[str, str]:
    return {provider_of(key)[0]: defaults.entries[key].value for key in defaults.entries if key.endswith(".base_url")}


def _smart_default(layers: LayerStack) -> str:
    """The meaning of `auto` when no model decides: the provider with a key in a trusted layer. Reads no secret."""
    for provider in ("anthropic", "openai"):
        key = f"providers.{provider}.api_key"
        keys = [layer.entries[key] for layer in layers if key in layer.entries and layer.trusts(key)]
        if keys and keys[-1].value is not None:
            return provider
    return "ollama"
