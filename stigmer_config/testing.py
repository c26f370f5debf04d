"""Helpers for your own tests: a Config in one line, a sandbox to load from, and reloads without a sleep.

```python
from stigmer_config.testing import live, make_config, sandbox

def test_my_client_takes_the_timeout():
    assert make_client(make_config(llm={"timeout": 5}).llm).timeout == 5

def test_my_cache_follows_a_reload():
    with sandbox() as world, live(world) as worker:
        cache = MyCache(worker.config)               # subscribes
        worker.apply("llm: {model: fast}")           # back when it was taken, and every callback has run
        assert cache.model == worker.current.llm.model_id
```

Nothing of this machine is used: no variable, no file, no date (the date is the packaged catalogue's, so that no model
retires during your tests). Nothing is left behind.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from .config.config import Config
from .core.environment import Environment
from .core.problems import ConfigError, Problem
from .core.provenance import Layer, LayerName
from .live.live_config import LiveConfig, Rejected, Reloaded, Unchanged
from .llm.catalogue import catalogue
from .loading.load import load, read
from .loading.request import request
from .settings.declarations import BUILT_IN
from .settings.schema import Schema

__all__ = ["API_KEY", "Live", "Sandbox", "live", "make_config", "sandbox"]

API_KEY = "test-key-of-nobody"  # the key of Anthropic and OpenAI in `make_config` and `sandbox`
_KEYS = {"ANTHROPIC_API_KEY": API_KEY, "OPENAI_API_KEY": API_KEY}
_PAUSE = 0.005  # seconds between two checks of a file that is not loaded yet


def make_config(
    values: Mapping[str, Any] | None = None, *, mode: str = "local", apps: Iterable[type] = (), **sections: Any
) -> Config:
    """A Config of the packaged defaults and these values, in the form of `load(flags=…)`.

    Reads no variable and no file: `make_config(llm={"model": "fast"})`, `make_config({"llm.timeout": 5})`.
    Anthropic and OpenAI have the key `API_KEY`. An application's own settings are values of `apps`:
    `make_config({"apps.checkpointer.interval": 5}, apps=[Checkpointer])`.

    Raises `ConfigError` for values that are not allowed, `KeyError` for a key that does not exist.
    """
    nowhere = Path(os.sep, "nowhere")
    environment = _environment(nowhere, nowhere, nowhere, dict(_KEYS), catalogue().as_of)
    to_load = request(mode, False, {**(values or {}), **sections}, environment=environment, apps=apps)
    return read(msgspec.structs.replace(to_load, read_layer=_no_file)).config_or_raise()


def _no_file(
    path: str, layer: LayerName, uid: int, *, named: bool = False, schema: Schema = BUILT_IN
) -> tuple[Layer, list[Problem]]:
    del uid, named, schema
    return Layer(layer, path, "absent"), []


class Sandbox:
    """A home, a project, a path for the site file, and variables; `environment` combines them for `load`.

    `variables` may be changed until something is started in the sandbox.
    """

    def __init__(
        self, root: Path, variables: Mapping[str, str] | None = None, today: datetime.date | None = None
    ) -> None:
        self.root = root.resolve()
        self.home = self.root / "home"
        self.project = self.root / "project"
        self.site_dir = self.root / "site"
        for folder in (self.home, self.project / ".git", self.site_dir):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.variables = {"MODE": "local", **_KEYS, "XDG_RUNTIME_DIR": str(self.root / "run"), **(variables or {})}
        self.today = today or catalogue().as_of

    @property
    def user_file(self) -> Path:
        return self.home / ".stigmer" / "config.yaml"

    @property
    def project_file(self) -> Path:
        return self.project / ".stigmer" / "config.yaml"

    @property
    def site_file(self) -> Path:
        return self.site_dir / "config.yaml"

    @property
    def environment(self) -> Environment:
        """The sandbox as an environment, with the project as its working folder."""
        return _environment(self.home, self.project, self.site_dir, self.variables, self.today)

    def write_user(self, text: str) -> Path:
        """Writes the user file atomically. Returns its path."""
        return _replace(self.user_file, text)

    def write_project(self, text: str) -> Path:
        """Writes the project file atomically. Returns its path."""
        return _replace(self.project_file, text)

    def write_site(self, text: str) -> Path:
        """Writes the site file atomically. Returns its path."""
        return _replace(self.site_file, text)

    def load(self, **arguments: Any) -> Config:
        """Calls `load(…)` in this sandbox. Raises `ConfigError`."""
        return load(environment=self.environment, **arguments)


def _environment(
    home: Path, cwd: Path, site_dir: Path, variables: Mapping[str, str], today: datetime.date
) -> Environment:
    return Environment.capture({"HOME": str(home), **variables}, cwd=cwd, home=home, today=today, site_dir=site_dir)


def _replace(path: Path, text: str) -> Path:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.chmod(0o600)
    return new.replace(path)


@contextlib.contextmanager
def sandbox(variables: Mapping[str, str] | None = None, *, today: datetime.date | None = None) -> Iterator[Sandbox]:
    """A `Sandbox` in a temporary folder, in local mode unless `variables` say otherwise."""
    with tempfile.TemporaryDirectory(prefix="stigmer-test-") as folder:
        yield Sandbox(Path(folder), variables, today)


class Live:
    """A LiveConfig in a Sandbox: `config` is the LiveConfig itself."""

    def __init__(self, world: Sandbox, config: LiveConfig, arguments: Mapping[str, Any], timeout: float) -> None:
        self.config = config
        self._world = world
        self._arguments = {**arguments, "mode": config.current.mode}  # it keeps its mode
        self._timeout = timeout

    @property
    def current(self) -> Config:
        return self.config.current

    def apply(
        self, text: str | None, file: Literal["user", "project", "site"] = "user"
    ) -> Reloaded | Unchanged | Rejected:
        """Writes this text to the file (None removes the file), and returns once it is accepted or rejected.

        If it was accepted, every callback it concerns has run. Raises `TimeoutError` when one does not return.
        """
        path: Path = getattr(self._world, f"{file}_file")
        with self._called() as has_been_called:
            before = self.current
            if text is None:
                path.unlink(missing_ok=True)
            else:
                _replace(path, text)
            outcome = self._outcome(before)
            if isinstance(outcome, Reloaded) and not has_been_called.wait(self._timeout):
                raise TimeoutError(f"a callback did not return within {self._timeout} s")
        return outcome

    @contextlib.contextmanager
    def _called(self) -> Iterator[threading.Event]:
        """An event that is set when all callbacks have run: the last one sets it."""
        called = threading.Event()
        unsubscribe = self.config.subscribe(lambda _new, _changes: called.set())
        try:
            yield called
        finally:
            unsubscribe()

    def _outcome(self, before: Config) -> Reloaded | Unchanged | Rejected:
        """The result of the reload, by this thread or by the watcher. A vanished file counts after a moment."""
        deadline = time.monotonic() + self._timeout
        while True:
            outcome = self.config.reload()
            if isinstance(outcome, Rejected) or self._is_taken():
                break
            if time.monotonic() > deadline:
                raise TimeoutError(f"the change was not taken within {self._timeout} s")
            time.sleep(_PAUSE)
        if isinstance(outcome, Unchanged) and outcome.config.generation != before.generation:
            return Reloaded(outcome.config, before.diff(outcome.config))
        return outcome

    def _is_taken(self) -> bool:
        try:
            return bool(self.current == self._world.load(**self._arguments))
        except ConfigError:
            return False


@contextlib.contextmanager
def live(world: Sandbox, *, timeout: float = 10.0, **arguments: Any) -> Iterator[Live]:
    """A running LiveConfig in this sandbox; `arguments` are those of `LiveConfig.start`. Closed at the end.

    `timeout` is for `apply`, in seconds. Raises `ConfigError` when the files are faulty at the start.
    """
    with LiveConfig.start(environment=world.environment, **arguments) as config:
        yield Live(world, config, arguments, timeout)
