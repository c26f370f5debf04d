"""Values, origins and problems as text, JSON, YAML and shell; and columns. It computes nothing of its own."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from ..config import RESOLVED, Config
from ..loader import Loaded
from ..problems import Problem, printable
from ..provenance import Explanation, Layer, Origin
from ..secret import MASK, Secret
from ..settings import SETTINGS, find

LAYER_COLOURS = {
    "defaults": "bright_black",
    "vendor": "magenta",
    "site": "blue",
    "user": "green",
    "project": "cyan",
    "env": "yellow",
    "flags": "red",
    "execution": "bright_red",
}
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def plain(value: Any, *, reveal: bool = False) -> Any:
    """A value as JSON has it: secrets masked unless `reveal`, tuples as lists."""
    if isinstance(value, Secret):
        return value.reveal() if reveal else MASK
    if isinstance(value, Mapping):
        return {name: plain(part, reveal=reveal) for name, part in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(part, reveal=reveal) for part in value]
    return value


def text(value: Any, *, reveal: bool = False) -> str:
    """A value as a person reads it, on one line, with nothing a terminal would obey."""
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


def origin_json(origin: Origin | None) -> dict[str, Any] | None:
    """An origin as JSON has it; line and column only where there are some."""
    if origin is None:
        return None
    shown: dict[str, Any] = {"layer": origin.layer, "source": origin.source}
    if origin.line is not None:
        shown |= {"line": origin.line, "column": origin.column}
    return shown


def problem_json(problem: Problem) -> dict[str, Any]:
    """A problem as JSON has it."""
    return {
        "severity": problem.severity,
        "code": problem.code,
        "key": problem.key,
        "message": problem.message,
        "hint": problem.hint,
        "origin": origin_json(problem.origin),
    }


def explanation_json(explanation: Explanation, *, reveal: bool = False) -> dict[str, Any]:
    """Value, origin and losers of a key as JSON has them."""
    return {
        "value": plain(explanation.value, reveal=reveal),
        "origin": origin_json(explanation.origin),
        "shadowed": [
            {"value": plain(loser.value, reveal=reveal), "reason": loser.reason, "origin": origin_json(loser.origin)}
            for loser in explanation.losers
        ],
    }


def keys(config: Config, *, everything: bool, wanted: Sequence[str] = ()) -> list[str]:
    """The keys to show: all but `providers.*` and `aliases.*`, or all; or those named, sections included."""
    known = [*SETTINGS, *(f"aliases.{name}" for name in config.aliases)]
    if wanted:
        shown = [key for key in known if any(key == one or key.startswith(f"{one}.") for one in wanted)]
        return shown + [key for key in RESOLVED if key in wanted]
    return [key for key in known if everything or not key.startswith(("providers.", "aliases."))]


def document(loaded: Loaded, shown: Sequence[str], *, reveal: bool) -> dict[str, Any]:
    """What `show --origin --format json` prints."""
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
    """A layer as `show` and `path` print it."""
    return {"layer": layer.name, "source": layer.source, "status": layer.status}


def nested(config: Config, shown: Sequence[str], *, reveal: bool) -> dict[str, Any]:
    """The values as a configuration file nests them."""
    tree: dict[str, Any] = {}
    for key in shown:
        section, _, name = key.partition(".")
        # An alias's name may hold dots: it is one name.
        parts = [section, name] if section == "aliases" else key.split(".")
        below = tree
        for part in parts[:-1]:
            below = below.setdefault(part, {})
        below[parts[-1]] = plain(config.value(key), reveal=reveal)
    return tree


def yaml(config: Config, shown: Sequence[str], *, reveal: bool) -> str:
    """A valid configuration file with the effective values; without `reveal` its secrets are comments."""
    lines: list[str] = []
    _yaml_lines(config, nested(config, shown, reveal=reveal), "", lines, reveal=reveal)
    return "\n".join(lines)


def _yaml_lines(config: Config, tree: Mapping[str, Any], prefix: str, lines: list[str], *, reveal: bool) -> None:
    indent = "  " * prefix.count(".")
    for name, value in tree.items():
        key = f"{prefix}{name}"
        setting = find(key)
        if isinstance(value, dict) and not key.startswith("aliases."):
            below: list[str] = []
            _yaml_lines(config, value, f"{key}.", below, reveal=reveal)
            holds = any(not line.lstrip().startswith("#") for line in below)
            lines += [f"{indent}{name}:" if holds else f"{indent}# {name}:", *below]
        elif setting is not None and setting.is_secret and value is not None and not reveal:
            lines.append(f"{indent}# {name}: set ({_place(config, key)}); --reveal prints it")
        elif value is None and (setting is None or not setting.nullable):
            continue
        else:
            lines.append(f"{indent}{name}: {_yaml_value(value)}")


def _yaml_value(value: Any) -> str:
    # JSON is YAML: every text is quoted, so that no version or date is read as a number.
    return json.dumps(value, ensure_ascii=True)


def _place(config: Config, key: str) -> str:
    origin = config.explain(key).origin
    return f"{origin.layer}: {printable(origin.source)}" if origin is not None else "not set"


def shell(config: Config, shown: Sequence[str], *, reveal: bool) -> str:
    """The values as variables that a shell can source."""
    lines: list[str] = []
    for key in shown:
        setting = find(key)
        value = config.value(key)
        if setting is None or setting.variable is None:
            continue
        if setting.is_secret and value is not None and not reveal:
            lines.append(f"# {setting.variable}: set ({_place(config, key)}); --reveal prints it")
        elif value is None:
            lines.append(f"# {setting.variable}: none")
        else:
            lines.append(f"{setting.variable}={shlex.quote(str(plain(value, reveal=reveal)))}")
    return "\n".join(lines)


def columns(rows: Sequence[Sequence[str]], *, out: Any = None) -> None:
    """Prints rows with aligned columns; on a terminal the last column is cut to fit."""
    out = out or sys.stdout
    widths = [max((_width(row[n]) for row in rows if n < len(row)), default=0) for n in range(8)]
    limit = _terminal_width() if out.isatty() else None
    for row in rows:
        cells = [cell + " " * (widths[n] - _width(cell)) for n, cell in enumerate(row[:-1])]
        line = "  ".join([*cells, row[-1]])
        click.echo(_cut(line, limit) if limit else line.rstrip(), file=out)


def _width(cell: str) -> int:
    return len(_ANSI.sub("", cell))


def _terminal_width() -> int:
    try:
        return os.get_terminal_size().columns
    except OSError:
        return 80


def _cut(line: str, limit: int) -> str:
    if _width(line) <= limit:
        return line
    shown = 0
    kept: list[str] = []
    for part in re.split(r"(\x1b\[[0-9;]*m)", line):
        if part.startswith("\x1b"):
            kept.append(part)
            continue
        room = limit - 1 - shown
        kept.append(part[: max(room, 0)])
        shown += min(len(part), max(room, 0))
    return "".join(kept) + "…"


def place(origin: Origin | None) -> str:
    """An origin as a table's cell, in its layer's colour: `user  ~/.stigmer/config.yaml:2:10`."""
    if origin is None:
        return ""
    source = str(origin)
    home = os.path.expanduser("~")
    if source.startswith(home + os.sep):
        source = "~" + source[len(home) :]
    return click.style(f"{origin.layer:8} {printable(source)}", fg=LAYER_COLOURS[origin.layer])
