"""`stigmer config models`."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
import msgspec

from ...config.config import Config
from ...config.sections import LLMConfig
from ...core.problems import ConfigError, printable
from ...integrations import ollama
from ...integrations.diagnosis import diagnose
from ...integrations.http import WireError
from ...llm.catalogue import Model, catalogue
from ...loading.load import read
from ...secrets.references import Unread
from ...settings.providers import PROVIDERS
from ...settings.urls import is_loopback
from ..completion.candidates import complete_pull
from ..options import Where, common, concerning
from ..output import render
from ..output.problems import exit_status, tell
from ..output.pull_progress import let_pull
from ..output.table import Cell, columns


@click.command("models")
@click.option("--provider", type=click.Choice(PROVIDERS), help="Only this provider's models.")
@click.option("--all", "everything", is_flag=True, help="Show retired models, too.")
@click.option(
    "--pull",
    metavar="NAME",
    shell_complete=complete_pull,
    help="Have Ollama download a model (or an alias's model), with a progress bar.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 600),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for Ollama, in seconds.",
)
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@common
def command(
    provider: str | None, pull: str | None, timeout: float, form: str, where: Where, *, everything: bool
) -> None:
    """List the known models, and what Ollama has installed. The model in force is marked with *.

    A model that is not listed works too, but its limits are unknown and not checked. The catalogue's Ollama
    models are listed even when Ollama is not running.

    \b
    Examples:
      stigmer config models
      stigmer config models --provider ollama
      stigmer config models --pull qwen2.5-coder:7b
    """
    request = msgspec.structs.replace(where.request(), runs_commands=pull is not None)
    loaded = read(request)
    llm = _ollama(loaded.config)
    if pull is not None:
        let_pull(loaded.config, llm, pull)
        return
    server = _look(llm, timeout) if provider in (None, "ollama") else None
    known = _Known(loaded.config, server, request.environment.today)
    rows = [row for row in known.rows() if provider in (None, row["provider"]) and (everything or not row["retired"])]
    if form == "json":
        click.echo(render.json_text({"as_of": str(catalogue().as_of), "ollama": _server(llm, server), "models": rows}))
    else:
        _table(rows)
        if provider in (None, "ollama"):
            _tell_ollama(llm, server)
    problems = concerning(loaded, "llm.model")
    tell(problems, others=len(loaded.problems) - len(problems))
    raise SystemExit(exit_status(loaded.problems))


def _ollama(config: Config) -> LLMConfig | None:
    """The configuration's Ollama, whether or not it is the provider in force; None when it has none."""
    if config.llm.provider == "ollama":
        return config.llm
    try:
        return config.override({"llm.provider": "ollama"}).llm
    except ConfigError:
        return None


def _look(llm: LLMConfig | None, timeout: float) -> ollama.Server | WireError | None:
    if llm is None or not llm.base_url:
        return None
    try:
        key = None if isinstance(llm.api_key, Unread) else llm.api_key
        return ollama.look(llm.base_url, key=key, timeout=timeout)
    except WireError as error:
        return error


class _Known:
    """The catalogue and the server's models as one list."""

    def __init__(self, config: Config, server: ollama.Server | WireError | None, today: datetime.date) -> None:
        self.llm = config.llm
        self.today = today
        self.installed = server.installed if isinstance(server, ollama.Server) else None

    def rows(self) -> Iterator[dict[str, Any]]:
        listed = catalogue().models
        yield from map(self._row, listed)
        ids = {model.id for model in listed if model.provider == "ollama"}
        for one in self.installed or ():
            if one.name not in ids:
                tools = None if one.capabilities is None else "tools" in one.capabilities
                yield self._row(Model(provider="ollama", id=one.name, tools=tools))
        if self.llm.model_id and not any(self._in_force(model) for model in listed):
            known = self.llm.provider == "ollama" and self._installed(self.llm.model_id)
            if not known:
                yield self._row(Model(provider=self.llm.provider, id=self.llm.model_id))

    def _row(self, model: Model) -> dict[str, Any]:
        left = model.days_left(self.today)
        one = self._installed(model.id) if model.provider == "ollama" else None
        asked = model.provider == "ollama" and self.installed is not None
        return {
            "provider": model.provider,
            "id": printable(model.id),
            "names": [printable(name) for name in model.names],
            "context": model.context,
            "output": model.output,
            "temperature": model.temperature,
            "tools": model.tools,
            "reasoning": model.reasoning,
            "retires": str(model.retires) if model.retires else None,
            "retired": left is not None and left <= 0,
            "replacement": model.replacement,
            "in_force": self._in_force(model),
            "installed": one is not None if asked else None,
            "size": one.size if one is not None else None,
        }

    def _in_force(self, model: Model) -> bool:
        return (model.provider, model.id) == (self.llm.provider, self.llm.model_id)

    def _installed(self, name: str) -> ollama.Installed | None:
        full = ollama.full_name(name)
        return next((one for one in self.installed or () if one.name == full), None)


_FLAGS = {True: "yes", False: "no", None: "?"}


def _table(rows: Sequence[Mapping[str, Any]]) -> None:
    header = ["", "provider", "model", "context", "output", "temperature", "tools", "retires", "installed"]
    table: list[list[Cell | str]] = [[Cell(cell, {"bold": True}) for cell in header]]
    for row in rows:
        style: dict[str, bool] = {"bold": True} if row["in_force"] else {"dim": True} if row["retired"] else {}
        names = row["names"][:1]
        name = f"{names[0]} ({row['id']})" if names else row["id"]
        cells: list[str] = [
            "*" if row["in_force"] else "",
            row["provider"],
            name,
            str(row["context"] or "?"),
            str(row["output"] or "?"),
            _FLAGS.get(row["temperature"]) or str(row["temperature"]),
            _FLAGS[row["tools"]],
            row["retires"] or "",
            _installed(row),
        ]
        table.append([*(Cell(cell, style) for cell in cells)])
    columns(table, give_way=2)


def _installed(row: Mapping[str, Any]) -> str:
    if row["installed"] is None:
        return "?" if row["provider"] == "ollama" else ""
    return f"{row['size'] / ollama.GIB:.1f} GiB" if row["installed"] else "no"


def _server(llm: LLMConfig | None, server: ollama.Server | WireError | None) -> dict[str, Any]:
    reached = isinstance(server, ollama.Server)
    return {
        "base_url": llm.base_url if llm is not None else None,
        "reachable": reached if server is not None else None,
        "version": server.version if isinstance(server, ollama.Server) else None,
        "recommended": [model.id for model in _recommended(llm)],
    }


def _recommended(llm: LLMConfig | None) -> tuple[Model, ...]:
    """What suits this machine, if it is the one that serves."""
    memory = ollama.machine_memory()
    if memory is None or llm is None or not is_loopback(llm.base_url or ""):
        return ()
    return ollama.recommended(memory)[:3]


def _tell_ollama(llm: LLMConfig | None, server: ollama.Server | WireError | None) -> None:
    if llm is not None and isinstance(server, WireError):
        check = diagnose(server, llm)
        click.echo(f"The installed models are unknown: {check.seen}. Fix: {check.fix}", err=True)
    suiting = [model.id for model in _recommended(llm)]
    if suiting:
        click.echo(f"For this machine's memory: {', '.join(suiting)}", err=True)
