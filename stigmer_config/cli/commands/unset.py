"""`stigmer config unset`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import click

from ...config.config import RESOLVED
from ...core.problems import printable
from ...editing.candidate import Scope, Target
from ...editing.keys import without
from ...editing.write import Outcome
from ..completion.candidates import complete_key_to_unset
from ..options import Where, common, require_key
from ..output import render
from ..target import file_of, fleet_scoped, place, say, stored, written

if TYPE_CHECKING:
    from ...editing.etcd import Store


@click.command("unset")
@click.argument("key", shell_complete=complete_key_to_unset)
@fleet_scoped
@common
def command(key: str, scope: Scope | Literal["fleet"], where: Where) -> None:
    """Remove KEY from a file, or from the fleet's store: its line goes, and nothing else does.

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
      stigmer config unset --fleet llm.model
    """
    require_key(key)
    if key in RESOLVED:
        raise click.UsageError(f"{key} is worked out from llm.model: it stands in no file")
    aimed, outcome = _removed(where, scope, key)
    if not outcome.changed:
        say(f"{printable(key)} is not set in {place(aimed)}")
        return
    owner = (
        key if not key.startswith("aliases.") or key[8:] in outcome.before.config.aliases else key.rpartition(".")[0]
    )
    explanation = outcome.after.config.explain(owner)
    origin = f" ({printable(str(explanation.origin))})" if explanation.origin is not None else ""
    say(f"{place(aimed)}: {printable(key)} is removed; {owner} is {render.text(explanation.value)} now{origin}")


def _removed(where: Where, scope: Scope | Literal["fleet"], key: str) -> tuple[Target | Store, Outcome]:
    if scope == "fleet":
        return stored(where, key, None)
    aimed = file_of(where, scope)
    return aimed, written(aimed, lambda contents: without(contents.data or b"", key))
