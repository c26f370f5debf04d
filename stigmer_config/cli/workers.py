"""`stigmer config workers`."""

from __future__ import annotations

import datetime
import json

import click

from .. import state
from ..problems import printable
from .common import OK, Where, common
from .table import Cell, columns

_UNHEALTHY = 4


@click.command("workers")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@common
def command(form: str, where: Where) -> None:
    """List the workers running on this machine, and whether each runs what is on the disk.

    A worker is in step when its files are as it last took them and nothing waits for a restart. The exit
    status is 4 when one is not, or when its newest reload was rejected.

    \b
    Examples:
      stigmer config workers
      stigmer config diff --worker 4711
    """
    del where
    running = state.running()
    if form == "json":
        click.echo(json.dumps([_document(worker) for worker in running], indent=2))
    elif not running:
        click.echo("no worker is running", err=True)
    else:
        header = ["pid", "generation", "fingerprint", "model", "in step", "started"]
        rows: list[list[Cell | str]] = [
            [str(w.pid), str(w.generation), w.fingerprint[:12], printable(w.model), _step(w), _age(w)] for w in running
        ]
        columns([[Cell(cell, {"bold": True}) for cell in header], *rows])
        for worker in running:
            for fault in worker.rejected:
                click.echo(f"{worker.pid} rejected its newest reload:\n{fault}", err=True)
    healthy = all(state.in_step(worker) and not worker.rejected for worker in running)
    raise SystemExit(OK if healthy else _UNHEALTHY)


def _document(worker: state.WorkerState) -> dict[str, object]:
    return {
        "pid": worker.pid,
        "mode": worker.mode,
        "generation": worker.generation,
        "fingerprint": worker.fingerprint,
        "model": worker.model,
        "started": worker.started.isoformat(),
        "in_step": state.in_step(worker),
        "restart_required": list(worker.restart_required),
        "rejected": list(worker.rejected),
    }


def _step(worker: state.WorkerState) -> Cell:
    if worker.restart_required:
        return Cell(f"no: restart for {', '.join(worker.restart_required)}", {"fg": "yellow"})
    behind = [source.path for source in state.behind(worker)]
    if behind:
        return Cell(f"no: {printable(', '.join(behind))} changed", {"fg": "yellow"})
    return Cell("yes", {"fg": "green"})


def _age(worker: state.WorkerState) -> str:
    seconds = int((datetime.datetime.now(datetime.UTC) - worker.started).total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit} ago"
    return f"{max(seconds, 0)}s ago"
