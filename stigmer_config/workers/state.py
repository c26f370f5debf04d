"""What running workers tell this machine, each by one small file, and how it compares with the disk.

`published` writes the files. They stand in platformdirs' runtime folder for `stigmer`.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import hashlib
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any, Literal

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

MAX_STATE = 1024 * 1024  # bytes of a state file that is looked at


class SourceState(msgspec.Struct, frozen=True):
    """A file as a worker last took it: the hex SHA-256 of its bytes, or None when there was none."""

    layer: str
    path: str
    sha256: str | None


class Began(msgspec.Struct, frozen=True):
    """What a worker was started with, without secrets: enough to ask what the disk says to it now.

    A secret variable or flag that was set is there with a mask for its value.
    """

    cwd: str
    home: str
    uid: int
    site_dir: str
    state_dir: str
    mode: str | None
    project_dir: str | Literal[False] | None
    variables: dict[str, str]
    flags: dict[str, Any]
    implied_provider: str | None
    overrides: tuple[dict[str, Any], ...]
    require: tuple[str, ...]


class WorkerState(msgspec.Struct, frozen=True):
    """One running worker. Times are UTC.

    `values` are the effective values that the worker uses, by key, secrets masked: for a key that waits for a
    restart the value of its start. `rejected` are the problems of its newest reload, if that was rejected.
    """

    pid: int
    born: str
    started: datetime.datetime
    mode: str
    generation: int
    fingerprint: str
    model: str
    values: dict[str, Any]
    sources: tuple[SourceState, ...]
    restart_required: tuple[str, ...]
    rejected: tuple[str, ...]
    began: Began


def folder(environment: Environment) -> Path:
    """Where workers publish their state: platformdirs' folder, or the XDG_RUNTIME_DIR of another world than ours.

    Raises `OSError` where there is none that is this user's alone.
    """
    import warnings

    import platformdirs

    given = environment.variable("XDG_RUNTIME_DIR")
    if given is not None and given != os.environ.get("XDG_RUNTIME_DIR"):  # which is what platformdirs looks at
        return Path(given) / "stigmer" / "workers"
    with warnings.catch_warnings():
        # It warns when it passes over an XDG_RUNTIME_DIR that others can enter: no news for our users.
        warnings.simplefilter("ignore")
        return platformdirs.user_runtime_path("stigmer") / "workers"


def born(pid: int) -> str:
    """What tells a process from a later one of the same number; "" where the system does not say."""
    state = _process(pid)
    return state[19] if len(state) > 19 else ""


def _process(pid: int) -> list[str]:
    """What Linux tells of a process, from its state on (proc(5), stat)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def running(environment: Environment) -> list[WorkerState]:
    """The workers of this user that run on this machine, oldest first. Files of ended ones are removed."""
    found: list[WorkerState] = []
    try:
        paths = sorted(folder(environment).glob("*.json"))
    except OSError:
        return []
    for path in paths:
        try:
            worker = from_builtins(json.loads(_own(path)), WorkerState)
        except (OSError, ValueError):
            continue  # ended this moment, of another version, or of another user
        if _runs(worker):
            found.append(worker)
        else:
            with contextlib.suppress(OSError):
                path.unlink()
    return sorted(found, key=lambda worker: worker.started)


def _own(path: Path) -> bytes:
    """A state file's bytes. Raises `OSError` for one that this user did not write: the folder may be a shared one."""
    with open(os.open(path, os.O_RDONLY | SAFE | NO_LINK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or (hasattr(os, "getuid") and status.st_uid != os.getuid()):
            raise PermissionError(errno.EACCES, "not a file of this user", os.fspath(path))
        return file.read(MAX_STATE)


def _runs(worker: WorkerState) -> bool:
    """Whether the worker's process is there: not ended, waited for or not, and no later one of the same number."""
    if worker.pid <= 0:
        return False
    process = _process(worker.pid)
    if process:
        return process[0] not in ("Z", "X") and (not worker.born or born(worker.pid) == worker.born)
    if sys.platform == "win32":
        import psutil

        return bool(psutil.pid_exists(worker.pid))  # os.kill(pid, 0) would be a Ctrl-C there
    try:
        os.kill(worker.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it runs, as another user
    return not worker.born


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
    """What the worker was started with, to load it again `here`. No secret is read: those it had are masks.

    But for the password of the fleet's store, without which the store cannot be read: it is the one known here.
    """
    began = worker.began
    variables = {**began.variables, ETCD_PASSWORD: here.variables.get(ETCD_PASSWORD, "")}
    given = load_request(
        mode=began.mode,
        project_dir=False if began.project_dir is False else Path(began.project_dir) if began.project_dir else None,
        flags=began.flags,
        overrides=began.overrides,
        require=began.require,
        environment=Environment(
            variables=variables,
            cwd=Path(began.cwd) if began.cwd else None,
            home=Path(began.home) if began.home else None,
            uid=began.uid,
            today=datetime.date.today(),  # noqa: DTZ011 - the date on this machine's calendar
            site_dir=Path(began.site_dir),
            state_dir=Path(began.state_dir) if began.state_dir else None,
        ),
    )
    if began.implied_provider is not None:
        layer, faults = given.flags
        implied = Entry(began.implied_provider, Origin("flags", "--anthropic-key"))
        given = msgspec.structs.replace(given, flags=(msgspec.structs.replace(layer, implied_provider=implied), faults))
    return msgspec.structs.replace(given, keep_mode=worker.mode, opener=Unopened(given.environment))
