"""What the seed's own worker got wrong (each test fails on its behaviour)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stigmer_config import Config, ConfigError
from tests.support.sandbox import Sandbox

KEYS = {"ANTHROPIC_API_KEY": "sk-ant-canary", "OPENAI_API_KEY": "sk-oai-canary"}


def key(config: Config) -> str | None:
    """The key in force, in the clear."""
    return config.llm.api_key.reveal() if config.llm.api_key is not None else None


def codes(sandbox: Sandbox, variables: dict[str, str]) -> list[tuple[str, str]]:
    """(code, key) of each error."""
    return [(problem.code, problem.key) for problem in sandbox.read(variables).errors]


def test_defaults_follow_the_provider_and_not_the_mode(sandbox: Sandbox) -> None:
    """The seed: MODE=local with Anthropic kept Ollama's model, URL and limit."""
    llm = sandbox.load({"MODE": "local", "STIGMER_LLM_PROVIDER": "anthropic", **KEYS}).llm
    assert (llm.model, llm.base_url, llm.max_tokens, llm.temperature) == (
        "claude-sonnet-4.5",
        "https://api.anthropic.com",
        20000,
        None,
    )


def test_and_the_other_way_round(sandbox: Sandbox) -> None:
    """The seed: MODE=cloud with Ollama kept Anthropic's model and had no URL."""
    llm = sandbox.load({"MODE": "cloud", "STIGMER_LLM_PROVIDER": "ollama"}).llm
    assert (llm.model, llm.base_url, llm.max_tokens, llm.temperature) == (
        "qwen2.5-coder:7b",
        "http://localhost:11434",
        8192,
        0.0,
    )


def test_openai_gets_its_own_key_never_anthropics(sandbox: Sandbox) -> None:
    """The seed: ANTHROPIC_API_KEY was passed as OpenAI's, and OPENAI_API_KEY was not read."""
    openai = {"MODE": "cloud", "STIGMER_LLM_PROVIDER": "openai"}
    assert key(sandbox.load({**openai, **KEYS})) == "sk-oai-canary"
    without = {**openai, "ANTHROPIC_API_KEY": "sk-ant-canary"}
    assert codes(sandbox, without) == [("missing-api-key", "llm.api_key")]
    assert sandbox.read(without).config.llm.api_key is None


def test_an_override_model_brings_its_provider(sandbox: Sandbox) -> None:
    """The seed: an execution's model kept the worker's provider, URL, key and limits."""
    config = sandbox.load({"MODE": "local", **KEYS})
    llm = config.override({"llm": {"model": "claude-sonnet-4.5"}}).llm
    assert (llm.provider, llm.base_url, llm.max_tokens) == ("anthropic", "https://api.anthropic.com", 20000)
    assert key(config.override({"llm.model": "gpt-4.1"})) == "sk-oai-canary"


@pytest.mark.parametrize(
    ("friendly", "sent"),
    [
        ("claude-sonnet-4.5", "claude-sonnet-4-5-20250929"),
        ("claude-opus-4.5", "claude-opus-4-5-20251101"),
        ("claude-haiku-4.5", "claude-haiku-4-5-20251001"),
    ],
)
def test_a_friendly_name_has_the_id_that_the_api_knows(sandbox: Sandbox, friendly: str, sent: str) -> None:
    """The seed: `claude-sonnet-4.5` went to the API as it was written, and was refused there."""
    llm = sandbox.load({"MODE": "cloud", "STIGMER_LLM_MODEL": friendly, **KEYS}).llm
    assert (llm.model_name, llm.model_id) == (friendly, sent)


def test_limits_and_temperature_are_beside_the_model(sandbox: Sandbox) -> None:
    """The seed: they were dropped on the way to the client."""
    variables = {"MODE": "cloud", **KEYS, "STIGMER_LLM_MAX_TOKENS": "512", "STIGMER_LLM_TEMPERATURE": "0.3"}
    llm = sandbox.load(variables).llm
    assert (llm.max_tokens, llm.temperature) == (512, 0.3)
    local = {**variables, "MODE": "local", "STIGMER_LLM_NUM_CTX": "16384", "STIGMER_LLM_TIMEOUT": "9"}
    llm = sandbox.load(local).llm
    assert (llm.max_tokens, llm.temperature, llm.num_ctx, llm.timeout) == (512, 0.3, 16384, 9.0)


@pytest.mark.parametrize(
    ("variables", "url", "source"),
    [
        ({"OLLAMA_BASE_URL": "http://a:1"}, "http://a:1", "OLLAMA_BASE_URL"),
        ({"STIGMER_LLM_BASE_URL": "http://b:1"}, "http://b:1", "STIGMER_LLM_BASE_URL"),
        ({"OLLAMA_BASE_URL": "http://a:1", "STIGMER_LLM_BASE_URL": "http://b:1"}, "http://b:1", "STIGMER_LLM_BASE_URL"),
        ({"OLLAMA_HOST": "c"}, "http://c:11434", "OLLAMA_HOST"),
        ({"OLLAMA_BASE_URL": "http://a:1", "OLLAMA_HOST": "c"}, "http://a:1", "OLLAMA_BASE_URL"),
    ],
)
def test_both_names_of_ollamas_url_are_read(sandbox: Sandbox, variables: dict[str, str], url: str, source: str) -> None:
    """The seed: one side read STIGMER_LLM_BASE_URL, the other OLLAMA_BASE_URL."""
    config = sandbox.load({"MODE": "local", **variables})
    origin = config.explain("llm.base_url").origin
    assert config.llm.base_url == url
    assert origin is not None
    assert origin.source == source


@pytest.mark.parametrize("text", ["llm: [\n", "llm:\n\tmodel: x\n", "llm: {model: x\n", "- a\n", "\x00"])
def test_a_malformed_file_is_an_error_with_a_place(sandbox: Sandbox, text: str) -> None:
    """The seed: it fell back to the defaults and said nothing."""
    sandbox.write(user=text)
    with pytest.raises(ConfigError) as caught:
        sandbox.load({"MODE": "local"})
    [problem] = caught.value.problems
    assert problem.origin is not None
    assert (problem.origin.source, problem.origin.line is None) == (str(sandbox.user_file), False)


def test_a_partial_section_leaves_its_siblings(sandbox: Sandbox) -> None:
    """The seed: `temporal: {namespace: x}` emptied the address and the queue."""
    sandbox.write(user="temporal: {namespace: mine}\nllm: {max_tokens: 9}\nsandbox: {snapshot_id: s}\n")
    config = sandbox.load({"MODE": "local"})
    assert (config.temporal.namespace, config.temporal.address, config.temporal.task_queue) == (
        "mine",
        "localhost:7233",
        "agent_execution_runner",
    )
    assert (config.llm.model, config.llm.base_url, config.llm.max_tokens) == (
        "qwen2.5-coder:7b",
        "http://localhost:11434",
        9,
    )
    assert (config.sandbox.type, config.sandbox.root_dir) == ("filesystem", "./workspace")


class TestVariables:
    """A variable's value is checked, and faults name the variable."""

    def test_an_invalid_number_is_reported(self, sandbox: Sandbox) -> None:
        """The seed: `STIGMER_LLM_MAX_TOKENS=abc` was a bare `invalid literal for int()`."""
        with pytest.raises(ConfigError) as caught:
            sandbox.load({"MODE": "local", "STIGMER_LLM_MAX_TOKENS": "abc"})
        [problem] = caught.value.problems
        assert (problem.code, problem.key) == ("wrong-type", "llm.max_tokens")
        assert "STIGMER_LLM_MAX_TOKENS" in str(problem)
        assert "invalid literal" not in str(problem)

    @pytest.mark.parametrize("text", ["99", "-1", "nan", "inf", "2.0001"])
    def test_a_temperature_out_of_range_is_refused(self, sandbox: Sandbox, text: str) -> None:
        """The seed: 99 passed."""
        assert codes(sandbox, {"MODE": "local", "STIGMER_LLM_TEMPERATURE": text}) == [
            ("out-of-range", "llm.temperature")
        ]

    @pytest.mark.parametrize("text", ["LOCAL", "Local", "lokal", "prod"])
    def test_an_unknown_mode_is_no_cloud(self, sandbox: Sandbox, text: str) -> None:
        """The seed: MODE=LOCAL meant cloud."""
        with pytest.raises(ConfigError) as caught:
            sandbox.load({"MODE": text})
        problem = next(problem for problem in caught.value.problems if problem.key == "mode")
        assert problem.code == "invalid-choice"
        assert text == "prod" or problem.hint == "did you mean local?"

    def test_all_of_them_are_reported_at_once(self, sandbox: Sandbox) -> None:
        """The seed: it stopped at the first."""
        variables = {"STIGMER_LLM_MAX_TOKENS": "abc", "STIGMER_LLM_TEMPERATURE": "99", "TEMPORAL_MAX_CONCURRENCY": "x"}
        assert sorted(codes(sandbox, {"MODE": "local", **variables})) == [
            ("out-of-range", "llm.temperature"),
            ("wrong-type", "llm.max_tokens"),
            ("wrong-type", "temporal.max_concurrency"),
        ]


def test_no_representation_prints_the_key(sandbox: Sandbox) -> None:
    """The seed: the dataclass' repr had the API key in it."""
    config = sandbox.load({"MODE": "cloud", **KEYS})
    for shown in (config, config.llm, config.providers, config.explain("llm.api_key"), config.diff(config)):
        assert "canary" not in f"{shown!r} {shown!s}"
    assert key(config) == "sk-ant-canary"


@pytest.mark.parametrize("argv", [("get", "llm.modle"), ("explain", "llm.modle"), ("show", "llm.modle")])
def test_an_unknown_key_is_wrong_usage(sandbox: Sandbox, argv: tuple[str, ...]) -> None:
    """The seed: an unknown key exited 0."""
    done = sandbox.run(*argv, variables={"MODE": "local"})
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean llm.model?" in done.stderr


def test_an_unknown_key_in_a_file_is_an_error(sandbox: Sandbox) -> None:
    """The seed: it was dropped in silence."""
    sandbox.write(user="llm:\n  modle: x\n")
    [problem] = sandbox.problems({"MODE": "local"})
    assert (problem.code, problem.key, problem.hint) == ("unknown-key", "llm.modle", "did you mean llm.model?")


def test_the_local_defaults_are_local(sandbox: Sandbox) -> None:
    """The seed: its `local` overlay never set MODE, and the worker ran as in the cloud."""

    def shown(*argv: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(sandbox.run("show", "--format", "json", *argv).stdout)
        return document

    assert sandbox.load({}, mode="local").is_local_mode()
    assert (shown("--mode", "local")["mode"], shown("--mode", "local")["sandbox"]["type"]) == ("local", "filesystem")
    sandbox.write(user="mode: local\n")
    config = sandbox.load({})
    assert (config.mode, config.llm.provider, config.redis) == ("local", "ollama", None)
