"""Section 3 of the contract, against its naive re-statement."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stigmer_config import Origin, Problem
from stigmer_config.loader import Loaded

from .conftest import Sandbox
from .reference import FIELDS, Given, Outcome, Place, effective
from .worlds import DAYS, World, layers, revealed, sandboxed

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
    assert {_fault(problem) for problem in loaded.problems} == expected.problems
    assert llm.provider == expected.provider
    assert _shown(config.explain("llm.provider").origin) == _place(world, expected.provider_place)
    assert (llm.model_id or None) == expected.model_id
    if expected.model_id is not None:
        assert (llm.model_name, llm.alias) == (expected.model_name, expected.alias)
    judged = [name for name in FIELDS if name != "api_key" or expected.values["base_url"] is not None]
    assert {name: revealed(getattr(llm, name)) for name in judged} == {name: expected.values[name] for name in judged}
    for name in judged:
        why = config.explain(f"llm.{name}")
        assert (name, _shown(why.origin)) == (name, _place(world, expected.places[name]))
        reasons = {"unused": "overridden", "unsupported": "dropped"}
        lost = [(_shown(loser.origin), reasons.get(loser.reason, loser.reason)) for loser in why.losers]
        assert (name, lost) == (name, [(_place(world, place), reason) for place, reason in expected.lost[name]])


@given(world=layers(), today=st.sampled_from(DAYS))
@settings(max_examples=400)
def test_any_layers_come_to_what_the_rules_say(world: tuple[str, list[Given]], today: datetime.date) -> None:
    """Over any layers: provider, values, places, losers, alias, model and problems are those of the rules."""
    mode, given_layers = world
    with sandboxed() as sandbox:
        built = World(sandbox, mode, given_layers)
        compare(built, built.read(today), effective(given_layers, today))
