"""Determines which lines of a file hold, or may hold, a secret, so that no message shows them.

A name that looks like a secret's hides its value everywhere: in an unknown section, in a duplicate key, in a list, in
a comment. Doubtful lines are hidden too: losing an excerpt is better than showing a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ...core.problems import nearest
from ...settings.declarations import BUILT_IN
from ...settings.packaged_providers import PROVIDER_NAME
from ...settings.schema import Schema

if TYPE_CHECKING:
    from .nodes import Node

# Parts of usual names of secrets; and the prefixes of some providers' keys.
_SECRET_WORDS = ("key", "secret", "passw", "pwd", "token", "cred", "auth", "sk-")
_WORD = re.compile(r"[A-Za-z][^\s:=,'\"\[\]{}]{2,40}")
_SIGN = re.compile(r"[:=,\[\]{}'\"]")
# How many names and words are compared with those of secrets; the rest counts as secret.
_MAX_GUESSES = 300
_SECTIONS = frozenset(section.rpartition(".")[2] for section in BUILT_IN.children)


def _folded(text: str) -> str:
    """A text prepared for the search for secret words: tokens of a model are not secrets."""
    return text.lower().replace("max_tokens", "")


def is_secretive(name: str) -> bool:
    """Whether a name looks like a secret's."""
    name = _folded(name)
    return any(word in name for word in _SECRET_WORDS)


def hidden_lines(
    text: str, tree: Node | None, lost: Iterable[tuple[str, Node]], schema: Schema = BUILT_IN
) -> frozenset[int]:
    """The 1-based numbers of the lines that no message may show.

    `tree` is the parsed text, None when it cannot be read; `lost` has the values that are not in the tree.
    """
    if tree is None:
        return _from_first_secret(text.splitlines(), schema)
    folded = _folded(text)
    words = [word for word in _SECRET_WORDS if word in folded]
    hider = _Hider(schema, secretive=bool(words))
    if words:
        lines = enumerate(folded.splitlines(), start=1)
        hider.lines.update(number for number, line in lines if any(word in line for word in words))
    hider.root(tree)
    for name, node in lost:
        hider.lost(name, node)
    return frozenset(hider.lines)


def _from_first_secret(lines: list[str], schema: Schema) -> frozenset[int]:
    """All lines from the first secret on, for a text in which the end of a value is unknown."""
    guesses = _Guesses(schema)
    for number, line in enumerate(lines, start=1):
        names = [*_WORD.findall(line), *(part.strip() for part in _SIGN.split(line))]
        if is_secretive(line) or any(guesses.may_be_secret(name) for name in names):
            return frozenset(range(number, len(lines) + 2))
    return frozenset()


class _Guesses:
    """Compares names with those of secrets, to find mistyped ones. Each takes time, so their number is bounded."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._left = _MAX_GUESSES
        self._guessed: dict[str, bool] = {}

    def may_be_secret(self, name: str) -> bool:
        if name in self._schema.known_names:
            return is_secretive(name) or name in self._schema.secret_names
        guess = self._guessed.get(name)
        if guess is None:
            self._left -= 1
            guess = self._left < 0 or is_secretive(name) or nearest(name, self._schema.secret_names) is not None
            self._guessed[name] = guess
        return guess


class _Hider:
    """Walks a tree with `settings`' declarations. `lines` collects the hidden lines.

    `secretive`: whether the text contains any secret word; most do not, and need no search.
    """

    def __init__(self, schema: Schema, *, secretive: bool) -> None:
        self.lines: set[int] = set()
        self._schema = schema
        self._secretive = secretive
        self._guesses = _Guesses(schema)

    def _hide(self, first: int, node: Node) -> None:
        self.lines.update(range(first, max(node.end_line, node.line) + 1))

    def root(self, node: Node) -> None:
        if type(node.value) is dict:
            self._section("", node)
        elif node.value is not None:
            self._hide(1, node)

    def _section(self, section: str, node: Node) -> None:
        for name, child in node.value.items():
            key = self._schema.child(section, name)
            if key is None:
                self._unknown(name, child)
            elif key in self._schema.children:
                self._below(key, child)
            else:
                self._leaf(key, child)

    def _below(self, section: str, node: Node) -> None:
        if type(node.value) is not dict:
            if node.value is not None:  # a value in place of a section may be the secret that belongs in it
                self._hide(node.line, node)
        elif section == "aliases":
            for name, child in node.value.items():
                self._alias(name, child)
        else:
            self._section(section, node)

    def _leaf(self, key: str, node: Node) -> None:
        setting = self._schema.find(key)
        if setting is not None and (setting.is_secret or key.endswith(".headers")):
            self._hide((node.key or node).line, node)
        elif _may_hold_secret(node):
            self._hide(node.line, node)

    def _alias(self, name: str, node: Node) -> None:
        if self._secretive and is_secretive(name):
            self._hide((node.key or node).line, node)
        elif type(node.value) is dict:
            for provider, child in node.value.items():
                if not PROVIDER_NAME.fullmatch(provider):
                    self._unknown(provider, child)
                elif _may_hold_secret(child):
                    self._hide(child.line, child)
        elif _may_hold_secret(node):
            self._hide(node.line, node)

    def _unknown(self, name: str, node: Node) -> None:
        if type(node.value) in (dict, list) or _may_hold_secret(node):
            self._hide(node.line, node)
        # If a colon was forgotten, the secret is part of the name, or its name part of the value.
        text = node.value if type(node.value) is str else ""
        if any(self._guesses.may_be_secret(word) for word in (name, *_WORD.findall(f"{name} {text[:200]}"))):
            self._hide((node.key or node).line, node)

    def lost(self, name: str, node: Node) -> None:
        """Hides values that are not in the tree, unless their names are certainly not a secret's."""
        if name not in self._schema.known_names or is_secretive(name) or name in self._schema.secret_names:
            self._hide((node.key or node).line, node)
        elif _may_hold_secret(node) or (name in _SECTIONS and node.value is not None):
            self._hide(node.line, node)


def _may_hold_secret(node: Node) -> bool:
    """Whether another setting's value may hold a secret: a URL's password, query or fragment, a misplaced mapping."""
    if type(node.value) is str:
        return any(sign in node.value for sign in "@?#")
    if type(node.value) is list:
        return any(_may_hold_secret(item) for item in node.value)
    return type(node.value) is dict and bool(node.value)
