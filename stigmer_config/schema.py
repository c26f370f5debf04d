"""The JSON Schema (2020-12) of a configuration file, from the settings' declarations.

It is for editors: keys and values to complete, texts to show, faults to mark. What one file cannot tell is
left to the load: trust, another layer's provider, what a model takes. One thing JSON Schema cannot say: 5.0 is
a whole number to it, and none to us.
"""

from __future__ import annotations

import functools
import json
from typing import Any

from .config import Mode
from .kinds import (
    MAX_INT,
    PROVIDERS,
    Address,
    Choice,
    Credential,
    KeyList,
    Kind,
    Model,
    Number,
    Text,
    Url,
    Whole,
)
from .secret import Secret
from .settings import CHILDREN, SETTINGS, Setting
from .sources.defaults import defaults_layer

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# Python's `$` matches before a last line break, JavaScript's does not: this one never does.
_END = r"$(?!\n)"
_PORT = "0*(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_NAME = "[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_URL_PATH = r"(?:/[A-Za-z0-9._~!$&'()*+,;=:%/-]*)?"
_CLASSES = {
    "open": "Any file may set it.",
    "protected": "A project's file may set it only once you trust it.",
    "secret": "Secret: never in a project's file, masked everywhere.",
    "forbidden": "Never in a project's file.",
}


def text() -> str:
    """The schema as the command prints it, with its last line end."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def schema() -> dict[str, Any]:
    """The schema as plain data."""
    return {
        "$schema": DIALECT,
        "title": "stigmer configuration",
        "description": "~/.stigmer/config.yaml, a project's .stigmer/config.yaml, or the machine's config.yaml.",
        **_section(""),
    }


def _section(section: str) -> dict[str, Any]:
    properties = {name: _below(key) for name, key in CHILDREN[section].items()}
    return {"type": ["object", "null"], "properties": properties, "additionalProperties": False}


def _below(key: str) -> dict[str, Any]:
    if key == "aliases":
        return _aliases()
    return _setting(SETTINGS[key]) if key in SETTINGS else {"description": _DOCS[key], **_section(key)}


_DOCS = {
    "llm": "The model in force: who serves it, which one, where, and its parameters.",
    "providers": "Each provider's own settings, for when it is the active one.",
    **{f"providers.{provider}": f"Settings for when {provider} is the active provider." for provider in PROVIDERS},
    "temporal": "Where the worker gets its work.",
    "backend": "The Stigmer backend.",
    "sandbox": "Where an agent's tools run.",
    "redis": "Redis, in cloud mode.",
    "logging": "How events are logged.",
}


def _setting(setting: Setting) -> dict[str, Any]:
    shape = _shape(setting.kind)
    default, told = _default(setting)
    facts = [
        setting.doc,
        _CLASSES[setting.access],
        f"Variable: {setting.variable}." if setting.variable else "",
        "A running worker must restart for it." if setting.reload == "restart" else "",
        told,
    ]
    rules = {
        "description": " ".join(filter(None, facts)),
        **default,
        "x-class": setting.access,
        "x-reload": setting.reload,
    }
    if setting.variable:
        rules["x-variable"] = setting.variable
    if isinstance(setting.kind, Model):
        rules["examples"] = _examples(setting.key)
    return {**rules, **(_or_null(shape) if setting.nullable else shape)}


def _or_null(shape: dict[str, Any]) -> dict[str, Any]:
    if "type" in shape and "enum" not in shape:
        return {**shape, "type": [shape["type"], "null"]}
    if "enum" in shape:
        return {**shape, "enum": [*shape["enum"], None]}
    return {"anyOf": [*shape["anyOf"], {"type": "null"}]}


def _default(setting: Setting) -> tuple[dict[str, Any], str]:
    """The packaged default as a keyword, and as a sentence where the modes differ. Never a secret."""
    values: dict[Mode, Any] = {mode: _packaged(mode, setting.key) for mode in ("local", "cloud")}
    if setting.key == "mode":
        return {"default": "cloud"}, ""
    local, cloud = values["local"], values["cloud"]
    if local == cloud:
        return ({} if cloud is None else {"default": cloud}), ""
    told = ", ".join(f"{'none' if value is None else value} in {mode} mode" for mode, value in values.items())
    return ({} if cloud is None else {"default": cloud}), f"Default: {told}."


def _packaged(mode: Mode, key: str) -> Any:
    entry = defaults_layer(mode).entries.get(key)
    return None if entry is None or isinstance(entry.value, Secret) else entry.value


def _aliases() -> dict[str, Any]:
    built_in = {
        key.removeprefix("aliases."): {name: target.value for name, target in entry.value.items()}
        for key, entry in defaults_layer("cloud").entries.items()
        if key.startswith("aliases.")
    }
    properties = {name: {**_alias(), "default": targets} for name, targets in built_in.items()}
    return {
        "description": "Nicknames for models, for llm.model. Built in: " + ", ".join(built_in) + ".",
        "type": ["object", "null"],
        "properties": properties,
        "patternProperties": {f"^[a-z][a-z0-9_.-]{{0,63}}{_END}": _alias()},
        "additionalProperties": False,
    }


def _alias() -> dict[str, Any]:
    setting = "A nickname for a model: a model string, another alias, or a mapping provider → model string."
    model = _shape(Model())
    targets = {provider: {**model, "description": f"The model when {provider} is in force."} for provider in PROVIDERS}
    mapping = {"type": "object", "properties": targets, "additionalProperties": False, "minProperties": 1}
    return {"description": setting, "x-class": "open", "x-reload": "live", "anyOf": [model, mapping]}


def _examples(key: str) -> list[str]:
    """What an editor offers for a model: the built-in aliases and the packaged models, of one provider if it is one's."""
    own = [provider for provider in PROVIDERS if key.startswith(f"providers.{provider}.")]
    entries = defaults_layer("cloud").entries
    aliases = {key.removeprefix("aliases."): entry for key, entry in entries.items() if key.startswith("aliases.")}
    models = [entries[f"providers.{provider}.model"].value for provider in own or PROVIDERS]
    targets = [entry.value[provider].value for provider in own or PROVIDERS for entry in aliases.values()]
    return list(dict.fromkeys([*aliases, *models, *targets]))


@functools.singledispatch
def _shape(kind: Kind) -> dict[str, Any]:
    """What a kind accepts, as JSON Schema."""
    raise NotImplementedError(type(kind).__name__)


@_shape.register
def _(kind: Text) -> dict[str, Any]:
    del kind
    return {"type": "string", "minLength": 1}


@_shape.register
def _(kind: Choice) -> dict[str, Any]:
    words = [*kind.choices, *kind.extra]
    if not kind.fold:
        return {"enum": words}
    folded = "|".join("".join(f"[{c}{c.upper()}]" for c in word) for word in words)
    return {"anyOf": [{"enum": words}, {"type": "string", "pattern": f"^(?:{folded}){_END}"}]}


@_shape.register
def _(kind: Whole) -> dict[str, Any]:
    return {"type": "integer", "minimum": kind.least, "maximum": kind.most}


@_shape.register
def _(kind: Number) -> dict[str, Any]:
    least = {"exclusiveMinimum" if kind.above else "minimum": kind.least}
    most = {"maximum": kind.most} if kind.most < MAX_INT else {"exclusiveMaximum": 1e300}
    return {"type": "number", **least, **most}


@_shape.register
def _(kind: Model) -> dict[str, Any]:
    del kind
    folded = "|".join("".join(f"[{c}{c.upper()}]" for c in provider) for provider in PROVIDERS)
    pattern = rf"^(?!.*(?:\.\.|//))(?!(?:{folded}):{_END})[A-Za-z0-9._:/@+-]{{1,256}}{_END}"
    return {"type": "string", "pattern": pattern}


@_shape.register
def _(kind: Url) -> dict[str, Any]:
    del kind
    name = rf"(?!.*\.\.){_NAME}\.?"
    return {"type": "string", "pattern": f"^[hH][tT][tT][pP][sS]?://(?:{name}|{_ipv6()})(?::{_PORT})?{_URL_PATH}{_END}"}


@_shape.register
def _(kind: Address) -> dict[str, Any]:
    del kind
    return {"type": "string", "pattern": rf"^(?:{_NAME}|\[[0-9A-Fa-f:.]+\]):{_PORT}{_END}"}


@_shape.register
def _(kind: Credential) -> dict[str, Any]:
    """A secret, or where it stands (`references`)."""
    del kind
    argument = {"type": "string", "minLength": 1}
    argv = {"type": "array", "items": {"type": "string"}, "minItems": 1, "prefixItems": [{"pattern": "^/"}]}
    return {
        "anyOf": [
            {"type": "string", "pattern": rf"^ *[!-~][ -~]*{_END}"},
            _one("env", argument, "The variable that holds it."),
            _one("file", argument, "The file that holds it; a change is taken live."),
            _one("command", argv, "The command that prints it: [/usr/bin/pass, show, key]. In the user's file only."),
        ]
    }


def _one(name: str, argument: dict[str, Any], doc: str) -> dict[str, Any]:
    properties = {name: {**argument, "description": doc}}
    return {"type": "object", "properties": properties, "required": [name], "additionalProperties": False}


@_shape.register
def _(kind: KeyList) -> dict[str, Any]:
    del kind
    names = [*filter(None, CHILDREN), *SETTINGS]
    return {"type": "array", "items": {"anyOf": [{"enum": names}, {"type": "string", "pattern": r"^aliases\."}]}}


def _ipv6() -> str:
    """An IPv6 address in brackets (RFC 3986, IPv6address)."""
    word = "[0-9A-Fa-f]{1,4}"
    byte = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
    last = rf"(?:{word}:{word}|{byte}(?:\.{byte}){{3}})"
    forms = [f"(?:{word}:){{6}}{last}"]
    for after in range(5, -1, -1):
        before = "" if after == 5 else f"(?:(?:{word}:){{0,{4 - after}}}{word})?"
        forms.append(f"{before}::(?:{word}:){{{after}}}{last}")
    forms += [f"(?:(?:{word}:){{0,5}}{word})?::{word}", f"(?:(?:{word}:){{0,6}}{word})?::"]
    return rf"\[(?:{'|'.join(forms)})\]"
