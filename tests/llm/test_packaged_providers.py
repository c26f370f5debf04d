"""The packaged providers: addresses and variables as LangChain's or the provider's own package has them."""

from __future__ import annotations

import importlib
import inspect
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from stigmer_config import Config
from stigmer_config.llm.catalogue import catalogue
from stigmer_config.settings.packaged_providers import CORE_PROVIDERS, PROVIDER_NAME, packaged_providers
from stigmer_config.settings.urls import is_loopback, same_url
from stigmer_config.sources.defaults import packaged_url
from tests.support.paths import REPOSITORY
from tests.support.sandbox import Sandbox

REQUIRED = {"openrouter", "groq", "mistralai", "deepseek", "xai", "together", "google", "lmstudio", "vllm", "litellm"}
# Where a package that people use says a provider's address, and its variable.
SOURCES = {
    "deepseek": ("langchain_deepseek.chat_models", "langchain_deepseek.chat_models"),
    "groq": ("groq._client", "langchain_groq.chat_models"),
    "lmstudio": ("langchain_openai.chat_models.base", None),
    "mistralai": ("langchain_mistralai.chat_models", "langchain_mistralai.chat_models"),
    "together": ("huggingface_hub.inference._providers.together", None),
    "vllm": ("langchain_openai.chat_models.base", None),
    "xai": ("langchain_xai.chat_models", "langchain_xai.chat_models"),
}
# No package of the lock has these: LangChain's for Gemini calls another address than the OpenAI-compatible one, and
# the others are called with OpenAI's client, as here.
NOT_COMPARED = {"google", "litellm", "openrouter"}
# The client of each of the three in its own package.
CLIENTS = {"anthropic": ("anthropic", "Anthropic"), "ollama": ("ollama", "Client"), "openai": ("openai", "OpenAI")}


def _source(module: ModuleType) -> str:
    return inspect.getsource(module)


@pytest.mark.parametrize("provider", SOURCES)
def test_address_and_variable_are_those_of_a_package_that_people_use(provider: str) -> None:
    """The origin of the address, and the key's variable, are in the source of LangChain's or the provider's package."""
    address, variable = SOURCES[provider]
    packaged = packaged_providers()[provider]
    host = re.match(r"https?://[^/]+", packaged.base_url or "")
    assert host is not None
    assert host.group() in _source(importlib.import_module(address))
    if variable is not None:
        assert packaged.key_variables[0] in _source(importlib.import_module(variable))


def test_every_packaged_provider_is_compared_or_listed() -> None:
    """A new line of providers.yaml is read against a package, or is in the list of those that have none."""
    assert {*SOURCES, *CLIENTS, *NOT_COMPARED} == packaged_providers().keys()


def own_client(provider: str, monkeypatch: pytest.MonkeyPatch, home: Path, variables: Mapping[str, str]) -> Any:
    """The client of a provider's own package, made from the environment alone."""
    module, name = CLIENTS[provider]
    make = getattr(pytest.importorskip(module), name)
    for variable in [one for one in os.environ if one.startswith(("ANTHROPIC_", "OLLAMA_", "OPENAI_"))]:
        monkeypatch.delenv(variable)
    for variable, value in {"HOME": str(home), **variables}.items():
        monkeypatch.setenv(variable, value)
    client = make()
    return client._client if provider == "ollama" else client


@pytest.mark.parametrize("provider", CLIENTS)
def test_the_packages_of_the_three_have_their_address_and_key_from_the_same_variables(
    provider: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Their clients, made without an argument, call the packaged address with the key of the packaged variable."""
    packaged = packaged_providers()[provider]
    keys = dict.fromkeys(packaged.key_variables, "k-of-the-test")
    client = own_client(provider, monkeypatch, tmp_path, keys)
    url, ours = str(client.base_url), packaged_url(provider)
    assert ours is not None
    if provider == "ollama":  # it writes the loopback address as a number
        assert is_loopback(url)
        url = url.replace("127.0.0.1", "localhost")
    assert same_url(url, ours)
    if keys:
        assert client.api_key == "k-of-the-test"


@pytest.mark.parametrize(
    ("provider", "variable"),
    [(name, one) for name in CLIENTS for one in packaged_providers()[name].url_variables if one != "OLLAMA_BASE_URL"],
)
def test_the_packages_of_the_three_read_another_address_from_the_same_variables(
    sandbox: Sandbox, provider: str, variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What a variable gives the provider's own client is what it gives here. `OLLAMA_BASE_URL` is other programs'."""
    keys = dict.fromkeys(packaged_providers()[provider].key_variables, "k-of-the-test")
    variables = {**keys, variable: "http://gpu.example:8080"}
    url = str(own_client(provider, monkeypatch, tmp_path, variables).base_url)
    config = sandbox.load({"MODE": "local", **variables}, flags={"llm.provider": provider})
    assert same_url(url, config.llm.base_url)


def test_every_line_is_whole() -> None:
    """Each has a kind, an address (the three have theirs in the modes' files) and a page that lists its models."""
    assert packaged_providers().keys() >= REQUIRED | set(CORE_PROVIDERS)
    for name, provider in packaged_providers().items():
        assert PROVIDER_NAME.fullmatch(name)
        assert provider.kind in CORE_PROVIDERS
        assert (provider.base_url is None) == (name in CORE_PROVIDERS)
        assert provider.models.startswith("https://")
        assert name not in catalogue().foreign_prefixes


def test_no_name_is_that_of_an_ollama_model() -> None:
    """`mistral:7b` stays Ollama's: neither a provider nor a foreign prefix has the name of a known model."""
    families = {model.id.partition(":")[0] for model in catalogue().models if model.provider == "ollama"}
    assert not families & packaged_providers().keys()
    assert not families & catalogue().foreign_prefixes.keys()
    assert set(catalogue().foreign_prefixes.values()) - {None} <= packaged_providers().keys()


def test_the_docs_have_a_row_for_each() -> None:
    """The table of docs/providers.md: name, address, variables of the key, the page that lists its models."""
    text = (REPOSITORY / "docs" / "providers.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z]+)`[^|]* \| `(\S+)` \| (.*) \| \[list\]\((\S+)\) \|$", text, re.MULTILINE)
    assert [(name, url, tuple(re.findall(r"`(\w+)`", keys)), models) for name, url, keys, models in rows] == [
        (name, packaged_url(name), provider.key_variables, provider.models)
        for name, provider in packaged_providers().items()
    ]


def loaded(sandbox: Sandbox, provider: str) -> Config:
    packaged = packaged_providers()[provider]
    keys = dict.fromkeys(packaged.key_variables[:1], "k-of-the-test")
    return sandbox.load({"MODE": "local", **keys}, flags={"llm.model": f"{provider}:some-model"})


@pytest.mark.parametrize("provider", sorted(set(packaged_providers()) - set(CORE_PROVIDERS)))
def test_a_prefix_and_the_providers_own_variable_are_enough(sandbox: Sandbox, provider: str) -> None:
    """No file at all: the packaged address, the key from its variable."""
    config = loaded(sandbox, provider)
    packaged = packaged_providers()[provider]
    assert (config.llm.provider, config.llm.kind, config.llm.base_url) == (provider, packaged.kind, packaged.base_url)
    assert config.llm.model_id == "some-model"
    assert (config.llm.api_key is not None) == bool(packaged.key_variables)
    assert config.warnings == ()


@pytest.mark.parametrize("variables", [("GEMINI_API_KEY",), ("GOOGLE_API_KEY",), ("GEMINI_API_KEY", "GOOGLE_API_KEY")])
def test_google_takes_the_first_of_its_variables(sandbox: Sandbox, variables: tuple[str, ...]) -> None:
    """`GEMINI_API_KEY`, else `GOOGLE_API_KEY`."""
    config = sandbox.load(
        {"MODE": "local", **{name: f"k-{name}" for name in variables}}, flags={"llm.model": "google:gemini-3-pro"}
    )
    assert config.llm.api_key is not None
    assert config.llm.api_key.reveal() == f"k-{variables[0]}"
