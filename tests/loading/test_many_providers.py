"""What providers cost that are declared and never used. Work is counted in function calls, never in time."""

from __future__ import annotations

import functools
import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from stigmer_config import Config
from stigmer_config.loading.layers import read_layers
from stigmer_config.loading.load import Loaded, load_layers
from stigmer_config.loading.request import request
from tests.support.sandbox import Sandbox
from tests.support.work import calls

LOCAL = {"MODE": "local"}
# Calls of Python and C functions, for a provider with five keys: a few passes over its keys.
MOST_CALLS = 90


def declared(count: int) -> str:
    """A user's file with that many providers, none of which is in force."""
    sections = (
        f"  p{n}:\n    kind: openai\n    base_url: https://p{n}.example/v1\n    model: m{n}\n"
        f"    api_key: {{env: KEY_{n}}}\n    headers: {{X-Team: agents}}\n"
        for n in range(count)
    )
    return "llm: {model: mine:1b}\n" + ("providers:\n" + "".join(sections) if count else "")


def kept_bytes(config: Config) -> float:
    """What one kept override costs."""
    config.override({"llm.model": "fast"})
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = [config.override({"llm": {"model": "fast", "max_tokens": 1000 + n}}) for n in range(500)]
        gc.collect()
        return (tracemalloc.get_traced_memory()[0] - before) / len(kept)
    finally:
        tracemalloc.stop()


def load_of(sandbox: Sandbox, count: int) -> Callable[[], Loaded]:
    """A load with that many declared providers, from layers that are read and validated."""
    sandbox.write(user=declared(count))
    asked = request(environment=sandbox.environment(LOCAL))
    layers = read_layers(asked, [])
    return lambda: load_layers(asked, layers)


@pytest.mark.parametrize("values", [{"llm.model": "fast"}, {"llm.temperature": 0.5}, {"llm.provider": "anthropic"}])
def test_an_override_does_the_same_work_however_many_there_are(sandbox: Sandbox, values: dict[str, Any]) -> None:
    """With 0, 10 and 100 declared providers it calls exactly as many functions."""
    found: set[int] = set()
    for count in (0, 10, 100):
        config = sandbox.write(user=declared(count)).load({**LOCAL, "ANTHROPIC_API_KEY": "k-anthropic"})
        found.add(calls(functools.partial(config.override, values)))
    assert len(found) == 1


def test_a_kept_override_costs_the_same_however_many_there_are(sandbox: Sandbox) -> None:
    """With 10 and 100 declared providers an override keeps what it keeps with none."""
    none, ten, hundred = (kept_bytes(sandbox.write(user=declared(count)).load(LOCAL)) for count in (0, 10, 100))
    assert max(ten, hundred) <= none * 1.05


def test_after_reading_a_load_does_little_for_each(sandbox: Sandbox) -> None:
    """Parsing and validation aside, the work grows evenly and by a few passes over a provider's keys."""
    none, ten, hundred = (calls(load_of(sandbox, count)) for count in (0, 10, 100))
    assert (hundred - ten) / 90 <= MOST_CALLS
    assert (hundred - ten) / 90 <= (ten - none) / 10 * 1.1


def test_a_providers_settings_are_those_of_its_section(sandbox: Sandbox) -> None:
    """They are put together when they are first read, and are what the file says."""
    config = sandbox.write(user=declared(100)).load(LOCAL)
    assert len(config.providers) >= 100
    one = config.providers["p7"]
    assert (one.kind, one.base_url, one.model) == ("openai", "https://p7.example/v1", "m7")
    assert config.providers["p7"] is one
    assert "p100" not in config.providers
    assert config == sandbox.load(LOCAL)
