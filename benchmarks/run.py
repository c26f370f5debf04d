"""`make bench`: what performance costs beside the peers, as ratios of one run, and whether each goal is met.

`run.py [--quick] [PART…]`: the parts are those of `figures.PARTS`, all without an argument. Prints one Markdown table,
keeps the figures in `figures.json`, and makes the pages and charts of them anew (`draw.py`). Takes about six minutes,
half of them the part `live`. `--quick` runs a few rounds only, enough to see a slip, and keeps nothing.
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
from goals import TIMES, Goal, Part, table
from peers import PEERS
from reference import World
from timing import least, median, ratio

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


def cold_part(world: World, *, quick: bool) -> Part:
    """Whole processes: `show --origin` and the others' own listings."""
    runs = cold.measure(world, 5 if quick else 31)
    show, peer = cold.SHOW, "dynaconf list"
    bare = f"{ratio(runs, show, cold.BARE):.3g} {TIMES} bare Python"
    peer_bare = f"{_ms(runs, peer)}, {ratio(runs, peer, cold.BARE):.3g} {TIMES} bare Python"
    goals = [
        Goal("`show --origin` / `dynaconf list`", 1.15, ratio(runs, show, peer), note=f"{_ms(runs, show)}, {bare}"),
        Goal(
            "`show --origin` / `dynaconf list`, the further goal",
            1.0,
            ratio(runs, show, peer),
            note=f"`dynaconf list`: {peer_bare}",
        ),
    ]
    goals += [
        Goal(f"`show --origin` / `{other}`", 1.0, ratio(runs, show, other), note=_ms(runs, other))
        for other in ("pip config debug", "npm config ls -l")
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
        note = f"{_ms(loads, 'load')} / {_ms(loads, name)}"
        limit = 0.25 if name == "dynaconf" else None
        goals.append(Goal(f"`load()` / the same files by {name}", limit, ratio(loads, "load", name), note=note))
    for name, limit in (("override", 20), ("override, alias", 60), ("override, provider", 60)):
        for against, how in (
            ("structs.replace", "the same mapping"),
            ("structs.replace, bare", "fields written out"),
        ):
            note = f"{_us(overrides, name)} / {_us(overrides, against)}"
            figure = ratio(overrides, name, against)
            goals.append(Goal(f"{name} / `structs.replace`, {how}", limit, figure, note=note))
    note = f"{median(reads, 'read') * 1e9:.3g} ns"
    goals.append(Goal("read / a frozen slots attribute", 1.4, ratio(reads, "read", "slots"), note=note))
    return Part(goals, {"load": {name.replace("load", "stigmer-config"): median(loads, name) for name in loads}})


def kept_part(world: World, *, quick: bool) -> Part:
    """Bytes of derived configurations that are kept."""
    sizes = _warm(world, "kept", str(500 if quick else 5000))
    base = f"`structs.replace` {sizes['structs.replace']:.0f} bytes"
    names = ("override", "override, alias", "override, provider")
    return Part([Goal(f"kept bytes: {name}", 700, sizes[name], "bytes", base) for name in names], {})


def growth_part(world: World, *, quick: bool) -> Part:
    """Linear: an alias costs the same from 500 to 1 500 as below. Flat: the last costs what the first does."""
    rounds = 3 if quick else 15
    pairs = [f"{size}={world.home_with_aliases(size)}" for size in SIZES]
    figures = _warm(world, "growth", str(rounds), *pairs)
    figures["show"] = cold.growth(world, SIZES, rounds * 2)  # some milliseconds in a hundred: the least of more
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
    zip(figures.PARTS, (cold_part, warm_part, kept_part, growth_part, live.live_part, fleet.fleet_part), strict=True)
)


def main(arguments: list[str]) -> None:
    quick = "--quick" in arguments
    asked = [name for name in arguments if name != "--quick"] or list(figures.PARTS)
    if unknown := set(asked) - set(figures.PARTS):
        sys.exit(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(figures.PARTS)}")
    # Not where everybody's files come and go: a worker watches each folder on the way to its files.
    quiet = "/var/tmp" if os.path.isdir("/var/tmp") else None
    parts: dict[str, Part] = {}
    for name in asked:
        print(f"{name} …", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="bench-", dir=quiet) as folder:
            parts[name] = MEASURES[name](World(Path(folder).resolve()), quick=quick)
    print(f"{figures.machine()}\n\n{table([goal for part in parts.values() for goal in part.goals])}")
    if not quick:
        figures.record(parts)
        draw.main([])


if __name__ == "__main__":
    main(sys.argv[1:])
