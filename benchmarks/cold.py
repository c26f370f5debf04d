"""Process start to value: `stigmer config show --origin` beside `dynaconf list` and other tools' own listings."""

from __future__ import annotations

import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence

from reference import World
from timing import Runs, interleaved

SHOW = "stigmer config show --origin"
PEERS = {
    "dynaconf list": ("dynaconf", "-i", "settings.settings", "list"),
    "pip config debug": ("pip", "config", "debug"),
    "npm config ls -l": ("npm", "config", "ls", "-l"),
    "git config --list --show-origin": ("git", "config", "--list", "--show-origin"),
}
BARE = "python -c pass"


def _run(
    command: Sequence[str], world: World, clock: Callable[[], float] = time.perf_counter, **variables: str
) -> Callable[[], float]:
    environment = {**world.environment(), **variables}
    found = shutil.which(command[0], path=environment["PATH"])
    whole = [found or command[0], *command[1:]]

    def once() -> float:
        start = clock()
        done = subprocess.run(whole, cwd=world.project, env=environment, capture_output=True, check=False)
        seconds = clock() - start
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.decode()}")
        return seconds

    return once


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(world: World, rounds: int) -> Runs:
    """Wall time of whole processes; a peer that is not on PATH is left out."""
    commands: dict[str, Sequence[str]] = {BARE: world.python("-c", "pass"), SHOW: SHOW.split()}
    path = world.environment()["PATH"]
    commands |= {name: command for name, command in PEERS.items() if shutil.which(command[0], path=path)}
    return interleaved({name: _run(command, world) for name, command in commands.items()}, rounds)


def growth(world: World, sizes: Sequence[int], rounds: int) -> Runs:
    """`show --origin` with that many aliases in the user's file, by their number; in CPU seconds, as the rest of it."""
    command = SHOW.split()
    return interleaved(
        {
            str(size): _run(command, world, _cpu_of_children, STIGMER_HOME=world.home_with_aliases(size))
            for size in sizes
        },
        rounds,
    )
