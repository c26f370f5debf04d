"""Layered configuration with hot reload for LLM agent workers.

`load()` reads every layer and returns one frozen `Config`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import Config, LLMConfig
    from .environment import Environment
    from .loader import load
    from .problems import ConfigError, Problem
    from .provenance import Change, Explanation, Origin
    from .secret import Secret

__all__ = [
    "Change",
    "Config",
    "ConfigError",
    "Environment",
    "Explanation",
    "LLMConfig",
    "Origin",
    "Problem",
    "Secret",
    "load",
]

_HOMES = {
    "Change": "provenance",
    "Config": "config",
    "ConfigError": "problems",
    "Environment": "environment",
    "Explanation": "provenance",
    "LLMConfig": "config",
    "Origin": "provenance",
    "Problem": "problems",
    "Secret": "secret",
    "load": "loader",
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
