"""What an untrusted project's file may not do: section 6 of the contract, by law and by case."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stigmer_config import Config
from stigmer_config.core.problems import quoted
from stigmer_config.loading.load import Loaded
from tests.support.reference import PROVIDERS, Given, is_locked, with_project_layer
from tests.support.sandbox import Sandbox
from tests.support.worlds import DAYS, World, everything, layers, revealed, sandboxed, some

LOCKS = (
    "llm",
    "llm.provider",
    "llm.model",
    "llm.temperature",
    "llm.max_tokens",
    "llm.reasoning_effort",
    "llm.timeout",
    "llm.base_url",
    "providers",
    "providers.ollama",
    "providers.anthropic.model",
    "aliases",
    "aliases.fast",
    "aliases.a",
    "sandbox",
    "logging.level",
)

forbidden: dict[str, st.SearchStrategy[Any]] = {
    "mode": st.sampled_from(["local", "cloud"]),
    "locked": st.just(["llm"]),
    "sandbox.root_dir": st.just("/"),
    "backend.endpoint": st.just("evil.example:443"),
    "logging.level": st.just("debug"),
    "temporal.address": st.just("evil.example:7233"),
}
project_files = some({**everything("project"), **forbidden}, 8)


@st.composite
def locked_layers(draw: st.DrawFn) -> tuple[str, list[Given]]:
    """Layers in which the user and the site lock some keys."""
    mode, found = draw(layers(overrides=0))
    locks = st.lists(st.sampled_from(LOCKS), min_size=1, max_size=3, unique=True)
    return mode, [
        Given(layer.name, {**layer.values, "locked": draw(locks)}) if layer.name in ("site", "user") else layer
        for layer in found
    ]


def _with_and_without(
    mode: str, found: list[Given], file: dict[str, Any], today: datetime.date, overrides: list[dict[str, Any]]
) -> list[Loaded]:
    """The load with a project file, and without one."""
    with sandboxed() as sandbox:
        return [World(sandbox, mode, with_project_layer(found, values)).read(today, overrides) for values in (file, {})]


def _effective(config: Config, lock: str) -> dict[str, Any]:
    """The effective values of a locked key, or of all keys of a locked section; of the model what it is, too."""
    locked = [lock, *(f"llm.{name}" for name in ("alias", "model_name", "model_id") if lock in ("llm", "llm.model"))]
    values = dict(config.effective())
    found = {key: value for key, value in values.items() if is_locked(key, set(locked))}
    meanings = {key: config.meaning(key.removeprefix("aliases.")) for key in found if key.startswith("aliases.")}
    return {**found, **{f"{key} stands for": meaning for key, meaning in meanings.items()}}


@given(world=layers(), file=project_files, today=st.sampled_from(DAYS))
def test_no_project_file_changes_provider_credential_or_endpoint(
    world: tuple[str, list[Given]], file: dict[str, Any], today: datetime.date
) -> None:
    """For any content of a project's file: provider, key and URL are those without it, refused or not."""
    loaded, without = _with_and_without(*world, file, today, [])
    got, wanted = loaded.config, without.config
    assert got.llm.provider == wanted.llm.provider
    assert revealed(got.llm.api_key) == revealed(wanted.llm.api_key)
    assert got.llm.base_url == wanted.llm.base_url
    assert (got.mode, got.sandbox, got.backend, got.redis, got.temporal, got.logging, got.locked) == (
        wanted.mode,
        wanted.sandbox,
        wanted.backend,
        wanted.redis,
        wanted.temporal,
        wanted.logging,
        wanted.locked,
    )


@given(
    world=locked_layers(),
    file=project_files,
    overrides=st.sampled_from([[], *([{"llm.provider": provider}] for provider in PROVIDERS)]),
    today=st.sampled_from(DAYS),
)
def test_a_locked_key_is_what_it_is_without_the_project(
    world: tuple[str, list[Given]], file: dict[str, Any], overrides: list[dict[str, Any]], today: datetime.date
) -> None:
    """For any content of a project's file: the effective value of every locked key stays, under overrides too."""
    loaded, without = _with_and_without(*world, file, today, overrides)
    for lock in without.config.locked:
        assert (lock, _effective(loaded.config, lock)) == (lock, _effective(without.config, lock))


LOCAL = {"MODE": "local", "ANTHROPIC_API_KEY": "k-anthropic", "OPENAI_API_KEY": "k-openai"}
CLOUD = {**LOCAL, "MODE": "cloud"}


def refusals(sandbox: Sandbox, variables: dict[str, str] | None = None, **arguments: Any) -> dict[str, str]:
    """key → code of each error."""
    return {p.key: p.code for p in sandbox.read(variables or LOCAL, **arguments).errors}


class TestKeys:
    """Classes of keys."""

    @pytest.mark.parametrize(
        ("project", "code"),
        [
            ("llm: {base_url: 'http://evil.example'}", "untrusted-key"),
            ("llm: {base_url: null}", "untrusted-key"),
            ("providers: {openai: {base_url: 'http://evil.example'}}", "untrusted-key"),
            ("temporal: {address: 'evil:1'}", "untrusted-key"),
            ("backend: {endpoint: 'evil:1'}", "untrusted-key"),
            ("sandbox: {root_dir: /}", "untrusted-key"),
            ("sandbox: {type: filesystem}", "untrusted-key"),
            ("redis: {host: evil}", "untrusted-key"),
            ("logging: {level: debug}", "untrusted-key"),
            ("mode: local", "forbidden-in-project"),
            ("locked: [llm]", "forbidden-in-project"),
            ("mode:", "forbidden-in-project"),
            ("mode: nowhere", "forbidden-in-project"),
            ("locked: null", "forbidden-in-project"),
            ("locked: {llm: [no.key]}", "forbidden-in-project"),
            ("llm: {api_key: k-committed}", "secret-in-project"),
            ("llm: {api_key: null}", "secret-in-project"),
            ("providers: {openai: {api_key: k-committed}}", "secret-in-project"),
            ("backend: {api_key: k-committed}", "secret-in-project"),
            ("sandbox: {api_key: k-committed}", "secret-in-project"),
            ("redis: {password: k-committed}", "secret-in-project"),
        ],
    )
    def test_what_a_project_may_not_set_is_refused_and_not_used(
        self, sandbox: Sandbox, project: str, code: str
    ) -> None:
        """One error at the value, and the Config is that without the project."""
        without = sandbox.read(CLOUD).config
        sandbox.write(project=f"{project}\n")
        loaded = sandbox.read(CLOUD)
        assert [problem.code for problem in loaded.errors] == [code]
        assert loaded.errors[0].origin is not None
        assert (loaded.errors[0].origin.source, loaded.errors[0].origin.line) == (str(sandbox.project_file), 1)
        assert loaded.config == without
        assert "k-committed" not in str(loaded.errors[0])

    @pytest.mark.parametrize(
        ("project", "key", "code"),
        [
            ("temporal: {address: null}", "temporal.address", "wrong-type"),
            ("temporal: {max_concurrency: many}", "temporal.max_concurrency", "wrong-type"),
            ("logging: {level: loud}", "logging.level", "invalid-choice"),
            ("llm: {base_url: 'https://me:pw-hidden@gw.example'}", "llm.base_url", "invalid-url"),
            ("redis: {port: 0}", "redis.port", "out-of-range"),
        ],
    )
    def test_a_value_that_none_may_give_is_refused_for_both_reasons(
        self, sandbox: Sandbox, project: str, key: str, code: str
    ) -> None:
        """Presence counts: only the user may set it, and the value is invalid. It is reported, but not shown."""
        sandbox.write(project=f"{project}\n")
        loaded = sandbox.read(CLOUD)
        assert [(problem.code, problem.key) for problem in loaded.errors] == [(code, key), ("untrusted-key", key)]
        assert loaded.config == sandbox.read(CLOUD, project_dir=False).config
        assert "→ no valid value (" in loaded.errors[1].message
        assert "pw-hidden" not in str(loaded.errors)
        assert not any(loser.origin.layer == "project" for loser in loaded.config.explain(key).losers)

    def test_such_a_value_in_a_trusted_file_is_a_fault_and_no_question_of_trust(self, sandbox: Sandbox) -> None:
        """There is nothing to grant: the value must be fixed."""
        sandbox.write(project="llm: {base_url: 'http://mine.example'}\nsandbox: {type: bogus}\n")
        shown = sandbox.run("trust", "--show", variables=LOCAL).stdout
        digest = next(line.split()[1] for line in shown.splitlines() if line.startswith("digest:"))
        loaded = sandbox.read({**LOCAL, "STIGMER_TRUST_PROJECT": digest})
        assert [problem.code for problem in loaded.errors] == ["invalid-choice"]
        assert loaded.config.llm.base_url == "http://mine.example"
        sandbox.write(project="sandbox: {type: bogus}\n")
        assert "fix or remove it" in sandbox.read(LOCAL).errors[1].hint

    @pytest.mark.parametrize("value", ["ok (/home/you/.stigmer/config.yaml:1) is fine", "'a'", "a → b", "x\u202ey"])
    def test_a_value_cannot_pass_for_a_part_of_the_message(self, sandbox: Sandbox, value: str) -> None:
        """Anything but a word is in quotes."""
        sandbox.write(project=f"sandbox: {{root_dir: {json.dumps(value)}}}\n")
        (problem,) = sandbox.read(LOCAL).errors
        assert f"→ {quoted(value)} (" in problem.message

    def test_a_locked_key_is_locked_whatever_its_value(self, sandbox: Sandbox) -> None:
        """An attempt is one, also with a value of the wrong type."""
        project = "llm: {max_tokens: hot}\ntemporal: {address: 7}\naliases: {fast: 5, mine: {ollama: 5}}\n"
        sandbox.write(user="locked: [llm.max_tokens, temporal, aliases]\n", project=project)
        keys = {"llm.max_tokens", "temporal.address", "aliases.fast", "aliases.mine"}
        faults = {(problem.code, problem.key) for problem in sandbox.read(LOCAL).errors}
        assert faults >= {("locked-key", key) for key in keys}
        assert {key.removesuffix(".ollama") for code, key in faults if code == "wrong-type"} == keys

    def test_open_keys_need_no_trust(self, sandbox: Sandbox) -> None:
        """Model, limits and aliases within the provider in force are the project's to choose."""
        sandbox.write(
            project="llm: {provider: ollama, model: fast, temperature: 0.1, num_ctx: 9, timeout: 3, max_retries: 1}\n"
            "providers: {anthropic: {max_tokens: 5}, ollama: {reasoning_effort: low}}\n"
            "aliases: {fast: 'mine:1b', other: fast, both: {ollama: a, anthropic: claude-sonnet-4.5}}\n"
        )
        config = sandbox.load(LOCAL)
        assert (config.llm.model_name, config.llm.temperature, config.llm.num_ctx) == ("mine:1b", 0.1, 9)
        assert (config.llm.timeout, config.llm.max_retries, config.llm.reasoning_effort) == (3.0, 1, "low")

    def test_the_message_shows_both_values_and_the_way_to_trust(self, sandbox: Sandbox) -> None:
        """`key: current (origin) → proposed (file:line)`, and `stigmer config trust`."""
        sandbox.write(user="llm: {base_url: 'http://mine:1'}\n", project="llm:\n  base_url: http://evil:2\n")
        [problem] = sandbox.read(LOCAL).errors
        shown = f"llm.base_url: http://mine:1 ({sandbox.user_file}:1:17) → http://evil:2 ({sandbox.project_file}:2)"
        assert shown in problem.message
        assert "stigmer config trust" in problem.hint

    def test_all_refusals_are_reported_together(self, sandbox: Sandbox) -> None:
        """Not only the first; and the open keys beside them stay."""
        sandbox.write(
            project="mode: cloud\nlocked: [llm]\n"
            "llm: {base_url: null, api_key: x, provider: openai, temperature: 0.5}\n"
        )
        assert refusals(sandbox) == {
            "mode": "forbidden-in-project",
            "locked": "forbidden-in-project",
            "llm.base_url": "untrusted-key",
            "llm.api_key": "secret-in-project",
            "llm.provider": "untrusted-key",
        }
        assert sandbox.read(LOCAL).config.llm.temperature == 0.5

    def test_a_refused_value_is_explained_as_untrusted(self, sandbox: Sandbox) -> None:
        """It is among the losers, in the order of the layers."""
        sandbox.write(user="llm: {base_url: 'http://mine:1'}\n", project="llm: {base_url: 'http://evil:2'}\n")
        losers = sandbox.read(LOCAL).config.explain("llm.base_url").losers
        assert [(loser.origin.layer, loser.reason) for loser in losers] == [
            ("project", "untrusted"),
            ("defaults", "overridden"),
        ]

    def test_the_layer_is_untrusted(self, sandbox: Sandbox) -> None:
        """Its status says so, and the command exits 3."""
        sandbox.write(project="llm: {base_url: null}\n")
        assert [layer.status for layer in sandbox.read(LOCAL).layers if layer.name == "project"] == ["untrusted"]
        assert sandbox.run("show", variables=LOCAL).returncode == 3

    def test_a_secret_alone_is_no_question_of_trust(self, sandbox: Sandbox) -> None:
        """Exit 1: no trust would allow it."""
        sandbox.write(project="llm: {api_key: k-committed}\n")
        done = sandbox.run("show", variables=LOCAL)
        assert done.returncode == 1
        assert "k-committed" not in done.stdout + done.stderr


class TestProvider:
    """Whose service reads the code."""

    @pytest.mark.parametrize(
        ("variables", "project", "refused"),
        [
            (LOCAL, "llm: {provider: anthropic}", {"llm.provider"}),
            (LOCAL, "llm: {provider: auto}", {"llm.provider"}),
            (LOCAL, "llm: {model: claude-sonnet-4.5}", {"llm.model"}),
            (LOCAL, "llm: {model: 'OpenAI:mine'}", {"llm.model"}),
            (CLOUD, "llm: {model: 'mine:1b'}", {"llm.model"}),
            (CLOUD, "llm: {provider: auto, model: 'mine:1b'}", {"llm.provider"}),
            (LOCAL, "llm: {provider: anthropic, model: claude-sonnet-4.5}", {"llm.provider"}),
            (LOCAL, "llm: {provider: ollama}", set()),
            (CLOUD, "llm: {provider: auto}", set()),
            (CLOUD, "llm: {provider: anthropic, model: claude-opus-4.5}", set()),
            (LOCAL, "llm: {model: mine}", set()),
            ({**LOCAL, "STIGMER_LLM_PROVIDER": "ollama"}, "llm: {provider: anthropic}", set()),
            ({**LOCAL, "STIGMER_LLM_MODEL": "mine:1b"}, "llm: {provider: anthropic, model: claude-x}", set()),
        ],
    )
    def test_only_a_difference_in_the_end_counts(
        self, sandbox: Sandbox, variables: dict[str, str], project: str, refused: set[str]
    ) -> None:
        """`llm.provider`, then `llm.model`, where the final provider would be another than without the project."""
        without = sandbox.read(variables).config.llm
        sandbox.write(project=f"{project}\n")
        assert refusals(sandbox, variables) == dict.fromkeys(refused, "untrusted-key")
        assert sandbox.read(variables).config.llm.provider == without.provider

    @pytest.mark.parametrize("model", ["my-tune", "claude-sonnet-4.5", "anthropic:x"])
    def test_with_a_refused_provider_falls_its_model(self, sandbox: Sandbox, model: str) -> None:
        """It was meant for the refused provider; what else is open stays."""
        sandbox.write(project=f"llm: {{provider: anthropic, model: '{model}', temperature: 0.5}}\n")
        loaded = sandbox.read(LOCAL)
        assert [problem.key for problem in loaded.errors] == ["llm.provider"]
        assert (loaded.config.llm.model, loaded.config.llm.temperature) == ("qwen2.5-coder:7b", 0.5)
        losers = loaded.config.explain("llm.model").losers
        assert [(loser.origin.layer, loser.reason) for loser in losers] == [("project", "untrusted")]

    def test_with_a_locked_provider_falls_its_model_too(self, sandbox: Sandbox) -> None:
        """A provider refused because it is locked takes the model beside it along."""
        sandbox.write(user="locked: [llm.provider]\n", project="llm: {provider: anthropic, model: my-tune}\n")
        assert refusals(sandbox) == {"llm.provider": "locked-key"}
        assert sandbox.read(LOCAL).config.llm.model == "qwen2.5-coder:7b"

    @pytest.mark.parametrize("lock", ["llm.provider", "llm.model", "llm"])
    def test_a_model_that_would_change_a_locked_provider_is_locked(self, sandbox: Sandbox, lock: str) -> None:
        """A grant would not allow it, so none is suggested."""
        sandbox.write(user=f"locked: [{lock}]\n", project="llm: {model: claude-sonnet-4.5}\n")
        assert refusals(sandbox) == {"llm.model": "locked-key"}
        assert sandbox.read(LOCAL).config.llm.provider == "ollama"

    def test_layers_above_are_judged_without_the_project(self, sandbox: Sandbox) -> None:
        """What a variable says belongs to the provider without the project, though the project names another."""
        sandbox.write(user="llm: {provider: openai}\n", project="llm: {provider: anthropic, max_tokens: 5}\n")
        variables = {**LOCAL, "STIGMER_LLM_MAX_TOKENS": "9"}
        loaded = sandbox.read(variables, flags={"llm.provider": "openai"})
        assert not loaded.errors
        assert loaded.config.llm.max_tokens == 9
        losers = loaded.config.explain("llm.max_tokens").losers
        assert [(loser.origin.layer, loser.reason) for loser in losers] == [("project", "provider-switched")]


class TestAliases:
    """The same in a thicker disguise."""

    @pytest.mark.parametrize(
        ("alias", "refused"),
        [
            ("fast: anthropic:claude-sonnet-4.5", True),
            ("fast: claude-of-mine", True),
            ("fast: gpt-5.4", True),
            ("fast: mine", False),
            ("fast: 'mine:1b'", False),
            ("fast: ollama:mine", False),
            ("fast: other\n  other: openai:x", True),
            ("fast: powerful", False),
            ("gpt-5.4: mine", True),
            ("claude-sonnet-4-5-20250929: mine", True),
            ("fast: 'big:cloud'", True),
            ("fast: 'qwen3-coder:480b-cloud'", True),
            ("fast: big-cloud", True),
            ("fast: Ollama:BIG-Cloud", True),
            ("fast: {ollama: big-cloud}", True),
            ("fast: {anthropic: big-cloud}", False),
            ("fast: {ollama: mine, anthropic: claude-opus-4.5}", False),
            ("fast: mine-cloud-7b", False),
        ],
    )
    def test_an_alias_may_not_lead_away(self, sandbox: Sandbox, alias: str, refused: bool) -> None:
        """Another provider's target, a catalogue model's name and Ollama's cloud do; a mapping names no provider."""
        sandbox.write(user="aliases: {mine: 'mine:1b'}\n", project=f"aliases:\n  {alias}\n")
        found = refusals(sandbox)
        assert (found.get(f"aliases.{alias.split(':', maxsplit=1)[0]}") == "untrusted-key") is refused
        assert bool(found) is refused

    def test_its_own_words_are_judged_not_those_that_override_it(self, sandbox: Sandbox) -> None:
        """A flag's alias of the same name to Anthropic is the user's, and no fault of the project."""
        sandbox.write(project="aliases: {fast: 'mine:1b'}\n")
        assert not refusals(sandbox, flags={"aliases.fast": "anthropic:x", "llm.provider": "ollama"})

    @pytest.mark.parametrize(
        ("project", "key"),
        [
            ("providers: {acme: {model: 'gpu:big-cloud'}}\n", "providers.acme.model"),
            ("providers: {gpu: {model: 'big:cloud'}}\n", "providers.gpu.model"),
            ("aliases: {fast: {gpu: 'GPU:big-cloud'}}\n", "aliases.fast"),
        ],
    )
    def test_ollamas_cloud_behind_a_provider_of_the_users_is_refused_too(
        self, sandbox: Sandbox, project: str, key: str
    ) -> None:
        """The protocol decides, not the name: what speaks Ollama's may hand a cloud model's prompt on."""
        user = (
            "providers: {gpu: {kind: ollama, base_url: 'http://gpu:1'}, acme: {kind: openai, base_url: 'http://a:1'}}\n"
        )
        sandbox.write(user=user, project=project)
        assert refusals(sandbox)[key] == "untrusted-key"

    def test_a_chain_through_the_users_alias_counts_as_its_end(self, sandbox: Sandbox) -> None:
        """A project's alias to a user's alias to Anthropic leads to Anthropic."""
        sandbox.write(user="aliases: {smart: 'anthropic:x'}\n", project="aliases: {fast: smart}\n")
        assert refusals(sandbox) == {"aliases.fast": "untrusted-key"}

    def test_it_gives_no_other_layer_a_new_provider(self, sandbox: Sandbox) -> None:
        """A variable's model and URL stay Anthropic's, though the project's alias would make the model Ollama's."""
        sandbox.write(user="aliases: {mine: 'anthropic:x'}\n", project="aliases: {mine: 'name:tag'}\n")
        variables = {
            "MODE": "local",
            "STIGMER_LLM_MODEL": "mine",
            "STIGMER_LLM_BASE_URL": "https://gateway.example",
            "STIGMER_LLM_API_KEY": "k-gateway",
        }
        loaded = sandbox.read(variables, flags={"llm.provider": "ollama"})
        assert not loaded.errors
        assert loaded.config.llm.base_url == "http://localhost:11434"
        without = sandbox.read(variables, flags={"llm.provider": "ollama"}, project_dir=False).config.llm
        assert loaded.config.llm == without

    def test_an_override_under_another_provider_reports_a_foreign_alias(self, sandbox: Sandbox) -> None:
        """What the project's alias means for another provider is never sent there unnoticed."""
        sandbox.write(
            site="llm: {model: mine}\n", user="llm: {provider: ollama}\n", project="aliases: {mine: 'ollama:x'}\n"
        )
        loaded = sandbox.read({**CLOUD}, overrides=[{"llm.provider": "anthropic"}])
        assert [(problem.code, problem.key) for problem in loaded.errors] == [("provider-mismatch", "llm.model")]


class TestOllamaCloud:
    """Models that Ollama runs on its own servers."""

    @pytest.mark.parametrize(
        ("variables", "project", "key"),
        [
            (LOCAL, "llm: {model: 'gpt-oss:120b-cloud'}", "llm.model"),
            (LOCAL, "llm: {model: 'kimi:cloud'}", "llm.model"),
            (LOCAL, "llm: {model: 'Ollama:big-CLOUD'}", "llm.model"),
            (LOCAL, "llm: {provider: ollama, model: big-cloud}", "llm.model"),
            (LOCAL, "providers: {ollama: {model: 'kimi:cloud'}}", "providers.ollama.model"),
        ],
    )
    def test_a_project_may_not_choose_one(
        self, sandbox: Sandbox, variables: dict[str, str], project: str, key: str
    ) -> None:
        """The provider is the same, and yet the code would leave this machine."""
        sandbox.write(project=f"{project}\n")
        assert refusals(sandbox, variables) == {key: "untrusted-key"}
        assert sandbox.read(variables).config.llm.model == "qwen2.5-coder:7b"

    def test_by_a_users_alias_neither(self, sandbox: Sandbox) -> None:
        """What counts is where the alias ends."""
        sandbox.write(user="aliases: {big: {ollama: 'kimi:cloud'}}\n", project="llm: {model: big}\n")
        assert refusals(sandbox) == {"llm.model": "untrusted-key"}

    def test_the_user_may(self, sandbox: Sandbox) -> None:
        """It is the user's choice."""
        sandbox.write(user="llm: {model: 'kimi:cloud'}\n", project="llm: {temperature: 0.5}\n")
        assert sandbox.load(LOCAL).llm.model == "kimi:cloud"

    def test_at_anthropic_it_is_a_name(self, sandbox: Sandbox) -> None:
        """`anthropic:big-cloud` is no model of Ollama's."""
        sandbox.write(project="llm:\n  model: anthropic:big-cloud\naliases:\n  mine: anthropic:big-cloud\n")
        assert sandbox.load(CLOUD).llm.model_id == "big-cloud"


class TestLocked:
    """Keys that no project may change, trusted or not."""

    @pytest.mark.parametrize(
        ("lock", "project", "refused"),
        [
            ("llm.model", "llm: {model: 'other:7b'}", "llm.model"),
            ("llm.model", "llm: {model: 'approved:7b'}", "llm.model"),
            ("llm", "llm: {max_tokens: 3}", "llm.max_tokens"),
            ("llm.max_tokens", "providers: {ollama: {max_tokens: 3}}", "providers.ollama.max_tokens"),
            ("llm.max_tokens", "providers: {openai: {max_tokens: 3}}", "providers.openai.max_tokens"),
            ("aliases", "aliases: {new: 'x:1b'}", "aliases.new"),
            ("aliases.fast", "aliases: {fast: 'x:1b'}", "aliases.fast"),
            ("providers.ollama", "providers: {ollama: {num_ctx: 1}}", "providers.ollama.num_ctx"),
            ("sandbox", "sandbox: {root_dir: /}", "sandbox.root_dir"),
        ],
    )
    def test_an_attempt_is_an_error_and_the_value_stays(
        self, sandbox: Sandbox, lock: str, project: str, refused: str
    ) -> None:
        """By the key itself, its section, or a key that decides its effective value."""
        sandbox.write(user=f"locked: [{lock}]\nllm: {{model: 'approved:7b'}}\n", project=f"{project}\n")
        assert refusals(sandbox) == {refused: "locked-key"}
        assert sandbox.read(LOCAL).config == sandbox.read(LOCAL, project_dir=False).config

    def test_a_locked_model_locks_what_it_resolves_to(self, sandbox: Sandbox) -> None:
        """The alias behind it is locked with it; another alias is not."""
        sandbox.write(
            user="locked: [llm.model]\naliases: {mine: fast}\nllm: {model: mine}\n",
            project="aliases: {fast: 'tiny:1b', slow: 'huge:1b'}\n",
        )
        assert refusals(sandbox) == {"aliases.fast": "locked-key"}
        config = sandbox.read(LOCAL).config
        assert (config.llm.model_name, config.aliases["slow"]) == ("llama3.2:3b", "huge:1b")

    @pytest.mark.parametrize(
        ("lock", "project", "refused"),
        [
            ("aliases.team", "aliases: {mine: 'evil:1b', other: 'x:1b'}", "aliases.mine"),
            ("aliases.team", "aliases: {middle: {ollama: 'evil:1b'}}", "aliases.middle"),
            ("providers.ollama.model", "aliases: {mine: 'evil:1b'}", "aliases.mine"),
        ],
    )
    def test_a_locked_alias_locks_what_it_resolves_to(
        self, sandbox: Sandbox, lock: str, project: str, refused: str
    ) -> None:
        """No alias in its chain can change the model it resolves to, for any provider."""
        sandbox.write(
            user=f"locked: [{lock}]\naliases: {{team: middle, middle: mine, mine: 'approved:7b'}}\n"
            "providers: {ollama: {model: team}}\n",
            project=f"{project}\n",
        )
        assert refusals(sandbox) == {refused: "locked-key"}
        loaded = sandbox.read(LOCAL)
        assert loaded.config.meaning("team")["ollama"] == "approved:7b"
        (problem,) = loaded.errors
        assert f"{lock} is locked" in problem.message

    def test_a_locked_temperature_is_not_lost_to_another_model(self, sandbox: Sandbox) -> None:
        """A model that takes none would drop it: the model is what is refused."""
        sandbox.write(
            user="locked: [llm.temperature]\nllm: {provider: openai, model: gpt-4.1, temperature: 0.5}\n",
            project="llm: {model: gpt-5.4}\n",
        )
        assert refusals(sandbox) == {"llm.model": "locked-key"}
        assert sandbox.read(LOCAL).config.llm.temperature == 0.5

    def test_all_layers_locks_count(self, sandbox: Sandbox) -> None:
        """`locked` is the union of the layers; no layer unlocks what a lower one locks."""
        sandbox.write(
            site="locked: [llm.model]\n", user="locked: [llm.timeout]\n", project="llm: {model: 'x:1b', timeout: 1}\n"
        )
        assert refusals(sandbox) == {"llm.model": "locked-key", "llm.timeout": "locked-key"}
        assert sandbox.read(LOCAL).config.locked == ("llm.model", "llm.timeout")

    def test_the_users_own_layers_may_change_it(self, sandbox: Sandbox) -> None:
        """A lock holds against projects only."""
        sandbox.write(user="locked: [llm.model]\n")
        variables = {**LOCAL, "STIGMER_LLM_MODEL": "mine:1b"}
        assert sandbox.load(variables).override({"llm.model": "other:1b"}).llm.model == "other:1b"
