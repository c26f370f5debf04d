"""Real LangChain clients of each kind, configured by name, against servers that record what arrives."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import pytest

from stigmer_config import Config
from stigmer_config.integrations.chat import chat_model, chat_models, parse_model_string
from stigmer_config.integrations.fallbacks import is_outage
from tests.support.fake_providers import Arrived, FakeProviders, OllamaModel, refuses, text_of
from tests.support.sandbox import Sandbox

KINDS = ("anthropic", "ollama", "openai")
PATHS = {"anthropic": "/v1/messages", "ollama": "/api/chat", "openai": "/v1/chat/completions"}
KEY = "sk-of-the-company-0001"
AMBIENT = {
    "ANTHROPIC_API_KEY": "ambient-secret",
    "ANTHROPIC_AUTH_TOKEN": "ambient-secret",
    "OPENAI_API_KEY": "ambient-secret",
    "OLLAMA_API_KEY": "ambient-secret",
}


@pytest.fixture
def server() -> Iterator[FakeProviders]:
    with FakeProviders([OllamaModel("corp-1")]) as running:
        yield running


def declared(sandbox: Sandbox, server: FakeProviders, kind: str, lines: str = "") -> Config:
    """A provider of the user's own, of that kind, in force."""
    own = "".join(f"    {line}\n" for line in lines.splitlines())
    user = (
        f"llm: {{provider: corp}}\nproviders:\n  corp:\n    kind: {kind}\n    base_url: {server.base_url(kind)}\n"
        f"    model: corp-1\n{own}"
    )
    return sandbox.write(user=user).load()


def called(server: FakeProviders, config: Config) -> Arrived:
    answer = chat_model(config.llm).invoke("ping")
    assert answer.text == text_of(config.llm.model_id)
    return server.posted(PATHS[config.llm.kind])


@pytest.mark.parametrize("kind", KINDS)
def test_address_model_key_headers_and_parameters_are_the_configured_ones(
    sandbox: Sandbox, server: FakeProviders, kind: str
) -> None:
    """Whatever the kind: everything arrives where and as it is configured."""
    lines = f"api_key: {KEY}\nmax_tokens: 321\nheaders: {{X-Team: agents}}\nparameters: {{top_p: 0.5, seed: 7}}"
    arrived = called(server, declared(sandbox, server, kind, lines))
    assert KEY in (arrived.headers.get("authorization", "") + arrived.headers.get("x-api-key", ""))
    assert arrived.headers["x-team"] == "agents"
    options = arrived.body["options"] if kind == "ollama" else arrived.body
    assert (options["top_p"], options["seed"]) == (0.5, 7)
    assert options["num_predict" if kind == "ollama" else "max_tokens"] == 321
    assert arrived.body["model"] == "corp-1"


@pytest.mark.parametrize("kind", KINDS)
def test_where_no_key_is_configured_none_leaves(
    sandbox: Sandbox, server: FakeProviders, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the environment holds: no Authorization and no x-api-key, synchronously and not."""
    for name, value in AMBIENT.items():
        monkeypatch.setenv(name, value)
    config = declared(sandbox, server, kind)
    called(server, config)
    asyncio.run(chat_model(config.llm).ainvoke("ping"))
    posted = [one for one in server.arrived if one.method == "POST"]
    assert len(posted) == 2
    for arrived in posted:
        assert not {"authorization", "x-api-key"} & arrived.headers.keys()
        assert "ambient-secret" not in str(arrived)


def test_a_header_may_be_the_credential(sandbox: Sandbox, server: FakeProviders) -> None:
    """A gateway's own header, and Authorization where there is no api_key."""
    config = declared(sandbox, server, "openai", "headers: {Authorization: Basic Zm9vOmJhcg==}")
    assert called(server, config).headers["authorization"] == "Basic Zm9vOmJhcg=="


@pytest.mark.parametrize("name", ["openai_proxy", "http_client", "extra_query", "max_concurrency"])
def test_a_parameter_never_reaches_a_constructor(sandbox: Sandbox, server: FakeProviders, name: str) -> None:
    """What a class would take as an argument of its own is a parameter of the body like any other."""
    config = declared(sandbox, server, "openai", f"parameters: {{{name}: 'http://127.0.0.1:1'}}")
    assert called(server, config).body[name] == "http://127.0.0.1:1"


def test_headers_stay_with_their_address(sandbox: Sandbox, server: FakeProviders) -> None:
    """An override that goes elsewhere takes no header with it."""
    config = declared(sandbox, server, "openai", "headers: {X-Auth: secret-of-the-gateway}")
    assert dict(config.llm.headers)
    with FakeProviders([OllamaModel("corp-1")]) as other:
        moved = config.override({"llm.base_url": other.base_url("openai")})
        assert not moved.llm.headers
        assert "x-auth" not in called(other, moved).headers


def test_a_projects_alias_behind_a_router_chooses_the_model_and_nothing_else(
    sandbox: Sandbox, server: FakeProviders
) -> None:
    """A request for a router and a name that an untrusted project made an alias: address, path, key and prompt stay.

    Behind a router the model decides which company reads the prompt, so a request that must not leave that to a project
    names the model, not an alias.
    """
    with FakeProviders([OllamaModel("mine")]) as own:
        sandbox.write(
            user="llm: {provider: ollama, model: mine}\nproviders:\n"
            f"  ollama: {{base_url: '{own.url}'}}\n"
            f"  openrouter: {{base_url: '{server.base_url('openai')}', api_key: {KEY}}}\n"
        )
        override = {"llm.provider": "openrouter", "llm.model": "best"}
        without = called(server, sandbox.load().override(override))
        server.arrived.clear()
        sandbox.write(project="aliases: {best: some/model}\n")
        with_alias = called(server, sandbox.load().override(override))
        assert not own.arrived
    assert (without.path, without.headers["authorization"]) == (with_alias.path, with_alias.headers["authorization"])
    assert (without.body.pop("model"), with_alias.body.pop("model")) == ("best", "some/model")
    assert without.body == with_alias.body


def test_v1_at_the_end_of_anthropics_address_is_no_part_of_it(sandbox: Sandbox, server: FakeProviders) -> None:
    """`…/v1` is what other tools want there: the path has it once."""
    config = declared(sandbox, server, "anthropic")
    called(server, config.override({"llm.base_url": f"{server.url}/v1"}))


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_string_becomes_the_client_of_its_providers_kind(
    sandbox: Sandbox, server: FakeProviders, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`parse_model_string("corp:…")` speaks the protocol of the declared provider, with its key, from this process."""
    for name in ("MODE", "STIGMER_HOME", "STIGMER_SITE_CONFIG", *AMBIENT):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(sandbox.home))
    declared(sandbox, server, kind, f"api_key: {KEY}")
    model = parse_model_string("corp:corp-1")
    assert type(model).__name__ == {"anthropic": "ChatAnthropic", "ollama": "ChatOllama", "openai": "ChatOpenAI"}[kind]
    assert model.invoke("ping").text == text_of("corp-1")
    headers = server.posted(PATHS[kind]).headers
    assert KEY in (headers.get("authorization", "") + headers.get("x-api-key", ""))


# ---- fallbacks


def with_fallbacks(sandbox: Sandbox, servers: list[FakeProviders]) -> Config:
    """A provider for each server, the first in force and the others its fallbacks."""
    providers = "".join(
        f"  p{number}: {{kind: {kind}, base_url: '{server.base_url(kind)}', model: m{number}}}\n"
        for number, (kind, server) in enumerate(zip(("openai", "anthropic", "ollama", "openai"), servers, strict=True))
    )
    fallbacks = ", ".join(f"'p{number}:m{number}'" for number in range(1, len(servers)))
    return sandbox.write(
        user=f"llm: {{provider: p0, max_retries: 0, timeout: 5, fallbacks: [{fallbacks}]}}\nproviders:\n{providers}"
    ).load()


@contextlib.contextmanager
def four() -> Iterator[list[FakeProviders]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(FakeProviders([OllamaModel(f"m{number}")])) for number in range(4)]


def test_two_servers_down_the_third_model_answers(sandbox: Sandbox) -> None:
    """One refuses connections, one answers 503, and the next is asked; the last is never."""
    with four() as servers:
        config = with_fallbacks(sandbox, servers)
        assert [llm.provider for llm in config.llm.fallbacks] == ["p1", "p2", "p3"]
        servers[1].fail(refuses(503))
        servers[0].http.server_close()  # nothing listens there any more
        model = chat_model(config.llm)
        assert model.invoke("ping").text == text_of("m2")
        assert "".join(chunk.text for chunk in model.stream("ping")) == text_of("m2")
        assert asyncio.run(model.ainvoke("ping")).text == text_of("m2")
        assert not [one for one in servers[3].arrived if one.method == "POST"]


@pytest.mark.parametrize("status", [408, 429, 500, 503, 529])
def test_it_goes_on_after_an_outage(sandbox: Sandbox, status: int) -> None:
    """What says `not now` is a reason to ask another."""
    with four() as servers:
        servers[0].fail(refuses(status))
        assert chat_model(with_fallbacks(sandbox, servers).llm).invoke("ping").text == text_of("m1")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_it_never_goes_on_after_a_refusal(sandbox: Sandbox, status: int) -> None:
    """A key that is refused is no reason to spend another."""
    with four() as servers:
        servers[0].fail(refuses(status))
        with pytest.raises(Exception, match=str(status)) as caught:
            chat_model(with_fallbacks(sandbox, servers).llm).invoke("ping")
        assert not is_outage(caught.value)
        assert not servers[1].arrived


def test_each_model_has_its_own_client(sandbox: Sandbox) -> None:
    """`chat_models` gives them one by one; each asks its own server."""
    with four() as servers:
        models = chat_models(with_fallbacks(sandbox, servers).llm)
        assert [model.invoke("ping").text for model in models] == [text_of(f"m{number}") for number in range(4)]


def test_tools_are_bound_to_each(sandbox: Sandbox) -> None:
    """`bind_tools` goes to every model, so that the fallback has them, too."""
    with four() as servers:
        servers[0].fail(refuses(503))
        tool = {"type": "function", "function": {"name": "add", "description": "d", "parameters": {"type": "object"}}}
        chat_model(with_fallbacks(sandbox, servers).llm).bind_tools([tool]).invoke("ping")
        assert servers[1].posted("/v1/messages").body["tools"][0]["name"] == "add"
