"""`stigmer config explain`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, TextIO

import click

from ...config.config import RESOLVED, Config
from ...core.problems import printable
from ...core.provenance import Explanation
from ...loading.explanations import definition
from ...secrets.references import Unread
from ...settings.schema import Setting
from ..completion import completing
from ..options import CommandContext, common, concerning, html_option, require_alias, require_key
from ..output import render
from ..output.problems import exit_status, print_problems
from ..output.table import Cell, columns, fold, terminal_width

_BOLD = {"bold": True}
_RANKS = {layer: rank for rank, layer in enumerate(render.LAYER_STYLES)}
_REASONS = {
    "provider-switched": "set for another provider than the one in force",
    "bound-elsewhere": "a credential that belongs to another endpoint",
    "untrusted": "a project may not set it unless it is trusted",
    "enforced": "the site file or the store enforces another value",
    "locked": "your `locked` list keeps projects from changing it",
    "not-in-mode": "there is no Redis in local mode",
    "unused": "the provider in force does not take it",
    "unsupported": "the model does not take it",
}
_ACCESS = {
    "open": "any layer may set it, a project's file too (open)",
    "protected": "an untrusted project may not set it (protected)",
    "secret": "no project may hold it; masked everywhere (secret)",
    "forbidden": "no project may set it",
}


@click.command("explain")
@click.argument("key", shell_complete=completing("complete_key"))
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@html_option
@common
def command(key: str, form: str, page: TextIO | None, where: CommandContext) -> None:
    """Explain why KEY has its value: what each layer set, lowest first, and which one won.

    The value in force is marked with *. The steps of an alias and the definition of the key follow.

    \b
    Why a value loses:
      overridden         a higher layer sets the key too
      provider-switched  set for another provider than the one in force
      bound-elsewhere    a credential that belongs to another endpoint
      untrusted          a project may not set it unless it is trusted
      enforced           the site file or the store enforces another value
      locked             your `locked` list keeps projects from changing it
      not-in-mode        there is no Redis in local mode
      unused             the provider in force does not take it
      unsupported        the model does not take it

    \b
    Examples:
      stigmer config explain llm.model
      stigmer config explain aliases.fast --format json
      stigmer config explain llm.base_url --html why.html
    """
    require_key(key, where.schema)
    loaded = where.load()
    require_alias(loaded, key)
    explanation = loaded.config.explain(key)
    problems = concerning(loaded, key)
    if page is not None:
        from ..output import page as pages

        page.write(pages.explanation(loaded, explanation, definition(key, where.schema)))
    elif form == "json":
        click.echo(render.json_text(_document(loaded.config, explanation)))
    else:
        _text(loaded.config, explanation)
    print_problems(problems, others=len(loaded.problems) - len(problems))
    raise SystemExit(exit_status(loaded.problems))


def _document(config: Config, explanation: Explanation) -> dict[str, Any]:
    hops = [
        {"alias": hop.name, "target": hop.target, "origin": render.origin_json(hop.origin)} for hop in explanation.hops
    ]
    setting = definition(explanation.key, config.schema)
    return {
        "key": explanation.key,
        **render.explanation_json(explanation),
        "hops": hops,
        **({"fallbacks": _fallbacks(config)} if explanation.key == "llm.fallbacks" else {}),
        "definition": {
            "doc": setting.doc,
            "expects": setting.value_type.expects,
            "variable": setting.variable,
            "access": setting.access,
            "reload": setting.reload,
            "nullable": setting.nullable,
        },
    }


def _fallbacks(config: Config) -> list[dict[str, Any]]:
    """Each fallback's model, address, and its key's origin, if it has a key."""
    found: list[dict[str, Any]] = []
    for llm, key in zip(config.llm.fallbacks, config.fallback_keys(), strict=True):
        state = (
            f"{llm.api_key if isinstance(llm.api_key, Unread) else 'set'} ({printable(str(key))})" if key else "none"
        )
        model = printable(llm.model_steps)
        found.append({"model": model, "provider": llm.provider, "base_url": llm.base_url, "api_key": state})
    return found


def _text(config: Config, explanation: Explanation) -> None:
    """The value, each layer's value from the lowest up, and the key's definition."""
    _value(config, explanation)
    click.echo()
    if explanation.origin is None and not explanation.losers:
        click.echo("  nothing sets it")
    else:
        columns(_waterfall(config, explanation), give_way=3, whole=2)
    for reason in dict.fromkeys(loser.reason for loser in explanation.losers if loser.reason != "overridden"):
        click.echo(f"  {reason}: {_REASONS[reason]}")
    if explanation.hops:
        click.echo("\nalias:")
        hops: list[list[Cell | str]] = [
            [f"  {printable(hop.name)} → {printable(hop.target)}", *render.origin_cells(hop.origin)]
            for hop in explanation.hops
        ]
        columns(hops, give_way=2)
    if explanation.key == "llm.fallbacks" and config.llm.fallbacks:
        click.echo("\nin this order:")
        columns(
            [
                [f"  {one['model']}", one["base_url"] or "no address", f"key {one['api_key']}"]
                for one in _fallbacks(config)
            ]
        )
    click.echo()
    _definition(definition(explanation.key, config.schema))


def _value(config: Config, explanation: Explanation) -> None:
    value, key = explanation.value, explanation.key
    if isinstance(value, Mapping):  # an alias with a model for each provider
        click.echo(f"{printable(key)} =")
        columns([[f"  {provider}", Cell(render.text(model), _BOLD)] for provider, model in value.items()])
        return
    shown = render.model_steps(config) if key == "llm.model" else render.text(value)
    if key.startswith("aliases."):
        end = config.meaning(key.removeprefix("aliases."))[config.llm.provider]
        shown += f" → {printable(end)}" if end not in (None, value) else ""
    click.echo(f"{printable(key)} = {click.style(shown, bold=True)}")


def _waterfall(config: Config, explanation: Explanation) -> list[list[Cell | str]]:
    """One row for each layer that gave a value, lowest first; the one in force is marked."""
    rows: list[list[Cell | str]] = []
    losers = list(reversed(explanation.losers))
    for loser in losers:
        layer, place = render.origin_cells(loser.origin, lost=True)
        lost = Cell(render.text(loser.value), render.LOST)
        rows.append(["   ", layer, lost, place, Cell(loser.reason, {"dim": True})])
    origin = explanation.origin
    if origin is not None:
        layer, place = render.origin_cells(origin)
        # The resolved model name is in no layer, so show the configured string.
        given = config.value("llm.model") if explanation.key in RESOLVED else explanation.value
        above = [n for n, loser in enumerate(losers) if _RANKS[loser.origin.layer] > _RANKS[origin.layer]]
        won = [Cell("  *", _BOLD), layer, Cell(render.text(given), _BOLD), place, Cell("in force", _BOLD)]
        rows.insert(above[0] if above else len(rows), [*won])
    return rows


def _definition(setting: Setting) -> None:
    click.echo("\n".join(fold(setting.doc, terminal_width(sys.stdout))))
    change = "a running worker takes a change" if setting.reload == "live" else "a worker must restart for a change"
    columns(
        [
            ["  takes", setting.value_type.takes + (", or null for none" if setting.nullable else "")],
            ["  variable", setting.variable or "none"],
            ["  access", _ACCESS[setting.access]],
            ["  change", change],
        ],
        whole=1,
    )
