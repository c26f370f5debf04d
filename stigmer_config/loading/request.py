"""The request of a load: the environment, the arguments, and how each source is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from ..config.config import RESOLVED
from ..core.environment import Environment
from ..core.masked_repr import MaskedRepr
from ..core.problems import Problem, quoted
from ..core.provenance import Layer, LayerName
from ..secrets.references import SecretResolver
from ..settings.declarations import BUILT_IN
from ..settings.schema import Schema
from ..sources import flags as flag_source
from ..sources.config_file import file_layer
from ..sources.discovery import Project
from ..sources.misplaced import misplaced_files
from ..sources.variables import Variables, variable_layers
from ..trust import grants

ProjectDir = str | Path | Literal[False] | None


class ReadLayer(Protocol):
    """Makes a layer from a file: `file_layer`, a cache, or a candidate's text."""

    def __call__(
        self, path: str, layer: LayerName, uid: int, *, named: bool = False, schema: Schema = BUILT_IN
    ) -> tuple[Layer, list[Problem]]: ...


class ReadFleet(Protocol):
    """Makes a layer from the fleet's store: read now, followed by a worker, or a candidate."""

    def __call__(self, environment: Environment) -> tuple[Layer, list[Problem]]: ...


class Request(MaskedRepr, frozen=True):
    """A request to load: the environment, and `load`'s arguments. `flags` is the flags layer with its problems.

    `schema` has the known settings. `read_layer` reads the files, `read_fleet` the fleet's store if `STIGMER_ETCD`
    names one (None: reads it now), and `read_variables` makes layers from the variables; `find_misplaced` searches for
    misplaced files. `project` is the project's file, if it is known already. `keep_mode` overrides the layers' mode: a
    worker keeps the one it started with. `opener` reads secret references, by default a new one, which runs commands if
    `runs_commands`. `trust` has the grants of the project's file, by default those of the record.
    """

    _shown = ("mode", "project_dir", "require", "environment")

    environment: Environment
    mode: str | None = None
    mode_source: str = "load(mode=…)"
    project_dir: Path | Literal[False] | None = None
    flags: tuple[Layer, tuple[Problem, ...]] = (Layer("flags", flag_source.SOURCE, "empty"), ())
    overrides: tuple[Mapping[str, Any], ...] = ()
    require: tuple[str, ...] = ()
    read_layer: ReadLayer = file_layer
    read_fleet: ReadFleet | None = None
    read_variables: Callable[[Environment, Schema], Variables] = variable_layers
    find_misplaced: Callable[[Environment, Project], list[Problem]] = misplaced_files
    project: Project | None = None
    keep_mode: str | None = None
    runs_commands: bool = True
    opener: SecretResolver | None = None
    trust: grants.Trust | None = None
    schema: Schema = BUILT_IN
    app_problems: tuple[Problem, ...] = ()


def request(
    mode: str | None = None,
    project_dir: ProjectDir = None,
    flags: Mapping[str, Any] | None = None,
    overrides: Sequence[Mapping[str, Any]] | None = None,
    require: Iterable[str] = (),
    environment: Environment | None = None,
    apps: Iterable[type] = (),
) -> Request:
    """`load`'s arguments as a Request.

    Raises `KeyError`, with the nearest key, for a required key or a flag that does not exist, and `TypeError` for
    classes in `apps` that `@app(…)` did not make.
    """
    schema = BUILT_IN
    if classes := tuple(apps):
        from ..settings.apps import schema_of  # imported late: most programs have no application

        schema = schema_of(classes)
    required = tuple(require)
    for key in required:
        if schema.find(key) is None and key not in RESOLVED:
            from ..settings.unknown import unknown_key

            raise unknown_key(key, schema)
    layer, problems = flag_source.from_call(flags, schema)
    for problem in problems:
        if problem.code == "unknown-key":
            raise KeyError(f"flags: there is no key {quoted(problem.key)}: {problem.hint}")
    return Request(
        environment=environment if environment is not None else Environment.capture(),
        mode=mode,
        project_dir=Path(project_dir) if isinstance(project_dir, str) else project_dir,
        flags=(layer, tuple(problems)),
        overrides=tuple(overrides or ()),
        require=required,
        schema=schema,
    )
