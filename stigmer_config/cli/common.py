"""What the commands share: the options all of them take, loading, exit statuses, problems on stderr."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import click

from ..config import RESOLVED
from ..environment import Environment
from ..loader import Loaded, Request, read
from ..problems import Problem, did_you_mean, printable
from ..provenance import Layer
from ..settings import CHILDREN, SETTINGS, find, suggest

OK, FAULTY, UNTRUSTED = 0, 1, 3


def common(command: Callable[..., None]) -> Callable[..., None]:
    """Adds --mode, --project-dir and --no-project; the command gets them as one `where`."""

    @click.option("--mode", type=click.Choice(["local", "cloud"]), help="Load as if in this mode.")
    @click.option(
        "--project-dir",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Take DIR's .stigmer/config.yaml instead of looking upwards from here.",
    )
    @click.option("--no-project", is_flag=True, help="Read no project file.")
    @functools.wraps(command)
    def wrapped(mode: str | None, project_dir: Path | None, *, no_project: bool, **rest: Any) -> None:
        command(where=Where(mode, False if no_project else project_dir), **rest)

    return wrapped


class Where:
    """Which configuration a command is about."""

    def __init__(self, mode: str | None = None, project_dir: Path | Literal[False] | None = None) -> None:
        self.mode = mode
        self.project_dir = project_dir

    def load(self, flags: tuple[Layer, Sequence[Problem]] | None = None) -> Loaded:
        """Loads it, faults and all."""
        try:
            environment = Environment.capture()
        except OSError as error:
            raise click.ClickException(f"the working folder cannot be read: {error.strerror}") from error
        request = Request(environment, self.mode, "--mode", self.project_dir)
        if flags is not None:
            layer, problems = flags
            request = Request(environment, self.mode, "--mode", self.project_dir, (layer, tuple(problems)))
        return read(request)


def complete_key(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Shell completion of keys."""
    del ctx, param
    return [key for key in [*SETTINGS, *RESOLVED] if key.startswith(incomplete)]


def require_key(key: str, *, sections: bool = False) -> str:
    """A key that exists (or, with `sections`, a section). Raises a usage error (exit 2) with the nearest."""
    if find(key) is not None or key in RESOLVED or (sections and key in CHILDREN):
        return key
    if key in CHILDREN:
        raise click.UsageError(f"{key} is a section: its keys are shown by  stigmer config show {key}")
    near = suggest(key)
    hint = f"did you mean {near}?" if near else did_you_mean(key, CHILDREN, "stigmer config show --all lists the keys")
    raise click.UsageError(f"there is no key '{printable(key)}': {hint}")


def exit_status(problems: Iterable[Problem]) -> int:
    """0 without errors, 3 when one is `untrusted-key`, else 1."""
    codes = {problem.code for problem in problems if problem.severity == "error"}
    return UNTRUSTED if "untrusted-key" in codes else FAULTY if codes else OK


def tell(problems: Iterable[Problem]) -> None:
    """Prints problems to stderr, coloured on a terminal."""
    for problem in problems:
        head, *rest = str(problem).split("\n")
        mark = f"{problem.severity}[{problem.code}]"
        colour = "red" if problem.severity == "error" else "yellow"
        before, found, after = head.partition(mark)
        click.echo(f"{before}{click.style(found, fg=colour, bold=True)}{after}", err=True)
        for line in rest:
            click.echo(click.style(line, dim=True) if line.startswith("hint:") else line, err=True)
