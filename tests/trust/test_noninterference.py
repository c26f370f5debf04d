"""No project's file moves a key: under overrides, over reloads, and granted without credentials, too."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from stigmer_config import Config, ConfigError, LiveConfig
from stigmer_config.loading.load import Loaded, read
from stigmer_config.loading.request import Request
from stigmer_config.reload.reloader import Reloader
from stigmer_config.settings.declarations import SETTINGS
from stigmer_config.settings.urls import origin_of
from stigmer_config.sources.config_file import file_layer
from stigmer_config.trust import grants
from tests.support.reference import PROVIDERS, Given, with_project_layer
from tests.support.sandbox import Sandbox
from tests.support.worlds import DAYS, World, layers, revealed, sandboxed, text
from tests.trust.test_vetting import project_files

OVERRIDES = st.one_of(
    st.builds(lambda provider: {"llm.provider": provider}, st.sampled_from([*PROVIDERS, "auto"])),
    st.builds(
        lambda model: {"llm.model": model},
        st.sampled_from(["fast", "mine", "anthropic:claude-opus-4.5", "gpt-4o", "x:1b", "my-tune"]),
    ),
    st.just({"llm.temperature": 0.5}),
)


def where(config: Config) -> tuple[str, str | None, str | None]:
    """The values that decide who is paid and who can read the prompt."""
    return config.llm.provider, revealed(config.llm.api_key), config.llm.base_url


def overridden(config: Config, values: dict[str, Any]) -> tuple[str, str | None, str | None] | None:
    try:
        return where(config.override(values))
    except ConfigError:
        return None


@given(world=layers(overrides=0), file=project_files, today=st.sampled_from(DAYS), override=OVERRIDES)
def test_under_an_override_key_and_endpoint_stay_together(
    world: tuple[str, list[Given]], file: dict[str, Any], today: datetime.date, override: dict[str, Any]
) -> None:
    """With the project's file an override sends a key only where it would without it."""
    mode, found = world
    with sandboxed() as sandbox:
        got, wanted = (World(sandbox, mode, with_project_layer(found, values)).read(today) for values in (file, {}))
        if got.errors or wanted.errors:
            return
        pairs = [overridden(loaded.config, override) for loaded in (got, wanted)]
        if pairs[0] is not None and pairs[0][1] is not None:
            # Its own aliases may name another model, never another taker of the key.
            trusted = {provider: where(wanted.config.override({"llm.provider": provider})) for provider in PROVIDERS if
                       overridden(wanted.config, {"llm.provider": provider}) is not None}  # fmt: skip
            assert pairs[0] in (pairs[1], trusted.get(pairs[0][0]))


@given(world=layers(overrides=0), file=project_files, today=st.sampled_from(DAYS))
def test_a_grant_without_credentials_sends_no_key_elsewhere(
    world: tuple[str, list[Given]], file: dict[str, Any], today: datetime.date
) -> None:
    """Whatever a trusted project names, a key that is used goes to the endpoint the trusted layers gave it for."""
    mode, found = world
    with sandboxed() as sandbox:
        built = World(sandbox, mode, with_project_layer(found, file))
        asked: Request = built.request(today)
        layer, _ = file_layer(str(sandbox.project_file), "project", asked.environment.uid)
        digest = grants.digest(grants.covered(layer))
        variables = {**asked.environment.variables, "STIGMER_TRUST_PROJECT": digest}
        trusting = msgspec.structs.replace(asked.environment, variables=variables)
        config = read(msgspec.structs.replace(asked, environment=trusting)).config
        sandbox.project_file.unlink()
        alone = read(asked).config
        if config.llm.api_key is not None and config.llm.base_url is not None:
            assert revealed(config.llm.api_key) in _keys_for(alone, config.llm.provider)
            own = alone.explain(f"providers.{config.llm.provider}.base_url").value
            urls = {alone.llm.base_url if alone.llm.provider == config.llm.provider else own, own}
            assert origin_of(config.llm.base_url) in {origin_of(url) for url in urls if url} | _moved_by_the_user(found)


@given(world=layers(overrides=0), granted=project_files, added=project_files, today=st.sampled_from(DAYS))
def test_over_reloads_what_is_added_to_a_granted_file_moves_nothing(
    world: tuple[str, list[Given]], granted: dict[str, Any], added: dict[str, Any], today: datetime.date
) -> None:
    """A worker's project: granted, then edited, then revoked. Requests go where the granted entries alone send them."""
    mode, found = world
    with sandboxed() as sandbox:
        without = World(sandbox, mode, with_project_layer(found, {})).read(today)
        asked = World(sandbox, mode, with_project_layer(found, granted)).request(today)
        layer, _ = file_layer(str(sandbox.project_file), "project", asked.environment.uid)
        trust = grants.Trust(frozenset(grants.covered(layer)))
        grants.record(asked.environment, layer)
        reloader = Reloader(asked)
        reloader.first()

        sandbox.write(project=text({**added, **granted})[0])
        edited = _settled(reloader, sandbox.project_file)
        fresh = read(asked)
        assert (where(edited.config), edited.errors) == (where(fresh.config), fresh.errors)
        project = edited.layers.project
        if project is not None and project.granted:
            sandbox.write(project=text({key: granted[key] for key in granted if key in trust.covered})[0])
            assert where(edited.config) == where(read(msgspec.structs.replace(asked, trust=trust)).config)
            sandbox.write(project=text({**added, **granted})[0])

        grants.revoke(asked.environment, str(sandbox.project_file))
        revoked = _settled(reloader, grants.path_of(asked.environment, str(sandbox.project_file)))
        assert where(revoked.config) == where(without.config)


def _settled(reloader: Reloader, changed: Path) -> Loaded:
    """The reload after a file was changed, once no reader waits for a writer."""
    loaded = reloader.read([changed])
    while reloader.waiting:
        loaded = reloader.read(list(reloader.waiting))
    return loaded


def _keys_for(config: Config, provider: str) -> set[str | None]:
    """The keys that the trusted layers have for a provider."""
    keys = {revealed(config.providers[provider].api_key)}
    explained = config.explain("llm.api_key")
    keys |= {revealed(value) for value in (explained.value, *(loser.value for loser in explained.losers))}
    return keys


def _moved_by_the_user(found: list[Given]) -> set[str]:
    """Every endpoint that a trusted layer names anywhere: switching back may find one of them again."""
    urls = [
        value for layer in found if layer.name != "project" for key, value in layer.values.items() if "base_url" in key
    ]
    return {origin_of(url) for url in urls if isinstance(url, str)}


def test_over_reloads_a_hostile_file_changes_nothing(sandbox: Sandbox) -> None:
    """A file that turns hostile while the worker runs is rejected whole: provider, key and endpoint stay."""
    sandbox.write(project="llm: {temperature: 0.1}\n")
    environment = sandbox.environment({"MODE": "cloud", "ANTHROPIC_API_KEY": "sk-ant-mine-1"})
    hostile = (
        "llm: {base_url: 'https://evil.example'}\n",
        "llm: {provider: openai}\n",
        "aliases: {claude-sonnet-4.5: 'openai:gpt-4o'}\n",
        "providers: {anthropic: {base_url: 'https://evil.example'}}\n",
        "llm: {api_key: sk-ant-theirs}\n",
        "mode: local\n",
    )
    with LiveConfig.start(environment=environment) as live:
        before = where(live.current)
        for number, text in enumerate(hostile):
            sandbox.write(project=text)
            live.reload()
            assert where(live.current) == before
            assert live.status.last_error is not None
            sandbox.write(project=f"llm: {{temperature: 0.{number + 2}}}\n")
            live.reload()
            assert where(live.current) == before
            assert not live.status.last_error


def test_every_setting_has_an_access_class_and_a_reload_class() -> None:
    """A setting without a class, or one that this test does not know, fails."""
    assert {setting.access for setting in SETTINGS.values()} == {"open", "protected", "secret", "forbidden"}
    assert {setting.reload for setting in SETTINGS.values()} == {"live", "restart"}
    secretive = {key for key in SETTINGS if key.endswith(("api_key", "password"))}
    assert secretive == {key for key, setting in SETTINGS.items() if setting.access == "secret"}
    assert all(
        SETTINGS[key].access == "protected" for key in SETTINGS if key.endswith(("base_url", "endpoint", "host"))
    )
