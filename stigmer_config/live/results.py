"""Reload results, status, and the `Closed` and `Forked` errors."""

from __future__ import annotations

import datetime

import msgspec

from ..config.config import Config
from ..core.problems import ConfigError, Problem
from ..core.provenance import Change
from ..files.watch import State


class Closed(RuntimeError):  # noqa: N818 - a state, by its contract's name
    """The LiveConfig was closed: `current` can be read, but waiting is impossible."""


class Forked(RuntimeError):  # noqa: N818 - a state, by its contract's name
    """This process is a forked child that does not follow the files: call `restart()` first."""


class Reloaded(msgspec.Struct, frozen=True):
    """A reload applied a change."""

    config: Config
    changes: tuple[Change, ...]


class Unchanged(msgspec.Struct, frozen=True):
    """A reload found the same effective values."""

    config: Config


class Rejected(msgspec.Struct, frozen=True):
    """A reload found faults: the last good configuration stays. `problems` starts with the errors."""

    problems: tuple[Problem, ...]


ReloadResult = Reloaded | Unchanged | Rejected


class Status(msgspec.Struct, frozen=True):
    """The status of a LiveConfig.

    `loaded_at` is when the current values were loaded (UTC); `last_error` the error of the newest reload, None once a
    later one was good; `restart_required` the keys whose new values wait for a restart; `watching` how changes are
    detected. `reloads` counts the accepted changes of the files, `rejections` the rejected ones (once for each distinct
    fault), and `last_success` is when the files were last loaded without errors (UTC).
    """

    generation: int
    loaded_at: datetime.datetime
    last_error: ConfigError | None
    restart_required: tuple[str, ...]
    watching: State
    reloads: int
    rejections: int
    last_success: datetime.datetime
