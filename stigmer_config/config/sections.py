"""The sections of a Config: frozen, hashable, shared instead of copied."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, cast

from ..core.frozen_map import EMPTY
from ..core.secret import Secret, without_password
from ..secrets.references import Reference, Unread
from ..settings.declarations import PROVIDER_FIELDS, SECTIONS, Mode
from ..settings.frozen import Frozen
from .structs import made

ProviderKind = Literal["anthropic", "ollama", "openai"]
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


def plain(value: Any, *, reveal: bool = False) -> Any:
    """A value as JSON has it: secrets masked unless `reveal`, tuples as lists."""
    if isinstance(value, (Secret, Reference)):
        return value.reveal() if reveal and isinstance(value, Secret) and not isinstance(value, Unread) else str(value)
    if isinstance(value, Mapping):
        return {name: plain(part, reveal=reveal) for name, part in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, (tuple, list)):
        return [plain(part, reveal=reveal) for part in cast("Sequence[Any]", value)]
    return without_password(value) if type(value) is str and not reveal else value


def section(name: str, values: Mapping[str, Any]) -> Any:
    """A built-in section's struct from the merged values of all keys; the defaults fill what is required."""
    node = SECTIONS[name]
    return made(node, name, {field: values.get(f"{name}.{field}") for field, _ in node.fields})


def provider_settings(names: Iterable[str], values: Mapping[str, Any]) -> Iterator[tuple[str, ProviderConfig]]:
    """These providers' own settings from the merged values of all keys."""
    fields: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        if key.startswith("providers."):
            _, provider, field = key.split(".", 2)
            fields.setdefault(provider, dict.fromkeys(PROVIDER_FIELDS))[field] = value
    for name in names:
        own: dict[str, Any] = fields.get(name) or dict.fromkeys(PROVIDER_FIELDS)
        yield name, ProviderConfig(**own)
