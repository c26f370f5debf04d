"""Logs events through the standard library's logging, for a program that has not configured structlog."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

NAME = "stigmer_config"


def is_configured() -> bool:
    """Whether the root logger or the logger `stigmer_config` has a handler."""
    own = logging.Logger.manager.loggerDict.get(NAME)  # `getLogger` would create one
    return bool(logging.getLogger().handlers or getattr(own, "handlers", None))


def logger(least: int) -> Any:
    """A structlog logger that passes events, from the level `least` on, to the standard logger `stigmer_config`.

    The program's own levels and handlers apply; none of them is changed.
    """
    import structlog

    return structlog.wrap_logger(
        logging.getLogger(NAME), processors=[_record], wrapper_class=structlog.make_filtering_bound_logger(least)
    )


def _record(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> tuple[tuple[str, str], dict[str, dict[str, Any]]]:
    """The arguments of `logging.Logger.info` for an event: a line with its fields, and the problems below it.

    The record has the event's name as `event` and its fields as `fields`, for formatters that write JSON.
    """
    del logger, method
    name = event.pop("event")
    extra = {"event": name, "fields": dict(event)}
    below = [*event.pop("problems", ()), *filter(None, (event.pop("exception", None),))]
    line = " ".join((name, *(f"{field}={value!r}" for field, value in event.items())))
    return ("%s", "\n".join((line, *below))), {"extra": extra}
