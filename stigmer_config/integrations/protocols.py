"""The protocols that providers speak: the client library of each, and where an endpoint lists its models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..config.sections import LLMConfig
from ..settings.packaged_providers import ProviderKind
from .ollama import endpoint


class Protocol(NamedTuple):
    """One protocol. `module` and `class_name` are LangChain's; `listing` is a path below the endpoint's address."""

    module: str
    class_name: str
    listing: str

    @property
    def distribution(self) -> str:
        """What `pip install` calls the client library."""
        return self.module.replace("_", "-")


PROTOCOLS: Mapping[ProviderKind, Protocol] = {
    "anthropic": Protocol("langchain_anthropic", "ChatAnthropic", "/v1/models"),
    "ollama": Protocol("langchain_ollama", "ChatOllama", "/api/tags"),
    "openai": Protocol("langchain_openai", "ChatOpenAI", "/models"),
}


def base_address(llm: LLMConfig) -> str:
    """The address that an endpoint's paths follow: without a `/v1` at its end, but for OpenAI's protocol."""
    base_url = llm.base_url or ""
    return base_url.rstrip("/") if llm.kind == "openai" else endpoint(base_url)


def listing_url(llm: LLMConfig) -> str:
    """Where an endpoint lists its models, whether or not it wants a key for that."""
    return base_address(llm) + PROTOCOLS[llm.kind].listing
