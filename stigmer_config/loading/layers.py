"""The layers of one load, lowest first, and the mode that they choose."""

from __future__ import annotations

import os
from collections.abc import Iterable

import msgspec

from ..core.problems import Problem
from ..core.provenance import Entry, Layer, LayerName, Origin
from ..settings.declarations import SETTINGS
from ..settings.value_types import InvalidValueError
from ..sources.defaults import defaults_layer
from ..sources.discovery import NO_FOLDER, NO_HOME, Project, project_file, site_file, user_file
from ..sources.misplaced import misplaced_files
from .request import Request

# Where the mode of a running worker comes from once the layers would choose another.
_STARTING_MODE = Origin("flags", "the mode at the start")


def read_layers(asked: Request, problems: list[Problem]) -> list[Layer]:
    """Every layer of the cascade but the overrides, lowest first; their faults go to `problems`."""
    world = asked.environment
    vendor, env = asked.read_variables(world, asked.schema)
    project = asked.project or project_file(world, asked.project_dir)
    found: list[tuple[Layer, Iterable[Problem]]] = [
        vendor,
        _file(asked, "site"),
        *([_fleet(asked)] if world.variable("STIGMER_ETCD") else ()),
        _file(asked, "user"),
        _project(asked, project),
        env,
        _flags(asked),
    ]
    layers = [layer for layer, _ in found]
    for _, faults in found:
        problems += faults
    problems += misplaced_files(world, project)
    # A project's own mode is refused later, and never counts.
    mode = chosen_mode(layer for layer in layers if layer.name != "project")
    if asked.keep_mode not in (None, mode):
        mode = asked.keep_mode
        layers[-1] = _with_mode(layers[-1], Entry(mode, _STARTING_MODE))
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


def chosen_mode(layers: Iterable[Layer], *, kept: bool = True) -> str:
    """The mode the layers choose; `cloud` when none does. Without `kept`, the one to stay in does not count."""
    entries = [layer.entries["mode"] for layer in layers if "mode" in layer.entries]
    chosen = [entry.value for entry in entries if kept or entry.origin is not _STARTING_MODE]
    return str(chosen[-1]) if chosen else "cloud"


def _file(asked: Request, name: LayerName) -> tuple[Layer, Iterable[Problem]]:
    world = asked.environment
    path, named = site_file(world) if name == "site" else (user_file(world), False)
    if not path:
        return Layer(name, "", "absent", why=NO_HOME), []
    if not os.path.isabs(path):
        return without_start(name, path)
    return asked.read_layer(path, name, world.uid, named=named, schema=asked.schema)


def _fleet(asked: Request) -> tuple[Layer, Iterable[Problem]]:
    if asked.read_fleet is not None:
        return asked.read_fleet(asked.environment)
    from ..sources.etcd.layer import read_fleet  # most machines have no fleet

    return read_fleet(asked.environment, asked.schema)


def without_start(name: LayerName, path: str) -> tuple[Layer, list[Problem]]:
    """The layer of a file whose relative path starts at a folder that does not exist."""
    message = NO_HOME if path.startswith("~") else f"{path} is relative, and {NO_FOLDER}"
    hint = "write an absolute path, or change to a folder that exists"
    fault = Problem(code="unreadable-file", message=message, hint=hint, origin=Origin(name, path))
    return Layer(name, path, "error", why=message), [fault]


def _project(asked: Request, project: Project) -> tuple[Layer, Iterable[Problem]]:
    world = asked.environment
    if project.why_none is not None:
        return Layer("project", project.path, "absent", why=project.why_none), []
    if not os.path.isabs(project.path):
        return without_start("project", project.path)
    folder = os.path.dirname(os.path.dirname(project.path))
    if project.named and not os.path.isdir(folder):
        message = "there is no such folder"
        fault = Problem(code="unreadable-file", message=message, hint="mend the path", origin=Origin("project", folder))
        return Layer("project", project.path, "error", why=message), [fault]
    return asked.read_layer(project.path, "project", world.uid, schema=asked.schema)


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
