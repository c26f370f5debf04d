"""`stigmer config show`."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from ..config import Config
from ..loader import Loaded
from ..settings import SETTINGS
from ..sources.flags import from_command_line
from . import render
from .common import Where, common, complete_key, exit_status, require_key, tell


@click.command("show")
@click.argument("keys", nargs=-1, metavar="[KEY]...", shell_complete=complete_key)
@click.option("--origin", is_flag=True, help="Show where each value comes from.")
@click.option("--all", "everything", is_flag=True, help="Show providers, aliases and the values that lost, too.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "yaml", "env"]),
    default="table",
    show_default=True,
    help="yaml is a valid configuration file, env can be sourced by a shell.",
)
@click.option("--llm-provider", metavar="P", help="As if the flag set llm.provider.")
@click.option("--llm-model", metavar="M", help="As if the flag set llm.model.")
@click.option("--anthropic-key", metavar="-", help="Read an Anthropic key from standard input.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="As if a flag set KEY. Repeatable.")
@click.option("--reveal", is_flag=True, help="Print secrets instead of masking them.")
@common
def command(keys: tuple[str, ...], form: str, where: Where, **options: Any) -> None:
    """Show the effective configuration: what is in force after all layers.

    KEY is a key (llm.model) or a section (llm); without one, all are shown. What can be told is shown even
    when there are errors: they follow on standard error, and the exit status is 1 (or 3, when a project sets
    what only you may).

    \b
    Examples:
      stigmer config show --origin
      stigmer config show llm --origin
      stigmer config show --llm-model fast
      stigmer config show --set llm.temperature=0.2 --format json
      stigmer config show --all --format yaml > config.yaml
    """
    for key in keys:
        require_key(key, sections=True)
    loaded = where.load(_flags(options))
    reveal: bool = options["reveal"]
    shown = render.keys(loaded.config, everything=options["everything"], wanted=keys)
    if form == "json" and options["origin"]:
        click.echo(json.dumps(render.document(loaded, shown, reveal=reveal), indent=2))
        raise SystemExit(exit_status(loaded.problems))
    if form == "json":
        click.echo(json.dumps(render.nested(loaded.config, shown, reveal=reveal), indent=2))
    elif form == "yaml":
        click.echo(render.yaml(loaded.config, shown, reveal=reveal))
    elif form == "env":
        click.echo(render.shell(loaded.config, shown, reveal=reveal))
    else:
        _table(loaded, shown, options)
    tell(loaded.problems)
    raise SystemExit(exit_status(loaded.problems))


def _flags(options: dict[str, Any]) -> Any:
    rows: list[tuple[str, str, str]] = []
    for key, option in (("llm.provider", "llm_provider"), ("llm.model", "llm_model")):
        if options[option] is not None:
            rows.append((key, options[option], f"--{option.replace('_', '-')}"))
    for assignment in options["assignments"]:
        key, separator, value = assignment.partition("=")
        require_key(key)
        if not separator:
            raise click.UsageError(f"--set {key}: write KEY=VALUE")
        if key in SETTINGS and SETTINGS[key].is_secret:
            raise click.UsageError(f"--set {key}: a secret on a command line can be read by others; put it in a file")
        if key == "mode":
            raise click.UsageError("--set mode: use --mode")
        rows.append((key, value, f"--set {key}"))
    return from_command_line(rows, _anthropic_key(options["anthropic_key"]))


def _anthropic_key(given: str | None) -> str | None:
    if given is None:
        return None
    if given != "-":
        raise click.UsageError("--anthropic-key takes - and reads standard input: others can read a command line")
    key = sys.stdin.readline().strip()
    if not key:
        raise click.UsageError("--anthropic-key -: there is no key on standard input")
    return key


def _table(loaded: Loaded, shown: list[str], options: dict[str, Any]) -> None:
    config = loaded.config
    rows: list[list[str]] = []
    for key in shown:
        explanation = config.explain(key)
        if explanation.origin is None and not (options["everything"] and explanation.losers):
            continue
        value = _value(config, key, reveal=options["reveal"])
        rows.append([key, value, render.place(explanation.origin)] if options["origin"] else [key, value])
        for loser in explanation.losers if options["everything"] else ():
            lost = click.style(render.text(loser.value, reveal=options["reveal"]), strikethrough=True, dim=True)
            rows.append(["", lost, f"{render.place(loser.origin)} ({loser.reason})"])
    render.columns(rows)


def _value(config: Config, key: str, *, reveal: bool) -> str:
    value = render.text(config.value(key), reveal=reveal)
    if key != "llm.model":
        return value
    steps = [value, config.llm.model_name, config.llm.model_id]
    return " → ".join(dict.fromkeys(step for step in steps if step))
