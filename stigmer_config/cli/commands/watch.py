"""`stigmer config watch`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator

import click

from ...config.config import Config
from ...core.problems import ConfigError, Problem, printable
from ...core.provenance import Change
from ...live.live_config import LiveConfig
from ...live.log_events import Reporter
from ...reload.reloader import Reloader
from ..options import CommandContext, common
from ..output import changes as diffs
from ..output.problems import OK, exit_status, print_problems


@click.command("watch")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@common
def command(form: str, where: CommandContext) -> None:
    """Follow the files and print each effective change as it happens; end with Ctrl-C.

    A change that does not load is reported on standard error, and the last good configuration stays in force.
    With --format json each change is one line.

    \b
    Examples:
      stigmer config watch
      stigmer config watch --format json | jq .key
    """
    printer = _Printer(form)
    try:
        live = LiveConfig(Reloader(where.request()), printer, publishes=False)
    except ConfigError as error:
        print_problems(error.problems)
        raise SystemExit(exit_status(error.problems)) from None
    live.begin()
    with live:
        click.echo("watching; press Ctrl-C to stop", err=True)
        with contextlib.suppress(KeyboardInterrupt):
            printer.ended.wait()
    if printer.fault is not None:
        raise printer.fault
    raise SystemExit(OK)


class _Printer(Reporter):
    """Prints the events that a worker would log, as text or as JSON. `ended`: the reader closed the pipe."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.ended = threading.Event()
        self.fault: OSError | None = None
        self._form = form

    def reloaded(
        self, config: Config, changes: Iterable[Change], restart_required: Iterable[str], fingerprint: str
    ) -> None:
        del restart_required, fingerprint  # the changes themselves are printed
        with self._printing():
            if self._form == "json":
                for change in changes:
                    click.echo(diffs.line(change, config.generation))
            else:
                click.echo(click.style(f"generation {config.generation}", dim=True))
                diffs.echo(changes)

    def rejected(self, config: Config, problems: Iterable[Problem]) -> None:
        del config
        with self._printing():
            click.echo("rejected; the last good configuration stays in force:", err=True)
            print_problems(tuple(problems))

    def recovered(self, config: Config) -> None:
        with self._printing():
            click.echo(f"valid again: the files match generation {config.generation}", err=True)

    def watching(self, config: Config, state: str, detail: str) -> None:
        del config
        with self._printing():
            if state in ("degraded", "polling"):
                click.echo(f"changes are noticed late ({state}): {printable(detail)}", err=True)

    @contextlib.contextmanager
    def _printing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # the reader is gone
            self.fault = error
            self.ended.set()
