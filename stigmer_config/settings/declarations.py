"""Every setting, declared once: documentation, schema, variables, `explain` and validation come from here."""

from __future__ import annotations

from typing import Any, Literal

from .schema import Access, Reload, Schema, Setting
from .urls import Address, Url
from .value_types import (
    PROVIDERS,
    Choice,
    Credential,
    InvalidValueError,
    KeyList,
    Kind,
    LogLevel,
    Model,
    Number,
    Switch,
    Text,
    Whole,
)

Mode = Literal["local", "cloud"]

# The vendor variable of each hosted provider's key.
KEY_VARIABLES = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}

_EFFORTS = ("none", "minimal", "low", "medium", "high")

# The fields that `llm` and each `providers.<provider>` share:
# name, kind, access, nullable, documentation.
_MODEL_FIELDS: tuple[tuple[str, Kind, Access, bool, str], ...] = (
    ("model", Model(), "open", False, "The model: an alias (fast), a friendly name, a model id, or provider:model."),
    ("base_url", Url(), "protected", True, "The address of the provider's API. None means the packaged one."),
    ("api_key", Credential(), "secret", True, "The provider's API key."),
    ("max_tokens", Whole(1, 10_000_000), "open", True, "The most tokens in one answer."),
    ("temperature", Number(0, 2), "open", True, "How much the model varies: 0 to 2, for Anthropic 0 to 1."),
    ("num_ctx", Whole(1), "open", True, "Ollama's context length, in tokens."),
    ("reasoning_effort", Choice("reasoning effort", _EFFORTS), "open", True, "How hard the model thinks first."),
    ("timeout", Number(0, above=True), "open", True, "Seconds to wait for an answer."),
    ("max_retries", Whole(0, 100), "open", True, "How often a failed call is tried again."),
)

MODEL_FIELDS: tuple[str, ...] = tuple(field[0] for field in _MODEL_FIELDS)
# These belong to no provider: they count whichever is in force.
FREE_FIELDS = frozenset({"timeout", "max_retries"})


def _llm() -> list[Setting]:
    provider = Setting(
        key="llm.provider",
        kind=Choice("provider", PROVIDERS, extra=("auto",)),
        doc="Who serves the model. auto: Anthropic or OpenAI when there is a key, else Ollama.",
        variable="STIGMER_LLM_PROVIDER",
        access="open",
        reload="live",
    )
    return [provider] + [
        Setting(
            key=f"llm.{name}",
            kind=kind,
            doc=doc,
            variable=f"STIGMER_LLM_{name.upper()}",
            access=access,
            reload="live",
            nullable=nullable,
        )
        for name, kind, access, nullable, doc in _MODEL_FIELDS
    ]


def _providers() -> list[Setting]:
    return [
        Setting(
            key=f"providers.{provider}.{name}",
            kind=Number(0, 1) if (provider, name) == ("anthropic", "temperature") else kind,
            doc=f"{doc} For when {provider} is the active provider.",
            access=access,
            reload="live",
            nullable=nullable,
        )
        for provider in PROVIDERS
        for name, kind, access, nullable, doc in _MODEL_FIELDS
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
        *_providers(),
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
            ("max_concurrency", Whole(1), "TEMPORAL_MAX_CONCURRENCY", "The most executions at once."),
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
                "The name in the server's certificate, where it is not the address's.",
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
            ("level", LogLevel(), "LOG_LEVEL", "The least level that is logged."),
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
            kind=Model(),
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
    "FREE_FIELDS",
    "MODEL_FIELDS",
    "PROVIDERS",
    "SETTINGS",
    "VARIABLES",
    "InvalidValueError",
    "Mode",
    "Schema",
    "Setting",
    "find",
    "suggest",
]
