"""The layers of one load."""

from __future__ import annotations

import msgspec

from .provenance import Layer, LayerName


class LayerStack(tuple[Layer, ...]):
    """The layers of one load, lowest first. Immutable: methods that change it return a new stack."""

    __slots__ = ()

    def find(self, name: LayerName) -> Layer | None:
        """The layer of that name, or None."""
        return next((layer for layer in self if layer.name == name), None)

    @property
    def project(self) -> Layer | None:
        """The project's layer, or None."""
        return self.find("project")

    @property
    def trusted(self) -> LayerStack:
        """Every layer, reduced to the entries that are trusted."""
        return LayerStack(layer if layer.is_trusted else _granted_part(layer) for layer in self)

    def without(self, layer: Layer | None) -> LayerStack:
        """The stack without one of its layers."""
        return LayerStack(other for other in self if other is not layer)

    def replace(self, old: Layer | None, new: Layer) -> LayerStack:
        """The stack with `new` in the place of `old`."""
        return LayerStack(new if layer is old else layer for layer in self)


def _granted_part(layer: Layer) -> Layer:
    entries = {key: entry for key, entry in layer.entries.items() if key in layer.granted}
    return msgspec.structs.replace(layer, entries=entries, implied_provider=None)
