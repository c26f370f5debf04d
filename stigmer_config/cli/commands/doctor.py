"""`stigmer config doctor`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from ...integrations.doctor import Finding, examine
from ..options import CommandContext, common, read_quietly
from ..output import render
from ..output.problems import exit_status
from ..output.table import fold, terminal_width

_UNHEALTHY = 4
_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "failed": ("✗", "red")}


@click.command("doctor")
@click.option("--probe", is_flag=True, help="Call the model once, with the configured key. It may cost a little.")
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 600),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the provider, in seconds.",
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@common
def command(form: str, timeout: float, where: CommandContext, *, probe: bool) -> None:
    """Check everything that a worker needs to get an answer, and suggest fixes.

    Files, permissions, trust, the configuration's problems, whether the provider answers, whether the model is
    installed or will be retired, context length, tools, memory, the key and the client library. Nothing is called and
    no key is sent, except with --probe (and except to an Ollama server that asks for its key).

    \b
    Each check shows a mark, what was found, and for ! and ✗ the fix:
      ✓ fine    ! works, but needs attention    ✗ does not work

    The exit status is 1 or 3 when the configuration has errors (as everywhere), else 4 when a check has
    failed, else 0.

    \b
    Examples:
      stigmer config doctor
      stigmer config doctor --probe --timeout 60
      stigmer config doctor --format json
    """
    # A probe is a real call like a worker's: it runs the key's command.
    request = msgspec.structs.replace(where.request(), runs_commands=probe)
    loaded = read_quietly(request)
    findings = examine(loaded, request.environment.today, timeout=timeout, probe=probe)
    failed = any(finding.check.state == "failed" for finding in findings)
    if form == "json":
        click.echo(render.json_text({"ok": not failed, "checks": [_document(finding) for finding in findings]}))
    else:
        _table(findings)
    raise SystemExit(exit_status(loaded.problems) or (_UNHEALTHY if failed else 0))


def _document(finding: Finding) -> dict[str, Any]:
    check = finding.check
    told = {"check": check.name, "state": check.state, "key": check.key, "seen": check.seen, "fix": check.fix}
    return {**told, "origin": render.origin_json(finding.origin)}


def _table(findings: Sequence[Finding]) -> None:
    width = max(len(finding.check.name) for finding in findings)
    indent = " " * (width + 4)
    room = terminal_width(sys.stdout)
    for finding in findings:
        check = finding.check
        mark, colour = _MARKS[check.state]
        seen = render.from_home_within(check.seen)
        first, *more = fold(f"{'':{len(indent)}}{seen}", room, len(indent))
        click.echo(f"{click.style(mark, fg=colour, bold=True)} {check.name:{width}}  {first.lstrip(' ')}")
        for line in more:
            click.echo(line)
        if check.state == "ok":
            continue
        place = _place(finding)
        if place:
            click.echo(click.style("\n".join(fold(indent + place, room, len(indent))), dim=True))
        if check.fix:
            click.echo("\n".join(fold(f"{indent}fix: {check.fix}", room, len(indent) + 5)))
    click.echo(_count(findings))


def _place(finding: Finding) -> str:
    """`llm.model, user ~/.stigmer/config.yaml:3:10`."""
    place = " ".join(cell.text for cell in render.origin_cells(finding.origin) if cell.text)
    return ", ".join(part for part in (finding.check.key, place) if part)


def _count(findings: Sequence[Finding]) -> str:
    failed = sum(finding.check.state == "failed" for finding in findings)
    warned = sum(finding.check.state == "warning" for finding in findings)
    if not failed and not warned:
        return f"{len(findings)} checks, all fine"
    warnings = f"{warned} warning{'' if warned == 1 else 's'}"
    return f"{len(findings)} checks, {failed} failed, {warnings}"
