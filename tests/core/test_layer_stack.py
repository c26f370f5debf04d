"""The questions that a layer stack answers."""

from __future__ import annotations

from stigmer_config.core.layer_stack import LayerStack
from stigmer_config.core.provenance import Entry, Layer, LayerName, Origin


def layer(name: LayerName, *keys: str, granted: frozenset[str] = frozenset(), source: str = "") -> Layer:
    entries = {key: Entry(key, Origin(name, source)) for key in keys}
    return Layer(name, source, "loaded", entries, granted=granted)


def contents(stack: LayerStack) -> list[tuple[str, list[str]]]:
    return [(found.name, list(found.entries)) for found in stack]


USER = layer("user", "llm.model")
PROJECT = layer("project", "llm.base_url", "llm.model", granted=frozenset({"llm.base_url"}))
STACK = LayerStack([USER, PROJECT])


def test_a_layer_is_found_by_its_name() -> None:
    assert STACK.find("user") is USER
    assert STACK.project is PROJECT
    assert STACK.find("site") is None
    assert LayerStack([USER]).project is None


def test_the_trusted_stack_has_of_the_project_what_is_granted() -> None:
    assert contents(STACK.trusted) == [("user", ["llm.model"]), ("project", ["llm.base_url"])]


def test_a_store_is_trusted_over_https_only() -> None:
    secure, plain = (layer("etcd", "llm.model", source=f"{scheme}://host/x") for scheme in ("https", "http"))
    assert contents(LayerStack([secure]).trusted) == [("etcd", ["llm.model"])]
    assert contents(LayerStack([plain]).trusted) == [("etcd", [])]


def test_a_stack_changes_only_as_a_copy() -> None:
    new = layer("project", "llm.timeout")
    assert contents(STACK.replace(PROJECT, new)) == [("user", ["llm.model"]), ("project", ["llm.timeout"])]
    assert contents(STACK.without(PROJECT)) == [("user", ["llm.model"])]
    assert STACK.without(None) == STACK
    assert STACK == (USER, PROJECT)
