"""A fleet's store without a server: what it holds is given, and a load takes it as it would take the real one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from stigmer_config import Environment, Problem
from stigmer_config.core.provenance import Layer
from stigmer_config.loading.load import Loaded, read
from stigmer_config.loading.request import Request, request
from stigmer_config.settings.declarations import CORE_PROVIDERS
from stigmer_config.sources.etcd.address import Fleet, fleet_of
from stigmer_config.sources.etcd.layer import etcd_layer
from stigmer_config.sources.etcd.snapshot import Stored, Value
from tests.support.sandbox import Sandbox

TLS = "https://etcd.example:2379/stigmer"
OPEN = "http://etcd.example:2379/stigmer"
REVISION = 7

Held = Mapping[str, str | bytes]


def stored(held: Held) -> Stored:
    """A store in which each key was written at its own revision, from REVISION on."""
    rows = [(name, text.encode() if isinstance(text, str) else text) for name, text in held.items()]
    values = {name: Value(data, REVISION + number) for number, (name, data) in enumerate(rows)}
    return Stored(1, REVISION + len(rows), values)


def fleet(environment: Environment) -> Fleet:
    """The store that these variables name."""
    found, problems = fleet_of(environment)
    assert found is not None, problems
    return found


def reading(held: Held) -> Callable[[Environment], tuple[Layer, list[Problem]]]:
    """How a load takes this store."""
    return lambda environment: etcd_layer(fleet(environment), stored(held))


def with_store(asked: Request, held: Held, url: str) -> Request:
    """The same load with a fleet's store beside it."""
    variables = {**asked.environment.variables, "STIGMER_ETCD": url}
    world = msgspec.structs.replace(asked.environment, variables=variables)
    return msgspec.structs.replace(asked, environment=world, read_fleet=reading(held))


def load_store(
    sandbox: Sandbox,
    held: Held,
    variables: Mapping[str, str] | None = None,
    *,
    url: str = TLS,
    **arguments: Any,
) -> Loaded:
    """Everything loaded with this store, faults and all."""
    asked = request(environment=sandbox.environment(variables), **arguments)
    return read(with_store(asked, held, url))


def keys_of(values: Mapping[str, Any]) -> dict[str, str]:
    """The store that says what a file with these flat values says: one key for each, an alias in one or in several."""
    found: dict[str, str] = {}
    for key, value in values.items():
        if key.startswith("aliases.") and isinstance(value, dict) and len(value) != 1:
            found |= {f"aliases/{key[8:]}/{provider}": json.dumps(value[provider]) for provider in value}
        elif key.startswith("aliases."):
            found[f"aliases/{key[8:]}"] = json.dumps(value)
        else:
            found[key.replace(".", "/")] = json.dumps(value)
    assert set(CORE_PROVIDERS) == {"anthropic", "ollama", "openai"}
    return found
