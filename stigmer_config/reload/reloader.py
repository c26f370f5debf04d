"""Repeats one worker's load with the current files."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..core.environment import Environment
from ..core.problems import Problem
from ..loading.load import Loaded, load_layers, read
from ..loading.request import Request
from ..sources import discovery as places
from ..sources.misplaced import misplaced_files
from ..sources.variables import variable_layers
from ..trust import grants
from .file_cache import FileCache
from .secret_cache import SecretCache

if TYPE_CHECKING:
    from ..sources.etcd.follower import FleetFollower

SETTLE = 2.5  # the most seconds that the first load waits for a file that is being written


class Reloader:
    """Loads the same request repeatedly, reusing unchanged parts. For one thread at a time.

    Variables and working folder stay those of the start; files and the date are read again. The mode stays that of the
    first load. `paths` are the paths, and `fleet` the store (if any), whose changes may change the configuration.
    """

    def __init__(
        self,
        request: Request,
        secrets: SecretCache | None = None,
        began: datetime.date | None = None,
        fleet: FleetFollower | None = None,
    ) -> None:
        self._files = FileCache(request.schema)
        self.fleet = fleet or _fleet(request)
        self._secrets = secrets or SecretCache(request.environment, runs=request.runs_commands)
        variables = variable_layers(request.environment, request.schema)  # a reload never reads them again
        self._request = msgspec.structs.replace(
            request,
            read_layer=self._files.read_layer,
            read_variables=lambda _environment, _schema: variables,
            find_misplaced=self._find_misplaced,
        )
        self._misplaced: list[Problem] | None = None  # None: the next load searches for it
        if self.fleet is not None:
            self._request = msgspec.structs.replace(self._request, read_fleet=self.fleet.read_fleet)
        self._began = began or datetime.date.today()  # noqa: DTZ011 - the date on this machine's calendar
        self._site = places.site_file(request.environment)[0]
        self._user = places.user_file(request.environment)
        self._project = self._found = self._search()  # the one in use, and the one of the newest search
        self._record, self._grant = self._recorded()
        self._is_withdrawn = False
        self._looked_at: tuple[Path, ...] = ()
        self._look_around()
        self._search_pending = False
        self._last: tuple[datetime.date, Loaded] | None = None

    @property
    def request(self) -> Request:
        return self._request

    @property
    def paths(self) -> tuple[Path, ...]:
        return (*self._looked_at, *self._secrets.files)

    @property
    def waiting(self) -> dict[Path, float]:
        """The files that are being written, and in how many seconds to read each again."""
        return {**self._files.waiting, **self._secrets.waiting}

    def for_child(self) -> Reloader:
        """A new reloader for a forked child, where this one may be in the middle of a load."""
        fleet = self.fleet.anew() if self.fleet is not None else None
        new = Reloader(self._request, self._secrets.for_child(), self._began, fleet)
        new._is_withdrawn = self._is_withdrawn
        return new

    def first(self) -> Loaded:
        """Makes the first load, once every file has settled, or after SETTLE seconds."""
        deadline = time.monotonic() + SETTLE
        loaded = self.read(None)
        while self.waiting and time.monotonic() < deadline:
            time.sleep(min(self.waiting.values()))
            loaded = self.read(None)
        self._request = msgspec.structs.replace(self._request, keep_mode=loaded.config.mode)
        return loaded

    def read(self, paths: Collection[Path] | None) -> Loaded:
        """Loads. Reads only these paths again (None: every file)."""
        last, self._last = self._last, None  # if anything fails from here on, the next read loads
        elsewhere = paths is None or self._is_elsewhere(paths)
        if paths is not None and elsewhere:
            paths = {*paths, Path(self._project.path)}
        changed = [self._files.refresh(paths), self._secrets.refresh(paths)]
        changed += [self.fleet.refresh()] if self.fleet is not None else []
        if elsewhere or self._project_may_be_the_users():
            is_other = self._find_project()
            changed += [is_other, self._find_grant(is_other=is_other)]
            self._look_around()
        if last is not None and last[0] == self._today() and not any(changed):
            self._last = last
            return last[1]
        if elsewhere:
            self._misplaced = None
        loaded = self._load()
        if self._project.why_none is None and _status(loaded, "project") == "absent" and self._find_project():
            self._find_grant(is_other=True)
            self._look_around()
            self._misplaced = None
            loaded = self._load()  # the project's file is gone: another one, further up, may count now
        return loaded

    def has_other_warnings(self) -> bool:
        """Searches for misplaced files, once a load is in use. Returns whether the next load has other warnings."""
        before, self._misplaced = self._misplaced, misplaced_files(self._request.environment, self._project)
        if before == self._misplaced:
            return False
        self._last = None
        return True

    def is_revoked(self, loaded: Loaded) -> bool:
        """Whether the user has revoked the grant, or a credential of it, so that `loaded` has errors."""
        project = loaded.layers.project
        return self._is_withdrawn and (self._grant is None or (project is not None and bool(project.granted)))

    def without_grant(self, good: Loaded) -> Loaded:
        """A good load vetted again without the project's grant."""
        opener = self._secrets.opener()
        environment = self._request.environment.with_today(self._today())
        request = msgspec.structs.replace(self._request, environment=environment, opener=opener, trust=grants.NONE)
        loaded = load_layers(request, good.layers)
        self._secrets.keep(opener, loaded.layers, good=False)
        return loaded

    def _today(self) -> datetime.date:
        passed = datetime.date.today() - self._began  # noqa: DTZ011 - the date on this machine's calendar
        return self._request.environment.today + passed

    def _find_misplaced(self, environment: Environment, project: places.Project) -> list[Problem]:
        if self._misplaced is None:
            self._misplaced = misplaced_files(environment, project)
        return self._misplaced

    def _load(self) -> Loaded:
        today = self._today()
        opener = self._secrets.opener()
        environment = self._request.environment.with_today(today)
        loaded = read(
            msgspec.structs.replace(self._request, environment=environment, project=self._project, opener=opener)
        )
        self._secrets.keep(opener, loaded.layers, good=not loaded.errors)
        self._is_withdrawn = self._is_withdrawn and bool(loaded.errors)
        self._last = (today, loaded)
        return loaded

    def _is_elsewhere(self, paths: Collection[Path]) -> bool:
        """Whether a path changed that is not a file already being read, so that other files may count now."""
        known = {self._site, self._user, *map(os.fspath, self._secrets.files)}
        if self._project.why_none is None:
            known.add(self._project.path)
        return self._search_pending or any(os.fspath(path) not in known for path in paths)

    def _project_may_be_the_users(self) -> bool:
        """Whether links may have made the user's and the project's file the same, or different again."""
        if self._project.path == self._user:
            return False  # no link is involved
        if self._project.why_none is None:
            return self._files.same(self._user, self._project.path)
        return os.path.lexists(self._project.path)

    def _search(self) -> places.Project:
        return places.project_file(self._request.environment, self._request.project_dir)

    def _find_project(self) -> bool:
        """Searches for the project's file. Returns whether its path changed."""
        before, found = self._project, self._search()
        has_changed = False
        if found != before and before.why_none is None and Path(before.path) not in self._files.waiting:
            # It may have vanished between the read and the search; only a read knows since when (contract, section 7).
            waiting = self._files.waiting
            has_changed = self._files.refresh({Path(before.path)})
            self._files.waiting = {**waiting, **self._files.waiting}
            found = self._search()
        self._found = found
        self._search_pending = found != before and Path(before.path) in self._files.waiting
        if found == before or self._search_pending:  # it may reappear at once
            return has_changed
        if found.why_none is None and not self._files.has_settled(found.path, "project", self._request.environment.uid):
            return False
        if before.path != found.path:
            self._files.forget("project", before.path)
        self._project = found
        return True

    def _find_grant(self, *, is_other: bool) -> bool:
        """Reads the user's grants to the project. Returns whether they differ from before."""
        before = self._grant
        self._record, self._grant = self._recorded()
        if self._grant == before:
            return False
        lost = set(before.credential_grants if before is not None else ())
        lost -= set(self._grant.credential_grants if self._grant is not None else ())
        self._is_withdrawn = before is not None and not is_other and (self._grant is None or bool(lost))
        return True

    def _recorded(self) -> tuple[str, grants.Grant | None]:
        """The path of the user's record for the project, and the grant in it."""
        path = self._project.path
        return grants.recorded_grant(self._request.environment, path) if os.path.isabs(path) else ("", None)

    def _look_around(self) -> None:
        """Finds the paths whose changes may change the configuration."""
        paths = places.looked_at(self._request.environment, self._request.project_dir, self._found)
        if self._record:
            paths.append(self._record)
        if paths != [os.fspath(path) for path in self._looked_at]:
            self._looked_at = tuple(map(Path, paths))


def _fleet(request: Request) -> FleetFollower | None:
    if request.environment.variable("STIGMER_ETCD") is None:
        return None
    from ..sources.etcd.follower import FleetFollower  # imported late: most machines have no fleet

    return FleetFollower(request.environment, schema=request.schema)


def _status(loaded: Loaded, name: str) -> str:
    return next(layer.status for layer in loaded.layers if layer.name == name)
