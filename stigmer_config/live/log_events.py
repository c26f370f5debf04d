"""The events that a worker logs (structlog), without secrets.

If the program has configured structlog, the events go there. If it has configured only the standard library's logging
(handlers at the root or at `stigmer_config`), they go there. Otherwise they go to stderr in the form of
`logging.format`: text on a terminal, one JSON object per line elsewhere. The global configuration of structlog and of
logging is never changed.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from ..config.config import Config
from ..core import forks
from ..core.problems import Problem, printable, texts
from ..core.provenance import Change, Layer, Origin
from ..llm.model_changes import by_edit
from ..secrets.redaction import redact_secrets, spellings, traceback_of, without_secrets
from . import standard_logging

if TYPE_CHECKING:
    from ..integrations.diagnosis import Check

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}

_MOST_FIELDS = 200  # the most items of an event's mapping

__all__ = ["Reporter", "redact_secrets"]


def _logger(config: Config) -> Any:
    """The logger for events: the program's own structlog or logging, or stderr in the configured form."""
    import structlog

    if structlog.is_configured():
        return structlog.get_logger("stigmer")
    if standard_logging.is_configured():
        return standard_logging.logger(_LEVELS[config.logging.level])
    form = config.logging.format
    renderer = _console if form == "console" or (form == "auto" and _is_terminal()) else _json
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    return structlog.wrap_logger(
        _Stderr(),
        processors=[structlog.processors.add_log_level, stamp, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[config.logging.level]),
    )


def _is_dropped(config: Config, method: str) -> bool:
    """Whether `logging.level` drops an event. A program's own structlog decides that itself."""
    is_configured = getattr(sys.modules.get("structlog"), "is_configured", None)
    by_program = is_configured is not None and is_configured()
    return not by_program and _LEVELS[method] < _LEVELS[config.logging.level]


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _console(logger: Any, method: str, event: MutableMapping[str, Any]) -> Any:
    """An event as text, with its problems below it, each on its own line."""
    import structlog

    colours = _is_terminal()
    render = structlog.dev.ConsoleRenderer(
        colors=colours, sort_keys=False, exception_formatter=structlog.dev.plain_traceback
    )
    problems = event.pop("problems", None)
    if problems is not None:
        event["exception"] = "\n".join(problems)
    return render(logger, method, event)


def _json(logger: Any, method: str, event: MutableMapping[str, Any]) -> Any:
    """An event as one line of JSON, its name first."""
    import structlog

    head = {name: event.pop(name) for name in ("timestamp", "level", "event")}
    return structlog.processors.JSONRenderer(ensure_ascii=False)(logger, method, {**head, **event})


class _Stderr:
    """Writes lines to the current `sys.stderr`."""

    def msg(self, message: str) -> None:
        _write(f"{message}\n")

    debug = info = warning = error = critical = msg


def _write(text: str) -> None:
    """Writes to the process's stderr without the stream's lock.

    A child that is forked while this waits for a full pipe would never get that lock. The stream's buffer can only
    contain an incomplete line.
    """
    stream = sys.stderr
    if stream is None:
        return
    is_own = stream is sys.__stderr__
    if is_own and hasattr(os, "fork"):
        data = text.encode(stream.encoding or "utf-8", "backslashreplace")
        while data:
            data = data[os.write(stream.fileno(), data) :]
    else:
        stream.write(text)
        stream.flush()


_aside = threading.local()


@contextlib.contextmanager
def logging_aside() -> Iterator[None]:
    """In this block each event is logged in its own thread, so that the caller never waits for a full pipe."""
    _aside.is_on = True
    try:
        yield
    finally:
        _aside.is_on = False


def _emit(config: Config, method: str, event: str, **fields: Any) -> None:
    """Logs an event without secrets. Never raises."""
    if _is_dropped(config, method):
        return
    if not getattr(_aside, "is_on", False):
        _log(config, method, event, fields)
        return
    with contextlib.suppress(RuntimeError):  # no more threads
        name = "stigmer-config-log"
        threading.Thread(target=_log, args=(config, method, event, fields), name=name, daemon=True).start()


def _log(config: Config, method: str, event: str, fields: Mapping[str, Any]) -> None:
    with forks.section():
        _log_now(config, method, event, fields)


def _log_now(config: Config, method: str, event: str, fields: Mapping[str, Any]) -> None:
    try:
        secrets = spellings()
        clean = {name: without_secrets(value, secrets) for name, value in fields.items()}
        getattr(_logger(config), method)(event, **clean)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the program's own processors run here too
        with contextlib.suppress(Exception):
            # Only the type: the message might quote a value.
            _write(f"stigmer: {event} could not be logged: {type(error).__name__}\n")


def _bounded(fields: dict[str, str]) -> dict[str, str]:
    """The first items, and how many more there are: a hostile file may have thousands."""
    if len(fields) <= _MOST_FIELDS:
        return fields
    return {**dict(list(fields.items())[:_MOST_FIELDS]), "…": f"and {len(fields) - _MOST_FIELDS} more"}


class Reporter:
    """Logs the events of a worker's configuration."""

    def __init__(self) -> None:
        self._degraded = False
        self._unpublished = ""
        self._unannounced = ""

    def loaded(self, config: Config, layers: Iterable[Layer]) -> None:
        """`config.loaded`: the initial configuration, and the origin of every value that is not a default."""
        llm = config.llm
        _emit(
            config,
            "info",
            "config.loaded",
            mode=config.mode,
            generation=config.generation,
            fingerprint=config.fingerprint,
            provider=llm.provider,
            model=config.llm.model_steps,
            base_url=llm.base_url,
            api_key=_credential(config),
            max_tokens=llm.max_tokens,
            temperature=llm.temperature,
            **_fallbacks(config),
            layers=[f"{layer.name}: {printable(layer.source)}" for layer in layers if layer.status == "loaded"],
            origins=_bounded(_origins(config)),
            warnings=texts(config.warnings),
        )

    def reloaded(
        self, config: Config, changes: Iterable[Change], restart_required: Iterable[str], fingerprint: str
    ) -> None:
        """`config.reloaded`: each changed key, old → new, with the origin of the new value.

        A change of the model is one, with what the configured string resolves to in brackets.
        """
        _emit(
            config,
            "info",
            "config.reloaded",
            generation=config.generation,
            fingerprint=fingerprint,
            model=config.llm.model_steps,
            changed=_bounded({steps[0].key: _change(steps) for steps in by_edit(changes)}),
            restart_required=list(restart_required),
        )

    def rejected(self, config: Config, problems: Iterable[Problem]) -> None:
        """`config.reload_rejected`: why the last good configuration stays."""
        _emit(config, "error", "config.reload_rejected", generation=config.generation, problems=texts(problems))

    def recovered(self, config: Config) -> None:
        """`config.recovered`: the rejected change is gone, and the configuration is the same as before it."""
        _emit(config, "info", "config.recovered", generation=config.generation, fingerprint=config.fingerprint)

    def watching(self, config: Config, state: str, detail: str) -> None:
        """`config.watch_degraded` when changes are detected by polling, `config.watch_restored` when that ends."""
        if state in ("degraded", "polling"):
            self._degraded = True
            _emit(config, "warning", "config.watch_degraded", watching=state, detail=printable(detail))
        elif state == "native" and self._degraded:
            self._degraded = False
            _emit(config, "info", "config.watch_restored", watching=state)

    def provider(self, config: Config, fault: Check | None) -> None:
        """`provider.ready`, or `provider.unreachable` with the finding and the fix."""
        llm = config.llm
        about = {"provider": llm.provider, "base_url": llm.base_url, "model": config.llm.model_steps}
        if fault is None:
            _emit(config, "info", "provider.ready", **about)
            return
        place = _place(config.explain(fault.key).origin) if fault.key else "not set"
        _emit(
            config,
            "warning",
            "provider.unreachable",
            **about,
            seen=fault.seen,
            fix=fault.fix,
            key=fault.key,
            origin=place,
        )

    def callback_failed(self, config: Config, callback: object, error: BaseException) -> None:
        """`config.callback_failed`: a subscriber raised; the others and the watcher continue."""
        name = getattr(callback, "__qualname__", None) or type(callback).__qualname__
        _emit(config, "error", "config.callback_failed", callback=name, exception=traceback_of(error))

    def not_following(self, config: Config) -> None:
        """`config.not_following`: this process is a fork, and does not follow the files."""
        _emit(
            config,
            "warning",
            "config.not_following",
            generation=config.generation,
            fingerprint=config.fingerprint,
            detail="this process was forked: it keeps the configuration it was forked with",
            fix="LiveConfig.start(follow_forks=True) before the fork, or live.restart() after it",
        )

    def published(self, config: Config, error: OSError | None) -> None:
        """`config.state_unpublished`: `stigmer config workers` does not list this worker. Once for each reason."""
        reason = "" if error is None else error.strerror or type(error).__name__
        if reason and reason != self._unpublished:
            _emit(config, "warning", "config.state_unpublished", reason=reason)
        self._unpublished = reason

    def announced(self, config: Config, reason: str) -> None:
        """`config.fleet_unannounced`: `workers --fleet` does not list this worker. Once for each reason."""
        if reason and reason != self._unannounced:
            _emit(config, "warning", "config.fleet_unannounced", reason=printable(reason))
        self._unannounced = reason


def _credential(config: Config) -> str:
    if config.llm.api_key is None:
        return "none"
    return f"set ({_place(config.explain('llm.api_key').origin)})"


def _fallbacks(config: Config) -> dict[str, list[str]]:
    """Each fallback's model, address and key, where there are any."""
    rows = zip(config.llm.fallbacks, config.fallback_keys(), strict=True)
    shown = [
        f"{printable(llm.model_steps)} at {llm.base_url}, key {f'set ({_place(key)})' if key else 'none'}"
        for llm, key in rows
    ]
    return {"fallbacks": shown} if shown else {}


def _place(origin: Origin | None) -> str:
    if origin is None:
        return "not set"
    return printable(str(origin)) if origin.layer == "etcd" else f"{origin.layer}: {printable(str(origin))}"


def _origins(config: Config) -> dict[str, str]:
    """The origin of each value that is not a packaged default."""
    found: dict[str, str] = {}
    for key, value in config.effective():
        if value is None or key.startswith("llm.model_") or key == "llm.alias":
            continue
        origin = config.explain(key).origin
        if origin is not None and origin.layer != "defaults":
            found[key] = _place(origin)
    return found


def _change(steps: Sequence[Change]) -> str:
    old, new = (
        [_shown(value) for value in values] for values in zip(*((step.old, step.new) for step in steps), strict=True)
    )
    return f"{_resolved(old)} → {_resolved(new)} ({_place(steps[0].new_origin)})"


def _resolved(values: Iterable[str]) -> str:
    """A value and, in brackets, what it resolves to: `fast (llama3.2:3b)`."""
    first, *further = dict.fromkeys(values)
    return f"{first} ({', '.join(further)})" if further else first


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    return printable(str({**value} if isinstance(value, Mapping) else value))
