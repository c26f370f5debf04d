"""Config: the frozen snapshot that workers read, and its sections."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NoReturn, Protocol, cast

import msgspec

from .problems import Problem
from .provenance import Change, Explanation
from .secret import Secret
from .settings import CHILDREN, MODEL_FIELDS, SETTINGS, Setting, find

Mode = Literal["local", "cloud"]
Provider = Literal["anthropic", "ollama", "openai"]
Effort = Literal["none", "minimal", "low", "medium", "high"]

# What the model string came to: effective values like any key's, without being keys.
RESOLVED = ("llm.alias", "llm.model_name", "llm.model_id")
_SECRETS = frozenset(key for key, setting in SETTINGS.items() if setting.is_secret)


class _Frozen(msgspec.Struct, frozen=True):
    """Immutable, hashable, shared instead of copied, and never pickled."""

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} is not pickled: call load() in the other process instead")


class LLMConfig(_Frozen, frozen=True, kw_only=True):
    """The one effective LLM: who serves it, which model, where, with which key and parameters.

    `model` is the model string that was configured, `alias` the nickname in it (or None), `model_name` what
    it stands for and `model_id` what is sent to the provider. `timeout` is in seconds, `num_ctx` and
    `max_tokens` in tokens.
    """

    provider: Provider
    model: str
    model_name: str
    model_id: str
    alias: str | None = None
    base_url: str | None = None
    api_key: Secret | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    num_ctx: int | None = None
    reasoning_effort: Effort | None = None
    timeout: float | None = None
    max_retries: int | None = None

    @classmethod
    def load_from_env(cls, mode: Mode | None = None) -> LLMConfig:
        """`load(mode=mode).llm`, under the seed worker's name. Raises `ConfigError`."""
        from .loader import load

        return load(mode=mode).llm


class ProviderConfig(_Frozen, frozen=True, kw_only=True):
    """One provider's own settings, for when it is the active one. The fields are those of `LLMConfig`."""

    model: str | None = None
    base_url: str | None = None
    api_key: Secret | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    num_ctx: int | None = None
    reasoning_effort: Effort | None = None
    timeout: float | None = None
    max_retries: int | None = None


class TemporalConfig(_Frozen, frozen=True):
    """Where the worker gets its work. `address` is `host:port`."""

    namespace: str
    address: str
    task_queue: str
    max_concurrency: int


class BackendConfig(_Frozen, frozen=True):
    """The Stigmer backend. `endpoint` is `host:port`."""

    endpoint: str
    api_key: Secret | None = None


class SandboxConfig(_Frozen, frozen=True):
    """Where an agent's tools run."""

    type: Literal["filesystem", "daytona"]
    root_dir: str | None = None
    snapshot_id: str | None = None
    api_key: Secret | None = None


class RedisConfig(_Frozen, frozen=True):
    """Redis, in cloud mode."""

    host: str
    port: int
    password: Secret | None = None


class LoggingConfig(_Frozen, frozen=True):
    """How events are logged."""

    level: Literal["debug", "info", "warning", "error", "critical"]
    format: Literal["auto", "console", "json"]


class FrozenMap(Mapping[str, Any]):
    """A mapping that never changes, compares by content and can be hashed."""

    __slots__ = ("_items",)

    def __init__(self, items: Iterable[tuple[str, Any]] | Mapping[str, Any] = ()) -> None:
        self._items: dict[str, Any] = dict(items)

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return repr(self._items)

    def __copy__(self) -> FrozenMap:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenMap:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a part of a Config is not pickled: call load() in the other process instead")


class Deriver(Protocol):
    """What a Config was built by, and asks for everything that is not a plain value."""

    def override(self, config: Config, values: Mapping[str, Any]) -> Config: ...

    def explain(self, config: Config, key: str) -> Explanation: ...

    def meaning(self, config: Config, alias: str) -> dict[str, str | None]: ...


class Config(_Frozen, frozen=True, eq=False, kw_only=True, repr_omit_defaults=True):
    """One whole configuration, frozen. Take it once per execution and keep it as long as you like.

    `redis` is None in local mode. `aliases` has each alias as it was given: a model string, or a mapping
    provider → model string. `generation` counts the changes of a LiveConfig, from 1. `warnings` are the
    problems that did not keep it from loading. Two Configs are equal when every effective value and every
    secret is.
    """

    mode: Mode
    llm: LLMConfig
    providers: Mapping[str, ProviderConfig]
    aliases: Mapping[str, str | Mapping[str, str]]
    temporal: TemporalConfig
    backend: BackendConfig
    sandbox: SandboxConfig
    redis: RedisConfig | None
    logging: LoggingConfig
    locked: tuple[str, ...]
    generation: int
    warnings: tuple[Problem, ...]
    _deriver: Deriver
    _overrides: tuple[Any, ...] = ()

    @classmethod
    def load_from_env(cls) -> Config:
        """`load()`, with `backend.api_key` required in cloud mode, as the seed's worker does.

        Raises `ConfigError` with every problem.
        """
        from .loader import load_for_worker

        return load_for_worker()

    def is_local_mode(self) -> bool:
        """Whether the mode is `local`."""
        return self.mode == "local"

    def get_sandbox_config(self) -> dict[str, str]:
        """The sandbox as the seed's worker passes it on.

        `{"type": "filesystem", "root_dir": …}` or `{"type": "daytona"[, "snapshot_id": …]}`.
        """
        sandbox = self.sandbox
        if sandbox.type == "filesystem":
            return {"type": "filesystem", "root_dir": sandbox.root_dir or "."}
        if sandbox.snapshot_id is None:
            return {"type": "daytona"}
        return {"type": "daytona", "snapshot_id": sandbox.snapshot_id}

    @property
    def fingerprint(self) -> str:
        """32 hex digits over every effective value and the resolved model, but no secret."""
        import hashlib

        values = {key: value for key, value in self.effective() if key not in _SECRETS}
        text = msgspec.json.encode(values, enc_hook=dict, order="deterministic")
        return hashlib.sha256(text).hexdigest()[:32]

    def value(self, key: str) -> Any:
        """The effective value of a key, `llm.model_name`, `llm.model_id` or `llm.alias`; None when not set.

        Raises `KeyError` for a key that does not exist.
        """
        if find(key) is None and key not in RESOLVED:
            raise KeyError(key)
        section, _, name = key.partition(".")
        part: Any = getattr(self, section)
        if section == "aliases":
            return part.get(name)
        if section == "providers":
            provider, _, name = name.partition(".")
            part = part[provider]
        return getattr(part, name) if name and part is not None else part

    def effective(self) -> Iterator[tuple[str, Any]]:
        """Every key with its effective value, the resolved model's included, in the settings' order."""
        for key in _keys(self):
            yield key, self.value(key)

    def explain(self, key: str) -> Explanation:
        """Why a key has its value: winner, losers, alias hops.

        Raises `KeyError` for a key that does not exist.
        """
        return self._deriver.explain(self, key)

    def meaning(self, alias: str) -> dict[str, str | None]:
        """What an alias stands for now, by provider: a model's name, or None where it has none.

        Raises `KeyError` for an alias that does not exist.
        """
        return self._deriver.meaning(self, alias)

    def override(self, values: Mapping[str, Any]) -> Config:
        """A new Config with `values` as one more layer on top: `llm.*`, dotted or nested.

        Provider, alias, credential and checks are worked out anew; a None means none, an empty string
        counts as unset. The generation stays. Raises `ConfigError`.
        """
        return self._deriver.override(self, values)

    def diff(self, new: Config) -> tuple[Change, ...]:
        """What changes from this Config to `new`, by effective values, secrets included (masked)."""
        same = {name for name in CHILDREN[""].values() if getattr(self, name) == getattr(new, name)}
        before, after = (
            {key: config.value(key) for key in _keys(config) if key.partition(".")[0] not in same}
            for config in (self, new)
        )
        changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
        return tuple(
            Change(
                key=key,
                old=before.get(key),
                new=after.get(key),
                old_origin=self.explain(key).origin,
                new_origin=new.explain(key).origin,
                restart_required=key not in RESOLVED and cast(Setting, find(key)).reload == "restart",
            )
            for key in changed
        )

    def _parts(self) -> tuple[Any, ...]:
        values = (self.mode, self.llm, self.providers, self.aliases, self.temporal, self.backend, self.sandbox)
        return (*values, self.redis, self.logging, self.locked)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Config):
            return NotImplemented
        return self is other or self._parts() == other._parts()

    def __ne__(self, other: object) -> bool:
        # The base class has one of its own, which would compare identities.
        return not self == other

    def __hash__(self) -> int:
        return hash(self._parts())

    def __repr__(self) -> str:
        return f"Config(mode={self.mode!r}, llm={self.llm!r}, generation={self.generation}, …)"


def _keys(config: Config) -> Iterator[str]:
    yield from SETTINGS
    yield from RESOLVED
    for name in config.aliases:
        yield f"aliases.{name}"


_SECTIONS = {
    "temporal": TemporalConfig,
    "backend": BackendConfig,
    "sandbox": SandboxConfig,
    "logging": LoggingConfig,
    "redis": RedisConfig,
}


def section(name: str, values: Mapping[str, Any]) -> Any:
    """A section's struct from the merged values of all keys; the defaults fill every field that is required."""
    fields: dict[str, Any] = {field: values.get(f"{name}.{field}") for field in _SECTIONS[name].__struct_fields__}
    return _SECTIONS[name](**fields)


def provider_settings(provider: str, values: Mapping[str, Any]) -> ProviderConfig:
    """A provider's own settings from the merged values of all keys."""
    return ProviderConfig(**{field: values.get(f"providers.{provider}.{field}") for field in MODEL_FIELDS})
