"""`stigmer config models`."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
import msgspec

from ...config.config import Config
from ...config.sections import LLMConfig
from ...core.problems import ConfigError, did_you_mean, printable
from ...integrations import ollama
from ...integrations.diagnosis import diagnose, not_in_force
from ...integrations.http import WireError
from ...integrations.listing import Listed, listed_models
from ...llm.catalogue import OLD_FACTS, ModelFacts, catalogue
from ...llm.declared_providers import is_gateway
from ...secrets.references import Unread
from ...settings.packaged_providers import COMPANIES
from ...settings.urls import is_loopback
from ...sources.defaults import packaged_url
from ..completion import completing
from ..options import CommandContext, common, concerning, read_quietly
from ..output import render
from ..output.problems import exit_status, print_problems
from ..output.pull_progress import let_pull
from ..output.table import Cell, columns, fitting, fold, terminal_width


@click.command("models")
@click.option(
    "--provider",
    metavar="NAME",
    shell_complete=completing("complete_named_provider"),
    help="Only this provider's models.",
)
@click.option("--all", "everything", is_flag=True, help="Show retired models, too.")
@click.option(
    "--pull",
    metavar="NAME",
    shell_complete=completing("complete_pull"),
    help="Have Ollama download a model (or an alias's model), with a progress bar.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 600),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for Ollama or another endpoint, in seconds.",
)
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@common
def command(
    provider: str | None, pull: str | None, timeout: float, form: str, where: CommandContext, *, everything: bool
) -> None:
    """List the known models, and what Ollama has installed. The model in force is marked with *.

    For any other provider, such as a gateway, its endpoint's own list is shown: of the provider in force, or of
    --provider NAME. The key is sent only if the endpoint asks for one.

    A temperature is accepted (yes), refused (no), or accepted only while the model does not reason (partly). A
    narrow terminal shows fewer columns; --format json has all of them.

    A model that is not listed works too, but its limits are unknown and not checked. The catalogue's Ollama
    models are listed even when Ollama is not running.

    \b
    Examples:
      stigmer config models
      stigmer config models --provider ollama
      stigmer config models --provider openrouter
      stigmer config models --pull qwen2.5-coder:7b
    """
    request = msgspec.structs.replace(where.request(), runs_commands=pull is not None)
    loaded = read_quietly(request)
    if provider is not None and provider not in loaded.config.providers:
        hint = did_you_mean(provider, loaded.config.providers, f"providers: {', '.join(loaded.config.providers)}")
        raise click.BadParameter(f"there is no provider '{printable(provider)}': {hint}", param_hint="'--provider'")
    llm = _ollama(loaded.config)
    if pull is not None:
        let_pull(loaded.config, llm, pull)
        return
    server = _look(llm, timeout) if provider in (None, "ollama") else None
    gateway = _gateway(loaded.config, provider)
    offered = _offered(gateway, timeout)
    today = request.environment.today
    known = _Known(loaded.config, server, gateway.provider if gateway else "", offered, today)
    rows = [row for row in known.rows() if provider in (None, row["provider"]) and (everything or not row["retired"])]
    if form == "json":
        document = {"as_of": str(catalogue().as_of), "ollama": _server(llm, server), "models": rows}
        if gateway is not None:
            reached = not isinstance(offered, WireError)
            document["endpoint"] = {"provider": gateway.provider, "base_url": gateway.base_url, "reachable": reached}
        click.echo(render.json_text(document))
    else:
        _table(rows)
        _print_age(today)
        if gateway is not None and isinstance(offered, WireError):
            check = diagnose(offered, gateway)
            if gateway.provider != loaded.config.llm.provider:
                check = not_in_force(check, gateway.provider)
            text = f"What {gateway.provider} offers is not known: {check.seen}. To change that: {check.fix}"
            _note(text)
        if provider in (None, "ollama"):
            _print_ollama(llm, server)
    problems = concerning(loaded, "llm.model")
    print_problems(problems, others=len(loaded.problems) - len(problems))
    raise SystemExit(exit_status(loaded.problems))


def _ollama(config: Config) -> LLMConfig | None:
    """The LLM settings with Ollama as the provider, whichever is in force; None when there are none."""
    if config.llm.provider == "ollama":
        return config.llm
    try:
        return config.override({"llm.provider": "ollama"}).llm
    except ConfigError:
        return None


def _gateway(config: Config, wanted: str | None) -> LLMConfig | None:
    """The provider whose endpoint lists its models; none for the three at their own addresses: theirs are known."""
    llm = config.llm
    if wanted not in (None, llm.provider):
        try:
            llm = _switched(config, {"llm.provider": wanted, "llm.model": f"{wanted}:any"})
        except ConfigError:
            return None
    packaged = packaged_url(llm.provider) if llm.provider in COMPANIES else None
    if not llm.base_url or not is_gateway(llm.provider, llm.base_url, packaged):
        return None
    return llm


def _switched(config: Config, values: Mapping[str, Any]) -> LLMConfig:
    """The configuration with another provider, if necessary without a key: some list their models without one."""
    try:
        return config.override(values).llm
    except ConfigError as error:
        if {problem.code for problem in error.problems} != {"missing-api-key"}:
            raise
        return config.override({**values, "llm.api_key": None}).llm


def _offered(llm: LLMConfig | None, timeout: float) -> tuple[Listed, ...] | WireError:
    if llm is None:
        return ()
    try:
        return listed_models(llm, timeout)
    except WireError as error:
        return error


def _look(llm: LLMConfig | None, timeout: float) -> ollama.Server | WireError | None:
    if llm is None or not llm.base_url:
        return None
    try:
        key = None if isinstance(llm.api_key, Unread) else llm.api_key
        return ollama.look(llm.base_url, key=key, timeout=timeout)
    except WireError as error:
        return error


class _Known:
    """The catalogue's and the server's models as one list."""

    def __init__(
        self,
        config: Config,
        server: ollama.Server | WireError | None,
        provider: str,
        offered: tuple[Listed, ...] | WireError,
        today: datetime.date,
    ) -> None:
        self.llm = config.llm
        self.provider = provider  # of `offered`
        self.offered = {} if isinstance(offered, WireError) else {one.id: one for one in offered}
        self.today = today
        self.installed = server.installed if isinstance(server, ollama.Server) else None

    def rows(self) -> Iterator[dict[str, Any]]:
        listed: tuple[ModelFacts, ...] = catalogue().models
        ids = {model.id for model in listed if model.provider == self.provider}
        listed += tuple(
            ModelFacts(provider=self.provider, id=one.id, context=one.context)
            for one in self.offered.values()
            if one.id not in ids
        )
        yield from map(self._row, listed)
        ids = {model.id for model in listed if model.provider == "ollama"}
        for one in self.installed or ():
            if one.name not in ids:
                tools = None if one.capabilities is None else "tools" in one.capabilities
                yield self._row(ModelFacts(provider="ollama", id=one.name, tools=tools))
        if self.llm.model_id and not any(self._in_force(model) for model in listed):
            known = self.llm.provider == "ollama" and self._installed(self.llm.model_id)
            if not known:
                yield self._row(ModelFacts(provider=self.llm.provider, id=self.llm.model_id))

    def _row(self, model: ModelFacts) -> dict[str, Any]:
        left = model.days_left(self.today)
        one: ollama.Installed | Listed | None = self._installed(model.id) if model.provider == "ollama" else None
        asked = model.provider == "ollama" and self.installed is not None
        if model.provider == self.provider and model.id in self.offered and self.offered[model.id].size is not None:
            one, asked = self.offered[model.id], True  # another server that speaks Ollama's protocol
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

    def _in_force(self, model: ModelFacts) -> bool:
        if model.provider != self.llm.provider:
            return False
        full_name = ollama.full_name if self.llm.kind == "ollama" else str
        return full_name(model.id) == full_name(self.llm.model_id)

    def _installed(self, name: str) -> ollama.Installed | None:
        full = ollama.full_name(name)
        return next((one for one in self.installed or () if one.name == full), None)


def _print_age(today: datetime.date) -> None:
    days = (today - catalogue().as_of).days
    if days > OLD_FACTS:
        text = f"The facts about models are {days} days old: pip install --upgrade stigmer-config brings newer ones"
        _note(text)


def _note(text: str) -> None:
    click.echo("\n".join(fold(text, terminal_width(sys.stderr))), err=True)


_FLAGS = {True: "yes", False: "no", None: "?", "without-reasoning": "partly"}
_HEADER = ("", "provider", "model", "id", "context", "output", "temperature", "tools", "retires", "installed")
_NUMBERS = ("context", "output", "installed")
_OPTIONAL = ("id", "output", "tools", "context")  # left out on a narrow terminal, in this order


def _table(rows: Sequence[Mapping[str, Any]]) -> None:
    table = [[Cell(title, {"bold": True}) for title in _HEADER]]
    is_known = any(row["installed"] is not None for row in rows)
    for row in rows:
        style: dict[str, bool] = {"bold": True} if row["in_force"] else {"dim": True} if row["retired"] else {}
        names = row["names"][:1]
        cells: list[str] = [
            "*" if row["in_force"] else "",
            row["provider"],
            names[0] if names else row["id"],
            row["id"] if names else "",
            str(row["context"] or "?"),
            str(row["output"] or "?"),
            _FLAGS[row["temperature"]],
            _FLAGS[row["tools"]],
            row["retires"] or "",
            _installed(row) if is_known else "",
        ]
        table.append([Cell(cell, style) for cell in cells])
    shown = fitting(table, [_HEADER.index(title) for title in _OPTIONAL])
    titles = [cell.text for cell in shown[0]]
    columns(shown, give_way=2, right=[titles.index(title) for title in _NUMBERS if title in titles])


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


def _recommended(llm: LLMConfig | None) -> tuple[ModelFacts, ...]:
    """The models recommended for this machine, if Ollama runs on it."""
    memory = ollama.machine_memory()
    if memory is None or llm is None or not is_loopback(llm.base_url or ""):
        return ()
    return ollama.recommended(memory)[:3]


def _print_ollama(llm: LLMConfig | None, server: ollama.Server | WireError | None) -> None:
    if llm is not None and isinstance(server, WireError):
        check = diagnose(server, llm)
        _note(f"The installed models are unknown: {check.seen}. Fix: {check.fix}")
    suiting = [model.id for model in _recommended(llm)]
    if suiting:
        _note(f"For this machine's memory: {', '.join(suiting)}")
