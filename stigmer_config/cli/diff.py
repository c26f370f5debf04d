"""`stigmer config diff`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from .. import state
from ..loader import Loaded, read, read_alone
from ..problems import Problem
from ..provenance import Change
from . import changes as diffs
from . import render
from .common import Where, capture, common, exit_status, tell

_MODES = ("local", "cloud")


@click.command("diff")
@click.argument("one", required=False, metavar="[A]")
@click.argument("other", required=False, metavar="[B]")
@click.option("--worker", type=int, metavar="PID", help="Compare what a running worker has with what is on the disk.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@common
def command(one: str | None, other: str | None, worker: int | None, form: str, where: Where) -> None:
    """Compare effective values. A and B are modes (local, cloud) or files; a file counts by itself.

    With --worker, - is what the worker has and + what a load would give it now. Secrets are only compared as
    set or not set.

    \b
    Examples:
      stigmer config diff local cloud
      stigmer config diff old.yaml new.yaml
      stigmer config diff --worker 4711
    """
    if worker is not None and one is not None:
        raise click.UsageError("--worker compares with the disk: leave A and B out")
    if worker is None and other is None:
        raise click.UsageError("name two modes or files, for example: stigmer config diff local cloud")
    found, problems = _worker(worker) if worker is not None else _two(str(one), str(other), where)
    if form == "json":
        click.echo(json.dumps([diffs.document(change) for change in found], indent=2))
    else:
        diffs.echo(found)
    tell(problems)
    raise SystemExit(exit_status(problems))


def _two(one: str, other: str, where: Where) -> tuple[tuple[Change, ...], list[Problem]]:
    before, after = _side(one, where), _side(other, where)
    # Whether this machine has a key says nothing about the difference of two modes.
    problems = [p for p in (*before.problems, *after.problems) if p.code != "missing-api-key"]
    return before.config.diff(after.config), list(dict.fromkeys(problems))


def _side(name: str, where: Where) -> Loaded:
    if name in _MODES:
        return Where(name, where.project_dir).load()
    return read_alone(capture(), Path(name), where.mode)


def _worker(pid: int) -> tuple[tuple[Change, ...], list[Problem]]:
    """What differs between what a worker has and what it would load now."""
    known = {worker.pid: worker for worker in state.running()}
    if pid not in known:
        raise click.UsageError(f"no worker runs as process {pid}: stigmer config workers lists them")
    worker = known[pid]
    loaded = read(state.request_of(worker))
    now = {key: render.plain(value) for key, value in loaded.config.effective()}
    differing = [key for key in dict.fromkeys([*now, *worker.values]) if worker.values.get(key) != now.get(key)]
    changes = [
        Change(
            key=key,
            old=worker.values.get(key),
            new=now.get(key),
            old_origin=None,
            new_origin=loaded.config.explain(key).origin if key in now else None,
            restart_required=key in worker.restart_required,
        )
        for key in differing
    ]
    return tuple(changes), list(loaded.problems)
