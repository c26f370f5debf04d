"""What a fleet's store holds becomes the layer `etcd`: every kind of key and value, trust, provenance. No server."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stigmer_config import LiveConfig, Problem
from stigmer_config.core.environment import Environment
from stigmer_config.loading.load import Loaded, read
from stigmer_config.loading.request import request
from stigmer_config.reload.reloader import Reloader
from stigmer_config.settings.declarations import SETTINGS
from tests.support.etcd_tools import Certificates, Cluster, needs_etcd, needs_openssl
from tests.support.etcd_worlds import OPEN, REVISION, TLS, keys_of, load_store, with_store
from tests.support.live_tools import save
from tests.support.reference import PROVIDERS, Given
from tests.support.sandbox import Sandbox
from tests.support.worlds import DAYS, World, everything, layers, revealed, sandboxed, some
from tests.trust.test_grants import digest
from tests.trust.test_noninterference import OVERRIDES, overridden, where
from tests.trust.test_vetting import LOCKS, project_files

LOCAL = {"MODE": "local"}
CLOUD = {"MODE": "cloud", "ANTHROPIC_API_KEY": "k-anthropic", "OPENAI_API_KEY": "k-openai"}


def faults(loaded: Loaded) -> list[tuple[str, str]]:
    """(code, key) of each error."""
    return [(problem.code, problem.key) for problem in loaded.errors]


def texts(problems: tuple[Problem, ...]) -> str:
    return "\n".join(map(str, problems))


class TestValues:
    """A key of the store contains the text after the colon in a file."""

    @pytest.mark.parametrize(
        ("name", "text", "value"),
        [
            ("llm/temperature", "0.5", 0.5),
            ("llm/max_tokens", "99", 99),
            ("llm/model", "fast", "fast"),
            ("llm/model", '"ollama:mine:1b"', "ollama:mine:1b"),
            ("llm/model", "'mine:1b' # the new one\n", "mine:1b"),
            ("llm/model", "|-\n  mine:1b", "mine:1b"),
            ("llm/num_ctx", "0x10", 16),
            ("llm/base_url", "http://gpu:1", "http://gpu:1"),
            ("llm/timeout", "null", None),
            ("llm/timeout", "", None),
            ("llm/timeout", "# nothing", None),
            ("providers/openai/reasoning_effort", "low", "low"),
            ("temporal/max_concurrency", "3", 3),
            ("temporal/address", "t:7233", "t:7233"),
            ("backend/endpoint", "b:1", "b:1"),
            ("sandbox/root_dir", "/srv/work", "/srv/work"),
            ("logging/level", "debug", "debug"),
            ("locked", "[llm.model]", ("llm.model",)),
            ("locked", "- llm\n- sandbox\n", ("llm", "sandbox")),
            ("providers/ollama/num_ctx", "5", 5),
        ],
    )
    def test_each_kind_of_value(self, sandbox: Sandbox, name: str, text: str, value: object) -> None:
        """It has the type of the setting, and its place is the store's key at the revision it was written at."""
        loaded = load_store(sandbox, {name: text}, LOCAL)
        key = name.replace("/", ".")
        assert faults(loaded) == []
        assert loaded.config.value(key) == value
        origin = loaded.config.explain(key).origin
        assert origin is not None
        assert (origin.layer, str(origin)) == ("etcd", f"etcd:/stigmer/{name}@{REVISION}")

    def test_every_setting_can_be_in_the_store(self, sandbox: Sandbox) -> None:
        """Each key of the reference except secrets, with its packaged or a harmless value."""
        held = {
            "mode": "local",
            "llm": "{provider: ollama, model: fast, base_url: 'http://o:1', max_tokens: 1, temperature: 0, num_ctx: 1,"
            " reasoning_effort: null, timeout: 1, max_retries: 1, parameters: {top_p: 0.5}, fallbacks: ['qwen3:4b']}",
            "temporal": "{namespace: n, address: 'a:1', task_queue: q, max_concurrency: 1, tls: true,"
            " tls_server_name: s, tls_ca_file: /ca, tls_cert_file: /cert, tls_key_file: /key}",
            "backend/endpoint": "b:1",
            "sandbox": "{type: filesystem, root_dir: /, snapshot_id: s}",
            "redis": "{host: h, port: 1}",
            "logging": "{level: info, format: json}",
            "locked": "[aliases]",
            "enforced": "[logging.level]",
            **{f"providers/{provider}/max_tokens": "1" for provider in PROVIDERS},
        }
        loaded = load_store(sandbox, held)
        assert faults(loaded) == []
        layer = next(layer for layer in loaded.layers if layer.name == "etcd")
        given_keys = {key for key in layer.entries if not key.startswith("providers.")}
        assert given_keys == {
            key for key, setting in SETTINGS.items() if not setting.is_secret and not key.startswith("providers.")
        }

    def test_a_section_may_be_in_one_key(self, sandbox: Sandbox) -> None:
        """A mapping is a section; keys of the same section beside it count too, each with its own place."""
        loaded = load_store(sandbox, {"llm": "{model: fast, timeout: 5}", "llm/temperature": "0.5"}, LOCAL)
        assert faults(loaded) == []
        config = loaded.config
        assert (config.llm.alias, config.llm.timeout, config.llm.temperature) == ("fast", 5.0, 0.5)
        places = [str(config.explain(f"llm.{name}").origin) for name in ("model", "timeout", "temperature")]
        assert places == ["etcd:/stigmer/llm@7", "etcd:/stigmer/llm@7", "etcd:/stigmer/llm/temperature@8"]

    def test_an_alias_as_text_as_a_mapping_and_by_provider(self, sandbox: Sandbox) -> None:
        """Three ways to write one, and names with dots."""
        held = {
            "aliases/a": "mine:1b",
            "aliases/b": "{ollama: 'mine:2b', openai: gpt-6-luna}",
            "aliases/c.d/ollama": "mine:3b",
            "aliases/c.d/openai": "gpt-6-luna",
            "llm/model": "c.d",
        }
        loaded = load_store(sandbox, held, LOCAL)
        assert faults(loaded) == []
        assert [loaded.config.meaning(alias)["ollama"] for alias in ("a", "b", "c.d")] == [
            "mine:1b",
            "mine:2b",
            "mine:3b",
        ]
        assert loaded.config.meaning("b")["openai"] == loaded.config.meaning("c.d")["openai"] == "gpt-6-luna"
        assert loaded.config.llm.model_name == "mine:3b"

    @pytest.mark.parametrize(
        ("held", "code", "key", "hint"),
        [
            ({"llm/modle": "fast"}, "unknown-key", "llm.modle", "did you mean llm.model?"),
            ({"modle": "fast"}, "unknown-key", "modle", "did you mean"),
            ({"llm.model": "fast"}, "unknown-key", "llm.model", "did you mean /stigmer/llm/model?"),
            ({"LLM/model": "fast"}, "unknown-key", "LLM", "did you mean llm?"),
            ({"llm//model": "fast"}, "unknown-key", "llm.", "known keys of llm"),
            ({"": "fast"}, "unknown-key", "", "known keys"),
            ({"aliases/Fast": "x"}, "unknown-key", "aliases.Fast", "an alias name is a lowercase letter"),
            ({"aliases/fast/olama": "x"}, "unknown-alias-provider", "aliases.fast.olama", "did you mean ollama?"),
            ({"llm/temperature": "warm"}, "wrong-type", "llm.temperature", ""),
            ({"llm/temperature": "9"}, "out-of-range", "llm.temperature", ""),
            ({"llm/max_tokens": "'5'"}, "wrong-type", "llm.max_tokens", ""),
            ({"llm/provider": "gemini"}, "invalid-choice", "llm.provider", ""),
            ({"llm/provider": "null"}, "wrong-type", "llm.provider", ""),
            ({"llm/provider": ""}, "wrong-type", "llm.provider", ""),
            ({"llm/model": "''"}, "empty-model", "llm.model", ""),
            ({"llm/model": "[fast]"}, "wrong-type", "llm.model", ""),
            ({"llm/model/name": "fast"}, "wrong-type", "llm.model", ""),
            ({"llm/base_url": "ftp://x"}, "invalid-url", "llm.base_url", ""),
            ({"llm": "fast"}, "not-a-mapping", "llm", "put keys below it: provider"),
            ({"llm": "[fast]"}, "not-a-mapping", "llm", ""),
            ({"aliases": "fast"}, "not-a-mapping", "aliases", ""),
            ({"locked": "[llm.modle]"}, "unknown-key", "locked", "did you mean llm.model?"),
            ({"llm/model": "&a fast"}, "yaml-forbidden", "llm.model", "write the value out"),
            ({"llm/model": "*a"}, "yaml-forbidden", "llm.model", ""),
            ({"llm/model": "!!str fast"}, "yaml-forbidden", "llm.model", "remove it"),
            ({"llm/model": "--- fast\n--- slow\n"}, "yaml-forbidden", "llm.model", ""),
            ({"llm/model": "%YAML 1.1\n--- fast\n"}, "yaml-forbidden", "llm.model", ""),
            ({"llm": "{<<: {model: fast}}"}, "yaml-forbidden", "llm", ""),
            ({"llm": "{model: fast, model: slow}"}, "duplicate-key", "llm", "remove one"),
            ({"llm/model": "[" * 17 + "]" * 17}, "yaml-forbidden", "llm.model", ""),
            ({"llm/model": "[" * 5000}, "yaml-forbidden", "llm.model", ""),
            ({"llm/model": "[" + "{}," * 5000 + "]"}, "too-large", "llm.model", ""),
            ({"/".join(["llm", "model", *"a" * 15]): "x"}, "too-large", "", "remove it"),
            ({"/".join(["llm", "model", *"a" * 9000]): "x"}, "too-large", "", "remove it"),
            ({"llm/model": "{unclosed"}, "yaml-syntax", "llm.model", ""),
            ({"llm/model": "fast\x07"}, "yaml-syntax", "llm.model", ""),
            ({"llm/model": b"\xff\xfe"}, "bad-encoding", "llm.model", "write it again"),
            ({"llm/model": "x" * 9000}, "too-large", "llm.model", ""),
            ({"llm/model": "fast", "aliases/a": "x" * 66000}, "too-large", "", "keep settings only in it"),
            ({"llm": "{model: fast}", "llm/model": "slow"}, "duplicate-key", "llm.model", "remove one of them"),
            ({"llm/model": "fast", "llm/model/x": "slow"}, "duplicate-key", "llm.model.x", "remove one of them"),
            ({"aliases/a": "x", "aliases/a/ollama": "y"}, "duplicate-key", "aliases.a.ollama", "remove one of them"),
        ],
    )
    def test_a_fault_is_reported_with_its_key_and_revision(
        self, sandbox: Sandbox, held: dict[str, str | bytes], code: str, key: str, hint: str
    ) -> None:
        """One problem, at the faulty key of the store, and the layer has the status `error`."""
        loaded = load_store(sandbox, held, LOCAL)
        [problem] = [problem for problem in loaded.errors if problem.origin and problem.origin.layer == "etcd"]
        assert problem.code == code
        assert not key or problem.key == key
        assert hint in problem.hint
        assert problem.origin is not None
        assert problem.origin.source.startswith(("etcd:/stigmer/", TLS))
        assert len(str(problem)) < 2000
        layer = next(layer for layer in loaded.layers if layer.name == "etcd")
        assert (layer.status, layer.why) == ("error", problem.summary)

    def test_all_faults_are_reported_together(self, sandbox: Sandbox) -> None:
        """Of several keys, and of a file beside them; `show` contains the good values."""
        sandbox.write(user="llm: {timeout: soon}\n")
        held = {"llm/modle": "x", "llm/temperature": "9", "logging/level": "loud", "llm/max_retries": "3"}
        loaded = load_store(sandbox, held, LOCAL)
        assert sorted(faults(loaded)) == [
            ("invalid-choice", "logging.level"),
            ("out-of-range", "llm.temperature"),
            ("unknown-key", "llm.modle"),
            ("wrong-type", "llm.timeout"),
        ]
        assert loaded.config.llm.max_retries == 3

    def test_a_store_full_of_faults_reports_some(self, sandbox: Sandbox) -> None:
        """Ten thousand messages would be unreadable: it stops quickly after about a hundred."""
        held = {f"aliases/a{number}": "[&a 1, &b 2, &c 3, &d 4, &e 5]" for number in range(900)}
        assert 100 <= len(load_store(sandbox, held, LOCAL).errors) <= 120
        wrong = {f"unknown{number}": "x" for number in range(900)}
        assert 100 <= len(load_store(sandbox, wrong, LOCAL).errors) <= 120

    def test_what_looks_like_a_program_stays_text(self, sandbox: Sandbox) -> None:
        """Nothing in the store is evaluated."""
        held = {"temporal/namespace": '"@format {env[HOME]}"', "temporal/task_queue": "${HOME}"}
        config = load_store(sandbox, held, LOCAL).config
        assert (config.temporal.namespace, config.temporal.task_queue) == ("@format {env[HOME]}", "${HOME}")

    def test_names_that_a_terminal_would_obey_are_escaped(self, sandbox: Sandbox) -> None:
        """A key's name cannot control the user's terminal."""
        held = {"llm/mo\x1b[31mdel": "x", "aliases/a\u202eb": "x", "a\nb": "x"}
        loaded = load_store(sandbox, held, LOCAL)
        assert len(loaded.errors) == 3
        assert not [char for char in texts(loaded.problems) if char != "\n" and not char.isprintable()]
        assert not [problem for problem in loaded.errors if "\n" in str(problem.origin)]

    def test_an_empty_store_is_an_empty_layer(self, sandbox: Sandbox) -> None:
        """It is looked at, and sets nothing."""
        loaded = load_store(sandbox, {}, LOCAL)
        assert [(layer.source, layer.status) for layer in loaded.layers if layer.name == "etcd"] == [(TLS, "empty")]
        assert loaded.config == sandbox.load(LOCAL)


class TestRank:
    """Above the machine's file, below the user's."""

    def test_it_is_between_site_and_user(self, sandbox: Sandbox) -> None:
        """Each wins over the one below, and the losers are listed in order."""
        sandbox.write(site="llm: {timeout: 1, max_retries: 1}\n", user="llm: {timeout: 3}\n")
        config = load_store(sandbox, {"llm/timeout": "2", "llm/max_retries": "2"}, LOCAL).config
        assert (config.llm.timeout, config.llm.max_retries) == (3.0, 2)
        losers = config.explain("llm.timeout").losers
        assert [(loser.origin.layer, loser.reason) for loser in losers] == [
            ("etcd", "overridden"),
            ("site", "overridden"),
        ]

    def test_its_mode_is_beaten_by_the_users(self, sandbox: Sandbox) -> None:
        """`--mode` > `MODE` > user > store > site."""
        sandbox.write(site="mode: cloud\n")
        assert load_store(sandbox, {"mode": "local"}).config.mode == "local"
        assert load_store(sandbox, {"mode": "local"}, {"MODE": "cloud"}).wanted_mode == "cloud"
        sandbox.write(user="mode: cloud\n")
        assert load_store(sandbox, {"mode": "local"}).wanted_mode == "cloud"

    def test_its_locks_bind_projects(self, sandbox: Sandbox) -> None:
        """`locked` of a trusted store counts beside the user's."""
        sandbox.write(user="locked: [llm.timeout]\n", project="llm: {temperature: 0.5, timeout: 3}\n")
        loaded = load_store(sandbox, {"locked": "[llm.temperature]"}, LOCAL)
        assert sorted(faults(loaded)) == [("locked-key", "llm.temperature"), ("locked-key", "llm.timeout")]

    def test_it_is_the_operators_word_against_a_project(self, sandbox: Sandbox) -> None:
        """What a trusted store names is the provider that a project may not leave."""
        sandbox.write(project="llm: {provider: ollama}\n")
        loaded = load_store(sandbox, {"llm/provider": "openai"}, CLOUD)
        assert faults(loaded) == [("untrusted-key", "llm.provider")]
        assert "openai (etcd:/stigmer/llm/provider@7)" in texts(loaded.problems)


# How a secret may be written.
SHAPES = ("{0}", "'{0}'", "|\n  {0}\n", "[{0}]", "{{{0}: {0}, {0}: x}}", "{{{0}: x}}", "&a {0}")


class TestSecrets:
    """The store contains references to secrets on each machine, and never a secret."""

    CANARY = "sk-canary-6f1d2"

    @pytest.mark.parametrize("key", [key for key, setting in SETTINGS.items() if setting.is_secret])
    @pytest.mark.parametrize("shape", SHAPES)
    def test_a_literal_one_is_refused_and_in_no_output(self, sandbox: Sandbox, key: str, shape: str) -> None:
        """In any form it is an error, not used, and in no output."""
        text = shape.format(self.CANARY)
        loaded = load_store(sandbox, {key.replace(".", "/"): text}, CLOUD)
        mine = [problem for problem in loaded.errors if problem.key == key]
        assert len(mine) == 1
        if shape in SHAPES[:4]:
            assert mine[0].code == "secret-in-etcd"
        shown = [texts(loaded.problems), repr(loaded.problems), repr(loaded.layers), repr(loaded.config)]
        assert not [text for text in shown if self.CANARY in text]
        assert revealed(loaded.config.value(key)) != self.CANARY

    def test_in_a_section_and_over_http_too(self, sandbox: Sandbox) -> None:
        """The same in a mapping of a section; an untrusted store may not even refer to one."""
        held = {"llm": f"{{api_key: {self.CANARY}}}", "providers/openai": "{api_key: {env: OPENAI_API_KEY}}"}
        loaded = load_store(sandbox, held, CLOUD)
        assert faults(loaded) == [("secret-in-etcd", "llm.api_key")]
        loaded = load_store(sandbox, held, CLOUD, url=OPEN)
        assert {code for code, _ in faults(loaded)} == {"secret-in-etcd"}
        assert len(loaded.errors) == 2
        assert self.CANARY not in texts(loaded.problems)

    def test_behind_a_slip_in_a_name_it_is_not_shown(self, sandbox: Sandbox) -> None:
        """`etcdctl put /stigmer/llm/api_key=sk-…` makes a key with a secret in its name."""
        loaded = load_store(sandbox, {f"llm/api_key={self.CANARY}": "x"}, CLOUD)
        [problem] = loaded.errors
        assert problem.code == "unknown-key"
        assert "llm/api_key…" in str(problem)
        assert self.CANARY not in texts(loaded.problems) + repr(loaded.layers)

    def test_a_reference_is_followed_on_the_machine(self, sandbox: Sandbox, tmp_path: Path) -> None:
        """`{env: NAME}`, `{file: /abs}`, also as a key below the key; `null` is none."""
        (tmp_path / "key").write_text("k-from-file\n")
        (tmp_path / "key").chmod(0o600)
        held = {
            "providers/anthropic/api_key": "{env: FLEET_KEY}",
            "providers/openai/api_key/file": str(tmp_path / "key"),
            "backend/api_key": "null",
        }
        for provider, secret in (("anthropic", "k-from-variable"), ("openai", "k-from-file")):
            variables = {"MODE": "cloud", "FLEET_KEY": "k-from-variable", "STIGMER_LLM_PROVIDER": provider}
            loaded = load_store(sandbox, held, variables)
            assert faults(loaded) == []
            assert revealed(loaded.config.llm.api_key) == secret
            assert loaded.config.backend.api_key is None

    @pytest.mark.parametrize(
        ("reference", "told"),
        [
            ("{file: keys/openai}", "'keys/openai' is no absolute path"),
            ("{file: ~/key}", "'~/key' is no absolute path"),
            ("{command: [/bin/echo, x]}", "only the user file may name a command"),
            ("{env: [A]}", "{env: …} takes one string"),
            ("{vault: x}", "a secret is a string, or one of"),
            ("{env: A, file: /b}", "a secret is a string, or one of"),
        ],
    )
    def test_a_reference_that_no_machine_can_follow_is_refused(
        self, sandbox: Sandbox, reference: str, told: str
    ) -> None:
        """Relative to what? And no store runs a program on a thousand machines."""
        loaded = load_store(sandbox, {"providers/openai/api_key": reference}, LOCAL)
        assert faults(loaded) == [("wrong-type", "providers.openai.api_key")]
        assert told in loaded.errors[0].message

    def test_a_rotated_file_reloads(self, sandbox: Sandbox, tmp_path: Path) -> None:
        """A secret that the store refers to is watched like any other."""
        file = tmp_path / "keys" / "anthropic"
        save(file, "k-first\n")
        asked = with_store(
            request(environment=sandbox.environment({"MODE": "cloud"})),
            {"providers/anthropic/api_key": f"{{file: {file}}}"},
            TLS,
        )
        reloader = Reloader(asked, fleet=_Still(asked.environment, asked.read_fleet))  # type: ignore[arg-type]
        with LiveConfig(reloader, publishes=False) as live:
            live.begin()
            assert revealed(live.current.llm.api_key) == "k-first"
            save(file, "k-second\n")
            live.wait_for(lambda c: revealed(c.llm.api_key) == "k-second", 15.0)


class _Still:
    """A store that nothing happens in."""

    state = "native"

    def __init__(self, environment: Environment, read_fleet: Any) -> None:
        self.read_fleet = read_fleet

    def refresh(self) -> bool:
        return False

    def read_now(self) -> None:
        pass

    def follow(self, *_callbacks: object) -> None:
        pass

    def close(self) -> None:
        pass


class TestOpenStore:
    """Over plain http anybody on the way may have written it: it may set what an untrusted project may."""

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("mode", "local"),
            ("locked", "[llm]"),
            ("llm/base_url", "https://evil.example"),
            ("llm/base_url", "null"),
            ("providers/anthropic/base_url", "https://evil.example"),
            ("temporal/address", "evil:1"),
            ("temporal/namespace", "evil"),
            ("backend/endpoint", "evil:1"),
            ("sandbox/type", "filesystem"),
            ("sandbox/root_dir", "/"),
            ("redis/host", "evil"),
            ("redis/port", "1"),
            ("logging/level", "debug"),
        ],
    )
    def test_what_is_not_open_is_refused(self, sandbox: Sandbox, name: str, text: str) -> None:
        """One `untrusted-key`, and the Config is that without the store."""
        without = sandbox.load(CLOUD)
        loaded = load_store(sandbox, {name: text}, CLOUD, url=OPEN)
        assert faults(loaded) == [("untrusted-key", name.replace("/", "."))]
        assert "https://" in loaded.errors[0].hint
        assert loaded.config == without

    def test_what_is_open_counts(self, sandbox: Sandbox) -> None:
        """Limits, a model of the provider in force, and an alias of it."""
        held = {
            "llm/temperature": "0.5",
            "llm/max_tokens": "99",
            "llm/model": "mine",
            "aliases/mine": "claude-opus-4.5",
            "providers/anthropic/timeout": "3",
        }
        loaded = load_store(sandbox, held, CLOUD, url=OPEN)
        assert faults(loaded) == []
        llm = loaded.config.llm
        assert (llm.temperature, llm.max_tokens, llm.model_name, llm.timeout) == (0.5, 99, "claude-opus-4.5", 3.0)
        assert llm.provider == "anthropic"

    @pytest.mark.parametrize(
        ("variables", "held", "refused"),
        [
            (CLOUD, {"llm/provider": "openai"}, "llm.provider"),
            (CLOUD, {"llm/model": "gpt-6-luna"}, "llm.model"),
            (CLOUD, {"llm/model": "openai:x"}, "llm.model"),
            (CLOUD, {"llm/model": "mine:1b"}, "llm.model"),
            (CLOUD, {"aliases/fast": "openai:x"}, "aliases.fast"),
            (CLOUD, {"aliases/claude-sonnet-4.5": "other"}, "aliases.claude-sonnet-4.5"),
            (CLOUD, {"aliases/fast": "big-cloud"}, "aliases.fast"),
            (LOCAL, {"llm/model": "big-cloud"}, "llm.model"),
            (LOCAL, {"llm/model": "big:cloud"}, "llm.model"),
            (LOCAL, {"providers/ollama/model": "big-cloud"}, "providers.ollama.model"),
            (LOCAL, {"aliases/a/ollama": "big-cloud"}, "aliases.a"),
            (LOCAL, {"llm/provider": "auto", "llm/model": "claude-sonnet-4.5"}, "llm.provider"),
        ],
    )
    def test_whose_service_reads_the_code_is_not_its_choice(
        self, sandbox: Sandbox, variables: dict[str, str], held: dict[str, str], refused: str
    ) -> None:
        """Providers, catalogue names and Ollama's cloud, as for a project; the refused entry is among the losers."""
        without = load_store(sandbox, {}, variables, url=OPEN).config
        loaded = load_store(sandbox, held, variables, url=OPEN)
        assert ("untrusted-key", refused) in faults(loaded)
        assert where(loaded.config) == where(without)
        layer = next(layer for layer in loaded.layers if layer.name == "etcd")
        assert layer.status == "untrusted"

    def test_values_of_the_users_own_stay_with_their_provider(self, sandbox: Sandbox) -> None:
        """A provider that the store names below the user's file owns nothing of the user's, and takes no key along."""
        sandbox.write(user="llm: {api_key: k-mine, base_url: 'https://gateway.example'}\n")
        variables = {"MODE": "cloud", "STIGMER_LLM_PROVIDER": "anthropic"}
        without = load_store(sandbox, {}, variables, url=OPEN).config
        loaded = load_store(sandbox, {"llm/provider": "openai"}, variables, url=OPEN)
        assert faults(loaded) == []
        assert where(loaded.config) == where(without) == ("anthropic", "k-mine", "https://gateway.example")

    def test_its_aliases_name_no_provider_for_others(self, sandbox: Sandbox) -> None:
        """An execution that chose a provider and then a name keeps that provider, whoever redefines the name."""
        overrides = [{"llm.provider": "openai"}, {"llm.model": "b"}]
        without = load_store(sandbox, {}, CLOUD, url=OPEN, overrides=overrides).config
        loaded = load_store(sandbox, {"aliases/b": "claude-sonnet-4.5"}, CLOUD, url=OPEN, overrides=overrides)
        assert faults(loaded) == []
        assert where(loaded.config) == where(without) == ("openai", "k-openai", "https://api.openai.com/v1")

    def test_an_alias_is_judged_without_a_refused_one(self, sandbox: Sandbox) -> None:
        """`b` ends at OpenAI once the alias that hid that is refused; a project's aliases are judged alike."""
        refused = [("untrusted-key", "aliases.b"), ("untrusted-key", "aliases.gpt-4o")]
        held = {"aliases/b": "gpt-4o", "aliases/gpt-4o": "a"}
        assert sorted(faults(load_store(sandbox, held, CLOUD, url=OPEN))) == refused
        sandbox.write(project="aliases: {b: gpt-4o, gpt-4o: a}\n")
        assert sorted(faults(load_store(sandbox, {}, CLOUD, url=OPEN))) == refused

    def test_a_granted_projects_words_are_not_bent_by_it(self, sandbox: Sandbox) -> None:
        """What a trusted project's model name means is not for the store to say."""
        sandbox.write(project="llm: {provider: openai}\nproviders: {openai: {max_tokens: 5}}\n")
        variables = {**CLOUD, "STIGMER_TRUST_PROJECT": digest(sandbox)}
        overrides = [{"llm.model": "b"}]
        without = load_store(sandbox, {}, variables, url=OPEN, overrides=overrides).config
        loaded = load_store(sandbox, {"aliases/b": "claude-sonnet-4.5"}, variables, url=OPEN, overrides=overrides)
        assert where(loaded.config) == where(without)
        assert without.llm.provider == "openai"


@needs_etcd
class TestCommand:
    """The real command against a real etcd."""

    HELD: ClassVar = {"llm/timeout": "3", "llm/max_retries": "2", "aliases/mine/ollama": "mine:1b", "llm/model": "mine"}

    @needs_openssl
    def test_over_tls_it_is_shown_with_its_revisions(self, sandbox: Sandbox, tmp_path: Path) -> None:
        """`show`, `get`, `path`, `explain` and `diff` show the store like any layer, between site and user."""
        sandbox.write(site="llm: {timeout: 1}\n", user="mode: local\nllm: {max_retries: 5}\n")
        with Cluster(tmp_path, tls=Certificates(tmp_path / "tls")) as cluster, cluster.keys("/stigmer") as keys:
            revisions = {name: keys.put(name, text) for name, text in self.HELD.items()}
            variables = cluster.variables("/stigmer", secure=True)
            url = variables["STIGMER_ETCD"]
            document = sandbox.show(variables=variables)
            layers = [layer["layer"] for layer in document["layers"]]
            assert layers.index("site") + 1 == layers.index("etcd") == layers.index("user") - 1
            assert {"layer": "etcd", "source": url, "status": "loaded"} in document["layers"]
            timeout = document["values"]["llm.timeout"]
            source = f"etcd:/stigmer/llm/timeout@{revisions['llm/timeout']}"
            assert (timeout["value"], timeout["origin"]["layer"], timeout["origin"]["source"]) == (3.0, "etcd", source)
            assert [loser["origin"]["layer"] for loser in timeout["shadowed"]] == ["site"]
            retries = document["values"]["llm.max_retries"]
            assert (retries["value"], retries["shadowed"][0]["origin"]["layer"]) == (5, "etcd")
            assert document["resolved"]["llm.model_name"] == "mine:1b"
            explained = sandbox.run("explain", "llm.model", variables=variables).stdout
            assert f"etcd:/stigmer/llm/model@{revisions['llm/model']}" in explained
            assert f"etcd:/stigmer/aliases/mine/ollama@{revisions['aliases/mine/ollama']}" in explained
            assert f"{url}" in sandbox.run("path", variables=variables).stdout
            assert sandbox.run("get", "llm.timeout", variables=variables).stdout == "3.0\n"

    def test_over_http_what_is_refused_is_a_question_of_trust(self, sandbox: Sandbox, tmp_path: Path) -> None:
        """Exit 3, and the hint says https; without what is refused the rest counts."""
        sandbox.write(user="mode: local\n")
        with Cluster(tmp_path) as cluster, cluster.keys("/stigmer") as keys:
            variables = cluster.variables("/stigmer")
            keys.put("llm/timeout", "3")
            assert sandbox.run("validate", variables=variables).returncode == 0
            keys.put("llm/base_url", "http://evil.example")
            done = sandbox.run("validate", variables=variables)
            assert done.returncode == 3
            assert "error[untrusted-key] llm.base_url: only a store behind https:// may set it" in done.stderr
            got = sandbox.run("get", "llm.base_url", variables=variables)
            assert (got.returncode, got.stdout) == (3, "http://localhost:11434\n")
            assert sandbox.run("get", "llm.timeout", variables=variables).stdout == "3.0\n"
            listed = sandbox.run("path", "--format", "json", variables=variables).stdout
            assert [row["status"] for row in json.loads(listed) if row["layer"] == "etcd"] == ["untrusted"]


def _with_site(found: list[Given], values: dict[str, Any]) -> list[Given]:
    return [Given("site", values) if layer.name == "site" else layer for layer in found]


def _referring(values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The values with references in place of literal secrets, and the variables that these name."""
    variables: dict[str, str] = {}
    found = dict(values)
    for key, value in values.items():
        if key.endswith("api_key") and value is not None:
            name = "SECRET_" + key.upper().replace(".", "_")
            variables[name] = value
            found[key] = {"env": name}
    return found, variables


machine_files = some(
    {
        **everything("site"),
        "temporal.address": st.just("t.example:7233"),
        "temporal.max_concurrency": st.integers(1, 9),
        "backend.endpoint": st.just("b.example:443"),
        "sandbox.root_dir": st.sampled_from(["/srv", None]),
        "redis.host": st.just("r.example"),
        "logging.level": st.sampled_from(["debug", "info"]),
        "locked": st.lists(st.sampled_from(LOCKS), max_size=3, unique=True),
    },
    10,
)


@given(world=layers(), values=machine_files, today=st.sampled_from(DAYS))
def test_a_store_means_what_a_file_with_the_same_values_means(
    world: tuple[str, list[Given]], values: dict[str, Any], today: datetime.date
) -> None:
    """In the place of the machine's file: the same Config, secrets included, or the same faults of the same keys."""
    mode, found = world
    values, variables = _referring(values)
    with sandboxed() as sandbox:
        sandbox.variables |= variables
        by_file = World(sandbox, mode, _with_site(found, values)).read(today)
        asked = World(sandbox, mode, _with_site(found, {})).request(today)
        by_store = read(with_store(asked, keys_of(values), TLS))
        assert sorted(faults(by_store)) == sorted(faults(by_file))
        assert by_store.config == by_file.config


@given(
    world=layers(),
    values=project_files,
    file=st.just({}) | project_files,
    today=st.sampled_from(DAYS),
    override=OVERRIDES,
)
def test_an_open_store_changes_no_provider_credential_or_endpoint(
    world: tuple[str, list[Given]],
    values: dict[str, Any],
    file: dict[str, Any],
    today: datetime.date,
    override: dict[str, Any],
) -> None:
    """Whatever whoever is on the way writes: they are those without the store, refused or not, project or not."""
    mode, found = world
    if not file:
        found = [layer for layer in found if layer.name != "project"]
    else:
        found = [Given("project", file) if layer.name == "project" else layer for layer in found]
    with sandboxed() as sandbox:
        asked = World(sandbox, mode, found).request(today)
        got, wanted = (read(with_store(asked, keys_of(held), OPEN)) for held in (values, {}))
        assert where(got.config) == where(wanted.config)
        assert (got.config.mode, got.config.sandbox, got.config.backend, got.config.redis, got.config.locked) == (
            wanted.config.mode,
            wanted.config.sandbox,
            wanted.config.backend,
            wanted.config.redis,
            wanted.config.locked,
        )
        if got.errors or wanted.errors:
            return
        pairs = [overridden(loaded.config, override) for loaded in (got, wanted)]
        if pairs[0] is not None and pairs[0][1] is not None:
            # It may name a model where there was none; never another taker of the key.
            named = {"llm.provider": pairs[0][0], "llm.model": f"{pairs[0][0]}:any"}
            assert pairs[0] in (pairs[1], overridden(wanted.config, named))
