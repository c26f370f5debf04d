"""The three real LangChain classes, made from a Config, against a server that speaks each protocol."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import openai
import pytest

from stigmer_config import Config, ConfigError, LLMConfig, Secret
from stigmer_config.integrations.chat import MissingExtra, chat_model, parse_model_string
from stigmer_config.live.live_config import LiveConfig
from tests.support.fake_providers import Arrived, FakeProviders, OllamaModel, hangs, redirects, text_of
from tests.support.paths import REPOSITORY
from tests.support.sandbox import Sandbox

KEY = "sk-the-configured-key-0001"
MODELS = {"anthropic": "claude-sonnet-4.6", "ollama": "qwen2.5-coder:7b", "openai": "gpt-5.2"}
PATHS = {"anthropic": "/v1/messages", "ollama": "/api/chat", "openai": "/v1/chat/completions"}
PROVIDERS = tuple(MODELS)
# Everything that the three clients read from the environment to choose an endpoint, a key, an account or a header.
AMBIENT = {
    **dict.fromkeys(
        ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_URL", "OPENAI_BASE_URL", "OPENAI_API_BASE"), "http://127.0.0.1:1"
    ),
    **dict.fromkeys(("OLLAMA_HOST", "LANGSMITH_GATEWAY", "OPENAI_PROXY", "ANTHROPIC_PROXY"), "http://127.0.0.1:1"),
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"), "http://127.0.0.1:1"),
    **dict.fromkeys(
        ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "OPENAI_API_KEY", "OPENAI_ADMIN_KEY"), "ambient-secret"
    ),
    **dict.fromkeys(("OLLAMA_API_KEY", "LANGSMITH_API_KEY", "LANGSMITH_GATEWAY_API_KEY"), "ambient-secret"),
    **dict.fromkeys(("OPENAI_ORG_ID", "OPENAI_ORGANIZATION", "OPENAI_PROJECT_ID"), "ambient-account"),
    "ANTHROPIC_CUSTOM_HEADERS": "Authorization: Bearer ambient-secret\nX-Api-Key: ambient-secret\nX-Ambient: ambient",
    "OPENAI_CUSTOM_HEADERS": "Authorization: Bearer ambient-secret\nX-Ambient: ambient",
    "ANTHROPIC_PROFILE": "ambient",
}


@pytest.fixture
def server() -> Iterator[FakeProviders]:
    with FakeProviders([OllamaModel("qwen2.5-coder:7b"), OllamaModel("gpt-oss:20b")]) as running:
        yield running


def user_file(server: FakeProviders, provider: str, lines: str = "", model: str = "") -> str:
    """A user's file for that provider, with more lines below its own settings."""
    own = "".join(f"    {line}\n" for line in lines.splitlines())
    return (
        f"llm:\n  provider: {provider}\nproviders:\n  {provider}:\n    base_url: {server.base_url(provider)}\n"
        f"    model: {model or MODELS[provider]}\n    api_key: {KEY}\n{own}"
    )


def config_for(sandbox: Sandbox, server: FakeProviders, provider: str, lines: str = "", model: str = "") -> Config:
    return sandbox.write(user=user_file(server, provider, lines, model)).load()


def called(server: FakeProviders, provider: str, llm: LLMConfig, **extra: Any) -> Arrived:
    """What arrives when the model that `llm` describes is asked something."""
    answer = chat_model(llm, **extra).invoke("ping")
    assert answer.text == text_of(llm.model_id)
    return server.posted(PATHS[provider])


async def awaited(model: Any) -> str:
    """The answer of the class's other client, which is closed in the event loop that it lives in."""
    try:
        return str((await model.ainvoke("the prompt")).text)
    finally:
        client = getattr(model, "root_async_client", None) or model._async_client
        await client._client.aclose()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_full_id_key_and_limit_arrive_under_their_names(sandbox: Sandbox, server: FakeProviders, provider: str) -> None:
    """Each provider gets the model's full id, the key in its header and the token limit under its own name."""
    llm = config_for(sandbox, server, provider, "max_tokens: 321\ntemperature: 0.25\nreasoning_effort: none").llm
    if provider == "openai":
        assert llm.temperature == 0.25  # gpt-5.2 takes one while it does not reason
    arrived = called(server, provider, llm)
    assert arrived.headers["authorization"] == f"Bearer {KEY}"
    options = arrived.body["options"] if provider == "ollama" else arrived.body
    limit = "num_predict" if provider == "ollama" else "max_tokens"  # away from OpenAI's own address
    assert options[limit] == 321
    assert options["temperature"] == 0.25
    assert arrived.body["model"] == {**MODELS, "anthropic": "claude-sonnet-4-6"}[provider]


def test_friendly_names_are_never_sent(sandbox: Sandbox, server: FakeProviders) -> None:
    """`claude-haiku-4.5` is no API id: the dated one goes over the wire."""
    llm = config_for(sandbox, server, "anthropic", model="claude-haiku-4.5").llm
    assert called(server, "anthropic", llm).body["model"] == "claude-haiku-4-5-20251001"


def test_num_ctx_reaches_ollama_and_v1_is_no_part_of_its_address(sandbox: Sandbox, server: FakeProviders) -> None:
    """`num_ctx` arrives among the options, also when the base_url ends in /v1."""
    config = config_for(sandbox, server, "ollama", "num_ctx: 16384")
    llm = config.override({"llm.base_url": f"{server.url}/v1/"}).llm
    body = called(server, "ollama", llm).body
    assert body["options"] == {"num_ctx": 16384, "num_predict": 8192, "temperature": 0.0}


def test_values_that_are_none_are_not_sent(sandbox: Sandbox, server: FakeProviders) -> None:
    """What is not configured is left to the provider."""
    llm = config_for(sandbox, server, "openai").llm
    body = called(server, "openai", llm).body
    assert set(body) <= {"model", "messages", "stream"}


def test_gpt_6_with_tools_away_from_openai_speaks_chat_completions(sandbox: Sandbox, server: FakeProviders) -> None:
    """LangChain would choose the Responses API, which other servers of the protocol do not have."""
    llm = config_for(sandbox, server, "openai", "max_tokens: 99\nreasoning_effort: low", model="gpt-6-luna").llm

    def look_up(word: str) -> str:
        """Looks a word up."""
        return word

    chat_model(llm).bind_tools([look_up]).invoke("ping")
    arrived = server.posted("/v1/chat/completions")
    assert (arrived.body["max_tokens"], arrived.body["reasoning_effort"]) == (99, "low")
    assert arrived.headers["authorization"] == f"Bearer {KEY}"


def test_openai_s_own_address_leaves_the_api_to_langchain() -> None:
    """There LangChain chooses the Responses API where a model needs it, and the limit has its name."""
    model: Any = chat_model(hand_made("openai", "https://api.openai.com/v1", model="gpt-6-luna", max_tokens=99))
    assert model.use_responses_api is not False
    payload = model._get_request_payload("ping", tools=[{"type": "function", "function": {"name": "look_up"}}])
    assert payload.get("max_tokens") is None
    assert 99 in (payload.get("max_completion_tokens"), payload.get("max_output_tokens"))


EFFORTS = [
    ("openai", "gpt-5.2", "low", {"reasoning_effort": "low"}),
    ("openai", "gpt-5.2", "none", {"reasoning_effort": "none"}),
    ("openai", "gpt-4.1", "none", {}),  # it cannot reason, and refuses the parameter
    ("anthropic", "claude-opus-4-6", "medium", {"output_config": {"effort": "medium"}}),
    ("anthropic", "claude-opus-4-6", "minimal", {"output_config": {"effort": "low"}}),
    ("anthropic", "claude-opus-4-6", "none", {}),  # it does not reason by default
    ("anthropic", "claude-opus-5-5", "none", {"output_config": {"effort": "low"}}),  # it always does
    ("anthropic", "claude-sonnet-5", "none", {"thinking": {"type": "disabled"}}),
    ("ollama", "gpt-oss:20b", "high", {"think": "high"}),
    ("ollama", "gpt-oss:20b", "minimal", {"think": "low"}),
    ("ollama", "gpt-oss:20b", "none", {"think": False}),
    ("ollama", "qwen2.5-coder:7b", "none", {}),
]


@pytest.mark.parametrize(("provider", "model", "effort", "expected"), EFFORTS)
def test_reasoning_effort_has_each_classs_name(
    sandbox: Sandbox, server: FakeProviders, provider: str, model: str, effort: str, expected: dict[str, Any]
) -> None:
    """The effort arrives as each provider calls it, and not at all where the model would refuse it."""
    llm = config_for(sandbox, server, provider, f"reasoning_effort: {effort}", model=model).llm
    body = called(server, provider, llm).body
    told = {name: body[name] for name in ("reasoning_effort", "output_config", "thinking", "think") if name in body}
    assert {name: value for name, value in told.items() if value is not None} == expected


@pytest.mark.parametrize(
    ("provider", "model"), [("anthropic", "claude-opus-5-5"), ("openai", "gpt-6-luna"), ("openai", "o3")]
)
def test_a_temperature_is_not_sent_to_a_model_that_refuses_it(server: FakeProviders, provider: str, model: str) -> None:
    """Even a hand-made LLMConfig with a temperature sends none where the model takes none."""
    llm = hand_made(provider, server.base_url(provider), model=model, temperature=0.5)
    assert "temperature" not in called(server, provider, llm).body


def hand_made(provider: Any, base_url: str, model: str = "", **values: Any) -> LLMConfig:
    name = model or MODELS[provider].replace("4.6", "4-6")
    fixed = {"model": name, "model_name": name, "model_id": name, "base_url": base_url, "api_key": Secret(KEY)}
    return LLMConfig(**{"provider": provider, "kind": provider, **fixed, **values})


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_endpoint_on_the_wire_is_the_one_in_show(
    sandbox: Sandbox, server: FakeProviders, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every variable set that an SDK reads, the request goes where `show` says, with the configured key only."""
    llm = config_for(sandbox, server, provider).llm
    shown = sandbox.show("llm.base_url")["values"]["llm.base_url"]["value"]
    assert shown == llm.base_url == server.base_url(provider)
    for name, value in AMBIENT.items():
        monkeypatch.setenv(name, value)
    model = chat_model(llm)
    answers = [
        model.invoke("ping").text,
        asyncio.run(awaited(model)),
        "".join(chunk.text for chunk in model.stream("ping")),
    ]
    assert answers == [text_of(llm.model_id)] * 3
    for arrived in server.arrived:
        assert arrived.path == PATHS[provider]
        assert arrived.headers["authorization"] == f"Bearer {KEY}"
        assert "ambient" not in str(arrived)
        assert not {"x-api-key", "openai-organization", "openai-project"} & arrived.headers.keys()


def test_no_key_is_sent_to_an_ollama_without_one(
    sandbox: Sandbox, server: FakeProviders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`OLLAMA_API_KEY` belongs to another configuration: a server without a configured key gets none."""
    monkeypatch.setenv("OLLAMA_API_KEY", "ambient-secret")
    sandbox.write(user=user_file(server, "ollama").replace(f"    api_key: {KEY}\n", ""))
    assert "authorization" not in called(server, "ollama", sandbox.load().llm).headers


def test_a_requested_account_is_sent(sandbox: Sandbox, server: FakeProviders) -> None:
    """`organization=` and headers that the caller gives reach the wire."""
    llm = config_for(sandbox, server, "openai").llm
    arrived = called(server, "openai", llm, organization="org-mine", default_headers={"X-Mine": "yes"})
    assert (arrived.headers["openai-organization"], arrived.headers["x-mine"]) == ("org-mine", "yes")


@pytest.mark.parametrize("status", [302, 307, 308])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_neither_key_nor_prompt_follows_a_redirect(
    sandbox: Sandbox, server: FakeProviders, provider: str, status: int
) -> None:
    """A redirect to another host is an error, called, awaited or streamed, and nothing arrives there."""
    llm = config_for(sandbox, server, provider, "max_retries: 1").llm
    with FakeProviders([OllamaModel("qwen2.5-coder:7b")]) as elsewhere:
        server.fail(redirects(elsewhere.url, status))
        model = chat_model(llm)
        with pytest.raises(Exception, match=str(status)):
            model.invoke("the prompt")
        with pytest.raises(Exception, match=str(status)):
            asyncio.run(awaited(model))
        with pytest.raises(Exception, match=str(status)):
            list(model.stream("the prompt"))
        assert elsewhere.arrived == []
        assert {one.path for one in server.arrived} == {PATHS[provider]}


@pytest.mark.parametrize("provider", ["anthropic", "openai"])
def test_retries_are_as_many_as_configured(sandbox: Sandbox, server: FakeProviders, provider: str) -> None:
    """`max_retries: 1` makes two calls of a server that fails."""
    server.fail(lambda handler: handler.json({"error": {"message": "busy"}}, 500, {"retry-after-ms": "1"}))
    llm = config_for(sandbox, server, provider, "max_retries: 1").llm
    with pytest.raises(Exception, match="500"):
        chat_model(llm).invoke("ping")
    assert len(server.arrived) == 2


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_timeout_ends_a_call(sandbox: Sandbox, server: FakeProviders, provider: str) -> None:
    """`llm.timeout` reaches every class: a server that hangs does not hang the worker."""
    server.fail(hangs)
    llm = config_for(sandbox, server, provider, "timeout: 0.2\nmax_retries: 0").llm
    model = chat_model(llm)
    started = time.monotonic()
    with pytest.raises(Exception, match=r"(?i)timed out"):
        model.invoke("ping")
    assert time.monotonic() - started < 5
    assert len(server.arrived) == 1


def test_what_is_given_beside_the_configuration_replaces_it(sandbox: Sandbox, server: FakeProviders) -> None:
    """`max_tokens=` has each class's right name, too, and anything else goes to the class."""
    llm = config_for(sandbox, server, "ollama").llm
    body = called(server, "ollama", llm, max_tokens=7, temperature=1, keep_alive="5m").body
    assert (body["options"], body["keep_alive"]) == ({"num_predict": 7, "temperature": 1.0}, "5m")


@pytest.mark.parametrize(
    "name", ["base_url", "api_key", "model", "http_client", "anthropic_api_url", "openai_api_base", "client_kwargs"]
)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_only_the_configuration_decides_which_address_is_called(provider: str, name: str) -> None:
    """Endpoint, key, model and HTTP client cannot be given beside the configuration: the key is bound to it."""
    with pytest.raises(TypeError, match=rf"takes no {name}=.*override"):
        chat_model(hand_made(provider, "http://127.0.0.1:1"), **{name: "http://elsewhere.example"})


@pytest.mark.parametrize(
    ("provider", "extra", "code"),
    [
        ("anthropic", {"temperature": 1.5}, "out-of-range"),
        ("anthropic", {"num_ctx": 4096}, "unsupported-parameter"),
        ("openai", {"temperature": 0.5}, "unsupported-parameter"),  # without reasoning_effort none
        ("openai", {"max_tokens": 0}, "out-of-range"),
        ("ollama", {"max_tokens": "many"}, "wrong-type"),
        ("ollama", {"timeout": 0}, "out-of-range"),
        ("ollama", {"reasoning_effort": "much"}, "invalid-choice"),
    ],
)
def test_what_is_given_beside_the_configuration_is_checked(provider: str, extra: dict[str, Any], code: str) -> None:
    """A wrong value is a ConfigError with the code it has everywhere, not an answer of the provider's."""
    with pytest.raises(ConfigError) as error:
        chat_model(hand_made(provider, "http://127.0.0.1:1"), **extra)
    (problem,) = error.value.problems
    assert (problem.code, problem.key) == (code, f"llm.{next(iter(extra))}")


@pytest.mark.parametrize("provider", ["anthropic", "openai"])
def test_a_missing_key_is_not_filled_from_the_environment(
    server: FakeProviders, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a key in the configuration none is sent, whatever the environment has."""
    for name, value in AMBIENT.items():
        monkeypatch.setenv(name, value)
    arrived = called(server, provider, hand_made(provider, server.base_url(provider), api_key=None))
    assert not {"authorization", "x-api-key"} & set(arrived.headers)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_missing_client_names_what_to_install(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, the message is the pip command."""
    monkeypatch.setitem(sys.modules, f"langchain_{provider}", None)
    with pytest.raises(MissingExtra, match=rf"pip install 'stigmer-config\[{provider}\]'"):
        chat_model(hand_made(provider, "http://127.0.0.1:1"))


def test_a_fault_inside_a_client_is_not_taken_for_a_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """When another module cannot be imported, the error names that module."""
    monkeypatch.delitem(sys.modules, "langchain_ollama", raising=False)
    monkeypatch.setitem(sys.modules, "langchain_ollama.chat_models", None)
    with pytest.raises(ModuleNotFoundError) as error:
        chat_model(hand_made("ollama", "http://127.0.0.1:1"))
    assert not isinstance(error.value, MissingExtra)


def test_the_core_imports_no_client() -> None:
    """Loading, the integrations' modules and the checks import neither LangChain nor an SDK."""
    program = (
        "import sys, stigmer_config.integrations.chat, stigmer_config.integrations.doctor\n"
        "import stigmer_config.loading.load\n"
        "import stigmer_config.cli.commands.doctor, stigmer_config.cli.commands.models\n"
        "heavy = ('langchain', 'anthropic', 'openai', 'httpx', 'ollama')\n"
        "print([name for name in sys.modules if name.startswith(heavy)])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_no_text_of_a_client_shows_the_key(sandbox: Sandbox, server: FakeProviders, provider: str) -> None:
    """Neither repr nor str of the model, of its parts or of the identity it is traced under holds the key."""
    model: Any = chat_model(config_for(sandbox, server, provider).llm)
    parts = [model, vars(model), model._identifying_params, model.to_json(), getattr(model, "client_kwargs", None)]
    assert KEY not in " ".join(f"{part!r} {part}" for part in parts)


def test_a_client_kept_by_its_llm_follows_a_rotated_key(sandbox: Sandbox, server: FakeProviders) -> None:
    """Cached by `config.llm`, a client lives as long as nothing changes, and a new key makes a new one."""
    client = functools.lru_cache(chat_model)
    first = config_for(sandbox, server, "openai")
    assert client(first.llm) is client(sandbox.load().llm)
    sandbox.write(user=user_file(server, "openai").replace(KEY, "sk-rotated-key-000002"))
    assert client(sandbox.load().llm).invoke("ping")
    assert server.posted(PATHS["openai"]).headers["authorization"] == "Bearer sk-rotated-key-000002"


# ---- parse_model_string


@pytest.fixture
def process(sandbox: Sandbox, server: FakeProviders, monkeypatch: pytest.MonkeyPatch) -> FakeProviders:
    """Moves this process into the sandbox, with all three providers at the fake server."""
    own = "".join(
        f"  {provider}:\n    base_url: {server.base_url(provider)}\n    api_key: {KEY}\n" for provider in PROVIDERS
    )
    sandbox.write(user=f"llm:\n  provider: ollama\nproviders:\n{own}aliases:\n  quick: gpt-oss:20b\n")
    for name in ("MODE", "STIGMER_HOME", "STIGMER_SITE_CONFIG", *AMBIENT):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(sandbox.home))
    return server


@pytest.mark.parametrize(
    ("string", "provider", "model_id", "limit"),
    [
        ("anthropic:claude-sonnet-4.6", "anthropic", "claude-sonnet-4-6", 20000),
        (" claude-haiku-4.5 ", "anthropic", "claude-haiku-4-5-20251001", 20000),
        ("OpenAI:gpt-5.2", "openai", "gpt-5.2", None),
        ("quick", "ollama", "gpt-oss:20b", 8192),
    ],
)
def test_a_model_string_becomes_a_model(
    process: FakeProviders, string: str, provider: str, model_id: str, limit: int | None
) -> None:
    """The string chooses the provider and the model; key, endpoint and limits are the configuration's."""
    assert parse_model_string(string).invoke("ping").text == text_of(model_id)
    body = process.posted(PATHS[provider]).body
    options = body.get("options", body)
    assert options.get("num_predict", options.get("max_tokens")) == limit
    assert process.posted(PATHS[provider]).headers["authorization"] == f"Bearer {KEY}"


def test_a_model_strings_arguments_replace_the_configured_ones(process: FakeProviders) -> None:
    """`max_tokens`, `temperature` and further arguments are those of this one model."""
    model = parse_model_string("anthropic:claude-sonnet-4.6", max_tokens=55, temperature=0.5, stop=["END"])
    model.invoke("ping")
    body = process.posted(PATHS["anthropic"]).body
    assert (body["max_tokens"], body["temperature"], body["stop_sequences"]) == (55, 0.5, ["END"])


@pytest.mark.parametrize("string", ["", "  ", "anthropic:", "no such model", "gemini/../x"])
def test_a_string_that_is_no_model_is_a_value_error(process: FakeProviders, string: str) -> None:
    """As graphton has it: a ValueError, before anything is called."""
    with pytest.raises(ValueError, match=r".") as error:
        parse_model_string(string)
    assert isinstance(error.value, ConfigError)
    assert process.arrived == []


# ---- a live switch


def test_a_live_switch_never_mixes_two_configurations(sandbox: Sandbox, server: FakeProviders) -> None:
    """Under load, each call has model, key and limit of one configuration, and goes where that one says."""
    with FakeProviders() as other:
        files = [
            user_file(server, "openai", "max_tokens: 111", model="gpt-5.2"),
            user_file(other, "openai", "max_tokens: 222", model="gpt-4.1").replace(KEY, "sk-the-other-key-00002"),
        ]
        live = LiveConfig.start(environment=sandbox.write(user=files[0]).environment())
        client = functools.lru_cache(chat_model)
        done = threading.Event()

        def work() -> int:
            calls = 0
            while not done.is_set() or calls < 5:
                llm = live.current.llm
                assert client(llm).invoke("ping").text == text_of(llm.model_id)
                calls += 1
            return calls

        with live, ThreadPoolExecutor(4) as pool:
            workers = [pool.submit(work) for _ in range(4)]
            for turn in range(1, 21):
                sandbox.write(user=files[turn % 2])
                live.reload()
            done.set()
            assert all(worker.result() >= 5 for worker in workers)
        seen = [
            {(one.headers["authorization"], one.body["model"], one.body["max_tokens"]) for one in each.arrived}
            for each in (server, other)
        ]
        assert seen == [{(f"Bearer {KEY}", "gpt-5.2", 111)}, {("Bearer sk-the-other-key-00002", "gpt-4.1", 222)}]


def test_a_call_that_has_begun_ends_on_the_configuration_it_took(sandbox: Sandbox, server: FakeProviders) -> None:
    """A switch in the middle of a call leaves that call alone, and the next one goes the new way."""
    arrived, go_on = threading.Event(), threading.Event()

    def slow(handler: Any) -> None:
        arrived.set()
        assert go_on.wait(30)
        handler.json({"model": "x", "message": {"role": "assistant", "content": "late"}, "done": True})

    server.fail(slow, "/api/chat")
    environment = sandbox.write(user=user_file(server, "ollama")).environment()
    with FakeProviders() as other, LiveConfig.start(environment=environment) as live, ThreadPoolExecutor(1) as pool:
        old = pool.submit(chat_model(live.current.llm).invoke, "ping")
        assert arrived.wait(30)
        sandbox.write(user=user_file(other, "anthropic"))
        live.reload()
        assert chat_model(live.current.llm).invoke("ping").text == text_of("claude-sonnet-4-6")
        go_on.set()
        assert old.result(30).text == "late"
        assert len(server.arrived) == 1


# ---- the fake, and the example


def test_the_fake_speaks_anthropics_protocol(server: FakeProviders) -> None:
    """Anthropic's own client understands every answer of the fake server."""
    with anthropic.Anthropic(api_key=KEY, base_url=server.url) as client:
        question: Any = {
            "model": "claude-sonnet-4-6",
            "max_tokens": 9,
            "messages": [{"role": "user", "content": "ping"}],
        }
        message = client.messages.create(**question)
        assert (message.content[0].type, message.usage.output_tokens) == ("text", 4)
        with client.messages.stream(**question) as stream:
            assert stream.get_final_text() == text_of("claude-sonnet-4-6")
        assert [model.id for model in client.models.list().data] == [model.name for model in server.models]


def test_the_fake_speaks_openais_protocols(server: FakeProviders) -> None:
    """OpenAI's own client understands every answer of the fake server."""
    with openai.OpenAI(api_key=KEY, base_url=f"{server.url}/v1") as client:
        messages: Any = [{"role": "user", "content": "ping"}]
        whole = client.chat.completions.create(model="gpt-5.2", messages=messages)
        assert whole.choices[0].message.content == text_of("gpt-5.2")
        parts = client.chat.completions.create(model="gpt-5.2", messages=messages, stream=True)
        assert "".join(part.choices[0].delta.content or "" for part in parts) == text_of("gpt-5.2")
        assert client.responses.create(model="gpt-5.2", input="ping").output_text == text_of("gpt-5.2")
        assert [model.id for model in client.models.list().data] == [model.name for model in server.models]


def run_example(sandbox: Sandbox, *words: str) -> subprocess.CompletedProcess[str]:
    example = REPOSITORY / "examples" / "chat.py"
    command = [sys.executable, str(example), *words]
    environment = {"HOME": str(sandbox.home), "LC_ALL": "C.UTF-8"}
    return subprocess.run(  # noqa: PLW1510 - its status is the result
        command, cwd=sandbox.project, env=environment, capture_output=True, text=True, timeout=60
    )


def test_the_example_prints_the_answer(sandbox: Sandbox, server: FakeProviders) -> None:
    """The example asks the configured model and prints what it says."""
    sandbox.write(user=user_file(server, "ollama"))
    done = run_example(sandbox, "Why", "is", "the", "sky", "blue?")
    assert (done.returncode, done.stdout) == (0, f"{text_of('qwen2.5-coder:7b')}\n")
    assert server.posted("/api/chat").body["messages"][0]["content"] == "Why is the sky blue?"


def test_the_example_prints_key_place_and_fix_of_a_fault(sandbox: Sandbox, server: FakeProviders) -> None:
    """When the model is missing, the example prints the setting that chose it, its place, and the fix."""
    sandbox.write(user=user_file(server, "ollama", model="mistral:7b"))
    done = run_example(sandbox)
    assert done.returncode == 4
    assert "mistral:7b" in done.stderr
    assert f"llm.model, {sandbox.user_file}:6:12" in done.stderr
    assert "fix: ollama pull mistral:7b" in done.stderr
    assert KEY not in done.stderr + done.stdout
