"""Edits a file: lock, read, change, check, write."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence

import msgspec

from ..core.problems import Problem
from ..files.atomic_write import ChangedError, Locked, SaveError, locked
from ..loading.load import Loaded
from ..sources.checked_read import Contents
from .auto_trust import recording_trust
from .candidate import Candidate, EditRejected, EditTarget, candidate, new_errors
from .patches import EditError

# The file's content → its new bytes, or None for no change.
Change = Callable[[Contents], bytes | None]
# With one of these faults the file's content may not be its owner's.
_UNREADABLE = frozenset({"yaml-syntax", "yaml-forbidden", "duplicate-key", "too-large", "bad-encoding"})
_TRIES = 5  # repeated collisions with writers that ignore our lock are very unlikely


class Outcome(msgspec.Struct, frozen=True):
    """The result of an edit: the loads before and after it.

    `changed`: whether anything was written; `trusted`: whether a grant for the project's settings was recorded.
    `durable` is False when the new file is in place but the disk has not confirmed it.
    """

    before: Loaded
    after: Loaded
    changed: bool
    trusted: bool = False
    durable: bool = True


def write(target: EditTarget, change: Change, keys: Collection[str] = ()) -> Outcome:
    """Makes one edit.

    The result must have no error of `keys` in the file, old or new. Raises `EditRejected`, `SaveError`, and the
    exceptions of `change`: in each case the file is unchanged.
    """
    outcome = None
    try:
        if not os.path.isdir(os.path.dirname(target.path)):
            _validated(target, change, keys)  # do not create a folder for an edit that is refused
        with locked(target.path, follow=target.layer == "user") as file:
            for _ in range(_TRIES):
                outcome = _try(target, file, change, keys)
                if outcome is not None:
                    return outcome
        raise SaveError(f"{target.path}: another program keeps changing it")
    except KeyboardInterrupt:
        if outcome is not None:
            return outcome  # another writer was faster
        raise SaveError("interrupted") from None
    except OSError as error:
        raise SaveError(f"{target.path}: {error.strerror}") from error


def _validated(target: EditTarget, change: Change, keys: Collection[str]) -> tuple[Contents, Loaded, Candidate | None]:
    """The current content, its load, and the candidate: None when nothing has to be done."""
    contents = target.contents()
    before = target.load(contents)
    if contents.data is None and contents.problems:
        raise EditRejected(contents.problems)
    if any(not problem.key for problem in contents.problems):  # others can write it: the content may not be its owner's
        raise EditRejected([problem for problem in contents.problems if not problem.key])
    try:
        data = change(contents)
    except EditError:
        faults = _unreadable(before, target)
        if faults:
            raise EditRejected(faults) from None
        raise
    if data is None or data == contents.data:
        return contents, before, None
    made = candidate(target, contents, data)
    new = new_errors(before, made.loaded, target.layer, keys)
    if new:
        raise EditRejected(_from_the_first(new, before, made))
    return contents, before, made


def _from_the_first(new: Sequence[Problem], before: Loaded, made: Candidate) -> Sequence[Problem]:
    """The errors that prevent an edit: first the faults of a project's file, which prevent a grant for the edit."""
    was = made.layers[0]
    if was.name != "project" or was.status != "error" or all(p.code != "untrusted-key" for p in new):
        return new
    there = [p for p in before.errors if p.origin is not None and p.origin.layer == "project" and p not in new]
    return [*there, *(msgspec.structs.replace(p, hint=f"fix the file's other errors first; {p.hint}") for p in new)]


def _try(target: EditTarget, file: Locked, change: Change, keys: Collection[str]) -> Outcome | None:
    """Makes one attempt. Returns None when a writer without our lock changed the file meanwhile."""
    contents, before, made = _validated(target, change, keys)
    if made is None:
        return Outcome(before, before, changed=False)
    try:
        with recording_trust(target.request.environment, made.layers[1], made.trust):
            _put(target, file, contents, made.data)
    except ChangedError:
        return None
    return Outcome(before, made.loaded, changed=True, trusted=made.trust is not None, durable=file.durable)


def _put(target: EditTarget, file: Locked, contents: Contents, data: bytes) -> None:
    try:
        file.replace(data, contents.data, target.mode)
    except KeyboardInterrupt:
        if file.read() != data:
            raise


def _unreadable(loaded: Loaded, target: EditTarget) -> tuple[Problem, ...]:
    """The faults that prevent editing the target's file by key."""
    return tuple(
        problem
        for problem in loaded.errors
        if problem.code in _UNREADABLE and problem.origin is not None and problem.origin.layer == target.layer
    )
