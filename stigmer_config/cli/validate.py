"""`stigmer config validate`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..environment import Environment
from ..loader import read_alone
from ..problems import Problem
from . import render
from .common import Where, common, exit_status, tell


@click.command("validate")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@common
def command(files: tuple[Path, ...], form: str, where: Where) -> None:
    """Report every problem: of the configuration in force, or of each FILE by itself.

    A FILE is checked over the packaged defaults alone, so that it can be checked on any machine: keys that
    only this machine has are not missed. A file .stigmer/config.yaml is checked as a project's.

    \b
    Examples:
      stigmer config validate
      stigmer config validate .stigmer/config.yaml --format json
    """
    problems: list[Problem] = []
    if files:
        environment = Environment.capture()
        for file in files:
            problems += read_alone(environment, file, where.mode)
    else:
        problems += where.load().problems
    if form == "json":
        ok = exit_status(problems) == 0
        click.echo(json.dumps({"ok": ok, "problems": [render.problem_json(problem) for problem in problems]}, indent=2))
    else:
        tell(problems)
        errors = sum(problem.severity == "error" for problem in problems)
        warnings = len(problems) - errors
        click.echo(f"{errors} errors, {warnings} warnings" if problems else "no problems")
    raise SystemExit(exit_status(problems))
