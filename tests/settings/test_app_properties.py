"""Random declarations and random layers: values, origins, faults and edits are as a naive restatement says."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stigmer_config import ConfigError, app, setting
from stigmer_config.editing.keys import with_value, without
from stigmer_config.testing import sandbox

Draw = Callable[[st.SearchStrategy[Any]], Any]
NAMES = ("a", "bb", "c_3", "dDd", "e")
FREE = ("x", "y-1", "Z_z")
LAYERS = ("site", "user", "flags")


class Leaf(NamedTuple):
    """A field of one value: its annotation, its default, and what it may and may not be."""

    annotation: Any
    default: Any
    right: st.SearchStrategy[Any]
    wrong: st.SearchStrategy[Any]


class Struct(NamedTuple):
    """A nested struct; `optional`: it may be None. Its default is that of its class, or None."""

    fields: dict[str, Any]
    optional: bool


class Mapping(NamedTuple):
    """A mapping of free names to values or structs, empty by default."""

    item: Any


_PLAIN = {
    "int": Leaf(Annotated[int, setting(ge=-5, le=50)], 7, st.integers(-5, 50), st.sampled_from([-6, 51, "7", 1.5, []])),
    "float": Leaf(
        Annotated[float, setting(gt=0)], 0.5, st.sampled_from([0.25, 3.0, 1e9]), st.sampled_from([0, -1.0, "x", True])
    ),
    "bool": Leaf(bool, False, st.booleans(), st.sampled_from(["true", 1, 0.5])),
    "str": Leaf(
        Annotated[str, setting(pattern="^[a-z]*$", max_length=5)], "", st.text("abcz", max_size=5),
        st.sampled_from(["ABC", "abcdef", 5, False]),
    ),
    "choice": Leaf(Literal["low", "high"], "low", st.sampled_from(["low", "high"]), st.sampled_from(["mid", 1])),
    "list": Leaf(
        Annotated[list[int], setting(max_length=3)], [1], st.lists(st.integers(0, 9), max_size=3),
        st.sampled_from([[1, "x"], [1, 2, 3, 4], "1"]),
    ),
    "maybe": Leaf(int | None, None, st.one_of(st.none(), st.integers(0, 9)), st.sampled_from(["none", 0.5])),
}  # fmt: skip


def _leaves() -> st.SearchStrategy[Any]:
    return st.sampled_from(list(_PLAIN.values()))


def _structs(fields: st.SearchStrategy[Any], *, optional: bool) -> st.SearchStrategy[Any]:
    made = st.dictionaries(st.sampled_from(NAMES), fields, min_size=1, max_size=3)
    return st.builds(Struct, made, st.booleans() if optional else st.just(False))


_INNER = _structs(_leaves(), optional=True)
_FIELDS = st.one_of(
    _leaves(),
    _structs(st.one_of(_leaves(), _INNER), optional=True),
    st.builds(Mapping, st.one_of(_leaves(), _structs(_leaves(), optional=False))),
)
DECLARATIONS = st.builds(
    Struct, st.dictionaries(st.sampled_from(NAMES), _FIELDS, min_size=1, max_size=4), st.just(False)
)


def declared(struct: Struct) -> Any:
    """The application's class."""
    hints = {name: _annotation(field) for name, field in struct.fields.items()}
    defaults = {name: _default(field) for name, field in struct.fields.items()}
    return app("x")(type("X", (), {"__annotations__": hints, **defaults}))


def _annotation(field: Any) -> Any:
    if isinstance(field, Leaf):
        return field.annotation
    if isinstance(field, Mapping):
        return dict[str, _annotation(field.item)]  # type: ignore[misc]
    rows = [(name, _annotation(below), _in_struct(_default(below))) for name, below in field.fields.items()]
    made = msgspec.defstruct("Inner", rows, frozen=True)
    return made | None if field.optional else made


def _in_struct(default: Any) -> Any:
    return msgspec.field(default_factory=lambda: list(default)) if isinstance(default, list) else default


def _default(field: Any) -> Any:
    if isinstance(field, Leaf):
        return field.default
    if isinstance(field, Mapping):
        return {}
    return None if field.optional else _annotation(field)()


def given_values(draw: Draw, field: Any) -> Any:
    """What a layer may say of a field."""
    if isinstance(field, Leaf):
        return draw(field.right)
    if isinstance(field, Mapping):
        names = draw(st.lists(st.sampled_from(FREE), unique=True, max_size=2))
        return {name: given_values(draw, field.item) for name in names}
    if field.optional and draw(st.integers(0, 3)) == 0:
        return None
    names = draw(st.lists(st.sampled_from(list(field.fields)), unique=True))
    return {name: given_values(draw, field.fields[name]) for name in names}


# The naive restatement. A tree of (value, layer); a struct that is None is one, too.


def start(field: Any) -> Any:
    """What a field is before any layer says something."""
    if isinstance(field, Leaf):
        return (field.default, "defaults")
    if isinstance(field, Mapping):
        return {}
    return (None, "defaults") if field.optional else present(field)


def present(struct: Struct) -> dict[str, Any]:
    return {name: start(field) for name, field in struct.fields.items()}


def said(field: Any, now: Any, value: Any, layer: str) -> Any:
    """What a field is after one more layer."""
    if isinstance(field, Leaf) or value is None:
        return (value, layer)
    if isinstance(field, Mapping):
        empty = present(field.item) if isinstance(field.item, Struct) else None
        return now | {name: said(field.item, now.get(name, empty), part, layer) for name, part in value.items()}
    known = now if isinstance(now, dict) else present(field)
    return known | {name: said(field.fields[name], known[name], part, layer) for name, part in value.items()}


def flat(key: str, tree: Any) -> dict[str, tuple[Any, str]]:
    if isinstance(tree, dict):
        return {leaf: part for name, below in tree.items() for leaf, part in flat(f"{key}.{name}", below).items()}
    return {key: tree}


def plain(value: Any) -> Any:
    """What a Config has, as JSON has it."""
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    return list(value) if isinstance(value, list) else value


def values_of(tree: Any) -> Any:
    return {name: values_of(below) for name, below in tree.items()} if isinstance(tree, dict) else tree[0]


@settings(max_examples=50, deadline=None)
@given(DECLARATIONS, st.data())
def test_values_and_origins_are_those_of_the_layers_one_after_the_other(struct: Struct, data: st.DataObject) -> None:
    """A leaf is the highest layer's; a mapping has the names of all; None takes a struct away, a key brings it back."""
    cls = declared(struct)
    said_by = {layer: given_values(data.draw, struct) for layer in LAYERS}
    tree: Any = present(struct)
    for layer, values in said_by.items():
        tree = said(struct, tree, values, layer)
    with sandbox() as world:
        world.write_site(json.dumps({"apps": {"x": said_by["site"]}}))
        world.write_user(json.dumps({"apps": {"x": said_by["user"]}}))
        config = world.load(apps=[cls], flags={"apps": {"x": said_by["flags"]}})
    assert plain(config.app(cls)) == values_of(tree)
    for key, (value, layer) in flat("apps.x", tree).items():
        assert plain(config.value(key)) == value
        origin = config.explain(key).origin
        assert origin is not None
        assert origin.layer == layer, key


class Written(NamedTuple):
    """A file in blocks, with the line and column of each leaf's value."""

    text: str
    places: dict[str, tuple[int, int]]


def written(values: Any, comments: bool = False) -> Written:
    lines = ["apps:  # all of them", "  x:"] if comments else ["apps:", "  x:"]
    places: dict[str, tuple[int, int]] = {}

    def block(key: str, tree: Any, indent: int) -> None:
        for name, value in tree.items():
            head = f"{' ' * indent}{name}:"
            if isinstance(value, dict) and value:
                lines.append(head)
                block(f"{key}.{name}", value, indent + 2)
            else:
                lines.append(f"{head} {json.dumps(value)}" + ("  # why: because" if comments else ""))
                places[f"{key}.{name}"] = (len(lines), len(head) + 2)

    block("apps.x", values, 4)
    return Written("\n".join(lines) + "\n", places)


def spoiled(draw: Draw, field: Any, value: Any, key: str, faults: set[str]) -> Any:
    """The same values with some of them wrong; their keys go into `faults`."""
    if isinstance(field, Leaf):
        if draw(st.booleans()):
            faults.add(key)
            return draw(field.wrong)
        return value
    if not isinstance(value, dict):
        return value
    below = (lambda _: field.item) if isinstance(field, Mapping) else field.fields.__getitem__
    return {name: spoiled(draw, below(name), part, f"{key}.{name}", faults) for name, part in value.items()}


@settings(max_examples=50, deadline=None)
@given(DECLARATIONS, st.data())
def test_every_fault_is_at_its_value(struct: Struct, data: st.DataObject) -> None:
    """One problem for each wrong value, and none for another; its place is the value's, or of the item in it."""
    cls = declared(struct)
    faults: set[str] = set()
    values = spoiled(data.draw, struct, given_values(data.draw, struct), "apps.x", faults)
    if not values:
        return
    file = written(values)
    with sandbox() as world:
        world.write_user(file.text)
        if not faults:
            world.load(apps=[cls])
            return
        with pytest.raises(ConfigError) as caught:
            world.load(apps=[cls])
    found: dict[str, tuple[Any, Any]] = {}
    for problem in caught.value.problems:
        assert problem.origin is not None
        assert problem.severity == "error"
        assert problem.key not in found
        found[problem.key] = (problem.origin.line, problem.origin.column)
    assert found.keys() == faults
    for key, (line, column) in found.items():
        start = file.places[key]
        assert line == start[0]
        assert column >= start[1] if isinstance(at(values, key), list) else column == start[1]


def at(values: Any, key: str) -> Any:
    """The value of a key in what a file says."""
    for name in key.split(".")[2:]:
        values = values[name]
    return values


def leaf_of(struct: Any, names: list[str]) -> Leaf:
    """The field that a key's names lead to."""
    for name in names:
        struct = struct.item if isinstance(struct, Mapping) else struct.fields[name]
    assert isinstance(struct, Leaf)
    return struct


@settings(max_examples=50, deadline=None)
@given(DECLARATIONS, st.data())
def test_an_edit_keeps_every_other_byte(struct: Struct, data: st.DataObject) -> None:
    """`set` replaces the value alone, `unset` removes its line alone; a load then has the new value, or the old one."""
    cls = declared(struct)
    values = given_values(data.draw, struct)
    file = written(values, comments=True)
    keys = [key for key in file.places if not isinstance(at(values, key), dict) and at(values, key) is not None]
    assume(keys)
    key = data.draw(st.sampled_from(keys))
    new = data.draw(leaf_of(struct, key.split(".")[2:]).right)
    assume(new is not None)
    line, column = file.places[key]
    start = sum(len(one) + 1 for one in file.text.split("\n")[: line - 1]) + column - 1
    end = start + len(json.dumps(at(values, key)))
    text = with_value(file.text.encode(), key, new).decode()
    assert text.startswith(file.text[:start])
    assert text.endswith(file.text[end:])
    section = at(values, key.rpartition(".")[0]) if key.count(".") > 2 else values
    if len(section) > 1:
        lines = file.text.split("\n")
        gone = without(file.text.encode(), key)
        assert gone is not None
        assert gone.decode().split("\n") == lines[: line - 1] + lines[line:]
    with sandbox() as world:
        world.write_user(text)
        config = world.load(apps=[cls])
        assert plain(config.value(key)) == new
        origin = config.explain(key).origin
        assert origin is not None
        assert (origin.layer, origin.line, origin.column) == ("user", line, column)
