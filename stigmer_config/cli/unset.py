"""`stigmer config unset`."""

from __future__ import annotations

import click

from ..config import RESOLVED
from ..editing.candidate import Scope
from ..editing.edit import without
from ..problems import printable
from . import render
from .common import Where, common, require_key
from .completion import complete_key
from .scope import file_of, place, say, scoped, written


@click.command("unset")
@click.argument("key", shell_complete=complete_key)
@scoped
@common
def command(key: str, scope: Scope, where: Where) -> None:
    """Remove KEY from a file: its line goes, and nothing else does.

    A key that does not stand there is fine. An emptied section stays. A removal that the configuration would
    fail with is refused.

    \b
    Exit status:
      0  the key does not stand in the file
      1  refused, or the file could not be written: it is as it was
      2  no such key

    \b
    Examples:
      stigmer config unset llm.temperature
      stigmer config unset --project llm.model
    """
    require_key(key)
    if key in RESOLVED:
        raise click.UsageError(f"{key} is worked out from llm.model: it stands in no file")
    aimed = file_of(where, scope)
    outcome = written(aimed, lambda contents: without(contents.data or b"", key))
    if not outcome.changed:
        say(f"{printable(key)} is not set in {place(aimed)}")
        return
    owner = (
        key if not key.startswith("aliases.") or key[8:] in outcome.before.config.aliases else key.rpartition(".")[0]
    )
    explanation = outcome.after.config.explain(owner)
    origin = f" ({printable(str(explanation.origin))})" if explanation.origin is not None else ""
    say(f"{place(aimed)}: {printable(key)} is removed; {owner} is {render.text(explanation.value)} now{origin}")
