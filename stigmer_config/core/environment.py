"""The world as it is at the start, captured once: nothing else reads `os.environ` or asks for the date."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from .masked_repr import MaskedRepr


class Environment(MaskedRepr, frozen=True):
    """Variables, working folder, home, user id, date, and the folders of the system and the user.

    `site_dir` is platformdirs' site config folder for `stigmer`, `state_dir` its user state folder. Tests give
    what they want in force; everything else comes from `capture()`.
    """

    _shown = ("cwd", "home", "uid", "today")

    variables: Mapping[str, str]
    cwd: Path
    home: Path
    uid: int
    today: datetime.date
    site_dir: Path
    state_dir: Path

    @classmethod
    def capture(
        cls,
        variables: Mapping[str, str] | None = None,
        *,
        cwd: Path | None = None,
        home: Path | None = None,
        today: datetime.date | None = None,
        site_dir: Path | None = None,
        state_dir: Path | None = None,
    ) -> Environment:
        """This process's world, except for what is given.

        Raises `OSError` when the working folder is gone and none is given.
        """
        taken = dict(os.environ if variables is None else variables)
        import platformdirs

        if home is not None and state_dir is None:
            state_dir = home / ".local" / "state" / "stigmer"  # of that home, not of this process's user
        return cls(
            variables=taken,
            cwd=cwd if cwd is not None else Path(os.getcwd()),
            home=home if home is not None else Path(taken.get("HOME") or os.path.expanduser("~")),
            uid=os.getuid() if hasattr(os, "getuid") else 0,
            today=today if today is not None else datetime.date.today(),  # noqa: DTZ011 - this machine's calendar
            site_dir=site_dir if site_dir is not None else platformdirs.site_config_path("stigmer"),
            state_dir=state_dir if state_dir is not None else platformdirs.user_state_path("stigmer"),
        )

    def variable(self, name: str) -> str | None:
        """A variable's value; one set to the empty string counts as unset."""
        return self.variables.get(name) or None

    def with_today(self, today: datetime.date) -> Environment:
        """The same world on another day: a reload re-reads the date, never the variables."""
        return msgspec.structs.replace(self, today=today)
