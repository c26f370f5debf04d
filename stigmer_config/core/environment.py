"""The process environment, captured once: nothing else reads `os.environ`, the working folder or the date."""

from __future__ import annotations

import datetime
import functools
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from .masked_repr import MaskedRepr


class Environment(MaskedRepr, frozen=True):
    """Variables, working folder, home, user id, date, and the folders of the system and the user.

    `cwd` is None when the working folder is gone, `home` when the user has none. `site_dir` is platformdirs' site
    config folder for `stigmer`, `state_dir` its user state folder (None without a home), `config_dir` its user config
    folder, which this package does not use for files. All paths are absolute. Tests pass the fields they need;
    `capture()` fills in the rest.
    """

    _shown = ("cwd", "home", "uid", "today")

    variables: Mapping[str, str]
    cwd: Path | None
    home: Path | None
    uid: int
    today: datetime.date
    site_dir: Path
    state_dir: Path | None
    config_dir: Path | None = None

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
        """This process's environment, except for what is given."""
        process = dict(os.environ)
        taken = process if variables is None else dict(variables)
        folders = _platform_folders(frozenset(process.items()), os.getuid() if hasattr(os, "getuid") else 0)
        cwd = cwd if cwd is not None else _working_folder()
        if home is not None:  # the folders of that home, not of this process's user
            state_dir = state_dir or home / ".local" / "state" / "stigmer"
            config_dir: Path | None = home / ".config" / "stigmer"
        else:
            home = _home(taken, cwd)
            config_dir = _user_folder(folders.config, home, ".config")
            state_dir = state_dir or _user_folder(folders.state, home, ".local/state")
        if state_dir is None and taken.get("STIGMER_HOME"):
            state_dir = Path(_absolute(taken["STIGMER_HOME"], cwd, home)) / "state"
        return cls(
            variables=taken,
            cwd=cwd,
            home=home,
            uid=os.getuid() if hasattr(os, "getuid") else 0,
            today=today if today is not None else datetime.date.today(),  # noqa: DTZ011 - this machine's calendar
            site_dir=site_dir if site_dir is not None else folders.site,
            state_dir=state_dir,
            config_dir=config_dir,
        )

    def variable(self, name: str) -> str | None:
        """A variable's value; one set to the empty string counts as unset."""
        return self.variables.get(name) or None

    def absolute(self, path: str | os.PathLike[str]) -> str:
        """The path made absolute: `~` is the home, and a relative path starts at the working folder.

        It stays relative when that folder does not exist.
        """
        return _absolute(os.fspath(path), self.cwd, self.home)

    def with_today(self, today: datetime.date) -> Environment:
        """A copy with today's date: a reload re-reads the date, never the variables."""
        return msgspec.structs.replace(self, today=today)


def process_variables() -> Mapping[str, str]:
    """The current variables of this process, which libraries read while they are imported."""
    return os.environ


def _working_folder() -> Path | None:
    try:
        return Path(os.getcwd())
    except OSError:
        return None


def _home(variables: Mapping[str, str], cwd: Path | None) -> Path | None:
    """The home, as an absolute path: `HOME`, else the one in the system's user database."""
    found = variables.get("HOME") or os.path.expanduser("~")
    if found.startswith("~"):  # neither
        return None
    path = _absolute(found, cwd, None)
    return Path(path) if os.path.isabs(path) else None


class _Folders(msgspec.Struct, frozen=True):
    """platformdirs' folders for `stigmer`; None where it finds none, because there is no home or a relative one."""

    site: Path
    config: Path | None
    state: Path | None


# With one of these the folders are not the defaults of the XDG Base Directory Specification.
_MOVING = ("XDG_CONFIG_DIRS", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "ANDROID_DATA")


@functools.lru_cache(maxsize=1)
def _platform_folders(process: frozenset[tuple[str, str]], uid: int) -> _Folders:
    """The folders, which depend on this process's variables and its user."""
    del uid
    variables = dict(process)
    home = variables.get("HOME", "")
    if sys.platform == "linux" and os.path.isabs(home) and not any(map(variables.get, _MOVING)):
        below = Path(home)
        return _Folders(Path("/etc/xdg/stigmer"), below / ".config" / "stigmer", below / ".local/state" / "stigmer")
    import platformdirs  # imported late: it takes a tenth of a whole load, and most machines use the defaults

    folders = platformdirs.PlatformDirs("stigmer")

    def of_user(name: str) -> Path | None:
        try:
            return Path(getattr(folders, name))
        except RuntimeError:
            return None

    return _Folders(folders.site_config_path, of_user("user_config_dir"), of_user("user_state_dir"))


def _user_folder(platform: Path | None, home: Path | None, usual: str) -> Path | None:
    """One of platformdirs' folders of the user, or the usual one in a home that is given by a relative path."""
    if platform is None:
        return home / usual / "stigmer" if home is not None else None
    return platform if platform.is_absolute() else None


def _absolute(path: str, cwd: Path | None, home: Path | None) -> str:
    if path == "~" or path.startswith(f"~{os.sep}"):
        path = os.path.join(home, path[2:]) if home is not None else path
    elif path.startswith("~"):
        path = os.path.expanduser(path)  # another user's
    return os.path.normpath(os.path.join(cwd, path)) if cwd is not None else path
