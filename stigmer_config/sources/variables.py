"""The `vendor` and the `env` layer, from environment variables. Their names are declared, never split."""

from __future__ import annotations

import functools
from typing import cast

import msgspec

from ..core.environment import Environment
from ..core.problems import Problem, has_errors
from ..core.provenance import Entry, Layer, LayerName, Origin, Status
from ..settings.declarations import BUILT_IN
from ..settings.interpolation import uninterpolated
from ..settings.packaged_providers import packaged_providers
from ..settings.schema import Schema, Setting
from ..settings.value_types import InvalidValueError
from .unknown_variables import unknown_variables

# The address and credentials of the fleet's store: `etcd.address` reads them.
ETCD = "STIGMER_ETCD"
ETCD_FILES = ("STIGMER_ETCD_CACERT", "STIGMER_ETCD_CERT", "STIGMER_ETCD_KEY")
ETCD_USER = "STIGMER_ETCD_USER"
ETCD_PASSWORD = "STIGMER_ETCD_PASSWORD"  # noqa: S105 - a variable's name
# Many programs read the variables of these keys, each with its own values.
_SHARED = frozenset({"logging.level", "logging.format"})
SOURCE = "environment"


Variables = tuple[tuple[Layer, list[Problem]], tuple[Layer, list[Problem]]]


def variable_layers(environment: Environment, schema: Schema = BUILT_IN) -> Variables:
    """The `vendor` and the `env` layer."""
    return vendor_layer(environment), env_layer(environment, schema)


@functools.cache
def vendor_variables() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The variables that other tools define, by the key that they set; the first one that is set counts."""
    return tuple(
        (f"providers.{provider}.{field}", names)
        for provider, packaged in packaged_providers().items()
        for field, names in (("api_key", packaged.key_variables), ("base_url", packaged.url_variables))
        if names
    )


def vendor_layer(environment: Environment) -> tuple[Layer, list[Problem]]:
    """The `vendor` layer: each variable sets a key of `providers.<its provider>`."""
    found: dict[str, tuple[str, str]] = {}
    for key, names in vendor_variables():
        for name in names:
            text = environment.variable(name)
            if text is not None:
                found[key] = (name, _ollama_url(text) if name == "OLLAMA_HOST" else text)
                break
    return _layer("vendor", found, BUILT_IN)


def env_layer(environment: Environment, schema: Schema = BUILT_IN) -> tuple[Layer, list[Problem]]:
    """The `env` layer: the settings' variables, and a warning for each `STIGMER_*` variable that nothing reads."""
    found: dict[str, tuple[str, str]] = {}
    for variable, setting in schema.variables.items():
        for name in (variable, setting.fallback_variable):
            text = environment.variables.get(name) if name else None
            if name and text:
                found[setting.key] = (name, text)
                break
    layer, problems = _layer("env", found, schema)
    return layer, [*problems, *unknown_variables(environment, schema.variables)]


def _layer(name: LayerName, found: dict[str, tuple[str, str]], schema: Schema) -> tuple[Layer, list[Problem]]:
    entries: dict[str, Entry] = {}
    problems: list[Problem] = []
    for key, (variable, text) in found.items():
        origin = Origin(name, variable)
        try:
            setting = cast(Setting, schema.find(key))
            entries[key] = Entry(setting.parse(text, variable), origin)
        except InvalidValueError as fault:
            problems.append(_fault(fault, key, origin, text))
            continue
        warning = uninterpolated(setting, entries[key].value, origin, key)
        problems += (warning,) if warning else ()
    status: Status = "error" if has_errors(problems) else "loaded" if entries else "empty"
    return Layer(name, SOURCE, status, entries), problems


def _fault(fault: InvalidValueError, key: str, origin: Origin, text: str) -> Problem:
    problem = fault.problem(key, origin)
    if key in _SHARED:
        hint = f"it counts as unset, as it may be meant for another program; {problem.hint}"
        return msgspec.structs.replace(problem, severity="warning", hint=hint)
    if key == "redis.port" and "://" in text:
        hint = (
            "Kubernetes sets it for a service called redis: give the pod enableServiceLinks: false, or set REDIS_PORT"
        )
        return msgspec.structs.replace(problem, hint=hint)
    return problem


def _ollama_url(host: str) -> str:
    """Parses `OLLAMA_HOST` like Ollama's own client (envconfig.Host); a bind address means loopback."""
    host = host.strip().strip("\"'")
    if host == "ollama.com":
        return "https://ollama.com:443"
    scheme, separator, rest = host.rpartition("://")
    scheme = scheme.lower() if separator else "http"
    port = {"http": "80", "https": "443"}.get(scheme, "") if separator else "11434"
    if "@" in rest:
        return f"{scheme}://{rest}"  # refused by the type later, without showing it
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
    if not (given.isascii() and given.isdecimal()) or int(given[:6]) > 65535:
        given = port  # like Ollama
    return f"{scheme}://{name}:{given}{slash}{path}".rstrip("/")
