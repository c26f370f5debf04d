"""Config: the frozen snapshot that `load` returns, and everything that can be asked of it."""

from __future__ import annotations

import copy
import datetime
import gc
import json
import os
import pickle
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from stigmer_config import Config, ConfigError, LLMConfig, Origin, Secret
from tests.support.sandbox import Sandbox
from tests.support.worlds import World, layers, sandboxed

KEYS = {"ANTHROPIC_API_KEY": "k-anthropic-secret", "OPENAI_API_KEY": "k-openai-secret"}
LOCAL = {"MODE": "local", **KEYS}
CLOUD = {"MODE": "cloud", **KEYS}
SECTIONS = ("llm", "temporal", "backend", "sandbox", "redis", "logging")


def python(sandbox: Sandbox, code: str, variables: dict[str, str]) -> str:
    """What a program prints that runs in the sandbox's world, with nothing of ours in its environment."""
    world = {"HOME": str(sandbox.home), "XDG_CONFIG_DIRS": str(sandbox.root / "xdg"), **variables}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=sandbox.project,
        env=world,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def parts(config: Config) -> list[Any]:
    """The Config and all below it."""
    return [config, *(getattr(config, name) for name in SECTIONS), config.providers["ollama"], config.aliases]


class TestFrozen:
    """Nobody changes a Config."""

    def test_no_attribute_can_be_set_or_deleted(self, sandbox: Sandbox) -> None:
        """Neither of the Config, nor of a section, nor a new one."""
        config = sandbox.load(CLOUD)
        for part in parts(config):
            for name in (*getattr(part, "__struct_fields__", ()), "anything"):
                with pytest.raises((AttributeError, TypeError)):
                    setattr(part, name, 1)
                with pytest.raises((AttributeError, TypeError)):
                    delattr(part, name)

    def test_the_mappings_cannot_be_changed(self, sandbox: Sandbox) -> None:
        """Aliases, their mappings and the providers have no way in."""
        config = sandbox.load(CLOUD)
        for mapping in (config.aliases, config.aliases["fast"], config.providers):
            with pytest.raises(TypeError):
                mapping["fast"] = "x"  # type: ignore[index]
            with pytest.raises(TypeError):
                del mapping["fast"]  # type: ignore[union-attr]
            for name in ("update", "pop", "clear", "setdefault"):
                assert not hasattr(mapping, name)

    def test_all_of_it_can_be_hashed(self, sandbox: Sandbox) -> None:
        """As a key of a cache, by value."""
        one, two = sandbox.load(CLOUD), sandbox.load(CLOUD)
        assert [hash(part) for part in parts(one)] == [hash(part) for part in parts(two)]
        assert {one: "client"}[two] == "client"
        assert {one.llm: "client"}[two.llm] == "client"

    def test_a_copy_is_the_same_object(self, sandbox: Sandbox) -> None:
        """`copy` and `deepcopy` share what cannot change."""
        config = sandbox.load(CLOUD)
        for part in (*parts(config), config.llm.api_key):
            assert copy.copy(part) is part
            assert copy.deepcopy(part) is part
        assert copy.deepcopy({"config": config})["config"] is config

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_pickling_raises_and_names_load(self, sandbox: Sandbox, protocol: int) -> None:
        """A Config, each part and a secret: load again in the other process."""
        config = sandbox.load(CLOUD)
        for part in (*parts(config), config.llm.api_key):
            with pytest.raises(TypeError, match=r"load\(\)"):
                pickle.dumps(part, protocol)

    def test_no_representation_shows_a_secret(self, sandbox: Sandbox) -> None:
        """`repr`, `str`, `format` and JSON of any part."""
        config = sandbox.load({**CLOUD, "STIGMER_API_KEY": "k-backend-secret", "REDIS_PASSWORD": "k-redis-secret"})
        for part in (*parts(config), config.llm.api_key):
            assert "-secret" not in f"{part!r} {part!s} {part}"
        with pytest.raises(TypeError):
            json.dumps(config.llm.api_key)
        with pytest.raises(TypeError):
            msgspec.json.encode(config.llm)


class TestEquality:
    """Equal means that every effective value and every secret is."""

    def test_two_loads_of_the_same_are_equal(self, sandbox: Sandbox) -> None:
        """Not the same object, and equal in every part."""
        one, two = sandbox.load(CLOUD), sandbox.load(CLOUD)
        assert one is not two
        assert parts(one) == parts(two)

    def test_the_way_to_a_value_does_not_count(self, sandbox: Sandbox) -> None:
        """The same values from another layer: equal, with another explanation."""
        one = sandbox.load({**CLOUD, "STIGMER_LLM_MAX_TOKENS": "20000"})
        two = sandbox.load(CLOUD)
        assert (one, one.fingerprint) == (two, two.fingerprint)
        assert one.explain("llm.max_tokens") != two.explain("llm.max_tokens")

    @pytest.mark.parametrize(
        ("variable", "section"),
        [
            ("STIGMER_LLM_API_KEY", "llm"),
            ("STIGMER_API_KEY", "backend"),
            ("DAYTONA_API_KEY", "sandbox"),
            ("REDIS_PASSWORD", "redis"),
        ],
    )
    def test_a_rotated_key_changes_its_section_and_no_fingerprint(
        self, sandbox: Sandbox, variable: str, section: str
    ) -> None:
        """A client cached by its section follows; the other sections stay equal."""
        old, new = sandbox.load({**CLOUD, variable: "k-one"}), sandbox.load({**CLOUD, variable: "k-two"})
        assert old != new
        assert [name for name in SECTIONS if getattr(old, name) != getattr(new, name)] == [section]
        assert old.fingerprint == new.fingerprint

    def test_a_key_of_an_inactive_provider_counts_for_the_config_only(self, sandbox: Sandbox) -> None:
        """`config.llm` is as before; `config` is not: an override might use the key."""
        old, new = sandbox.load(CLOUD), sandbox.load({**CLOUD, "OPENAI_API_KEY": "k-two"})
        assert (old.llm == new.llm, old == new) == (True, False)

    def test_it_is_equal_to_nothing_else(self, sandbox: Sandbox) -> None:
        """Comparing with something else is no error."""
        config = sandbox.load(CLOUD)
        sections: list[object] = [config, config.llm, config.temporal, "config", None]
        assert [[one == other for other in sections].count(True) for one in sections] == [1] * 5


# One other value of each key, as a flag gives it.
OTHER: dict[str, Any] = {
    "mode": "local",
    "llm.provider": "ollama",
    "llm.model": "claude-opus-4.5",
    "llm.base_url": "https://api.anthropic.com/proxy",
    "llm.max_tokens": 7,
    "llm.temperature": 0.25,
    "llm.reasoning_effort": "none",
    "llm.timeout": 9.5,
    "llm.max_retries": 3,
    "providers.ollama.model": "mine:1b",
    "providers.ollama.base_url": "http://gpu-box:1",
    "providers.ollama.max_tokens": 9,
    "providers.ollama.temperature": None,
    "providers.ollama.num_ctx": 4096,
    "providers.openai.model": "gpt-4.1",
    "providers.openai.base_url": None,
    "providers.openai.reasoning_effort": "low",
    "providers.openai.timeout": 1.5,
    "providers.openai.max_retries": 1,
    "aliases.fast": "mine:1b",
    "aliases.new": {"ollama": "mine:1b"},
    "temporal.namespace": "other",
    "temporal.address": "other:7233",
    "temporal.task_queue": "other",
    "temporal.max_concurrency": 11,
    "temporal.tls": True,
    "temporal.tls_server_name": "other",
    "temporal.tls_ca_file": "/other",
    "temporal.tls_cert_file": "/other",
    "temporal.tls_key_file": "/other",
    "backend.endpoint": "other:8080",
    "sandbox.type": "filesystem",
    "sandbox.root_dir": "/other",
    "sandbox.snapshot_id": "other",
    "redis.host": "other",
    "redis.port": 6380,
    "logging.level": "debug",
    "logging.format": "json",
    "locked": ["llm.model"],
}


class TestFingerprint:
    """32 hex digits over the effective values and the resolved model."""

    @pytest.mark.parametrize("key", OTHER)
    def test_it_changes_with_any_effective_value(self, sandbox: Sandbox, key: str) -> None:
        """Each key that is no secret counts, and the Config is another one."""
        old, new = sandbox.load(CLOUD), sandbox.load(CLOUD, flags={key: OTHER[key]})
        assert old.value(key) != new.value(key)
        assert old.fingerprint != new.fingerprint
        assert old != new

    def test_the_model_that_is_called_counts(self, sandbox: Sandbox) -> None:
        """The day a default retires the id changes, and with it the fingerprint."""
        before = sandbox.load(CLOUD, today=datetime.date(2026, 11, 29))
        after = sandbox.load(CLOUD, today=datetime.date(2026, 11, 30))
        assert before.llm.model == after.llm.model
        assert before.fingerprint != after.fingerprint
        assert [change.key for change in before.diff(after)] == ["llm.model_id"]

    def test_it_is_the_same_in_every_process(self, sandbox: Sandbox) -> None:
        """No secret, no hash seed and no process's own key is in it."""
        code = "from stigmer_config import load; print(load().fingerprint)"
        prints = {
            python(sandbox, code, {"MODE": "cloud", "ANTHROPIC_API_KEY": f"k-{seed}", "PYTHONHASHSEED": seed})
            for seed in ("1", "2")
        }
        assert len(prints) == 1
        [shown] = prints
        assert len(shown) == 32
        assert set(shown) <= set("0123456789abcdef")

    @given(one=layers(overrides=0), two=layers(overrides=0))
    @settings(max_examples=50)
    def test_it_differs_exactly_when_a_value_that_is_no_secret_does(
        self, one: tuple[str, list[Any]], two: tuple[str, list[Any]]
    ) -> None:
        """Over any two sets of layers, and the same set once more."""
        with sandboxed() as sandbox:
            configs = [World(sandbox, *world).read(datetime.date(2026, 6, 1)).config for world in (one, two, one)]
        values = [
            {key: value for key, value in config.effective() if not key.endswith((".api_key", ".password"))}
            for config in configs
        ]
        for n, config in enumerate(configs):
            for m, other in enumerate(configs):
                assert (config.fingerprint == other.fingerprint) == (values[n] == values[m])


class TestDiff:
    """`old.diff(new)`."""

    def test_equal_configs_have_no_difference(self, sandbox: Sandbox) -> None:
        """Nothing changed, nothing is reported."""
        assert sandbox.load(CLOUD).diff(sandbox.load(CLOUD)) == ()

    def test_a_change_has_both_values_and_both_places(self, sandbox: Sandbox) -> None:
        """Key, old and new value, and the origin of each."""
        old = sandbox.load(CLOUD)
        sandbox.write(user="llm:\n  max_tokens: 7\n")
        [change] = old.diff(sandbox.load(CLOUD))
        assert (change.key, change.old, change.new, change.restart_required) == ("llm.max_tokens", 20000, 7, False)
        assert change.old_origin is not None
        assert change.old_origin.layer == "defaults"
        assert change.new_origin == Origin("user", str(sandbox.user_file), 2, 15)

    def test_a_model_change_includes_the_resolved_model(self, sandbox: Sandbox) -> None:
        """`llm.model_name` and `llm.model_id` are paths like any other."""
        old = sandbox.load(CLOUD)
        changes = {change.key: (change.old, change.new) for change in old.diff(old.override({"llm.model": "fast"}))}
        assert changes == {
            "llm.model": ("claude-sonnet-4.5", "fast"),
            "llm.alias": (None, "fast"),
            "llm.model_name": ("claude-sonnet-4.5", "claude-haiku-5-5"),
            "llm.model_id": ("claude-sonnet-4-5-20250929", "claude-haiku-5-5"),
        }

    def test_a_rotated_key_is_reported_without_its_value(self, sandbox: Sandbox) -> None:
        """Old and new are Secrets: masked, and not equal."""
        old, new = (
            sandbox.load({"MODE": "cloud", "ANTHROPIC_API_KEY": key}) for key in ("k-one-secret", "k-two-secret")
        )
        changes = {change.key: change for change in old.diff(new)}
        assert set(changes) == {"llm.api_key", "providers.anthropic.api_key"}
        assert "-secret" not in repr(changes)
        change = changes["llm.api_key"]
        assert isinstance(change.old, Secret)
        assert (change.old == change.new, str(change.old)) == (False, "********")

    @pytest.mark.parametrize(
        ("key", "restart"),
        [
            ("temporal.task_queue", True),
            ("backend.endpoint", True),
            ("redis.port", True),
            ("llm.timeout", False),
            ("sandbox.root_dir", False),
            ("logging.level", False),
            ("locked", False),
            ("aliases.new", False),
        ],
    )
    def test_what_needs_a_restart_says_so(self, sandbox: Sandbox, key: str, restart: bool) -> None:
        """As the key's declaration has it."""
        [change] = sandbox.load(CLOUD).diff(sandbox.load(CLOUD, flags={key: OTHER[key]}))
        assert (change.key, change.restart_required) == (key, restart)

    def test_between_modes_redis_goes(self, sandbox: Sandbox) -> None:
        """A Config without Redis has None for each of its keys; the mode needs a restart."""
        changes = {change.key: change for change in sandbox.load(CLOUD).diff(sandbox.load(LOCAL))}
        assert (changes["redis.port"].old, changes["redis.port"].new) == (6379, None)
        assert (changes["mode"].old, changes["mode"].new, changes["mode"].restart_required) == ("cloud", "local", True)


class TestExplain:
    """`config.explain(key)`."""

    def test_the_winner_and_every_loser_highest_first(self, sandbox: Sandbox) -> None:
        """Each value with its exact place and why it lost."""
        sandbox.write(site="llm:\n  model: site:1b\n", user="providers:\n  ollama:\n    model: user:1b\n")
        config = sandbox.load({**LOCAL, "STIGMER_LLM_MODEL": "env:1b"}, flags={"llm.model": "flag:1b"})
        why = config.explain("llm.model")
        assert (why.key, why.value, why.origin) == ("llm.model", "flag:1b", Origin("flags", "flags[llm.model]"))
        assert [(loser.value, loser.reason) for loser in why.losers] == [
            ("env:1b", "overridden"),
            ("user:1b", "overridden"),
            ("site:1b", "overridden"),
            ("qwen2.5-coder:7b", "overridden"),
        ]
        assert [loser.origin for loser in why.losers[:3]] == [
            Origin("env", "STIGMER_LLM_MODEL"),
            Origin("user", str(sandbox.user_file), 3, 12),
            Origin("site", str(sandbox.site_file), 2, 10),
        ]

    def test_what_belongs_to_another_provider_says_so(self, sandbox: Sandbox) -> None:
        """`provider-switched`, for `llm.*`; another provider's own section is no loser at all."""
        sandbox.write(user="llm: {max_tokens: 5}\nproviders: {openai: {max_tokens: 6}}\n")
        why = sandbox.load({**LOCAL, "STIGMER_LLM_PROVIDER": "anthropic"}).explain("llm.max_tokens")
        assert why.value == 20000
        assert [(loser.value, loser.reason) for loser in why.losers] == [(5, "provider-switched")]

    def test_an_explicit_null_wins_with_its_place(self, sandbox: Sandbox) -> None:
        """No value, and yet an origin."""
        sandbox.write(user="llm: {temperature: null}\n")
        why = sandbox.load(LOCAL).explain("llm.temperature")
        assert (why.value, why.origin) == (None, Origin("user", str(sandbox.user_file), 1, 20))
        assert [loser.value for loser in why.losers] == [0.0]

    def test_a_key_that_no_layer_sets_has_no_origin(self, sandbox: Sandbox) -> None:
        """No value, no place, no loser."""
        why = sandbox.load(LOCAL).explain("llm.timeout")
        assert (why.value, why.origin, why.losers) == (None, None, ())

    def test_redis_is_not_in_local_mode(self, sandbox: Sandbox) -> None:
        """The variables' values are losers with a reason."""
        why = sandbox.load({**LOCAL, "REDIS_HOST": "r.example"}).explain("redis.host")
        assert (why.value, why.origin) == (None, None)
        assert [(loser.value, loser.reason) for loser in why.losers] == [("r.example", "not-in-mode")]

    @pytest.mark.parametrize("key", ["llm.modle", "llm", "", "providers.gemini.model", "nothing"])
    def test_a_key_that_does_not_exist_raises(self, sandbox: Sandbox, key: str) -> None:
        """`KeyError`, from `explain` and from `value`."""
        config = sandbox.load(LOCAL)
        with pytest.raises(KeyError):
            config.explain(key)
        with pytest.raises(KeyError):
            config.value(key)

    def test_the_error_names_the_nearest(self, sandbox: Sandbox) -> None:
        """From `value`, `explain`, `meaning`, `require` and `flags` alike."""
        config = sandbox.load(LOCAL)
        calls: list[tuple[Callable[[], object], str]] = [
            (lambda: config.value("llm.modle"), r"did you mean llm\.model\?"),
            (lambda: config.explain("temporal.adress"), r"did you mean temporal\.address\?"),
            (lambda: config.value("llm_model"), r"did you mean llm\.model\?"),
            (lambda: config.value("zzz"), "show --all"),
            (lambda: config.meaning("fsat"), r"did you mean fast\?"),
            (lambda: config.meaning("zzz"), "known: fast, balanced, powerful"),
            (lambda: sandbox.load(LOCAL, require=("llm.modle",)), r"did you mean llm\.model\?"),
            (lambda: sandbox.load(LOCAL, flags={"llm_model": "fast"}), r"did you mean llm\.model\?"),
            (lambda: sandbox.load(LOCAL, flags={"llm": {"modle": "fast"}}), r"did you mean llm\.model\?"),
        ]
        for call, message in calls:
            with pytest.raises(KeyError, match=message):
                call()

    @given(world=layers(overrides=1))
    @settings(max_examples=50)
    def test_its_value_is_the_effective_one_for_every_key(self, world: tuple[str, list[Any]]) -> None:
        """Over any layers: `explain(key).value`, `value(key)` and the attribute are one."""
        with sandboxed() as sandbox:
            config = World(sandbox, *world).read(datetime.date(2026, 6, 1)).config
        for key, value in config.effective():
            section, _, name = key.partition(".")
            assert config.explain(key).value == config.value(key) == value
            if section == "llm" and name != "fallbacks":
                assert value == (
                    getattr(config.llm, name) or None if name == "parameters" else getattr(config.llm, name)
                )


class TestSections:
    """The typed values."""

    @pytest.mark.parametrize("variables", [{}, {"REDIS_HOST": "r", "REDIS_PORT": "1", "REDIS_PASSWORD": "p"}])
    def test_there_is_no_redis_in_local_mode(self, sandbox: Sandbox, variables: dict[str, str]) -> None:
        """None, whatever the variables say; in cloud mode they count."""
        local, cloud = sandbox.load({**LOCAL, **variables}), sandbox.load({**CLOUD, **variables})
        assert local.redis is None
        assert local.value("redis.host") is None
        assert cloud.redis is not None
        assert cloud.redis.port == int(variables.get("REDIS_PORT", "6379"))

    @pytest.mark.parametrize(
        ("variables", "expected"),
        [
            ({"MODE": "local"}, {"type": "filesystem", "root_dir": "./workspace"}),
            ({"MODE": "local", "SANDBOX_ROOT_DIR": "/w"}, {"type": "filesystem", "root_dir": "/w"}),
            (
                {"MODE": "local", "SANDBOX_ROOT_DIR": "~/ws"},
                {"type": "filesystem", "root_dir": os.path.expanduser("~/ws")},
            ),
            ({"MODE": "cloud"}, {"type": "daytona"}),
            (
                {"MODE": "cloud", "DAYTONA_DEV_TOOLS_SNAPSHOT_ID": "s"},
                {"type": "daytona", "snapshot_id": "s"},
            ),
        ],
    )
    def test_the_seeds_sandbox_dictionary(
        self, sandbox: Sandbox, variables: dict[str, str], expected: dict[str, str]
    ) -> None:
        """`{"type": "filesystem", "root_dir": …}` or `{"type": "daytona"[, "snapshot_id": …]}`, nothing else."""
        config = sandbox.load({**KEYS, **variables})
        assert config.get_sandbox_config() == expected
        assert config.is_local_mode() == (variables["MODE"] == "local")

    def test_every_value_has_its_declared_type(self, sandbox: Sandbox) -> None:
        """What a variable gives as text is a number where a number is declared."""
        variables = {"STIGMER_LLM_TIMEOUT": "30", "STIGMER_LLM_MAX_RETRIES": "2", "TEMPORAL_MAX_CONCURRENCY": "3"}
        config = sandbox.load({**CLOUD, **variables}, flags={"providers.ollama.temperature": 1})
        assert (config.llm.timeout, config.llm.max_retries, config.temporal.max_concurrency) == (30.0, 2, 3)
        values = (config.llm.timeout, config.llm.max_retries, config.providers["ollama"].temperature)
        assert [type(value) for value in values] == [float, int, float]

    def test_warnings_are_in_the_config(self, sandbox: Sandbox) -> None:
        """Problems that do not prevent loading are in `warnings`."""
        config = sandbox.load({**LOCAL, "STIGMER_LLM_MODLE": "x"})
        assert [warning.code for warning in config.warnings] == ["unknown-variable"]
        assert "STIGMER_LLM_MODEL" in config.warnings[0].hint


class TestToDict:
    """`Config.to_dict()`: plain data for `json.dumps`."""

    def test_it_is_json_with_every_value_and_no_secret(self, sandbox: Sandbox) -> None:
        """Each effective value at its key; secrets masked."""
        sandbox.write(user="aliases: {mine.v2: {openai: gpt-5, anthropic: claude-x}}\nlocked: [llm.model]\n")
        config = sandbox.load({**CLOUD, "STIGMER_API_KEY": "k-secret-1", "ANTHROPIC_API_KEY": "sk-ant-secret-2"})
        plain = config.to_dict()
        assert json.loads(json.dumps(plain)) == plain
        assert "secret-" not in json.dumps(plain)
        assert plain["backend"]["api_key"] == "********"
        assert plain["llm"]["model_id"] == config.llm.model_id
        assert plain["aliases"]["mine.v2"] == {"openai": "gpt-5", "anthropic": "claude-x"}
        assert plain["locked"] == ["llm.model"]
        for key in ("mode", "llm.timeout", "temporal.max_concurrency", "redis.host", "providers.anthropic.max_tokens"):
            value: Any = plain
            for part in key.split("."):
                value = value[part]
            assert value == config.value(key)

    def test_it_is_a_copy(self, sandbox: Sandbox) -> None:
        """Changing it changes nothing."""
        config = sandbox.load(LOCAL)
        config.to_dict()["llm"]["model"] = "other"
        assert config.to_dict()["llm"]["model"] == config.llm.model

    def test_a_section_that_is_not_in_this_mode_is_none(self, sandbox: Sandbox) -> None:
        """As `config.redis` is."""
        assert sandbox.load(LOCAL).to_dict()["redis"] is None

    def test_show_prints_the_same(self, sandbox: Sandbox) -> None:
        """`show --all --format json`, but for the resolved model and what is not in this mode."""
        sandbox.write(user="llm: {model: fast, timeout: 3}\n")
        shown = json.loads(sandbox.run("show", "--all", "--format", "json", variables=CLOUD).stdout)
        plain = sandbox.load(CLOUD).to_dict()
        for name in ("alias", "model_name", "model_id"):
            del plain["llm"][name]
        assert plain == shown


class TestRequire:
    """`load(require=…)`."""

    def test_an_absent_key_is_missing(self, sandbox: Sandbox) -> None:
        """An error for each, with how to set it."""
        with pytest.raises(ConfigError) as caught:
            sandbox.load(CLOUD, require=("backend.api_key", "sandbox.snapshot_id", "llm.model"))
        problems = caught.value.problems
        assert [(p.code, p.key) for p in problems] == [
            ("missing-value", "backend.api_key"),
            ("missing-value", "sandbox.snapshot_id"),
        ]
        assert "STIGMER_API_KEY" in problems[0].hint

    def test_a_present_one_is_fine(self, sandbox: Sandbox) -> None:
        """With a value, and for what a model resolves to."""
        variables = {**CLOUD, "STIGMER_API_KEY": "k"}
        assert sandbox.load(variables, require=("backend.api_key", "llm.model_id")).backend.api_key is not None

    def test_a_key_that_does_not_exist_is_the_callers_fault(self, sandbox: Sandbox) -> None:
        """`KeyError`, with the nearest key."""
        with pytest.raises(KeyError, match=r"backend\.api_key"):
            sandbox.load(CLOUD, require=("backend.apikey",))


class TestSeedNames:
    """`load()` under the seed worker's names, in a process of its own."""

    def test_load_from_env_reads_this_process(self, sandbox: Sandbox) -> None:
        """`Config.load_from_env()` is the Config of the variables, the home and the folder it runs in."""
        sandbox.write(user="llm: {temperature: 0.25}\n", project="llm: {max_tokens: 9}\n")
        code = (
            "from stigmer_config import Config; c = Config.load_from_env();"
            "print(c.mode, c.llm.provider, c.llm.temperature, c.llm.max_tokens, c.is_local_mode())"
        )
        assert python(sandbox, code, {"MODE": "local"}) == "local ollama 0.25 9 True"

    def test_in_cloud_mode_the_backend_needs_a_key(self, sandbox: Sandbox) -> None:
        """As the seed's worker: `backend.api_key` is required, beside every other problem."""
        code = (
            "from stigmer_config import Config, ConfigError\n"
            "try: print(Config.load_from_env().backend.api_key.reveal())\n"
            "except ConfigError as error: print(sorted(p.code for p in error.problems if p.severity == 'error'))"
        )
        assert python(sandbox, code, {"MODE": "cloud"}) == "['missing-api-key', 'missing-value']"
        assert python(sandbox, code, {**CLOUD, "STIGMER_API_KEY": "k-backend"}) == "k-backend"
        assert python(sandbox, code, {"MODE": "local"}) == "dummy-local-key"

    def test_llm_load_from_env_takes_a_mode(self, sandbox: Sandbox) -> None:
        """`LLMConfig.load_from_env("local")` is `load(mode="local").llm`."""
        code = "from stigmer_config import LLMConfig; print(LLMConfig.load_from_env('local').model)"
        assert python(sandbox, code, {"MODE": "cloud"}) == "qwen2.5-coder:7b"
        assert LLMConfig.load_from_env.__doc__


class TestThreads:
    """Safe to load, derive and share from many threads."""

    def test_many_threads_may_load_first(self, sandbox: Sandbox) -> None:
        """Sixteen first loads at once in a fresh process: all the same, none fails."""
        sandbox.write(user="llm: {model: fast}\n")
        code = """
import threading
from stigmer_config import load
gate, found, failed = threading.Barrier(16), [], []
def run():
    gate.wait()
    try:
        for _ in range(5):
            config = load()
            found.append((config.fingerprint, config.override({"llm.model": "balanced"}).llm.model_id))
    except BaseException as error:
        failed.append(repr(error))
threads = [threading.Thread(target=run) for _ in range(16)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(found), len(set(found)), failed)
"""
        assert python(sandbox, code, {"MODE": "local"}) == "80 1 []"

    def test_many_threads_may_derive_from_one(self, sandbox: Sandbox) -> None:
        """Overrides and explanations of one Config from eight threads give what one thread gets."""
        config = sandbox.load(LOCAL)
        jobs: list[Callable[[], Any]] = [
            lambda: config.override({"llm.model": "powerful"}).llm,
            lambda: config.override({"llm": {"provider": "anthropic", "temperature": 0.5}}).llm,
            lambda: config.override({"llm.model": "openai:gpt-4.1"}).explain("llm.api_key"),
            lambda: config.explain("llm.model"),
            lambda: config.fingerprint,
        ]
        expected = [job() for job in jobs]
        found: list[list[Any]] = []
        gate = threading.Barrier(8)

        def work() -> None:
            gate.wait()
            found.extend([job() for job in jobs] for _ in range(50))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 400
        assert all(row == expected for row in found)


@pytest.mark.parametrize(
    "values",
    [
        lambda n: {"llm": {"temperature": n / 20000, "max_tokens": n + 1000}},
        lambda n: {"llm": {"model": "fast", "max_tokens": n + 1000}},
        lambda n: {"llm": {"model": "gpt-4.1", "max_tokens": n + 1000}},
    ],
    ids=["parameters", "alias", "provider"],
)
def test_a_kept_derived_config_costs_700_bytes_at_most(sandbox: Sandbox, values: Callable[[int], Any]) -> None:
    """10 000 of them are kept, each with values of its own; what they share is counted once."""
    config = sandbox.load(CLOUD)
    count = 10_000
    config.override(values(0))
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = [config.override(values(number)) for number in range(count)]
        gc.collect()
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len({one.fingerprint for one in kept[::1000]}) == count // 1000
    assert used / count <= 700


def test_a_kept_override_costs_the_same_however_large_the_configuration(sandbox: Sandbox) -> None:
    """With 500 aliases in the file an override keeps what it keeps with none."""

    def kept(config: Config) -> float:
        config.override({"llm.model": "fast"})
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            derived = [config.override({"llm": {"model": "fast", "max_tokens": 1000 + n}}) for n in range(500)]
            gc.collect()
            return (tracemalloc.get_traced_memory()[0] - before) / len(derived)
        finally:
            tracemalloc.stop()

    small = kept(sandbox.load(LOCAL))
    sandbox.write(user="aliases:\n" + "".join(f"  a{n}: mine:{n}b\n" for n in range(500)))
    assert kept(sandbox.load(LOCAL)) <= small * 1.1


def test_a_worker_passes_its_config_by_loading_again(sandbox: Sandbox) -> None:
    """A multiprocessing child cannot get a Config; it gets the error that says what to do."""
    config = sandbox.load(LOCAL)
    with pytest.raises(TypeError, match=r"call load\(\) in the other process"):
        pickle.dumps({"config": config, "path": Path()})
