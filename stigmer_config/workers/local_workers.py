"""The state that each running worker publishes on this machine, and how it compares with the disk.

`publish` writes the files, in the first of the `folders`; `liveness` knows whose worker is alive.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

import msgspec

from ..core.decoding import from_builtins
from ..core.environment import Environment
from ..core.provenance import Entry, Origin
from ..files.paths import NO_LINK, SAFE
from ..loading.request import Request
from ..loading.request import request as load_request
from ..secrets.references import Unopened
from ..sources.checked_read import MAX_BYTES
from ..sources.variables import ETCD_PASSWORD
from .folders import folders
from .liveness import living

MAX_STATE = 1024 * 1024  # bytes of a state file that is looked at


class SourceState(msgspec.Struct, frozen=True):
    """A file as a worker last took it: the hex SHA-256 of its bytes, or None when there was none."""

    layer: str
    path: str
    sha256: str | None


class Startup(msgspec.Struct, frozen=True):
    """What a worker was started with, without secrets: enough to load again what it would load now.

    A secret variable or flag that was set is there with a mask for its value.
    """

    cwd: str
    home: str
    uid: int
    site_dir: str
    state_dir: str
    mode: str | None
    project_dir: str | bool | None  # False: none; msgspec before 0.22 has no Literal[False]
    variables: dict[str, str]
    flags: dict[str, Any]
    implied_provider: str | None
    overrides: tuple[dict[str, Any], ...]
    require: tuple[str, ...]


class WorkerState(msgspec.Struct, frozen=True):
    """One running worker. Times are UTC. `pid` is the number in the worker's own container, `host` the name there.

    `values` are the effective values that the worker uses, by key, secrets masked: for a key that waits for a
    restart the value of its start. `rejected` are the problems of its newest reload, if that was rejected.
    """

    pid: int
    host: str
    started: datetime.datetime
    mode: str
    generation: int
    fingerprint: str
    model: str
    values: dict[str, Any]
    sources: tuple[SourceState, ...]
    restart_required: tuple[str, ...]
    rejected: tuple[str, ...]
    startup: Startup


def running(environment: Environment) -> list[WorkerState]:
    """The workers of this user that run on this machine, in containers that share a folder too, oldest first.

    Files of workers that have ended are removed.
    """
    found: dict[tuple[int, int], WorkerState] = {}  # by the file's identity: two folders may be one, by a link
    for folder in folders(environment):
        for path in living(folder):
            with contextlib.suppress(OSError, ValueError):  # ended this moment, of another version, or another user's
                identity, data = _own(path)
                found[identity] = from_builtins(json.loads(data), WorkerState)
    return sorted(found.values(), key=lambda worker: worker.started)


def _own(path: Path) -> tuple[tuple[int, int], bytes]:
    """A state file's device and inode, and its bytes. Raises `OSError` for one that this user did not write."""
    with open(os.open(path, os.O_RDONLY | SAFE | NO_LINK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or (hasattr(os, "getuid") and status.st_uid != os.getuid()):
            raise PermissionError(errno.EACCES, "not a file of this user", os.fspath(path))
        return (status.st_dev, status.st_ino), file.read(MAX_STATE)


def behind(worker: WorkerState) -> list[SourceState]:
    """The worker's files that are not on the disk as it last took them."""
    return [source for source in worker.sources if _digest(source.path) != source.sha256]


def in_step(worker: WorkerState) -> bool:
    """Whether the worker runs what is on the disk, and nothing waits for a restart."""
    return not worker.restart_required and not behind(worker)


def is_healthy(worker: WorkerState) -> bool:
    """Whether it is in step, and its newest reload was good."""
    return in_step(worker) and not worker.rejected


def _digest(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read(MAX_BYTES + 1)).hexdigest()
    except OSError:
        return None


def request_of(worker: WorkerState, here: Environment) -> Request:
    """What the worker was started with, to load it again `here`. No secret is read: those that it had are masks.

    Only the password of the fleet's store is the one known here: without it the store cannot be read.
    """
    startup = worker.startup
    variables = {**startup.variables, ETCD_PASSWORD: here.variables.get(ETCD_PASSWORD, "")}
    project_dir = startup.project_dir
    given = load_request(
        mode=startup.mode,
        project_dir=Path(project_dir) if isinstance(project_dir, str) else None if project_dir is None else False,
        flags=startup.flags,
        overrides=startup.overrides,
        require=startup.require,
        environment=Environment(
            variables=variables,
            cwd=Path(startup.cwd) if startup.cwd else None,
            home=Path(startup.home) if startup.home else None,
            uid=startup.uid,
            today=datetime.date.today(),  # noqa: DTZ011 - the date on this machine's calendar
            site_dir=Path(startup.site_dir),
            state_dir=Path(startup.state_dir) if startup.state_dir else None,
        ),
    )
    if startup.implied_provider is not None:
        layer, faults = given.flags
        implied = Entry(startup.implied_provider, Origin("flags", "--anthropic-key"))
        given = msgspec.structs.replace(given, flags=(msgspec.structs.replace(layer, implied_provider=implied), faults))
    return msgspec.structs.replace(given, keep_mode=worker.mode, opener=Unopened(given.environment))
