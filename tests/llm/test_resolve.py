"""Section 3 of the contract, against its naive re-statement."""

from __future__ import annotations

import datetime
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stigmer_config import ConfigError, LLMConfig, Origin, Problem
from stigmer_config.llm.catalogue import replaced
from stigmer_config.loading.load import Loaded
from tests.support.paths import REPOSITORY
from tests.support.reference import FIELDS, Given, Outcome, Place, effective, packaged
from tests.support.sandbox import Sandbox
from tests.support.worlds import DAYS, MODELS, World, layers, revealed, sandboxed

# How a problem's place is compared: what concerns no one place has none here.
_NOWHERE = {"alias-cycle", "missing-api-key", "credential-binding"}


def _fault(problem: Problem) -> tuple[str, str, str, str]:
    key = problem.key
    if problem.code == "alias-cycle":
        key = " ".join(sorted(set(problem.message.rpartition(": ")[2].split(" → "))))
    layer = problem.origin.layer if problem.origin is not None and problem.code not in _NOWHERE else ""
    return problem.severity, problem.code, key, layer


def _place(world: World, place: Place | None) -> Origin | str | None:
    if place is None:
        return None
    origin = world.origin(place)
    return origin if origin is not None else "defaults"


def _shown(origin: Origin | None) -> Origin | str | None:
    return "defaults" if origin is not None and origin.layer == "defaults" else origin


def compare(world: World, loaded: Loaded, expected: Outcome) -> None:
    config, llm = loaded.config, loaded.config.llm
    # What is wrong with a fallback itself is compared below: it is what an override of the model would have.
    found = [p for p in loaded.problems if p.key != "llm.fallbacks" or p.code == "untrusted-key"]
    assert {_fault(problem) for problem in found} == expected.problems
    assert (llm.provider, llm.kind) == (expected.provider, expected.kind)
    assert _shown(config.explain("llm.provider").origin) == _place(world, expected.provider_place)
    assert (llm.model_id or None) == expected.model_id
    if expected.model_id is not None:
        assert (llm.model_name, llm.alias) == (expected.model_name, expected.alias)
    judged = [name for name in FIELDS if name != "api_key" or expected.values["base_url"] is not None]
    values = {name: revealed(config.value(f"llm.{name}")) for name in judged}
    wanted = {name: expected.values[name] for name in judged}
    assert values | {"model": llm.model or None} == wanted | {"fallbacks": tuple(wanted["fallbacks"] or ()) or None}
    for name in judged:
        why = config.explain(f"llm.{name}")
        assert (name, _shown(why.origin)) == (name, _place(world, expected.places[name]))
        reasons = {"unused": "overridden", "unsupported": "dropped"}
        lost = [(_shown(loser.origin), reasons.get(loser.reason, loser.reason)) for loser in why.losers]
        assert (name, lost) == (name, [(_place(world, place), reason) for place, reason in expected.lost[name]])


@example(
    world=(
        "local",
        [
            packaged("local"),
            Given("user", {"llm.model": "claude-opus-4.6"}),
            Given("project", {"llm.temperature": 1.5}),
        ],
    ),
    today=DAYS[0],
)
@given(world=layers(), today=st.sampled_from(DAYS))
def test_any_layers_merge_by_the_rules(world: tuple[str, list[Given]], today: datetime.date) -> None:
    """Over any layers: provider, values, places, losers, alias, model and problems are those of the rules."""
    mode, given_layers = world
    with sandboxed() as sandbox:
        built = World(sandbox, mode, given_layers)
        compare(built, built.read(today), effective(given_layers, today))


@given(world=layers(), today=st.sampled_from(DAYS), fallbacks=st.lists(st.sampled_from(MODELS), min_size=1, max_size=4))
def test_each_fallback_is_what_an_override_of_the_model_gives(
    world: tuple[str, list[Given]], today: datetime.date, fallbacks: list[str]
) -> None:
    """Own key, address, limits and checks: as `override({"llm": {"model": it}})`, and none has fallbacks of its own."""
    mode, given_layers = world
    with sandboxed() as sandbox:
        built = World(sandbox, mode, given_layers)
        plain = built.read(today)
        loaded = built.read(today, [*built.overrides, {"llm.fallbacks": fallbacks}])
        if plain.errors:
            return
        refused = {p.origin.source for p in loaded.errors if p.key == "llm.fallbacks" and p.origin is not None}
        expected: list[LLMConfig] = []
        for item in fallbacks:
            try:
                expected.append(msgspec.structs.replace(plain.config.override({"llm.model": item}).llm, fallbacks=()))
            except ConfigError:
                assert loaded.errors, item
                return
        assert not refused
        assert loaded.config.llm.fallbacks == tuple(expected)
        assert loaded.config.llm.model_id == plain.config.llm.model_id


LOCAL = {"MODE": "local", "ANTHROPIC_API_KEY": "k-anthropic", "OPENAI_API_KEY": "k-openai"}
CLOUD = {**LOCAL, "MODE": "cloud"}
CHOSEN = {**CLOUD, "STIGMER_LLM_MODEL": "claude-sonnet-4.5"}


def told(loaded: Loaded) -> list[tuple[str, str, str]]:
    """Each problem as (severity, code, key)."""
    return [(problem.severity, problem.code, problem.key) for problem in loaded.problems]


class TestRetirement:
    """claude-sonnet-4-5, cloud's default, is switched off on 2026-11-30; claude-sonnet-4-6 replaces it."""

    LAST = datetime.date(2026, 11, 30)

    def read(self, sandbox: Sandbox, days_before: int, variables: dict[str, str] | None = None) -> Loaded:
        return sandbox.read(variables or CLOUD, today=self.LAST - datetime.timedelta(days=days_before))

    def test_61_days_before_nothing_is_said(self, sandbox: Sandbox) -> None:
        """More than 60 days are no news."""
        loaded = self.read(sandbox, 61, CHOSEN)
        assert not loaded.problems
        assert loaded.config.llm.model_id == "claude-sonnet-4-5-20250929"

    @pytest.mark.parametrize("days", [61, 60, 1, 0, -400])
    def test_a_packaged_choice_causes_no_warning(self, sandbox: Sandbox, days: int) -> None:
        """The package itself handles the retirement of a default: no warning, before or after."""
        assert not self.read(sandbox, days).problems

    @pytest.mark.parametrize("days", [60, 30, 1])
    def test_within_60_days_it_warns(self, sandbox: Sandbox, days: int) -> None:
        """The date and the days left are in the message, the hint is the command; the model stays."""
        loaded = self.read(sandbox, days, CHOSEN)
        [problem] = loaded.problems
        assert (problem.severity, problem.code, problem.key) == ("warning", "model-retiring", "llm.model")
        assert problem.message == f"claude-sonnet-4.5 retires on 2026-11-30, in {days} days"
        assert problem.hint == "export STIGMER_LLM_MODEL=claude-sonnet-4.6"
        assert loaded.config.llm.model_id == "claude-sonnet-4-5-20250929"
        assert loaded.config.warnings == loaded.problems

    @pytest.mark.parametrize("days", [0, -1, -400])
    def test_from_the_day_itself_the_defaults_choice_is_replaced_visibly(self, sandbox: Sandbox, days: int) -> None:
        """What only the package chose keeps its name and is sent as its replacement; `show` says so beside it."""
        loaded = self.read(sandbox, days)
        llm = loaded.config.llm
        assert (llm.model, llm.model_name, llm.model_id) == ("claude-sonnet-4.5",) * 2 + ("claude-sonnet-4-6",)
        assert replaced(llm.provider, llm.model_name, llm.model_id) == (
            "claude-sonnet-4.5 → claude-sonnet-4-6, for claude-sonnet-4-5-20250929, retired 2026-11-30"
        )

    @pytest.mark.parametrize(
        ("user", "command"),
        [
            ("llm: {model: claude-sonnet-4.5}\n", "llm.model"),
            ("providers: {anthropic: {model: claude-sonnet-4.5}}\n", "providers.anthropic.model"),
            ("aliases: {mine: claude-sonnet-4.5}\nllm: {model: mine}\n", "aliases.mine"),
            ("aliases: {fast: {anthropic: claude-sonnet-4.5}}\nllm: {model: fast}\n", "aliases.fast.anthropic"),
        ],
    )
    def test_the_hint_is_the_command_that_changes_it(self, sandbox: Sandbox, user: str, command: str) -> None:
        """`set` of the very key that chose the model."""
        sandbox.write(user=user)
        [problem] = self.read(sandbox, 30).problems
        assert problem.hint == f"stigmer config set {command} claude-sonnet-4.6"

    def test_an_explicit_choice_is_kept_and_warned_about(self, sandbox: Sandbox) -> None:
        """An explicitly named retired model is used, with a warning."""
        loaded = self.read(sandbox, 0, {**CLOUD, "STIGMER_LLM_MODEL": "claude-sonnet-4.5"})
        assert loaded.config.llm.model_id == "claude-sonnet-4-5-20250929"
        assert told(loaded) == [("warning", "model-retired", "llm.model")]
        assert "in its place" not in loaded.problems[0].message

    @pytest.mark.parametrize(
        ("user", "model_id"),
        [
            ("aliases: {mine: claude-sonnet-4.5}\nllm: {model: mine}\n", "claude-sonnet-4-5-20250929"),
            ("aliases: {fast: {anthropic: claude-sonnet-4.5}}\nllm: {model: fast}\n", "claude-sonnet-4-5-20250929"),
            ("providers: {anthropic: {model: claude-sonnet-4.5}}\n", "claude-sonnet-4-5-20250929"),
            ("llm: {max_tokens: 5}\n", "claude-sonnet-4-6"),
        ],
    )
    def test_only_the_packages_own_choice_is_replaced(self, sandbox: Sandbox, user: str, model_id: str) -> None:
        """An alias or a provider's model of the user's is the user's choice."""
        sandbox.write(user=user)
        assert self.read(sandbox, -1).config.llm.model_id == model_id

    @pytest.mark.parametrize("asked", ["fast", "mine"])
    def test_a_built_in_alias_is_the_packages_choice(self, tmp_path: Path, asked: str) -> None:
        """A package whose `fast` is retired calls the replacement, also behind an alias of the user's."""
        root = REPOSITORY
        shutil.copytree(root / "stigmer_config", tmp_path / "stigmer_config")
        shutil.copytree(root / "defaults", tmp_path / "defaults")
        cloud = tmp_path / "defaults" / "cloud.yaml"
        fast = packaged("cloud").values["aliases.fast"]["anthropic"]
        cloud.write_text(cloud.read_text().replace(f"anthropic: {fast}", "anthropic: claude-sonnet-4.5"))
        code = (
            "import datetime, stigmer_config as s\n"
            "world = s.Environment.capture({'ANTHROPIC_API_KEY': 'k'}, today=datetime.date(2026, 12, 1))\n"
            f"llm = s.load(flags={{'aliases.mine': 'fast', 'llm.model': '{asked}'}}, environment=world).llm\n"
            "print(s.__file__, llm.alias, llm.model_name, llm.model_id)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == [
            str(tmp_path / "stigmer_config" / "__init__.py"),
            asked,
            "claude-sonnet-4.5",
            "claude-sonnet-4-6",
        ]

    def test_parameters_are_judged_by_the_model_that_is_called(self, sandbox: Sandbox) -> None:
        """gpt-4.1 takes a temperature; what replaces it takes one only without reasoning."""
        day = datetime.date(2027, 1, 14)
        sandbox.write(user="llm: {model: gpt-4.1, temperature: 0.5}\n")
        assert told(sandbox.read(CLOUD, today=day)) == [("warning", "model-retired", "llm.model")]


class TestParameters:
    """A parameter that the model refuses."""

    @pytest.mark.parametrize(
        ("model", "field", "value"),
        [
            ("claude-opus-5-5", "temperature", 0.5),
            ("o3", "temperature", 1.0),
            ("gpt-5.4", "temperature", 0.5),
            ("claude-sonnet-4.5", "num_ctx", 4096),
            ("gpt-4.1", "num_ctx", 4096),
            ("gpt-4.1", "reasoning_effort", "low"),
        ],
    )
    @pytest.mark.parametrize(
        ("parameter_in", "severity"), [("site", "warning"), ("user", "error"), ("flags", "warning")]
    )
    def test_it_is_an_error_beside_the_model_and_dropped_from_elsewhere(
        self, sandbox: Sandbox, model: str, field: str, value: Any, parameter_in: str, severity: str
    ) -> None:
        """Set in the model's own layer: an error. In another: left out, with a warning and a reason."""
        user = f"llm:\n  model: {model}\n"
        if parameter_in == "user":
            user += f"  {field}: {value}\n"
        provider = "anthropic" if model.startswith("claude") else "openai"
        sandbox.write(
            site=f"providers: {{{provider}: {{{field}: {value}}}}}\n" if parameter_in == "site" else "{}\n", user=user
        )
        loaded = sandbox.read(CLOUD, flags={f"llm.{field}": value} if parameter_in == "flags" else {})
        assert told(loaded) == [(severity, "unsupported-parameter", f"llm.{field}")]
        assert loaded.problems[0].origin is not None
        assert loaded.problems[0].origin.layer == parameter_in
        assert getattr(loaded.config.llm, field) == (None if severity == "warning" else value)
        if severity == "warning":
            why = loaded.config.explain(f"llm.{field}")
            assert why.origin is None
            assert [loser.value for loser in why.losers] == [value]

    @pytest.mark.parametrize(
        ("user", "field"),
        [
            ("llm: {model: claude-opus-5-5, temperature: null}\n", "temperature"),
            ("llm: {model: gpt-5.4, temperature: 0.5, reasoning_effort: none}\n", "temperature"),
            ("llm: {model: gpt-4.1, temperature: 0.5}\n", "temperature"),
            ("llm: {model: gpt-4.1, reasoning_effort: none}\n", "reasoning_effort"),
            ("llm: {model: gpt-5.4, reasoning_effort: high}\n", "reasoning_effort"),
            ("llm: {model: claude-of-tomorrow, temperature: 0.5}\n", "temperature"),
            ("llm: {provider: ollama, num_ctx: 4096}\n", "num_ctx"),
        ],
    )
    def test_what_is_taken_or_unknown_is_not_refused(self, sandbox: Sandbox, user: str, field: str) -> None:
        """Null, a model that accepts it, and an unknown model raise nothing."""
        sandbox.write(user=user)
        assert not sandbox.read(CLOUD).problems

    @pytest.mark.parametrize(("temperature", "fits"), [("0", True), ("1", True), ("1.01", False), ("2", False)])
    def test_anthropic_takes_temperatures_from_0_to_1(self, sandbox: Sandbox, temperature: str, fits: bool) -> None:
        """Values up to 2, which others accept, are out of range for Anthropic, and the message has the range."""
        loaded = sandbox.read({**CLOUD, "STIGMER_LLM_TEMPERATURE": temperature})
        assert told(loaded) == ([] if fits else [("error", "out-of-range", "llm.temperature")])
        assert fits or "at most 1 for anthropic" in loaded.problems[0].message

    def test_its_own_section_has_the_same_range(self, sandbox: Sandbox) -> None:
        """`providers.anthropic.temperature` ends at 1, `providers.openai.temperature` at 2."""
        sandbox.write(user="providers: {anthropic: {temperature: 1.5}, openai: {temperature: 1.5}}\n")
        assert told(sandbox.read(LOCAL)) == [("error", "out-of-range", "providers.anthropic.temperature")]

    @pytest.mark.parametrize("kind_in", ["site", "flags"])
    @pytest.mark.parametrize("key", ["llm", "providers.house"])
    @pytest.mark.parametrize("temperature", [1.0, 1.5])
    def test_a_declared_provider_of_anthropics_kind_has_its_range(
        self, sandbox: Sandbox, kind_in: str, key: str, temperature: float
    ) -> None:
        """One error at the value, under `llm` or the provider's own section, in whichever layer the kind is set."""
        kind = "anthropic" if kind_in == "site" else "openai"
        sandbox.write(
            site=f"providers: {{house: {{kind: {kind}, base_url: 'http://house.example', model: foo}}}}\n"
            "llm: {provider: house}\n",
            user=f"{key.replace('.', ': {')}: {{temperature: {temperature}}}{'}' * key.count('.')}\n",
        )
        flags = {"providers.house.kind": "anthropic"} if kind_in == "flags" else {}
        loaded = sandbox.read(LOCAL, flags=flags)
        assert told(loaded) == ([] if temperature == 1.0 else [("error", "out-of-range", "llm.temperature")])
        if loaded.problems:
            assert loaded.problems[0].origin is not None
            assert loaded.problems[0].origin.layer == "user"
            assert "at most 1 for house" in loaded.problems[0].message

    @pytest.mark.parametrize("model", ["name:tag", "gpt-4.1"])
    def test_the_others_go_to_2(self, sandbox: Sandbox, model: str) -> None:
        """A temperature of 2 for a model of Ollama's and of OpenAI's that takes one."""
        variables = {**LOCAL, "STIGMER_LLM_MODEL": model, "STIGMER_LLM_TEMPERATURE": "2"}
        assert sandbox.load(variables).llm.temperature == 2.0


class TestCredentials:
    """Who needs a key, who takes one from where, and what it is sent over."""

    @pytest.mark.parametrize(
        ("provider", "variable"), [("anthropic", "ANTHROPIC_API_KEY"), ("openai", "OPENAI_API_KEY")]
    )
    def test_a_missing_key_has_the_seeds_message(self, sandbox: Sandbox, provider: str, variable: str) -> None:
        """The seed's message, letter by letter."""
        [problem] = sandbox.problems({"MODE": "local", "STIGMER_LLM_PROVIDER": provider})
        assert (problem.code, problem.key, problem.origin) == ("missing-api-key", "llm.api_key", None)
        assert problem.message == f"api_key is required for {provider} provider. Set STIGMER_LLM_API_KEY or {variable}"

    def test_an_explicit_null_is_a_missing_key_at_its_place(self, sandbox: Sandbox) -> None:
        """`api_key: null` beats the vendor's variable and is pointed at."""
        sandbox.write(user="llm:\n  api_key: null\n")
        [problem] = sandbox.problems(CLOUD)
        assert problem.code == "missing-api-key"
        assert problem.origin == Origin("user", str(sandbox.user_file), 2, 12)

    def test_a_missing_url_has_the_seeds_message(self, sandbox: Sandbox) -> None:
        """The seed's message, letter by letter, at the null."""
        sandbox.write(user="providers:\n  ollama:\n    base_url: null\n")
        [problem] = sandbox.problems(LOCAL)
        assert (problem.code, problem.key) == ("missing-base-url", "llm.base_url")
        assert problem.message == (
            "base_url is required for Ollama provider. Set STIGMER_LLM_BASE_URL (default: http://localhost:11434)"
        )
        assert problem.origin == Origin("user", str(sandbox.user_file), 3, 15)

    def test_ollama_takes_no_key_from_llm(self, sandbox: Sandbox) -> None:
        """It warns, and the key is not sent."""
        loaded = sandbox.read({"MODE": "local", "STIGMER_LLM_API_KEY": "k-llm"})
        assert told(loaded) == [("warning", "unused-credential", "llm.api_key")]
        assert loaded.problems[0].origin == Origin("env", "STIGMER_LLM_API_KEY")
        assert loaded.config.llm.api_key is None

    def test_ollama_takes_its_own_key(self, sandbox: Sandbox) -> None:
        """`providers.ollama.api_key` counts, beside an `llm.api_key` too."""
        sandbox.write(user="providers: {ollama: {api_key: k-own}}\n")
        key = sandbox.load({"MODE": "local"}).llm.api_key
        assert key is not None
        assert key.reveal() == "k-own"
        beside = sandbox.load({"MODE": "local", "STIGMER_LLM_API_KEY": "k-llm"})
        assert revealed(beside.llm.api_key) == "k-own"
        assert [warning.code for warning in beside.warnings] == ["unused-credential"]

    @pytest.mark.parametrize("final", ["ollama", "gpu"])
    def test_only_the_provider_in_force_has_its_unused_key_reported(self, sandbox: Sandbox, final: str) -> None:
        """Of two that speak Ollama's protocol, each with a key under `llm`, the other one's key waits for it."""
        other = "ollama" if final == "gpu" else "gpu"
        sandbox.write(
            site="providers: {gpu: {kind: ollama, base_url: 'http://gpu-box:1', model: foo}}\n"
            f"llm: {{provider: {final}, api_key: k-of-the-final-one}}\n",
            user=f"llm: {{provider: {other}, api_key: k-of-the-other}}\n",
        )
        loaded = sandbox.read({**LOCAL, "STIGMER_LLM_PROVIDER": final})
        [problem] = loaded.problems
        assert (problem.code, problem.origin and problem.origin.layer) == ("unused-credential", "site")
        assert [loser.reason for loser in loaded.config.explain("llm.api_key").losers] == [
            "provider-switched",
            "unused",
        ]

    @pytest.mark.parametrize(("below", "above", "key"), [("ollama", "openai", "k-acme"), ("openai", "ollama", None)])
    def test_the_final_kind_decides_whether_a_key_under_llm_counts(
        self, sandbox: Sandbox, below: str, above: str, key: str | None
    ) -> None:
        """Where a higher layer changes a provider's kind, a key below it is judged by the kind in force."""
        sandbox.write(
            site=f"providers: {{acme: {{kind: {below}, base_url: 'https://acme.example', model: foo}}}}\n"
            "llm: {provider: acme, api_key: k-acme}\n",
            user=f"providers: {{acme: {{kind: {above}}}}}\n",
        )
        loaded = sandbox.read(LOCAL)
        assert revealed(loaded.config.llm.api_key) == key
        assert [p.code for p in loaded.problems] == ([] if key else ["unused-credential"])

    def test_another_providers_key_is_not_reported_for_ollama(self, sandbox: Sandbox) -> None:
        """A key that was given for Anthropic waits for it without a warning."""
        sandbox.write(site="llm: {provider: anthropic, api_key: k-site}\n", user="llm: {provider: ollama}\n")
        assert not sandbox.read(LOCAL).problems

    @pytest.mark.parametrize(
        "url",
        [
            "http://localhost:11434",
            "http://LOCALHOST",
            "http://me.localhost:1",
            "http://127.0.0.1:1",
            "http://127.255.1.9",
            "http://[::1]:1",
            "http://[0:0:0:0:0:0:0:1]:1",
            "http://[::ffff:127.0.0.1]:1",
            "http://localhost.:1",
            "https://gateway.example",
        ],
    )
    def test_loopback_and_https_are_secure(self, sandbox: Sandbox, url: str) -> None:
        """A key over plain http within this machine, or over https anywhere, is no warning."""
        sandbox.write(user=f"llm: {{base_url: '{url}', api_key: k-own}}\n")
        assert not sandbox.read(CLOUD).problems

    @pytest.mark.parametrize(
        "url",
        [
            "http://gateway.example",
            "http://127.evil.example",
            "http://127.0.0.1.evil.example:80",
            "http://localhost.evil.example",
            "http://evillocalhost",
            "http://128.0.0.1",
            "http://[::2]:1",
        ],
    )
    def test_plain_http_beyond_it_warns(self, sandbox: Sandbox, url: str) -> None:
        """Names that only look like loopback are reported, at the URL, without the key."""
        sandbox.write(user=f"llm:\n  api_key: k-own-secret\n  base_url: '{url}'\n")
        loaded = sandbox.read(CLOUD)
        assert told(loaded) == [("warning", "insecure-endpoint", "llm.base_url")]
        assert loaded.problems[0].origin == Origin("user", str(sandbox.user_file), 3, 13)
        assert "k-own-secret" not in str(loaded.problems[0])

    def test_without_a_key_plain_http_is_no_warning(self, sandbox: Sandbox) -> None:
        """Ollama on another machine gets no credential."""
        assert not sandbox.read({**LOCAL, "OLLAMA_BASE_URL": "http://gpu-box:11434"}).problems
