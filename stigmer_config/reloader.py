"""Loading again and again for one worker: the same request, the files as they are now."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Collection
from pathlib import Path

import msgspec

from . import grants, places
from .kept import KeptFiles
from .loader import Loaded, Request, read
from .references import Opener

SETTLE = 2.5  # seconds that the first load waits for a writer in the middle of a file


class Reloader:
    """Reads what was asked for at the start, keeping what did not change. For one thread at a time.

    Variables and working folder stay those of the start; files and the date are read anew. The mode stays
    the one of the first load.
    """

    def __init__(self, asked: Request) -> None:
        self._files = KeptFiles()
        self._opener = Opener(asked.environment, runs=True)
        self._asked = msgspec.structs.replace(asked, read_layer=self._files.read_layer, opener=self._opener)
        self._began = datetime.date.today()  # noqa: DTZ011 - the date on this machine's calendar
        self._project = places.project_file(asked.environment, asked.project_dir)
        self._grant = grants.recorded(asked.environment, self._project.path)
        self._last: tuple[datetime.date, Loaded] | None = None

    @property
    def asked(self) -> Request:
        return self._asked

    @property
    def waiting(self) -> dict[Path, float]:
        """The files that must be read again, and in how many seconds: somebody is writing them."""
        return self._files.waiting

    def first(self) -> Loaded:
        """The first load, once no writer is in the middle of a file."""
        deadline = time.monotonic() + SETTLE
        loaded = self.read(None)
        while self.waiting and time.monotonic() < deadline:
            time.sleep(min(self.waiting.values()))
            loaded = self.read(None)
        self._asked = msgspec.structs.replace(self._asked, keep_mode=loaded.config.mode)
        return loaded

    def read(self, told: Collection[Path] | None) -> Loaded:
        """Loads. Only `told` paths are read again, with None every file."""
        moved = (told is None or not self._only_known(told)) and self._find_others()
        changed = self._files.refresh(told)
        if self._last is not None and not moved and not changed and self._last[0] == self._today():
            return self._last[1]
        loaded = self._load()
        if self._project.why_none is None and _status(loaded, "project") == "absent" and self._find_project():
            loaded = self._load()  # the project's file is gone: another, further up, may count now
        return loaded

    def _today(self) -> datetime.date:
        passed = datetime.date.today() - self._began  # noqa: DTZ011 - the date on this machine's calendar
        return self._asked.environment.today + passed

    def _load(self) -> Loaded:
        today = self._today()
        world = self._asked.environment.with_today(today)
        loaded = read(msgspec.structs.replace(self._asked, environment=world, project=self._project))
        self._last = (today, loaded)
        return loaded

    def _find_project(self) -> bool:
        """Looks for the project's file. Whether it stands elsewhere than before."""
        before = self._project
        self._project = places.project_file(self._asked.environment, self._asked.project_dir)
        return self._project != before

    def _find_others(self) -> bool:
        """Looks at all that is no layer's file. Whether any of it is another than before."""
        return any([self._find_project(), self._find_grant(), self._opener.refresh()])

    def _find_grant(self) -> bool:
        """Looks for what the user granted the project. Whether that is another grant than before."""
        before = self._grant
        self._grant = grants.recorded(self._asked.environment, self._project.path)
        return self._grant != before

    def _only_known(self, told: Collection[Path]) -> bool:
        """Whether all that changed are files that are read anyway: then nothing has to be looked for."""
        world = self._asked.environment
        known = {places.site_file(world)[0], places.user_file(world)}
        if self._project.why_none is None:
            known.add(self._project.path)
        return all(os.fspath(path) in known for path in told)

    def paths(self) -> tuple[Path, ...]:
        """Every path whose change may change the configuration."""
        world = self._asked.environment
        looked_at = [Path(path) for path in places.looked_at(world, self._asked.project_dir)]
        return (*looked_at, grants.path_of(world, self._project.path), *self._opener.files)


def _status(loaded: Loaded, name: str) -> str:
    return next(layer.status for layer in loaded.layers if layer.name == name)
