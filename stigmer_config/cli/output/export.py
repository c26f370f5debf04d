"""Prints the effective values as a configuration file, or as shell variables, which can be loaded again."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...config.config import RESOLVED, Config
from ...config.sections import plain
from ...core.problems import printable
from ...core.secret import Secret
from ...llm.catalogue import catalogue
from ...llm.declared_providers import is_gateway
from ...llm.model_strings import ModelNames, split
from ...secrets.references import Unread
from ...settings.declarations import PROVIDER_FIELDS
from ...settings.packaged_providers import packaged_providers
from ...sources.defaults import defaults_layer
from .render import text

# `printable` does not escape these, and YAML does not allow them unescaped.
_NO_CHARACTER = re.compile("[\ufffe\uffff]")
# Strings that need no quotes in YAML, except the words that YAML 1.1 converts.
_PLAIN = re.compile(r"[A-Za-z/](?:[A-Za-z0-9._/@+:-]*[A-Za-z0-9])?")
_WORDS = frozenset(("null", "true", "false", "yes", "no", "on", "off", "y", "n"))
# Characters that printf's format may contain unescaped: no -, which might begin an option.
_SAFE_BYTES = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:,=+@ ")


class _Leaf(NamedTuple):
    """A value to write; or, with `instead`, a comment in its place."""

    value: Any
    instead: str = ""
    origin: str = ""


class Writer:
    """Writes values of one Config. `reveal` prints secrets, `origins` adds each value's origin."""

    def __init__(self, config: Config, *, reveal: bool, origins: bool) -> None:
        self.config = config
        self.reveal = reveal
        self.origins = origins
        # Beside `llm.provider` such a name would be a contradiction, but not among the provider's own settings.
        self.foreign_model = _is_foreign(config)
        self.replaced = _replaced(config)

    def yaml(self, keys: Sequence[str], *, whole: bool) -> str:
        """Writes a valid configuration file; `whole`: with the aliases that its model needs.

        Secrets that are not revealed, and values that a file cannot set, are written as comments.
        """
        tree: dict[str, Any] = {}
        wanted = [*(self._needed_providers() if whole else ()), *keys, *(self._needed_aliases() if whole else ())]
        for key in dict.fromkeys(wanted):
            written = self._written_as(key)
            if written is not None:
                _put(tree, written, self._leaf(key))
        return "\n".join(_lines(tree, ""))

    def _needed_providers(self) -> list[str]:
        """The keys that declare the provider in force, and the settings of the fallbacks' other providers."""
        llm, needed = self.config.llm, []
        for provider in dict.fromkeys(one.provider for one in (llm, *llm.fallbacks)):
            own = [f"providers.{provider}.{field}" for field in PROVIDER_FIELDS]
            if provider not in packaged_providers():
                needed += [key for key in own if key.endswith((".kind", ".base_url"))]
            if provider != llm.provider:
                needed += [key for key in own if self._is_given(key)]
        return needed

    def _is_given(self, key: str) -> bool:
        """Whether a layer above the defaults gives a key a value."""
        origin = self.config.explain(key).origin
        return self.config.value(key) is not None and origin is not None and origin.layer != "defaults"

    def _needed_aliases(self) -> list[str]:
        hops = self.config.explain("llm.model").hops
        aliases = (f"aliases.{hop.name}" for hop in hops)
        return [key for key in aliases if (origin := self.config.explain(key).origin) and origin.layer != "defaults"]

    def _written_as(self, key: str) -> str | None:
        """The key with which a file gives the same effective value; None when there is none."""
        llm = self.config.llm
        if key == "llm.api_key" and llm.kind == "ollama":
            return f"providers.{llm.provider}.api_key"  # the only key that Ollama accepts
        if key == "llm.model" and self.foreign_model:
            return f"providers.{llm.provider}.model"
        if key == "enforced":
            return None  # only the site file can enforce
        if key == f"providers.{llm.provider}.model" and self.foreign_model:
            return None  # the one in force is there
        if key == f"providers.{llm.provider}.api_key" and llm.kind == "ollama":
            return None
        return None if key.startswith("redis.") and self.config.redis is None else key

    def _leaf(self, key: str) -> _Leaf:
        value = self.config.value(key)
        origin = self._origin(key) if self.origins else ""
        setting = self.config.schema.find(key)
        if key in RESOLVED:
            return _Leaf(value, f"{text(value)} (derived, not a setting)")
        if isinstance(value, Secret) and (not self.reveal or isinstance(value, Unread)):
            more = "" if isinstance(value, Unread) else "; --reveal prints it"
            label = str(value) if isinstance(value, Unread) else "set"
            return _Leaf(value, f"{label} ({self._origin(key)}){more}")
        if key.endswith(".headers") and value and not self.reveal:
            return _Leaf(value, f"set: {', '.join(value)} ({self._origin(key)}); --reveal prints them")
        if key in self.replaced:
            return _Leaf(value, f"{text(value)} (packaged; it was retired, and {self.config.llm.model_id} is called)")
        if value is None and (setting is None or not setting.nullable):
            return _Leaf(value, "none")
        return _Leaf(plain(value, reveal=self.reveal), origin=origin)

    def _origin(self, key: str) -> str:
        origin = self.config.explain(key).origin
        return f"{origin.layer}: {printable(str(origin))}" if origin is not None else "not set"

    def shell(self, keys: Sequence[str]) -> str:
        """Writes lines that a POSIX shell can source; keys without a variable are left out."""
        lines: list[str] = []
        for key in keys:
            setting = self.config.schema.find(key)
            if setting is None or setting.variable is None:
                continue
            leaf = self._leaf(key)
            if key == "llm.model" and key in self.replaced:
                leaf = _Leaf(self.config.llm.model_id)  # in a variable the name would mean the retired model
            if key == "llm.api_key" and self.config.llm.kind == "ollama" and leaf.value is not None:
                leaf = _Leaf(
                    leaf.value, f"Ollama's key has no variable; see providers.{self.config.llm.provider}.api_key"
                )
            lines.append(self._assignment(key, setting.variable, leaf))
        return "\n".join(lines)

    def _assignment(self, key: str, variable: str, leaf: _Leaf) -> str:
        if leaf.instead or leaf.value is None:
            return f"# {variable}: {leaf.instead or 'none'}"
        text = ",".join(leaf.value) if isinstance(leaf.value, list) else str(leaf.value)
        if key == "llm.model" and self.foreign_model:
            text = f"{self.config.llm.provider}:{self.config.llm.model_name}"
        return _shell_assignment(variable, text) + (f"  # {leaf.origin}" if leaf.origin else "")


def _is_foreign(config: Config) -> bool:
    """Whether the model's bare name belongs to another provider than its own, which is not a gateway."""
    llm = config.llm
    hops = config.explain("llm.model").hops
    prefix, name = split(hops[-1].target if hops else llm.model, config.providers)
    if prefix is not None or ModelNames({}, catalogue()).belongs_to(name) in (None, llm.provider):
        return False
    packaged = defaults_layer(config.mode).entries.get(f"providers.{llm.provider}.base_url")
    return not is_gateway(llm.provider, llm.base_url, packaged.value if packaged is not None else None)


def _replaced(config: Config) -> set[str]:
    """The packaged entry with a retired model, if its successor is called instead.

    Anywhere except in the packaged defaults the same string would mean the retired model itself.
    """
    llm = config.llm
    facts = catalogue().find(llm.model_name, llm.provider)
    if facts is None or llm.model_id in (facts.id, ""):
        return set()
    hops = config.explain("llm.model").hops
    return {f"aliases.{hops[-1].name}"} if hops else {"llm.model", f"providers.{llm.provider}.model"}


def _put(tree: dict[str, Any], key: str, leaf: _Leaf) -> None:
    section, _, name = key.partition(".")
    # An alias's name may hold dots: it is one name.
    parts = [section, name] if section == "aliases" else key.split(".")
    for part in parts[:-1]:
        tree = tree.setdefault(part, {})
    tree[parts[-1]] = leaf


def _lines(tree: Mapping[str, Any], indent: str) -> list[str]:
    lines: list[str] = []
    for name, part in tree.items():
        if isinstance(part, dict):
            below = _lines(part, indent + "  ")
            holds = any(not line.lstrip().startswith("#") for line in below)
            lines += [f"{indent}{name}:" if holds else f"{indent}# {name}:", *below]
        elif part.instead:
            lines.append(f"{indent}# {name}: {printable(part.instead)}")
        else:
            lines.append(f"{indent}{name}: {_yaml_value(part.value)}" + (f"  # {part.origin}" if part.origin else ""))
    return lines


def _yaml_value(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    # JSON is YAML: a quoted string is never read as a version, a date or a number. Its escapes are valid in YAML,
    # too, except surrogates.
    text = printable(json.dumps(value, ensure_ascii=False))
    return _NO_CHARACTER.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def _shell_assignment(variable: str, text: str) -> str:
    encoding = (sys.stdout.encoding or "ascii").replace("-", "").lower()
    if (text.isascii() and text.isprintable()) or (encoding == "utf8" and printable(text) == text):
        return f"{variable}={shlex.quote(text)}"
    # printf can write every byte; the full stop keeps the shell from dropping trailing newlines.
    octal = "".join(chr(byte) if byte in _SAFE_BYTES else f"\\{byte:03o}" for byte in text.encode())
    return f'{variable}="$(printf \'{octal}.\')"; {variable}="${{{variable}%.}}"'
