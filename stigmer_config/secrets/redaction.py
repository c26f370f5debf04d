"""Removes every registered secret from log events."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

from ..core.secret import MASK, Secret, registered

_SPELLED_ALIKE = re.compile(r"[A-Za-z0-9._~-]*")  # everywhere: nothing is escaped
_SHORTEST = 8  # masking a shorter secret would mask parts of ordinary words


def redact_secrets(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor that masks every registered secret of 8 characters or more.

    Put it right before the renderer. An exception is rendered here, as a plain traceback without locals.
    """
    del logger, method
    if event.get("exc_info"):
        event = _with_plain_traceback(event)
    secrets = spellings()
    for name in list(event):
        event[name] = without_secrets(event[name], secrets)
    return event


def spellings() -> list[str]:
    """Every form in which a registered secret may occur in a string, the longest first."""
    import json  # imported late: a load imports this module, and logs nothing
    from urllib.parse import quote

    found: set[str] = set()
    for text in registered():
        if len(text) >= _SHORTEST and _SPELLED_ALIKE.fullmatch(text):
            found.add(text)
        elif len(text) >= _SHORTEST:
            found |= {text, repr(text)[1:-1], json.dumps(text)[1:-1], quote(text, safe="")}
    return sorted(found, key=len, reverse=True)


def _with_plain_traceback(event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    info = event.pop("exc_info")
    error = info if isinstance(info, BaseException) else info[1] if isinstance(info, tuple) else sys.exc_info()[1]
    if error is not None:
        event["exception"] = traceback_of(error)
    return event


def traceback_of(error: BaseException) -> str:
    """An exception formatted as Python prints it, with its causes and without locals."""
    import traceback

    return "".join(traceback.format_exception(error)).rstrip()


def without_secrets(value: Any, secrets: list[str]) -> Any:
    """A value of an event with every occurrence of these spellings masked."""
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, MASK)
        return value
    if isinstance(value, Mapping):
        return {without_secrets(name, secrets): without_secrets(part, secrets) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        parts = [without_secrets(part, secrets) for part in value]
        return tuple(parts) if isinstance(value, tuple) else parts
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Secret):
        return MASK
    # Other objects are left to the renderer, unless their repr contains a secret.
    shown = f"{value} {value!r}"
    return without_secrets(str(value), secrets) if without_secrets(shown, secrets) != shown else value
