"""What `show --format yaml` and `env` print gives the same effective values again."""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import os
import subprocess
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from stigmer_config import Config, Secret
from stigmer_config.cli.output.export import Writer
from stigmer_config.cli.output.render import keys
from stigmer_config.settings.declarations import VARIABLES
from tests.support.cli_tools import OBEYED
from tests.support.sandbox import Sandbox
from tests.support.worlds import DAYS, World, declared_in_a_file, layers, sandboxed

# Any text a setting may hold: letters of all scripts, control characters, quotes, what a shell or YAML would obey.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)


def effective(config: Config, *, providers: bool = True) -> dict[str, Any]:
    """Every effective value, secrets revealed; aliases and providers' own settings only when asked for."""
    return {
        key: value.reveal() if isinstance(value, Secret) else value
        for key, value in config.effective()
        if providers or not key.startswith(("providers.", "aliases."))
    }


def written(config: Config, *, everything: bool, form: str = "yaml") -> str:
    writer = Writer(config, reveal=True, origins=False)
    shown = keys(config, everything=everything)
    return writer.yaml(shown, whole=True) if form == "yaml" else writer.shell(shown)


def sourced(text: str) -> dict[str, str]:
    """The variables that a POSIX shell has after sourcing `text`, and nothing of this process's."""
    script = 'set -a; eval "$1"; exec env -0'
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", text], env={"PATH": os.environ["PATH"]}, capture_output=True, check=True
    )
    pairs = (pair.partition(b"=") for pair in done.stdout.split(b"\0") if pair)
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


@settings(max_examples=60, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.data(), st.sampled_from(DAYS), st.booleans())
def test_yaml_output_as_the_only_file_gives_the_same_values(
    data: st.DataObject, today: datetime.date, everything: bool
) -> None:
    """Any layers that load, printed by show --format yaml --reveal, are the same as a user file on an empty machine."""
    mode, found = data.draw(layers(overrides=0))
    with sandboxed() as sandbox:
        loaded = World(sandbox, mode, found).read(today)
        assume(not loaded.errors)
        text = written(loaded.config, everything=everything)
    with sandboxed() as fresh:
        again = fresh.write(user=text + "\n").load(today=today)
    before, after = (effective(config, providers=everything) for config in (loaded.config, again))
    # A name that is another provider's, on an address that is no gateway any more, has one place: the provider's own.
    moved = f"providers.{loaded.config.llm.provider}.model"
    if before.get(moved) != after.get(moved) == loaded.config.llm.model:
        before[moved] = after[moved]
    assert after == before, text


def test_yaml_output_has_what_its_fallbacks_need(sandbox: Sandbox) -> None:
    """The key and the address of a fallback's provider, which is not the one in force."""
    sandbox.write(
        user="llm: {fallbacks: [gpt-4.1, 'lab:tiny']}\n"
        "providers: {lab: {kind: openai, base_url: 'http://localhost:9/v1', max_tokens: 7}}\n"
    )
    config = sandbox.load({"MODE": "local", "OPENAI_API_KEY": "sk-fallback"})
    with sandboxed() as fresh:
        fallbacks = fresh.write(user=written(config, everything=False) + "\n").load().llm.fallbacks
    assert fallbacks == config.llm.fallbacks


TEMPORAL = {
    "TEMPORAL_NAMESPACE": "temporal.namespace",
    "TEMPORAL_AGENT_EXECUTION_RUNNER_TASK_QUEUE": "temporal.task_queue",
}


@settings(max_examples=60)
@given(texts, texts, st.booleans())
def test_any_text_survives_yaml(namespace: str, root: str, everything: bool) -> None:
    """A text of any characters, those that YAML gives a meaning included, comes back from yaml output as it was."""
    with sandboxed() as sandbox:
        user = json.dumps({"mode": "local", "temporal": {"namespace": "x"}})
        before = sandbox.write(user=user).load(flags={"temporal.namespace": namespace, "sandbox.root_dir": root})
        text = written(before, everything=everything)
        assert not OBEYED.search(text)
        after = sandbox.write(user=text + "\n").load()
    assert (after.temporal.namespace, after.sandbox.root_dir) == (namespace, root)


@settings(max_examples=40)
@example(["-\x1f", "%s\n\n"], "utf-8")
@example(["'$(id)`id`\\", "~\t"], "ascii")
@given(st.lists(texts, min_size=2, max_size=2), st.sampled_from(["utf-8", "ascii"]))
def test_any_text_survives_a_shell(given_texts: list[str], encoding: str) -> None:
    """What a POSIX shell has after sourcing env output is the text that was in force; nothing in it is obeyed."""
    variables = dict(zip(TEMPORAL, given_texts, strict=True))
    with sandboxed() as sandbox:
        before = sandbox.load({"MODE": "local", **variables})
        with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), encoding=encoding)):
            text = written(before, everything=False, form="env")
        assert not OBEYED.search(text)
        assert encoding != "ascii" or text.isascii()
        found = sourced(text)
        after = sandbox.load({name: found[name] for name in found if name not in ("PWD", "PATH", "_", "SHLVL")})
    assert {name: found[name] for name in TEMPORAL} == variables
    assert effective(after) == effective(before)


@settings(max_examples=30, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.data(), st.sampled_from(DAYS))
def test_env_output_sourced_by_a_shell_gives_the_same_values(data: st.DataObject, today: datetime.date) -> None:
    """Any layers that load, printed by show --format env --reveal and sourced, over the same files: the same values."""
    mode, found = data.draw(layers(overrides=0))
    with sandboxed() as sandbox:
        world = World(sandbox, mode, declared_in_a_file(found))  # no variable declares a provider
        assume(not any(key.startswith("aliases.") for key in world.flags.values))  # no variable holds an alias
        loaded = world.read(today)
        assume(not loaded.errors)
        text = written(loaded.config, everything=False, form="env")
        # A variable cannot say none: what a lower layer sets and a higher one takes away is left to the layers.
        set_keys = {key for key, value in effective(loaded.config, providers=False).items() if value is not None}
        variables = {name: value for name, value in sourced(text).items() if name in VARIABLES}
        again = sandbox.read({**world.variables, **variables}, today=today).config
    before, after = (effective(config, providers=False) for config in (loaded.config, again))
    llm = loaded.config.llm
    skipped = {"llm.api_key"} if llm.kind == "ollama" else set()  # Ollama's has no variable
    if after["llm.model"] != before["llm.model"]:
        # Then the text would mean another model in a variable: the same model is written in a way that holds there.
        assert after["llm.model"] in (f"{llm.provider}:{llm.model_name}", llm.model_id)
        skipped |= {"llm.model", "llm.alias", "llm.model_name"}
    assert {key: after[key] for key in set_keys - skipped} == {key: before[key] for key in set_keys - skipped}, text


HARD = {
    "a name that is another provider's": (
        "llm: {provider: openai}\nproviders: {openai: {model: 'mistral:7b', api_key: k}}\n"
    ),
    "the same behind an alias": (
        "llm: {provider: openai}\nproviders: {openai: {model: mine, api_key: k}}\naliases: {mine: 'mistral:7b'}\n"
    ),
    "the same on a gateway": (
        "llm: {provider: openai, model: claude-x, base_url: 'https://gateway.example', api_key: k}\n"
    ),
    "a key for Ollama": "llm: {provider: ollama}\nproviders: {ollama: {api_key: k}}\n",
    "a provider named by the model alone": "llm: {model: 'openai:gpt-6-luna'}\nproviders: {openai: {api_key: k}}\n",
    "a retired model that only the package chose": "llm: {provider: anthropic}\nproviders: {anthropic: {api_key: k}}\n",
    "an alias with a full stop": "llm: {model: my.own-1}\naliases: {my.own-1: {ollama: 'tiny:1b'}}\n",
    "nulls": "llm: {provider: ollama, temperature: null, max_tokens: null}\nsandbox: {root_dir: null}\n",
}


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("everything", [False, True])
def test_what_is_hard_to_write_down_comes_back_from_yaml(sandbox: Sandbox, name: str, everything: bool) -> None:
    """Values that mean something else in another place are written where they mean the same."""
    today = datetime.date(2027, 6, 1)
    before = sandbox.write(user=f"mode: local\n{HARD[name]}").load(today=today)
    text = written(before, everything=everything)
    after = sandbox.write(user=text + "\n").load(today=today)
    assert effective(after, providers=everything) == effective(before, providers=everything), text


@pytest.mark.parametrize("name", [name for name in HARD if name != "nulls"])
def test_what_is_hard_to_write_down_comes_back_from_env(sandbox: Sandbox, name: str) -> None:
    """The same for variables beside the files: the same provider is asked for the same model at the same address."""
    today = datetime.date(2027, 6, 1)
    before = sandbox.write(user=f"mode: local\n{HARD[name]}").load(today=today)
    after = sandbox.load(sourced(written(before, everything=False, form="env")), today=today)
    for field in ("provider", "model_id", "base_url", "api_key", "max_tokens", "temperature"):
        assert getattr(after.llm, field) == getattr(before.llm, field), field
