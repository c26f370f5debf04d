"""The sections of a Config: frozen, hashable, shared instead of copied."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, cast

from ..core.frozen_map import EMPTY, FrozenMapping
from ..core.secret import Secret, without_password
from ..secrets.references import Reference, Unread
from ..settings.declarations import PROVIDER_FIELDS, Mode
from ..settings.frozen import Frozen
from ..settings.packaged_providers import ProviderKind

Effort = Literal["none", "minimal", "low", "medium", "high"]


class LLMConfig(Frozen, frozen=True, kw_only=True):
    """The one effective LLM: who serves it, which model, where, with which key and parameters.

    `model` is the model string that was configured, `alias` the nickname in it (or None), `model_name` what
    it stands for and `model_id` what is sent to the provider. `kind` is the protocol the provider speaks.
    `timeout` is in seconds, `num_ctx` and `max_tokens` in tokens. `headers` go with every request, `parameters` into
    its body. `fallbacks` are the models to ask, in this order, while the one before does not answer.
    """

    provider: str
    kind: ProviderKind
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
    parameters: Mapping[str, Any] = EMPTY
    headers: Mapping[str, Secret] = EMPTY
    fallbacks: tuple[LLMConfig, ...] = ()

    @property
    def model_steps(self) -> str:
        """From what was configured to what is sent, each name once: `fast → NAME → ID`."""
        return " → ".join(dict.fromkeys(step for step in (self.model, self.model_name, self.model_id) if step))

    @classmethod
    def load_from_env(cls, mode: Mode | None = None) -> LLMConfig:
        """`load(mode=mode).llm`, under the seed worker's name. Raises `ConfigError`."""
        from .. import load

        return load(mode=mode).llm


class ProviderConfig(Frozen, frozen=True, kw_only=True):
    """One provider's own settings, for when it is the active one. The fields are those of `LLMConfig`."""

    kind: ProviderKind
    model: str | None = None
    base_url: str | None = None
    api_key: Secret | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    num_ctx: int | None = None
    reasoning_effort: Effort | None = None
    timeout: float | None = None
    max_retries: int | None = None
    parameters: Mapping[str, Any] | None = None
    headers: Mapping[str, Secret] | None = None


class TemporalConfig(Frozen, frozen=True):
    """Where the worker gets its work. `address` is `host:port`; the `tls_*_file`s are paths as they are configured."""

    namespace: str
    address: str
    task_queue: str
    max_concurrency: int
    api_key: Secret | None = None
    tls: bool | None = None
    tls_server_name: str | None = None
    tls_ca_file: str | None = None
    tls_cert_file: str | None = None
    tls_key_file: str | None = None

    @property
    def is_encrypted(self) -> bool:
        """Whether the connection uses TLS: as `tls` says, else if there is an `api_key` or another TLS setting."""
        if self.tls is not None:
            return self.tls
        files = (self.tls_ca_file, self.tls_cert_file, self.tls_key_file)
        return self.api_key is not None or self.tls_server_name is not None or any(files)


class BackendConfig(Frozen, frozen=True):
    """The Stigmer backend. `endpoint` is `host:port`."""

    endpoint: str
    api_key: Secret | None = None


class SandboxConfig(Frozen, frozen=True):
    """Where an agent's tools run."""

    type: Literal["filesystem", "daytona"]
    root_dir: str | None = None
    snapshot_id: str | None = None
    api_key: Secret | None = None


class RedisConfig(Frozen, frozen=True):
    """Redis, in cloud mode."""

    host: str
    port: int
    password: Secret | None = None


class LoggingConfig(Frozen, frozen=True):
    """How events are logged."""

    level: Literal["debug", "info", "warning", "error", "critical"]
    format: Literal["auto", "console", "json"]


def plain(value: Any, *, reveal: bool = False) -> Any:
    """A value as JSON has it: secrets masked unless `reveal`, tuples as lists."""
    if value is None or type(value) is str:  # as nearly always
        return value if reveal or value is None else without_password(value)
    if isinstance(value, (Secret, Reference)):
        return value.reveal() if reveal and isinstance(value, Secret) and not isinstance(value, Unread) else str(value)
    if isinstance(value, Mapping):
        return {name: plain(part, reveal=reveal) for name, part in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, (tuple, list)):
        return [plain(part, reveal=reveal) for part in cast("Sequence[Any]", value)]
    return value


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


class Providers(FrozenMapping):
    """Each provider's own settings, put together when they are first read: most of many are never in use.

    `value` gives the effective value of a key. Immutable, except for a cache.
    """

    __slots__ = ("_found", "_names", "_value")

    def __init__(self, names: Iterable[str], value: Callable[[str], Any]) -> None:
        self._names = dict.fromkeys(names)
        self._value = value
        self._found: dict[str, ProviderConfig] = {}

    def __getitem__(self, name: str) -> ProviderConfig:
        found = self._found.get(name)
        if found is None:
            if name not in self._names:
                raise KeyError(name)
            fields: dict[str, Any] = {field: self._value(f"providers.{name}.{field}") for field in PROVIDER_FIELDS}
            found = self._found[name] = ProviderConfig(**fields)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
