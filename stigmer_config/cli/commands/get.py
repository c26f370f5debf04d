"""`stigmer config get`."""

from __future__ import annotations

import json
from typing import Any

import click

from ...config.sections import plain
from ...core.problems import printable
from ..completion import completing
from ..options import CommandContext, common, concerning, require_alias, require_key
from ..output.problems import exit_status, print_problems


@click.command("get")
@click.argument("key", shell_complete=completing("complete_key"))
@click.option("--reveal", is_flag=True, help="Print a secret instead of masking it.")
@common
def command(key: str, where: CommandContext, *, reveal: bool) -> None:
    """Print the bare effective value of KEY, for scripts.

    A key without a value prints nothing; a list or a mapping is printed as JSON. Besides the keys of the
    file there are llm.alias, llm.model_name and llm.model_id, which llm.model resolves to.

    It fails only for an error on that key or its section, or for a file that could not be read and might hold
    the value: one above the layer that the value comes from.

    \b
    Examples:
      stigmer config get llm.model
      stigmer config get llm.model_id
      stigmer config get --reveal llm.api_key | wc -c
    """
    require_key(key, where.schema)
    loaded = where.load()
    require_alias(loaded, key)
    value = plain(loaded.config.value(key), reveal=reveal)
    if value is not None:
        click.echo(_bare(value))
    problems = concerning(loaded, key)
    print_problems(problems)
    raise SystemExit(exit_status(problems))


def _bare(value: Any) -> str:
    return json.dumps(value) if isinstance(value, (dict, list, bool)) else printable(str(value))
