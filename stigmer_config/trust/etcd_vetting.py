"""What a fleet's store may not do when it does not answer over verified TLS: anybody on the way may have written it.

It is vetted as an untrusted project is. Beyond that it stands below the user's own layers, so that nothing in it may
change which provider another layer's values belong to.
"""

from __future__ import annotations

import datetime

import msgspec

from ..core.problems import Problem
from ..core.provenance import Layer, Refused
from ..llm.catalogue import Catalogue
from ..llm.model_strings import ModelNames
from ..llm.provider_selection import Walk
from .vetting import Terms, Vetting

_STORE = Terms(
    "a store without https://",
    "let STIGMER_ETCD begin with https://, so that nobody on the way can have written it",
    "remove the key from the store",
)


def vet_store(layers: list[Layer], catalogue: Catalogue, today: datetime.date) -> tuple[list[Layer], list[Problem]]:
    """The layers with the store's vetted, and what was refused in it. The project's has no say in that."""
    store = next((layer for layer in layers if layer.name == "etcd" and layer.entries), None)
    if store is None:
        return layers, []
    trusted = [layer for layer in layers if layer.name != "project" and layer is not store]
    as_project = msgspec.structs.replace(store, name="project")
    beside = [as_project if layer is store else layer for layer in layers if layer.name != "project"]
    vetted, problems = Vetting(as_project, beside, catalogue, today, terms=_STORE).vet()
    vetted = msgspec.structs.replace(vetted, name="etcd")
    if _owners(trusted, catalogue) != _owners(
        [vetted if layer is as_project else layer for layer in beside], catalogue
    ):
        vetted, more = _without_names(vetted)
        problems += more
    return [vetted if layer is store else layer for layer in layers], problems


def _owners(layers: list[Layer], catalogue: Catalogue) -> list[tuple[Layer, str]]:
    """The provider that each layer's values belong to, but for the store's."""
    walk = Walk(ModelNames.of(layers, catalogue), layers)
    rows = zip(walk.layers, walk.owners, strict=True)
    return [(layer, owner) for layer, owner in rows if layer.name != "etcd"]


def _without_names(store: Layer) -> tuple[Layer, list[Problem]]:
    """The store without what may name a provider."""
    naming = ("llm.provider", "llm.model", "llm.fallbacks")
    names = [key for key in store.entries if key in naming or key.startswith("aliases.")]
    kept = {key: entry for key, entry in store.entries.items() if key not in names}
    refused = {**store.refused, **{key: Refused(store.entries[key], "untrusted") for key in names}}
    message = f"{_STORE.who} may not change which provider the values of other layers belong to"
    problems = [
        Problem(code="untrusted-key", key=key, message=message, hint=_STORE.remedy, origin=store.entries[key].origin)
        for key in names
    ]
    layer = msgspec.structs.replace(store, entries=kept, refused=refused, status="untrusted", why=message)
    return layer, problems
