"""`override` against a load with the same values in the execution layer, and what it takes."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stigmer_config import Config, ConfigError, Explanation, Origin, Problem, Secret
from tests.support.reference import FIELDS, Given, packaged
from tests.support.sandbox import Sandbox
from tests.support.worlds import DAYS, World, declarations, everything, llm, revealed, sandboxed, some

LLM_KEYS = ["llm.provider", *(f"llm.{name}" for name in FIELDS), "llm.model_name", "llm.model_id", "llm.alias"]
KEYS = {"ANTHROPIC_API_KEY": "k-anthropic", "OPENAI_API_KEY": "k-openai"}


@st.composite
def calm_layers(draw: st.DrawFn) -> tuple[str, list[Given]]:
    """Layers that mostly load: every provider has a key, and little is said above the defaults."""
    mode = draw(st.sampled_from(["local", "cloud"]))
    keys = {"providers.anthropic.api_key": "k-vendor-anthropic", "providers.openai.api_key": "k-vendor-openai"}
    found = [packaged(mode), Given("vendor", keys)]
    declared = draw(declarations())
    found += [
        Given(name, draw(some(everything(name), 2)) | declared.get(name, {})) for name in ("site", "user", "project")
    ]
    found.append(Given("env", draw(some(llm("env", nulls=False), 1))))
    found.append(Given("flags", draw(some(everything("flags"), 1)) | declared["flags"]))
    return mode, found


def _facts(problems: tuple[Problem, ...]) -> set[tuple[str, str, str, str, str, Origin | None]]:
    """Problems as they compare: an excerpt of the source is how one is shown."""
    return {(p.severity, p.code, p.key, p.message, p.hint, p.origin) for p in problems}


def _explained(config: Config) -> dict[str, Explanation]:
    return {key: config.explain(key) for key in LLM_KEYS}


def _overridden(config: Config, values: list[dict[str, Any]]) -> Config | ConfigError:
    try:
        for layer in values:
            config = config.override(layer)
    except ConfigError as error:
        return error
    return config


overrides = st.lists(some(llm("override"), 3), min_size=1, max_size=3)


@given(world=calm_layers(), values=overrides, today=st.sampled_from(DAYS))
def test_an_override_equals_a_load_with_the_same_values_as_execution_layers(
    world: tuple[str, list[Given]], values: list[dict[str, Any]], today: datetime.date
) -> None:
    """Values, provenance, warnings and faults are those of a load with the overrides, one layer each."""
    with sandboxed() as sandbox:
        built = World(sandbox, *world)
        base = built.read(today)
        assume(not base.errors)
        # Up to the first refused override: there is none above it.
        refused = (n for n in range(1, len(values) + 1) if built.read(today, values[:n]).errors)
        values = values[: next(refused, len(values))]
        loaded = built.read(today, values)
        got = _overridden(base.config, values)
        if isinstance(got, ConfigError):
            assert _facts(got.problems) == _facts(loaded.errors)
            return
        assert not loaded.errors
        wanted = loaded.config
        assert got.llm == wanted.llm
        again = _overridden(base.config, values)  # a model that was selected before is not resolved again
        assert isinstance(again, Config)
        assert (again, _explained(again), again.warnings) == (got, _explained(got), got.warnings)
        assert (got, got.fingerprint) == (wanted, wanted.fingerprint)
        assert _explained(got) == _explained(wanted)
        assert _facts(got.warnings) == _facts(wanted.warnings)


def cloud(sandbox: Sandbox) -> Config:
    """Cloud mode with both vendors' keys."""
    return sandbox.load({"MODE": "cloud", **KEYS})


class TestValues:
    """What an override takes, and what it makes of it."""

    def test_dotted_and_nested_are_the_same(self, sandbox: Sandbox) -> None:
        """`{"llm": {"model": …}}` and `{"llm.model": …}` give equal Configs."""
        config = cloud(sandbox)
        nested = config.override({"llm": {"model": "fast", "max_tokens": 5}})
        assert nested == config.override({"llm.model": "fast", "llm.max_tokens": 5})
        assert (nested.llm.alias, nested.llm.max_tokens) == ("fast", 5)

    def test_the_old_one_stays_and_the_generation_too(self, sandbox: Sandbox) -> None:
        """An override is a new Config; the one it came from is as it was."""
        config = cloud(sandbox)
        before = config.llm
        new = config.override({"llm.temperature": 0.5})
        assert (config.llm, config.llm.temperature) == (before, None)
        assert (new.llm.temperature, new.generation) == (0.5, config.generation)

    def test_none_means_none(self, sandbox: Sandbox) -> None:
        """A None takes a value away, here the default limit."""
        assert cloud(sandbox).override({"llm": {"max_tokens": None}}).llm.max_tokens is None

    @pytest.mark.parametrize("field", ["provider", "model", "base_url", "api_key", "reasoning_effort"])
    def test_an_empty_string_counts_as_unset(self, sandbox: Sandbox, field: str) -> None:
        """A request's unset field changes nothing."""
        key = f"llm.{field}"
        config = cloud(sandbox)
        assert config.override({key: ""}) == config
        assert config.override({key: ""}).explain(key) == config.explain(key)

    @pytest.mark.parametrize("values", [{}, {"llm": {}}, {"llm": None}])
    def test_nothing_changes_nothing(self, sandbox: Sandbox, values: Mapping[str, Any]) -> None:
        """An empty override, an empty section and a section that is None are no change."""
        config = cloud(sandbox)
        assert config.override(values) == config

    def test_it_is_a_layer_of_its_own(self, sandbox: Sandbox) -> None:
        """Its values come from `execution`, above flags, and the lower ones are listed as overridden."""
        config = sandbox.load({"MODE": "cloud", **KEYS}, flags={"llm.max_tokens": 7}).override({"llm.max_tokens": 9})
        why = config.explain("llm.max_tokens")
        assert why.origin is not None
        assert why.origin.layer == "execution"
        assert [(loser.value, loser.origin.layer, loser.reason) for loser in why.losers] == [
            (7, "flags", "overridden"),
            (20000, "defaults", "overridden"),
        ]

    def test_a_later_override_is_a_layer_above(self, sandbox: Sandbox) -> None:
        """Two overrides are two layers: the later wins, the earlier is listed as overridden."""
        config = cloud(sandbox).override({"llm.max_tokens": 1}).override({"llm.max_tokens": 2})
        assert config.llm.max_tokens == 2
        assert [loser.value for loser in config.explain("llm.max_tokens").losers] == [1, 20000]

    def test_the_model_re_infers_provider_limits_and_key(self, sandbox: Sandbox) -> None:
        """A model of another provider brings that provider's URL, key and limits."""
        llm = cloud(sandbox).override({"llm": {"model": "gpt-4.1"}}).llm
        assert (llm.provider, llm.base_url, llm.max_tokens) == ("openai", "https://api.openai.com/v1", None)
        assert revealed(llm.api_key) == "k-openai"

    def test_overrides_at_load_are_the_same_layers(self, sandbox: Sandbox) -> None:
        """`load(overrides=[a, b])` equals `load().override(a).override(b)`."""
        one, two = {"llm": {"provider": "ollama"}}, {"llm.model": "mine:1b"}
        loaded = sandbox.load({"MODE": "cloud", **KEYS}, overrides=[one, two])
        derived = cloud(sandbox).override(one).override(two)
        assert loaded == derived
        assert _explained(loaded) == _explained(derived)


class TestSelectedModels:
    """A model that an override selects is resolved once for each Config."""

    def test_a_resolved_model_takes_other_parameters(self, sandbox: Sandbox) -> None:
        """The next override of the same model has its own parameters, and each parameter is checked again."""
        config = cloud(sandbox)
        for temperature in (0.25, 0.75, None):
            llm = config.override({"llm": {"model": "gpt-4.1", "temperature": temperature}}).llm
            assert (llm.provider, llm.model_name, llm.temperature) == ("openai", "gpt-4.1", temperature)
        for _ in range(2):
            with pytest.raises(ConfigError, match="takes no temperature"):
                config.override({"llm": {"model": "o3", "temperature": 0.25}})

    def test_one_on_top_of_another_override_is_resolved_with_it(self, sandbox: Sandbox) -> None:
        """What an override selects depends on the overrides below it."""
        config = cloud(sandbox)
        assert config.override({"llm.model": "fast"}).llm.provider == "anthropic"
        switched = config.override({"llm.provider": "openai"})
        assert switched.override({"llm.model": "fast"}).llm.provider == "openai"
        assert config.override({"llm.model": "fast"}).llm.provider == "anthropic"

    def test_a_refused_one_is_refused_each_time(self, sandbox: Sandbox) -> None:
        """With the same problem; and only so many are kept."""
        config = cloud(sandbox)
        for number in range(200):
            with pytest.raises(ConfigError, match="Invalid provider"):
                config.override({"llm.provider": f"none-{number % 100}"})
        assert config.override({"llm.provider": "ollama"}).llm.provider == "ollama"


class TestFaults:
    """What an override refuses."""

    @pytest.mark.parametrize("number", [10**400, 2**63, -1.5e300, float("inf"), float("nan")])
    def test_a_parameter_is_a_number_that_a_request_can_hold(self, sandbox: Sandbox, number: float) -> None:
        """An int of 400 digits ended in an OverflowError."""
        [(code, key)] = self.faults(cloud(sandbox), {"llm.parameters": {"seed": [number]}})
        assert (code in ("out-of-range", "wrong-type"), key) == (True, "llm.parameters")

    def faults(self, config: Config, values: Mapping[str, Any]) -> list[tuple[str, str]]:
        with pytest.raises(ConfigError) as caught:
            config.override(values)
        return [(problem.code, problem.key) for problem in caught.value.problems]

    @pytest.mark.parametrize(
        "values",
        [
            {"temporal.address": "evil:1"},
            {"sandbox": {"root_dir": "/"}},
            {"aliases": {"fast": "x"}},
            {"mode": "local"},
            {"providers.anthropic.max_tokens": 5},
            {"logging.level": "debug"},
        ],
    )
    def test_only_llm_may_be_set(self, sandbox: Sandbox, values: Mapping[str, Any]) -> None:
        """Any other section is an unknown key for it."""
        [(code, _)] = self.faults(cloud(sandbox), values)
        assert code == "unknown-key"

    def test_an_unknown_key_suggests_the_nearest(self, sandbox: Sandbox) -> None:
        """`did you mean llm.model?`"""
        with pytest.raises(ConfigError) as caught:
            cloud(sandbox).override({"llm": {"modle": "fast"}})
        [problem] = caught.value.problems
        assert (problem.code, problem.key, problem.hint) == ("unknown-key", "llm.modle", "did you mean llm.model?")

    def test_all_faults_are_reported_at_once(self, sandbox: Sandbox) -> None:
        """Not only the first."""
        values = {"llm": {"temperature": "hot", "max_tokens": 0, "modle": "x", "base_url": "gopher://x"}}
        assert sorted(code for code, _ in self.faults(cloud(sandbox), values)) == [
            "invalid-url",
            "out-of-range",
            "unknown-key",
            "wrong-type",
        ]

    @pytest.mark.parametrize(
        ("values", "code"),
        [
            ({"llm.temperature": 1.5}, "out-of-range"),
            ({"llm.temperature": True}, "wrong-type"),
            ({"llm.model": "claude-sonnet-4.6", "llm.num_ctx": 4096}, "unsupported-parameter"),
            ({"llm.provider": "gemini"}, "invalid-choice"),
            ({"llm.provider": None}, "wrong-type"),
            ({"llm.model": None}, "wrong-type"),
            ({"llm.model": "a b"}, "invalid-model"),
            ({"llm.provider": "openai", "llm.model": "claude-sonnet-4.5"}, "provider-mismatch"),
            ({"llm.provider": "openai", "llm.model": "anthropic:x"}, "provider-mismatch"),
            ({"llm.provider": "ollama", "llm.base_url": None}, "missing-base-url"),
        ],
    )
    def test_it_is_checked_as_a_load_is(self, sandbox: Sandbox, values: Mapping[str, Any], code: str) -> None:
        """Types, ranges, contradictions and missing values."""
        assert [found for found, _ in self.faults(cloud(sandbox), values)] == [code]

    def test_a_refused_override_changes_nothing(self, sandbox: Sandbox) -> None:
        """After a fault the Config is as it was, and takes the next override."""
        config = cloud(sandbox)
        before = (config.llm, config.fingerprint, config.explain("llm.model"))
        self.faults(config, {"llm.model": "gpt-4.1", "llm.temperature": "hot"})
        assert (config.llm, config.fingerprint, config.explain("llm.model")) == before
        assert config.override({"llm.max_tokens": 3}).llm.max_tokens == 3


class TestCredentialBinding:
    """A credential goes where it was given for, and nowhere else."""

    ELSEWHERE = "https://gateway.example/v1"

    def test_a_moved_url_without_a_key_is_reported_with_both_endpoints(self, sandbox: Sandbox) -> None:
        """The error names both endpoints and both sources, and no key."""
        with pytest.raises(ConfigError) as caught:
            cloud(sandbox).override({"llm.base_url": self.ELSEWHERE})
        [problem] = caught.value.problems
        assert (problem.code, problem.key) == ("credential-binding", "llm.api_key")
        for part in (
            "ANTHROPIC_API_KEY",
            "https://api.anthropic.com",
            "https://gateway.example",
            "override[llm.base_url]",
        ):
            assert part in problem.message
        assert "k-anthropic" not in str(problem)

    @pytest.mark.parametrize("order", [("llm.base_url", "llm.api_key"), ("llm.api_key", "llm.base_url")])
    def test_it_brings_its_own_key(self, sandbox: Sandbox, order: tuple[str, str]) -> None:
        """An override's own key is for the URL in the same override, in any order."""
        values = {"llm.base_url": self.ELSEWHERE, "llm.api_key": "k-own"}
        llm = cloud(sandbox).override({key: values[key] for key in order}).llm
        assert (llm.base_url, revealed(llm.api_key)) == (self.ELSEWHERE, "k-own")

    def test_a_key_alone_is_for_the_url_in_force(self, sandbox: Sandbox) -> None:
        """Without a URL of its own it goes where the old key went."""
        llm = cloud(sandbox).override({"llm.api_key": "k-own"}).llm
        assert (llm.base_url, revealed(llm.api_key)) == ("https://api.anthropic.com", "k-own")

    def test_the_next_override_moves_no_pin(self, sandbox: Sandbox) -> None:
        """A later URL does not get the earlier override's key."""
        config = cloud(sandbox).override({"llm.base_url": self.ELSEWHERE, "llm.api_key": "k-own"})
        with pytest.raises(ConfigError) as caught:
            config.override({"llm.base_url": "https://evil.example"})
        [problem] = caught.value.problems
        assert problem.code == "credential-binding"
        assert "https://gateway.example" in problem.message
        assert "https://evil.example" in problem.message

    def test_going_back_finds_the_first_key(self, sandbox: Sandbox) -> None:
        """A null URL means the packaged one, and its key; the other key is listed as unused."""
        config = cloud(sandbox).override({"llm.base_url": self.ELSEWHERE, "llm.api_key": "k-own"})
        back = config.override({"llm.base_url": None})
        assert revealed(back.llm.api_key) == "k-anthropic"
        losers = back.explain("llm.api_key").losers
        assert [(loser.origin.layer, loser.reason) for loser in losers] == [("execution", "bound-elsewhere")]

    @pytest.mark.parametrize(
        "url", ["https://api.anthropic.com/proxy", "https://API.anthropic.com:443", "https://api.anthropic.com/"]
    )
    def test_another_path_of_the_same_origin_is_fine(self, sandbox: Sandbox, url: str) -> None:
        """Scheme, host and port are what a key is pinned to."""
        assert revealed(cloud(sandbox).override({"llm.base_url": url}).llm.api_key) == "k-anthropic"

    @pytest.mark.parametrize("url", ["https://api.anthropic.com:8443", "https://api.anthropic.com.evil.example"])
    def test_another_scheme_port_or_host_is_not(self, sandbox: Sandbox, url: str) -> None:
        """Each is another endpoint."""
        with pytest.raises(ConfigError, match="credential-binding"):
            cloud(sandbox).override({"llm.base_url": url})

    def test_another_scheme_gets_no_key(self, sandbox: Sandbox) -> None:
        """An http address needs none, and gets none that was given for an https one."""
        assert cloud(sandbox).override({"llm.base_url": "http://api.anthropic.com"}).llm.api_key is None

    def test_an_explicit_none_is_a_missing_key(self, sandbox: Sandbox) -> None:
        """A None says none: nothing was bound elsewhere."""
        with pytest.raises(ConfigError) as caught:
            cloud(sandbox).override({"llm.api_key": None})
        assert [problem.code for problem in caught.value.problems] == ["missing-api-key"]

    def test_a_url_with_a_none_key_needs_none(self, sandbox: Sandbox) -> None:
        """A gateway may take no key, and the None says so; it is above whatever would be passed over."""
        config = cloud(sandbox).override({"llm.base_url": self.ELSEWHERE, "llm.api_key": None})
        assert config.llm.api_key is None

    def test_a_passed_over_key_above_a_none_is_reported_as_bound(self, sandbox: Sandbox) -> None:
        """The binding is the reason for no key, not the null below it."""
        sandbox.write(site="llm: {api_key: null}\n", user="llm: {api_key: k-user}\n")
        with pytest.raises(ConfigError) as caught:
            cloud(sandbox).override({"llm.base_url": self.ELSEWHERE})
        assert [problem.code for problem in caught.value.problems] == ["credential-binding"]

    def test_ollama_needs_no_key_elsewhere(self, sandbox: Sandbox) -> None:
        """Ollama's own key stays with its URL, and another URL is called without one."""
        sandbox.write(user="providers: {ollama: {api_key: k-ollama}}\n")
        config = sandbox.load({"MODE": "local"})
        assert revealed(config.llm.api_key) == "k-ollama"
        moved = config.override({"llm.base_url": "https://gpu-box.example"})
        assert (moved.llm.api_key, moved.llm.base_url) == (None, "https://gpu-box.example")
        assert [loser.reason for loser in moved.explain("llm.api_key").losers] == ["bound-elsewhere"]

    def test_a_users_gateway_is_where_the_users_key_belongs(self, sandbox: Sandbox) -> None:
        """The pin is what the trusted layers resolve: another provider's URL, or the packaged one, is elsewhere."""
        sandbox.write(user=f"llm: {{base_url: '{self.ELSEWHERE}', api_key: k-user}}\n")
        config = sandbox.load({"MODE": "cloud"})
        assert revealed(config.llm.api_key) == "k-user"
        with pytest.raises(ConfigError, match="credential-binding"):
            config.override({"llm.base_url": None})
        with pytest.raises(ConfigError, match="missing-api-key"):
            config.override({"llm.provider": "openai"})

    def test_a_secret_object_is_taken_too(self, sandbox: Sandbox) -> None:
        """A key may come as a Secret, and shows itself nowhere."""
        config = cloud(sandbox).override({"llm.api_key": Secret("k-own-secret")})
        assert revealed(config.llm.api_key) == "k-own-secret"
        assert "k-own-secret" not in repr(config)
