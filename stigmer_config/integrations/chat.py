"""The configuration as a LangChain chat model: `chat_model(config.llm)`.

Each class gets every value explicitly, and nothing from the environment: no endpoint, key, header or account comes from
a variable that the configuration did not read. No request follows a redirect, so that key and prompt are only sent to
the address that `show` prints.

The first call imports LangChain, which takes two to three seconds.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import msgspec

from ..config.sections import LLMConfig
from ..core.problems import ConfigError, Problem
from ..core.provenance import Origin
from ..llm.catalogue import catalogue
from ..llm.resolve import why_unsupported
from ..settings.declarations import Setting, find
from ..settings.packaged_providers import COMPANIES, ProviderKind
from ..settings.urls import same_url
from ..settings.value_types import InvalidValueError
from ..sources.defaults import packaged_url
from . import langchain as clients
from .client_environment import clients_without_environment
from .protocols import PROTOCOLS

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

_PARAMETERS = frozenset({"max_tokens", "temperature", "num_ctx", "reasoning_effort", "timeout", "max_retries"})
# Arguments of the classes that decide which address is called, and with which key.
_DECIDED = frozenset(
    {
        *("model", "model_name", "base_url", "api_key", "client_kwargs", "sync_client_kwargs", "async_client_kwargs"),
        *("anthropic_api_url", "anthropic_api_key", "anthropic_proxy"),
        *("openai_api_base", "openai_api_key", "openai_proxy", "http_client", "http_async_client"),
        *("client", "async_client", "root_client", "root_async_client"),
    }
)


class MissingExtra(ImportError):  # noqa: N818 - it is what is missing
    """The provider's client is not installed; the message names the `pip install` to run."""


def chat_model(llm: LLMConfig, **extra: Any) -> BaseChatModel:
    """Creates the `ChatAnthropic`, `ChatOpenAI` or `ChatOllama` for `llm`, by its provider's protocol.

    With `llm.fallbacks` it is a Runnable of all models (`ModelWithFallbacks`), which calls the next one after a
    connection error, a timeout, 408, 429 or 5xx, and never after another error. Methods such as `bind_tools` apply to
    each model.

    `extra`: `max_tokens`, `temperature`, `num_ctx`, `reasoning_effort`, `timeout` and `max_retries` replace the
    configured values and are checked like overrides; other arguments are passed to the class unchanged (`callbacks=…`,
    `organization=…`). Arguments that decide which address is called (model, base_url, api_key, HTTP clients) are not
    allowed: use `config.override(…)`.

    Without `llm.timeout` a call may take 10 minutes. Ollama's class has no retries. The reasoning effort `minimal` is
    `low` for Anthropic and Ollama; `none` is the least that the model supports.

    Each model has its own connections: keep it as long as `llm` is equal (`functools.lru_cache` does).

    Raises `MissingExtra` when the provider's client is not installed, `ConfigError` for a missing key or base_url, for
    an `extra` value that is not allowed and for a variable (a proxy, `SSL_CERT_FILE`) that the client cannot use, and
    `TypeError` for an argument that only the configuration may set.
    """
    decided = sorted(_DECIDED & extra.keys())
    if decided:
        raise TypeError(f"chat_model takes no {decided[0]}=: it comes from the configuration; use config.override()")
    llm = _replaced(llm, {name: extra.pop(name) for name in _PARAMETERS & extra.keys()})
    if not llm.fallbacks:
        return _one(llm, extra)
    from .fallbacks import ModelWithFallbacks

    models = (_one(llm, dict(extra)), *(_one(fallback, dict(extra)) for fallback in llm.fallbacks))
    return cast("BaseChatModel", ModelWithFallbacks(models))


def chat_models(llm: LLMConfig, **extra: Any) -> tuple[BaseChatModel, ...]:
    """The chat models for `llm` and its fallbacks, each like one of `chat_model`."""
    without = msgspec.structs.replace(llm, fallbacks=())
    return tuple(chat_model(one, **extra) for one in (without, *llm.fallbacks))


def _one(llm: LLMConfig, extra: dict[str, Any]) -> BaseChatModel:
    _complete(llm)
    model: BaseChatModel = clients.MAKERS[llm.kind](client_class(llm.kind), llm, extra)
    return model


def parse_model_string(
    model: str, max_tokens: int | None = None, temperature: float | None = None, **model_kwargs: Any
) -> BaseChatModel:
    """Creates a chat model from a model string (`anthropic:claude-sonnet-4.5`, `fast`), like graphton's function.

    The string is an override of this process's configuration: provider, key, endpoint, the model's full id and every
    other value come from `load()`, with its aliases and checks. `max_tokens` and `temperature` replace the configured
    ones; `model_kwargs` are `chat_model`'s `extra`.

    Raises `ConfigError` (a `ValueError`) with every problem, and the errors of `chat_model`.
    """
    from ..loading.load import load

    wanted: dict[str, Any] = {"llm.model": model.strip()}
    if not wanted["llm.model"]:  # an empty override would mean the configured model
        raise _error("empty-model", "model", "Model name cannot be empty", "give a model string", "parse_model_string")
    if max_tokens is not None:
        wanted["llm.max_tokens"] = max_tokens
    if temperature is not None:
        wanted["llm.temperature"] = temperature
    return chat_model(load(overrides=[wanted]).llm, **model_kwargs)


def client_class(kind: ProviderKind) -> Any:
    """Imports the LangChain class for a kind of provider. Raises `MissingExtra` when it is not installed."""
    protocol = PROTOCOLS[kind]
    try:
        with clients_without_environment() if kind == "ollama" else contextlib.nullcontext():
            return getattr(importlib.import_module(protocol.module), protocol.class_name)
    except ModuleNotFoundError as error:
        if error.name != protocol.module:  # the client's own dependency is missing
            raise
        text = f"{protocol.distribution} is not installed: pip install 'stigmer-config[{kind}]'"
        raise MissingExtra(text, name=protocol.module) from None


def _error(code: str, field: str, message: str, hint: str, source: str) -> ConfigError:
    return ConfigError(
        [Problem(code=code, key=f"llm.{field}", message=message, hint=hint, origin=Origin("execution", source))]
    )


def _replaced(llm: LLMConfig, values: Mapping[str, Any]) -> LLMConfig:
    """`llm` with these parameters, each checked. Raises `ConfigError`."""
    changes: dict[str, Any] = {}
    facts = catalogue().find(llm.model_id, llm.provider)
    for name, value in values.items():
        source = f"chat_model({name}=)"
        key = f"llm.{name}" if name in ("timeout", "max_retries") else f"providers.{llm.provider}.{name}"
        try:
            changes[name] = cast(Setting, find(key)).check(value, name)
        except InvalidValueError as fault:
            raise _error(fault.code, name, fault.message_for(name), fault.hint, source) from None
        effort = values.get("reasoning_effort", llm.reasoning_effort)
        refusal = None if value is None else why_unsupported(name, value, llm.provider, llm.kind, facts, effort)
        if refusal is not None:
            raise _error("unsupported-parameter", name, refusal, f"leave {name} out, or change the model", source)
    return msgspec.structs.replace(llm, **changes)


def _complete(llm: LLMConfig) -> None:
    """Raises for a missing value that the SDKs would otherwise take from the environment."""
    if not llm.model_id or not llm.base_url:
        field = "base_url" if llm.model_id else "model"
        raise _error("missing-value", field, f"llm.{field} is missing", "see stigmer config validate", "chat_model")
    if llm.api_key is None and llm.provider in COMPANIES and same_url(llm.base_url, packaged_url(llm.provider)):
        message = f"api_key is required for {llm.provider} provider. Set STIGMER_LLM_API_KEY"
        raise _error("missing-api-key", "api_key", message, "see stigmer config doctor", "chat_model")
