"""`stigmer config path`."""

from __future__ import annotations

import json

import click

from ..problems import printable
from . import render
from .common import Where, common, exit_status

_COLOURS = {"loaded": "green", "absent": "bright_black", "empty": "bright_black", "error": "red", "untrusted": "red"}


@click.command("path")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@common
def command(form: str, where: Where) -> None:
    """List every place that was looked at, lowest layer first: loaded, empty, absent, error or untrusted, and why.

    \b
    Examples:
      stigmer config path
      stigmer config path --format json
    """
    loaded = where.load()
    if form == "json":
        click.echo(json.dumps([{**render.layer_json(layer), "why": layer.why} for layer in loaded.layers], indent=2))
    else:
        render.columns(
            [
                [layer.name, click.style(layer.status, fg=_COLOURS[layer.status]), printable(layer.source), layer.why]
                for layer in loaded.layers
            ]
        )
    raise SystemExit(exit_status(loaded.problems))
