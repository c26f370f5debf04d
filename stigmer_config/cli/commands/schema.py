"""`stigmer config schema`."""

from __future__ import annotations

import click

from ..options import CommandContext, common
from ..output.problems import print_problems


@click.command("schema")
@common
def command(where: CommandContext) -> None:
    """Print the JSON Schema (2020-12) of the configuration file, for editors and other tools.

    `stigmer config init` writes it beside the file; print it again after an upgrade.

    \b
    Examples:
      stigmer config schema > .stigmer/schema.json
    """
    from ...sources.json_schema import text

    print_problems(where.applications.problems)
    click.echo(text(where.schema), nl=False)
