"""The merge against fifteen lines of plain Python; and what it relies on in dynaconf."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stigmer_config.core.merge import _object_merge, merge
from stigmer_config.core.provenance import Entry, Layer, LayerName, Origin, alias_targets
from tests.support.paths import REPOSITORY
from tests.support.sandbox import Sandbox

# The very function that the merge folds with.
object_merge = _object_merge()

NAMES: tuple[LayerName, ...] = ("defaults", "vendor", "site", "user", "project", "env", "flags")


def reference(layers: list[dict[str, Any]]) -> dict[str, Any]:
    """The contract's rules of merging, in few lines: the newer wins, mappings merge, `locked` is a union."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            old = merged.get(key)
            if isinstance(old, dict) and isinstance(value, dict):
                merged[key] = {**old, **value}
            elif key == "locked" and old is not None:
                merged[key] = old + tuple(name for name in value if name not in old)
            else:
                merged[key] = value
    return merged


# Names that dynaconf reserves, folds or splits, beside plain ones.
TRAPS = [
    *(
        "fast",
        "FAST",
        "Fast",
        "a.b",
        "a",
        "a__b",
        "dynaconf_merge",
        "dynaconf_merge_unique",
        "dynaconf_include",
        "_store",
    ),
    *("loaders_for_dynaconf", "dynaconf_lookup", "default", "items", "get", "keys", "x y", ""),
]
TEXTS = st.sampled_from(
    [
        "a",
        "b",
        "@jinja {{ 1 }}",
        "@format {env[HOME]}",
        "@int 5",
        "@del",
        "@reset x",
        "@merge x=1",
        "@insert 0 x",
        "@none",
        "",
    ]
)
SCALARS = TEXTS | st.integers() | st.none() | st.booleans() | st.floats(allow_nan=False)
LISTS = st.lists(st.sampled_from(["a", "b", "dynaconf_merge", "dynaconf_merge_unique", "@merge"]), max_size=3).map(
    tuple
)
MAPPINGS = st.dictionaries(st.sampled_from([*TRAPS, "ollama", "openai", "anthropic"]), TEXTS, min_size=1, max_size=3)
LAYERS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            **{f"llm.{name}": SCALARS | LISTS for name in ("model", "timeout", "dynaconf_merge")},
            **{f"aliases.{name}": TEXTS | MAPPINGS for name in TRAPS},
            "locked": LISTS.map(lambda names: tuple(dict.fromkeys(names))),
        },
    ),
    max_size=len(NAMES),
)


def layer(name: LayerName, values: Mapping[str, Any]) -> Layer:
    """A layer with these values; its entries' origins are its name and the key."""
    return Layer(name, name, "loaded", {key: entry(name, key, value) for key, value in values.items()})


def entry(name: LayerName, key: str, value: Any) -> Entry:
    if isinstance(value, dict):
        value = {inner: Entry(part, Origin(name, f"{key}.{inner}")) for inner, part in value.items()}
    return Entry(value, Origin(name, key))


def plain(found: Entry) -> Any:
    by_provider = alias_targets(found)
    return found.value if by_provider is None else {name: target.value for name, target in by_provider.items()}


@given(LAYERS)
def test_the_merge_is_the_reference(values: list[dict[str, Any]]) -> None:
    """Any layers: mappings merge key by key, lists and scalars replace, `locked` unions, nothing else happens."""
    layers = [layer(name, one) for name, one in zip(NAMES, values, strict=False)]
    merged = merge(layers)
    expected = reference(values)
    assert {key: plain(found) for key, found in merged.items()} == expected
    assert {key: type(plain(found)) for key, found in merged.items()} == {key: type(v) for key, v in expected.items()}


@given(LAYERS)
def test_each_merged_value_keeps_its_own_origin(values: list[dict[str, Any]]) -> None:
    """The winner's origin is the highest layer that gave the key; so is each entry's of a merged mapping."""
    said = dict(zip(NAMES, values, strict=False))
    for key, found in merge([layer(name, one) for name, one in said.items()]).items():
        givers = [name for name, one in said.items() if key in one]
        assert found.origin == Origin(givers[-1], key)
        for inner, target in (alias_targets(found) or {}).items():
            last = [name for name, one in said.items() if inner in _mapping(one.get(key))]
            assert target.origin == Origin(last[-1], f"{key}.{inner}")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


@given(LAYERS)
def test_merging_changes_no_layer(values: list[dict[str, Any]]) -> None:
    """What a layer said stays what it said: the same layers merge to the same again, one by one too."""
    layers = [layer(name, one) for name, one in zip(NAMES, values, strict=False)]
    before = [(dict(one.entries), [plain(found) for found in one.entries.values()]) for one in layers]
    first, second = merge(layers), merge(layers)
    assert [(dict(one.entries), [plain(found) for found in one.entries.values()]) for one in layers] == before
    assert {key: plain(found) for key, found in first.items()} == {key: plain(found) for key, found in second.items()}


FILES = st.fixed_dictionaries(
    {},
    optional={
        "llm.max_tokens": st.integers(1, 9).map(str),
        "llm.timeout": st.integers(1, 9).map(str),
        "temporal.task_queue": st.sampled_from(["'a'", "'@format {env[HOME]}'", "'@int 5'"]),
        "sandbox.root_dir": st.sampled_from(["null", "'/a'", "'/b'"]),
        "aliases.mine": st.sampled_from(["'x:1b'", "{ollama: 'y'}", "{openai: 'z'}", "{ollama: 'w', anthropic: 'v'}"]),
        "locked": st.sampled_from(["[]", "[sandbox]", "[sandbox, redis]", "[llm.model]"]),
    },
)


@given(site=FILES, user=FILES, flags=FILES)
def test_files_and_flags_merge_as_the_contract_says(
    tmp_path_factory: pytest.TempPathFactory, site: dict[str, str], user: dict[str, str], flags: dict[str, str]
) -> None:
    """From real files to the Config: the reference's values, and the highest layer as each one's origin."""
    sandbox = Sandbox(tmp_path_factory.getbasetemp() / "merged")
    sandbox.write(site=_document(site), user=_document(user))
    given = [{key: _parsed(text) for key, text in one.items()} for one in (site, user, flags)]
    config = sandbox.load({"MODE": "local"}, project_dir=False, flags=given[2])
    for key, value in reference(given).items():
        explained = config.explain(key)
        found = dict(explained.value) if isinstance(value, dict) else explained.value
        assert found == value
        highest = [name for name, one in zip(("site", "user", "flags"), given, strict=True) if key in one][-1]
        assert explained.origin is not None
        assert explained.origin.layer == highest


def _document(values: Mapping[str, str]) -> str:
    """A file with these keys: one section for each, as flow mappings."""
    sections: dict[str, list[str]] = {}
    for key, text in values.items():
        section, _, name = key.partition(".")
        sections.setdefault(section, []).append(f"{name}: {text}" if name else text)
    return "".join(
        f"{section}: {lines[0] if section == 'locked' else '{' + ', '.join(lines) + '}'}\n"
        for section, lines in sections.items()
    )


def _parsed(text: str) -> Any:
    if text.startswith("{"):
        return {part.split(":")[0].strip(): part.split(":")[1].strip(" '") for part in text.strip("{}").split(",")}
    if text.startswith("["):
        return tuple(name.strip() for name in text.strip("[]").split(",") if name.strip())
    return None if text == "null" else int(text) if text.isdecimal() else text.strip("'")


def test_alias_mappings_and_strings_over_several_layers(sandbox: Sandbox) -> None:
    """A string ends the mappings below it; mappings above it start a new one; adjacent mappings merge."""
    sandbox.write(site="aliases: {a: {ollama: one, openai: two}, b: {ollama: one}}\n")
    sandbox.write(user="aliases: {a: {ollama: three}, b: 'plain:1b'}\n")
    config = sandbox.load({"MODE": "local"}, flags={"aliases.b": {"openai": "four"}})
    assert config.aliases["a"] == {"ollama": "three", "openai": "two"}
    assert config.aliases["b"] == {"openai": "four"}


def test_dynaconf_is_a_version_that_these_tests_passed_with() -> None:
    """The range of versions begins with the oldest that passes, and ends before 4.0, which merges in another way."""
    requirements = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["dependencies"]
    (requirement,) = [line for line in requirements if line.startswith("dynaconf")]
    assert requirement == "dynaconf>=3.3.4,<4"
    version = tuple(map(int, importlib.metadata.version("dynaconf").split(".")[:3]))
    assert (3, 3, 4) <= version < (4,)


MAPPINGS_IN_TWO_LAYERS = """
from stigmer_config.core.merge import merge
from stigmer_config.core.provenance import Entry, Layer, Origin
from stigmer_config.core.problems import ConfigError

def layer(name, provider):
    origin = Origin(name, name)
    return Layer(name, name, "loaded", {"aliases.a": Entry({provider: Entry("x", origin)}, origin)})

try:
    merge([layer("site", "ollama"), layer("user", "openai")])
except ConfigError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["REDIS_PORT_FOR_DYNACONF", "REDIS_DB_FOR_DYNACONF"])
def test_a_variable_that_breaks_the_import_of_dynaconf_is_named(name: str) -> None:
    """The problem names the variable and how to unset it, and not its value."""
    done = subprocess.run(
        [sys.executable, "-c", MAPPINGS_IN_TWO_LAYERS],
        env={name: "s3cret", "ENV_FOR_DYNACONF": "test"}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"with {name} as set" in done.stdout
    assert f"unset {name}" in done.stdout
    assert "s3cret" not in done.stdout


def test_dynaconf_merges_mappings_and_replaces_the_rest() -> None:
    """`object_merge`: the newer dict is completed from the older one, level by level, in the older's order."""
    old, new = {("a",): 1, ("m",): {("x",): 1, ("y",): 2}}, {("m",): {("y",): 3}, ("z",): 4}
    merged = object_merge(old, new, list_merge="shallow")
    assert merged == {("a",): 1, ("m",): {("x",): 1, ("y",): 3}, ("z",): 4}
    assert list(merged) == [("a",), ("m",), ("z",)]


def test_dynaconf_writes_into_the_newer_and_not_into_the_older() -> None:
    """The fold may be given the same older dict again, and must get a fresh newer one each time."""
    old, new = {("m",): {("x",): 1}}, {("m",): {("y",): 2}}
    merged = object_merge(old, new, list_merge="shallow")
    assert merged is new
    assert old == {("m",): {("x",): 1}}


@pytest.mark.parametrize("older", [{("x",): 1}, (1, 2), "text", 5, None, True])
@pytest.mark.parametrize("newer", [(3,), "other", 6, False])
def test_dynaconf_lets_what_is_no_mapping_replace(older: Any, newer: Any) -> None:
    """Scalars and tuples are taken as they are, whatever was there."""
    assert object_merge({("k",): older}, {("k",): newer}, list_merge="shallow") == {("k",): newer}


@pytest.mark.parametrize("name", TRAPS)
def test_dynaconf_sees_no_reserved_name_in_a_tuple(name: str) -> None:
    """Wrapped in a tuple, no key is reserved, folded in case or split at its dots."""
    old = {(name,): "old", (name.upper() + "_",): 1, ("m",): {(name,): False, ("kept",): 1}}
    merged = object_merge(dict(old), {(name,): "new", ("m",): {(name,): True}}, list_merge="shallow")
    assert merged == {**old, (name,): "new", ("m",): {(name,): True, ("kept",): 1}}


def test_dynaconf_takes_an_entry_for_a_plain_value() -> None:
    """An entry has none of the attributes by which dynaconf knows its own meta values."""
    one, other = Entry("@merge x", Origin("user", "x")), Entry({"a": 1}, Origin("env", "X"))
    assert object_merge({("k",): one}, {("k",): other}, list_merge="shallow")[("k",)] is other
    assert object_merge({("k",): one}, {("j",): other}, list_merge="shallow")[("k",)] is one
