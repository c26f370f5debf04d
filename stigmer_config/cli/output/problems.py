"""Prints problems to stderr, counts them, and determines the exit status."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import click

from ...core.problems import Problem
from .table import fold, terminal_width

OK, FAULTY, UNTRUSTED = 0, 1, 3


def exit_status(problems: Iterable[Problem]) -> int:
    """0 without errors, 3 when one is `untrusted-key`, else 1."""
    codes = {problem.code for problem in problems if problem.severity == "error"}
    return UNTRUSTED if "untrusted-key" in codes else FAULTY if codes else OK


def count(problems: Sequence[Problem]) -> str:
    """`2 errors, 1 warning`."""
    errors = sum(problem.severity == "error" for problem in problems)
    numbers = {"error": errors, "warning": len(problems) - errors}
    return ", ".join(f"{n} {noun}{'' if n == 1 else 's'}" for noun, n in numbers.items() if n) or "no problems"


def print_problems(problems: Iterable[Problem], *, others: int = 0, apart: bool = True) -> None:
    """Prints problems to stderr, coloured on a terminal, and how many `others` there are.

    `apart`: the command has printed something before, so separate the problems from it.
    """
    problems = list(problems)
    if apart and (problems or others) and same_terminal():
        click.echo(err=True)
    width = terminal_width(sys.stderr)
    for number, problem in enumerate(problems):
        if number and sys.stderr is not None and sys.stderr.isatty():
            click.echo(err=True)  # on a terminal, separated for reading
        head, *rest = str(problem).split("\n")
        head = "\n".join(fold(head, width, indent=4))
        mark = f"{problem.severity}[{problem.code}]"
        colour = "red" if problem.severity == "error" else "yellow"
        before, found, after = head.partition(mark)
        click.echo(f"{before}{click.style(found, fg=colour, bold=True)}{after}", err=True)
        for line in rest:
            is_hint = line.startswith("hint:")  # do not fold an excerpt: the position of its caret matters
            click.echo(click.style("\n".join(fold(line, width, indent=6)), dim=True) if is_hint else line, err=True)
    if others:
        more = "other problems" if problems else "problems"
        noun = more.removesuffix("s") if others == 1 else more
        click.echo(f"{others} {noun}; all of them: stigmer config validate", err=True)


def same_terminal() -> bool:
    """Whether output and problems go to the same terminal."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdout, sys.stderr))
