"""Searches for configuration files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from ..core.environment import Environment
from ..files.paths import real_path

FILE = "config.yaml"


class Project(msgspec.Struct, frozen=True):
    """The project's file; or the path where it would be, and why there is none."""

    path: str
    why_none: str | None = None
    named: bool = False


NO_HOME = "there is no home: HOME is not set, and this user has no entry in the password file"
NO_FOLDER = "the working folder is gone"


def site_file(environment: Environment) -> tuple[str, bool]:
    """The path of the site file, and whether a variable names it (then it must exist)."""
    named = environment.variable("STIGMER_SITE_CONFIG")
    return (environment.absolute(named), True) if named else (os.path.join(environment.site_dir, FILE), False)


def user_file(environment: Environment) -> str:
    """The user's file: `~/.stigmer/config.yaml`, or `config.yaml` in `STIGMER_HOME`; "" without either folder."""
    named = environment.variable("STIGMER_HOME")
    if named is not None:
        return os.path.join(environment.absolute(named), FILE)
    return os.path.join(environment.home, ".stigmer", FILE) if environment.home is not None else ""


def project_file(environment: Environment, project_dir: Path | Literal[False] | None) -> Project:
    """The project's file: in the given folder, else in the nearest ancestor that has one.

    The search stops at a git root, the home folder, a mount boundary or `/`. The user's own file is never a
    project's.
    """
    if project_dir is False:
        return Project("", "not asked for (--no-project)")
    if project_dir is not None:
        path = os.path.join(environment.absolute(project_dir), ".stigmer", FILE)
        return _unless_users(environment, Project(path, named=True))
    if environment.cwd is None:
        return Project("", NO_FOLDER)
    path = os.path.join(environment.cwd, ".stigmer", FILE)
    if os.path.lexists(path):  # checked first, because where a search would end takes more calls
        return _unless_users(environment, Project(path))
    end = ""
    for folder, stop in _folders_upwards(environment, environment.cwd):
        path = os.path.join(folder, ".stigmer", FILE)
        if os.path.lexists(path):
            return _unless_users(environment, Project(path))
        end = f"{folder} ({stop})"
    return Project(os.path.join(environment.cwd, ".stigmer", FILE), f"no .stigmer/{FILE} between here and {end}")


def new_project_file(environment: Environment) -> str:
    """The path for a new project's file: at the git root, else in the working folder; "" when that is gone."""
    if environment.cwd is None:
        return ""
    root = next((folder for folder, stop in _folders_upwards(environment, environment.cwd) if stop == _GIT_ROOT), None)
    path = os.path.join(root or environment.cwd, ".stigmer", FILE)
    user = user_file(environment)
    if root and user and real_path(path) == real_path(user):  # the home folder itself is a repository
        return os.path.join(environment.cwd, ".stigmer", FILE)
    return path


def looked_at(
    environment: Environment, project_dir: Path | Literal[False] | None, found: Project | None = None
) -> list[str]:
    """Every path that decides which files are read, and which a worker has to watch.

    These are the files themselves, the places where a nearer project's file could appear, and each `.git` that would
    end the search. `found` is the result of `project_file`.
    """
    paths = [path for path in (site_file(environment)[0], user_file(environment)) if os.path.isabs(path)]
    found = found or project_file(environment, project_dir)
    if project_dir is not None or environment.cwd is None:
        return [*paths, found.path] if os.path.isabs(found.path) else paths
    nearest = os.path.join(environment.cwd, ".stigmer", FILE)
    if found.why_none is None and found.path == nearest:  # checked first, as in `project_file`
        return [*paths, nearest]
    for folder, _ in _folders_upwards(environment, environment.cwd):
        paths.append(os.path.join(folder, ".stigmer", FILE))
        if paths[-1] == found.path and found.why_none is None:
            break
        paths.append(os.path.join(folder, ".git"))
    return paths


def _folders_upwards(environment: Environment, start: Path) -> Iterator[tuple[str, str | None]]:
    """The folders from `start` upwards that may contain a project's file; the last one with why the search ends."""
    home = real_path(environment.home) if environment.home is not None else ""
    folder = os.fspath(start)
    while True:
        parent = os.path.dirname(folder)
        stop = _stop(folder, parent, home)
        yield folder, stop
        if stop:
            return
        folder = parent


_GIT_ROOT = "a git root"


def _stop(folder: str, parent: str, home: str) -> str | None:
    """Why the search ends at `folder`, or None when it goes on."""
    if os.path.lexists(os.path.join(folder, ".git")):
        return _GIT_ROOT
    if real_path(folder) == home:
        return "the home folder"
    if parent == folder:
        return "the root folder"
    try:
        crossing = os.stat(folder).st_dev != os.stat(parent).st_dev
    except OSError:
        return "not readable above"
    return "a mount boundary" if crossing else None


def _unless_users(environment: Environment, project: Project) -> Project:
    user = user_file(environment)
    if user and _is_one_file(user, project.path):
        return Project(project.path, "it is the user file")
    return project


def _is_one_file(one: str, other: str) -> bool:
    """Whether two paths are equal once links are resolved."""
    with contextlib.suppress(OSError, ValueError):
        if not os.path.samestat(os.stat(one), os.stat(other)):
            return False  # the usual case, in two calls
    return real_path(one) == real_path(other)
