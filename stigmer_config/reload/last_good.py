"""What a worker holds: the newest good load, what waits for a restart, and what the last load was rejected for."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterable

import msgspec

from ..config.config import Config
from ..core.problems import ConfigError, Problem
from ..core.provenance import Change, Origin
from ..loading.load import Loaded
from ..settings.declarations import SETTINGS

FAULT_GRACE = 0.15  # seconds until a fault is reported: a slip between two saves stays quiet

# What a running worker cannot take on: it must restart to use it.
_RESTART = tuple(key for key, setting in SETTINGS.items() if setting.reload == "restart" and key != "mode")


class Held:
    """One worker's loads, judged one after the other. For one thread at a time.

    `newest` is the newest good load, `current` its Config with its generation, `loaded_at` when its values were
    taken (UTC), `fault` what a later load was rejected for. `reloads` counts the loads taken since the first,
    `rejections` those rejected, each distinct fault once; `last_success` is when a load was last good (UTC).
    """

    def __init__(self, first: Loaded) -> None:
        """Raises `ConfigError` when the first load is not good."""
        self.current = self._start = first.config_or_raise()
        self.newest = first
        self.loaded_at = self.last_success = _now()
        self.reloads = self.rejections = 0
        self.fault: ConfigError | None = None
        self.restart_required: tuple[str, ...] = ()
        self._young: tuple[str, float] | None = None  # a fault that is no news yet, and since when it is there

    def patience(self, loaded: Loaded) -> float:
        """In how many seconds a load's fault is news: 0 when it is old enough, known, or no fault at all."""
        text = _text(loaded.errors)
        if not text or text == self._reported:
            self._young = None
            return 0.0
        now = time.monotonic()
        if self._young is None or self._young[0] != text:
            self._young = (text, now)
        return max(self._young[1] + FAULT_GRACE - now, 0.0)

    def reject(self, loaded: Loaded) -> bool:
        """Keeps what is held. Whether the fault is another than the one reported last."""
        is_news = _text(loaded.errors) != self._reported
        self.rejections += is_news
        self.fault, self._young = ConfigError(loaded.problems), None
        return is_news

    def confirm(self, loaded: Loaded) -> bool:
        """Whether this load is held already, with nothing against it since: then it was good once more."""
        if loaded is not self.newest or self.fault is not None:
            return False
        self.last_success = _now()
        return True

    def accept(self, loaded: Loaded, *, keep_fault: bool = False) -> Config:
        """Holds a load from now on. The Config, of the same generation when it equals the last one.

        `keep_fault`: it has errors, which are reported already or will be.
        """
        config = loaded.config
        is_same = config == self.current
        new = msgspec.structs.replace(config, generation=self.current.generation + (not is_same))
        changed = tuple(key for key in _RESTART if config.value(key) != self._start.value(key))
        self.restart_required = ("mode", *changed) if loaded.wanted_mode != config.mode else changed
        self.last_success = _now()
        self.loaded_at = self.loaded_at if is_same else self.last_success
        self.reloads += 1
        self.newest, self.current, self._young = loaded, new, None
        self.fault = self.fault if keep_fault else None
        return new

    def in_use(self, key: str) -> object:
        """The value that the worker works with: for a key that waits for a restart the one of its start."""
        return (self._start if key in self.restart_required else self.current).value(key)

    @property
    def _reported(self) -> str:
        return _text(self.fault.problems) if self.fault is not None else ""


def mode_change(before: Loaded, after: Loaded) -> tuple[Change, ...]:
    """The change of the mode that the layers ask for: the worker keeps its own, so that no value tells it."""
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
