"""The newest good load of a worker, the changes that wait for a restart, and why a later load was rejected."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterable
from typing import Any

import msgspec

from ..config.config import changes_between, fingerprint_of
from ..core.problems import ConfigError, Problem
from ..core.provenance import Change, Origin
from ..loading.load import Loaded
from ..settings.declarations import SETTINGS

FAULT_GRACE = 0.15  # seconds until a fault is reported: one that the next save fixes is not reported

# The keys whose new values a worker uses after a restart.
_RESTART = tuple(key for key, setting in SETTINGS.items() if setting.reload == "restart" and key != "mode")


class LastGood:
    """The newest good load of one worker, and the loads after it. For one thread at a time.

    `newest` is the newest good load, `current` its Config with its generation, `loaded_at` the time when it was
    accepted (UTC), `fault` the error of a later, rejected load. `reloads` counts the loads accepted since the first,
    `rejections` the rejected ones, each distinct fault once; `last_success` is the time of the last good load (UTC).
    """

    def __init__(self, first: Loaded) -> None:
        """Raises `ConfigError` when the first load is not good."""
        self.current = self._start = first.config_or_raise()
        self.newest = first
        self.loaded_at = self.last_success = _now()
        self.reloads = self.rejections = 0
        self.fault: ConfigError | None = None
        self.restart_required: tuple[str, ...] = ()
        self._values = self._start_values = dict(self.current.effective())
        self._fingerprint: str | None = None
        self._young: tuple[str, float] | None = None  # a fault within its grace time, and when it was first seen

    def patience(self, loaded: Loaded) -> float:
        """Seconds until a load's fault is to be reported: 0 when it is old enough, was reported, or there is none."""
        text = _text(loaded.errors)
        if not text or text == self._reported:
            self._young = None
            return 0.0
        now = time.monotonic()
        if self._young is None or self._young[0] != text:
            self._young = (text, now)
        return max(self._young[1] + FAULT_GRACE - now, 0.0)

    def reject(self, loaded: Loaded) -> bool:
        """Keeps the last good load. Returns whether the fault differs from the one reported last."""
        is_news = _text(loaded.errors) != self._reported
        self.rejections += is_news
        self.fault, self._young = ConfigError(loaded.problems), None
        return is_news

    def confirm(self, loaded: Loaded) -> bool:
        """Whether this is the last good load, without a fault since; if so, updates `last_success`."""
        if loaded is not self.newest or self.fault is not None:
            return False
        self.last_success = _now()
        return True

    def accept(self, loaded: Loaded, *, keep_fault: bool = False) -> tuple[Change, ...]:
        """Makes a load the last good one. Returns how its Config differs; an equal one keeps the generation.

        `keep_fault`: the load has errors, which are reported separately. If this fails, nothing is accepted.
        """
        config = loaded.config
        is_same = config == self.current
        values = self._values if is_same else dict(config.effective())
        changes = () if is_same else changes_between(self.current, self._values, config, values)
        new = msgspec.structs.replace(config, generation=self.current.generation + (not is_same))
        changed = tuple(key for key in _RESTART if values[key] != self._start_values[key])
        if config.schema.apps:
            since = changes_between(self._start, self._start_values, config, values)
            changed += tuple(one.key for one in since if one.restart_required and one.key.startswith("apps."))
        self.restart_required = ("mode", *changed) if loaded.wanted_mode != config.mode else changed
        self.last_success = _now()
        self.loaded_at = self.loaded_at if is_same else self.last_success
        self.reloads += 1
        self.newest, self.current, self._young = loaded, new, None
        self._values, self._fingerprint = values, self._fingerprint if is_same else None
        self.fault = self.fault if keep_fault else None
        return changes

    def in_use(self) -> dict[str, Any]:
        """Every key with the value that the worker uses: for one that waits for a restart, the value from its start."""
        waiting = {key: self._start_values.get(key) for key in self._values if key in self.restart_required}
        return {**self._values, **waiting}

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the current Config, computed once."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint_of(self.current, self._values)
        return self._fingerprint

    @property
    def _reported(self) -> str:
        return _text(self.fault.problems) if self.fault is not None else ""


def mode_change(before: Loaded, after: Loaded) -> tuple[Change, ...]:
    """The change of the mode in the layers. The worker keeps its mode, so `Config.diff` does not show it."""
    if before.wanted_mode == after.wanted_mode:
        return ()
    old, new = before.wanted_mode, after.wanted_mode
    return (Change("mode", old, new, _wanted_by(before), _wanted_by(after), restart_required=True),)


def _wanted_by(loaded: Loaded) -> Origin | None:
    entries = [layer.entries["mode"] for layer in loaded.layers if "mode" in layer.entries]
    wanted = [entry.origin for entry in entries if entry.value == loaded.wanted_mode]
    return wanted[-1] if wanted else None


def _text(problems: Iterable[Problem]) -> str:
    return "\n".join(str(problem) for problem in problems if problem.severity == "error")


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
