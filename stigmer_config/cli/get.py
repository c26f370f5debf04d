"""`stigmer config get`."""

from __future__ import annotations

import json

import click

from ..config import RESOLVED
from ..loader import Loaded
from ..problems import Problem
from . import render
from .common import Where, common, complete_key, exit_status, require_key, tell


@click.command("get")
@click.argument("key", shell_complete=complete_key)
@click.option("--reveal", is_flag=True, help="Print a secret instead of masking it.")
@common
def command(key: str, where: Where, *, reveal: bool) -> None:
    """Print the bare effective value of KEY, for scripts. Nothing is printed for a key without a value.

    It fails only for an error on that key, or for a file that could not be read (the value might stand in
    it).

    \b
    Examples:
      stigmer config get llm.model
      stigmer config get llm.model_id
    """
    require_key(key)
    loaded = where.load()
    value = render.plain(loaded.config.value(key), reveal=reveal)
    if value is not None:
        click.echo(json.dumps(value) if isinstance(value, (dict, list, bool)) else value)
    problems = concerning(loaded, key)
    tell(problems)
    raise SystemExit(exit_status(problems))


def concerning(loaded: Loaded, key: str) -> list[Problem]:
    """The problems of a key, and those of whole files: its value might have stood there."""
    own = "llm.model" if key in RESOLVED else key
    return [
        problem
        for problem in loaded.problems
        if problem.key == own or (not problem.key and problem.severity == "error")
    ]
