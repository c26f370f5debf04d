"""A home, a project and variables for one test, isolated from this machine."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stigmer_config import Config, Environment, Problem, load
from stigmer_config.loading.load import Loaded, read
from stigmer_config.loading.request import request

from . import command_server

# A day on which no model that the tests name is near its end, unless a test says otherwise.
TODAY = datetime.date(2026, 6, 1)


class Sandbox:
    """A home, a project with a `.git`, a site file, and variables; and the ways in: `load`, `read`, `run`."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.home = self.root / "home"
        self.project = self.root / "work" / "project"
        self.site_dir = self.root / "site"
        self.temporary = self.root / "tmp"
        for folder in (self.home, self.project / ".git", self.site_dir, self.temporary):
            folder.mkdir(parents=True, exist_ok=True)
        self.home.chmod(0o700)
        self.variables: dict[str, str] = {}

    @property
    def user_file(self) -> Path:
        return self.home / ".stigmer" / "config.yaml"

    @property
    def project_file(self) -> Path:
        return self.project / ".stigmer" / "config.yaml"

    @property
    def site_file(self) -> Path:
        return self.site_dir / "config.yaml"

    def write(self, *, site: str | None = None, user: str | None = None, project: str | None = None) -> Sandbox:
        """Writes the files that are given (user and site with mode 0600)."""
        for path, text in ((self.site_file, site), (self.user_file, user), (self.project_file, project)):
            if text is not None:
                path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
                path.chmod(0o600)
        return self

    def environment(
        self, variables: Mapping[str, str] | None = None, *, cwd: Path | None = None, today: datetime.date = TODAY
    ) -> Environment:
        return Environment.capture(
            {"HOME": str(self.home), **self.variables, **(variables or {})},
            cwd=cwd or self.project,
            home=self.home,
            today=today,
            site_dir=self.site_dir,
        )

    def load(
        self, variables: Mapping[str, str] | None = None, *, today: datetime.date = TODAY, **arguments: Any
    ) -> Config:
        """`load()` in this world; raises `ConfigError`."""
        return load(environment=self.environment(variables, today=today), **arguments)

    def read(
        self, variables: Mapping[str, str] | None = None, *, today: datetime.date = TODAY, **arguments: Any
    ) -> Loaded:
        """A load with its faults in the result instead of raised."""
        return read(request(environment=self.environment(variables, today=today), **arguments))

    def problems(self, variables: Mapping[str, str] | None = None, **arguments: Any) -> list[Problem]:
        return list(self.read(variables, **arguments).problems)

    def run(
        self, *argv: str, variables: Mapping[str, str] | None = None, stdin: str = "", cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """`stigmer config ARGV…`, the real command, in a process of its own in this world."""
        environment = {
            "HOME": str(self.home),
            "PATH": os.environ.get("PATH", ""),
            "LC_ALL": "C.UTF-8",
            "XDG_CONFIG_DIRS": str(self.root / "xdg"),
            "XDG_STATE_HOME": str(self.home / ".state"),
            "XDG_CACHE_HOME": str(self.home / ".cache"),
            "XDG_RUNTIME_DIR": str(self.home / ".run"),
            "TMPDIR": str(self.temporary),  # no worker of this machine, nor of another test
            **({"STIGMER_SITE_CONFIG": str(self.site_file)} if self.site_file.exists() else {}),
            **self.variables,
            **(variables or {}),
        }
        return command_server.run("config", *argv, cwd=cwd or self.project, env=environment, stdin=stdin)

    def show(self, *argv: str, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The document of `show --origin --format json`."""
        document: dict[str, Any] = json.loads(
            self.run("show", "--origin", "--format", "json", *argv, variables=variables).stdout
        )
        return document
