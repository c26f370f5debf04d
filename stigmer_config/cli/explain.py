"""`stigmer config explain`."""

from __future__ import annotations

from typing import Any

import click

from ..config import RESOLVED, Config
from ..derive import definition
from ..problems import printable
from ..provenance import Explanation, Origin
from ..settings import Setting
from . import render
from .common import Where, common, concerning, exit_status, require_alias, require_key, tell
from .completion import complete_key
from .table import Cell, columns

_ACCESS = {
    "open": "any layer may set it, a project's file too (open)",
    "protected": "an untrusted project may not set it (protected)",
    "secret": "no project may hold it; masked everywhere (secret)",
    "forbidden": "no project may set it",
}


@click.command("explain")
@click.argument("key", shell_complete=complete_key)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@common
def command(key: str, form: str, where: Where) -> None:
    """Tell why KEY has its value: the winner, every loser and why it lost, the alias hops, the definition.

    \b
    Why a value loses:
      overridden         a higher layer sets the key too
      provider-switched  it was meant for another provider than the one in force
      bound-elsewhere    a credential that was given for another endpoint
      untrusted          a project may not set it unless it is trusted
      locked             your `locked` list keeps projects from changing it
      not-in-mode        there is no Redis in local mode
      unused             the provider in force takes no such value
      unsupported        the model does not take it

    \b
    Examples:
      stigmer config explain llm.model
      stigmer config explain aliases.fast --format json
    """
    require_key(key)
    loaded = where.load()
    require_alias(loaded, key)
    explanation = loaded.config.explain(key)
    problems = concerning(loaded, key)
    if form == "json":
        click.echo(render.json_text(_document(explanation)))
    else:
        _text(loaded.config, explanation)
    tell(problems, others=len(loaded.problems) - len(problems))
    raise SystemExit(exit_status(loaded.problems))


def _document(explanation: Explanation) -> dict[str, Any]:
    hops = [
        {"alias": hop.name, "target": hop.target, "origin": render.origin_json(hop.origin)} for hop in explanation.hops
    ]
    setting = definition(explanation.key)
    return {
        "key": explanation.key,
        **render.explanation_json(explanation),
        "hops": hops,
        "definition": {
            "doc": setting.doc,
            "expects": setting.kind.expects,
            "variable": setting.variable,
            "access": setting.access,
            "reload": setting.reload,
            "nullable": setting.nullable,
        },
    }


def _text(config: Config, explanation: Explanation) -> None:
    click.echo(f"{printable(explanation.key)} = {click.style(render.text(explanation.value), bold=True)}")
    click.echo(f"  from {_from(explanation.origin)}" if explanation.origin is not None else "  nothing sets it")
    if explanation.losers:
        click.echo("lost, highest layer first:")
        columns(
            [
                [Cell(f"  {render.text(loser.value)}"), *render.place(loser.origin), Cell(loser.reason)]
                for loser in explanation.losers
            ],
            give_way=2,
        )
    if explanation.hops:
        click.echo("alias:")
        hops = [
            [Cell(f"  {printable(hop.name)} → {printable(hop.target)}"), *render.place(hop.origin)]
            for hop in explanation.hops
        ]
        columns(hops, give_way=2)
    if explanation.key == "llm.model" or explanation.key in RESOLVED:
        click.echo(f"model: {config.llm.model_name or 'none'}, sent as {config.llm.model_id or 'none'}")
    _definition(definition(explanation.key))


def _from(origin: Origin) -> str:
    layer, where = render.place(origin)
    return " ".join(click.style(cell.text, **cell.style) for cell in (layer, where))


def _definition(setting: Setting) -> None:
    click.echo(f"definition: {setting.doc}")
    change = "a running worker takes a change" if setting.reload == "live" else "a worker must restart for a change"
    columns(
        [
            ["  takes", setting.kind.expects + (", or null for none" if setting.nullable else "")],
            ["  variable", setting.variable or "none"],
            ["  access", _ACCESS[setting.access]],
            ["  change", change],
        ]
    )
