"""Editing by span, as laws over random files: what is not meant stays, byte for byte, and the value reads back."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from stigmer_config.core.provenance import plain_value
from stigmer_config.editing.keys import EditError, with_value, without
from stigmer_config.editing.spans import plain, spans
from tests.support.edit_styles import KEYS, Made, files, settings_and_values, values
from tests.support.sandbox import Sandbox

_COMMENT = re.compile(r"# (?:why|a: b|\[x, \{y|'quoted|say \"hi\"|é ✓|# # :|- z)")


def read(data: bytes) -> dict[str, Any]:
    """The values by key, by another parser than ours."""
    # That parser takes no tab before a comment.
    text = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\t#", " #")
    return _flat(YAML(typ="safe", pure=True).load(io.StringIO(text)), "")


def _flat(tree: Any, prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in (tree or {}).items():
        key = f"{prefix}{name}"
        if isinstance(value, dict):
            found |= _flat(value, f"{key}.")
        elif value is not None or key in KEYS:
            found[key] = value
    return found


def comments(data: bytes) -> list[str]:
    return sorted(_COMMENT.findall(data.decode()))


def inserted(old: str, new: str) -> str | None:
    """What was put into `old` at one place to make `new`; None when more than that was done."""
    start = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    rest = old[start:]
    while start >= 0:
        if new.endswith(rest) and len(new) >= start + len(rest):
            return new[start : len(new) - len(rest)]
        start -= 1
        rest = old[start:]
    return None


@given(files())
def test_the_generator_writes_what_it_says(made: Made) -> None:
    """Another parser reads every generated file as its tree: the laws below start from real files."""
    assert read(made.data) == made.values


@given(files(), st.data())
def test_replacing_a_value_changes_only_its_own_characters(made: Made, data: st.DataObject) -> None:
    """A new value replaces the old one: every byte before and after it stays the same."""
    keys = [key for key in made.spans if key in KEYS and key != "locked"]
    assume(keys)
    key = data.draw(st.sampled_from(keys))
    value = data.draw(values_of(key))
    new = with_value(made.data, key, value)
    assert new.startswith(made.mark)
    start, end = made.spans[key]
    head, tail = made.text[:start], made.text[end:]
    text = new[len(made.mark) :].decode()
    if made.text[start] != "|":
        assert text.startswith(head)
        assert text.endswith(tail)
        assert "\n" not in text[len(head) : len(text) - len(tail)]
    assert comments(new) == comments(made.data)
    assert read(new) == {**made.values, key: value}


@given(files(), st.data())
def test_a_new_key_is_put_in_and_nothing_is_taken_out(made: Made, data: st.DataObject) -> None:
    """A key that was not there comes in at one place (and a comma at another, between brackets)."""
    key = data.draw(st.sampled_from([key for key in KEYS if key not in made.values]))
    value = data.draw(values_of(key))
    new = with_value(made.data, key, value)
    assert read(new) == {**made.values, key: value}
    assert comments(new) == comments(made.data)
    if any(key.startswith(f"{section}.") or not section for section in made.brackets):
        return
    # An empty section's `null` makes room for its first key.
    section = key.partition(".")[0]
    old = re.sub(rf"^(['\"]?{section}['\"]? ?:) (?:null|~)", r"\1", made.text, flags=re.MULTILINE)
    put = inserted(old, new[len(made.mark) :].decode())
    assert put is not None
    assert len([line for line in put.splitlines() if line.strip()]) <= len(key.split("."))


@given(files(), st.data())
def test_a_removed_key_takes_only_its_lines(made: Made, data: st.DataObject) -> None:
    """In a block, the lines of the key go, and every other byte stays."""
    assume(made.lines)
    key = data.draw(st.sampled_from(sorted(made.lines)))
    only_target = key.startswith("aliases.") and key.count(".") == 2 and _is_last(made, key)
    new = without(made.data, key)
    assert new is not None
    assert read(new) == {other: value for other, value in made.values.items() if other != key}
    start, end = made.lines[key]
    line_end = made.text[end : end + 2] if made.text[end : end + 2] == "\r\n" else made.text[end : end + 1]
    expected = made.text[:start] + made.text[end + len(line_end) :]
    if not line_end:
        expected = expected.removesuffix("\n").removesuffix("\r")
    if not only_target:
        assert new.decode() == made.mark.decode() + expected


def _is_last(made: Made, key: str) -> bool:
    alias = key.rpartition(".")[0]
    return sum(other.startswith(f"{alias}.") for other in made.values) == 1


@given(files(), st.data())
def test_a_key_removed_between_brackets_leaves_the_others(made: Made, data: st.DataObject) -> None:
    """Between brackets an entry goes with its comma; comments on lines of their own stay."""
    keys = [key for key in made.spans if key not in made.lines]
    assume(keys)
    key = data.draw(st.sampled_from(keys))
    new = without(made.data, key)
    assert new is not None
    assert read(new) == {other: value for other, value in made.values.items() if other != key}
    assert len(comments(made.data)) - len(comments(new)) <= made.text.count("\n") - new.decode().count("\n")


@given(files(), settings_and_values())
def test_a_value_that_is_there_already_changes_nothing(made: Made, change: tuple[str, Any]) -> None:
    """The same edit twice is the same as once, to the byte."""
    once = with_value(made.data, *change)
    assert with_value(once, *change) == once


@given(files(), settings_and_values())
def test_setting_and_removing_a_new_key_loses_nothing(made: Made, change: tuple[str, Any]) -> None:
    """A key that comes and goes leaves every other value and every comment."""
    key, value = change
    assume(key not in made.values)
    back = without(with_value(made.data, key, value), key)
    assert back is not None
    assert read(back) == made.values
    assert comments(back) == comments(made.data)


@settings(max_examples=60)
@given(files(), settings_and_values())
def test_the_load_reads_the_value_that_was_set(
    tmp_path_factory: pytest.TempPathFactory, made: Made, change: tuple[str, Any]
) -> None:
    """`load` gives the value in the key's type, from the user file, and no fault of the file."""
    key, value = change
    sandbox = Sandbox(tmp_path_factory.mktemp("edit"))
    sandbox.write(user="")
    sandbox.user_file.write_bytes(with_value(made.data, key, value))
    layer = next(layer for layer in sandbox.read().layers if layer.name == "user")
    assert layer.status == "loaded"
    loaded = plain_value(layer.entries[key])
    expected = tuple(value) if isinstance(value, list) else value
    assert (loaded.reveal() if hasattr(loaded, "reveal") else loaded) == expected


# fmt: off
_FRAGMENTS = (
    "llm", "model", "aliases", "locked", ":", ": ", "\n", "\n  ", "\n    ", "? ", "- ", "{", "}", "[", "]", ",", ", ",
    "'", '"', "|", "|+", ">-", "# c", " # c", "---\n", "\n...\n", "null", "~", "fast", "\t", "&a ", "*a", "!!str ",
    "<<", "\r",
)
# fmt: on
_WILD = st.lists(st.sampled_from(_FRAGMENTS), max_size=25).map("".join)


@settings(max_examples=500)
@given(_WILD, st.sampled_from(["llm.model", "aliases.a.ollama", "locked"]))
def test_whatever_the_text_is_the_answer_is_an_edit_or_a_refusal(text: str, key: str) -> None:
    """No text of YAML's own pieces breaks the editing itself; what comes out holds the value."""
    value = ["llm"] if key == "locked" else "fast"
    try:
        new = with_value(text.encode(), key, value)
        back = without(new, key)
    except EditError:
        return
    node: Any = plain(spans(new.decode()).root)
    for name in key.split("."):
        node = node[name]
    assert node == value
    assert back is not None


def values_of(key: str) -> st.SearchStrategy[Any]:
    from stigmer_config.settings.declarations import SETTINGS

    return values(SETTINGS[key].value_type)


def test_a_text_that_no_parser_reads_is_not_edited() -> None:
    """What cannot be read for certain is not touched."""
    for broken in (b"llm: {model: fast", b"a: &x 1\nb: *x\n", b"llm: 1\nllm: 2\n", b"\xff\xfe", b"a: 1\n---\nb: 2\n"):
        with pytest.raises(EditError):
            with_value(broken, "llm.model", "fast")
        with pytest.raises(EditError):
            without(broken, "llm.model")


def test_a_value_is_not_overwritten_by_a_section() -> None:
    """`aliases.mine.ollama` does not throw away the one model that `mine` stood for."""
    with pytest.raises(EditError, match=r"aliases\.mine"):
        with_value(b"aliases: {mine: fast}\n", "aliases.mine.ollama", "phi4:14b")


def test_a_value_that_is_no_text_is_refused() -> None:
    """Bytes of a command line that are not UTF-8 have no place in a file."""
    with pytest.raises(EditError, match="UTF-8"):
        with_value(b"", "temporal.namespace", "caf\udce9")


def test_a_form_that_needs_more_than_its_own_lines_is_refused() -> None:
    """An explicit key whose section begins on its line is a person's to change."""
    with pytest.raises(EditError):
        without(b"? llm\n: model: fast\n  timeout: 3\n", "llm.model")
