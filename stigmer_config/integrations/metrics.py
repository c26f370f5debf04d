"""Metrics of a running worker's configuration, for OpenTelemetry (extra `metrics`).

from stigmer_config.integrations.metrics import observe

with LiveConfig.start() as live:
observe(live)
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, get_args

from ..files.watch import State

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter, Observation

    from ..live.live_config import LiveConfig
    from ..live.results import Status

__all__ = ["observe"]

# name, unit, description, and value. Prometheus' exporter adds _total to counters, and the unit's name.
_COUNTERS: tuple[tuple[str, str, str, Callable[[Status], float]], ...] = (
    ("reloads", "1", "Changed files that were taken", lambda status: status.reloads),
    ("rejections", "1", "Changed files that were rejected", lambda status: status.rejections),
)
_GAUGES: tuple[tuple[str, str, str, Callable[[Status], float]], ...] = (
    (
        "last_reload_successful",
        "",
        "1 while the files on disk are good, 0 while the last good configuration stands in for them",
        lambda status: status.last_error is None,
    ),
    (
        "last_success_timestamp",
        "s",
        "When the files last loaded well, in seconds since the epoch",
        lambda status: status.last_success.timestamp(),
    ),
    ("generation", "", "How many different configurations there were, from 1", lambda status: status.generation),
    (
        "restart_required",
        "",
        "How many changed keys wait for a restart of the worker",
        lambda status: len(status.restart_required),
    ),
)


def observe(live: LiveConfig, meter: Meter | None = None) -> None:
    """Makes `live.status` available as instruments named `stigmer_config.…` of `meter`. Call it once in a process.

    Without `meter` they belong to the global meter provider, which may be set later. They are read when the
    program's exporter collects, cost nothing in between, and do not keep `live` from being collected.

    Raises `ModuleNotFoundError`, with the `pip install` to run, when OpenTelemetry's API is not installed.
    """
    try:
        from opentelemetry import metrics
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        text = "opentelemetry-api is not installed: pip install 'stigmer-config[metrics]'"
        raise ModuleNotFoundError(text, name=error.name) from None
    meter = meter if meter is not None else metrics.get_meter("stigmer_config")
    observed = weakref.ref(live)
    for name, unit, doc, value in _COUNTERS:
        meter.create_observable_counter(f"stigmer_config.{name}", [_callback(observed, value)], unit, doc)
    for name, unit, doc, value in _GAUGES:
        meter.create_observable_gauge(f"stigmer_config.{name}", [_callback(observed, value)], unit, doc)
    doc = "1 for how changes are noticed now, 0 for the other states"
    meter.create_observable_gauge("stigmer_config.watching", [_watching(observed)], "", doc)


def _callback(
    observed: weakref.ref[LiveConfig], value: Callable[[Status], float]
) -> Callable[[Any], Iterable[Observation]]:
    from opentelemetry.metrics import Observation

    def read(_options: Any) -> list[Observation]:
        live = observed()
        return [] if live is None else [Observation(float(value(live.status)))]

    return read


def _watching(observed: weakref.ref[LiveConfig]) -> Callable[[Any], Iterable[Observation]]:
    from opentelemetry.metrics import Observation

    def read(_options: Any) -> list[Observation]:
        live = observed()
        if live is None:
            return []
        now = live.status.watching
        return [Observation(float(state == now), {"state": state}) for state in get_args(State)]

    return read
