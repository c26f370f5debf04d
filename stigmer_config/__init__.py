"""Layered configuration with hot reload for LLM agent workers.

`load()` reads every layer and returns a frozen `Config`; `LiveConfig.start()` returns one that follows its files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config.config import Config
    from .config.sections import LLMConfig
    from .core.environment import Environment
    from .core.problems import ConfigError, Problem
    from .core.provenance import Change, Explanation, Origin
    from .core.secret import Secret
    from .live.live_config import Closed, Forked, LiveConfig, Rejected, Reloaded, Status, Unchanged
    from .live.log_events import redact_secrets
    from .loading.load import load
    from .loading.load import load_for_worker as load_for_worker
    from .settings.apps import app, setting

    __version__: str

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
    "app",
    "load",
    "redact_secrets",
    "setting",
]

_HOMES = {
    "Change": "core.provenance",
    "Closed": "live.live_config",
    "Config": "config.config",
    "ConfigError": "core.problems",
    "Environment": "core.environment",
    "Explanation": "core.provenance",
    "Forked": "live.live_config",
    "LLMConfig": "config.sections",
    "LiveConfig": "live.live_config",
    "Origin": "core.provenance",
    "Problem": "core.problems",
    "Rejected": "live.live_config",
    "Reloaded": "live.live_config",
    "Secret": "core.secret",
    "Status": "live.live_config",
    "Unchanged": "live.live_config",
    "app": "settings.apps",
    "load": "loading.load",
    "load_for_worker": "loading.load",  # for `Config.load_from_env()` alone
    "redact_secrets": "live.log_events",
    "setting": "settings.apps",
}


def __getattr__(name: str) -> Any:
    """Heavy parts load on first use."""
    home = _HOMES.get(name)
    if home is None and name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    if home is None:
        value: Any = importlib.import_module("importlib.metadata").version("stigmer-config")
    else:
        value = getattr(importlib.import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
