"""A self-contained HTML page of a configuration, an explanation or a difference.

The page loads nothing: its style and script are inline, and a content security policy allows only these two, by their
hashes, so that markup in a value can neither run nor fetch anything. Secrets are masked.
"""

from __future__ import annotations

import base64
import hashlib
import html
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ...core.problems import Problem, printable
from ...core.provenance import Change, Explanation, Layer
from ...llm.model_changes import by_edit
from ...loading.load import Loaded
from ...settings.declarations import Setting
from . import render
from .problems import count

_FOLDER = os.path.dirname(os.path.abspath(__file__))


def configuration(loaded: Loaded, shown: Sequence[str]) -> str:
    """The page of `show --html`: the layers side by side, every key's winner and losers, and the problems."""
    config = loaded.config
    explained = [config.explain(key) for key in shown]
    body = [
        _summary(loaded),
        "<h2>Layers</h2>",
        "<p class='muted'>Lowest first: a higher layer wins.</p>",
        _layer_list(loaded.layers),
        "<h2>Values</h2>",
        _matrix(explained, render.model_steps(config)),
    ]
    return _page("Configuration in force", body, loaded.problems)


def explanation(loaded: Loaded, explained: Explanation, setting: Setting) -> str:
    """The page of `explain --html`: one key, what each layer gave, the alias steps, and the key's definition."""
    steps = "".join(
        f"<li><code>{_text(hop.name)} → {_text(hop.target)}</code> <span class='place'>{_place(hop.origin)}</span></li>"
        for hop in explained.hops
    )
    definition = {
        "Description": setting.doc,
        "Takes": setting.value_type.takes,
        "Variable": setting.variable or "none",
        "Access": setting.access,
        "Reload": setting.reload,
    }
    body = [
        _summary(loaded),
        "<h2>Layers</h2>",
        _matrix([explained], render.model_steps(loaded.config)),
        f"<h2>Alias</h2><ol>{steps}</ol>" if steps else "",
        "<h2>Definition</h2>",
        _pairs(definition),
    ]
    return _page(f"Why {explained.key} has its value", body, loaded.problems)


def difference(changes: Sequence[Change], problems: Sequence[Problem], before: str, after: str) -> str:
    """The page of `diff --html`: each key whose effective value differs, in both configurations."""
    rows = [
        f"<tr><th scope='row'><code>{_text(steps[0].key)}</code></th>"
        f"<td data-layer='{_text(before)}'>{_entry([step.old for step in steps], steps[0].old_origin)}</td>"
        f"<td data-layer='{_text(after)}'>{_entry([step.new for step in steps], steps[0].new_origin)}"
        f"{'<span class=reason>needs a restart</span>' if steps[0].restart_required else ''}</td></tr>"
        for steps in by_edit(changes)
    ]
    body = [_table((before, after), rows) if rows else "<p>No effective value differs.</p>"]
    return _page(f"{before} → {after}", body, problems)


def _page(title: str, body: Iterable[str], problems: Sequence[Problem]) -> str:
    style, script = _file("page.css"), _file("page.js")
    policy = f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; base-uri 'none'"
    return "\n".join(
        [
            "<!doctype html>",
            "<html lang='en'>",
            "<head>",
            "<meta charset='utf-8'>",
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            "<meta name='viewport' content='width=device-width, initial-scale=1'>",
            f"<title>{_text(title)} - stigmer config</title>",
            f"<style>{style}</style>",
            "</head>",
            "<body>",
            f"<header><h1>{_text(title)}</h1></header>",
            "<main>",
            *(part for part in body if part),
            *_problems(problems),
            "</main>",
            "<footer class='muted'>Made by <code>stigmer config</code>. Secrets are masked.</footer>",
            f"<script>{script}</script>",
            "</body>",
            "</html>",
        ]
    )


def _summary(loaded: Loaded) -> str:
    config = loaded.config
    return _pairs(
        {
            "Mode": config.mode,
            "Model": f"{render.model_steps(config)} ({config.llm.provider})",
            "Address": render.text(config.llm.base_url),
            "Problems": count(loaded.problems),
            "Fingerprint": config.fingerprint,
        }
    )


def _pairs(pairs: Mapping[str, str]) -> str:
    rows = "".join(f"<dt>{_text(name)}</dt><dd><code>{_text(value)}</code></dd>" for name, value in pairs.items())
    return f"<dl class='summary'>{rows}</dl>"


def _layer_list(layers: Iterable[Layer]) -> str:
    rows = (
        f"<li><strong>{layer.name}</strong> <span class='muted'>{layer.status}</span> "
        f"<code>{_text(render.from_home(layer.source))}</code> {_text(layer.why)}</li>"
        for layer in layers
    )
    return f"<ol class='layers'>{''.join(rows)}</ol>"


def _matrix(explained: Sequence[Explanation], model_steps: str) -> str:
    """One row for each key, one column for each layer that gives a value to any of them."""
    used = {loser.origin.layer for one in explained for loser in one.losers}
    used |= {one.origin.layer for one in explained if one.origin is not None}
    layers = [name for name in render.LAYER_STYLES if name in used]
    rows: list[str] = []
    for one in explained:
        if one.origin is None and not one.losers:
            continue
        value = model_steps if one.key == "llm.model" else render.text(one.value)
        cells = "".join(_cell(one, layer) for layer in layers)
        rows.append(
            f"<tr><th scope='row'><code>{_text(one.key)}</code><br>"
            f"<span class='value'>{_text(value)}</span></th>{cells}</tr>"
        )
    return _table(layers, rows)


def _cell(explained: Explanation, layer: str) -> str:
    """A layer's values for a key: the value in force, or the values that lost and why."""
    entries: list[str] = []
    is_winner = explained.origin is not None and explained.origin.layer == layer
    if is_winner:
        entries.append(f"<div class='entry'>{_entry([explained.value], explained.origin)}</div>")
    for loser in explained.losers:
        if loser.origin.layer == layer:
            lost = _entry([loser.value], loser.origin)
            entries.append(f"<div class='entry lost'>{lost}<span class='reason'>{loser.reason}</span></div>")
    label = f" data-layer='{layer}'" if entries else ""
    return f"<td{' class=win' if is_winner else ''}{label}>{''.join(entries)}</td>"


def _entry(values: Sequence[Any], origin: Any) -> str:
    return f"<span class='value'>{_text(render.steps(values))}</span><span class='place'>{_place(origin)}</span>"


def _table(columns: Sequence[str], rows: Sequence[str]) -> str:
    heads = "".join(f"<th scope='col'>{_text(name)}</th>" for name in columns)
    search = (
        "<label for='filter'>Filter keys, values and places</label><input type='search' id='filter'>"
        "<p class='muted' id='count' role='status'></p>"
    )
    return (
        f"{search if len(rows) > 1 else ''}"
        "<div class='scroll' tabindex='0' role='region' aria-label='Values by layer'>"
        f"<table><thead><tr><th scope='col'>Key</th>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _problems(problems: Sequence[Problem]) -> Iterator[str]:
    if not problems:
        return
    yield "<h2>Problems</h2>"
    for problem in problems:
        excerpt = f"<pre tabindex='0'>{html.escape(problem.excerpt)}</pre>" if problem.excerpt else ""
        hint = f"<p>Hint: {_text(problem.hint)}</p>" if problem.hint else ""
        yield (
            f"<section class='problem {problem.severity}'>"
            f"<span class='severity'>{problem.severity}</span> <code>{_text(problem.code)} {_text(problem.key)}</code>"
            f"<p>{_text(problem.message)}</p><span class='place'>{_place(problem.origin)}</span>{excerpt}{hint}"
            "</section>"
        )


def _place(origin: Any) -> str:
    return _text(render.from_home(str(origin))) if origin is not None else ""


def _text(value: str) -> str:
    """A string as HTML, with control characters and bidirectional overrides escaped as on a terminal."""
    return html.escape(printable(value), quote=True)


def _file(name: str) -> str:
    with open(os.path.join(_FOLDER, name), encoding="utf-8") as file:
        return file.read()


def _hash(text: str) -> str:
    """An inline block's source expression (https://www.w3.org/TR/CSP3/#grammardef-hash-source)."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
