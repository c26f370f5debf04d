"""One value's way, spelled out once: sources → layers → vetted → merged → resolved → Config."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..config.config import Config
from ..core.environment import Environment
from ..core.problems import ConfigError, Problem
from ..core.provenance import Layer
from ..llm.catalogue import catalogue
from ..llm.providers import judge
from ..secrets.references import Opener, Unopened
from ..settings.declarations import find
from ..sources.checked_read import Contents, sized
from ..sources.config_file import file_layer, layer_of
from ..sources.defaults import defaults_layer
from ..sources.discovery import user_file
from ..sources.mapping import Pairs
from ..sources.variables import env_layer
from ..trust import grants
from ..trust.vetting import vet
from .derivation import Derivation, read_override
from .excerpts import with_excerpts
from .layers import chosen_mode, read_layers, without_start
from .request import ProjectDir, Request, request

# One of these may be a mere consequence when what it judges by is itself broken.
STANDARD_INPUT = "<stdin>"
CONSEQUENCES = frozenset(
    {"missing-api-key", "missing-base-url", "alias-unavailable", "provider-mismatch", "model-retiring", "model-retired"}
)


class Loaded(msgspec.Struct, frozen=True):
    """One load, faults and all: what can be told stands in `config`, whether or not there are errors.

    `wanted_mode` is the mode that the layers choose; a worker stays in the one it started with.
    """

    config: Config
    layers: tuple[Layer, ...]
    problems: tuple[Problem, ...]
    wanted_mode: str

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "error")


def load(
    mode: str | None = None,
    project_dir: ProjectDir = None,
    flags: Mapping[str, Any] | None = None,
    overrides: Sequence[Mapping[str, Any]] | None = None,
    require: Iterable[str] = (),
    environment: Environment | None = None,
) -> Config:
    """Reads every layer and returns one frozen Config.

    `mode`: `local` or `cloud`, before every other way to choose it. `project_dir`: the project's folder;
    `False`: no project; None: the nearest one from the working folder up. `flags`: a mapping, dotted or
    nested, above the variables. `overrides`: mappings of `llm.*`, lowest first, above the flags. `require`:
    keys that must have a value. `environment`: the world to load from, by default this process's.

    Raises `ConfigError` with every problem of every layer, and `KeyError` for a flag or a required key that does not
    exist.
    """
    return settled(read(request(mode, project_dir, flags, overrides, require, environment)))


def load_for_worker() -> Config:
    """`load()`, with `backend.api_key` required in cloud mode, as the seed's worker does."""
    loaded = read(request())
    if loaded.config.mode == "cloud":
        missing = _required(loaded.config, ("backend.api_key",))
        loaded = msgspec.structs.replace(loaded, problems=(*loaded.problems, *missing))
    return settled(loaded)


def settled(loaded: Loaded) -> Config:
    """The Config of a load without errors. Raises `ConfigError` for one with."""
    if loaded.errors:
        raise ConfigError(loaded.problems)
    return loaded.config


def read(asked: Request, generation: int = 1) -> Loaded:
    """Loads what is asked for. Faults do not raise: they stand in the result."""
    problems: list[Problem] = []
    layers = read_layers(asked, problems)
    project = next(layer for layer in layers if layer.name == "project")
    trust = asked.trust or grants.decide(asked.environment, project)
    layers = judge(layers, catalogue(), problems, trust.covered)
    vetted, refused = _vetted(layers, asked.environment.today, trust)
    problems += refused
    vetted = judge(vetted, catalogue(), [], trust.covered)  # what was refused declares nothing
    overrides: list[Pairs] = []
    for values in asked.overrides:
        pairs, faults = read_override(values)
        overrides.append(pairs)
        problems += faults
    derivation = Derivation(
        chosen_mode(vetted),
        vetted,
        catalogue(),
        asked.environment.today,
        overrides,
        asked.opener or Opener(asked.environment, runs=asked.runs_commands),
        trust,
    )
    config = derivation.config(generation, ())
    problems, vetted = _without_other_providers(problems, vetted, config.llm.provider)
    problems += _causes(problems, derivation.problems)
    problems += _required(config, asked.require)
    shown = with_excerpts(problems, vetted)
    warnings = tuple(problem for problem in shown if problem.severity == "warning")
    config = msgspec.structs.replace(config, warnings=warnings)
    return Loaded(config, tuple(vetted), shown, chosen_mode(vetted, kept=False))


def _without_other_providers(
    problems: list[Problem], layers: list[Layer], provider: str
) -> tuple[list[Problem], list[Layer]]:
    """A vendor's variable that is faulty is an error only while its provider is in force, else a warning."""
    in_force = f"providers.{provider}."
    judged = [
        msgspec.structs.replace(problem, severity="warning")
        if problem.origin is not None and problem.origin.layer == "vendor" and not problem.key.startswith(in_force)
        else problem
        for problem in problems
    ]
    if any(p.severity == "error" and p.origin is not None and p.origin.layer == "vendor" for p in judged):
        return judged, layers
    return judged, [
        msgspec.structs.replace(layer, status="loaded" if layer.entries else "empty")
        if layer.name == "vendor" and layer.status == "error"
        else layer
        for layer in layers
    ]


def _vetted(layers: list[Layer], today: datetime.date, trust: grants.Trust) -> tuple[list[Layer], list[Problem]]:
    """The layers without what an untrusted one may not do, and what was refused."""
    problems: list[Problem] = []
    if any(layer.name == "etcd" and not layer.is_trusted for layer in layers):
        from ..trust.etcd_vetting import vet_store

        layers, problems = vet_store(layers, catalogue(), today)
    vetted, refused = vet(layers, catalogue(), today, trust)
    return vetted, [*problems, *refused]


def _causes(found: list[Problem], derived: Iterable[Problem]) -> list[Problem]:
    """The derived problems, without those that may only follow from a fault found before."""
    unsure = any(
        problem.severity == "error"
        and problem.origin is not None
        and problem.origin.layer != "project"
        and (not problem.key or problem.key == "mode" or problem.key.startswith(("llm.", "providers.", "aliases.")))
        for problem in found
    )
    return [problem for problem in derived if not (unsure and problem.code in CONSEQUENCES)]


def _required(config: Config, keys: Iterable[str]) -> list[Problem]:
    problems: list[Problem] = []
    for key in keys:
        if config.value(key) is None:
            setting = find(key)
            variable = f"export {setting.variable}=…, or " if setting and setting.variable else ""
            hint = f"{variable}set {key} in ~/.stigmer/config.yaml"
            problems.append(Problem(code="missing-value", key=key, message=f"{key} is required here", hint=hint))
    return problems


def read_alone(environment: Environment, file: Path, mode: str | None, data: bytes | None = None) -> Loaded:
    """One file by itself, over the packaged defaults. With `data` (from standard input) no file is opened.

    `.stigmer/config.yaml` is read as a project's file, unless it is the user's own; any other as a user's.
    Nothing of this machine counts: no variable but MODE, no other file, not who else could write the file, and no
    secret that the file refers to; a missing key is no fault.
    """
    path = environment.absolute(file)
    is_project = path.endswith(os.path.join("", ".stigmer", "config.yaml")) and path != user_file(environment)
    name: Literal["project", "user"] = "project" if is_project else "user"
    if data is not None:
        contents = sized(STANDARD_INPUT, "user", data) or Contents(data)
        layer, found = layer_of(contents, STANDARD_INPUT, "user")
    elif os.path.isabs(path):
        layer, found = file_layer(path, name, environment.uid, named=True)
    else:
        layer, found = without_start(name, path)
    problems = [problem for problem in found if problem.code != "insecure-permissions"]
    env, faults = env_layer(environment)
    env = msgspec.structs.replace(env, entries={key: entry for key, entry in env.entries.items() if key == "mode"})
    problems += (problem for problem in faults if problem.key == "mode")
    chosen = mode or chosen_mode([env] if is_project else [layer, env])
    layers = judge([defaults_layer(chosen), layer, env], catalogue(), problems)
    layers, refused = vet(layers, catalogue(), environment.today)
    layers = judge(layers, catalogue(), [])
    derivation = Derivation(chosen, layers, catalogue(), environment.today, (), Unopened(environment))
    problems += refused
    problems += (p for p in _causes(problems, derivation.problems) if p.code != "missing-api-key")
    shown = with_excerpts(problems, layers)
    return Loaded(derivation.config(1, shown), tuple(layers), shown, chosen)
