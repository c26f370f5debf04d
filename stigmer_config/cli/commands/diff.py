"""`stigmer config diff`."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any, TextIO

import click

from ...config.sections import plain
from ...core.problems import Problem
from ...core.provenance import Change
from ...core.secret import MASK, Secret
from ...loading.load import Loaded, read_alone
from ...workers import local_workers
from ..completion import completing
from ..options import CommandContext, capture, common, html_option, read_quietly
from ..output import changes as diffs
from ..output import render
from ..output.problems import OK, exit_status, print_problems
from .workers import UNHEALTHY

_MODES = ("local", "cloud")


@click.command("diff")
@click.argument("one", required=False, metavar="[A]", shell_complete=completing("complete_side"))
@click.argument("other", required=False, metavar="[B]", shell_complete=completing("complete_side"))
@click.option(
    "--worker",
    type=int,
    metavar="PID",
    shell_complete=completing("complete_worker"),
    help="Compare what a running worker has with what is on the disk.",
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@html_option
@common
def command(
    one: str | None, other: str | None, worker: int | None, form: str, page: TextIO | None, where: CommandContext
) -> None:
    """Compare effective values. A and B are modes (local, cloud) or files, each over the defaults alone.

    With --worker, - is what the worker has and + what it would load now; of secrets only set or not set is
    compared. The exit status is 4 when the worker is not healthy (see stigmer config workers).

    \b
    Examples:
      stigmer config diff local cloud
      stigmer config diff old.yaml new.yaml
      stigmer config diff --worker 4711
      stigmer config diff local cloud --html modes.html
    """
    if worker is not None and one is not None:
        raise click.UsageError("--worker compares with the disk: leave A and B out")
    if worker is None and other is None:
        raise click.UsageError("name two modes or files, for example: stigmer config diff local cloud")
    found, problems, healthy = _worker(worker) if worker is not None else _two(str(one), str(other), where)
    if page is not None:
        from ..output import page as pages

        before, after = (one, other) if worker is None else (f"worker {worker}", "on disk")
        page.write(pages.difference(found, problems, str(before), str(after)))
    elif form == "json":
        click.echo(render.json_text([diffs.document(change) for change in found]))
    else:
        diffs.echo(found)
    print_problems(problems)
    raise SystemExit(exit_status(problems) or healthy)


def _two(one: str, other: str, where: CommandContext) -> tuple[tuple[Change, ...], list[Problem], int]:
    before, after = _side(one, where), _side(other, where)
    # Whether this machine has a key is unrelated to the difference of two modes.
    problems = [p for p in (*before.problems, *after.problems) if p.code != "missing-api-key"]
    return before.config.diff(after.config), list(dict.fromkeys(problems)), OK


def _side(name: str, where: CommandContext) -> Loaded:
    if name in _MODES:
        return CommandContext(name, where.project_dir).load()
    return read_alone(capture(), Path(name), where.mode, schema=where.schema)


def _worker(pid: int) -> tuple[tuple[Change, ...], list[Problem], int]:
    """Prints the differences between a worker's values and those it would load now; 4 when it is not healthy."""
    workers = [worker for worker in local_workers.running(capture()) if worker.pid == pid]
    if not workers:
        raise click.UsageError(f"no worker runs as process {pid}: stigmer config workers lists them")
    # Each container has a process 1: prefer this container's, then the newest.
    worker = max(workers, key=lambda worker: (worker.host == socket.gethostname(), worker.started))
    loaded = read_quietly(local_workers.request_of(worker, capture()))
    has, now = worker.values, {key: _comparable(value) for key, value in loaded.config.effective()}
    now["mode"] = loaded.wanted_mode
    changes = [
        Change(
            key=key,
            old=has.get(key),
            new=now.get(key),
            old_origin=None,
            new_origin=loaded.config.explain(key).origin if key in now else None,
            restart_required=key in worker.restart_required,
        )
        for key in dict.fromkeys([*now, *has])
        if has.get(key) != now.get(key)
    ]
    return tuple(changes), list(loaded.problems), OK if local_workers.is_healthy(worker) else UNHEALTHY


def _comparable(value: Any) -> Any:
    """A value in the form of a worker's state."""
    return MASK if isinstance(value, Secret) else plain(value)
