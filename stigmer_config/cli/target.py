"""The file that a command writes, and the messages about the result: written, refused, or failed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import click

from ..core.problems import printable
from ..editing.candidate import EditRejected, EditTarget, NoTarget, Scope, target
from ..editing.keys import EditError
from ..editing.write import Change, Outcome, write
from ..files.atomic_write import SaveError
from .options import CommandContext
from .output.problems import FAULTY, exit_status, print_problems
from .output.render import from_home, from_home_within

if TYPE_CHECKING:
    from ..editing.etcd import Store


_FLAGS = {
    "fleet": "Write the fleet's store, which STIGMER_ETCD names.",
    "user": "Write ~/.stigmer/config.yaml (this is the default).",
    "project": "Write the project's .stigmer/config.yaml.",
}


def _one_of(command: Callable[..., None], *names: str) -> Callable[..., None]:
    """Adds a flag for each scope; the command gets the chosen one as `scope`, `user` when none is."""

    @functools.wraps(command)
    def wrapped(**options: Any) -> None:
        chosen = [name for name in names if options.pop(name)]
        if len(chosen) > 1:
            raise click.UsageError(f"{' and '.join(f'--{name}' for name in chosen)} exclude each other")
        command(scope=chosen[0] if chosen else "user", **options)

    for name in reversed(names):
        wrapped = click.option(f"--{name}", name, is_flag=True, help=_FLAGS[name])(wrapped)
    return wrapped


def scoped(command: Callable[..., None]) -> Callable[..., None]:
    """Adds --user and --project; the command gets them as one `scope`."""
    return _one_of(command, "user", "project")


def fleet_scoped(command: Callable[..., None]) -> Callable[..., None]:
    """Adds --fleet to what `scoped` adds: then `scope` is `fleet`."""
    return _one_of(command, "fleet", "user", "project")


def stored(where: CommandContext, edit: Callable[[Store], Outcome]) -> tuple[Store, Outcome]:
    """Edits the fleet's store. On a problem, prints it and exits (1, or 3 for `untrusted-key`)."""
    from ..editing.etcd import StoreError, store  # most machines have no fleet

    try:
        aimed = store(where.request())
        outcome = edit(aimed)
    except NoTarget as error:
        raise click.UsageError(printable(from_home_within(str(error)))) from error
    except EditRejected as refusal:
        print_problems(refusal.problems, apart=False)
        say("nothing was written: the fleet's store is unchanged")
        raise SystemExit(exit_status(refusal.problems)) from None
    except (StoreError, ImportError) as error:
        say(f"{target_place(aimed)}: {printable(str(error))}")
        say("hint: stigmer config doctor shows more about the store")
        raise SystemExit(FAULTY) from None
    report_outcome(aimed, outcome)
    return aimed, outcome


def file_of(where: CommandContext, scope: Scope) -> EditTarget:
    """The file to write. Raises a usage error (exit 2) when there is none of that scope."""
    try:
        return target(where.request(), scope)
    except NoTarget as error:
        raise click.UsageError(printable(from_home_within(str(error)))) from error


def written(aimed: EditTarget, change: Change, keys: Collection[str] = ()) -> Outcome:
    """Makes an edit. On a problem, prints it and exits (1, or 3 for `untrusted-key`); the file is then unchanged."""
    try:
        outcome = write(aimed, change, keys)
    except EditRejected as refusal:
        print_problems(refusal.problems, apart=False)
        say(f"nothing was written: {target_place(aimed)} is unchanged")
        raise SystemExit(exit_status(refusal.problems)) from None
    except EditError as error:
        say(f"{target_place(aimed)}: {error}")
        say("hint: stigmer config edit opens it in your editor; nothing was written")
        raise SystemExit(FAULTY) from None
    except SaveError as error:
        failed(aimed, error)
    report_outcome(aimed, outcome)
    return outcome


def report_outcome(aimed: EditTarget | Store, outcome: Outcome) -> None:
    """Prints notes on a file that was written."""
    if not outcome.durable:
        place = target_place(aimed)
        say(f"{place} is written, but the disk did not confirm it: a power failure may restore the old version")
    if outcome.trusted:
        say("what you set here is trusted on this machine; others must run: stigmer config trust")
    known = set(outcome.before.problems)
    print_problems(p for p in outcome.after.problems if p.severity == "warning" and p not in known)


def failed(aimed: EditTarget, error: SaveError) -> None:
    """Prints why a file could not be written, and exits."""
    say(f"{printable(from_home_within(str(error)))}\nnothing was written: {target_place(aimed)} is unchanged")
    raise SystemExit(FAULTY) from None


def target_place(aimed: EditTarget | Store, line: int | None = None) -> str:
    """The name of the file, from the home folder, or of the store, in messages."""
    return printable(from_home(aimed.path)) + (f":{line}" if line else "")


def say(message: str) -> None:
    """Prints a line to standard error: standard output is for data."""
    click.echo(message, err=True)
