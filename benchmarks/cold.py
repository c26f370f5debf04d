"""Process start to value: `stigmer config show --origin` beside `dynaconf list` and other tools' own listings."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import environments
from reference import World
from timing import Runs, interleaved

SHOW = "stigmer config show --origin"
DYNACONF = "dynaconf list"
# Those that are on PATH.
PEERS = {
    "pip config debug": ("pip", "config", "debug"),
    "npm config ls -l": ("npm", "config", "ls", "-l"),
    "git config --list --show-origin": ("git", "config", "--list", "--show-origin"),
}
BARE = "python -c pass"
COMPLETE = "completion of a key"
LOAD = "import stigmer_config; load()"
LOAD_PYDANTIC = "the same by pydantic-settings"
# bash's request for the completions of `stigmer config get llm.mo`.
_COMPLETING = {"_STIGMER_COMPLETE": "bash_complete", "COMP_WORDS": "stigmer\nconfig\nget\nllm.mo", "COMP_CWORD": "3"}
_PYDANTIC = """\
import sys
sys.path.insert(0, {folder!r})
from peer_model import Reference
Reference.model_config["yaml_file"] = {files!r}
Reference()
"""


def _run(
    command: Sequence[str],
    world: World,
    clock: Callable[[], float] = time.perf_counter,
    within: str | None = None,
    **variables: str,
) -> Callable[[], float]:
    """A measurement of a command, one of the environment `within` if that is given."""
    environment = {**world.environment(), **variables}
    if within is not None:
        environment["PATH"] = f"{environments.commands(within)}{os.pathsep}{environment['PATH']}"
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
    ours = environments.OURS
    path = world.environment()["PATH"]
    work = {name: _run(command, world) for name, command in PEERS.items() if shutil.which(command[0], path=path)}
    work[BARE] = _run(("python", "-c", "pass"), world, within=ours)
    work[SHOW] = _run(SHOW.split(), world, within=ours)
    work[COMPLETE] = _run(("stigmer",), world, within=ours, **_COMPLETING)
    work[LOAD] = _run(("python", "-c", LOAD.replace("load()", "stigmer_config.load()")), world, within=ours)
    work[DYNACONF] = _run(("dynaconf", "-i", "settings.settings", "list"), world, within="dynaconf")
    pydantic = _PYDANTIC.format(folder=str(Path(__file__).parent), files=world.files)
    work[LOAD_PYDANTIC] = _run(("python", "-c", pydantic), world, within="pydantic-settings")
    return interleaved(work, rounds)


def growth(world: World, sizes: Sequence[int], rounds: int) -> Runs:
    """`show --origin` with that many aliases in the user's file, by their number; in CPU seconds, as the rest of it."""
    command = SHOW.split()
    return interleaved(
        {
            str(size): _run(
                command, world, _cpu_of_children, environments.OURS, STIGMER_HOME=world.home_with_aliases(size)
            )
            for size in sizes
        },
        rounds,
    )
