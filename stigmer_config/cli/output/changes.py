"""Prints changes as a diff, with one `-` and one `+` line per key, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import click

from ...config.sections import plain
from ...core.problems import printable
from ...core.provenance import Change, Origin
from . import render


def echo(changes: Iterable[Change]) -> None:
    """Prints changes, coloured on a terminal."""
    for change in changes:
        restart = "  (restart required)" if change.restart_required else ""
        click.echo(click.style(f"{change.key}{restart}", bold=True))
        _echo_side("-", change.old, change.old_origin, "red")
        _echo_side("+", change.new, change.new_origin, "green")


def _echo_side(sign: str, value: Any, origin: Origin | None, colour: str) -> None:
    place = f"  ({origin.layer}: {printable(str(origin))})" if origin is not None else ""
    click.echo(click.style(f"  {sign} {render.text(value)}", fg=colour) + place)


def document(change: Change) -> dict[str, Any]:
    """A change as JSON data."""
    return {
        "key": change.key,
        "old": plain(change.old),
        "new": plain(change.new),
        "old_origin": render.origin_json(change.old_origin),
        "new_origin": render.origin_json(change.new_origin),
        "restart_required": change.restart_required,
    }


def line(change: Change, generation: int) -> str:
    """A change as one line of JSON, without control characters."""
    return json.dumps({"generation": generation, **document(change)}).replace("\x7f", "\\u007f")
