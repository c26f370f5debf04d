"""Which provider is in force, and what belongs to it: rules 1, 2 and 4 of section 3, case by case."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stigmer_config import Config, Origin
from tests.support.sandbox import Sandbox

KEYS = {"ANTHROPIC_API_KEY": "k-anthropic", "OPENAI_API_KEY": "k-openai"}
LOCAL = {"MODE": "local", **KEYS}
CLOUD = {"MODE": "cloud", **KEYS}

# A bare name and the provider that it belongs to; None: unknown.
NAMES: list[tuple[str, str | None]] = [
    ("claude-sonnet-4.5", "anthropic"),
    ("claude-sonnet-4-5", "anthropic"),
    ("claude-sonnet-4-5-20250929", "anthropic"),
    ("claude-of-tomorrow", "anthropic"),
    ("claude", None),
    ("gpt-4o", "openai"),
    ("gpt-of-tomorrow", "openai"),
    ("gpt-oss", None),
    ("gpt-oss:20b", "ollama"),
    ("gpt-oss-of-tomorrow:1b", "ollama"),
    ("chatgpt-of-tomorrow", "openai"),
    ("chatgpt", None),
    ("o1", "openai"),
    ("o9-of-tomorrow", "openai"),
    ("olmo", None),
    ("olmo:7b", "ollama"),
    ("ft:gpt-4o:me", "openai"),
    ("ft-mine", None),
    ("codex-mini-latest", "openai"),  # by the catalogue: no pattern fits
    ("qwen2.5-coder:7b", "ollama"),
    ("qwen2.5-coder", None),
    ("hf.co/someone/model:Q4_K_M", "ollama"),
    ("qwen/qwen3", None),
]
PREFIXED = [
    ("anthropic:anything", "anthropic"),
    ("Anthropic:claude-sonnet-4.5", "anthropic"),
    ("OPENAI:my/model", "openai"),
    ("openai:ft:gpt-4o:me", "openai"),
    ("oLLaMa:claude-sonnet-4.5", "ollama"),
]


@pytest.mark.parametrize(("name", "provider"), [*NAMES, *PREFIXED])
@pytest.mark.parametrize("mode", ["local", "cloud"])
def test_a_model_names_the_provider_it_belongs_to(sandbox: Sandbox, mode: str, name: str, provider: str | None) -> None:
    """A model alone selects its provider, in either mode; an unknown one changes nothing."""
    config = sandbox.load({**KEYS, "MODE": mode, "STIGMER_LLM_MODEL": name})
    assert config.llm.provider == (provider or {"local": "ollama", "cloud": "anthropic"}[mode])
    assert config.llm.model == name


@pytest.mark.parametrize(("name", "provider"), PREFIXED)
def test_the_prefix_is_no_part_of_the_name(sandbox: Sandbox, name: str, provider: str) -> None:
    """What is sent is what follows the first colon, by its own catalogue's id where it has one."""
    llm = sandbox.load({**LOCAL, "STIGMER_LLM_MODEL": name}).llm
    bare = name.split(":", 1)[1]
    assert (llm.provider, llm.model_name) == (provider, bare)
    known = {"anthropic": {"claude-sonnet-4.5": "claude-sonnet-4-5-20250929"}}.get(provider, {})
    assert llm.model_id == known.get(bare, bare)


def test_a_prefix_that_is_no_provider_is_part_of_the_name(sandbox: Sandbox) -> None:
    """`nowhere:x` is an Ollama name with a tag: nowhere is no provider."""
    llm = sandbox.load({**CLOUD, "STIGMER_LLM_MODEL": "nowhere:llama"}).llm
    assert (llm.provider, llm.model_name) == ("ollama", "nowhere:llama")


def test_the_last_layer_that_names_one_decides(sandbox: Sandbox) -> None:
    """Site says openai, user anthropic, a variable Ollama, a flag openai: openai."""
    sandbox.write(site="llm: {provider: openai}\n", user="llm: {model: claude-sonnet-4.5}\n")
    chosen = {"STIGMER_LLM_PROVIDER": "ollama"}
    assert sandbox.load(LOCAL).llm.provider == "anthropic"
    assert sandbox.load({**LOCAL, **chosen}).llm.provider == "ollama"
    assert sandbox.load({**LOCAL, **chosen}, flags={"llm.model": "gpt-4o"}).llm.provider == "openai"


def test_a_provider_beats_the_model_beside_it(sandbox: Sandbox) -> None:
    """`llm.provider` decides; an unknown model beside it belongs to that provider."""
    sandbox.write(user="llm: {provider: openai, model: my-own}\n")
    llm = sandbox.load(LOCAL).llm
    assert (llm.provider, llm.model) == ("openai", "my-own")


def test_a_provider_switch_leaves_nothing_of_the_old_one(sandbox: Sandbox) -> None:
    """MODE=local with STIGMER_LLM_PROVIDER=anthropic is all Anthropic, whatever the user file says for Ollama."""
    sandbox.write(
        user="llm:\n  model: mine:1b\n  base_url: http://gpu-box:11434\n  max_tokens: 5\n  temperature: 0.9\n"
        "  num_ctx: 7\n  reasoning_effort: high\n"
    )
    llm = sandbox.load({**LOCAL, "STIGMER_LLM_PROVIDER": "anthropic"}).llm
    assert (llm.model, llm.base_url, llm.max_tokens) == ("claude-sonnet-4.5", "https://api.anthropic.com", 20000)
    assert (llm.temperature, llm.num_ctx, llm.reasoning_effort) == (None, None, None)


def test_switching_back_finds_what_was_said_for_the_first_provider(sandbox: Sandbox) -> None:
    """Values wait for their provider: ollama's from the site count again once a flag returns to it."""
    sandbox.write(
        site="llm: {base_url: 'http://gpu-box:11434', num_ctx: 4096}\n",
        user="llm: {provider: anthropic, max_tokens: 7}\n",
    )
    llm = sandbox.load(LOCAL, flags={"llm.provider": "ollama"}).llm
    assert (llm.base_url, llm.num_ctx, llm.max_tokens) == ("http://gpu-box:11434", 4096, 8192)


def test_timeout_and_retries_belong_to_no_provider(sandbox: Sandbox) -> None:
    """They apply to any provider in force, and a provider's own setting in a higher layer wins over them."""
    sandbox.write(site="llm: {timeout: 5, max_retries: 1}\n", user="providers: {anthropic: {timeout: 9}}\n")
    ollama = sandbox.load(LOCAL).llm
    anthropic = sandbox.load({**LOCAL, "STIGMER_LLM_PROVIDER": "anthropic"}).llm
    assert (ollama.timeout, ollama.max_retries) == (5.0, 1)
    assert (anthropic.timeout, anthropic.max_retries) == (9.0, 1)


@pytest.mark.parametrize(
    ("user", "url"),
    [
        ("llm: {base_url: 'http://llm:1'}\nproviders: {ollama: {base_url: 'http://own:1'}}\n", "http://llm:1"),
        ("providers: {ollama: {base_url: 'http://own:1'}}\n", "http://own:1"),
    ],
)
def test_within_a_layer_llm_beats_the_providers_own(sandbox: Sandbox, user: str, url: str) -> None:
    """In one file `llm.base_url` beats `providers.ollama.base_url`, and a lower layer's `llm` beats neither."""
    sandbox.write(site="llm: {base_url: 'http://below:1'}\n", user=user)
    assert sandbox.load(LOCAL).llm.base_url == url


class TestAuto:
    """`llm.provider: auto`."""

    @pytest.mark.parametrize(
        ("variables", "provider"),
        [
            ({}, "ollama"),
            ({"OPENAI_API_KEY": "k"}, "openai"),
            ({"ANTHROPIC_API_KEY": "k"}, "anthropic"),
            (KEYS, "anthropic"),
            ({"STIGMER_LLM_API_KEY": "k"}, "ollama"),
            ({"ANTHROPIC_API_KEY": "", "OPENAI_API_KEY": "k"}, "openai"),
        ],
    )
    @pytest.mark.parametrize("mode", ["local", "cloud"])
    def test_it_goes_by_the_keys_there_are(
        self, sandbox: Sandbox, mode: str, variables: dict[str, str], provider: str
    ) -> None:
        """Anthropic with its key, else openai with its own, else Ollama; `llm.api_key` never decides."""
        loaded = sandbox.read({"MODE": mode, "STIGMER_LLM_PROVIDER": "auto", **variables})
        assert loaded.config.llm.provider == provider
        assert not loaded.errors

    def test_a_null_in_a_higher_layer_takes_the_key_away(self, sandbox: Sandbox) -> None:
        """The winning `providers.anthropic.api_key` decides, not any."""
        sandbox.write(user="llm: {provider: auto}\nproviders: {anthropic: {api_key: null}}\n")
        assert sandbox.load({"MODE": "cloud", **KEYS}).llm.provider == "openai"

    def test_a_higher_layers_key_counts_too(self, sandbox: Sandbox) -> None:
        """It is the winner of all trusted layers, not of those below."""
        sandbox.write(site="llm: {provider: auto}\n", user="providers: {openai: {api_key: k-user}}\n")
        assert sandbox.load({"MODE": "local"}).llm.provider == "openai"

    def test_a_model_beside_it_decides(self, sandbox: Sandbox) -> None:
        """`auto` with a model that names a provider is that provider, whatever keys there are."""
        sandbox.write(user="llm: {provider: auto, model: 'name:tag'}\n")
        config = sandbox.load(CLOUD)
        assert config.llm.provider == "ollama"
        assert config.explain("llm.provider").origin == Origin("user", str(sandbox.user_file), 1, 17)

    def test_an_unknown_model_beside_it_does_not(self, sandbox: Sandbox) -> None:
        """`auto` with a model that names no provider is decided by the keys."""
        sandbox.write(user="llm: {provider: auto, model: my-own}\n")
        llm = sandbox.load(LOCAL).llm
        assert (llm.provider, llm.model) == ("anthropic", "my-own")


class TestGateway:
    """A provider called at another URL than its packaged one serves any name."""

    def test_a_bare_name_stays_at_the_gateway(self, sandbox: Sandbox) -> None:
        """Above an openai gateway, a name with a tag or a claude name goes there."""
        sandbox.write(user="llm: {provider: openai, base_url: 'https://gateway.example/v1'}\n")
        for name in ("qwen3:free", "claude-sonnet-4.5", "o9"):
            llm = sandbox.load({**CLOUD, "STIGMER_LLM_MODEL": name}).llm
            assert (llm.provider, llm.model_id) == ("openai", name)

    def test_a_prefix_leaves_it(self, sandbox: Sandbox) -> None:
        """`ollama:name` names its provider, gateway or not."""
        sandbox.write(user="llm: {provider: openai, base_url: 'https://gateway.example/v1'}\n")
        assert sandbox.load({**CLOUD, "STIGMER_LLM_MODEL": "ollama:qwen3"}).llm.provider == "ollama"

    def test_an_alias_to_a_bare_name_stays_and_to_a_prefixed_one_leaves(self, sandbox: Sandbox) -> None:
        """What counts is the string at the chain's end."""
        sandbox.write(
            user="llm: {provider: openai, base_url: 'https://gateway.example/v1'}\n"
            "aliases: {bare: claude-sonnet-4.5, away: 'anthropic:claude-sonnet-4.5'}\n"
        )
        assert sandbox.load({**CLOUD, "STIGMER_LLM_MODEL": "bare"}).llm.provider == "openai"
        assert sandbox.load({**CLOUD, "STIGMER_LLM_MODEL": "away"}).llm.provider == "anthropic"

    def test_the_url_must_come_from_below(self, sandbox: Sandbox) -> None:
        """A gateway in the model's own layer, or above it, does not keep the model from naming."""
        own = sandbox.write(user="llm: {base_url: 'https://gateway.example', model: gpt-4o}\n").load(CLOUD).llm
        assert (own.provider, own.base_url) == ("openai", "https://gateway.example")
        above = {**CLOUD, "STIGMER_LLM_BASE_URL": "https://gateway.example"}
        assert sandbox.write(user="llm: {model: gpt-4o}\n").load(above).llm.provider == "openai"

    @pytest.mark.parametrize(
        "url", ["https://api.anthropic.com", "https://api.anthropic.com/", "HTTPS://API.Anthropic.com:443"]
    )
    def test_the_packaged_url_in_any_spelling_is_no_gateway(self, sandbox: Sandbox, url: str) -> None:
        """A URL that means the packaged one changes nothing."""
        variables = {**CLOUD, "ANTHROPIC_BASE_URL": url, "STIGMER_LLM_MODEL": "gpt-4o"}
        assert sandbox.load(variables).llm.provider == "openai"

    def test_another_path_is_a_gateway(self, sandbox: Sandbox) -> None:
        """The same host with another path is another URL."""
        variables = {**CLOUD, "ANTHROPIC_BASE_URL": "https://api.anthropic.com/proxy", "STIGMER_LLM_MODEL": "gpt-4o"}
        assert sandbox.load(variables).llm.provider == "anthropic"

    def test_a_null_turns_it_off(self, sandbox: Sandbox) -> None:
        """`base_url: null` means the packaged one: no gateway any more."""
        sandbox.write(
            site="llm: {provider: openai, base_url: 'https://gateway.example/v1'}\n", user="llm: {base_url: null}\n"
        )
        llm = sandbox.load({**CLOUD, "STIGMER_LLM_MODEL": "name:tag"}).llm
        assert llm.provider == "ollama"
        assert sandbox.load(CLOUD).llm.base_url == "https://api.openai.com/v1"

    def test_ollama_is_none(self, sandbox: Sandbox) -> None:
        """Ollama at any URL: a claude name still names Anthropic."""
        variables = {**LOCAL, "OLLAMA_BASE_URL": "http://gpu-box:1", "STIGMER_LLM_MODEL": "claude-sonnet-4.5"}
        assert sandbox.load(variables).llm.provider == "anthropic"


class TestMismatch:
    """A layer that contradicts itself, and prefixes in the wrong place."""

    @pytest.mark.parametrize(
        ("user", "key"),
        [
            ("llm: {provider: anthropic, model: gpt-4o}\n", "llm.model"),
            ("llm: {provider: ollama, model: claude-sonnet-4.5}\n", "llm.model"),
            ("llm: {provider: openai, model: 'name:tag'}\n", "llm.model"),
            ("llm: {provider: openai, model: 'Anthropic:x'}\n", "llm.model"),
            ("llm: {provider: openai, model: mine}\naliases: {mine: claude-sonnet-4.5}\n", "llm.model"),
            ("llm: {provider: openai, model: mine}\naliases: {mine: 'ollama:x'}\n", "llm.model"),
            ("providers: {openai: {model: 'anthropic:x'}}\n", "providers.openai.model"),
            ("aliases: {mine: {openai: 'anthropic:x'}}\n", "aliases.mine"),
            ("aliases: {mine: {openai: other}, other: 'anthropic:x'}\n", "aliases.mine"),
        ],
    )
    def test_it_is_an_error(self, sandbox: Sandbox, user: str, key: str) -> None:
        """One `provider-mismatch`, at the model, used or not."""
        found = sandbox.write(user=user).problems(LOCAL)
        assert [(p.code, p.key, p.origin.layer if p.origin else None) for p in found] == [
            ("provider-mismatch", key, "user")
        ]

    @pytest.mark.parametrize(
        "user",
        [
            "llm: {provider: anthropic, model: gpt-4o, base_url: 'https://gateway.example'}\n",
            "llm: {provider: openai, model: my-own}\n",
            "llm: {provider: openai, model: mine}\naliases: {mine: {openai: claude-sonnet-4.5}}\n",
            "llm: {provider: openai, model: 'OpenAI:claude-sonnet-4.5'}\n",
            "providers: {openai: {model: claude-sonnet-4.5}}\n",
            "llm: {provider: auto, model: gpt-4o}\n",
        ],
    )
    def test_these_are_none(self, sandbox: Sandbox, user: str) -> None:
        """Any name on a gateway, an unknown name, an alias's own entry, a right prefix, another key: no mismatch."""
        assert not sandbox.write(user=user).read(LOCAL).errors

    def test_a_gateway_from_below_allows_any_name(self, sandbox: Sandbox) -> None:
        """The URL in force counts, also the one of a lower layer."""
        sandbox.write(
            site="providers: {openai: {base_url: 'https://gateway.example/v1'}}\n",
            user="llm: {provider: openai, model: claude-sonnet-4.5}\n",
        )
        assert sandbox.load(LOCAL).llm.model_id == "claude-sonnet-4.5"


class TestAnthropicKey:
    """The flag `--anthropic-key -`."""

    def llm(self, sandbox: Sandbox, *argv: str, variables: dict[str, str] | None = None) -> dict[str, Any]:
        done = sandbox.run("show", "llm", "--reveal", "--format", "json", "--anthropic-key", "-", *argv,
                           variables={"MODE": "local", **(variables or {})}, stdin="k-from-flag\n")  # fmt: skip
        assert done.returncode == 0, done.stderr
        shown: dict[str, Any] = json.loads(done.stdout)["llm"]
        return shown

    def test_it_names_anthropic_and_brings_the_key(self, sandbox: Sandbox) -> None:
        """With nothing else, Anthropic and that key are in force."""
        shown = self.llm(sandbox, variables={"STIGMER_LLM_PROVIDER": "ollama", "ANTHROPIC_API_KEY": "k-vendor"})
        assert (shown["provider"], shown["api_key"], shown["model"]) == (
            "anthropic",
            "k-from-flag",
            "claude-sonnet-4.5",
        )

    @pytest.mark.parametrize("argv", [("--llm-provider", "openai"), ("--llm-model", "gpt-4o")])
    def test_the_flags_may_name_another(self, sandbox: Sandbox, argv: tuple[str, str]) -> None:
        """Then the key waits for Anthropic and goes nowhere else."""
        shown = self.llm(sandbox, *argv, variables=KEYS)
        assert (shown["provider"], shown["api_key"]) == ("openai", "k-openai")

    def test_an_unknown_model_among_the_flags_does_not(self, sandbox: Sandbox) -> None:
        """`--llm-model my-own` names no provider: Anthropic gets it."""
        shown = self.llm(sandbox, "--llm-model", "my-own")
        assert (shown["provider"], shown["model"]) == ("anthropic", "my-own")


def test_a_vendors_key_serves_its_vendor_only(sandbox: Sandbox) -> None:
    """ANTHROPIC_API_KEY is not sent to OpenAI, nor OPENAI_API_KEY to Anthropic, nor either to Ollama."""

    def key(config: Config) -> str | None:
        return config.llm.api_key.reveal() if config.llm.api_key else None

    loaded = {p: sandbox.load({**LOCAL, "STIGMER_LLM_PROVIDER": p}) for p in ("anthropic", "openai", "ollama")}
    assert {p: key(config) for p, config in loaded.items()} == {
        "anthropic": "k-anthropic",
        "openai": "k-openai",
        "ollama": None,
    }
