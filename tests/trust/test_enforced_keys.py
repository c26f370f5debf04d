"""What the site file enforces, nothing above it changes: the law, and its cases."""

from __future__ import annotations

import datetime
import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stigmer_config import Config, ConfigError
from stigmer_config.settings.packaged_providers import CORE_PROVIDERS
from tests.support.enforcement import check, example
from tests.support.live_tools import LOCAL as LOCAL_FILE
from tests.support.live_tools import living, save, until
from tests.support.reference import PROVIDERS, Given, is_locked
from tests.support.sandbox import Sandbox
from tests.support.worlds import DAYS, World, declared_in_a_file, everything, layers, revealed, sandboxed, some

LOCAL = {"MODE": "local"}
NAMES = (
    "llm",
    "llm.provider",
    "llm.model",
    "llm.base_url",
    "llm.api_key",
    "llm.temperature",
    "llm.max_tokens",
    "llm.timeout",
    "providers",
    "providers.ollama",
    "providers.anthropic.api_key",
    "providers.openai.base_url",
    "aliases",
    "aliases.fast",
    "aliases.a",
    "sandbox",
    "backend.api_key",
    "temporal.address",
)
OTHERS: dict[str, st.SearchStrategy[Any]] = {
    "sandbox.root_dir": st.sampled_from(["/a", "/b"]),
    "backend.api_key": st.sampled_from(["backend-key-a", "backend-key-b"]),
    "backend.endpoint": st.sampled_from(["a.example:1", "b.example:2"]),
    "temporal.address": st.sampled_from(["a.example:7233", "b.example:7233"]),
}
OWN_ADDRESSES = {
    "anthropic": "https://api.anthropic.com",
    "openai": "https://api.openai.com/v1",
    "ollama": "http://localhost:11434",
}
names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True)


def effective(config: Config, key: str) -> dict[str, Any]:
    """An enforced key's effective value, with what it means, and where a credential goes."""
    found = {key: revealed(config.value(key))}
    if key in ("llm.model", "llm.provider"):
        found["model"] = (config.llm.provider, config.llm.model_id) if key == "llm.model" else config.llm.provider
    if key == "llm.api_key":
        found["address"] = (config.llm.provider, config.llm.base_url)
    if key in ("llm.model", "llm.provider", "llm.fallbacks"):
        found["fallbacks"] = [(one.provider, one.model_id) for one in config.llm.fallbacks]
    section, _, name = key.partition(".")
    if section == "providers" and name.endswith(".api_key"):
        found["address"] = where_it_goes(config, name.removesuffix(".api_key"))
    if key == "backend.api_key":
        found["address"] = config.backend.endpoint
    if key.startswith("aliases."):
        meaning = config.meaning(key.removeprefix("aliases."))
        found["meaning"] = {provider: meaning[provider] for provider in CORE_PROVIDERS}  # the one in force may be new
    return found


def where_it_goes(config: Config, provider: str) -> str | None:
    """The address that a provider's own key is sent to; without one in any layer, the provider's."""
    own = config.providers[provider]
    if config.llm.provider == provider and revealed(config.llm.api_key) == revealed(own.api_key):
        return config.llm.base_url
    return own.base_url or OWN_ADDRESSES.get(provider)


@given(
    world=layers(overrides=0),
    listed=names,
    more=st.lists(st.fixed_dictionaries({}, optional=OTHERS), min_size=4, max_size=4),
    project=some({**everything("project"), **OTHERS}, 6),
    override=st.sampled_from([{}, *({"llm.provider": provider} for provider in PROVIDERS), {"llm.model": "gpt-5"}]),
    today=st.sampled_from(DAYS),
)
def test_nothing_above_changes_an_enforced_value(
    world: tuple[str, list[Given]],
    listed: list[str],
    more: list[dict[str, Any]],
    project: dict[str, Any],
    override: dict[str, Any],
    today: datetime.date,
) -> None:
    """Neither user file, project, variables, flags nor overrides: the value is that of the layers up to the site's."""
    mode, found = world
    extra = dict(zip(("site", "user", "env", "flags"), more, strict=True))
    found = [Given(layer.name, {**layer.values, **extra.get(layer.name, {})}) for layer in found]
    found = [layer for layer in found if layer.name != "project"]
    found = declared_in_a_file(found)
    found = [Given("site", {**layer.values, "enforced": listed}) if layer.name == "site" else layer for layer in found]
    site = next((layer for layer in found if layer.name == "site"), None)
    if site is None:
        return
    keys = [key for key in site.values if key != "enforced" and is_locked(key, set(listed))]
    below = [layer for layer in found if layer.name in ("vendor", "site")]
    with sandboxed() as sandbox:
        wanted = World(sandbox, mode, below).read(today, []).config
    rank = next((n for n, layer in enumerate(found) if layer.name in ("env", "flags")), len(found))
    found.insert(rank, Given("project", project))
    with sandboxed() as sandbox:
        got = World(sandbox, mode, found).read(today, []).config
    for key in keys:
        assert effective(got, key) == effective(wanted, key), key
    try:
        derived = got.override(override)
    except ConfigError:
        return
    for key in keys:
        assert effective(derived, key) == effective(wanted, key), (key, override)


@pytest.mark.parametrize("seed", range(30))
def test_with_every_key_a_store_overrides_and_a_trusted_project(seed: int) -> None:
    """Random configurations: `fuzz/enforced.py` checks as many as one likes."""
    rng = random.Random(seed)
    for _ in range(4):
        check(example(rng))


# -- cases -----------------------------------------------------------------------------------------------------------


def told(sandbox: Sandbox, variables: dict[str, str] | None = None, **arguments: Any) -> list[tuple[str, str, str]]:
    found = sandbox.problems(variables or LOCAL, **arguments)
    return [(problem.code, problem.key, problem.origin.layer if problem.origin else "") for problem in found]


def test_each_place_that_tries_is_a_warning(sandbox: Sandbox) -> None:
    """User file, variable and flag; the value stays the site's, and `explain` has the reason."""
    sandbox.write(site="enforced: [llm.model]\nllm: {model: 'llama3.2:3b'}\n", user="llm: {model: 'gemma3:4b'}\n")
    variables = {**LOCAL, "STIGMER_LLM_MODEL": "qwen3:8b"}
    assert told(sandbox, variables, flags={"llm.model": "phi:1b"}) == [
        ("enforced-key", "llm.model", "user"),
        ("enforced-key", "llm.model", "env"),
        ("enforced-key", "llm.model", "flags"),
    ]
    why = sandbox.load(variables).explain("llm.model")
    assert (why.value, why.origin and why.origin.layer) == ("llama3.2:3b", "site")
    lost = [(loser.origin.layer, loser.reason) for loser in why.losers]
    assert lost[:2] == [("env", "enforced"), ("user", "enforced")]


@pytest.mark.parametrize(
    "user",
    [
        "llm: {provider: anthropic}\n",
        "llm: {model: claude-sonnet-5-5}\n",
        "aliases: {team: 'qwen3:8b'}\n",
        "aliases: {team: {ollama: 'qwen3:8b'}}\n",
    ],
)
def test_what_changes_it_in_effect_loses_too(sandbox: Sandbox, user: str) -> None:
    """Another provider, and an alias on the way to the model."""
    sandbox.write(
        site="enforced: [llm.model]\nllm: {provider: ollama, model: team}\naliases: {team: 'llama3.2:3b'}\n", user=user
    )
    config = sandbox.load({**LOCAL, "ANTHROPIC_API_KEY": "sk-ant-example"})
    assert (config.llm.provider, config.llm.model_id) == ("ollama", "llama3.2:3b")
    assert [problem.code for problem in config.warnings] == ["enforced-key"]


@pytest.mark.parametrize(
    ("site", "user", "refused"),
    [
        # With a model its fallbacks are enforced, and none is one, too.
        ("enforced: [llm.model]\nllm: {model: 'a:1b'}\n", "llm: {fallbacks: ['b:1b']}\n", "llm.fallbacks"),
        ("enforced: [llm.fallbacks]\nllm: {fallbacks: ['a:1b']}\n", "llm: {fallbacks: ['b:1b']}\n", "llm.fallbacks"),
        # The model of a fallback.
        ("enforced: [llm.fallbacks]\nllm: {fallbacks: [fast]}\n", "aliases: {fast: 'b:1b'}\n", "aliases.fast"),
        # An alias for a provider that is not in force.
        (
            "enforced: [aliases.team]\naliases: {team: coder, coder: {ollama: 'a:1b', openai: gpt-5}}\n",
            "aliases: {coder: {groq: llama}}\n",
            "aliases.coder",
        ),
        # What a provider uses may be written under `llm`.
        (
            "enforced: [providers.ollama.base_url]\nproviders: {ollama: {base_url: 'http://gpu:1'}}\n",
            "llm: {base_url: 'http://other:1'}\n",
            "llm.base_url",
        ),
        (
            "enforced: [providers.ollama]\nproviders: {ollama: {parameters: {top_p: 0.5}}}\n",
            "llm: {parameters: {seed: 1}}\n",
            "llm.parameters",
        ),
        # Headers may hold a credential: they go where the operator sends them.
        (
            "enforced: [providers.ollama.headers]\nproviders: {ollama: {headers: {X-Auth: k}}}\n",
            "llm: {base_url: 'http://other:1'}\n",
            "llm.base_url",
        ),
        # Of an address of two keys one has no value in local mode.
        ("enforced: [redis.password]\nredis: {password: secret-1}\n", "redis: {port: 1}\n", "redis.port"),
    ],
)
def test_what_has_an_effect_elsewhere_loses_too(sandbox: Sandbox, site: str, user: str, refused: str) -> None:
    """Fallbacks, what an alias is for others, a provider's values under `llm`, and where credentials are sent."""
    sandbox.write(site=site)
    alone = sandbox.load(LOCAL)
    sandbox.write(user=user)
    config = sandbox.load(LOCAL)
    assert [(problem.code, problem.key) for problem in config.warnings] == [("enforced-key", refused)]
    assert config.to_dict()["llm"] == alone.to_dict()["llm"]
    for key in ("llm.fallbacks", "llm.base_url", "redis.port"):
        assert config.value(key) == alone.value(key)


def test_a_users_own_key_does_not_replace_an_enforced_one(sandbox: Sandbox) -> None:
    """An `llm.api_key` that would come before it: in a variable, and in an override."""
    sandbox.write(site="enforced: [providers.anthropic.api_key]\nproviders: {anthropic: {api_key: {env: K}}}\n")
    config = sandbox.load({"MODE": "cloud", "K": "sk-ant-operator-1", "STIGMER_LLM_API_KEY": "sk-ant-mine-1"})
    assert revealed(config.llm.api_key) == "sk-ant-operator-1"
    with pytest.raises(ConfigError, match="enforced-key"):
        config.override({"llm.api_key": "sk-ant-mine-1"})


def test_what_changes_nothing_stays(sandbox: Sandbox) -> None:
    """The same value, and a parameter that is not enforced."""
    sandbox.write(
        site="enforced: [llm.model]\nllm: {model: 'llama3.2:3b'}\n",
        user="llm: {model: 'llama3.2:3b', temperature: 0.5}\n",
    )
    config = sandbox.load(LOCAL)
    assert (config.warnings, config.llm.temperature) == ((), 0.5)


def test_a_part_of_an_enforced_mapping_changes_nothing(sandbox: Sandbox) -> None:
    """An alias's target for one provider, as the site's is."""
    sandbox.write(
        site="enforced: [aliases.team]\naliases: {team: {ollama: 'a:1b', openai: gpt-5}}\n",
        user="aliases: {team: {ollama: 'a:1b'}}\n",
    )
    config = sandbox.load(LOCAL)
    assert (config.warnings, config.meaning("team")["openai"]) == ((), "gpt-5")


def test_an_enforced_credential_goes_only_where_the_operator_sends_it(sandbox: Sandbox) -> None:
    """An address above it would take the key elsewhere: it loses."""
    sandbox.write(
        site="enforced: [providers.anthropic.api_key, backend.api_key]\n"
        "providers: {anthropic: {api_key: {env: K}}}\nbackend: {api_key: {env: B}}\n",
        user="llm: {provider: anthropic, base_url: 'https://gateway.example'}\nbackend: {endpoint: 'gw.example:1'}\n",
    )
    config = sandbox.load({"MODE": "cloud", "K": "sk-ant-operator-1", "B": "backend-operator-1"})
    assert config.llm.api_key is not None
    assert (config.llm.api_key.reveal(), config.llm.base_url) == ("sk-ant-operator-1", "https://api.anthropic.com")
    assert config.backend.endpoint == "localhost:8080"
    assert {problem.key for problem in config.warnings} == {"llm.base_url", "backend.endpoint"}


def test_an_override_that_would_change_it_raises(sandbox: Sandbox) -> None:
    """By `override()` and by `load(overrides=…)`; one that changes nothing is taken."""
    sandbox.write(site="enforced: [llm.model, llm.temperature]\nllm: {model: 'llama3.2:3b', temperature: 0.1}\n")
    config = sandbox.load(LOCAL)
    for change in ({"llm.model": "fast2:1b"}, {"llm.provider": "openai"}, {"llm.temperature": 0.9}):
        with pytest.raises(ConfigError, match="enforced-key"):
            config.override(change)
    assert config.override({"llm.max_tokens": 5, "llm.temperature": 0.1}).llm.max_tokens == 5
    with pytest.raises(ConfigError, match="enforced-key"):
        sandbox.load(LOCAL, overrides=[{"llm.temperature": 0.9}])


def test_the_mode_is_enforced_in_the_site_file(sandbox: Sandbox) -> None:
    """It goes before `--mode` and MODE."""
    sandbox.write(site="enforced: [mode]\nmode: local\n", user="mode: cloud\n")
    config = sandbox.load({"MODE": "cloud"}, mode="cloud")
    assert (config.mode, config.llm.provider) == ("local", "ollama")
    assert [problem.code for problem in config.warnings] == ["enforced-key"] * 3
    shown = sandbox.show("--mode", "cloud", variables={"MODE": "cloud"})
    assert shown["mode"] == "local"


@pytest.mark.parametrize("layer", ["user", "project", "flags"])
def test_only_an_operator_enforces(sandbox: Sandbox, layer: str) -> None:
    """Elsewhere it is an error; what it lists is not enforced."""
    text = "enforced: [llm.model]\n"
    arguments: dict[str, Any] = {"flags": {"enforced": ["llm.model"]}} if layer == "flags" else {}
    sandbox.write(user=text if layer == "user" else None, project=text if layer == "project" else None)
    code = "forbidden-in-project" if layer == "project" else "forbidden-here"
    assert told(sandbox, **arguments) == [(code, "enforced", layer)]
    assert sandbox.read(LOCAL, **arguments).config.enforced == ()


def test_a_listed_key_without_a_value_is_a_warning(sandbox: Sandbox) -> None:
    """Nothing is enforced then; an unknown name is an error."""
    sandbox.write(site="enforced: [sandbox]\n", user="sandbox: {root_dir: /x}\n")
    assert told(sandbox) == [("enforced-key", "enforced", "site")]
    assert sandbox.load(LOCAL).sandbox.root_dir == "/x"
    sandbox.write(site="enforced: [llm.modle]\nllm: {model: 'llama3.2:3b'}\n")
    assert ("unknown-key", "enforced", "site") in told(sandbox)


def test_a_worker_follows_what_is_enforced(sandbox: Sandbox) -> None:
    """A list that comes takes the values above out of force, and gives them back when it goes."""
    sandbox.write(site="llm: {model: 'llama3.2:3b'}\n", user=f"{LOCAL_FILE}llm: {{model: 'gemma3:4b'}}\n")
    with living(sandbox) as live:
        assert live.current.llm.model == "gemma3:4b"
        save(sandbox.site_file, "enforced: [llm.model]\nllm: {model: 'llama3.2:3b'}\n")
        assert until(lambda: live.current.llm.model == "llama3.2:3b")
        save(sandbox.site_file, "llm: {model: 'llama3.2:3b'}\n")
        assert until(lambda: live.current.llm.model == "gemma3:4b")


def test_the_commands_show_it(sandbox: Sandbox) -> None:
    """`show`, `explain` and `set` say that a value is enforced."""
    sandbox.write(site="enforced: [llm.timeout]\nllm: {timeout: 9}\n", user="llm: {timeout: 3}\n")
    document = json.loads(sandbox.run("show", "--origin", "--format", "json", variables=LOCAL).stdout)
    assert document["values"]["llm.timeout"]["shadowed"][0]["reason"] == "enforced"
    assert document["values"]["enforced"]["value"] == ["llm.timeout"]
    said = sandbox.run("explain", "llm.timeout", variables=LOCAL)
    assert "the site file or the store enforces another value" in said.stdout
    said = sandbox.run("set", "llm.timeout", "4", variables=LOCAL)
    assert "enforced" in said.stdout + said.stderr
