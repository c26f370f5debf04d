"""`stigmer config path`."""

from __future__ import annotations

from typing import Any

import click

from ...core.problems import printable
from ...core.provenance import Layer
from ...loading.load import Loaded
from ..options import CommandContext, common
from ..output import render
from ..output.problems import exit_status, print_problems
from ..output.table import Cell, columns

_STYLES: dict[str, dict[str, Any]] = {
    "loaded": {"fg": "green"},
    "absent": {"dim": True},
    "empty": {"dim": True},
    "error": {"fg": "red"},
    "untrusted": {"fg": "red"},
}


@click.command("path")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@common
def command(form: str, where: CommandContext) -> None:
    """List every place that was looked at, lowest layer first, with what was found there.

    \b
    loaded     it is there and sets something
    empty      it is there and sets nothing
    absent     it is not there, and need not be
    error      it has faults: stigmer config validate shows them
    untrusted  a project's file that sets what only you may set

    \b
    Examples:
      stigmer config path
      stigmer config path --format json
    """
    loaded = where.load()
    if form == "json":
        rows = [{**render.layer_json(layer), "why": _why(loaded, layer)} for layer in loaded.layers]
        click.echo(render.json_text(rows))
    else:
        columns(
            [
                [
                    Cell(layer.name, render.LAYER_STYLES[layer.name]),
                    Cell(layer.status, _STYLES[layer.status]),
                    printable(render.from_home(layer.source)),
                    printable(_why(loaded, layer)),
                ]
                for layer in loaded.layers
            ],
            whole=2,
        )
    print_problems([], others=len(loaded.problems))
    raise SystemExit(exit_status(loaded.problems))


def _why(loaded: Loaded, layer: Layer) -> str:
    """The reason for a layer's status: its errors, or the variables and flags that were found."""
    errors = [problem for problem in loaded.errors if problem.origin and problem.origin.layer == layer.name]
    # The reasons for no trust come before other errors.
    errors.sort(key=lambda problem: problem.code != "untrusted-key")
    if layer.status in ("error", "untrusted") and errors:
        return "; ".join(f"{problem.code} {problem.key}".rstrip() for problem in errors)
    if layer.status == "loaded" and layer.name in ("vendor", "env", "flags"):
        return ", ".join(dict.fromkeys(entry.origin.source for entry in layer.entries.values()))
    if layer.not_read:
        theirs = f"not read: {', '.join(layer.not_read)}, which the Stigmer CLI keeps there"
        return f"{layer.why}; {theirs}" if layer.why else theirs
    return layer.why
