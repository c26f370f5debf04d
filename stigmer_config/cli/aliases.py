"""`stigmer config aliases`."""

from __future__ import annotations

import json
from typing import Any

import click

from ..kinds import PROVIDERS
from ..problems import printable
from . import render
from .common import Where, common, exit_status, tell


@click.command("aliases")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@common
def command(form: str, where: Where) -> None:
    """Tell what each alias means now, for each provider; the provider in force is marked with *.

    \b
    Examples:
      stigmer config aliases
      stigmer config aliases --mode cloud --format json
    """
    loaded = where.load()
    config = loaded.config
    meanings: dict[str, dict[str, Any]] = {name: config.meaning(name) for name in sorted(config.aliases)}
    if form == "json":
        document = {
            name: {**by_provider, "origin": render.origin_json(config.explain(f"aliases.{name}").origin)}
            for name, by_provider in meanings.items()
        }
        click.echo(json.dumps(document, indent=2))
    else:
        header = ["alias", *(f"{p} *" if p == config.llm.provider else p for p in PROVIDERS), "defined in"]
        rows = [
            [printable(name), *(render.text(meaning[p] or "-") for p in PROVIDERS), _place(config, name)]
            for name, meaning in meanings.items()
        ]
        render.columns([[click.style(cell, bold=True) for cell in header], *rows])
    problems = [problem for problem in loaded.problems if problem.key.startswith("aliases.")]
    tell(problems)
    raise SystemExit(exit_status(problems))


def _place(config: Any, name: str) -> str:
    return render.place(config.explain(f"aliases.{name}").origin)
