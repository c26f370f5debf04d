"""Prints changes as a diff, with one `-` and one `+` line per key, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import click

from ...config.sections import plain
from ...core.problems import printable
from ...core.provenance import Change, Origin
from ...llm.model_changes import by_edit
from . import render


def echo(changes: Iterable[Change]) -> None:
    """Prints changes, coloured on a terminal. A change of the model is one, with all steps of its resolution."""
    for steps in by_edit(changes):
        restart = "  (restart required)" if steps[0].restart_required else ""
        click.echo(click.style(f"{steps[0].key}{restart}", bold=True))
        _echo_side("-", [step.old for step in steps], steps[0].old_origin, "red")
        _echo_side("+", [step.new for step in steps], steps[0].new_origin, "green")


def _echo_side(sign: str, values: Sequence[Any], origin: Origin | None, colour: str) -> None:
    place = f"  ({origin.layer}: {printable(render.from_home(str(origin)))})" if origin is not None else ""
    shown = render.steps(values)
    click.echo(click.style(f"  {sign} {shown}", fg=colour) + place)


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
