"""The state that each running worker publishes on this machine, and its comparison with the disk.

`publish` writes the files, in the first of the `folders`; `liveness` knows which workers are alive.
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

MAX_STATE = 1024 * 1024  # the most bytes of a state file


class SourceState(msgspec.Struct, frozen=True):
    """A file at a worker's last load: the hex SHA-256 of its bytes, or None when it did not exist."""

    layer: str
    path: str
    sha256: str | None


class Startup(msgspec.Struct, frozen=True):
    """The arguments of a worker's start, without secrets: enough to repeat its load.

    Secret variables and flags that were set are included with a masked value.
    """

    cwd: str
    home: str
    uid: int
    site_dir: str
    state_dir: str
    mode: str | None
    project_dir: str | bool | None  # False: no project; msgspec before 0.22 has no Literal[False]
    variables: dict[str, str]
    flags: dict[str, Any]
    implied_provider: str | None
    overrides: tuple[dict[str, Any], ...]
    require: tuple[str, ...]


class WorkerState(msgspec.Struct, frozen=True):
    """A running worker. Times are UTC. `pid` and `host` are those of the worker's own container.

    `values` are the effective values that the worker uses, by key, secrets masked; for a key that waits for a restart,
    the value from its start. `rejected` are the problems of its newest reload, if that was rejected.
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
    """This user's running workers on this machine, including containers that share a folder, oldest first.

    Removes the files of workers that have ended.
    """
    found: dict[tuple[int, int], WorkerState] = {}  # by the file's identity: two folders may be one, by a link
    for folder in folders(environment):
        for path in living(folder):
            with contextlib.suppress(OSError, ValueError):  # just ended, of another version, or another user's
                identity, data = _own(path)
                found[identity] = from_builtins(json.loads(data), WorkerState)
    return sorted(found.values(), key=lambda worker: worker.started)


def _own(path: Path) -> tuple[tuple[int, int], bytes]:
    """A state file's device and inode, and its bytes. Raises `OSError` for one that this user does not own."""
    with open(os.open(path, os.O_RDONLY | SAFE | NO_LINK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or (hasattr(os, "getuid") and status.st_uid != os.getuid()):
            raise PermissionError(errno.EACCES, "not a file of this user", os.fspath(path))
        return (status.st_dev, status.st_ino), file.read(MAX_STATE)


def behind(worker: WorkerState) -> list[SourceState]:
    """The worker's files that have changed on the disk since its last load."""
    return [source for source in worker.sources if _digest(source.path) != source.sha256]


def in_step(worker: WorkerState) -> bool:
    """Whether the worker uses the current files, and nothing waits for a restart."""
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
    """The worker's request, to repeat its load `here`. Reads no secret: the worker's secrets are masks.

    Only the password of the fleet's store is taken from this environment, because reading the store needs it.
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
