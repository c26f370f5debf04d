"""The models that an endpoint offers, as its protocol lists them.

OpenAI's: `GET /models`; Anthropic's: `GET /v1/models`; Ollama's: what is installed.
"""

from __future__ import annotations

import msgspec

from ..config.sections import LLMConfig
from ..core.secret import Secret
from ..secrets.references import Unread
from .http import WireError, ask, at_once
from .ollama import look
from .protocols import listing_url

MOST_LISTED = 5000  # the most models of one endpoint: the largest routers have some hundreds
_ANTHROPIC_VERSION = "2023-06-01"


class Listed(msgspec.Struct, frozen=True):
    """A model that an endpoint offers. `context` is in tokens, `size` in bytes; None where that is unknown."""

    id: str
    context: int | None = None
    size: int | None = None


class _Row(msgspec.Struct, frozen=True):
    id: str
    context_length: int | None = None  # OpenRouter, Together
    context_window: int | None = None  # Groq
    max_model_len: int | None = None  # vLLM


class _Page(msgspec.Struct, frozen=True):
    data: tuple[_Row, ...]


def listed_models(llm: LLMConfig, timeout: float) -> tuple[Listed, ...]:
    """The models of the endpoint of `llm`, in its order. Takes at most `timeout` seconds.

    The headers are sent, as with each request; the key only if the endpoint requires one. Raises `WireError`.
    """
    if llm.kind == "ollama":
        server = look(llm.base_url or "", key=_key(llm), headers=_headers(llm), timeout=timeout)
        return tuple(Listed(one.name, size=one.size) for one in server.installed)
    calls = {"listing": lambda: _answer(llm, timeout)}
    answer = at_once(calls, timeout)["listing"]
    if isinstance(answer, Exception):
        raise answer
    return tuple(
        Listed(row.id, row.context_length or row.context_window or row.max_model_len)
        for row in answer.data[:MOST_LISTED]
    )


def _headers(llm: LLMConfig) -> dict[str, str]:
    return {name: value.reveal() for name, value in llm.headers.items() if not isinstance(value, Unread)}


def _key(llm: LLMConfig) -> Secret | None:
    return None if isinstance(llm.api_key, Unread) else llm.api_key


def _answer(llm: LLMConfig, timeout: float) -> _Page:
    headers, key = _headers(llm), _key(llm)
    if llm.kind == "anthropic":
        headers["Anthropic-Version"] = _ANTHROPIC_VERSION
    try:
        return ask(listing_url(llm), _Page, headers=headers, timeout=timeout)
    except WireError as error:
        if error.status not in (401, 403) or key is None:
            raise
    is_anthropic = llm.kind == "anthropic"
    credential = {"x-api-key": key.reveal()} if is_anthropic else {"Authorization": f"Bearer {key.reveal()}"}
    return ask(listing_url(llm), _Page, headers={**headers, **credential}, timeout=timeout)
