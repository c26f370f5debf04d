"""What came of a reload, how a LiveConfig is doing, and the two states in which it does nothing."""

from __future__ import annotations

import datetime

import msgspec

from ..config.config import Config
from ..core.problems import ConfigError, Problem
from ..core.provenance import Change
from ..files.watch import State


class Closed(RuntimeError):  # noqa: N818 - a state, by its contract's name
    """The LiveConfig was closed: `current` can be read, nothing can be waited for."""


class Forked(RuntimeError):  # noqa: N818 - a state, by its contract's name
    """This process is a fork that does not follow the files: call `restart()` first."""


class Reloaded(msgspec.Struct, frozen=True):
    """A reload took a change."""

    config: Config
    changes: tuple[Change, ...]


class Unchanged(msgspec.Struct, frozen=True):
    """A reload found the same effective values."""

    config: Config


class Rejected(msgspec.Struct, frozen=True):
    """A reload found faults: the last good configuration stays. `problems` has the errors first."""

    problems: tuple[Problem, ...]


Outcome = Reloaded | Unchanged | Rejected


class Status(msgspec.Struct, frozen=True):
    """How a LiveConfig is doing.

    `loaded_at` is when the current values were taken (UTC); `last_error` what the newest reload was rejected
    for, None once a later one was good; `restart_required` the keys whose new values wait for a restart;
    `watching` how changes are noticed. `reloads` counts the changed files that were taken, `rejections` those that
    were rejected (once for each distinct fault), and `last_success` is when the files last loaded well (UTC).
    """

    generation: int
    loaded_at: datetime.datetime
    last_error: ConfigError | None
    restart_required: tuple[str, ...]
    watching: State
    reloads: int
    rejections: int
    last_success: datetime.datetime
