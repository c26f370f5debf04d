"""One value's way, spelled out once: sources → layers → vetted → merged → resolved → Config."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from . import grants
from .catalogue import catalogue
from .config import RESOLVED, Config
from .derive import Derivation, read_override
from .environment import Environment
from .kinds import InvalidValueError
from .places import project_file, site_file, user_file
from .problems import ConfigError, Problem, excerpt
from .provenance import Entry, Layer, LayerName, Origin
from .references import Opener, Unopened
from .request import Request
from .settings import SETTINGS, find, suggest
from .sources import flags as flag_source
from .sources.defaults import defaults_layer
from .sources.entries import Pairs
from .sources.variables import env_layer
from .sources.yaml_file import file_layer
from .trust import vet

# Where the mode of a running worker comes from once the layers would choose another.
_KEPT_MODE = Origin("flags", "the mode at the start")
ProjectDir = str | Path | Literal[False] | None
# One of these may be a mere consequence when what it judges by is itself broken.
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

    Raises `ConfigError` with every problem of every layer.
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


def request(
    mode: str | None = None,
    project_dir: ProjectDir = None,
    flags: Mapping[str, Any] | None = None,
    overrides: Sequence[Mapping[str, Any]] | None = None,
    require: Iterable[str] = (),
    environment: Environment | None = None,
) -> Request:
    """`load`'s arguments as a Request. Raises `KeyError` for a required key that does not exist."""
    for key in require:
        if find(key) is None and key not in RESOLVED:
            raise KeyError(f"{key} is no key: did you mean {suggest(key)}?")
    layer, problems = flag_source.from_call(flags)
    return Request(
        environment=environment if environment is not None else Environment.capture(),
        mode=mode,
        project_dir=Path(project_dir) if isinstance(project_dir, str) else project_dir,
        flags=(layer, tuple(problems)),
        overrides=tuple(overrides or ()),
        require=tuple(require),
    )


def read(asked: Request, generation: int = 1) -> Loaded:
    """Loads what is asked for. Faults do not raise: they stand in the result."""
    problems: list[Problem] = []
    layers = _layers(asked, problems)
    project = next(layer for layer in layers if layer.name == "project")
    trust = asked.trust or grants.decide(asked.environment, project)
    vetted, refused = _vetted(layers, asked.environment.today, trust)
    problems += refused
    overrides: list[Pairs] = []
    for values in asked.overrides:
        pairs, faults = read_override(values)
        overrides.append(pairs)
        problems += faults
    derivation = Derivation(
        _mode(vetted),
        vetted,
        catalogue(),
        asked.environment.today,
        overrides,
        asked.opener or Opener(asked.environment, runs=asked.runs_commands),
        trust,
    )
    problems += _causes(problems, derivation.problems)
    config = derivation.config(generation, ())
    problems += _required(config, asked.require)
    shown = _with_excerpts(problems, vetted)
    warnings = tuple(problem for problem in shown if problem.severity == "warning")
    config = msgspec.structs.replace(config, warnings=warnings)
    return Loaded(config, tuple(vetted), shown, _mode(vetted, kept=False))


def _vetted(layers: list[Layer], today: datetime.date, trust: grants.Trust) -> tuple[list[Layer], list[Problem]]:
    """The layers without what an untrusted one may not do, and what was refused."""
    problems: list[Problem] = []
    if any(layer.name == "etcd" and not layer.is_trusted for layer in layers):
        from .store_trust import vet_store

        layers, problems = vet_store(layers, catalogue(), today)
    vetted, refused = vet(layers, catalogue(), today, trust)
    return vetted, [*problems, *refused]


def _layers(asked: Request, problems: list[Problem]) -> list[Layer]:
    """Every layer of the cascade but the overrides, lowest first; their faults go to `problems`."""
    world = asked.environment
    vendor, env = asked.read_variables(world)
    found: list[tuple[Layer, Iterable[Problem]]] = [
        vendor,
        _file(asked, "site"),
        *([asked.read_fleet(world)] if world.variable("STIGMER_ETCD") else ()),
        _file(asked, "user"),
        _project(asked),
        env,
        _flags(asked),
    ]
    layers = [layer for layer, _ in found]
    for _, faults in found:
        problems += faults
    # A project's own mode is refused later, and never counts.
    mode = _mode(layer for layer in layers if layer.name != "project")
    if asked.keep_mode not in (None, mode):
        mode = asked.keep_mode
        layers[-1] = _with_mode(layers[-1], Entry(mode, _KEPT_MODE))
    if mode == "local":
        layers = [_without_redis(layer, problems) if layer.name == "env" else layer for layer in layers]
    return [defaults_layer(mode), *layers]


def _without_redis(env: Layer, problems: list[Problem]) -> Layer:
    """The variables' layer where there is no Redis, whatever they say: Kubernetes sets REDIS_PORT unasked.

    What is wrong with them alone goes from `problems`.
    """
    faults = [problem for problem in problems if problem.origin is not None and problem.origin.layer == "env"]
    of_redis = [problem for problem in faults if problem.key.startswith("redis.")]
    problems[:] = [problem for problem in problems if problem not in of_redis]
    if env.status != "error" or any(fault not in of_redis and fault.severity == "error" for fault in faults):
        return env
    return msgspec.structs.replace(env, status="loaded" if env.entries else "empty")


def _with_mode(flags: Layer, mode: Entry) -> Layer:
    return msgspec.structs.replace(flags, entries={**flags.entries, "mode": mode}, status="loaded")


def _mode(layers: Iterable[Layer], *, kept: bool = True) -> str:
    """The mode the layers choose; `cloud` when none does. Without `kept`, the one to stay in does not count."""
    entries = [layer.entries["mode"] for layer in layers if "mode" in layer.entries]
    chosen = [entry.value for entry in entries if kept or entry.origin is not _KEPT_MODE]
    return str(chosen[-1]) if chosen else "cloud"


def _file(asked: Request, name: LayerName) -> tuple[Layer, Iterable[Problem]]:
    world = asked.environment
    home = world.variable("STIGMER_HOME")
    if name == "user" and home and not os.path.isabs(home):
        message = "STIGMER_HOME must be an absolute path"
        origin = Origin("user", home)
        fault = Problem(code="unreadable-file", message=message, hint="for example $HOME/.stigmer", origin=origin)
        return Layer("user", home, "error", why=message), [fault]
    path, named = site_file(world) if name == "site" else (user_file(world), False)
    return asked.read_layer(path, name, world.uid, named=named)


def _project(asked: Request) -> tuple[Layer, Iterable[Problem]]:
    world = asked.environment
    project = asked.project or project_file(world, asked.project_dir)
    if project.why_none is not None:
        return Layer("project", project.path, "absent", why=project.why_none), []
    folder = os.path.dirname(os.path.dirname(project.path))
    if project.named and not os.path.isdir(folder):
        message = "there is no such folder"
        fault = Problem(code="unreadable-file", message=message, hint="mend the path", origin=Origin("project", folder))
        return Layer("project", project.path, "error", why=message), [fault]
    return asked.read_layer(project.path, "project", world.uid)


def _flags(asked: Request) -> tuple[Layer, Iterable[Problem]]:
    layer, faults = asked.flags
    if asked.mode is None:
        return layer, faults
    origin = Origin("flags", asked.mode_source)
    try:
        entry = Entry(SETTINGS["mode"].check(asked.mode, "mode"), origin)
    except InvalidValueError as fault:
        return layer, [*faults, fault.problem("mode", origin)]
    return _with_mode(layer, entry), faults


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


def _with_excerpts(problems: list[Problem], layers: Sequence[Layer]) -> tuple[Problem, ...]:
    """The problems, errors first, with the source line under each that has a place."""
    files: dict[tuple[LayerName, str], Layer] = {
        (layer.name, layer.source): layer for layer in layers if layer.text is not None
    }
    shown = [
        msgspec.structs.replace(problem, excerpt=_excerpt(problem.origin, files)) if problem.origin else problem
        for problem in problems
    ]
    return tuple(sorted(shown, key=lambda problem: problem.severity != "error"))


def _excerpt(origin: Origin, files: Mapping[tuple[LayerName, str], Layer]) -> str | None:
    """The line of an origin with a caret under it; None where there is none or it may hold a secret."""
    layer = files.get((origin.layer, origin.source))
    if layer is None or origin.line is None or origin.column is None or origin.line in layer.secret_lines():
        return None
    line = dict(enumerate((layer.text or "").splitlines(), start=1)).get(origin.line)
    # Before an @ may stand the password of a URL.
    return None if line is None or "@" in line else excerpt(line, origin.column)


def read_alone(environment: Environment, file: Path, mode: str | None) -> Loaded:
    """One file by itself, over the packaged defaults.

    `.stigmer/config.yaml` is read as a project's file, unless it is the user's own; any other as a user's.
    Nothing of this machine counts: no variable but MODE, no other file, not who else could write the file, and no
    secret that the file refers to; a missing key is no fault.
    """
    path = os.path.abspath(os.path.join(environment.cwd, file))
    is_project = path.endswith(os.path.join("", ".stigmer", "config.yaml")) and path != user_file(environment)
    layer, found = file_layer(path, "project" if is_project else "user", environment.uid, named=True)
    problems = [problem for problem in found if problem.code != "insecure-permissions"]
    env, faults = env_layer(environment)
    env = msgspec.structs.replace(env, entries={key: entry for key, entry in env.entries.items() if key == "mode"})
    problems += (problem for problem in faults if problem.key == "mode")
    chosen = mode or _mode([env] if is_project else [layer, env])
    layers, refused = vet([defaults_layer(chosen), layer, env], catalogue(), environment.today)
    derivation = Derivation(chosen, layers, catalogue(), environment.today, (), Unopened(environment))
    problems += refused
    problems += (p for p in _causes(problems, derivation.problems) if p.code != "missing-api-key")
    shown = _with_excerpts(problems, layers)
    return Loaded(derivation.config(1, shown), tuple(layers), shown, chosen)
