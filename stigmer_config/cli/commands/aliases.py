"""`stigmer config aliases`."""

from __future__ import annotations

from typing import Any

import click

from ...config.config import Config
from ...core.problems import printable
from ..options import CommandContext, common
from ..output import render
from ..output.problems import exit_status, print_problems
from ..output.table import Cell, columns, fitting


@click.command("aliases")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@common
def command(form: str, where: CommandContext) -> None:
    """Show which model each alias stands for, by provider.

    The provider in force is marked with *; - means that the alias has no entry for that provider. Define
    your own in ~/.stigmer/config.yaml or .stigmer/config.yaml:

    \b
      aliases:
        fast: qwen3-coder:30b             # a model, or another alias
        careful:                          # or one model per provider
          anthropic: claude-opus-5-5
          ollama: qwen3-coder:30b

    \b
    Examples:
      stigmer config aliases
      stigmer config aliases --mode cloud --format json
      stigmer config show llm --llm-model fast
    """
    loaded = where.load()
    config = loaded.config
    meanings = {name: config.meaning(name) for name in sorted(config.aliases)}
    if form == "json":
        click.echo(render.json_text({name: _json(config, name, meaning) for name, meaning in meanings.items()}))
    else:
        providers = list(dict.fromkeys(provider for meaning in meanings.values() for provider in meaning))
        header = ["alias", *(f"{p} *" if p == config.llm.provider else p for p in providers), "layer", "place"]
        rows = [[Cell(title, {"bold": True}) for title in header]]
        for name, meaning in meanings.items():
            models = [Cell(render.text(meaning.get(p) or "-")) for p in providers]
            rows.append([Cell(printable(name)), *models, *_place(config, name)])
        place = len(header) - 1  # left out where there is no room for a file's name
        shown = fitting(rows, [place], shortest=place)
        columns(shown, give_way=place if len(shown[0]) == len(header) else None)
    problems = [problem for problem in loaded.problems if problem.key.startswith("aliases.")]
    print_problems(problems, others=len(loaded.problems) - len(problems))
    raise SystemExit(exit_status(loaded.problems))


def _json(config: Config, name: str, meaning: dict[str, str | None]) -> dict[str, Any]:
    return {**meaning, "origin": render.origin_json(config.explain(f"aliases.{name}").origin)}


def _place(config: Config, name: str) -> tuple[Cell, Cell]:
    return render.origin_cells(config.explain(f"aliases.{name}").origin)
