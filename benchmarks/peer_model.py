"""The reference load as a pydantic-settings class."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

Provider = Literal["anthropic", "ollama", "openai"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Model(_Section):
    """`llm`, and each of `providers`."""

    provider: Provider | None = None
    model: str | None = None
    base_url: str | None = None
    api_key: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    num_ctx: int | None = None
    reasoning_effort: str | None = None
    timeout: float | None = None
    max_retries: int | None = None


class Temporal(_Section):
    namespace: str = "default"
    address: str = "localhost:7233"
    task_queue: str = "agent_execution_runner"
    max_concurrency: int = 10


class Backend(_Section):
    endpoint: str = "localhost:8080"
    api_key: str | None = None


class Sandbox(_Section):
    type: Literal["filesystem", "daytona"] = "daytona"
    snapshot_id: str | None = None
    api_key: str | None = None


class Redis(_Section):
    host: str = "localhost"
    port: int = 6379
    password: str | None = None


class Logging(_Section):
    level: str = "info"
    format: str = "auto"


class Reference(BaseSettings):
    """The variables are above the files, the last file above the first. The caller sets `yaml_file`."""

    model_config = SettingsConfigDict(env_prefix="PEER_", env_nested_delimiter="__", extra="forbid", frozen=True)

    llm: Model
    providers: dict[str, Model]
    aliases: dict[str, str]
    temporal: Temporal
    backend: Backend
    sandbox: Sandbox
    redis: Redis
    logging: Logging
    locked: list[str]

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], env_settings: PydanticBaseSettingsSource, **_others: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, YamlConfigSettingsSource(settings_cls, deep_merge=True)
