"""Reads the layers of one load, lowest first, and determines the mode."""

from __future__ import annotations

import os
from collections.abc import Iterable

import msgspec

from ..core.layer_stack import LayerStack
from ..core.problems import Problem
from ..core.provenance import STARTING_MODE, Entry, Layer, LayerName, Origin
from ..settings.declarations import SETTINGS
from ..settings.schema import Schema
from ..settings.value_types import InvalidValueError
from ..sources.defaults import defaults_layer
from ..sources.discovery import NO_FOLDER, NO_HOME, Project, project_file, site_file, user_file
from ..trust.enforced_keys import enforced_mode
from .request import Request


def read_layers(request: Request, problems: list[Problem]) -> LayerStack:
    """Reads every layer except the overrides, lowest first; adds their problems to `problems`."""
    environment = request.environment
    vendor, env = request.read_variables(environment, request.schema)
    project = request.project or project_file(environment, request.project_dir)
    found: list[tuple[Layer, Iterable[Problem]]] = [
        vendor,
        _file(request, "site"),
        *([_fleet(request)] if environment.variable("STIGMER_ETCD") else ()),
        _file(request, "user"),
        _project(request, project),
        env,
        _flags(request),
    ]
    layers = LayerStack(layer for layer, _ in found)
    for _, faults in found:
        problems += faults
    problems += request.find_misplaced(environment, project)
    # A project's mode never counts, and is refused later.
    mode = enforced_mode(layers.find("site")) or chosen_mode(layers.without(layers.project))
    if request.keep_mode not in (None, mode):
        mode = request.keep_mode
        layers = layers.replace(layers[-1], _with_mode(layers[-1], Entry(mode, STARTING_MODE)))
    if mode == "local":
        layers = layers.replace(env[0], _without_redis(env[0], problems))
    return LayerStack([default_layer(mode, request.schema), *layers])


def default_layer(mode: str, schema: Schema) -> Layer:
    """The layer of the packaged defaults for a mode, with those of the applications."""
    layer = defaults_layer(mode)
    if schema.apps:
        from ..settings.apps import with_defaults  # imported late: most programs have no application

        layer = with_defaults(layer, schema)
    return layer


def _without_redis(env: Layer, problems: list[Problem]) -> Layer:
    """The variables' layer for local mode, which has no Redis: Kubernetes sets REDIS_PORT automatically.

    Problems of these variables are removed from `problems`.
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
    """The mode that the layers choose, by default `cloud`. Without `kept`, a worker's mode at its start is ignored."""
    entries = [layer.entries["mode"] for layer in layers if "mode" in layer.entries]
    chosen = [entry.value for entry in entries if kept or entry.origin is not STARTING_MODE]
    return str(chosen[-1]) if chosen else "cloud"


def _file(request: Request, name: LayerName) -> tuple[Layer, Iterable[Problem]]:
    environment = request.environment
    path, named = site_file(environment) if name == "site" else (user_file(environment), False)
    if not path:
        return Layer(name, "", "absent", why=NO_HOME), []
    if not os.path.isabs(path):
        return without_start(name, path)
    return request.read_layer(path, name, environment.uid, named=named, schema=request.schema)


def _fleet(request: Request) -> tuple[Layer, Iterable[Problem]]:
    if request.read_fleet is not None:
        return request.read_fleet(request.environment)
    from ..sources.etcd.layer import read_fleet  # imported late: most machines have no fleet

    return read_fleet(request.environment, request.schema)


def without_start(name: LayerName, path: str) -> tuple[Layer, list[Problem]]:
    """The layer of a file with a relative path, when the working folder does not exist."""
    message = NO_HOME if path.startswith("~") else f"{path} is relative, and {NO_FOLDER}"
    hint = "write an absolute path, or change to a folder that exists"
    fault = Problem(code="unreadable-file", message=message, hint=hint, origin=Origin(name, path))
    return Layer(name, path, "error", why=message), [fault]


def _project(request: Request, project: Project) -> tuple[Layer, Iterable[Problem]]:
    environment = request.environment
    if project.why_none is not None:
        return Layer("project", project.path, "absent", why=project.why_none), []
    if not os.path.isabs(project.path):
        return without_start("project", project.path)
    folder = os.path.dirname(os.path.dirname(project.path))
    if project.named and not os.path.isdir(folder):
        message = "there is no such folder"
        fault = Problem(code="unreadable-file", message=message, hint="fix the path", origin=Origin("project", folder))
        return Layer("project", project.path, "error", why=message), [fault]
    return request.read_layer(project.path, "project", environment.uid, schema=request.schema)


def _flags(request: Request) -> tuple[Layer, Iterable[Problem]]:
    layer, faults = request.flags
    if request.mode is None:
        return layer, faults
    origin = Origin("flags", request.mode_source)
    try:
        entry = Entry(SETTINGS["mode"].check(request.mode, "mode"), origin)
    except InvalidValueError as fault:
        return layer, [*faults, fault.problem("mode", origin)]
    return _with_mode(layer, entry), faults
