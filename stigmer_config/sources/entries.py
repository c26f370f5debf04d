"""Converts a tree to typed entries: checks that the keys exist, checks the values, and collects every fault."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

from ..core.problems import Problem, did_you_mean, quoted, shown_name
from ..core.provenance import Entry, LayerName, Origin
from ..core.secret import Secret
from ..secrets import references
from ..settings.declarations import BUILT_IN, KEY_LISTS
from ..settings.frozen import FrozenDict
from ..settings.interpolation import uninterpolated
from ..settings.model_types import ModelString
from ..settings.packaged_providers import PROVIDER_NAME, packaged_providers
from ..settings.request_fields import Headers, ModelList, Parameters
from ..settings.schema import NAME, Schema, Setting
from ..settings.value_types import InvalidValueError, shape
from .yaml.nodes import Node
from .yaml.parser import MAX_PROBLEMS

ALIAS_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
MODEL = ModelString()
_GLUED = "put a space after the colon"
# A key and its value without the space, and the syntax of other formats.
_GLUED_TEXT = r"[a-z_]{1,64}:[^\s:/]"
_OTHER_FORMAT = r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_.]*)\s*="
_REFERRED = Secret("-")  # placeholder in a list for a secret that is stored elsewhere


def _nesting(key: str) -> str:
    """A key in a file's nested form, on one line."""
    return f"{key.replace('.', ': {')}: …{'}' * key.count('.')}"


class _EnoughError(Exception):
    """Raised at more faults than are made by mistake: each takes time."""


class Collector:
    """Collects one layer's entries. The results are in `entries`, `faulty`, `problems` and `not_read`.

    `named` has the places where providers are named as keys (`providers.corp`, `aliases.writer.corp`): whether such a
    provider exists is known only once every layer is read.

    `apps` holds the unchecked keys and values below `apps`, whichever applications are registered; None when the file
    has no such section.
    """

    def __init__(self, layer: LayerName, source: str, schema: Schema = BUILT_IN) -> None:
        self.layer = layer
        self.source = source
        self.schema = schema
        self.entries: dict[str, Entry] = {}
        self.faulty: dict[str, Origin] = {}  # keys with an invalid value
        self.named: dict[str, Origin] = {}
        self.problems: list[Problem] = []
        self.apps: dict[str, Entry] | None = None
        self.not_read: list[str] = []  # keys of another program

    def tree(self, root: Node | None) -> None:
        """Collects a file's tree: sections and keys as `settings` declares them."""
        if root is None:
            return
        try:
            self._section("", root)
        except _EnoughError:
            message = f"{MAX_PROBLEMS} errors: the rest of the file was not checked"
            origin = self.problems[-1].origin
            self.problems.append(Problem(code="too-large", message=message, hint="fix these first", origin=origin))

    def _origin(self, node: Node, *, of_key: bool = False) -> Origin:
        if of_key:
            node = node.key or node
        return Origin(self.layer, self.source, node.line, node.column)

    def _fault(self, code: str, key: str, message: str, node: Node, hint: str = "", *, of_key: bool = False) -> None:
        origin = self._origin(node, of_key=of_key)
        self._report(Problem(code=code, key=key, message=message, hint=hint, origin=origin))

    def _report(self, problem: Problem) -> None:
        self.problems.append(problem)
        if len(self.problems) >= MAX_PROBLEMS:
            raise _EnoughError

    def _section(self, section: str, node: Node, declared: str | None = None) -> None:
        """Collects a section; `declared` is the declared form of its key, where it differs."""
        if node.bad or node.value is None:
            return  # reported already, or a section that contains only comments
        declared = declared or section
        if type(node.value) is not dict:
            # Without its text, which may be the secret that belongs below.
            message = f"{'' if section else 'the file '}must hold keys, not {shape(node.value)}"
            text = node.value if type(node.value) is str else ""
            hint = self._known_keys(declared)
            if re.match(_GLUED_TEXT, text):
                hint = _GLUED
            elif assigned := re.match(_OTHER_FORMAT, text):
                hint = self._as_yaml(f"{section}.{assigned[1]}" if section else assigned[1])
            self._fault("not-a-mapping", section, message, node, hint)
            return
        found = len(self.entries), len(self.problems)
        for name, child in node.value.items():
            self._child(section, declared, name, child)
        if found == (len(self.entries), len(self.problems)) and self.schema.is_struct(declared):
            self.entries[section] = Entry(FrozenDict(), self._origin(node))  # it exists, with its defaults

    def _child(self, section: str, declared: str, name: str, node: Node) -> None:
        """Collects the value of one name in a section."""
        key = f"{section}.{name}" if section else name
        found = self.schema.child(declared, name)
        if found is None:
            self._unknown(key, name, node)
        elif found == "aliases":
            self._aliases(node)
        elif found == "apps":
            self._apps(node)
        elif found in self.schema.children and not self._is_none(found, node):
            if section == "providers":
                self.named[key] = self._origin(node, of_key=True)
            self._section(key, node, found)
        else:
            self._leaf(key, self.schema.settings.get(found) or self.schema.named[found], node)

    def _is_none(self, declared: str, node: Node) -> bool:
        """Whether a nullable section is set to null."""
        setting = self.schema.find(declared) if node.value is None and not node.bad else None
        return setting is not None and setting.nullable

    def _known_keys(self, section: str) -> str:
        names = [name for name in self.schema.children[section] if name != NAME]
        if not names:
            return "for example name: value"
        return f"{'put keys below it' if section else 'known keys'}: {', '.join(names)}"

    def _apps(self, node: Node) -> None:
        """Collects the applications' settings: those of a registered one by its declarations, others unchecked."""
        from .app_entries import leaves, masked  # imported late: most files have no applications

        if node.bad:
            return
        if type(node.value) is not dict and node.value is not None:
            message = f"must hold applications, not {shape(node.value)}"
            self._fault("not-a-mapping", "apps", message, node, "for example apps: {checkpointer: {interval: 10}}")
            return
        self.apps = {}
        for name, child in (node.value or {}).items():
            found = {key: Entry(value, self._origin(at)) for key, value, at in leaves(f"apps.{name}", child)}
            self.apps |= found
            if name in self.schema.children["apps"]:
                self._section(f"apps.{name}", child)
            else:
                self.entries |= {key: Entry(masked(key, entry.value), entry.origin) for key, entry in found.items()}
                self._note_neighbour(name, self._origin(child, of_key=True))

    def _note_neighbour(self, name: str, origin: Origin) -> None:
        """Warns about an application's name that is nearly a registered one."""
        from .app_entries import neighbour

        near = neighbour(name, self.schema.children["apps"])
        if near is not None:
            message = f"no application is registered as {quoted(shown_name(name))}: its settings have no effect here"
            hint = f"did you mean apps.{near}?"
            key = f"apps.{shown_name(name)}"
            self._report(
                Problem(severity="warning", code="unknown-key", key=key, message=message, hint=hint, origin=origin)
            )

    def _unknown(self, key: str, name: str, node: Node) -> None:
        """Reports an unknown key, except one of the Stigmer CLI in the user's file."""
        from .stigmer_cli import KEYS  # imported late: most files have neither

        if self.layer == "user" and key in KEYS:
            self.not_read.append(key)
            return
        near = self.schema.suggest(key.replace(":", "."))
        section = key.removesuffix(name).rstrip(".")
        key = key.removesuffix(name) + shown_name(name)
        known = ", ".join(self.schema.children.get(self.schema.declared(section) or "", {}))
        hint = f"did you mean {near}?" if near else f"known keys{f' of {section}' if section else ''}: {known}"
        if _is_glued(name, node):
            hint = _GLUED
        elif name in self.schema.variables:
            hint = f"{name} is a variable; {self._nested(self.schema.variables[name].key)}"
        elif name != name.strip() or "\xa0" in name:
            hint = (
                "the line is indented with no-break spaces (U+00A0), which YAML takes as part of the name: use spaces"
            )
        elif near and not {".", ":"}.isdisjoint(name):
            hint = self._nested(near)
        self._fault("unknown-key", key, "there is no such key", node, hint, of_key=True)

    def _as_yaml(self, name: str) -> str:
        """The hint for text in another format, by the name before its `=`."""
        setting = self.schema.variables.get(name.rpartition(".")[2]) or self.schema.find(name)
        example = _nesting(setting.key) if setting is not None else "key: value, for example llm: {model: fast}"
        return f"this file is YAML: write {example}"

    def _nested(self, key: str) -> str:
        """The hint for a key that is written with dots or with colons."""
        return f"write it nested: {_nesting(key)}"

    def _leaf(self, key: str, setting: Setting, node: Node) -> None:
        if node.bad:
            return
        origin = self._origin(node)
        if self.layer == "project" and setting.access in ("secret", "forbidden"):
            # It is refused in any case: its value is neither checked nor kept.
            self.entries[key] = Entry(None, origin)
            return
        try:
            value = self._value(key, setting, node)
        except InvalidValueError as fault:
            odd = node.value[fault.item] if fault.item is not None else node
            self.faulty[key] = self._origin(odd)
            self._report(fault.problem(key, self._origin(odd)))
            return
        if key in KEY_LISTS:
            self._key_list(setting.key, node)
        self.entries[key] = Entry(value, origin)
        if type(value) in (str, Secret):
            warning = uninterpolated(setting, value, origin, key)
            if warning is not None:
                self._report(warning)

    def _value(self, key: str, setting: Setting, node: Node) -> Any:
        """A leaf's value in its setting's type; if that has parts, each is an entry with its own place."""
        if setting.is_secret:
            return self._secret(key, setting, node)
        if type(node.value) is not dict and type(node.value) is not list:
            return setting.check(node.value, key)
        if type(node.value) is dict and isinstance(setting.value_type, Parameters):
            return self._parts(key, node, setting.value_type.check_item)
        if type(node.value) is dict and isinstance(setting.value_type, Headers):
            return self._headers(key, setting.value_type, node)
        value = setting.check(node.plain, key)
        if type(value) is tuple and isinstance(setting.value_type, ModelList):
            return tuple(Entry(text, self._origin(item)) for text, item in zip(value, node.value, strict=True))
        return value

    def _parts(self, key: str, node: Node, check: Callable[[str, Any, str], Any]) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        for name, child in node.value.items():
            try:
                found[name] = Entry(check(name, child.plain, key), self._origin(child))
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

    def _secret(self, key: str, setting: Setting, node: Node) -> Any:
        value = node.plain
        is_one = getattr(setting.value_type, "item", None) is None
        if isinstance(value, dict) and is_one:
            return self._reference(value)
        if not isinstance(value, list) or is_one:
            return setting.check(value, key)
        referred = {at: self._reference(item, at) for at, item in enumerate(value) if isinstance(item, dict)}
        checked = setting.check([_REFERRED if at in referred else item for at, item in enumerate(value)], key)
        return type(checked)(referred.get(at, item) for at, item in enumerate(checked))

    def _reference(self, value: dict[str, Any], item: int | None = None) -> references.Reference:
        try:
            return references.parse(value, os.path.dirname(self.source), commands=self.layer == "user")
        except InvalidValueError as fault:
            fault.item = item
            raise

    def _key_list(self, key: str, node: Node) -> None:
        for item in node.value:
            problem = unknown_item(key, item.value, self._origin(item), self.schema)
            if problem is not None:
                self._report(problem)

    def _aliases(self, node: Node) -> None:
        if node.bad or node.value is None:
            return
        if type(node.value) is not dict:
            self._fault("not-a-mapping", "aliases", f"must hold names, not {shape(node.value)}", node)
            return
        for name, child in node.value.items():
            key = f"aliases.{name}"
            if not ALIAS_NAME.fullmatch(name):
                hint = "an alias name is a lowercase letter, then such letters, digits and _ . -, 64 at most"
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
            self.entries[key] = Entry(MODEL.check(node.plain, key), self._origin(node))
        except InvalidValueError as fault:
            hint = "write a model, an alias, or a mapping of providers to models"
            self.faulty[key] = self._origin(node)
            self._report(fault.problem(key, self._origin(node), hint))

    def _target(self, key: str, provider: str, node: Node) -> Entry | None:
        if _is_glued(provider, node) or not PROVIDER_NAME.fullmatch(provider):
            hint = _GLUED if _is_glued(provider, node) else f"providers: {', '.join(packaged_providers())}"
            message = f"there is no provider {quoted(shown_name(provider))}"
            self._fault("unknown-alias-provider", f"{key}.{shown_name(provider)}", message, node, hint, of_key=True)
            return None
        self.named[f"{key}.{provider}"] = self._origin(node, of_key=True)
        if not node.bad:
            try:
                return Entry(MODEL.check(node.plain, f"{key}.{provider}"), self._origin(node))
            except InvalidValueError as fault:
                self._report(fault.problem(f"{key}.{provider}", self._origin(node)))
        return None


def _is_glued(name: str, node: Node) -> bool:
    """Whether a name between brackets is a key and its value: `{timeout:1}` is one name without a value."""
    return ":" in name and node.value is None


def unknown_item(key: str, name: str, origin: Origin, schema: Schema) -> Problem | None:
    """The fault of an item of `locked` or `enforced` that is not a key, section or alias; else None."""
    if name and (schema.find(name) is not None or schema.is_section(name)):
        return None
    hint = did_you_mean(name, [*schema.settings, *schema.children], "name a key or a section")
    return Problem(code="unknown-key", key=key, message=f"there is no key {quoted(name)}", hint=hint, origin=origin)
