"""The protocols of providers: the client library of each, and the path that lists an endpoint's models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..config.sections import LLMConfig
from ..settings.packaged_providers import ProviderKind
from .ollama import endpoint


class Protocol(NamedTuple):
    """A protocol. `module` and `class_name` are LangChain's; `listing` is a path below the endpoint's address."""

    module: str
    class_name: str
    listing: str

    @property
    def distribution(self) -> str:
        """The client library's name for `pip install`."""
        return self.module.replace("_", "-")


PROTOCOLS: Mapping[ProviderKind, Protocol] = {
    "anthropic": Protocol("langchain_anthropic", "ChatAnthropic", "/v1/models"),
    "ollama": Protocol("langchain_ollama", "ChatOllama", "/api/tags"),
    "openai": Protocol("langchain_openai", "ChatOpenAI", "/models"),
}


def base_address(llm: LLMConfig) -> str:
    """The base of an endpoint's paths: its address without a final `/v1`, except for OpenAI's protocol."""
    base_url = llm.base_url or ""
    return base_url.rstrip("/") if llm.kind == "openai" else endpoint(base_url)


def listing_url(llm: LLMConfig) -> str:
    """The URL at which an endpoint lists its models, with or without a key."""
    return base_address(llm) + PROTOCOLS[llm.kind].listing
