"""A file's new bytes before they are written: loaded completely, and compared with the current load."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from ..core.masked_repr import MaskedRepr
from ..core.problems import Problem
from ..core.provenance import Layer, LayerName
from ..files.paths import real_path
from ..loading.load import CONSEQUENCES, Loaded, read
from ..loading.request import ReadLayer, Request
from ..settings.declarations import BUILT_IN
from ..settings.schema import Schema
from ..sources.checked_read import MAX_BYTES, Contents, failed, read_contents
from ..sources.config_file import layer_of
from ..sources.discovery import NO_FOLDER, NO_HOME, Project, new_project_file, project_file, user_file
from ..trust.grants import Trust
from .auto_trust import trust_after_edit

Scope = Literal["user", "project"]


class EditRejected(Exception):  # noqa: N818 - an answer, not a fault of ours
    """The edit was not made, because its result would have these `problems`."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


class NoTarget(Exception):  # noqa: N818 - the same
    """There is no file of that scope here. The message says why."""


class EditTarget(msgspec.Struct, frozen=True):
    """The file that is edited, and the load that it is a part of."""

    layer: Scope
    path: str
    request: Request

    @property
    def mode(self) -> int | None:
        """The permission bits to save it with; None keeps the file's own."""
        return 0o600 if self.layer == "user" else None

    def contents(self) -> Contents:
        """The file's current content, with the faults that prevent reading it."""
        return read_contents(self.path, self.layer, self.request.environment.uid)

    def load(self, contents: Contents, trust: Trust | None = None) -> Loaded:
        """Loads everything as if the file had this content (and the project these grants)."""
        before = self.request.read_layer

        def read_layer(
            path: str, layer: LayerName, uid: int, *, named: bool = False, schema: Schema = BUILT_IN
        ) -> tuple[Layer, list[Problem]]:
            if (path, layer) == (self.path, self.layer):
                return layer_of(contents, path, layer, named=named, schema=schema)
            return before(path, layer, uid, named=named, schema=schema)

        reading: ReadLayer = read_layer
        return read(msgspec.structs.replace(self.request, read_layer=reading, trust=trust))


class Candidate(MaskedRepr, frozen=True):
    """New bytes for a file, and the load with them.

    `layers` are the file's layer before and after; `trust` has the grants of a project's file after the write, None
    when the record already has them.
    """

    _shown = ("layers", "trust")

    data: bytes
    loaded: Loaded
    layers: tuple[Layer, Layer]
    trust: Trust | None


def candidate(target: EditTarget, contents: Contents, data: bytes) -> Candidate:
    """The candidate that replaces the file's content by `data`."""
    new = Contents(data)
    if len(data) > MAX_BYTES:
        message = f"it would be larger than {MAX_BYTES // 1024} KiB"
        new = failed(target.path, target.layer, message, "keep settings only in it", "too-large")
    before, after = (
        layer_of(one, target.path, target.layer, schema=target.request.schema)[0] for one in (contents, new)
    )
    trust = trust_after_edit(target.request.environment, before, after) if target.layer == "project" else None
    return Candidate(data, target.load(new, trust), (before, after), trust)


def target(request: Request, scope: Scope) -> EditTarget:
    """The file of a scope. Raises `NoTarget`."""
    if scope == "user":
        path = user_file(request.environment)
        if not path:
            raise NoTarget(f"{NO_HOME}; set STIGMER_HOME to a folder for your file")
        if not os.path.isabs(path):
            raise NoTarget(f"STIGMER_HOME is relative, and {NO_FOLDER}")
        return EditTarget("user", path, request)
    path = _project_path(request)
    folder = os.path.dirname(os.path.dirname(path))
    if not os.path.isdir(folder):
        raise NoTarget(f"there is no folder {folder}")
    return EditTarget("project", path, msgspec.structs.replace(request, project=Project(path)))


def _project_path(request: Request) -> str:
    """The project's file, or the path for a new one. Raises `NoTarget`."""
    environment = request.environment
    found = project_file(environment, request.project_dir)
    if request.project_dir is False:
        raise NoTarget("--project and --no-project exclude each other")
    path = found.path
    if request.project_dir is None and found.why_none is not None:
        path = new_project_file(environment)
    if not os.path.isabs(path):
        raise NoTarget(f"{NO_FOLDER}: change to a folder that exists")
    user = user_file(environment)
    if user and real_path(path) == real_path(user):
        raise NoTarget(f"{path} is your user file: use --user")
    return path


def new_errors(before: Loaded, after: Loaded, layer: LayerName, keys: Iterable[str] = ()) -> tuple[Problem, ...]:
    """The errors of `after` that `before` did not have, and those of `keys` in the edited layer."""
    known = {_identity(problem) for problem in before.errors}
    mended = known - {_identity(problem) for problem in after.errors}
    return tuple(
        problem
        for problem in after.errors
        # An error that a fixed fault had hidden is not new.
        if (_identity(problem) not in known and not (mended and problem.code in CONSEQUENCES))
        or any(_concerns(problem, key, layer) for key in keys)
    )


def _identity(problem: Problem) -> tuple[str, str, str | None]:
    return problem.code, problem.key, problem.origin.layer if problem.origin else None


def _concerns(problem: Problem, key: str, layer: LayerName) -> bool:
    """Whether a problem is about a key in the layer, a part of it, or a section that contains it."""
    if problem.origin is None or problem.origin.layer != layer:
        return False
    one, other = f"{problem.key}.", f"{key}."
    return bool(problem.key) and (one.startswith(other) or other.startswith(one))
