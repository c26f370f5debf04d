"""Environment variables → the `vendor` and the `env` layer. Names come from the declarations, never by splitting."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from ..core.environment import Environment
from ..core.problems import Problem, did_you_mean
from ..core.provenance import Entry, Layer, LayerName, Origin, Status
from ..settings.declarations import VARIABLES, Setting, find
from ..settings.providers import packaged_providers
from ..settings.value_types import InvalidValueError

# The fleet's store, and how it is entered: `fleet` reads them.
ETCD = "STIGMER_ETCD"
ETCD_FILES = ("STIGMER_ETCD_CACERT", "STIGMER_ETCD_CERT", "STIGMER_ETCD_KEY")
ETCD_USER = "STIGMER_ETCD_USER"
ETCD_PASSWORD = "STIGMER_ETCD_PASSWORD"  # noqa: S105 - a variable's name
SOURCE = "environment"


Variables = tuple[tuple[Layer, list[Problem]], tuple[Layer, list[Problem]]]


def variable_layers(environment: Environment) -> Variables:
    """The `vendor` and the `env` layer."""
    return vendor_layer(environment), env_layer(environment)


def vendor_variables() -> Iterator[tuple[str, tuple[str, ...]]]:
    """The variables that other tools own, by the key that they fill; the first that is set counts."""
    for provider, packaged in packaged_providers().items():
        yield f"providers.{provider}.api_key", packaged.key_variables
        yield f"providers.{provider}.base_url", packaged.url_variables


def vendor_layer(environment: Environment) -> tuple[Layer, list[Problem]]:
    """The `vendor` layer: each variable fills `providers.<its provider>.*`."""
    found: dict[str, tuple[str, str]] = {}
    for key, names in vendor_variables():
        for name in names:
            text = environment.variable(name)
            if text is not None:
                found[key] = (name, _ollama_url(text) if name == "OLLAMA_HOST" else text)
                break
    return _layer("vendor", found)


def env_layer(environment: Environment) -> tuple[Layer, list[Problem]]:
    """The `env` layer: the variables of section 2, and a warning for each `STIGMER_LLM_*` that is none."""
    found: dict[str, tuple[str, str]] = {}
    for name, setting in VARIABLES.items():
        text = environment.variable(name)
        if text is not None:
            found[setting.key] = (name, text)
    layer, problems = _layer("env", found)
    known = [name for name in VARIABLES if name.startswith("STIGMER_LLM_")]
    for name in sorted(environment.variables):
        if name.startswith("STIGMER_LLM_") and name not in VARIABLES and environment.variable(name):
            hint = did_you_mean(name, known, f"known: {', '.join(known)}")
            message = f"{name} is not a variable of stigmer and does nothing"
            origin = Origin("env", name)
            warning = Problem(severity="warning", code="unknown-variable", message=message, hint=hint, origin=origin)
            problems.append(warning)
    return layer, problems


def _layer(name: LayerName, found: dict[str, tuple[str, str]]) -> tuple[Layer, list[Problem]]:
    entries: dict[str, Entry] = {}
    problems: list[Problem] = []
    for key, (variable, text) in found.items():
        origin = Origin(name, variable)
        try:
            entries[key] = Entry(cast(Setting, find(key)).parse(text, variable), origin)
        except InvalidValueError as fault:
            problems.append(fault.problem(key, origin))
    status: Status = "error" if problems else "loaded" if entries else "empty"
    return Layer(name, SOURCE, status, entries), problems


def _ollama_url(host: str) -> str:
    """`OLLAMA_HOST` as Ollama's own client reads it (envconfig.Host); a bind address means loopback."""
    host = host.strip().strip("\"'")
    if host == "ollama.com":
        return "https://ollama.com:443"
    scheme, separator, rest = host.rpartition("://")
    scheme = scheme.lower() if separator else "http"
    port = {"http": "80", "https": "443"}.get(scheme, "") if separator else "11434"
    if "@" in rest:
        return f"{scheme}://{rest}"  # refused as it is, unseen
    address, slash, path = rest.partition("/")
    if address.startswith("["):
        name, _, given = address.partition("]")
        name, given = f"{name}]", given.removeprefix(":")
    elif address.count(":") == 1:
        name, _, given = address.partition(":")
    else:
        name, given = (f"[{address}]" if ":" in address else address), ""
    loopback = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - bind addresses, not bound here
    name = loopback.get(name, name)
    if not given.isdecimal() or int(given[:6]) > 65535:
        given = port  # as Ollama does
    return f"{scheme}://{name}:{given}{slash}{path}".rstrip("/")
