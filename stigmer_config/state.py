"""What a running worker tells the machine: one small file, for `stigmer config workers`.

It stands in platformdirs' runtime folder for `stigmer`, is replaced atomically, and holds no secret. A disk
that is full, or a folder that cannot be written to, harms nobody.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import os
from pathlib import Path
from typing import Any

import msgspec

from .config import Config
from .loader import Loaded, Request
from .problems import ConfigError
from .secret import MASK, Secret
from .settings import VARIABLES

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
    project_dir: str | bool | None
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
    import platformdirs

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
    flags = {
        key: MASK if isinstance(entry.value, Secret) else entry.value for key, entry in asked.flags[0].entries.items()
    }
    return Began(
        cwd=os.fspath(world.cwd),
        home=os.fspath(world.home),
        uid=world.uid,
        site_dir=os.fspath(world.site_dir),
        project_dir=asked.project_dir
        if isinstance(asked.project_dir, bool)
        else os.fspath(asked.project_dir or "") or None,
        variables=variables,
        flags={key: value for key, value in flags.items() if not isinstance(value, dict)},
    )
