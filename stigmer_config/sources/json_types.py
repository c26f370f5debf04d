"""Value types as JSON Schema: a shape for each type, and the string formats that the shapes refer to."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from ..settings.collection_types import KeyList, ListOf
from ..settings.declarations import CHILDREN, SETTINGS
from ..settings.limits import Limits
from ..settings.log_level import LEVEL_SYNONYMS, LogLevel
from ..settings.model_types import ModelString, ProviderName
from ..settings.packaged_providers import CORE_PROVIDERS, packaged_providers
from ..settings.request_fields import MAX_FALLBACKS, MAX_TEXT, Headers, ModelList, Parameters
from ..settings.schema import NAME
from ..settings.urls import Address, Url
from ..settings.value_types import MAX_INT, MIN_INT, Boolean, Choice, Credential, Float, Integer, String, ValueType

# Python's `$` matches before a final newline, JavaScript's does not: this one never does.
_END = r"$(?!\n)"
_PORT = (
    "(?=[0-9]{1,5}(?![0-9]))0*(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
)
_NAME = "[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_URL_PATH = r"(?:/[A-Za-z0-9._~!$&'()*+,;=:%/-]*)?"
ALIAS_NAME = f"^[a-z][a-z0-9_.-]{{0,63}}{_END}"
PROVIDER_NAME = f"^[a-z][a-z0-9_-]{{0,63}}{_END}"
_CLOSED = {"additionalProperties": False}
_ANY_CASE = "|".join("".join(f"[{c}{c.upper()}]" for c in provider) for provider in packaged_providers())


@functools.singledispatch
def shape(value_type: ValueType) -> dict[str, Any]:
    """The values that a type accepts, as JSON Schema."""
    raise NotImplementedError(type(value_type).__name__)


@shape.register
def _(value_type: Choice) -> dict[str, Any]:
    words = [*value_type.choices, *value_type.extra]
    if not value_type.fold:
        return {"enum": words}
    folded = "|".join("".join(f"[{c}{c.upper()}]" for c in word) for word in words)
    return {"anyOf": [{"enum": words}, {"type": "string", "pattern": f"^(?:{folded}){_END}"}]}


@shape.register
def _(value_type: LogLevel) -> dict[str, Any]:
    words = "|".join("".join(f"[{c}{c.upper()}]" for c in word) for word in (*value_type.choices, *LEVEL_SYNONYMS))
    words = f"^(?:{words}|[0-4]?[0-9]|50){_END}"
    return {"anyOf": [{"enum": [*value_type.choices]}, {"type": "string", "pattern": words}, {"enum": list(range(51))}]}


@shape.register
def _(value_type: ModelString) -> dict[str, Any]:
    del value_type
    return {"type": "string", "$ref": "#/$defs/model"}


@shape.register
def _(value_type: Url) -> dict[str, Any]:
    del value_type
    return {"type": "string", "$ref": "#/$defs/url"}


@shape.register
def _(value_type: Address) -> dict[str, Any]:
    del value_type
    return {"type": "string", "$ref": "#/$defs/address"}


@shape.register
def _(value_type: Credential) -> dict[str, Any]:
    del value_type
    return {"anyOf": [{"type": "string", "$ref": "#/$defs/secret"}, {"type": "object", "$ref": "#/$defs/reference"}]}


@shape.register
def _(value_type: Boolean) -> dict[str, Any]:
    del value_type
    return {"type": "boolean"}


@shape.register
def _(value_type: Integer) -> dict[str, Any]:
    return {"type": "integer", **_bounds(value_type.limits, {"minimum": MIN_INT}, {"maximum": MAX_INT})}


@shape.register
def _(value_type: Float) -> dict[str, Any]:
    bottom, top = {"exclusiveMinimum": -MAX_INT}, {"exclusiveMaximum": MAX_INT}
    return {"type": "number", **_bounds(value_type.limits, bottom, top)}


@shape.register
def _(value_type: String) -> dict[str, Any]:
    limits = value_type.limits
    rows = {"pattern": limits.pattern, "minLength": limits.min_length, "maxLength": limits.max_length}
    return {"type": "string", **{name: value for name, value in rows.items() if value is not None}}


@shape.register
def _(value_type: ListOf) -> dict[str, Any]:
    rows = {"minItems": value_type.limits.min_length, "maxItems": value_type.limits.max_length}
    limits = {name: value for name, value in rows.items() if value is not None}
    return {"type": "array", "items": shape(value_type.item), **limits}


def _bounds(limits: Limits, bottom: Mapping[str, int], top: Mapping[str, int]) -> dict[str, Any]:
    """The bounds of a number; `bottom` and `top` where there are none."""
    rows = {
        "minimum": limits.ge,
        "exclusiveMinimum": limits.gt,
        "maximum": limits.le,
        "exclusiveMaximum": limits.lt,
        "multipleOf": limits.multiple_of,
    }
    given = {name: value for name, value in rows.items() if value is not None}
    has_bottom = limits.ge is not None or limits.gt is not None
    return {**({} if has_bottom else bottom), **given, **({} if limits.has_top else top)}


@shape.register
def _(value_type: KeyList) -> dict[str, Any]:
    del value_type
    names = [*(section for section in CHILDREN if section and NAME not in section), *SETTINGS]
    return {
        "type": "array",
        "items": {"anyOf": [{"enum": names}, {"type": "string", "pattern": r"^(?:aliases\.|providers\.|apps\.[^.])"}]},
    }


@shape.register
def _(value_type: ProviderName) -> dict[str, Any]:
    del value_type
    known = [*packaged_providers(), "auto"]
    return {"anyOf": [{"enum": known}, {"type": "string", "pattern": PROVIDER_NAME}]}


@shape.register
def _(value_type: ModelList) -> dict[str, Any]:
    del value_type
    return {"type": "array", "items": shape(ModelString()), "maxItems": MAX_FALLBACKS}


@shape.register
def _(value_type: Parameters) -> dict[str, Any]:
    del value_type
    names = f"^[A-Za-z_][A-Za-z0-9_]{{0,63}}{_END}"
    return {"type": "object", "patternProperties": {names: {"$ref": "#/$defs/parameter"}}, **_CLOSED}


@shape.register
def _(value_type: Headers) -> dict[str, Any]:
    del value_type
    value = shape(Credential())
    names = f"^[!#$%&'*+.^_`|~0-9A-Za-z-]{{1,128}}{_END}"
    return {"type": "object", "patternProperties": {names: {"anyOf": [*value["anyOf"], {"type": "null"}]}}, **_CLOSED}


def _targets() -> dict[str, Any]:
    """An alias with a model for each provider."""
    docs = {provider: f"The model when {provider} is in force." for provider in CORE_PROVIDERS}
    properties = {provider: {"description": doc, **shape(ModelString())} for provider, doc in docs.items()}
    return {
        "properties": properties,
        "patternProperties": {PROVIDER_NAME: shape(ModelString())},
        **_CLOSED,
        "minProperties": 1,
    }


def _reference() -> dict[str, Any]:
    """A reference to a secret (`references`)."""
    text = {"type": "string", "minLength": 1}
    argv = {
        "type": "array",
        "prefixItems": [{"type": "string", "pattern": "^/"}],
        "items": {"type": "string"},
        "minItems": 1,
    }
    properties = {
        "env": {"description": "The variable that holds it.", **text},
        "file": {"description": "The file that holds it; a change of it is taken live.", **text},
        "command": {"description": "The command that prints it, in your own file only: [/usr/bin/pass, key].", **argv},
    }
    return {"properties": properties, "additionalProperties": False, "minProperties": 1, "maxProperties": 1}


def _parameter() -> dict[str, Any]:
    """A parameter's value. Each limit is of one type only."""
    below = {"$ref": "#/$defs/parameter"}
    return {
        "minimum": -MAX_INT,
        "maximum": MAX_INT,
        "maxLength": MAX_TEXT,
        "items": below,
        "additionalProperties": below,
    }


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


# String formats: the pattern, and the message of an editor for a string that does not match.
_FORMS = {
    "model": (
        rf"^(?!.*(?:\.\.|//))(?!(?:{_ANY_CASE}):{_END})[A-Za-z0-9._:/@+-]{{1,256}}{_END}",
        "a model name has letters, digits and . _ : / @ + - only, without '..' or '//', 256 at most",
    ),
    "url": (
        rf"^[hH][tT][tT][pP][sS]?://(?:(?!.*\.\.){_NAME}\.?|{_ipv6()})(?::{_PORT})?{_URL_PATH}{_END}",
        "it must be an http:// or https:// URL without user name or password, for example http://localhost:11434",
    ),
    "address": (
        rf"^(?:{_NAME}|\[[0-9A-Fa-f:.]+\]):{_PORT}{_END}",
        "it must be host:port, for example localhost:7233",
    ),
    "secret": (r"^\s*[!-~]+\s*$", "it must be one word of printable ASCII characters"),
}


def definitions() -> dict[str, Any]:
    """The definitions that the shapes refer to. A format does not include the type, so a shape can also allow null."""
    forms = {name: {"pattern": pattern, "patternErrorMessage": told} for name, (pattern, told) in _FORMS.items()}
    return {**forms, "targets": _targets(), "reference": _reference(), "parameter": _parameter()}
