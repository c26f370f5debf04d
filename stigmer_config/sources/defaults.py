"""The packaged defaults of a mode → the `defaults` layer. They never change while the process runs."""

from __future__ import annotations

import functools

from ..core import data_files as packaged
from ..core.provenance import Layer
from .entries import Collector
from .yaml.parser import parse


@functools.cache
def defaults_layer(mode: str) -> Layer:
    """The lowest layer: `defaults/<mode>.yaml`. A fault in it is a broken installation: `RuntimeError`."""
    path = packaged.path(f"{mode}.yaml")
    tree, problems = parse(packaged.text(f"{mode}.yaml"), "defaults", path)
    collector = Collector("defaults", path)
    collector.tree(tree)
    problems += collector.problems
    if problems:
        raise RuntimeError("broken installation\n" + "\n".join(map(str, problems)))
    return Layer("defaults", path, "loaded", collector.entries)
