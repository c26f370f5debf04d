"""The applications that a command knows: by `--app`, and by entry points in the group `stigmer_config.apps`.

Their code is imported only if `apps` is in a layer of the user or the operator, or on the command line, and never from
the working folder or the project: both are removed from the import path first.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from ..core.environment import Environment
from ..core.problems import Problem, printable
from ..core.provenance import Origin
from ..files.paths import real_path
from ..settings.declarations import BUILT_IN
from ..settings.schema import Schema
from ..sources.discovery import project_file, site_file, user_file

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "stigmer_config.apps"


class KnownApps(msgspec.Struct, frozen=True):
    """The applications that a command knows, and a warning for each one that could not be loaded."""

    schema: Schema = BUILT_IN
    problems: tuple[Problem, ...] = ()


def mentions(arguments: Iterable[object]) -> bool:
    """Whether a command's arguments name a key or a section of an application."""
    for argument in arguments:
        if isinstance(argument, str) and (argument == "apps" or argument.startswith("apps.")):
            return True
        if isinstance(argument, (list, tuple)) and mentions(argument):
            return True
    return False


def applications(
    environment: Environment,
    project_dir: Path | Literal[False] | None,
    named: Sequence[str] = (),
    *,
    mentioned: bool = False,
) -> KnownApps:
    """The applications for one command; `named` are those of `--app`."""
    if not named and not mentioned and not _is_used(environment):
        return KnownApps()
    closed = _closed(environment, project_dir)
    sys.path[:] = [path for path in sys.path if not _is_inside(path or os.getcwd(), closed)]
    classes: list[type] = []
    problems: list[Problem] = []
    for source, entry in _entries(named):
        try:
            cls = _load(entry, closed)
        except _UnavailableError as error:
            problems.append(_warning(source, error.why, error.hint))
            continue
        if cls not in classes:
            classes.append(cls)
    return _schema(classes, problems)


def _is_used(environment: Environment) -> bool:
    """Whether a layer of the user or the operator has a section `apps`."""
    places = (("site", site_file(environment)[0]), ("user", user_file(environment)))
    for layer, path in places:
        try:
            with open(path, "rb") as file:
                if b"apps" not in file.read(64 * 1024):
                    continue
        except (OSError, ValueError):
            continue
        from ..sources.config_file import file_layer  # imported late: most files have no such section

        if file_layer(path, layer, environment.uid)[0].apps is not None:  # type: ignore[arg-type]
            return True
    if (environment.variable("STIGMER_ETCD") or "").startswith("https://"):
        from ..sources.etcd.layer import read_fleet  # imported late: most machines have no fleet

        return read_fleet(environment)[0].apps is not None
    return False


def _closed(environment: Environment, project_dir: Path | Literal[False] | None) -> list[str]:
    """The folders from which nothing is imported: the working folder and the project's."""
    folders = {real_path(os.getcwd())} if environment.cwd is not None else set()
    project = project_file(environment, project_dir)
    if project.path and project.why_none is None:
        folders.add(real_path(os.path.dirname(os.path.dirname(project.path))))
    return [folder for folder in folders if folder != os.sep]


def _own_folders() -> set[str]:
    """This interpreter's folders of installed packages, whose code could run anyway."""
    import sysconfig

    return {real_path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib", "platstdlib")}


def _is_inside(path: str, closed: Sequence[str]) -> bool:
    real = real_path(path)
    if not any(real == folder or real.startswith(os.path.join(folder, "")) for folder in closed):
        return False
    return not any(real == own or real.startswith(os.path.join(own, "")) for own in _own_folders())


class _UnavailableError(Exception):
    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why)
        self.why = why
        self.hint = hint


def _entries(named: Sequence[str]) -> Iterator[tuple[str, EntryPoint]]:
    """The entry points to import, with their names for messages."""
    from importlib.metadata import EntryPoint, distributions

    for name in named:
        yield f"--app {name}", EntryPoint(name="", value=name, group=GROUP)
    seen: set[str] = set()
    for distribution in distributions():
        package = distribution.metadata["Name"] or "a package without a name"
        for entry in distribution.entry_points:
            if entry.group == GROUP and entry.name not in seen:
                seen.add(entry.name)
                yield f"the package {package}", entry


def _load(entry: EntryPoint, closed: Sequence[str]) -> type:
    """The class of an entry point. Raises `_UnavailableError` for one that cannot or must not be imported."""
    import importlib.util

    module, separator, name = entry.value.partition(":")
    if not separator or not name.strip().isidentifier():
        raise _UnavailableError(f"{printable(entry.value)} is not module:Class", "write module:Class")
    try:
        with quiet():
            spec = importlib.util.find_spec(module.partition(".")[0])
            folders = [*(spec.submodule_search_locations or ()), spec.origin or ""] if spec is not None else []
            if any(folder and _is_inside(folder, closed) for folder in folders):
                raise _UnavailableError(
                    f"{module} is in the working folder or the project, and no code from there is imported",
                    "change to another folder, or install the package outside this one",
                )
            loaded = getattr(importlib.import_module(module), name.strip())
    except _UnavailableError:
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # no exception of an import, not even SystemExit, may end a command
        raise _UnavailableError(
            f"importing {module} raised {type(error).__name__}", f"python -c 'import {module}'"
        ) from error
    from ..settings.apps import app_of

    try:
        app_of(loaded)
    except TypeError as error:
        raise _UnavailableError(
            f"{entry.value} is no application's settings", "put @app(name) before the class"
        ) from error
    return loaded  # type: ignore[no-any-return]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Redirects an application's output to standard error, even on the descriptor: standard output is for data."""
    kept = sys.stdout
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    try:
        saved = os.dup(1)
    except OSError:
        saved = None
    try:
        if saved is not None:
            with contextlib.suppress(OSError):
                os.dup2(2, 1)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stdout = kept
        if saved is not None:
            os.dup2(saved, 1)
            os.close(saved)


def _schema(classes: list[type], problems: list[Problem]) -> KnownApps:
    """The schema of the classes, without those that contradict another."""
    from ..settings.apps import app_of, schema_of

    kept: list[type] = []
    for cls in classes:
        try:
            schema_of([*kept, cls])
        except TypeError as error:
            problems.append(_warning(app_of(cls).source, str(error), "uninstall one of them"))
            continue
        kept.append(cls)
    return KnownApps(schema_of(kept), tuple(problems))


def _warning(source: str, why: str, hint: str) -> Problem:
    message = f"{source}: its settings are unknown here: {why}"
    origin = Origin("flags", source) if source.startswith("--app") else None
    return Problem(severity="warning", code="app-unavailable", key="apps", message=message, hint=hint, origin=origin)
