"""`stigmer config unset`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Literal

import click

from ...config.config import RESOLVED
from ...core.problems import printable
from ...editing.candidate import EditTarget, Scope
from ...editing.keys import without
from ...editing.write import Outcome
from ...loading.load import Loaded, read
from ..completion import completing
from ..options import CommandContext, common, require_key
from ..output import render
from ..target import file_of, fleet_scoped, say, stored, target_place, written

if TYPE_CHECKING:
    from ...editing.etcd import Store


@click.command("unset")
@click.argument("key", shell_complete=completing("complete_key_to_unset"))
@fleet_scoped
@common
def command(key: str, scope: Scope | Literal["fleet"], where: CommandContext) -> None:
    """Remove KEY, or a whole section, from a file or from the fleet's store. Only its lines change.

    An unknown key can be removed, too: one that a typing error left in the file. It is no error if a known key is
    not in the file. A section stays when it becomes empty. A removal that would cause an error is refused.

    \b
    Exit status:
      0  KEY is not in the file
      1  refused, or the file could not be written: it is unchanged
      2  there is no such key, in the file or at all

    \b
    Examples:
      stigmer config unset llm.temperature
      stigmer config unset --project llm
      stigmer config unset --fleet llm.model
    """
    if key in RESOLVED:
        raise click.UsageError(f"{key} is derived from llm.model: it is in no file")
    aimed, outcome = _removed(where, scope, key)
    if outcome is None or not outcome.changed:
        require_key(key, where.schema, sections=True)
        say(f"{printable(key)} is not set in {target_place(aimed)}")
        return
    say(f"{target_place(aimed)}: {printable(key)} is removed{_in_force(key, outcome.before, outcome.after)}")


def _removed(
    where: CommandContext, scope: Scope | Literal["fleet"], key: str
) -> tuple[EditTarget | Store, Outcome | None]:
    """Removes the key. Returns None when there is no file, and creates none."""
    if scope == "fleet":
        from ...editing.etcd import remove  # most machines have no fleet

        providers = _providers(key, lambda: read(where.request()))
        return stored(where, lambda aimed: remove(aimed, key, providers))
    aimed = file_of(where, scope)
    contents = aimed.contents()
    if contents.data is None and not contents.problems:
        return aimed, None
    providers = _providers(key, lambda: aimed.load(contents))
    return aimed, written(aimed, lambda contents: without(contents.data or b"", key, providers))


def _providers(key: str, load: Callable[[], Loaded]) -> Collection[str]:
    """The known providers, where a key may be an alias's entry for one."""
    return load().config.providers if key.startswith("aliases.") and key.count(".") > 1 else ()


def _in_force(key: str, before: Loaded, after: Loaded) -> str:
    """The current value of a key, if it is a key with a value."""
    if key.startswith("aliases.") and key.removeprefix("aliases.") not in before.config.aliases:
        key = key.rpartition(".")[0]  # one provider's entry of an alias
    if after.config.schema.find(key) is None:
        return ""
    explanation = after.config.explain(key)
    origin = f" ({printable(render.from_home(str(explanation.origin)))})" if explanation.origin is not None else ""
    return f"; {key} is {render.text(explanation.value)} now{origin}"
