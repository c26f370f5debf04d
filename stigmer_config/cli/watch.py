"""`stigmer config watch`."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterable
from typing import Any

import click

from ..config import Config
from ..problems import ConfigError, Problem
from ..provenance import Change
from . import changes as diffs
from .common import OK, Where, common, exit_status, tell


@click.command("watch")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@common
def command(form: str, where: Where) -> None:
    """Follow the files and print each effective change as it happens; end with Ctrl-C.

    A change that does not load is told on standard error, and the last good configuration stays.

    \b
    Examples:
      stigmer config watch
      stigmer config watch --format json | jq .key
    """
    from ..live import LiveConfig
    from ..reloader import Reloader

    def show(new: Config, changed: tuple[Change, ...]) -> None:
        if form == "json":
            for change in changed:
                click.echo(json.dumps({"generation": new.generation, **diffs.document(change)}))
        else:
            click.echo(click.style(f"generation {new.generation}", dim=True))
            diffs.echo(changed)

    try:
        live = LiveConfig(Reloader(where.request()), _told(), publishes=False)
    except ConfigError as error:
        tell(error.problems)
        raise SystemExit(exit_status(error.problems)) from None
    live.begin()
    with live:
        live.subscribe(show)
        click.echo("watching; Ctrl-C ends it", err=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    raise SystemExit(OK)


def _told() -> Any:
    """A reporter for a person: problems as the other commands print them, and nothing that `show` prints."""
    from ..report import Reporter

    class Told(Reporter):
        def reloaded(self, config: Config, changes: Iterable[Change], restart_required: Iterable[str]) -> None:
            del config, changes, restart_required  # the subscriber prints them

        def rejected(self, config: Config, problems: Iterable[Problem]) -> None:
            del config
            click.echo("not taken, the last good configuration stays:", err=True)
            tell(tuple(problems))

        def watching(self, config: Config, state: str, detail: str) -> None:
            del config
            click.echo(f"watching: {state} {detail}".rstrip(), err=True)

    return Told()
