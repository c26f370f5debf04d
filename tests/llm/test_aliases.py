"""Aliases: chains, cycles, mappings, and who may redefine them."""

from __future__ import annotations

import pytest
from hypothesis import given

from stigmer_config import Origin
from tests.support.reference import PROVIDERS, Given, chain, merged_aliases, prefix, without_prefix
from tests.support.sandbox import Sandbox
from tests.support.worlds import DAYS, World, layers, sandboxed

KEYS = {"ANTHROPIC_API_KEY": "k-anthropic", "OPENAI_API_KEY": "k-openai"}
LOCAL = {"MODE": "local", **KEYS}


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("alias", ["fast", "balanced", "powerful"])
def test_the_built_in_aliases_have_a_model_of_every_provider(sandbox: Sandbox, alias: str, provider: str) -> None:
    """Each of the three aliases loads for each of the three providers, and `llm.alias` keeps its name."""
    llm = sandbox.load({**LOCAL, "STIGMER_LLM_PROVIDER": provider, "STIGMER_LLM_MODEL": alias}).llm
    assert (llm.provider, llm.alias, llm.model) == (provider, alias, alias)
    assert llm.model_id
    assert alias not in (llm.model_name, llm.model_id)


def test_an_alias_follows_the_provider(sandbox: Sandbox) -> None:
    """The same alias under a new provider is that provider's model."""
    config = sandbox.load({**LOCAL, "STIGMER_LLM_MODEL": "fast"})
    assert config.llm.model_id == "llama3.2:3b"
    assert config.override({"llm.provider": "anthropic", "llm.model": "fast"}).llm.model_id.startswith("claude-haiku")


def test_a_chain_is_followed_to_its_end_and_explained(sandbox: Sandbox) -> None:
    """review → quick → fast → the model: each hop with its place."""
    sandbox.write(user="aliases:\n  quick: fast\n  review: quick\nllm: {model: review}\n")
    config = sandbox.load(LOCAL)
    assert (config.llm.alias, config.llm.model_name) == ("review", "llama3.2:3b")
    hops = config.explain("llm.model").hops
    assert [(hop.name, hop.target) for hop in hops] == [("review", "quick"), ("quick", "fast"), ("fast", "llama3.2:3b")]
    user = str(sandbox.user_file)
    assert [hop.origin for hop in hops[:2]] == [Origin("user", user, 3, 11), Origin("user", user, 2, 10)]
    assert hops[2].origin.layer == "defaults"


def test_a_models_name_follows_a_prefix(sandbox: Sandbox) -> None:
    """`ollama:fast` is Ollama's model of that name, not the alias."""
    llm = sandbox.load({**LOCAL, "STIGMER_LLM_MODEL": "ollama:fast"}).llm
    assert (llm.alias, llm.model_name, llm.model_id) == (None, "fast", "fast")


def test_any_layer_may_redefine_an_alias_and_mappings_merge(sandbox: Sandbox) -> None:
    """A mapping adds to the lower layers' mapping; a string replaces it."""
    sandbox.write(user="aliases: {fast: {ollama: 'mine:1b'}, balanced: 'mine:2b'}\n")
    config = sandbox.load(LOCAL)
    assert config.meaning("fast")["ollama"] == "mine:1b"
    assert (config.meaning("fast")["anthropic"] or "").startswith("claude-haiku")
    assert config.aliases["balanced"] == "mine:2b"


def test_aliases_of_higher_layers_count_for_lower_ones(sandbox: Sandbox) -> None:
    """A model string is looked up in the merged aliases of all layers."""
    sandbox.write(site="llm: {model: mine}\n", user="aliases: {mine: claude-opus-4.5}\n")
    llm = sandbox.load(LOCAL).llm
    assert (llm.provider, llm.model_id) == ("anthropic", "claude-opus-4-5-20251101")


def test_a_mapping_names_no_provider(sandbox: Sandbox) -> None:
    """A mapping with an entry only for Anthropic does not select it."""
    sandbox.write(user="aliases: {mine: {anthropic: claude-opus-4.5}}\nllm: {model: mine}\n")
    loaded = sandbox.read(LOCAL)
    assert loaded.config.llm.provider == "ollama"
    assert [(p.code, p.key) for p in loaded.errors] == [("alias-unavailable", "llm.model")]


def test_alias_unavailable_names_those_it_has(sandbox: Sandbox) -> None:
    """The message has the alias, the provider in force, and the providers the alias has."""
    sandbox.write(user="aliases:\n  mine: {anthropic: claude-opus-4.5, openai: gpt-5.4}\nllm:\n  model: mine\n")
    [problem] = sandbox.problems(LOCAL)
    assert problem.message == "the alias 'mine' has no entry for ollama; it has: anthropic, openai"
    assert problem.origin == Origin("user", str(sandbox.user_file), 4, 10)


def test_an_alias_that_is_not_used_needs_no_entry(sandbox: Sandbox) -> None:
    """Only the model in force must have one."""
    assert not sandbox.write(user="aliases: {mine: {anthropic: claude-opus-4.5}}\n").problems(LOCAL)


@pytest.mark.parametrize(
    ("user", "shown"),
    [
        ("aliases: {a: b, b: a}\n", "a → b → a"),
        ("aliases: {a: a}\n", "a → a"),
        ("aliases: {a: b, b: c, c: a}\n", "a → b → c → a"),
        ("aliases: {start: a, a: b, b: a}\n", "a → b → a"),
        ("aliases: {a: {openai: b}, b: {openai: a}}\n", "a → b → a"),
        ("aliases: {a: {ollama: 'mine:1b', openai: b}, b: a}\n", "a → b → a"),
    ],
)
def test_a_cycle_is_reported_once_used_or_not(sandbox: Sandbox, user: str, shown: str) -> None:
    """One error per cycle, with its steps, even if nothing uses the alias."""
    [problem] = sandbox.write(user=user).problems(LOCAL)
    assert (problem.code, problem.severity) == ("alias-cycle", "error")
    assert problem.message == f"the alias leads back to itself: {shown}"
    assert problem.key == f"aliases.{shown[0]}"


def test_two_cycles_are_two_errors(sandbox: Sandbox) -> None:
    """Each cycle is reported; an alias that leads into one is not another cycle."""
    sandbox.write(user="aliases: {a: a, b: c, c: b, in: a}\nllm: {model: in}\n")
    assert [p.message.rpartition(": ")[2] for p in sandbox.problems(LOCAL)] == ["a → a", "b → c → b"]


def test_a_long_chain_is_no_cycle(sandbox: Sandbox) -> None:
    """A thousand hops come to their end."""
    lines = [f"  a{n}: a{n + 1}" for n in range(1000)]
    sandbox.write(user="llm: {model: a0}\naliases:\n" + "\n".join(lines) + "\n  a1000: mine:1b\n")
    assert sandbox.load(LOCAL).llm.model_name == "mine:1b"


def test_an_alias_beats_the_model_of_its_name(sandbox: Sandbox) -> None:
    """Who redefines `gpt-4o` means it."""
    sandbox.write(user="aliases: {gpt-4o: 'mine:1b'}\nllm: {model: gpt-4o}\n")
    llm = sandbox.load(LOCAL).llm
    assert (llm.provider, llm.alias, llm.model_id) == ("ollama", "gpt-4o", "mine:1b")


@given(world=layers(project=False, overrides=0))
def test_what_an_alias_means_is_the_chains_end_per_provider(world: tuple[str, list[Given]]) -> None:
    """Over any layers: `meaning` is where the naive chain ends, without a foreign prefix, or None."""
    with sandboxed() as sandbox:
        config = World(sandbox, *world).read(DAYS[0]).config
    aliases = merged_aliases(world[1])
    assert set(config.aliases) == set(aliases)
    for name in aliases:
        ends = {provider: chain(name, aliases, provider).end for provider in PROVIDERS}
        meaning = config.meaning(name)
        assert {provider: meaning[provider] for provider in PROVIDERS} == {
            provider: None if end is None or prefix(end) not in (None, provider) else without_prefix(end)
            for provider, end in ends.items()
        }
