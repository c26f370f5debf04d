"""`make bench`: performance compared with the peers, as ratios within one run, and whether each goal is met.

`run.py [--quick] [PART…]`: the parts are those of `figures.PARTS`, all without an argument. Prints one Markdown table,
records the figures in `figures.json`, and generates the pages and charts from them (`draw.py`). Takes under five
minutes, two of them for the part `live`; reports if the machine was busy at the start. `--quick` runs only a few
rounds, enough to detect a regression, and records nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cold
import draw
import figures
import fleet
import live
import tracing
from goals import TIMES, Goal, Part, table
from peers import PEERS
from reference import World
from timing import least, median, ratio, spread

SIZES = (10, 500, 1000, 1500)  # aliases
WARM = Path(__file__).parent / "warm.py"


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


def _compared(what: str, limit: float | None, runs: Any, name: str, base: str, more: str = "") -> Goal:
    """A goal for the ratio of two times, with both and the spread of the ratio."""
    note = f"{_ms(runs, name)} / {_ms(runs, base)}, {spread(runs, name, base)}{more}"
    return Goal(what, limit, ratio(runs, name, base), note=note)


def cold_part(world: World, *, quick: bool) -> Part:
    """Whole processes: `show --origin` and the others' own listings."""
    runs = cold.measure(world, 5 if quick else 25)
    show, peer = cold.SHOW, "dynaconf list"
    bare = f"{ratio(runs, show, cold.BARE):.3g} {TIMES} bare Python"
    goals = [
        _compared(f"`show --origin` / `{peer}`", 0.55, runs, show, peer, f", {bare}"),
        _compared(f"{cold.COMPLETE} / `{peer}`", 0.55, runs, cold.COMPLETE, peer),
        _compared(f"`{cold.LOAD}` / {cold.LOAD_PYDANTIC}, new processes", 0.5, runs, cold.LOAD, cold.LOAD_PYDANTIC),
    ]
    goals += [
        _compared(f"`show --origin` / `{other}`", limit, runs, show, other)
        for other, limit in (("pip config debug", 1.0), ("npm config ls -l", 0.85))
        if other in runs
    ]
    git = "git config --list --show-origin"
    if git in runs:
        goals.append(Goal(f"`show --origin` / `{git}`", None, ratio(runs, show, git), note="a C program"))
    return Part(goals, {"cold": {name: median(runs, name) for name in runs}})


def warm_part(world: World, *, quick: bool) -> Part:
    """In one process: loads beside the peers' loads, overrides, reads."""
    figures = _warm(world, "work", str(5 if quick else 21), *world.files)
    loads, overrides, reads = figures["load"], figures["override"], figures["read"]
    goals = []
    for name in PEERS:
        limit = {"dynaconf": 0.07, "pydantic-settings": 0.2}.get(name)
        goals.append(_compared(f"`load()` / the same files by {name}", limit, loads, "load", name))
    name = next(iter(PEERS))
    goals.append(
        _compared(f"`load()` of changed files / the same files by {name}", None, loads, "load, changed files", name)
    )
    for name, same, bare in (("override", 20, 20), ("override, alias", 30, 60), ("override, provider", 30, 60)):
        for against, how, limit in (
            ("structs.replace", "the same mapping", same),
            ("structs.replace, bare", "fields written out", bare),
        ):
            note = f"{_us(overrides, name)} / {_us(overrides, against)}, {spread(overrides, name, against)}"
            figure = ratio(overrides, name, against)
            goals.append(Goal(f"{name} / `structs.replace`, {how}", limit, figure, note=note))
    firsts = figures["first override"]
    note = f"{_us(firsts, 'first')} / {_us(firsts, 'next')}, {spread(firsts, 'first', 'next')}"
    what = "the first override of a Config, alias / the next one"
    goals.append(Goal(what, 1.5, median(firsts, "first") / median(firsts, "next"), note=note))
    note = f"{median(reads, 'read') * 1e9:.3g} ns"
    goals.append(Goal("read / a frozen slots attribute", 1.4, ratio(reads, "read", "slots"), note=note))
    return Part(goals, {"load": {name.replace("load", "stigmer-config"): median(loads, name) for name in loads}})


def kept_part(world: World, *, quick: bool) -> Part:
    """Bytes per retained derived configuration."""
    sizes = _warm(world, "kept", str(500 if quick else 5000))
    base = f"`structs.replace` {sizes['structs.replace']:.0f} bytes"
    names = ("override", "override, alias", "override, provider")
    return Part([Goal(f"kept bytes: {name}", 700, sizes[name], "bytes", base) for name in names], {})


def growth_part(world: World, *, quick: bool) -> Part:
    """Linear: an alias costs the same from 500 to 1 500 as below. Flat: the last costs as much as the first."""
    rounds = 3 if quick else 9
    pairs = [f"{size}={world.home_with_aliases(size)}" for size in SIZES]
    figures = _warm(world, "growth", str(rounds), *pairs)
    figures["show"] = cold.growth(world, SIZES, rounds * 2)  # a few milliseconds: needs more rounds
    first, second, last = str(SIZES[0]), str(SIZES[1]), str(SIZES[-1])
    goals: list[Goal] = []
    for what in ("load", "show", "reload"):
        small, middle, large = (least(figures[what], size) for size in (first, second, last))
        slope = ((large - middle) / (SIZES[-1] - SIZES[1])) / ((middle - small) / (SIZES[1] - SIZES[0]))
        note = f"{small * 1e3:.3g} → {large * 1e3:.3g} ms"
        goals.append(Goal(f"{what}, {first} → {last} aliases: cost of one more", 1.3, slope, note=note))
    for what in ("override", "read", "subscribe"):
        note = f"{median(figures[what], last) * 1e6:.3g} µs"
        growth = ratio(figures[what], last, first)
        goals.append(Goal(f"{what}, {first} → {last} aliases", 1.2, growth, note=note))
    grown = figures["kept"][last] / figures["kept"][first]
    return Part([*goals, Goal(f"kept bytes, {first} → {last} aliases", 1.2, grown)], {})


MEASURES = dict(
    zip(
        figures.PARTS,
        (cold_part, warm_part, kept_part, growth_part, live.live_part, fleet.fleet_part, tracing.trace_part),
        strict=True,
    )
)


def main(arguments: list[str]) -> None:
    quick = "--quick" in arguments
    asked = [name for name in arguments if name != "--quick"] or list(figures.PARTS)
    if unknown := set(asked) - set(figures.PARTS):
        sys.exit(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(figures.PARTS)}")
    # Not in a busy folder such as /tmp: a worker watches each folder in the paths of its files.
    quiet = "/var/tmp" if os.path.isdir("/var/tmp") else None
    machine = figures.machine()  # before the run itself adds to the load
    parts: dict[str, Part] = {}
    for name in asked:
        print(f"{name} …", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="bench-", dir=quiet) as folder:
            parts[name] = MEASURES[name](World(Path(folder).resolve()), quick=quick)
    print(f"{machine}\n\n{table([goal for part in parts.values() for goal in part.goals])}")
    if not quick:
        figures.record(parts, machine)
        draw.main([])


if __name__ == "__main__":
    main(sys.argv[1:])
