"""Passes the configuration's values, and nothing else, to each LangChain class.

Every value that a class or its SDK would read from the environment is passed, replaced or removed here.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from ..config.sections import LLMConfig
from ..core.secret import MASK
from ..llm.catalogue import catalogue
from ..llm.resolve import why_unsupported
from ..settings.packaged_providers import ProviderKind
from ..settings.urls import is_loopback, same_url
from ..sources.defaults import packaged_url
from .bounded_answers import hooks
from .client_environment import client_options
from .ollama import endpoint

# The SDKs' own default, in seconds, for when llm.timeout is none.
DEFAULT_TIMEOUT = 600.0
CONNECT_TIMEOUT = 10.0

# The first always reason; the second do unless the request turns it off.
_ALWAYS_THINKING = ("claude-opus-5-5", "claude-sonnet-5-5", "claude-fable-5")
_THINKING = frozenset({"claude-opus-5", "claude-sonnet-5"})


def _temperature(llm: LLMConfig) -> float | None:
    """The temperature, if the model accepts one."""
    facts = catalogue().find(llm.model_id, llm.provider)
    effort = llm.reasoning_effort
    if llm.temperature is None or why_unsupported(
        "temperature", llm.temperature, llm.provider, llm.kind, facts, effort
    ):
        return None
    return llm.temperature


def _effort(llm: LLMConfig) -> str | None:
    """The reasoning effort; None also for `none` with a model that does not reason."""
    facts = catalogue().find(llm.model_id, llm.provider)
    without = facts is not None and facts.reasoning is False
    return None if without and llm.reasoning_effort == "none" else llm.reasoning_effort


def _given(**values: Any) -> dict[str, Any]:
    """The arguments without those that are None."""
    return {name: value for name, value in values.items() if value is not None}


def _key(llm: LLMConfig) -> str:
    """The key, or a placeholder that `_OnlyThese` removes: without one the SDKs read the environment."""
    return llm.api_key.reveal() if llm.api_key is not None else "none"


class _OnlyThese:
    """Restricts each request to the configured headers, and to the configured key or none."""

    def __init__(self, llm: LLMConfig) -> None:
        self._key = llm.api_key
        self._headers = llm.headers
        self._options = dict(llm.parameters) if llm.kind == "ollama" else {}

    def __call__(self, request: Any) -> Any:
        """For a client whose only hook is `auth`, which may return another request."""
        request.headers.pop("Authorization", None)
        if self._key is not None:
            request.headers["Authorization"] = f"Bearer {self._key.reveal()}"
        self.hook(request)
        return self._with_options(request) if self._options and request.method == "POST" else request

    def hook(self, request: Any) -> None:
        if self._key is None:
            for name in ("Authorization", "x-api-key"):
                request.headers.pop(name, None)
        for name, value in self._headers.items():
            request.headers[name] = value.reveal()

    async def async_hook(self, request: Any) -> None:
        self.hook(request)

    def _with_options(self, request: Any) -> Any:
        body = json.loads(request.content)
        body["options"] = {**(body.get("options") or {}), **json.loads(json_text(self._options))}
        headers = {name: value for name, value in request.headers.items() if name.lower() != "content-length"}
        made = type(request)(request.method, request.url, headers=headers, json=body)
        made.extensions.update(request.extensions)
        return made

    def __repr__(self) -> str:
        return f"<key {MASK}>" if self._key is not None else "<no key>"


def json_text(value: Any) -> str:
    """Parameters as JSON."""
    return json.dumps(value, default=dict)


def _body(llm: LLMConfig, extra: dict[str, Any], **more: Any) -> dict[str, Any] | None:
    """Further fields of the body, besides those from the class's arguments; the program's own arguments win."""
    parameters: dict[str, Any] = json.loads(json_text(dict(llm.parameters)))
    return {**_given(**more), **parameters, **(extra.pop("extra_body", None) or {})} or None


def _timeout(library: Any, llm: LLMConfig) -> Any:
    seconds = llm.timeout or DEFAULT_TIMEOUT
    return library.Timeout(seconds, connect=min(seconds, CONNECT_TIMEOUT))


def _anthropic(chat_class: Any, llm: LLMConfig, extra: dict[str, Any]) -> Any:
    import anthropic

    effort = _effort(llm)
    arguments = _given(
        max_tokens=llm.max_tokens,
        temperature=_temperature(llm),
        max_retries=llm.max_retries,
        reasoning_effort={"none": None, "minimal": "low"}.get(effort, effort) if effort else None,
    )
    if effort == "none" and llm.model_id.startswith(_ALWAYS_THINKING):
        arguments["output_config"] = {"effort": "low"}
    elif effort == "none" and llm.model_id in _THINKING:
        arguments["thinking"] = {"type": "disabled"}
    base_url = endpoint(llm.base_url or "")
    body = _body(llm, extra)
    if body is not None:
        extra["model_kwargs"] = {**(extra.get("model_kwargs") or {}), "extra_body": body}
    own = {"model": llm.model_id, "base_url": base_url, "api_key": _key(llm), "anthropic_proxy": None}
    model = chat_class(**{**arguments, "timeout": llm.timeout or DEFAULT_TIMEOUT, **extra, **own})
    sdk: dict[str, Any] = {
        "base_url": base_url,
        "api_key": _key(llm),
        "max_retries": model.max_retries,
        "timeout": _timeout(anthropic, llm),
        "default_headers": dict(model.default_headers or {}),
    }
    http, http_async = _http_clients(anthropic, llm)
    # ChatAnthropic accepts no HTTP client: ours are set before it creates its own two.
    model.__dict__["_client"] = client = _without_ambient(anthropic.Anthropic(**sdk, http_client=http), model)
    model.__dict__["_async_client"] = _without_ambient(anthropic.AsyncAnthropic(**sdk, http_client=http_async), model)
    if model._client._client is not http or model._async_client._client is not http_async:  # noqa: SLF001 - as above
        raise RuntimeError("this release of langchain-anthropic is not known: its HTTP client cannot be chosen")
    weakref.finalize(client, http.close)  # closes the connections with the last copy of the model
    return model


def _openai(chat_class: Any, llm: LLMConfig, extra: dict[str, Any]) -> Any:
    import openai

    is_openai = same_url(llm.base_url, packaged_url("openai"))
    arguments = _given(
        max_tokens=llm.max_tokens if is_openai else None,
        max_retries=llm.max_retries,
        reasoning_effort=_effort(llm),
        # LangChain requests the usage of a stream only for its default endpoint.
        stream_usage=is_openai or None,
        # Others use Chat Completions and name the limit max_tokens, which the class would rename.
        use_responses_api=None if is_openai else False,
        extra_body=_body(llm, extra, max_tokens=None if is_openai else llm.max_tokens),
    )
    http, http_async = _http_clients(openai, llm)
    own = {"model": llm.model_id, "base_url": llm.base_url, "api_key": _key(llm), "openai_proxy": None}
    model = chat_class(
        # Passed even when None: the class has its own default temperature for some models.
        temperature=_temperature(llm),
        **{**arguments, "timeout": _timeout(openai, llm), **extra, **own},
        http_client=http,
        http_async_client=http_async,
    )
    model.openai_organization = extra.get("organization", extra.get("openai_organization"))
    for client in (model.root_client, model.root_async_client):
        _without_ambient(client, model)
        client.organization = model.openai_organization
        client.project = client.admin_api_key = None
    weakref.finalize(model.root_client, http.close)
    return model


def _ollama(chat_class: Any, llm: LLMConfig, extra: dict[str, Any]) -> Any:
    import httpx

    effort = _effort(llm)
    base_url = endpoint(llm.base_url or "")
    arguments = _given(
        num_predict=llm.max_tokens,
        num_ctx=llm.num_ctx,
        temperature=_temperature(llm),
        reasoning={"none": False, "minimal": "low"}.get(effort, effort) if effort else None,
    )
    client = {
        "timeout": _timeout(httpx, llm),
        "follow_redirects": False,
        **client_options("httpx", base_url),
        "auth": _OnlyThese(llm),
    }
    own = {"model": llm.model_id, "base_url": base_url, "client_kwargs": client}
    model = chat_class(**{**arguments, **extra, **own, "sync_client_kwargs": {"event_hooks": hooks()}})
    with contextlib.suppress(AttributeError):  # then the garbage collector closes them
        weakref.finalize(model._client, model._client._client.close)  # noqa: SLF001 - there is no public way to them
    return model


def _without_ambient(client: Any, model: Any) -> Any:
    """An SDK's client without the headers of `ANTHROPIC_CUSTOM_HEADERS` or `OPENAI_CUSTOM_HEADERS`."""
    if not hasattr(client, "_custom_headers"):
        raise RuntimeError("this release of the SDK is not known: its headers cannot be kept from the environment")
    client._custom_headers = dict(model.default_headers or {})  # noqa: SLF001 - the SDKs offer no other way
    return client


def _http_clients(sdk: Any, llm: LLMConfig) -> tuple[Any, Any]:
    """An SDK's two HTTP clients, with its own settings, but without redirects, and without a proxy to this machine."""
    library = next(cls.__module__.partition(".")[0] for cls in sdk.DefaultHttpxClient.__mro__[1:])
    url = llm.base_url or ""
    options: dict[str, Any] = {"follow_redirects": False, "timeout": _timeout(sdk, llm), **client_options(library, url)}
    only = _OnlyThese(llm)
    sync = {**options, "event_hooks": hooks(only.hook)}
    asynchronous = {**options, "event_hooks": {"request": [only.async_hook]}}
    if is_loopback(url):  # the SDKs' own clients read the proxies by themselves
        module = importlib.import_module(library)
        sync["transport"] = module.HTTPTransport(verify=options["verify"], trust_env=False)
        asynchronous["transport"] = module.AsyncHTTPTransport(verify=options["verify"], trust_env=False)
    return sdk.DefaultHttpxClient(**sync), sdk.DefaultAsyncHttpxClient(**asynchronous)


MAKERS: Mapping[ProviderKind, Callable[[Any, LLMConfig, dict[str, Any]], Any]] = {
    "anthropic": _anthropic,
    "ollama": _ollama,
    "openai": _openai,
}
