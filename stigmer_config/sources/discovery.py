"""Where configuration files are looked for, and the variables that name the fleet's store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

from ..core.environment import Environment
from ..files.paths import real_path

FILE = "config.yaml"


class Project(msgspec.Struct, frozen=True):
    """The project's file, or the place where one would be, and why there is none."""

    path: str
    why_none: str | None = None
    named: bool = False


def site_file(environment: Environment) -> tuple[str, bool]:
    """The site file, and whether a variable named it (then it must exist)."""
    named = environment.variable("STIGMER_SITE_CONFIG")
    return (named, True) if named else (os.path.join(environment.site_dir, FILE), False)


def user_file(environment: Environment) -> str:
    """The user's file: `~/.stigmer/config.yaml`, or the same in `STIGMER_HOME`."""
    folder = environment.variable("STIGMER_HOME") or os.path.join(environment.home, ".stigmer")
    return os.path.join(folder, FILE)


def project_file(environment: Environment, project_dir: Path | Literal[False] | None) -> Project:
    """The project's file: of the folder that is given, else of the nearest ancestor that has one.

    The search stops at a git root, the home folder, a mount boundary or `/`. A file that is the user's own
    is no project's.
    """
    if project_dir is False:
        return Project("", "not asked for (--no-project)")
    if project_dir is not None:
        path = os.path.join(os.path.abspath(os.path.join(environment.cwd, project_dir)), ".stigmer", FILE)
        return _unless_users(environment, Project(path, named=True))
    home = real_path(environment.home)
    folder = os.fspath(environment.cwd)
    while True:
        path = os.path.join(folder, ".stigmer", FILE)
        if os.path.lexists(path):
            return _unless_users(environment, Project(path))
        parent = os.path.dirname(folder)
        stop = _stop(folder, parent, home)
        if stop:
            wanted = os.path.join(environment.cwd, ".stigmer", FILE)
            return Project(wanted, f"no .stigmer/{FILE} from here up to {folder} ({stop})")
        folder = parent


def looked_at(environment: Environment, project_dir: Path | Literal[False] | None) -> list[str]:
    """Every path that decides which files are read: what a worker has to watch.

    Besides the files themselves: where a nearer project's file could appear, and the `.git` that would end
    the search.
    """
    paths = [site_file(environment)[0], user_file(environment)]
    found = project_file(environment, project_dir)
    if project_dir is not None:
        return [*paths, found.path] if found.path else paths
    folder = os.fspath(environment.cwd)
    home = real_path(environment.home)
    while True:
        paths.append(os.path.join(folder, ".stigmer", FILE))
        parent = os.path.dirname(folder)
        if paths[-1] == found.path and found.why_none is None:
            return paths
        paths.append(os.path.join(folder, ".git"))
        if _stop(folder, parent, home):
            return paths
        folder = parent


def _stop(folder: str, parent: str, home: str) -> str | None:
    """Why the search ends at `folder`, or None when it goes on."""
    if os.path.lexists(os.path.join(folder, ".git")):
        return "a git root"
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
    if real_path(user) == real_path(project.path):
        return Project(project.path, "it is the user file")
    return project
