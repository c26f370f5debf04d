"""`stigmer config init`."""

from __future__ import annotations

import os

import click

from ...editing.candidate import EditTarget, Scope
from ...editing.starter import schema_path, starter
from ...files.atomic_write import ChangedError, SaveError, locked
from ...sources.checked_read import Contents
from ..options import CommandContext, common
from ..output.problems import FAULTY
from ..target import failed, file_of, say, scoped, target_place, written


@click.command("init")
@scoped
@common
def command(scope: Scope, where: CommandContext) -> None:
    """Write a short commented starter file, never over an existing one.

    schema.json is written beside it, so that editors can complete and check the file offline.

    \b
    Examples:
      stigmer config init
      stigmer config init --project
    """
    aimed = file_of(where, scope)
    _refuse_existing(aimed)

    def first(contents: Contents) -> bytes:
        if contents.data is not None:
            _refuse_existing(aimed)
        return starter(scope).encode()

    schema = _schema_written(aimed)
    written(aimed, first)
    say(f"{target_place(aimed)} is written{schema}; {_edit(aimed)} opens it")


def _edit(aimed: EditTarget) -> str:
    """The command that opens the file."""
    return f"stigmer config edit{' --project' * (aimed.layer == 'project')}"


def _refuse_existing(aimed: EditTarget) -> None:
    if os.path.lexists(aimed.path):
        say(f"{target_place(aimed)} already exists and was not changed\nhint: {_edit(aimed)} opens it")
        raise SystemExit(FAULTY)


def _schema_written(aimed: EditTarget) -> str:
    """Writes the schema beside the file, unless there is one."""
    from ...sources.json_schema import text

    path = schema_path(aimed.path)
    if os.path.lexists(path):
        return f"; {os.path.basename(path)} was already there"
    try:
        with locked(path, follow=aimed.layer == "user") as file:
            file.replace(text().encode(), None, None)
    except ChangedError:
        return f"; {os.path.basename(path)} was already there"
    except SaveError as error:
        failed(aimed, error)
    return f", and {os.path.basename(path)} beside it"
