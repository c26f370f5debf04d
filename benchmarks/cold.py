"""Process start to value: `stigmer config show --origin` beside `dynaconf list` and other tools' own listings."""

from __future__ import annotations

import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

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
    work = {name: _run(command, world) for name, command in commands.items()}
    work[COMPLETE] = _run(("stigmer",), world, **_COMPLETING)
    work[LOAD] = _run(world.python("-c", LOAD.replace("load()", "stigmer_config.load()")), world)
    pydantic = _PYDANTIC.format(folder=str(Path(__file__).parent), files=world.files)
    work[LOAD_PYDANTIC] = _run(world.python("-c", pydantic), world)
    return interleaved(work, rounds)


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
