"""Has Ollama download a model, and shows the progress."""

from __future__ import annotations

import sys
from typing import Any

import click

from ...config.config import Config
from ...config.sections import LLMConfig
from ...integrations import ollama
from ...integrations.diagnosis import diagnose
from ...integrations.http import WireError
from ...settings.declarations import SETTINGS
from ...settings.value_types import InvalidValueError

_UNHEALTHY = 4


def let_pull(config: Config, llm: LLMConfig | None, wanted: str) -> None:
    """Pulls the model of a name, an alias or `ollama:name`. Exits with 4 when that fails.

    `llm` has Ollama as its provider.
    """
    if llm is None or not llm.base_url:
        raise click.ClickException("no Ollama is configured\nhint: set providers.ollama.base_url")
    name = _meant(config, wanted)
    steps = _Steps(name)
    try:
        ollama.pull(llm.base_url, name, steps.show, key=llm.api_key)
    except WireError as error:
        steps.end()
        if error.trouble == "error":
            click.echo(f"{name} was not pulled: Ollama says: {error.detail}", err=True)
        else:
            check = diagnose(error, llm)
            click.echo(f"{name} was not pulled: {check.seen}\nhint: {check.fix}", err=True)
        raise SystemExit(_UNHEALTHY) from None
    steps.end()
    click.echo(f"{name} is installed")


def _meant(config: Config, wanted: str) -> str:
    try:
        SETTINGS["llm.model"].check(wanted, "--pull")
    except InvalidValueError as fault:
        raise click.UsageError(f"{fault.message}: {fault.hint}") from None
    if wanted in config.aliases:
        name = config.meaning(wanted)["ollama"]
        if name is None:
            raise click.UsageError(f"the alias {wanted} stands for no model of Ollama: stigmer config aliases")
        return name
    head, _, rest = wanted.partition(":")
    return rest if head.lower() == "ollama" and rest else wanted


class _Steps:
    """Shows a pull on standard error: a bar for each download on a terminal, a line for each step elsewhere."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.status = ""
        self.bar: Any = None

    def show(self, step: ollama.Progress) -> None:
        """Draws one step."""
        if step.status != self.status:
            self.end()
            self.status = step.status
            self._begin(step)
        if self.bar is not None and step.completed is not None:
            self.bar.update(step.completed - self.bar.pos)

    def _begin(self, step: ollama.Progress) -> None:
        if step.total and sys.stderr.isatty():
            self.bar = click.progressbar(length=step.total, label=step.status, file=sys.stderr)
            self.bar.render_progress()
        else:
            click.echo(f"{self.name}: {step.status}", err=True)

    def end(self) -> None:
        """Ends the bar's line."""
        if self.bar is not None:
            self.bar.render_finish()
            self.bar = None
