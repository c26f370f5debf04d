"""The packaged catalogue: known models as data, and how one is found."""

from __future__ import annotations

import datetime

import pytest

from stigmer_config.llm.catalogue import ModelFacts, catalogue
from tests.support.reference import PROVIDERS, belongs_to, models, packaged
from tests.support.sandbox import Sandbox

KEYS = {"ANTHROPIC_API_KEY": "k-anthropic", "OPENAI_API_KEY": "k-openai"}


def test_every_model_of_the_file_is_found_by_its_id_and_by_each_name() -> None:
    """What the file says, read by a YAML parser, is what the catalogue knows."""
    known = catalogue()
    for name, (provider, model_id, facts) in models().items():
        model = known.find(name)
        assert model is not None
        assert (model.provider, model.id, model.name) == (provider, model_id, facts.get("names", [model_id])[0])
        assert model.context == facts.get("context")
        assert model.output == facts.get("output")
        assert (model.temperature, model.tools, model.reasoning) == (
            facts.get("temperature"),
            facts.get("tools"),
            facts.get("reasoning"),
        )
        assert (str(model.retires) if model.retires else None) == facts.get("retires")
    assert {model.id for model in known.models} == {model_id for _, model_id, _ in models().values()}


def test_no_name_means_two_models() -> None:
    """Each id and each name is unique in the whole catalogue."""
    names = [name for model in catalogue().models for name in (model.id, *model.names)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("name", "model_id"),
    [
        ("claude-sonnet-4.5", "claude-sonnet-4-5-20250929"),
        ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
        ("claude-opus-4.5", "claude-opus-4-5-20251101"),
        ("claude-opus-4-5", "claude-opus-4-5-20251101"),
        ("claude-haiku-4.5", "claude-haiku-4-5-20251001"),
        ("claude-haiku-4-5", "claude-haiku-4-5-20251001"),
    ],
)
def test_friendly_names_have_dots_and_dashes_both(name: str, model_id: str) -> None:
    """What people write is found in either spelling."""
    found = catalogue().find(name, "anthropic")
    assert found is not None
    assert found.id == model_id


def test_a_model_is_its_providers_only() -> None:
    """Asked for another provider, it is unknown."""
    assert catalogue().find("gpt-4.1", "openai") is not None
    assert catalogue().find("gpt-4.1", "anthropic") is None
    assert catalogue().find("no-such-model") is None


def test_every_replacement_is_known_of_the_same_provider_and_leads_to_one_that_stays() -> None:
    """No retired model is left without a way, and no way goes in a circle."""
    known = catalogue()
    for model in known.models:
        if model.retires is None:
            continue
        successor = known.successor(model, model.retires)
        assert successor is not None, model.id
        assert successor.provider == model.provider
        left = successor.days_left(model.retires)
        assert left is None or left > 0


def test_what_replaces_a_model_takes_what_it_took() -> None:
    """A temperature and tools do not get lost on the way."""
    known = catalogue()
    for model in known.models:
        if model.replacement is None:
            continue
        new = known.find(model.replacement)
        assert new is not None
        assert new.temperature or not model.temperature
        assert new.tools or not model.tools


def test_days_left_counts_to_the_day_itself() -> None:
    """0 on the day, negative after it, None when nothing is announced."""
    day = datetime.date(2026, 11, 30)
    model = ModelFacts(retires=day)
    assert [model.days_left(day - datetime.timedelta(days=n)) for n in (60, 0, -1)] == [60, 0, -1]
    assert ModelFacts().days_left(day) is None


@pytest.mark.parametrize("mode", ["local", "cloud"])
def test_the_packages_own_choices_are_known_models(mode: str) -> None:
    """The model of every default and every built-in alias is in the catalogue, under its provider."""
    values = packaged(mode).values
    chosen = [(p, values[f"providers.{p}.model"]) for p in PROVIDERS]
    chosen += [row for name in ("fast", "balanced", "powerful") for row in values[f"aliases.{name}"].items()]
    for provider, name in chosen:
        assert catalogue().find(name, provider) is not None, (provider, name)


def test_a_bare_catalogue_name_belongs_where_the_catalogue_says(sandbox: Sandbox) -> None:
    """Every name of the catalogue, as a model alone, moves to its provider, patterns or not."""
    for provider in PROVIDERS:
        names = [name for name, (home, _, _) in models().items() if home == provider]
        assert names
        for name in names[::7]:
            variables = {"MODE": "local", "STIGMER_LLM_MODEL": name, **KEYS}
            llm = sandbox.read(variables).config.llm
            assert (llm.provider, llm.model_id) == (belongs_to(name), models()[name][1])


def test_the_facts_are_dated() -> None:
    """`as_of` is the date of the facts, and no retirement date is without one."""
    assert datetime.date(2026, 1, 1) <= catalogue().as_of <= datetime.date.max
