"""`stigmer config workers`."""

from __future__ import annotations

import datetime

import click

from .. import state
from ..problems import printable
from . import render
from .common import OK, Where, capture, common
from .table import Cell, columns

UNHEALTHY = 4
_HEADER = ("pid", "generation", "fingerprint", "model", "in step", "newest reload", "started")


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
    running = state.running(capture())
    if form == "json":
        click.echo(render.json_text([_document(worker) for worker in running]))
    elif running:
        columns([[Cell(title, {"bold": True}) for title in _HEADER], *map(_row, running)])
        for worker in running:
            for fault in worker.rejected:
                click.echo(f"\n{worker.pid} rejected its newest reload, and keeps generation {worker.generation}:")
                click.echo("\n".join(map(printable, fault.split("\n"))))
    else:
        click.echo("no worker is running", err=True)
    raise SystemExit(OK if all(map(state.is_healthy, running)) else UNHEALTHY)


def _document(worker: state.WorkerState) -> dict[str, object]:
    return {
        "pid": worker.pid,
        "mode": worker.mode,
        "generation": worker.generation,
        "fingerprint": worker.fingerprint,
        "model": worker.model,
        "started": worker.started.isoformat(),
        "in_step": state.in_step(worker),
        "behind": [source.path for source in state.behind(worker)],
        "restart_required": list(worker.restart_required),
        "rejected": list(worker.rejected),
    }


def _row(worker: state.WorkerState) -> list[Cell | str]:
    reload = Cell("rejected", {"fg": "red"}) if worker.rejected else Cell("ok", {"fg": "green"})
    model, age = printable(worker.model), _age(worker)
    return [str(worker.pid), str(worker.generation), worker.fingerprint[:12], model, _step(worker), reload, age]


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
