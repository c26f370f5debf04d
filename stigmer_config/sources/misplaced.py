"""Warnings about files that are not read because their name or folder is slightly wrong."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

from ..core.environment import Environment
from ..core.problems import Problem, quoted
from ..core.provenance import LayerName, Origin
from .discovery import FILE, Project, looked_at, site_file, user_file

_MOST = 1000  # the most names of one folder that are checked
_ENDINGS = (".yaml", ".yml", ".json", ".toml")


def misplaced_files(environment: Environment, project: Project) -> list[Problem]:
    """A warning for each file with a name like `config.yml` where a `config.yaml` is expected and missing.

    Also for a `config.yaml` in the platform's user config folder, and a `STIGMER_HOME` that is not a folder.
    """
    user = user_file(environment)
    site, named = site_file(environment)
    wanted: list[tuple[LayerName, str]] = [] if named else [("site", site)]
    wanted += [("user", user)] if user else []
    if project.why_none is None or not project.path:
        wanted += [("project", project.path)] if project.path else []
    else:
        paths = looked_at(environment, None)
        wanted += [("project", path) for path in paths if path.endswith(FILE) and path not in (site, user)]
    found = [problem for layer, path in wanted for problem in _beside(layer, path)]
    return [*found, *_in_config_folder(environment, user), *_home(environment)]


def _beside(layer: LayerName, path: str) -> Iterator[Problem]:
    """The warnings about the folder of `path`."""
    if os.path.lexists(path):
        return
    folder = os.path.dirname(path)
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in itertools.islice(entries, _MOST))
    except OSError:
        return
    if FILE in names:  # created since it was looked for
        return
    for name in names:
        stem, ending = os.path.splitext(name.lower())
        if stem == "config" and ending in _ENDINGS:
            other = os.path.join(folder, name)
            hint = f"write {path}, in YAML" if ending == ".toml" else f"rename it: {_move(other, path)}"
            yield _warning(layer, other, f"{quoted(name)} is not read, only {FILE} is", hint)


def _in_config_folder(environment: Environment, user: str) -> Iterator[Problem]:
    if environment.config_dir is None or not user or os.path.lexists(user):
        return
    other = os.path.join(environment.config_dir, FILE)
    if other not in (user, site_file(environment)[0]) and os.path.isfile(other):
        hint = f"move it: mkdir -p {os.path.dirname(user)} && {_move(other, user)}"
        yield _warning("user", other, f"{quoted(other, 200)} is not read, your file is {quoted(user, 200)}", hint)


def _home(environment: Environment) -> Iterator[Problem]:
    """The warning about a `STIGMER_HOME` that is not a folder."""
    named = environment.variable("STIGMER_HOME")
    folder = os.path.dirname(user_file(environment)) if named else ""
    if not named or os.path.isdir(folder):
        return
    if os.path.lexists(folder):
        hint = f"name the folder of your {FILE}: STIGMER_HOME={os.path.dirname(folder)}"
        yield _warning("user", folder, f"STIGMER_HOME names {quoted(folder, 200)}, which is not a folder", hint)
    else:
        hint = "stigmer config init makes it, or unset STIGMER_HOME"
        yield _warning("user", folder, f"STIGMER_HOME names {quoted(folder, 200)}, which does not exist", hint)


def _move(source: str, target: str) -> str:
    import shlex  # most machines have no such file

    return f"mv {shlex.quote(source)} {shlex.quote(target)}"


def _warning(layer: LayerName, path: str, message: str, hint: str) -> Problem:
    origin = Origin(layer, path)
    return Problem(severity="warning", code="misplaced-file", message=message, hint=hint, origin=origin)
