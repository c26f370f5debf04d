"""Every setting, declared once: documentation, schema, variables, `explain` and validation come from here."""

from __future__ import annotations

from typing import Any, Literal

from .packaged_providers import CORE_PROVIDERS
from .request_fields import Headers, ModelList, Parameters
from .schema import NAME, Access, Reload, Schema, Setting
from .urls import Address, Url
from .value_types import (
    Choice,
    Credential,
    InvalidValueError,
    KeyList,
    Kind,
    LogLevel,
    ModelString,
    Number,
    ProviderName,
    Switch,
    Text,
    Whole,
)

Mode = Literal["local", "cloud"]

_EFFORTS = ("none", "minimal", "low", "medium", "high")

# The fields that `llm` and each `providers.<provider>` share:
# name, kind, access, nullable, documentation.
_MODEL_FIELDS: tuple[tuple[str, Kind, Access, bool, str], ...] = (
    (
        "model",
        ModelString(),
        "open",
        False,
        "The model: an alias (fast), a friendly name, a model id, or provider:model.",
    ),
    ("base_url", Url(), "protected", True, "The address of the provider's API. None means the packaged one."),
    ("api_key", Credential(), "secret", True, "The provider's API key."),
    ("max_tokens", Whole(1, 10_000_000), "open", True, "The maximum number of tokens in one answer."),
    ("temperature", Number(0, 2), "open", True, "How much the model varies: 0 to 2, for Anthropic 0 to 1."),
    ("num_ctx", Whole(1), "open", True, "Ollama's context length, in tokens."),
    (
        "reasoning_effort",
        Choice("reasoning effort", _EFFORTS),
        "open",
        True,
        "How much the model reasons before it answers.",
    ),
    ("timeout", Number(0, above=True), "open", True, "Seconds to wait for an answer."),
    ("max_retries", Whole(0, 100), "open", True, "How often a failed call is retried."),
    ("parameters", Parameters(), "open", True, "Further parameters, sent in the request's body."),
)
# The fields that a provider alone has.
_PROVIDER_FIELDS: tuple[tuple[str, Kind, Access, bool, str], ...] = (
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
        kind=ProviderName(),
        doc="Who serves the model. auto: Anthropic or OpenAI when there is a key, else Ollama.",
        variable="STIGMER_LLM_PROVIDER",
        access="open",
        reload="live",
    )
    fallbacks = Setting(
        key="llm.fallbacks",
        kind=ModelList(),
        doc="Models to ask, in this order, while the one before does not answer.",
        variable="STIGMER_LLM_FALLBACKS",
        access="open",
        reload="live",
        nullable=True,
    )
    shared = [
        Setting(
            key=f"llm.{name}",
            kind=kind,
            doc=doc,
            variable=None if name in MERGED_FIELDS else f"STIGMER_LLM_{name.upper()}",
            access=access,
            reload="live",
            nullable=nullable,
        )
        for name, kind, access, nullable, doc in _MODEL_FIELDS
    ]
    return [provider, *shared, fallbacks]


def _provider(provider: str) -> list[Setting]:
    """The settings of one provider; of any that is declared, for `<name>`."""
    own: dict[str, Kind] = {}
    if provider in CORE_PROVIDERS:
        own["kind"] = Choice("kind", (provider,))
    if provider == "anthropic":
        own["temperature"] = Number(0, 1)
    return [
        Setting(
            key=f"providers.{provider}.{name}",
            kind=own.get(name, kind),
            doc=f"{doc} For when {'it' if provider == NAME else provider} is the active provider.",
            access=access,
            reload="live",
            nullable=nullable,
        )
        for name, kind, access, nullable, doc in (*_MODEL_FIELDS, *_PROVIDER_FIELDS)
    ]


def _section(section: str, access: Access, reload: Reload, *rows: tuple[Any, ...]) -> list[Setting]:
    """Settings of one section; a row is (name, kind, variable, documentation[, nullable]).

    A row's variable may be a pair: the name, and the one that counts where it is not set.
    """
    return [
        Setting(
            key=f"{section}.{name}",
            kind=kind,
            doc=doc,
            variable=variable[0] if isinstance(variable, tuple) else variable,
            fallback_variable=variable[1] if isinstance(variable, tuple) else None,
            access="secret" if isinstance(kind, Credential) else access,
            reload=reload,
            nullable=bool(nullable),
        )
        for name, kind, variable, doc, *nullable in rows
    ]


BUILT_IN = Schema(
    [
        Setting(
            key="mode",
            kind=Choice("mode", ("local", "cloud")),
            doc="The execution infrastructure: local (this machine, Ollama) or cloud.",
            variable="MODE",
            access="forbidden",
            reload="restart",
        ),
        *_llm(),
        *(setting for provider in (*CORE_PROVIDERS, NAME) for setting in _provider(provider)),
        *_section(
            "temporal",
            "protected",
            "restart",
            ("namespace", Text(), "TEMPORAL_NAMESPACE", "Temporal's namespace."),
            (
                "address",
                Address(),
                ("TEMPORAL_SERVICE_ADDRESS", "TEMPORAL_ADDRESS"),
                "Where the Temporal service listens.",
            ),
            ("task_queue", Text(), "TEMPORAL_AGENT_EXECUTION_RUNNER_TASK_QUEUE", "The task queue to poll."),
            ("max_concurrency", Whole(1), "TEMPORAL_MAX_CONCURRENCY", "The maximum number of executions at once."),
            ("api_key", Credential(), "TEMPORAL_API_KEY", "The key for Temporal.", True),
            (
                "tls",
                Switch(),
                "TEMPORAL_TLS",
                "Whether the connection is encrypted. None: if there is an api_key or another tls key.",
                True,
            ),
            (
                "tls_server_name",
                Text(),
                "TEMPORAL_TLS_SERVER_NAME",
                "The name in the server's certificate, if it differs from the address.",
                True,
            ),
            (
                "tls_ca_file",
                Text(),
                "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
                "The certificate authority of the server. None: the system's.",
                True,
            ),
            ("tls_cert_file", Text(), "TEMPORAL_TLS_CLIENT_CERT_PATH", "The client's certificate, for mTLS.", True),
            ("tls_key_file", Text(), "TEMPORAL_TLS_CLIENT_KEY_PATH", "The client's private key, for mTLS.", True),
        ),
        *_section(
            "backend",
            "protected",
            "restart",
            ("endpoint", Address(), "STIGMER_BACKEND_ENDPOINT", "Where the Stigmer backend listens."),
            ("api_key", Credential(), "STIGMER_API_KEY", "The key for the Stigmer backend.", True),
        ),
        *_section(
            "sandbox",
            "protected",
            "live",
            ("type", Choice("sandbox", ("filesystem", "daytona")), "SANDBOX_TYPE", "Where an agent's tools run."),
            ("root_dir", Text(), "SANDBOX_ROOT_DIR", "The folder of a filesystem sandbox.", True),
            ("snapshot_id", Text(), "DAYTONA_DEV_TOOLS_SNAPSHOT_ID", "The Daytona snapshot to start from.", True),
            ("api_key", Credential(), "DAYTONA_API_KEY", "The key for Daytona.", True),
        ),
        *_section(
            "redis",
            "protected",
            "restart",
            ("host", Text(), "REDIS_HOST", "Redis' host. There is no Redis in local mode."),
            ("port", Whole(1, 65535), "REDIS_PORT", "Redis' port."),
            ("password", Credential(), "REDIS_PASSWORD", "Redis' password.", True),
        ),
        *_section(
            "logging",
            "protected",
            "live",
            ("level", LogLevel(), "LOG_LEVEL", "The lowest level that is logged."),
            (
                "format",
                Choice("log format", ("auto", "console", "json"), fold=True),
                "LOG_FORMAT",
                "How events are written; auto: console on a terminal, JSON elsewhere.",
            ),
        ),
        Setting(
            key="locked",
            kind=KeyList(),
            doc="Keys or sections that no project file may change, trusted or not.",
            access="forbidden",
            reload="live",
        ),
        Setting(
            key="enforced",
            kind=KeyList(),
            doc="Keys or sections whose values in this file (the site's, or a trusted store) no other layer changes.",
            access="forbidden",
            reload="live",
        ),
        Setting(
            key="aliases.<name>",
            kind=ModelString(),
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
    "SETTINGS",
    "VARIABLES",
    "InvalidValueError",
    "Mode",
    "Schema",
    "Setting",
    "find",
    "suggest",
]
