"""`load()`: sources → layers → vetting → merge → resolution → Config."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..config.app_values import FAILED_CHECK
from ..config.config import Config
from ..core.environment import Environment
from ..core.layer_stack import LayerStack
from ..core.problems import ConfigError, Problem
from ..core.provenance import Status
from ..llm.catalogue import catalogue
from ..llm.combined_layers import combine
from ..llm.declared_providers import without_unknown_providers
from ..secrets.references import SecretResolver, Unopened
from ..settings.declarations import BUILT_IN
from ..settings.schema import Schema
from ..sources.checked_read import Contents, sized
from ..sources.config_file import file_layer, layer_of
from ..sources.discovery import user_file
from ..sources.mapping import Pairs
from ..sources.variables import env_layer
from ..trust import grants
from ..trust.enforced_keys import Policy, enforce, restrict_project
from ..trust.vetting import Vetted, vet
from .derivation import Derivation
from .layers import chosen_mode, default_layer, read_layers, without_start
from .overrides import read_override
from .request import ProjectDir, Request, request

STANDARD_INPUT = "<stdin>"
# Problems that may be mere consequences of another problem.
CONSEQUENCES = frozenset(
    {"missing-api-key", "missing-base-url", "alias-unavailable", "provider-mismatch", "model-retiring", "model-retired"}
)


class Loaded(msgspec.Struct, frozen=True):
    """The result of one load, with its problems. With errors, `config` has the values that could be determined.

    `wanted_mode` is the mode that the layers choose; a running worker keeps the one it started with.
    """

    config: Config
    layers: LayerStack
    problems: tuple[Problem, ...]
    wanted_mode: str
    derivation: Derivation

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "error")

    def config_or_raise(self) -> Config:
        """Returns the Config of a load without errors. Raises `ConfigError` with every problem."""
        if self.errors:
            raise ConfigError(self.problems)
        return self.config


def load(
    mode: str | None = None,
    project_dir: ProjectDir = None,
    flags: Mapping[str, Any] | None = None,
    overrides: Sequence[Mapping[str, Any]] | None = None,
    require: Iterable[str] = (),
    environment: Environment | None = None,
    apps: Iterable[type] = (),
) -> Config:
    """Reads every layer and returns a frozen Config.

    `mode`: `local` or `cloud`; takes precedence over every other source. `project_dir`: the project's folder; `False`:
    no project; None: the nearest one from the working folder up. `flags`: a mapping, dotted or nested, above the
    variables. `overrides`: mappings as for `Config.override`, lowest first, above the flags. `require`: keys that must
    have a value. `environment`: the environment to load from, by default this process's. `apps`: applications' settings
    classes, made by `@app(…)`.

    Raises `ConfigError` with every problem of every layer, and `KeyError` for a flag or a required key that does not
    exist.
    """
    return read(request(mode, project_dir, flags, overrides, require, environment, apps)).config_or_raise()


def load_for_worker() -> Config:
    """Calls `load()`, with `backend.api_key` required in cloud mode, like the seed's worker."""
    loaded = read(request())
    if loaded.config.mode == "cloud":
        missing = _required(loaded.config, ("backend.api_key",))
        loaded = msgspec.structs.replace(loaded, problems=(*loaded.problems, *missing))
    return loaded.config_or_raise()


def read(request: Request, generation: int = 1) -> Loaded:
    """Loads. Problems are in the result and do not raise, except one that prevents merging (`ConfigError`)."""
    problems = list(request.app_problems)
    layers = read_layers(request, problems)
    return load_layers(request, layers, problems, generation)


def load_layers(request: Request, layers: LayerStack, problems: Iterable[Problem] = (), generation: int = 1) -> Loaded:
    """Loads from layers that are read already, with the problems of reading them."""
    problems = list(problems)
    layers, policy, refused = enforce(layers, catalogue(), request.environment.today, request.schema)
    problems += refused
    trust = request.trust or grants.decide(request.environment, layers.project)
    problems += trust.problems
    vetted = _vetted(layers, request.environment.today, problems, trust, request.schema, policy)
    overrides: list[Pairs] = []
    for values in request.overrides:
        pairs, faults = read_override(values, request.schema)
        overrides.append(pairs)
        problems += faults
    layers = vetted.combined.layers
    derivation = Derivation(
        chosen_mode(layers),
        vetted.combined,
        vetted.baseline,
        request.environment.today,
        overrides,
        request.opener or SecretResolver(request.environment, runs=request.runs_commands),
        request.schema,
        policy,
    )
    config = derivation.config(generation, ())
    used = {config.llm.provider, *(fallback.provider for fallback in config.llm.fallbacks)}
    problems, layers = _without_other_providers(problems, layers, used)
    problems += _causes(problems, derivation.problems)
    problems += _required(config, request.require)
    shown = _shown(problems, layers)
    warnings = tuple(problem for problem in shown if problem.severity == "warning")
    config = msgspec.structs.replace(config, warnings=warnings)
    return Loaded(config, layers, shown, chosen_mode(layers, kept=False), derivation)


def _shown(problems: list[Problem], layers: LayerStack) -> tuple[Problem, ...]:
    """The problems, errors first, each with the source line of its place."""
    if not problems:
        return ()
    from .excerpts import with_excerpts  # imported late: most loads have no fault

    return with_excerpts(problems, layers)


def _vetted(
    layers: LayerStack,
    today: datetime.date,
    problems: list[Problem],
    trust: grants.Trust = grants.NONE,
    schema: Schema = BUILT_IN,
    policy: Policy | None = None,
) -> Vetted:
    """The layers without entries that untrusted ones may not have, and without providers that do not exist."""
    layers = without_unknown_providers(layers, catalogue(), problems, trust.covered)
    vetted = vet(layers, catalogue(), today, trust, schema)
    if policy:
        vetted = restrict_project(policy, vetted, catalogue())
    problems += vetted.problems
    if not any(key.startswith("providers.") for layer in vetted.combined.layers for key in layer.refused):
        return vetted
    # A refused entry declares no provider.
    known = without_unknown_providers(vetted.combined.layers, catalogue(), [], trust.covered)
    if all(one is other for one, other in zip(known, vetted.combined.layers, strict=True)):
        return vetted
    combined = combine(known, catalogue(), vetted.baseline, trust.credentials)
    return vetted._replace(combined=combined)


def _without_other_providers(
    problems: list[Problem], layers: LayerStack, providers: set[str]
) -> tuple[list[Problem], LayerStack]:
    """Makes the fault of a vendor's variable a warning unless its provider is in force."""
    in_force = tuple(f"providers.{provider}." for provider in providers)
    judged = [
        msgspec.structs.replace(problem, severity="warning")
        if problem.origin is not None and problem.origin.layer == "vendor" and not problem.key.startswith(in_force)
        else problem
        for problem in problems
    ]
    vendor = layers.find("vendor")
    if vendor is None or vendor.status != "error":
        return judged, layers
    if any(p.severity == "error" and p.origin is not None and p.origin.layer == "vendor" for p in judged):
        return judged, layers
    status: Status = "loaded" if vendor.entries else "empty"
    return judged, layers.replace(vendor, msgspec.structs.replace(vendor, status=status))


def _causes(found: list[Problem], derived: Iterable[Problem]) -> list[Problem]:
    """The derived problems, without those that may be mere consequences of an earlier problem."""
    unsure = any(
        problem.severity == "error"
        and problem.origin is not None
        and problem.origin.layer != "project"
        and (not problem.key or problem.key == "mode" or problem.key.startswith(("llm.", "providers.", "aliases.")))
        for problem in found
    )
    faulty = [problem.key for problem in found if problem.severity == "error" and problem.key.startswith("apps.")]
    return [
        problem
        for problem in derived
        if not (unsure and problem.code in CONSEQUENCES)
        and not (problem.code == FAILED_CHECK and any(key.startswith(f"{problem.key}.") for key in faulty))
    ]


def _required(config: Config, keys: Iterable[str]) -> list[Problem]:
    problems: list[Problem] = []
    for key in keys:
        if config.value(key) is None:
            setting = config.schema.find(key)
            variable = f"export {setting.variable}=…, or " if setting and setting.variable else ""
            hint = f"{variable}set {key} in ~/.stigmer/config.yaml"
            problems.append(Problem(code="missing-value", key=key, message="is required here", hint=hint))
    return problems


def read_alone(
    environment: Environment, file: Path, mode: str | None, data: bytes | None = None, schema: Schema = BUILT_IN
) -> Loaded:
    """Loads one file over the packaged defaults alone. With `data` (from standard input) no file is opened.

    `.stigmer/config.yaml` is read as a project's file, unless it is the user's own; any other as a user's.
    Everything else on this machine is ignored: variables except MODE, other files, the file's permissions, and secrets
    that the file refers to. A missing API key is no problem.
    """
    path = environment.absolute(file)
    is_project = path.endswith(os.path.join("", ".stigmer", "config.yaml")) and path != user_file(environment)
    name: Literal["project", "user"] = "project" if is_project else "user"
    if data is not None:
        contents = sized(STANDARD_INPUT, "user", data) or Contents(data)
        layer, found = layer_of(contents, STANDARD_INPUT, "user", schema=schema)
    elif os.path.isabs(path):
        layer, found = file_layer(path, name, environment.uid, named=True, schema=schema)
    else:
        layer, found = without_start(name, path)
    problems = [problem for problem in found if problem.code != "insecure-permissions"]
    env, faults = env_layer(environment)
    env = msgspec.structs.replace(env, entries={key: entry for key, entry in env.entries.items() if key == "mode"})
    problems += (problem for problem in faults if problem.key == "mode")
    chosen = mode or chosen_mode([env] if is_project else [layer, env])
    defaults = default_layer(chosen, schema)
    vetted = _vetted(LayerStack([defaults, layer, env]), environment.today, problems, schema=schema)
    layers = vetted.combined.layers
    unopened = Unopened(environment)
    derivation = Derivation(chosen, vetted.combined, vetted.baseline, environment.today, (), unopened, schema)
    problems += (p for p in _causes(problems, derivation.problems) if p.code != "missing-api-key")
    shown = _shown(problems, layers)
    return Loaded(derivation.config(1, shown), layers, shown, chosen, derivation)
