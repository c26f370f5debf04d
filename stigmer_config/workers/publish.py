"""Publishes the state of a LiveConfig to this machine in a small file; `local_workers` declares its content.

It is replaced atomically, restored when it vanishes, removed at the end, and contains no secret. A full disk or an
unwritable folder does not stop the worker.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import os
import socket
import stat
from collections.abc import Mapping
from typing import Any

import msgspec

from ..config.sections import plain
from ..core.environment import Environment
from ..core.problems import texts
from ..core.provenance import Entry, plain_value
from ..core.secret import MASK, Secret
from ..files.paths import SAFE, real_path
from ..loading.load import Loaded
from ..loading.overrides import read_override
from ..loading.request import Request
from ..reload.last_good import LastGood
from ..secrets.references import Reference
from ..settings.declarations import VARIABLES
from ..sources.variables import ETCD, ETCD_FILES, ETCD_PASSWORD, ETCD_USER
from .folders import folders
from .liveness import WorkerLock, remove
from .local_workers import MAX_STATE, SourceState, Startup, WorkerState

_LONGEST, _MOST = 500, 200  # the most characters, and items, of a state that was too long
# Variables that decide which files are read and trusted, beside those that set a key.
_PLACES = ("STIGMER_HOME", "STIGMER_SITE_CONFIG", "STIGMER_TRUST_PROJECT", ETCD, *ETCD_FILES, ETCD_USER)
_VENDOR_PLAIN = ("ANTHROPIC_BASE_URL", "OPENAI_BASE_URL", "OLLAMA_BASE_URL", "OLLAMA_HOST")
_VENDOR_SECRET = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", ETCD_PASSWORD)


class Publisher:
    """Publishes the state of one LiveConfig."""

    def __init__(self, request: Request) -> None:
        self._environment = request.environment
        self._startup = _startup(request)
        self._started = datetime.datetime.now(datetime.UTC)
        self._lock: WorkerLock | None = None  # created with the first write
        self._data = b""

    def write(self, last_good: LastGood) -> OSError | None:
        """Replaces the file. Returns an error instead of raising it."""
        self._data = _encoded(self._state(last_good))
        return self.restore()

    @property
    def is_in_place(self) -> bool:
        """Whether the file and this worker's lock are still in place."""
        return self._lock is not None and self._lock.is_in_place and os.path.lexists(self._lock.state_path)

    def restore(self) -> OSError | None:
        """Writes the newest state again, after a cleaner of temporary files, or a logout, has removed it."""
        try:
            if self._lock is None or not self._lock.is_in_place:
                self.remove()
                self._lock = WorkerLock(_private_folder(self._environment))
            _replace(self._lock.state_path, self._data)
        except OSError as error:
            return error
        return None

    def remove(self) -> None:
        """Removes the file, when the worker ends."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _state(self, last_good: LastGood) -> WorkerState:
        config = last_good.current
        return WorkerState(
            pid=os.getpid(),
            host=socket.gethostname(),
            started=self._started,
            mode=config.mode,
            generation=config.generation,
            fingerprint=last_good.fingerprint,
            model=config.llm.model_steps,
            values={key: _masked(value) for key, value in last_good.in_use().items()},
            sources=_sources(last_good.newest),
            restart_required=last_good.restart_required,
            rejected=tuple(texts(last_good.fault.problems)) if last_good.fault is not None else (),
            startup=self._startup,
        )


def _replace(path: str, data: bytes) -> None:
    """Replaces a file by renaming a new one, in a private folder, where no other user can create a link."""
    new = f"{path}.new"
    remove(new)
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | SAFE, 0o600)
        try:
            while data:
                data = data[os.write(descriptor, data) :]
        finally:
            os.close(descriptor)
        os.replace(new, path)
    except OSError:
        remove(new)
        raise


def _private_folder(environment: Environment) -> str:
    """The folder to publish in, created if necessary. Raises `OSError`."""
    known = folders(environment)
    try:
        return _made_private(os.fspath(known[0]))
    except OSError:
        if os.path.lexists(known[0].parent.parent):
            raise
        # The user has logged out, and only the system creates that runtime folder again.
        return _made_private(os.fspath(known[-1]))


def _encoded(state: WorkerState) -> bytes:
    """A state as JSON, shortened if it would be too long to be read."""
    with contextlib.suppress(UnicodeEncodeError):  # a path or a variable need not be UTF-8
        data = msgspec.json.encode(state, enc_hook=dict)
        if len(data) <= MAX_STATE:
            return data
    plain_state = msgspec.to_builtins(state, enc_hook=dict)
    text = json.dumps(plain_state)  # ASCII: escapes such bytes
    return (text if len(text) <= MAX_STATE else json.dumps(_shortened(plain_state))).encode("ascii")


def _shortened(value: Any) -> Any:
    """A copy with every long string and list cut: a state file that is too long would not be read."""
    if isinstance(value, str):
        return value if len(value) <= _LONGEST else value[: _LONGEST - 1] + "…"
    if isinstance(value, dict):
        return {name: _shortened(item) for name, item in list(value.items())[:_MOST]}
    return [_shortened(item) for item in value[:_MOST]] if isinstance(value, (list, tuple)) else value


def _made_private(path: str) -> str:
    """Creates a private folder, and missing parents, if necessary. Raises `OSError`."""
    try:
        os.mkdir(path, 0o700)
    except FileNotFoundError:
        _made_private(os.path.dirname(path))
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass  # the owner is checked next
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o022):
        raise PermissionError(errno.EACCES, "others can write to it", path)
    return path


def _sources(loaded: Loaded) -> tuple[SourceState, ...]:
    files = [layer for layer in loaded.layers if layer.name in ("site", "user", "project") and layer.source]
    if all(layer.digest is not None for layer in files):
        return tuple(SourceState(layer.name, layer.source, layer.digest) for layer in files)
    # The search for a project may end at the user's own file, which is not a project's.
    taken = {real_path(layer.source) for layer in files if layer.digest is not None}
    counted = [layer for layer in files if layer.digest is not None or real_path(layer.source) not in taken]
    return tuple(SourceState(layer.name, layer.source, layer.digest) for layer in counted)


def _masked(value: Any) -> Any:
    if isinstance(value, (str, list)):
        return plain(value)
    return MASK if isinstance(value, (Secret, Reference)) else value


def _startup(request: Request) -> Startup:
    """The `Startup` of a request, with every secret masked."""
    environment = request.environment
    project_dir = request.project_dir
    flags = request.flags[0]
    return Startup(
        cwd=os.fspath(environment.cwd or ""),
        home=os.fspath(environment.home or ""),
        uid=environment.uid,
        site_dir=os.fspath(environment.site_dir),
        state_dir=os.fspath(environment.state_dir or ""),
        mode=request.mode,
        project_dir=project_dir if project_dir is False or project_dir is None else os.fspath(project_dir),
        variables=_variables(environment),
        flags={key: _plain(entry) for key, entry in flags.entries.items()},
        implied_provider=flags.implied_provider.value if flags.implied_provider is not None else None,
        overrides=tuple(_override(values) for values in request.overrides),
        require=request.require,
    )


def _variables(environment: Environment) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in (*_PLACES, *_VENDOR_PLAIN, *_VENDOR_SECRET, *VARIABLES):
        value = environment.variable(name)
        setting = VARIABLES.get(name)
        if value is not None:
            secret = name in _VENDOR_SECRET or (setting is not None and setting.is_secret)
            found[name] = MASK if secret else value
    return found


def _plain(entry: Entry) -> Any:
    return _masked(plain_value(entry))


def _override(values: Mapping[str, Any]) -> dict[str, Any]:
    pairs, _ = read_override(values)
    return dict(zip(pairs[::2], map(_masked, pairs[1::2]), strict=True))
