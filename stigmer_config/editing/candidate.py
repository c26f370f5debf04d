"""A file's new bytes before they are written: loaded in full, and judged against what is in force.

The way of one edit, spelled out once in `save`: lock, read, change, judge, write.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from ..loader import CONSEQUENCES, Loaded, ReadLayer, Request, read
from ..places import Project, project_file, user_file
from ..problems import Problem
from ..provenance import Layer, LayerName
from ..saving import ChangedError, Locked, SaveError, locked
from ..sources.files import MAX_BYTES, Contents, failed, read_contents
from ..sources.yaml_file import layer_of

Scope = Literal["user", "project"]
# With one of these a file cannot be read as its owner wrote it.
_UNREADABLE = frozenset({"yaml-syntax", "yaml-forbidden", "duplicate-key", "too-large", "bad-encoding"})
_TRIES = 5  # writers without our lock are met again and again only by bad luck


class Refused(Exception):  # noqa: N818 - an answer, not a fault of ours
    """The edit was not made, for the `problems` that its result would have."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


class NoTarget(Exception):  # noqa: N818 - the same
    """There is no file of that scope here. It says why."""


class Target(msgspec.Struct, frozen=True):
    """The file that is edited, and the load that it is a part of."""

    layer: Scope
    path: str
    request: Request

    @property
    def mode(self) -> int | None:
        """The permission bits to save it with; None keeps the file's own."""
        return 0o600 if self.layer == "user" else None

    def contents(self) -> Contents:
        """What stands in the file now, with the faults that keep it from being read."""
        return read_contents(self.path, self.layer, self.request.environment.uid)

    def load(self, contents: Contents) -> Loaded:
        """Everything loaded, as if the file held this."""
        before = self.request.read_layer

        def read_layer(path: str, layer: LayerName, uid: int, *, named: bool = False) -> tuple[Layer, list[Problem]]:
            if (path, layer) == (self.path, self.layer):
                return layer_of(contents, path, layer, named=named)
            return before(path, layer, uid, named=named)

        reading: ReadLayer = read_layer
        return read(msgspec.structs.replace(self.request, read_layer=reading))


class Outcome(msgspec.Struct, frozen=True):
    """What an edit came to: the load that is in force with it, and whether anything had to be written.

    `durable` is False when the new file is in place and the disk has not confirmed it.
    """

    before: Loaded
    after: Loaded
    changed: bool
    durable: bool = True


def target(request: Request, scope: Scope) -> Target:
    """The file of a scope. Raises `NoTarget`."""
    if scope == "user":
        path = user_file(request.environment)
        if not os.path.isabs(path):
            raise NoTarget("STIGMER_HOME must be an absolute path")
        return Target("user", path, request)
    found = project_file(request.environment, request.project_dir)
    if os.path.realpath(found.path) == os.path.realpath(user_file(request.environment)):
        raise NoTarget(f"{found.path} is your user file: use --user")
    if not found.path:
        raise NoTarget("--project and --no-project exclude each other")
    folder = os.path.dirname(os.path.dirname(found.path))
    if not os.path.isdir(folder):
        raise NoTarget(f"there is no folder {folder}")
    # Where none was found, this is where one would be.
    return Target("project", found.path, msgspec.structs.replace(request, project=Project(found.path)))


def judged(target: Target, before: Loaded, data: bytes, key: str | None = None) -> Loaded:
    """The load with `data` in the file's place.

    Raises `Refused` for errors that were not there before, and for any of `key`'s in this file.
    """
    contents = Contents(data)
    if len(data) > MAX_BYTES:
        message = f"it would be larger than {MAX_BYTES // 1024} KiB"
        contents = failed(target.path, target.layer, message, "keep settings only in it", "too-large")
    after = target.load(contents)
    new = new_errors(before, after, target, key)
    if new:
        raise Refused(new)
    return after


def new_errors(before: Loaded, after: Loaded, target: Target, key: str | None = None) -> tuple[Problem, ...]:
    """The errors of `after` that `before` did not have, and those of `key` in the target's file."""
    known = {_identity(problem) for problem in before.errors}
    mended = known - {_identity(problem) for problem in after.errors}
    return tuple(
        problem
        for problem in after.errors
        if (_identity(problem) not in known and not (mended and problem.code in CONSEQUENCES))
        or (key is not None and _concerns(problem, key, target))
    )


def _identity(problem: Problem) -> tuple[str, str, str | None]:
    return problem.code, problem.key, problem.origin.layer if problem.origin else None


def _concerns(problem: Problem, key: str, target: Target) -> bool:
    """Whether a problem is about a key in the file, or about a part or the whole of it."""
    if problem.origin is None or problem.origin.layer != target.layer:
        return False
    one, other = f"{problem.key}.", f"{key}."
    return bool(problem.key) and (one.startswith(other) or other.startswith(one))


def save(target: Target, change: Callable[[Contents], bytes | None], key: str | None = None) -> Outcome:
    """Makes one edit: `change` gets what stands in the file and gives the new bytes, None for no change.

    Raises `Refused`, `SaveError`, and what `change` raises: in each case the file is as it was.
    """
    if not os.path.isdir(os.path.dirname(target.path)):
        _judge(target, change, key)  # no folder is made for an edit that is refused
    with locked(target.path, follow=target.layer == "user") as file:
        for _ in range(_TRIES):
            try:
                return _save(target, file, change, key)
            except ChangedError:
                continue
    raise SaveError(f"{target.path}: somebody else keeps changing it")


def _judge(
    target: Target, change: Callable[[Contents], bytes | None], key: str | None
) -> tuple[Contents, bytes | None, Loaded, Loaded]:
    contents = target.contents()
    before = target.load(contents)
    if contents.data is None and contents.problems:
        raise Refused(contents.problems)
    if any(not problem.key for problem in contents.problems):  # others can write it: it may not be its owner's
        raise Refused([problem for problem in contents.problems if not problem.key])
    data = change(contents)
    if data is None or data == contents.data:
        return contents, None, before, before
    return contents, data, before, judged(target, before, data, key)


def _save(
    target: Target, file: Locked, change: Callable[[Contents], bytes | None], key: str | None
) -> Outcome:
    contents, data, before, after = _judge(target, change, key)
    if data is None:
        return Outcome(before, after, changed=False)
    file.replace(data, contents.data, target.mode)
    # What is done by --project is trusted as done (contract, section 6): its record belongs here, after the
    # save, together with a load of the candidate as trusted in `judged`. Until then `untrusted-key` refuses it.
    return Outcome(before, after, changed=True, durable=file.durable)


def unreadable(loaded: Loaded, target: Target) -> tuple[Problem, ...]:
    """The faults that keep the target's file from being edited by key."""
    return tuple(
        problem
        for problem in loaded.errors
        if problem.code in _UNREADABLE and problem.origin is not None and problem.origin.layer == target.layer
    )
