"""What a store may not do when its answers are not protected by verified TLS: anyone on the way may have written them.

The store is vetted as an untrusted project is. The project has no influence on that.
"""

from __future__ import annotations

import datetime

from ..core.layer_stack import LayerStack
from ..core.problems import Problem
from ..core.provenance import Layer
from ..llm.catalogue import Catalogue
from ..llm.combined_layers import CombinedLayers, combine
from .vetting import Terms, Vetting

_STORE = Terms(
    "a store without https://",
    "let STIGMER_ETCD begin with https://, so that nobody on the way can have written it",
    "remove the key from the store",
)


def vet_store(
    store: Layer, layers: LayerStack, today: datetime.date, catalogue: Catalogue
) -> tuple[CombinedLayers, list[Problem]]:
    """The layers (without the project's) combined with what is left of the store, and what was refused in it."""
    baseline = combine(layers.without(store), catalogue)
    return Vetting(store, layers, baseline, today, terms=_STORE).vet()
