"""Every setting, declared once: documentation, schema, variables, `explain` and validation come from here."""

from __future__ import annotations

import functools
from typing import Any, Literal

import msgspec

from .providers import NAME, PROVIDERS
from .request_fields import Headers, ModelList, Parameters
from .urls import Address, Url
from .value_types import Choice, Credential, InvalidValueError, KeyList, Kind, Model, Number, ProviderName, Text, Whole

Mode = Literal["local", "cloud"]
Access = Literal["open", "protected", "secret", "forbidden"]
Reload = Literal["live", "restart"]


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """The declaration of one key.

    `access`: who may set it. `open` any layer; `protected` no untrusted project file; `secret` no project
    file, masked everywhere; `forbidden` no project file. `reload`: whether a running worker takes a change
    (`live`) or must restart for it. `nullable`: whether `null` is a value.
    """

    key: str
    kind: Kind
    doc: str
    variable: str | None = None
    access: Access
    reload: Reload
    nullable: bool = False

    @property
    def is_secret(self) -> bool:
        return self.access == "secret"

    def check(self, value: Any, what: str) -> Any:
        """`value` (as YAML or Python has it) in this setting's type. Raises `InvalidValueError`."""
        if value is None:
            if self.nullable:
                return None
            raise self.kind.wrong_type(None, what, f"remove the line to take {self.key} from a lower layer")
        return self.kind.check(value, what)

    def parse(self, text: str, what: str) -> Any:
        """`text` (as a variable or a command line has it) in this setting's type. Raises `InvalidValueError`."""
        return self.kind.parse(text, what)


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
    ("parameters", Parameters(), "open", True, "Further parameters, sent in the request's body."),
)
# The fields that a provider alone has.
_PROVIDER_FIELDS: tuple[tuple[str, Kind, Access, bool, str], ...] = (
    ("kind", Choice("kind", PROVIDERS), "protected", False, "The protocol that the provider speaks."),
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
    """The settings of one provider, whether or not there is one of that name."""
    own: dict[str, Kind] = {}
    if provider in PROVIDERS:
        own["kind"] = Choice("kind", (provider,))
    if provider == "anthropic":
        own["temperature"] = Number(0, 1)
    return [
        Setting(
            key=f"providers.{provider}.{name}",
            kind=own.get(name, kind),
            doc=f"{doc} For when {provider} is the active provider.",
            access=access,
            reload="live",
            nullable=nullable,
        )
        for name, kind, access, nullable, doc in (*_MODEL_FIELDS, *_PROVIDER_FIELDS)
    ]


def _section(section: str, access: Access, reload: Reload, *rows: tuple[Any, ...]) -> list[Setting]:
    """Settings of one section; a row is (name, kind, variable, documentation[, nullable])."""
    return [
        Setting(
            key=f"{section}.{name}",
            kind=kind,
            doc=doc,
            variable=variable,
            access="secret" if isinstance(kind, Credential) else access,
            reload=reload,
            nullable=bool(nullable),
        )
        for name, kind, variable, doc, *nullable in rows
    ]


_LEVELS = ("debug", "info", "warning", "error", "critical")

SETTINGS: dict[str, Setting] = {
    setting.key: setting
    for setting in [
        Setting(
            key="mode",
            kind=Choice("mode", ("local", "cloud")),
            doc="The execution infrastructure: local (this machine, Ollama) or cloud.",
            variable="MODE",
            access="forbidden",
            reload="restart",
        ),
        *_llm(),
        *(setting for provider in PROVIDERS for setting in _provider(provider)),
        *_section(
            "temporal",
            "protected",
            "restart",
            ("namespace", Text(), "TEMPORAL_NAMESPACE", "Temporal's namespace."),
            ("address", Address(), "TEMPORAL_SERVICE_ADDRESS", "Where the Temporal service listens."),
            ("task_queue", Text(), "TEMPORAL_AGENT_EXECUTION_RUNNER_TASK_QUEUE", "The task queue to poll."),
            ("max_concurrency", Whole(1), "TEMPORAL_MAX_CONCURRENCY", "The most executions at once."),
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
            ("level", Choice("log level", _LEVELS, fold=True), "LOG_LEVEL", "The least level that is logged."),
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
    ]
}

_ALIAS = Setting(
    key="aliases.<name>",
    kind=Model(),
    doc="A nickname for a model: a model string, another alias, or a mapping provider → model string.",
    access="open",
    reload="live",
)

VARIABLES: dict[str, Setting] = {s.variable: s for s in SETTINGS.values() if s.variable}

# Sections and the keys right below them: what a mapping in a file may hold.
CHILDREN: dict[str, dict[str, str]] = {"": {"aliases": "aliases"}, "aliases": {}}
for _key in SETTINGS:
    _parts = _key.split(".")
    for _depth in range(len(_parts)):
        _parent = ".".join(_parts[:_depth])
        CHILDREN.setdefault(_parent, {})[_parts[_depth]] = ".".join(_parts[: _depth + 1])


@functools.lru_cache(maxsize=256)  # names come from files: no more are kept than a file of a sane size has
def provider_fields(provider: str) -> dict[str, Setting]:
    """The settings of a provider by field, for any name that a provider may have."""
    return {setting.key.rpartition(".")[2]: setting for setting in _provider(provider)}


def children(section: str) -> dict[str, str]:
    """The keys right below a section, by name; those of any provider's section are known."""
    known = CHILDREN.get(section)
    if known is not None:
        return known
    provider = section.removeprefix("providers.")
    return {name: f"{section}.{name}" for name in PROVIDER_FIELDS} if NAME.fullmatch(provider) else {}


_NEAR = 0.6  # how alike two names are at least, for one to be meant


def find(key: str) -> Setting | None:
    """The setting of `key`, or None. Every `aliases.<name>` is one, and every `providers.<name>.<known field>`."""
    setting = SETTINGS.get(key)
    if setting is not None:
        return setting
    if key.startswith("aliases."):
        return _ALIAS
    section, _, rest = key.partition(".")
    provider, _, field = rest.partition(".")
    if section == "providers" and field in PROVIDER_FIELDS and NAME.fullmatch(provider):
        return provider_fields(provider)[field]
    return None


def suggest(key: str) -> str | None:
    """The known key nearest to `key`, by its last name; a sibling is nearer than the same slip elsewhere.

    At the top the section may have been forgotten: there a key elsewhere is nearly as near.
    """
    from difflib import SequenceMatcher  # only a message needs it

    dotted = key.lower().replace("_", ".", 1)
    if dotted in SETTINGS:
        return dotted
    section, _, name = key.rpartition(".")
    siblings = CHILDREN.get(section, {})
    elsewhere = 0.2 if section else 0.1
    near: dict[str, float] = {}
    for known in [*siblings.values(), *(k for k in SETTINGS if not k.startswith("providers.")), *CHILDREN]:
        last = known.rpartition(".")[2]
        ratio = SequenceMatcher(None, name.lower(), last).ratio()
        near[known] = max(near.get(known, 0.0), ratio - (0.0 if siblings.get(last) == known else elsewhere))
    best = max(near, key=lambda known: (near[known], known.startswith("llm.")))
    return best if near[best] >= _NEAR else None


__all__ = [
    "CHILDREN",
    "FREE_FIELDS",
    "LLM_FIELDS",
    "MERGED_FIELDS",
    "MODEL_FIELDS",
    "PROVIDERS",
    "PROVIDER_FIELDS",
    "SETTINGS",
    "VARIABLES",
    "InvalidValueError",
    "Setting",
    "children",
    "find",
    "provider_fields",
    "suggest",
]
