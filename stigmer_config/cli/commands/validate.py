"""`stigmer config validate`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ...core.problems import Problem
from ...loading.load import read_alone
from ...sources.checked_read import MAX_BYTES
from ..options import CommandContext, capture, common
from ..output import render
from ..output.problems import count, exit_status, print_problems, same_terminal


@click.command("validate")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@common
def command(files: tuple[Path, ...], form: str, where: CommandContext) -> None:
    """Report every problem in the configuration in force, or in each FILE by itself.

    A FILE is checked over the packaged defaults alone, so that it can be checked on any machine: missing
    credentials are not reported. Its mode is that of --mode, of MODE, its own, or cloud. A file
    .stigmer/config.yaml is checked as a project's. FILE - is standard input.

    \b
    Exit status:
      0  no errors (there may be warnings)
      1  errors
      3  a project sets what only you may set

    \b
    Examples:
      stigmer config validate
      stigmer config validate .stigmer/config.yaml --format json
      yq '.data."config.yaml"' configmap.yaml | stigmer config validate -
    """
    problems: list[Problem] = []
    if files:
        environment = capture()
        for file in files:
            data = _standard_input() if str(file) == "-" else None
            problems += read_alone(environment, file, where.mode, data, where.schema).problems
        problems = list(dict.fromkeys(problems))  # an invalid MODE is reported for each file
    else:
        problems += where.load().problems
    if form == "json":
        ok = exit_status(problems) == 0
        click.echo(render.json_text({"ok": ok, "problems": [render.problem_json(problem) for problem in problems]}))
    else:
        print_problems(problems, apart=False)
        if problems and same_terminal():
            click.echo(err=True)
        click.echo(count(problems))
    raise SystemExit(exit_status(problems))


def _standard_input() -> bytes:
    """Reads standard input, at most one byte more than a file's limit. Raises a `ClickException` when it is closed."""
    try:
        data: bytes = sys.stdin.buffer.read(MAX_BYTES + 1)
    except (OSError, AttributeError) as error:  # it is None when it is closed
        raise click.ClickException("standard input cannot be read") from error
    return data
