"""`make bench`: what performance costs beside the peers, as ratios of one run, and whether each goal is met.

Prints a Markdown table; `README.md` beside this file keeps the last one and the reason for each miss. Takes about
two minutes. `--quick` runs a few rounds only: enough to see a slip, not to quote.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import cold
from reference import World
from timing import least, median, ratio

SIZES = (10, 500, 1000, 1500)  # aliases
WARM = Path(__file__).parent / "warm.py"
TIMES = "×"  # noqa: RUF001 - the sign is meant


class Goal(NamedTuple):
    """One line of the table."""

    what: str
    limit: float | None
    figure: float
    unit: str = TIMES
    note: str = ""

    def row(self) -> str:
        goal, verdict = "none", ""
        if self.limit is not None:
            goal = f"≤ {self.limit:g} {self.unit}"
            verdict = "met" if self.figure <= self.limit else "**missed**"
        return f"| {self.what} | {goal} | {self.figure:.3g} {self.unit} | {verdict} | {self.note} |"


def _warm(world: World, *argv: str) -> Any:
    """The figures of `warm.py`, run where a worker would run."""
    done = subprocess.run(
        world.python(str(WARM), *argv), cwd=world.project, env=world.environment(), stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout)


def _ms(runs: Any, name: str) -> str:
    return f"{median(runs, name) * 1e3:.3g} ms"


def _us(runs: Any, name: str) -> str:
    return f"{median(runs, name) * 1e6:.3g} µs"


def cold_goals(world: World, rounds: int) -> list[Goal]:
    runs = cold.measure(world, rounds)
    show, peer = cold.SHOW, "dynaconf list"
    bare = f"{ratio(runs, show, cold.BARE):.3g} {TIMES} bare Python"
    peer_bare = f"{_ms(runs, peer)}, {ratio(runs, peer, cold.BARE):.3g} {TIMES} bare Python"
    goals = [
        Goal("`show --origin` / `dynaconf list`", 1.15, ratio(runs, show, peer), note=f"{_ms(runs, show)}, {bare}"),
        Goal("the same, then", 1.0, ratio(runs, show, peer), note=f"`dynaconf list`: {peer_bare}"),
    ]
    goals += [
        Goal(f"`show --origin` / `{other}`", 1.0, ratio(runs, show, other), note=_ms(runs, other))
        for other in ("pip config debug", "npm config ls -l")
        if other in runs
    ]
    git = "git config --list --show-origin"
    if git in runs:
        goals.append(Goal(f"`show --origin` / `{git}`", None, ratio(runs, show, git), note="a C program"))
    return goals


def warm_goals(world: World, rounds: int) -> list[Goal]:
    figures = _warm(world, "work", str(rounds))
    loads, overrides, reads = figures["load"], figures["override"], figures["read"]
    base, bare = "structs.replace", "structs.replace, bare"
    note = f"{_ms(loads, 'load')} / {_ms(loads, 'dynaconf')}"
    goals = [Goal("`load()` / dynaconf's own load", 0.25, ratio(loads, "load", "dynaconf"), note=note)]
    for name, limit in (("override", 20), ("override, alias", 60), ("override, provider", 60)):
        for against, how in ((base, "the same mapping"), (bare, "fields written out")):
            note = f"{_us(overrides, name)} / {_us(overrides, against)}"
            figure = ratio(overrides, name, against)
            goals.append(Goal(f"{name} / `{base}`, {how}", limit, figure, note=note))
    note = f"{median(reads, 'read') * 1e9:.3g} ns"
    return [*goals, Goal("read / a frozen slots attribute", 1.4, ratio(reads, "read", "slots"), note=note)]


def kept_goals(world: World, count: int) -> list[Goal]:
    sizes = _warm(world, "kept", str(count))
    base = f"`structs.replace` {sizes['structs.replace']:.0f} bytes"
    return [
        Goal(f"kept bytes: {name}", 700, sizes[name], "bytes", base)
        for name in ("override", "override, alias", "override, provider")
    ]


def growth_goals(world: World, rounds: int) -> list[Goal]:
    """Linear: an alias costs the same from 500 to 1 500 as below. Flat: the last costs what the first does."""
    pairs = [f"{size}={world.home_with_aliases(size)}" for size in SIZES]
    figures = _warm(world, "growth", str(rounds), *pairs)
    figures["show"] = cold.growth(world, SIZES, rounds)
    first, second, last = str(SIZES[0]), str(SIZES[1]), str(SIZES[-1])
    goals: list[Goal] = []
    for what in ("load", "show"):
        small, middle, large = (least(figures[what], size) for size in (first, second, last))
        slope = ((large - middle) / (SIZES[-1] - SIZES[1])) / ((middle - small) / (SIZES[1] - SIZES[0]))
        note = f"{small * 1e3:.3g} → {large * 1e3:.3g} ms"
        goals.append(Goal(f"{what}, {first} → {last} aliases: cost of one more", 1.3, slope, note=note))
    for what in ("override", "read"):
        note = f"{median(figures[what], last) * 1e6:.3g} µs"
        growth = ratio(figures[what], last, first)
        goals.append(Goal(f"{what}, {first} → {last} aliases", 1.2, growth, note=note))
    grown = figures["kept"][last] / figures["kept"][first]
    return [*goals, Goal(f"kept bytes, {first} → {last} aliases", 1.2, grown)]


def main() -> None:
    quick = "--quick" in sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        world = World(Path(folder).resolve())
        goals = [
            *cold_goals(world, 5 if quick else 31),
            *warm_goals(world, 5 if quick else 21),
            *kept_goals(world, 500 if quick else 5000),
            *growth_goals(world, 3 if quick else 15),
        ]
    print(
        f"{os.cpu_count()} cores, {platform.python_implementation()} {platform.python_version()}, {platform.system()}\n"
    )
    print("| what | goal | measured | | |\n|---|---|---|---|---|")
    for goal in goals:
        print(goal.row())


if __name__ == "__main__":
    main()
