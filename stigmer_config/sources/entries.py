"""A tree or a mapping → typed entries: which keys there are, what each may hold, and every fault at once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

from ..core.problems import Problem, did_you_mean, quoted, shown_name
from ..core.provenance import Entry, LayerName, Origin
from ..secrets import references
from ..settings.declarations import CHILDREN, SETTINGS, Setting, children, find, suggest
from ..settings.providers import NAME, packaged_providers
from ..settings.request_fields import Headers, ModelList, Parameters
from ..settings.value_types import InvalidValueError, Model, shape
from .yaml.nodes import Node
from .yaml.parser import MAX_PROBLEMS

ALIAS_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
MODEL = Model()
_GLUED = "put a space behind the colon"


class _EnoughError(Exception):
    """More faults than anybody makes by mistake; each of them costs."""


class Collector:
    """Gathers one layer's entries. `entries`, `faulty` and `problems` hold what was found.

    `named` has the places where providers are named as keys (`providers.corp`, `aliases.writer.corp`): whether there
    is one of that name is known once every layer is read.
    """

    def __init__(self, layer: LayerName, source: str) -> None:
        self.layer = layer
        self.source = source
        self.entries: dict[str, Entry] = {}
        self.faulty: dict[str, Origin] = {}  # keys whose value is none they may have
        self.named: dict[str, Origin] = {}
        self.problems: list[Problem] = []

    def tree(self, root: Node | None) -> None:
        """Takes a file's tree: sections and keys as `settings` declares them."""
        if root is None:
            return
        try:
            self._section("", root)
        except _EnoughError:
            message = f"{MAX_PROBLEMS} faults: the rest of the file was not checked"
            origin = self.problems[-1].origin
            self.problems.append(Problem(code="too-large", message=message, hint="mend these first", origin=origin))

    def _origin(self, node: Node, *, of_key: bool = False) -> Origin:
        if of_key:
            return Origin(self.layer, self.source, node.key_line, node.key_column)
        return Origin(self.layer, self.source, node.line, node.column)

    def _fault(self, code: str, key: str, message: str, node: Node, hint: str = "", *, of_key: bool = False) -> None:
        origin = self._origin(node, of_key=of_key)
        self._report(Problem(code=code, key=key, message=message, hint=hint, origin=origin))

    def _report(self, problem: Problem) -> None:
        self.problems.append(problem)
        if len(self.problems) >= MAX_PROBLEMS:
            raise _EnoughError

    def _section(self, section: str, node: Node) -> None:
        if node.bad or node.value is None:
            return  # reported already, or a section with only comments in it
        if type(node.value) is not dict:
            # Not its text: it may be the secret that belongs below.
            message = f"{section or 'the file'} must hold keys, not {shape(node.value)}"
            self._fault("not-a-mapping", section, message, node, f"known keys: {', '.join(children(section))}")
            return
        below = children(section)
        for name, child in node.value.items():
            key = below.get(name)
            setting = find(key) if key is not None else None
            if setting is not None:
                self._leaf(setting, child)
            elif section == "providers" and NAME.fullmatch(name):
                self.named[f"providers.{name}"] = self._origin(child, of_key=True)
                self._section(f"providers.{name}", child)
            elif key is None:
                self._unknown(f"{section}.{name}" if section else name, name, child)
            elif key == "aliases":
                self._aliases(child)
            else:
                self._section(key, child)

    def _unknown(self, key: str, name: str, node: Node) -> None:
        near = suggest(key.replace(":", "."))
        section = key.removesuffix(name).rstrip(".")
        key = key.removesuffix(name) + shown_name(name)
        known = ", ".join(children(section) or CHILDREN[""])
        hint = f"did you mean {near}?" if near else f"known keys{f' of {section}' if section else ''}: {known}"
        if _is_glued(name, node):
            hint = _GLUED
        elif near and not {".", ":"}.isdisjoint(name):
            hint = self._nested(near)
        self._fault("unknown-key", key, f"there is no key {quoted(key)}", node, hint, of_key=True)

    def _nested(self, key: str) -> str:
        """How to write a key that was given with dots, or with colons."""
        return f"write it nested: {key.replace('.', ': {')}: …{'}' * key.count('.')}"

    def _leaf(self, setting: Setting, node: Node) -> None:
        if node.bad:
            return
        if self.layer == "project" and setting.access in ("secret", "forbidden"):
            # Whatever it is, it is refused: nothing of it is looked at or kept.
            self.entries[setting.key] = Entry(None, self._origin(node))
            return
        try:
            value = self._value(setting, node)
        except InvalidValueError as fault:
            items = node.value if setting.key == "locked" and type(node.value) is list else []
            odd = next((item for item in items if type(item.value) is not str), node)
            self.faulty[setting.key] = self._origin(odd)
            self._report(fault.problem(setting.key, self._origin(odd)))
            return
        if setting.key == "locked":
            self._locked(node)
        self.entries[setting.key] = Entry(value, self._origin(node))

    def _value(self, setting: Setting, node: Node) -> Any:
        """What a leaf says, in its setting's type; where that has parts, each is an entry with a place of its own."""
        if setting.is_secret:
            return self._secret(setting, node)
        if isinstance(setting.kind, Parameters) and type(node.value) is dict:
            return self._parts(setting.key, node, setting.kind.check_item)
        if isinstance(setting.kind, Headers) and type(node.value) is dict:
            return self._headers(setting.key, setting.kind, node)
        value = setting.check(_plain(node), setting.key)
        if isinstance(setting.kind, ModelList) and value is not None:
            return tuple(Entry(text, self._origin(item)) for text, item in zip(value, node.value, strict=True))
        return value

    def _parts(self, key: str, node: Node, check: Callable[[str, Any, str], Any]) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        for name, child in node.value.items():
            try:
                found[name] = Entry(check(name, _plain(child), key), self._origin(child))
            except InvalidValueError as fault:
                self._report(fault.problem(key, self._origin(child, of_key=True)))
        return found

    def _headers(self, key: str, kind: Headers, node: Node) -> dict[str, Entry]:
        def check(name: str, value: Any, what: str) -> Any:
            header = kind.check_name(name, what)
            if isinstance(value, dict):
                return references.parse(value, os.path.dirname(self.source), commands=self.layer == "user")
            return kind.check_item(header, value, what)

        found: dict[str, Entry] = {}
        for name, entry in self._parts(key, node, check).items():
            if name.lower() in found:
                message = f"the header {quoted(name.lower())} is given twice"
                fault = Problem(code="duplicate-key", key=key, message=message, hint="remove one", origin=entry.origin)
                self._report(fault)
            found[name.lower()] = entry
        return found

    def _secret(self, setting: Setting, node: Node) -> Any:
        value = _plain(node)
        if isinstance(value, dict):
            return references.parse(value, os.path.dirname(self.source), commands=self.layer == "user")
        return setting.check(value, setting.key)

    def _locked(self, node: Node) -> None:
        for item in node.value:
            problem = lock_problem(item.value, self._origin(item))
            if problem is not None:
                self._report(problem)

    def _aliases(self, node: Node) -> None:
        if node.bad or node.value is None:
            return
        if type(node.value) is not dict:
            self._fault("not-a-mapping", "aliases", f"aliases must hold names, not {shape(node.value)}", node)
            return
        for name, child in node.value.items():
            key = f"aliases.{name}"
            if not ALIAS_NAME.fullmatch(name):
                hint = "an alias starts with a small letter; then small letters, digits and _ . -, 64 at most"
                hint = _GLUED if _is_glued(name, child) else hint
                message = f"{quoted(shown_name(name))} is not an alias name"
                self._fault("unknown-key", f"aliases.{shown_name(name)}", message, child, hint, of_key=True)
            elif not child.bad:
                self._alias(key, child)

    def _alias(self, key: str, node: Node) -> None:
        if type(node.value) is dict and node.value:
            targets = {name: self._target(key, name, child) for name, child in node.value.items()}
            value: Any = {name: entry for name, entry in targets.items() if entry is not None}
            if len(value) == len(targets):
                self.entries[key] = Entry(value, self._origin(node))
            else:
                self.faulty[key] = self._origin(node)
            return
        try:
            self.entries[key] = Entry(MODEL.check(_plain(node), key), self._origin(node))
        except InvalidValueError as fault:
            hint = "write a model, an alias, or a mapping of providers to models"
            self.faulty[key] = self._origin(node)
            self._report(fault.problem(key, self._origin(node), hint))

    def _target(self, key: str, provider: str, node: Node) -> Entry | None:
        if _is_glued(provider, node) or not NAME.fullmatch(provider):
            hint = _GLUED if _is_glued(provider, node) else f"providers: {', '.join(packaged_providers())}"
            message = f"there is no provider {quoted(shown_name(provider))}"
            self._fault("unknown-alias-provider", f"{key}.{shown_name(provider)}", message, node, hint, of_key=True)
            return None
        self.named[f"{key}.{provider}"] = self._origin(node, of_key=True)
        if not node.bad:
            try:
                return Entry(MODEL.check(_plain(node), f"{key}.{provider}"), self._origin(node))
            except InvalidValueError as fault:
                self._report(fault.problem(f"{key}.{provider}", self._origin(node)))
        return None


def _is_glued(name: str, node: Node) -> bool:
    """Whether a name is a key and its value, between brackets: `{timeout:1}` is one name without a value."""
    return ":" in name and node.value is None


def _plain(node: Node) -> Any:
    """The node's value as plain Python."""
    if type(node.value) is dict:
        return {name: _plain(child) for name, child in node.value.items()}
    if type(node.value) is list:
        return [_plain(item) for item in node.value]
    return node.value


def lock_problem(name: str, origin: Origin) -> Problem | None:
    """The fault of an entry of `locked` that is no key, section or alias; else None."""
    if name and (find(name) is not None or children(name) or name in CHILDREN):
        return None
    hint = did_you_mean(name, [*SETTINGS, *CHILDREN], "name a key or a section")
    return Problem(
        code="unknown-key", key="locked", message=f"there is no key {quoted(name)}", hint=hint, origin=origin
    )
