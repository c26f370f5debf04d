"""The events a worker logs (structlog), each with every secret taken out.

A program that has configured structlog keeps its configuration and sees the events there. Otherwise they go
to stderr as `logging.format` says: text on a terminal, one JSON object a line elsewhere. Nothing here
touches structlog's global configuration or the standard library's logging.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

from .config import Config
from .problems import Problem, printable
from .provenance import Change, Layer, Origin
from .secret import MASK, Secret, registered

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_SHORTEST = 8  # a shorter secret would take half of every word with it


def redact_secrets(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor that replaces every registered secret of 8 characters or more by a mask.

    Put it right before the renderer. An exception is rendered here, as a plain traceback without locals.
    """
    del logger, method
    if event.get("exc_info"):
        event = _with_plain_traceback(event)
    secrets = sorted((text for text in registered() if len(text) >= _SHORTEST), key=len, reverse=True)
    for name in list(event):
        event[name] = _redacted(event[name], secrets)
    return event


def _with_plain_traceback(event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    import traceback

    info = event.pop("exc_info")
    error = info if isinstance(info, BaseException) else info[1] if isinstance(info, tuple) else sys.exc_info()[1]
    if error is not None:
        event["exception"] = "".join(traceback.format_exception(error)).rstrip()
    return event


def _redacted(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, MASK)
        return value
    if isinstance(value, Mapping):
        return {name: _redacted(part, secrets) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_redacted(part, secrets) for part in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return _redacted(MASK if isinstance(value, Secret) else str(value), secrets)


def _logger(config: Config | None) -> Any:
    """Where events go: to the program's own structlog, or to stderr in the configured form."""
    import structlog

    if structlog.is_configured():
        return structlog.get_logger("stigmer")
    level = _LEVELS[config.logging.level] if config is not None else _LEVELS["info"]
    form = config.logging.format if config is not None else "auto"
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    renderer: Any = structlog.processors.JSONRenderer(ensure_ascii=False)
    if console:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), sort_keys=False)
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    return structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[structlog.processors.add_log_level, stamp, redact_secrets, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )


class Reporter:
    """Tells what happens to a worker's configuration, as log events."""

    def loaded(self, config: Config, layers: Iterable[Layer]) -> None:
        """`config.loaded`: what the worker starts with, and where every value that is no default comes from."""
        llm = config.llm
        _logger(config).info(
            "config.loaded",
            mode=config.mode,
            generation=config.generation,
            fingerprint=config.fingerprint,
            provider=llm.provider,
            model=_model(config),
            base_url=llm.base_url,
            api_key=_credential(config),
            max_tokens=llm.max_tokens,
            temperature=llm.temperature,
            layers=[f"{layer.name}: {printable(layer.source)}" for layer in layers if layer.status == "loaded"],
            origins=_origins(config),
            warnings=[str(problem) for problem in config.warnings],
        )

    def reloaded(self, config: Config, changes: Iterable[Change], restart_required: Iterable[str]) -> None:
        """`config.reloaded`: each changed key, old → new, with where the new value comes from."""
        _logger(config).info(
            "config.reloaded",
            generation=config.generation,
            fingerprint=config.fingerprint,
            model=_model(config),
            changed={change.key: _change(change) for change in changes},
            restart_required=list(restart_required),
        )

    def rejected(self, config: Config, problems: Iterable[Problem]) -> None:
        """`config.reload_rejected`: why the last good configuration stays."""
        _logger(config).error(
            "config.reload_rejected", generation=config.generation, problems=[str(problem) for problem in problems]
        )

    def watching(self, config: Config, state: str, detail: str) -> None:
        """`config.watch_degraded`, or `config.watch_restored`: how changes are noticed from now on."""
        if state == "native":
            _logger(config).info("config.watch_restored", watching=state)
        else:
            _logger(config).warning("config.watch_degraded", watching=state, detail=printable(detail))

    def callback_failed(self, config: Config, callback: object, error: BaseException) -> None:
        """`config.callback_failed`: a subscriber raised; the others and the watcher go on."""
        name = getattr(callback, "__qualname__", repr(callback))
        _logger(config).error("config.callback_failed", callback=name, exc_info=error)

    def unpublished(self, config: Config, error: OSError) -> None:
        """`config.state_unpublished`: `stigmer config workers` will not see this worker's newest state."""
        _logger(config).warning("config.state_unpublished", reason=error.strerror or type(error).__name__)


def _model(config: Config) -> str:
    llm = config.llm
    return " → ".join(dict.fromkeys(part for part in (llm.model, llm.model_name, llm.model_id) if part))


def _credential(config: Config) -> str:
    if config.llm.api_key is None:
        return "none"
    return f"set ({_place(config.explain('llm.api_key').origin)})"


def _place(origin: Origin | None) -> str:
    return f"{origin.layer}: {printable(str(origin))}" if origin is not None else "not set"


def _origins(config: Config) -> dict[str, str]:
    """Where each value comes from that is not the packaged default."""
    found: dict[str, str] = {}
    for key, value in config.effective():
        if value is None or key.startswith("llm.model_") or key == "llm.alias":
            continue
        origin = config.explain(key).origin
        if origin is not None and origin.layer != "defaults":
            found[key] = _place(origin)
    return found


def _change(change: Change) -> str:
    return f"{_shown(change.old)} → {_shown(change.new)} ({_place(change.new_origin)})"


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    return printable(str({**value} if isinstance(value, Mapping) else value))
