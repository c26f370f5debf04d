"""`stigmer config show`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import click

from ...config.config import Config, nested
from ...core.problems import printable
from ...core.provenance import Origin
from ...loading.load import Loaded
from ...settings.schema import Schema, Setting
from ...sources.flags import from_command_line
from ..completion import completing
from ..options import CommandContext, common, html_option, require_alias, require_key
from ..output import render
from ..output.problems import exit_status, print_problems, same_terminal
from ..output.table import Cell, columns


@click.command("show")
@click.argument("keys", nargs=-1, metavar="[KEY]...", shell_complete=completing("complete_key_or_section"))
@click.option("--origin", is_flag=True, help="Show where each value comes from: layer and file:line:column.")
@click.option("--all", "everything", is_flag=True, help="Show every key there is, and the values that lost.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "yaml", "env"]),
    default="table",
    show_default=True,
    help="yaml is a valid configuration file, env can be sourced by a shell.",
)
@click.option(
    "--llm-provider",
    metavar="P",
    shell_complete=completing("complete_provider"),
    help="As if llm.provider were P: anthropic, ollama, openai or auto.",
)
@click.option(
    "--llm-model",
    metavar="M",
    shell_complete=completing("complete_model"),
    help="As if llm.model were M: an alias, a model, or provider:model.",
)
@click.option("--anthropic-key", metavar="-", help="Read an Anthropic key from standard input, and use Anthropic.")
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=completing("complete_assignment"),
    help="As if KEY had VALUE (null: none). Repeatable.",
)
@html_option
@click.option("--reveal", is_flag=True, help="Print secrets instead of masking them.")
@common
def command(keys: tuple[str, ...], form: str, where: CommandContext, **options: Any) -> None:
    """Show the effective configuration: what is in force after all layers.

    KEY is a key (llm.model) or a section (llm). Without one, all keys that have a value are shown, but
    providers.* and aliases.* only with --all. Options such as --set change nothing: they show what would be.

    \b
    Layers, lowest first; a higher one wins:
      defaults  packaged, by mode: local (Ollama) or cloud (Anthropic)
      vendor    ANTHROPIC_API_KEY, OPENAI_API_KEY, OLLAMA_HOST, ...
      site      the machine's config.yaml
      user      ~/.stigmer/config.yaml
      project   .stigmer/config.yaml of this folder or one above
      env       MODE, STIGMER_LLM_MODEL, STIGMER_LLM_PROVIDER, ...
      flags     the options of this command

    All that can be resolved is shown even when there are errors; those follow on standard error.

    \b
    Exit status:
      0  no errors (there may be warnings)
      1  the configuration has errors
      2  wrong usage, such as an unknown key
      3  the project's file sets what only you may set

    \b
    Examples:
      stigmer config show --origin
      stigmer config show llm --origin --mode local
      stigmer config show llm.model --all --origin
      stigmer config show --llm-model fast
      stigmer config show --set llm.temperature=0.2 --format json
      stigmer config show --all --format yaml > settings.yaml
      stigmer config show --html config.html
    """
    for key in keys:
        require_key(key, where.schema, sections=True)
    loaded = where.load(_flags(options, where.schema))
    for key in keys:
        require_alias(loaded, key)
    if options["page"] is not None:
        from ..output import page

        options["page"].write(page.configuration(loaded, render.keys(loaded.config, everything=True, wanted=keys)))
        print_problems(loaded.problems)
        raise SystemExit(exit_status(loaded.problems))
    reveal: bool = options["reveal"]
    shown = render.keys(loaded.config, everything=options["everything"], wanted=keys)
    if form == "json" and options["origin"]:
        click.echo(render.json_text(render.document(loaded, shown, reveal=reveal)))
        raise SystemExit(exit_status(loaded.problems))
    if form == "json":
        click.echo(render.json_text(nested(((key, loaded.config.value(key)) for key in shown), reveal=reveal)))
    elif form == "table":
        _table(loaded, shown, keys, options)
    else:
        _file(loaded.config, form, shown, options, whole=not keys)
    print_problems(loaded.problems)
    raise SystemExit(exit_status(loaded.problems))


def _flags(options: dict[str, Any], schema: Schema) -> Any:
    rows: list[tuple[str, str, str]] = []
    for key, option in (("llm.provider", "llm_provider"), ("llm.model", "llm_model")):
        if options[option] is not None:
            rows.append((key, options[option], f"--{option.replace('_', '-')}"))
    for assignment in options["assignments"]:
        key, separator, value = assignment.partition("=")
        require_key(key, schema)
        setting = schema.find(key)
        if setting is not None and setting.is_secret:
            where = f"put it into ~/.stigmer/config.yaml (mode 600){_or_variable(setting)}"
            raise click.UsageError(f"--set {key}: other users can see a secret on a command line; {where}")
        if not separator:
            raise click.UsageError(f"--set {key}: write --set {key}=VALUE")
        if key == "mode":
            raise click.UsageError("--set mode: write --mode local or --mode cloud")
        if setting is None:
            raise click.UsageError(f"--set {key}: it is derived from llm.model: set llm.model instead")
        rows.append((key, value, f"--set {key}"))
    return from_command_line(rows, _anthropic_key(options["anthropic_key"]), schema)


def _or_variable(setting: Setting) -> str:
    return f", or export {setting.variable}" if setting.variable else ""


def _anthropic_key(given: str | None) -> str | None:
    if given is None:
        return None
    if given != "-":
        raise click.UsageError(
            "--anthropic-key takes only -, and reads the key from standard input: other users can see a command line"
        )
    if sys.stdin is not None and sys.stdin.isatty():
        key = str(click.prompt("Anthropic key", hide_input=True, err=True))
    else:
        key = sys.stdin.readline().strip() if sys.stdin is not None else ""
    if not key:
        raise click.UsageError("--anthropic-key -: there is no key on standard input")
    return key


def _file(config: Config, form: str, shown: list[str], options: dict[str, Any], *, whole: bool) -> None:
    from ..output.export import Writer

    writer = Writer(config, reveal=options["reveal"], origins=options["origin"])
    text = writer.yaml(shown, whole=whole) if form == "yaml" else writer.shell(shown)
    if text:
        click.echo(text)


def _table(loaded: Loaded, shown: list[str], wanted: tuple[str, ...], options: dict[str, Any]) -> None:
    config = loaded.config
    faulty = {problem.key for problem in loaded.errors}
    explained = {key: config.explain(key) for key in shown}
    listed = [key for key in shown if options["everything"] or explained[key].origin or key in faulty or key in wanted]
    rows: list[list[Cell | str]] = []
    listed = listed or shown  # a section without values still has keys
    for key in listed:
        explanation = explained[key]
        value = _value(config, key, explanation.origin, reveal=options["reveal"])
        rows.append([printable(key), value, *_origin_cells(explanation.origin, options)])
        for loser in explanation.losers if options["everything"] else ():
            lost = Cell(render.text(loser.value, reveal=options["reveal"]), render.LOST)
            rows.append(
                [Cell(f"  {loser.reason}", {"dim": True}), lost, *_origin_cells(loser.origin, options, lost=True)]
            )
    columns(rows, give_way=3 if options["origin"] else None, whole=1)
    if not options["origin"]:
        _print_legend(explained[key].origin for key in listed)


def _origin_cells(origin: Origin | None, options: dict[str, Any], *, lost: bool = False) -> tuple[Cell, ...]:
    return render.origin_cells(origin, lost=lost) if options["origin"] else ()


def _print_legend(origins: Iterable[Origin | None]) -> None:
    """Prints a legend of the layers' colours on a colour terminal."""
    coloured = same_terminal() and click.get_current_context().color is not False
    found = {origin.layer for origin in origins if origin is not None and origin.layer != "defaults"}
    if coloured and found:
        names = [click.style(layer, **style) for layer, style in render.LAYER_STYLES.items() if layer in found]
        click.echo(f"\nset by {', '.join(names)}; the rest is packaged. --origin shows where", err=True)


def _value(config: Config, key: str, origin: Origin | None, *, reveal: bool) -> Cell:
    """A value in the colour of its layer; packaged defaults have none."""
    value = config.value(key)
    shown = render.model_steps(config) if key == "llm.model" else render.text(value, reveal=reveal)
    if value is None:
        return Cell(shown, {"dim": True})
    return Cell(shown, render.LAYER_STYLES[origin.layer] if origin and origin.layer != "defaults" else {})
