"""The one small file by which a LiveConfig tells this machine how it is doing: `state` says what stands in it.

It is replaced atomically, removed at the end, and holds no secret. A disk that is full, or a folder that
cannot be written to, harms nobody.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import itertools
import json
import os
import stat
from collections.abc import Mapping
from typing import Any

import msgspec

from ..core.environment import Environment
from ..core.provenance import Entry, targets
from ..core.secret import MASK, Secret
from ..files.paths import SAFE, real_path
from ..loading.derivation import read_override
from ..loading.load import Loaded
from ..loading.request import Request
from ..reload.last_good import Held
from ..secrets.references import Reference
from ..settings.declarations import VARIABLES
from ..sources.variables import ETCD, ETCD_FILES, ETCD_PASSWORD, ETCD_USER
from .state import Began, SourceState, WorkerState, born, folder

_numbers = itertools.count(1)
# Variables that decide which files are read and trusted, beside those that set a key.
_PLACES = ("STIGMER_HOME", "STIGMER_SITE_CONFIG", "STIGMER_TRUST_PROJECT", ETCD, *ETCD_FILES, ETCD_USER)
_VENDOR_PLAIN = ("ANTHROPIC_BASE_URL", "OPENAI_BASE_URL", "OLLAMA_BASE_URL", "OLLAMA_HOST")
_VENDOR_SECRET = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", ETCD_PASSWORD)


class Published:
    """The state file of one LiveConfig."""

    def __init__(self, asked: Request) -> None:
        self._environment = asked.environment
        self._began = _began(asked)
        self._started = datetime.datetime.now(datetime.UTC)
        self._name = f"{os.getpid()}-{next(_numbers)}"
        self._path: str | None = None  # where it was written last

    def write(self, held: Held) -> OSError | None:
        """Replaces the file. Returns what kept it from it, instead of raising."""
        # The standard library's JSON: a path or a variable need not be UTF-8.
        text = json.dumps(msgspec.to_builtins(self._state(held), enc_hook=dict))
        try:
            self._replace(text.encode("ascii"))
        except OSError as error:
            return error
        return None

    def remove(self) -> None:
        """Removes the file: the worker has ended."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    def _state(self, held: Held) -> WorkerState:
        config, llm = held.current, held.current.llm
        return WorkerState(
            pid=os.getpid(),
            born=born(os.getpid()),
            started=self._started,
            mode=config.mode,
            generation=config.generation,
            fingerprint=config.fingerprint,
            model=" → ".join(dict.fromkeys((llm.model, llm.model_id))),
            values={key: _masked(held.in_use(key)) for key, _ in config.effective()},
            sources=_sources(held.newest),
            restart_required=held.restart_required,
            rejected=tuple(str(problem) for problem in held.fault.problems) if held.fault is not None else (),
            began=self._began,
        )

    def _replace(self, data: bytes) -> None:
        """By a new file and a rename, in a folder where nobody else can have put a link."""
        where = os.fspath(folder(self._environment))
        _make_private(where)
        path = os.path.join(where, f"{self._name}.json")
        new = os.path.join(where, f"{self._name}.new")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)  # left by a process of the same number
        try:
            with open(new, "xb", opener=lambda name, flags: os.open(name, flags | SAFE, 0o600)) as file:
                file.write(data)
            os.replace(new, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(new)
            raise
        self._path = path


def _make_private(path: str) -> None:
    """Makes a folder, and what is missing above it, for this user alone. Raises `OSError` for another's."""
    try:
        os.mkdir(path, 0o700)
    except FileNotFoundError:
        _make_private(os.path.dirname(path))
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass  # whose it is, is looked at next
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o022):
        raise PermissionError(errno.EACCES, "others can write to it", path)


def _sources(loaded: Loaded) -> tuple[SourceState, ...]:
    files = [layer for layer in loaded.layers if layer.name in ("site", "user", "project") and layer.source]
    # Where the search for a project ends may stand the user's own file, which is none of a project's.
    taken = {real_path(layer.source) for layer in files if layer.digest is not None}
    counted = [layer for layer in files if layer.digest is not None or real_path(layer.source) not in taken]
    return tuple(SourceState(layer.name, layer.source, layer.digest) for layer in counted)


def _masked(value: Any) -> Any:
    return MASK if isinstance(value, (Secret, Reference)) else value


def _began(asked: Request) -> Began:
    """What `asked` is, with a mask for every secret."""
    world = asked.environment
    project_dir = asked.project_dir
    flags = asked.flags[0]
    return Began(
        cwd=os.fspath(world.cwd or ""),
        home=os.fspath(world.home or ""),
        uid=world.uid,
        site_dir=os.fspath(world.site_dir),
        state_dir=os.fspath(world.state_dir or ""),
        mode=asked.mode,
        project_dir=project_dir if project_dir is False or project_dir is None else os.fspath(project_dir),
        variables=_variables(world),
        flags={key: _plain(entry) for key, entry in flags.entries.items()},
        implied_provider=flags.implied_provider.value if flags.implied_provider is not None else None,
        overrides=tuple(_overriding(values) for values in asked.overrides),
        require=asked.require,
    )


def _variables(world: Environment) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in (*_PLACES, *_VENDOR_PLAIN, *_VENDOR_SECRET, *VARIABLES):
        value = world.variable(name)
        setting = VARIABLES.get(name)
        if value is not None:
            secret = name in _VENDOR_SECRET or (setting is not None and setting.is_secret)
            found[name] = MASK if secret else value
    return found


def _plain(entry: Entry) -> Any:
    by_provider = targets(entry)
    return _masked(entry.value) if by_provider is None else {name: part.value for name, part in by_provider.items()}


def _overriding(values: Mapping[str, Any]) -> dict[str, Any]:
    pairs, _ = read_override(values)
    return dict(zip(pairs[::2], map(_masked, pairs[1::2]), strict=True))
