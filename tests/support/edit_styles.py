"""Random configuration files in many styles, with the span of every value: what the editing tests start from.

It is written by hand from YAML's rules, and shares nothing with the code that edits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import strategies as st

from stigmer_config.settings.collection_types import KeyList
from stigmer_config.settings.declarations import SETTINGS
from stigmer_config.settings.model_types import ModelString, ProviderName
from stigmer_config.settings.packaged_providers import CORE_PROVIDERS
from stigmer_config.settings.request_fields import ModelList
from stigmer_config.settings.urls import Address, Url
from stigmer_config.settings.value_types import Boolean, Choice, Credential, Float, Integer, String, ValueType

Draw = Callable[[st.SearchStrategy[Any]], Any]
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*(?::[A-Za-z0-9_./-]+)*")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
_TEXTS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=20)
_NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,12}", fullmatch=True)
_MODELS = st.sampled_from(["fast", "claude-sonnet-4.5", "qwen2.5-coder:7b", "openai:gpt-4.1", "a/b@c+d", "7b", "1.10"])


_FIXED: dict[type[ValueType], st.SearchStrategy[Any]] = {
    Boolean: st.booleans(),
    ModelString: _MODELS,
    ModelList: st.lists(st.sampled_from(["qwen3:4b", "llama3.2:3b", "gemma3:4b"]), min_size=1, max_size=3),
    ProviderName: st.sampled_from(["anthropic", "ollama", "openai", "auto"]),
    Url: st.sampled_from(["http://localhost:11434", "https://api.example.com/v1", "https://[::1]:8443/x"]),
    Address: st.sampled_from(["localhost:7233", "db.example.com:1", "[::1]:65535"]),
    KeyList: st.lists(st.sampled_from(["llm.model", "sandbox", "redis.host", "aliases.fast"]), unique=True),
    Credential: st.sampled_from(["sk-ant-0123456789", "a#b:'c'", "%&*!|>@`", "null", "0123"]),
    String: _TEXTS,
}


def values(value_type: ValueType) -> st.SearchStrategy[Any]:
    """Values that a type accepts, as YAML has them."""
    match value_type:
        case Choice():
            return st.sampled_from(value_type.choices)
        case Integer(limits=limits):
            return st.integers(int(limits.ge or 0), min(int(limits.le or 10**6), 10**6))
        case Float(limits=limits):
            return st.floats(limits.ge or 0.001, limits.le or 1e6).map(lambda value: round(value, 6))
    return next(made for known, made in _FIXED.items() if isinstance(value_type, known))


# Mappings are edited by their items, a built-in provider's kind is fixed, and only the site file may enforce.
KEYS = [
    key
    for key in SETTINGS
    if key not in ("mode", "enforced") and key.rpartition(".")[2] not in ("parameters", "headers", "kind")
]


class Made(msgspec.Struct):
    """A file: its text, what it says by key, and where.

    `spans` are the values' own characters; `lines` the whole lines of the keys in blocks, without the last
    one's line break. `brackets` are the sections (or "" for the whole file) that are written between brackets.
    `mark` is a byte order mark or nothing.
    """

    text: str
    values: dict[str, Any]
    spans: dict[str, tuple[int, int]]
    lines: dict[str, tuple[int, int]]
    brackets: set[str]
    mark: bytes = b""

    @property
    def data(self) -> bytes:
        return self.mark + self.text.encode()


class Writer:
    """Writes one tree in one style. `draw` makes the choices."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.newline = draw(st.sampled_from(["\n", "\n", "\r\n"]))
        self.step = draw(st.integers(1, 5))
        self.quotes = draw(st.sampled_from(["", "", "'", '"', "any"]))
        self.text = ""
        self.spans: dict[str, tuple[int, int]] = {}
        self.lines: dict[str, tuple[int, int]] = {}
        self.brackets: set[str] = set()
        self.below_literal = False

    def chance(self, one_in: int = 4) -> bool:
        return bool(self.draw(st.integers(1, one_in)) == one_in)  # the simplest draw is no

    def comment(self) -> str:
        words: str = self.draw(st.sampled_from(["why", "a: b", "[x, {y", "'quoted", 'say "hi"', "é ✓", "# # :", "- z"]))
        return f"# {words}"

    def between(self) -> None:
        """Blank lines and comments of their own, at any indentation."""
        while self.chance():
            if self.chance(2):
                self.text += self.newline
                continue
            # Below a literal an indented comment would be a part of it.
            indent = 0 if self.below_literal else self.draw(st.integers(0, 6))
            self.text += " " * indent + self.comment() + self.newline
            self.below_literal = False

    def end_of_line(self) -> None:
        if self.chance():
            self.text += self.draw(st.sampled_from([" ", "  ", "\t"])) + self.comment()
        elif self.chance(6):
            self.text += "  "
        self.text += self.newline

    def scalar(self, value: Any) -> str:
        if not isinstance(value, str):
            return "null" if value is None else repr(value)
        quotes = self.draw(st.sampled_from(["", "'", '"'])) if self.quotes == "any" else self.quotes
        plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS
        if not quotes and plain:
            return value
        if quotes == "'" and value.isprintable():
            return "'" + value.replace("'", "''") + "'"
        return json.dumps(value, ensure_ascii=False)

    def key(self, name: str) -> str:
        quotes = self.draw(st.sampled_from(["", "", "", "'", '"'])) if self.quotes == "any" else ""
        return f"{quotes}{name}{quotes}"

    def put(self, path: str, value: Any) -> None:
        """A value and its place."""
        start = len(self.text)
        if isinstance(value, list):
            self.text += f"[{', '.join(self.scalar(item) for item in value)}]"
        else:
            self.text += self.scalar(value)
        self.spans[path] = (start, len(self.text))

    def block(self, tree: dict[str, Any], prefix: str, indent: int) -> None:
        for name, value in tree.items():
            self.between()
            self.below_literal = False
            path = f"{prefix}{name}"
            start = len(self.text)
            self.text += " " * indent + self.key(name) + (" :" if self.chance(12) else ":")
            if isinstance(value, dict) and value:
                self.section(value, f"{path}.", indent)
            elif isinstance(value, dict):
                nothing = self.draw(st.sampled_from(["", " {}", " null", " ~"]))
                self.brackets |= {path} if nothing == " {}" else set()
                self.text += nothing
                self.end_of_line()
            else:
                self.leaf(path, value, indent)
                self.lines[path] = (start, len(self.text) - len(self.newline))

    def section(self, tree: dict[str, Any], prefix: str, indent: int) -> None:
        if self.chance():
            self.text += " "
            self.flow(tree, prefix, indent, lines=self.chance(2))
            self.end_of_line()
            return
        self.end_of_line()
        self.block(tree, prefix, indent + self.step)

    def leaf(self, path: str, value: Any, indent: int) -> None:
        literal = isinstance(value, str) and value.isascii() and value.isprintable() and value.strip() == value
        if literal and self.chance(10):
            start = len(self.text) + 1
            self.text += " |-" + (f" {self.comment()}" if self.chance() else "") + self.newline
            self.text += " " * (indent + self.step) + value
            self.spans[path] = (start, len(self.text))
            self.text += self.newline
            self.below_literal = True
            return
        if isinstance(value, list) and value and self.chance(2):
            self.items(path, value, indent)
            return
        if self.chance(12):  # on a line of its own
            self.end_of_line()
            self.text += " " * (indent + self.step)
        else:
            self.text += " " * self.draw(st.sampled_from([1, 1, 1, 2, 7]))
        self.put(path, value)
        self.end_of_line()

    def items(self, path: str, value: list[str], indent: int) -> None:
        self.end_of_line()
        deeper = indent + self.draw(st.sampled_from([0, self.step]))
        start = len(self.text)
        for item in value:
            self.text += " " * deeper + "- " + self.scalar(item)
            self.end_of_line()
        self.spans[path] = (start, len(self.text) - len(self.newline))

    def flow(self, tree: dict[str, Any], prefix: str, indent: int, *, lines: bool) -> None:
        """A mapping between brackets, on one line or with each entry on its own."""
        self.text += "{"
        self.brackets.add(prefix.removesuffix("."))
        pad = " " if self.chance(2) and not lines else ""
        names = list(tree)
        for number, name in enumerate(names):
            if lines:
                self.end_of_line()
                self.text += " " * (indent + self.step)
            self.text += pad if number == 0 else "" if lines else " "
            self.text += self.key(name) + ": "
            value = tree[name]
            if isinstance(value, dict):
                self.flow(value, f"{prefix}{name}.", indent + self.step, lines=lines and self.chance(2))
            else:
                self.put(f"{prefix}{name}", value)
            if number < len(names) - 1 or (lines and self.chance(3)):
                self.text += ","
        if lines:
            self.end_of_line()
            self.text += " " * indent
        self.text += pad + "}"


def _tree(flat: dict[str, Any], empty: list[str]) -> dict[str, Any]:
    tree: dict[str, Any] = {section: {} for section in empty}
    for key, value in flat.items():
        below = tree
        *sections, name = key.split(".")
        for section in sections:
            below = below.setdefault(section, {})
        below[name] = value
    return tree


@st.composite
def aliases(draw: Draw) -> dict[str, Any]:
    """Aliases by key: model strings, and mappings of providers to them."""
    found: dict[str, Any] = {}
    for name in draw(st.lists(_NAMES, unique=True, max_size=3)):
        if draw(st.booleans()):
            found[f"aliases.{name}"] = draw(_MODELS)
        else:
            for provider in draw(st.lists(st.sampled_from(CORE_PROVIDERS), unique=True, min_size=1)):
                found[f"aliases.{name}.{provider}"] = draw(_MODELS)
    return found


@st.composite
def files(draw: Draw) -> Made:
    """A file that holds some keys, in some style."""
    keys = draw(st.lists(st.sampled_from(KEYS), unique=True, max_size=8))
    flat = {key: draw(_value(key)) for key in keys} | draw(aliases())
    empty = draw(st.lists(st.sampled_from(["llm", "sandbox", "providers"]), unique=True, max_size=1))
    tree = _tree(flat, [section for section in empty if not any(key.startswith(f"{section}.") for key in flat)])
    writer = Writer(draw)
    writer.between()
    marked = writer.chance(6)
    if marked:
        writer.text += "---"
        writer.end_of_line()
    if tree and writer.chance(5):
        writer.between()
        writer.flow(tree, "", 0, lines=writer.chance(2))
        writer.end_of_line()
    else:
        writer.block(tree, "", 0)
    writer.between()
    if marked and tree and writer.chance(2):
        writer.text += "..." + writer.newline
    elif writer.chance(3):
        writer.text = writer.text.removesuffix(writer.newline)
    mark = b"\xef\xbb\xbf" if writer.chance(8) else b""
    return Made(writer.text, flat, writer.spans, writer.lines, writer.brackets, mark)


def _value(key: str) -> st.SearchStrategy[Any]:
    setting = SETTINGS[key]
    return st.one_of(st.none(), values(setting.value_type)) if setting.nullable else values(setting.value_type)


def settings_and_values() -> st.SearchStrategy[tuple[str, Any]]:
    """A key, and a value for it."""
    return st.sampled_from(KEYS).flatmap(lambda key: st.tuples(st.just(key), _value(key)))
