"""Changes as a small diff: one `-` and one `+` line a key, or JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from ..problems import printable
from ..provenance import Change
from . import render


def echo(changes: Iterable[Change]) -> None:
    """Prints changes, coloured on a terminal."""
    for change in changes:
        restart = "  (restart required)" if change.restart_required else ""
        click.echo(click.style(f"{change.key}{restart}", bold=True))
        for sign, value, origin, colour in (
            ("-", change.old, change.old_origin, "red"),
            ("+", change.new, change.new_origin, "green"),
        ):
            place = f"  ({origin.layer}: {printable(str(origin))})" if origin is not None else ""
            click.echo(click.style(f"  {sign} {render.text(value)}", fg=colour) + place)


def document(change: Change) -> dict[str, Any]:
    """A change as JSON has it."""
    return {
        "key": change.key,
        "old": render.plain(change.old),
        "new": render.plain(change.new),
        "old_origin": render.origin_json(change.old_origin),
        "new_origin": render.origin_json(change.new_origin),
        "restart_required": change.restart_required,
    }
