"""`stigmer config explain`."""

from __future__ import annotations

import json
from typing import Any

import click

from ..config import RESOLVED, Config
from ..derive import definition
from ..problems import printable
from ..provenance import Explanation
from . import render
from .common import Where, common, complete_key, exit_status, require_key, tell
from .get import concerning


@click.command("explain")
@click.argument("key", shell_complete=complete_key)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@common
def command(key: str, form: str, where: Where) -> None:
    """Tell why KEY has its value: the winner, every loser and why it lost, the alias hops, the definition.

    \b
    Examples:
      stigmer config explain llm.model
      stigmer config explain aliases.fast --format json
    """
    require_key(key)
    loaded = where.load()
    explanation = loaded.config.explain(key)
    problems = concerning(loaded, key)
    if form == "json":
        click.echo(json.dumps(_document(explanation), indent=2))
    else:
        _text(loaded.config, explanation)
    tell(problems)
    raise SystemExit(exit_status(problems))


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
    origin = explanation.origin
    click.echo(f"{explanation.key} = {click.style(render.text(explanation.value), bold=True)}")
    click.echo(f"  from {render.place(origin)}" if origin is not None else "  nothing sets it")
    if explanation.losers:
        click.echo("lost:")
        rows = [
            ["  " + render.text(loser.value), render.place(loser.origin), f"({loser.reason})"]
            for loser in explanation.losers
        ]
        render.columns(rows)
    for hop in explanation.hops:
        click.echo(f"alias: {printable(hop.name)} → {printable(hop.target)}  {render.place(hop.origin)}")
    if explanation.key == "llm.model" or explanation.key in RESOLVED:
        click.echo(f"model: {config.llm.model_name or 'none'} (sent as {config.llm.model_id or 'none'})")
    setting = definition(explanation.key)
    click.echo(f"definition: {setting.doc}")
    facts = [setting.kind.expects, "may be null" if setting.nullable else "", setting.access]
    facts += [setting.variable or "no variable", "taken live" if setting.reload == "live" else "needs a restart"]
    click.echo(f"  {' · '.join(fact for fact in facts if fact)}")
