"""The `defaults` layer: the packaged defaults of a mode. They never change while the process runs."""

from __future__ import annotations

import functools

from ..core import data_files as packaged
from ..core.provenance import Entry, Layer, Origin
from .entries import Collector
from .yaml.parser import parse


@functools.cache
def defaults_layer(mode: str) -> Layer:
    """The lowest layer: `defaults/<mode>.yaml` and the addresses of `defaults/providers.yaml`.

    A fault in one of them means a broken installation and raises `RuntimeError`.
    """
    path = packaged.path(f"{mode}.yaml")
    tree, problems = parse(packaged.text(f"{mode}.yaml"), "defaults", path)
    collector = Collector("defaults", path)
    collector.tree(tree)
    problems += collector.problems
    if problems:
        raise RuntimeError("broken installation\n" + "\n".join(map(str, problems)))
    return Layer("defaults", path, "loaded", {**_providers(), **collector.entries})


@functools.cache
def _providers() -> dict[str, Entry]:
    """The entries for the kind and the address of each packaged provider."""
    path = packaged.path("providers.yaml")
    tree, problems = parse(packaged.text("providers.yaml"), "defaults", path)
    if tree is None or problems:
        raise RuntimeError("broken installation\n" + "\n".join(map(str, problems)))
    return {
        f"providers.{name}.{field}": Entry(node.value, Origin("defaults", path, node.line, node.column))
        for name, facts in tree.value["providers"].value.items()
        for field, node in facts.value.items()
        if field in ("kind", "base_url")
    }


def packaged_url(provider: str) -> str | None:
    """The packaged address of a provider, the same in both modes; None for one that is not packaged."""
    entry = defaults_layer("cloud").entries.get(f"providers.{provider}.base_url")
    return entry.value if entry is not None else None
