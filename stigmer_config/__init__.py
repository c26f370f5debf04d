"""Layered configuration with hot reload for LLM agent workers.

`load()` reads every layer and returns one frozen `Config`; `LiveConfig.start()` keeps one current.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import Config
    from .environment import Environment
    from .live import Closed, Forked, LiveConfig, Rejected, Reloaded, Status, Unchanged
    from .loader import load
    from .problems import ConfigError, Problem
    from .provenance import Change, Explanation, Origin
    from .report import redact_secrets
    from .secret import Secret
    from .sections import LLMConfig

__all__ = [
    "Change",
    "Closed",
    "Config",
    "ConfigError",
    "Environment",
    "Explanation",
    "Forked",
    "LLMConfig",
    "LiveConfig",
    "Origin",
    "Problem",
    "Rejected",
    "Reloaded",
    "Secret",
    "Status",
    "Unchanged",
    "load",
    "redact_secrets",
]

_HOMES = {
    "Change": "provenance",
    "Closed": "live",
    "Config": "config",
    "ConfigError": "problems",
    "Environment": "environment",
    "Explanation": "provenance",
    "Forked": "live",
    "LLMConfig": "sections",
    "LiveConfig": "live",
    "Origin": "provenance",
    "Problem": "problems",
    "Rejected": "live",
    "Reloaded": "live",
    "Secret": "secret",
    "Status": "live",
    "Unchanged": "live",
    "load": "loader",
    "redact_secrets": "report",
}


def __getattr__(name: str) -> Any:
    """Heavy parts load on first use."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
