"""figures.json: the results of the last run of each part, with date and machine. The pages are generated from it."""

from __future__ import annotations

import datetime
import json
import os
import platform
from pathlib import Path
from typing import NamedTuple

from goals import Goal, Part

FILE = Path(__file__).with_name("figures.json")
# In the order of the table; the command of a part measures it alone.
PARTS = ("cold", "warm", "kept", "growth", "live", "fleet", "trace")


class Measured(NamedTuple):
    """A part and the machine it was measured on; parts of one run have the same `date`."""

    date: str
    machine: str
    part: Part


def command(part: str) -> str:
    """The command that measures only this part."""
    return f".venv/bin/python benchmarks/run.py {part}"


def machine() -> str:
    """This machine, and its current load average, which shows how much other programs affect the figures."""
    cores = os.cpu_count() or 1
    load = os.getloadavg()[0]
    busy = f", BUSY with other programs (load {load:.2g})" if load > cores / 4 else f", load {load:.2g}"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{cores} cores, {python}, {platform.system()}{busy}"


def record(parts: dict[str, Part], machine: str) -> None:
    """Replaces the figures of these parts, measured on this machine; the others stay."""
    kept = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    now = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"
    for name, part in parts.items():
        goals = [goal._asdict() | {"figure": float(f"{goal.figure:.4g}")} for goal in part.goals]
        bars = {chart: {bar: float(f"{s:.4g}") for bar, s in found.items()} for chart, found in part.bars.items()}
        kept[name] = {"date": now, "machine": machine, "goals": goals, "bars": bars}
    ordered = {name: kept[name] for name in PARTS if name in kept}
    FILE.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def last() -> dict[str, Measured]:
    """The recorded figures, by part."""
    return {
        name: Measured(found["date"], found["machine"], Part([Goal(**goal) for goal in found["goals"]], found["bars"]))
        for name, found in json.loads(FILE.read_text(encoding="utf-8")).items()
    }
