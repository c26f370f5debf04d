"""What a running worker tells the machine: one small file, for `stigmer config workers`.

It stands in platformdirs' runtime folder for `stigmer`, is replaced atomically, and holds no secret. A disk
that is full, or a folder that cannot be written to, harms nobody.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import itertools
import os
from pathlib import Path
from typing import Any, Literal

import msgspec

from . import loader
from .config import Config
from .environment import Environment
from .loader import Loaded, Request
from .problems import ConfigError
from .secret import MASK, Secret
from .settings import VARIABLES
from .sources.files import MAX_BYTES

_numbers = itertools.count(1)
# Variables that decide which files are read, beside those that set a key.
_PLACES = ("STIGMER_HOME", "STIGMER_SITE_CONFIG")
_VENDOR_PLAIN = ("ANTHROPIC_BASE_URL", "OPENAI_BASE_URL", "OLLAMA_BASE_URL", "OLLAMA_HOST")
_VENDOR_SECRET = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY")


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
    project_dir: str | Literal[False] | None
    variables: dict[str, str]
    flags: dict[str, Any]


class WorkerState(msgspec.Struct, frozen=True):
    """One running worker. Times are UTC; `values` are effective values by key, secrets masked."""

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


def folder() -> Path:
    """Where workers publish their state on this machine."""
    import warnings

    import platformdirs

    with warnings.catch_warnings():
        # It warns when it passes over an XDG_RUNTIME_DIR that others can enter: no news for our users.
        warnings.simplefilter("ignore")
        return platformdirs.user_runtime_path("stigmer") / "workers"


def born(pid: int) -> str:
    """What tells a process from a later one of the same number; "" where the system does not say."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


class Published:
    """The state file of one LiveConfig."""

    def __init__(self, asked: Request) -> None:
        self._asked = asked
        self._started = datetime.datetime.now(datetime.UTC)
        self._path = folder() / f"{os.getpid()}-{next(_numbers)}.json"

    def write(
        self, config: Config, loaded: Loaded, restart_required: tuple[str, ...], fault: ConfigError | None
    ) -> OSError | None:
        """Replaces the file. Returns what kept it from it, instead of raising."""
        llm = config.llm
        state = WorkerState(
            pid=os.getpid(),
            born=born(os.getpid()),
            started=self._started,
            mode=config.mode,
            generation=config.generation,
            fingerprint=config.fingerprint,
            model=" → ".join(dict.fromkeys((llm.model, llm.model_id))),
            values={key: MASK if isinstance(value, Secret) else value for key, value in config.effective()},
            sources=tuple(
                SourceState(layer.name, layer.source, layer.digest)
                for layer in loaded.layers
                if layer.name in ("site", "user", "project") and layer.source
            ),
            restart_required=restart_required,
            rejected=tuple(str(problem) for problem in fault.problems) if fault is not None else (),
            began=_began(self._asked),
        )
        data = msgspec.json.encode(state, enc_hook=dict)
        new = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            new.write_bytes(data)
            new.replace(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                new.unlink()
            return error
        return None

    def remove(self) -> None:
        """Removes the file: the worker has ended."""
        with contextlib.suppress(OSError):
            self._path.unlink()


def _began(asked: Request) -> Began:
    world = asked.environment
    variables: dict[str, str] = {}
    for name in (*_PLACES, *_VENDOR_PLAIN, *_VENDOR_SECRET, *VARIABLES):
        value = world.variable(name)
        setting = VARIABLES.get(name)
        if value is not None:
            secret = name in _VENDOR_SECRET or (setting is not None and setting.is_secret)
            variables[name] = MASK if secret else value
    entries = asked.flags[0].entries
    flags = {key: MASK if isinstance(entry.value, Secret) else entry.value for key, entry in entries.items()}
    project_dir = asked.project_dir
    return Began(
        cwd=os.fspath(world.cwd),
        home=os.fspath(world.home),
        uid=world.uid,
        site_dir=os.fspath(world.site_dir),
        state_dir=os.fspath(world.state_dir),
        project_dir=project_dir if project_dir is False or project_dir is None else os.fspath(project_dir),
        variables=variables,
        flags={key: value for key, value in flags.items() if not isinstance(value, dict)},
    )


def running() -> list[WorkerState]:
    """The workers of this user that run on this machine, oldest first. Files of ended ones are removed."""
    found: list[WorkerState] = []
    try:
        paths = sorted(folder().glob("*.json"))
    except OSError:
        return []
    for path in paths:
        try:
            if path.stat().st_uid != os.getuid():
                continue  # where the runtime folder is a shared one, others may have put files there
            worker = msgspec.json.decode(path.read_bytes(), type=WorkerState)
        except (OSError, msgspec.MsgspecError):
            continue  # ended this moment, or of another version
        if _alive(worker):
            found.append(worker)
        else:
            with contextlib.suppress(OSError):
                path.unlink()
    return sorted(found, key=lambda worker: worker.started)


def _alive(worker: WorkerState) -> bool:
    try:
        os.kill(worker.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it runs, as another user
    return not worker.born or born(worker.pid) == worker.born


def behind(worker: WorkerState) -> list[SourceState]:
    """The worker's files that are not on the disk as it last took them."""
    return [source for source in worker.sources if _digest(source.path) != source.sha256]


def in_step(worker: WorkerState) -> bool:
    """Whether the worker runs what is on the disk, and nothing waits for a restart."""
    return not worker.restart_required and not behind(worker)


def _digest(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read(MAX_BYTES + 1)).hexdigest()
    except OSError:
        return None


def request_of(worker: WorkerState) -> Request:
    """What the worker was started with, to load it again here. A secret it had is there as a mask."""
    began = worker.began
    given = loader.request(
        project_dir=False if began.project_dir is False else Path(began.project_dir) if began.project_dir else None,
        flags=began.flags,
        environment=Environment(
            variables=began.variables,
            cwd=Path(began.cwd),
            home=Path(began.home),
            uid=began.uid,
            today=Environment.capture().today,
            site_dir=Path(began.site_dir),
            state_dir=Path(began.state_dir),
        ),
    )
    return msgspec.structs.replace(given, keep_mode=worker.mode, runs_commands=False)
