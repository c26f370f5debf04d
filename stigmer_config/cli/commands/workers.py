"""`stigmer config workers`."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
import msgspec

from ...core.problems import printable
from ...editing.candidate import EditRejected, NoTarget
from ...workers import local_workers
from ..options import CommandContext, capture, common
from ..output import render
from ..output.problems import FAULTY, OK, exit_status, print_problems
from ..output.table import Cell, columns, fitting

if TYPE_CHECKING:
    from ...workers.fleet import FleetWorker

UNHEALTHY = 4
_FLEET = ("host", "pid", "generation", "fingerprint", "model", "in step", "newest reload", "started")
_HEADER = ("pid", "generation", "fingerprint", "model", "in step", "newest reload", "started")


@click.command("workers")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--fleet", is_flag=True, help="List the workers of the whole fleet, from the store STIGMER_ETCD names.")
@click.option("--expect", type=click.IntRange(1), metavar="N", help="Fail unless at least N workers are healthy.")
@common
def command(form: str, where: CommandContext, *, fleet: bool, expect: int | None) -> None:
    """List the workers running on this machine, and whether each runs what is on the disk.

    A worker is in step when its files have not changed since it loaded them and nothing waits for a restart; with
    --fleet, when it runs what the fleet's store has. It is healthy when it is in step and its last reload
    succeeded. The exit status is 4 when a worker is not healthy, when there is none, or when fewer than N are
    healthy: a rollout to N workers is done when it is 0.

    \b
    Examples:
      stigmer config workers
      stigmer config diff --worker 4711
      until stigmer config workers --fleet --expect 3; do sleep 1; done
    """
    if fleet:
        raise SystemExit(_fleet(where, form, expect))
    running = local_workers.running(capture())
    if form == "json":
        click.echo(render.json_text([_document(worker) for worker in running]))
    elif running:
        _table(running)
    healthy = sum(map(local_workers.is_healthy, running))
    if not running:
        click.echo("no worker is running", err=True)
    _report_missing(healthy, expect)
    raise SystemExit(_status(healthy, len(running), expect))


def _status(healthy: int, workers: int, expect: int | None) -> int:
    return OK if healthy == workers and healthy >= (expect or 1) else UNHEALTHY


def _report_missing(healthy: int, expect: int | None) -> None:
    """Reports that there are fewer healthy workers than expected."""
    if expect is not None and healthy < expect:
        noun = "worker" if expect == 1 else "workers"
        click.echo(f"{expect} {noun} expected, {healthy} healthy and in step", err=True)


def _table(running: Sequence[local_workers.WorkerState]) -> None:
    several = len({worker.host for worker in running}) > 1
    titles = (("host",) if several else ()) + _HEADER
    rows = [[*([Cell(printable(worker.host))] if several else []), *_row(worker)] for worker in running]
    _columns(titles, rows)
    for worker in running:
        for fault in worker.rejected:
            click.echo(f"\n{worker.pid} rejected its newest reload, and keeps generation {worker.generation}:")
            click.echo("\n".join(map(printable, fault.split("\n"))))


def _columns(titles: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Prints a table of workers; on a narrow terminal without some of its columns."""
    header = [Cell(title, {"bold": True}) for title in titles]
    shown = fitting([header, *rows], [titles.index(title) for title in ("fingerprint", "started", "generation")])
    left = [cell.text for cell in shown[0]]
    columns(shown, right=[left.index(title) for title in ("pid", "generation") if title in left])


def _fleet(where: CommandContext, form: str, expect: int | None) -> int:
    """Lists the fleet's workers. Returns the exit status."""
    from ...editing.etcd import store  # most machines have no fleet
    from ...workers.fleet import is_healthy, listed

    try:
        aimed = store(where.request())
        stored, workers = listed(aimed.fleet)
    except NoTarget as error:
        raise click.UsageError(printable(str(error))) from error
    except EditRejected as refusal:
        print_problems(refusal.problems)
        return exit_status(refusal.problems)
    except Exception as error:  # noqa: BLE001 - whatever a store or the library comes up with is no traceback
        click.echo(f"the fleet's store cannot be read: {printable(str(error))}", err=True)
        return FAULTY
    digest = stored.digest
    if form == "json":
        rows = [{**msgspec.to_builtins(worker), "in_step": _in_step(worker, digest)} for worker in workers]
        click.echo(render.json_text({"store": digest, "revision": stored.revision, "workers": rows}))
    elif workers:
        _columns(_FLEET, [_fleet_row(worker, digest) for worker in workers])
        for worker in workers:
            for fault in worker.rejected:
                click.echo(f"\n{printable(worker.host)} {worker.pid} rejected its newest reload: {printable(fault)}")
    healthy = sum(is_healthy(worker, digest) for worker in workers)
    if form != "json":
        runs = f"run what the store holds (revision {stored.revision})"
        text = f"{healthy} of {len(workers)} workers {runs}" if workers else "no worker of the fleet is running"
        click.echo(text, err=True)
    _report_missing(healthy, expect)
    return _status(healthy, len(workers), expect)


def _in_step(worker: FleetWorker, store: str) -> bool:
    return worker.store == store and not worker.restart_required


def _fleet_row(worker: FleetWorker, digest: str) -> list[Cell]:
    step = Cell("yes", {"fg": "green"}) if worker.store == digest else Cell("no", {"fg": "yellow"})
    if worker.restart_required:
        step = Cell(printable(f"no: restart for {', '.join(worker.restart_required)}"), {"fg": "yellow"})
    reload = Cell("rejected", {"fg": "red"}) if worker.rejected else Cell("ok", {"fg": "green"})
    known = (worker.host, str(worker.pid), str(worker.generation), worker.fingerprint[:12], worker.model)
    return [*(Cell(printable(text)) for text in known), step, reload, Cell(_age(worker))]


def _document(worker: local_workers.WorkerState) -> dict[str, object]:
    return {
        "pid": worker.pid,
        "host": worker.host,
        "mode": worker.mode,
        "generation": worker.generation,
        "fingerprint": worker.fingerprint,
        "model": worker.model,
        "started": worker.started.isoformat(),
        "in_step": local_workers.in_step(worker),
        "behind": [source.path for source in local_workers.behind(worker)],
        "restart_required": list(worker.restart_required),
        "rejected": list(worker.rejected),
    }


def _row(worker: local_workers.WorkerState) -> list[Cell]:
    reload = Cell("rejected", {"fg": "red"}) if worker.rejected else Cell("ok", {"fg": "green"})
    known = (str(worker.pid), str(worker.generation), worker.fingerprint[:12], printable(worker.model))
    return [*map(Cell, known), _step(worker), reload, Cell(_age(worker))]


def _step(worker: local_workers.WorkerState) -> Cell:
    if worker.restart_required:
        return Cell(f"no: restart for {', '.join(worker.restart_required)}", {"fg": "yellow"})
    behind = [render.from_home(source.path) for source in local_workers.behind(worker)]
    if behind:
        return Cell(f"no: {printable(', '.join(behind))} changed", {"fg": "yellow"})
    return Cell("yes", {"fg": "green"})


def _age(worker: local_workers.WorkerState | FleetWorker) -> str:
    seconds = int((datetime.datetime.now(datetime.UTC) - worker.started).total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit} ago"
    return f"{max(seconds, 0)}s ago"
