"""Every setting, declared once: documentation, schema, variables, `explain` and validation come from here."""

from __future__ import annotations

from typing import Literal

from .builder import Builder, StructNode
from .built_in_sections import DECLARED
from .collection_types import KeyList
from .limits import Limits
from .model_types import ModelString, ProviderName
from .packaged_providers import CORE_PROVIDERS
from .request_fields import Headers, ModelList, Parameters
from .schema import NAME, Access, Schema, Setting
from .urls import Url
from .value_types import Choice, Credential, Float, Integer, InvalidValueError, ValueType

Mode = Literal["local", "cloud"]

_EFFORTS = ("none", "minimal", "low", "medium", "high")

# The fields that `llm` and each `providers.<provider>` share:
# name, type, access, nullable, documentation.
_MODEL_FIELDS: tuple[tuple[str, ValueType, Access, bool, str], ...] = (
    (
        "model",
        ModelString(),
        "open",
        False,
        "The model: an alias (fast), a friendly name, a model id, or provider:model.",
    ),
    ("base_url", Url(), "protected", True, "The address of the provider's API. None means the packaged one."),
    ("api_key", Credential(), "secret", True, "The provider's API key."),
    ("max_tokens", Integer(Limits(ge=1, le=10_000_000)), "open", True, "The maximum number of tokens in one answer."),
    (
        "temperature",
        Float(Limits(ge=0, le=2)),
        "open",
        True,
        "How much the model varies: 0 to 2, for Anthropic 0 to 1.",
    ),
    ("num_ctx", Integer(Limits(ge=1)), "open", True, "Ollama's context length, in tokens."),
    (
        "reasoning_effort",
        Choice("reasoning effort", _EFFORTS),
        "open",
        True,
        "How much the model reasons before it answers.",
    ),
    ("timeout", Float(Limits(gt=0)), "open", True, "Seconds to wait for an answer."),
    ("max_retries", Integer(Limits(ge=0, le=100)), "open", True, "How often a failed call is retried."),
    ("parameters", Parameters(), "open", True, "Further parameters, sent in the request's body."),
)
# The fields that a provider alone has.
_PROVIDER_FIELDS: tuple[tuple[str, ValueType, Access, bool, str], ...] = (
    ("kind", Choice("kind", CORE_PROVIDERS), "protected", False, "The protocol that the provider speaks."),
    ("headers", Headers(), "forbidden", True, "Headers of every request to the provider: masked like secrets."),
)

MODEL_FIELDS: tuple[str, ...] = tuple(field[0] for field in _MODEL_FIELDS)
PROVIDER_FIELDS: tuple[str, ...] = (*MODEL_FIELDS, *(field[0] for field in _PROVIDER_FIELDS))
LLM_FIELDS: tuple[str, ...] = (*MODEL_FIELDS, "fallbacks")
# These are mappings, merged key by key; they have no variable.
MERGED_FIELDS = frozenset({"parameters", "headers"})
# These belong to no provider: they count whichever is in force.
FREE_FIELDS = frozenset({"timeout", "max_retries"})


def _llm() -> list[Setting]:
    provider = Setting(
        key="llm.provider",
        value_type=ProviderName(),
        doc="Who serves the model. auto: Anthropic or OpenAI when there is a key, else Ollama.",
        variable="STIGMER_LLM_PROVIDER",
        access="open",
        reload="live",
        per_execution=True,
    )
    fallbacks = Setting(
        key="llm.fallbacks",
        value_type=ModelList(),
        doc="Models to ask, in this order, while the one before does not answer.",
        variable="STIGMER_LLM_FALLBACKS",
        access="open",
        reload="live",
        per_execution=True,
        nullable=True,
    )
    shared = [
        Setting(
            key=f"llm.{name}",
            value_type=value_type,
            doc=doc,
            variable=None if name in MERGED_FIELDS else f"STIGMER_LLM_{name.upper()}",
            access=access,
            reload="live",
            per_execution=True,
            nullable=nullable,
        )
        for name, value_type, access, nullable, doc in _MODEL_FIELDS
    ]
    return [provider, *shared, fallbacks]


def _provider(provider: str) -> list[Setting]:
    """The settings of one provider; of any that is declared, for `<name>`."""
    own: dict[str, ValueType] = {}
    if provider in CORE_PROVIDERS:
        own["kind"] = Choice("kind", (provider,))
    if provider == "anthropic":
        own["temperature"] = Float(Limits(ge=0, le=1))
    return [
        Setting(
            key=f"providers.{provider}.{name}",
            value_type=own.get(name, value_type),
            doc=f"{doc} For when {'it' if provider == NAME else provider} is the active provider.",
            access=access,
            reload="live",
            nullable=nullable,
        )
        for name, value_type, access, nullable, doc in (*_MODEL_FIELDS, *_PROVIDER_FIELDS)
    ]


_builder = Builder()
# The built-in sections that are nothing but their fields.
SECTIONS: dict[str, StructNode] = {name: _builder.struct(name, *declared) for name, declared in DECLARED.items()}

BUILT_IN = Schema(
    [
        Setting(
            key="mode",
            value_type=Choice("mode", ("local", "cloud")),
            doc="The execution infrastructure: local (this machine, Ollama) or cloud.",
            variable="MODE",
            access="forbidden",
            reload="restart",
        ),
        *_llm(),
        *(setting for provider in (*CORE_PROVIDERS, NAME) for setting in _provider(provider)),
        *_builder.settings,
        Setting(
            key="locked",
            value_type=KeyList(),
            doc="Keys or sections that no project file may change, trusted or not.",
            access="forbidden",
            reload="live",
        ),
        Setting(
            key="enforced",
            value_type=KeyList(),
            doc="Keys or sections whose values in this file (the site's, or a trusted store) no other layer changes.",
            access="forbidden",
            reload="live",
        ),
        Setting(
            key="aliases.<name>",
            value_type=ModelString(),
            doc="A nickname for a model: a model string, another alias, or a mapping provider → model string.",
            access="open",
            reload="live",
        ),
    ]
)

# The built-in settings alone. What a load knows, an application's own settings included, is its request's schema.
SETTINGS = BUILT_IN.settings
KEY_LISTS = ("locked", "enforced")  # lists of keys, to which every layer adds
CHILDREN = BUILT_IN.children
VARIABLES = BUILT_IN.variables
find = BUILT_IN.find
suggest = BUILT_IN.suggest

__all__ = [
    "BUILT_IN",
    "CHILDREN",
    "CORE_PROVIDERS",
    "FREE_FIELDS",
    "LLM_FIELDS",
    "MERGED_FIELDS",
    "MODEL_FIELDS",
    "PROVIDER_FIELDS",
    "SECTIONS",
    "SETTINGS",
    "VARIABLES",
    "InvalidValueError",
    "Mode",
    "Schema",
    "Setting",
    "find",
    "suggest",
]
