"""figures.json: what the last run measured, part by part, each with its date and machine. The pages are made of it."""

from __future__ import annotations

import datetime
import json
import os
import platform
from pathlib import Path
from typing import NamedTuple

from goals import Goal, Part

FILE = Path(__file__).with_name("figures.json")
# In the order of the table; each is one run of its own minutes, and its command measures it alone.
PARTS = ("cold", "warm", "kept", "growth", "live", "fleet", "trace")


class Measured(NamedTuple):
    """A part with what it was measured on; parts of one run have the same `date`."""

    date: str
    machine: str
    part: Part


def command(part: str) -> str:
    """What measures this part alone."""
    return f".venv/bin/python benchmarks/run.py {part}"


def machine() -> str:
    """What is measured on, and its load average now: what other programs take from the figures."""
    cores = os.cpu_count() or 1
    load = os.getloadavg()[0]
    busy = f", BUSY with other programs (load {load:.2g})" if load > cores / 4 else f", load {load:.2g}"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{cores} cores, {python}, {platform.system()}{busy}"


def record(parts: dict[str, Part], machine: str) -> None:
    """Puts these parts, measured on this machine, in the place of their last figures; the others stay."""
    kept = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    now = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"
    for name, part in parts.items():
        goals = [goal._asdict() | {"figure": float(f"{goal.figure:.4g}")} for goal in part.goals]
        bars = {chart: {bar: float(f"{s:.4g}") for bar, s in found.items()} for chart, found in part.bars.items()}
        kept[name] = {"date": now, "machine": machine, "goals": goals, "bars": bars}
    ordered = {name: kept[name] for name in PARTS if name in kept}
    FILE.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def last() -> dict[str, Measured]:
    """The figures that are kept, by part."""
    return {
        name: Measured(found["date"], found["machine"], Part([Goal(**goal) for goal in found["goals"]], found["bars"]))
        for name, found in json.loads(FILE.read_text(encoding="utf-8")).items()
    }
