"""The JSON Schema (2020-12) of a configuration file, from the settings' declarations.

It is for editors: keys and values to complete, documentation to show, faults to mark. What depends on more than one
file is left to the load: trust, another layer's provider, a model's limits. One rule JSON Schema cannot express: 5.0
is an integer there, but not here.
"""

from __future__ import annotations

import json
from typing import Any

from ..core.secret import Secret
from ..settings.declarations import BUILT_IN, SECTIONS, Mode
from ..settings.model_types import ModelString
from ..settings.packaged_providers import CORE_PROVIDERS
from ..settings.schema import NAME, Schema, Setting
from . import stigmer_cli
from .defaults import defaults_layer
from .json_types import ALIAS_NAME, PROVIDER_NAME, definitions, shape

_FREE = "^[A-Za-z0-9_-]{1,64}$"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_CLASSES = {
    "open": "Any file may set it.",
    "protected": "A project's file may set it only once you trust it.",
    "secret": "Secret: never in a project's file, masked everywhere.",
    "forbidden": "Never in a project's file.",
}
_DOCS = {
    "llm": "The model in force: who serves it, which one, where, and its parameters.",
    "providers": "Each provider's own settings, for when it is the active one.",
    f"providers.{NAME}": "Another provider: a packaged one, or one of your own with a kind and a base_url.",
    **{f"providers.{provider}": f"Settings for when {provider} is the active provider." for provider in CORE_PROVIDERS},
    "apps": "Applications' own settings, by application.",
}


def text(known: Schema = BUILT_IN) -> str:
    """The schema as the command prints it, including the final newline."""
    return json.dumps(schema(known), indent=2, ensure_ascii=False) + "\n"


def schema(known: Schema = BUILT_IN) -> dict[str, Any]:
    """The schema as plain data."""
    return {
        "$schema": DIALECT,
        "title": "stigmer configuration",
        "description": "~/.stigmer/config.yaml, a project's .stigmer/config.yaml, or the machine's config.yaml.",
        **_section("", known),
        "$defs": definitions(),
    }


def _section(section: str, known: Schema) -> dict[str, Any]:
    properties = {name: _below(key, known) for name, key in known.children[section].items() if name != NAME}
    free = known.children[section].get(NAME)
    if free is not None and section != "providers":
        only = {"patternProperties": {_FREE: _below(free, known)}, "additionalProperties": False}
        return {"type": ["object", "null"], **only}
    if section == "apps":  # other names belong to other applications
        return {"type": ["object", "null"], "properties": properties}
    for key in sorted(stigmer_cli.KEYS):
        if key.rpartition(".")[0] == section:
            properties[key.rpartition(".")[2]] = {"description": "The Stigmer CLI's own, in your own file: not read."}
    named = {"patternProperties": {PROVIDER_NAME: _below(f"providers.{NAME}", known)}} if section == "providers" else {}
    return {"type": ["object", "null"], "properties": properties, **named, "additionalProperties": False}


def _below(key: str, known: Schema) -> dict[str, Any]:
    if key == "aliases":
        return _aliases()
    if key in known.children:
        return {"description": _description(key, known), **_section(key, known)}
    return _setting(known.settings.get(key) or known.named[key], known)


def _description(section: str, known: Schema) -> str:
    if section in SECTIONS:
        return _summary(SECTIONS[section].cls)
    if not section.startswith("apps."):
        return _DOCS[section]
    setting = known.settings.get(section) or known.named.get(section)
    app = known.apps.get(section.removeprefix("apps."))
    doc = _summary(app.cls) if app is not None else ""
    return doc or (setting.doc if setting is not None else "") or f"Settings of {section.removeprefix('apps.')}."


def _summary(cls: type) -> str:
    """The first paragraph of a class's docstring."""
    return (cls.__doc__ or "").partition("\n\n")[0].strip()


def _setting(setting: Setting, known: Schema) -> dict[str, Any]:
    accepted = shape(setting.value_type)
    default, told = _default(setting, known)
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
    if isinstance(setting.value_type, ModelString):
        rules["examples"] = _examples(setting.key)
    return {**rules, **(_or_null(accepted) if setting.nullable else accepted)}


def _or_null(accepted: dict[str, Any]) -> dict[str, Any]:
    if "type" in accepted and "enum" not in accepted:
        return {**accepted, "type": [accepted["type"], "null"]}
    if "enum" in accepted:
        return {**accepted, "enum": [*accepted["enum"], None]}
    return {"anyOf": [*accepted["anyOf"], {"type": "null"}]}


def _default(setting: Setting, known: Schema) -> tuple[dict[str, Any], str]:
    """The packaged default as a keyword, and as a sentence where the modes differ. Never a secret."""
    if setting.key.startswith("apps."):
        default = next(
            (app.defaults.get(setting.key) for app in known.apps.values() if setting.key in app.defaults), None
        )
        return ({} if default is None or setting.is_secret else {"default": default}), ""
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
        "patternProperties": {ALIAS_NAME: _alias()},
        "additionalProperties": False,
    }


def _alias() -> dict[str, Any]:
    setting = "A nickname for a model: a model string, another alias, or a mapping provider → model string."
    shapes = [shape(ModelString()), {"type": "object", "$ref": "#/$defs/targets"}]
    return {"description": setting, "x-class": "open", "x-reload": "live", "anyOf": shapes}


def _examples(key: str) -> list[str]:
    """The values that an editor offers: the built-in aliases and the packaged models, of its provider if it has one."""
    own = [provider for provider in CORE_PROVIDERS if key.startswith(f"providers.{provider}.")]
    entries = defaults_layer("cloud").entries
    aliases = {key.removeprefix("aliases."): entry for key, entry in entries.items() if key.startswith("aliases.")}
    return [*aliases, *(entries[f"providers.{provider}.model"].value for provider in own or CORE_PROVIDERS)]
