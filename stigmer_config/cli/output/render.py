"""Renders values, origins and problems as text and as JSON. It computes nothing itself."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from ...config.config import RESOLVED, Config
from ...config.sections import plain
from ...core.problems import Problem, printable
from ...core.provenance import Explanation, Layer, Origin
from ...llm.catalogue import replaced
from ...loading.load import Loaded
from .table import Cell

# Lowest first. Values that no layer set are dim; only errors are red.
LAYER_STYLES: dict[str, dict[str, Any]] = {
    "defaults": {"dim": True},
    "vendor": {"fg": "magenta"},
    "site": {"fg": "bright_blue"},
    "etcd": {"fg": "bright_cyan"},
    "user": {"fg": "green"},
    "project": {"fg": "cyan"},
    "env": {"fg": "yellow"},
    "flags": {"fg": "bright_magenta"},
    "execution": {"fg": "bright_yellow"},
}
LOST: dict[str, Any] = {"dim": True, "strikethrough": True}


def text(value: Any, *, reveal: bool = False) -> str:
    """A value as text, on one line, without control characters."""
    value = plain(value, reveal=reveal)
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return printable(", ".join(f"{name}: {part}" for name, part in value.items()))
    if isinstance(value, list):
        return printable(", ".join(map(str, value)) or "none")
    return printable(str(value))


def steps(values: Iterable[Any]) -> str:
    """A value and what it resolves to, step by step, without repetitions."""
    return " → ".join(dict.fromkeys(map(text, values)))


def json_text(document: Any) -> str:
    """A document as JSON, in ASCII, without control characters."""
    import json  # imported late: a table needs none

    return json.dumps(document, indent=2)


def origin_json(origin: Origin | None) -> dict[str, Any] | None:
    """An origin as JSON data; line and column only if there are any."""
    if origin is None:
        return None
    shown: dict[str, Any] = {"layer": origin.layer, "source": origin.source}
    if origin.line is not None:
        shown |= {"line": origin.line, "column": origin.column}
    return shown


def problem_json(problem: Problem) -> dict[str, Any]:
    """A problem as JSON data."""
    return {
        "severity": problem.severity,
        "code": problem.code,
        "key": problem.key,
        "message": problem.message,
        "hint": problem.hint,
        "origin": origin_json(problem.origin),
    }


def explanation_json(explanation: Explanation, *, reveal: bool = False) -> dict[str, Any]:
    """Value, origin and losers of a key as JSON data."""
    return {
        "value": plain(explanation.value, reveal=reveal),
        "origin": origin_json(explanation.origin),
        "shadowed": [
            {"value": plain(loser.value, reveal=reveal), "reason": loser.reason, "origin": origin_json(loser.origin)}
            for loser in explanation.losers
        ],
    }


def keys(config: Config, *, everything: bool, wanted: Sequence[str] = ()) -> list[str]:
    """The keys to show: all except `providers.*` and `aliases.*`, or all; or the named keys and sections."""
    known = [key for key, _ in config.effective() if key not in RESOLVED]
    known += config.unregistered if everything or wanted else ()
    if wanted:
        shown = [key for key in known if any(key == one or key.startswith(f"{one}.") for one in wanted)]
        return shown + [key for key in RESOLVED if key in wanted]
    return [key for key in known if everything or not key.startswith(("providers.", "aliases."))]


def document(loaded: Loaded, shown: Sequence[str], *, reveal: bool) -> dict[str, Any]:
    """The document of `show --origin --format json`."""
    config = loaded.config
    explained = {key: config.explain(key) for key in shown}
    return {
        "mode": config.mode,
        "ok": not loaded.errors,
        "fingerprint": config.fingerprint,
        "layers": [layer_json(layer) for layer in loaded.layers],
        "values": {
            key: explanation_json(explanation, reveal=reveal)
            for key, explanation in explained.items()
            if explanation.value is not None or explanation.origin is not None or explanation.losers
        },
        "resolved": {key: config.value(key) or None for key in RESOLVED},
        "problems": [problem_json(problem) for problem in loaded.problems],
    }


def layer_json(layer: Layer) -> dict[str, Any]:
    """A layer as JSON data for `show` and `path`."""
    return {"layer": layer.name, "source": layer.source, "status": layer.status}


def origin_cells(origin: Origin | None, *, lost: bool = False) -> tuple[Cell, Cell]:
    """An origin as two cells: `user` and `~/.stigmer/config.yaml:2:10`; in its layer's colour unless it `lost`."""
    if origin is None:
        return Cell(""), Cell("")
    style = {"dim": True} if lost else LAYER_STYLES[origin.layer]
    return Cell(origin.layer, style), Cell(printable(from_home(str(origin))), style)


def model_steps(config: Config) -> str:
    """The configured string, the model's name, and the id in requests: `fast → NAME → ID`, without repetitions."""
    llm = config.llm
    shown = steps(filter(None, (text(llm.model), llm.model_name, llm.model_id)))
    note = replaced(llm.provider, llm.model_name, llm.model_id)
    return f"{shown} ({printable(note)})" if note else shown


def from_home(source: str) -> str:
    """A path with the home folder replaced by `~`."""
    home = os.environ.get("HOME", "").rstrip("/")
    return f"~{source.removeprefix(home)}" if home and source.startswith(f"{home}/") else source


def from_home_within(sentence: str) -> str:
    """A sentence with `~` in the home folder's place in each path."""
    return " ".join("(" * word.startswith("(") + from_home(word.removeprefix("(")) for word in sentence.split(" "))
