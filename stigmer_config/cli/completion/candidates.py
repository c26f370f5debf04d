"""The candidates for shell completion. It only reads files: it uses no network, and runs no secret's command.

Every candidate is safe to use unquoted in a shell: a cloned project must not insert `$(…)` in a command line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click
import msgspec

from ...config.config import RESOLVED
from ...core.problems import printable
from ...core.provenance import LayerName
from ...settings.declarations import CORE_PROVIDERS
from ...settings.model_types import ModelString, ProviderName
from ...settings.packaged_providers import packaged_providers
from ...settings.schema import NAME, Schema, Setting
from ...settings.value_types import Boolean, Choice
from ..app_discovery import mentions
from ..options import CommandContext, capture

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from ...config.config import Config
    from ...loading.load import Loaded

    Words = list[CompletionItem[str]]

_PLAIN = r"[A-Za-z0-9._/@][A-Za-z0-9._:/@+=-]*"
_DATED = r"-20\d\d-?\d\d-?\d\d$"
# Large sections: their keys are offered once the section is typed.
_FOLDED = ("aliases.", *(f"providers.{provider}." for provider in CORE_PROVIDERS))


def complete_key(ctx: click.Context, param: click.Parameter, incomplete: str) -> Words:
    """Keys with a value, including those that `llm.model` resolves to."""
    del param
    return _items(incomplete, _keys(ctx, incomplete) | dict.fromkeys(RESOLVED, "What llm.model resolves to"))


def complete_key_or_section(ctx: click.Context, param: click.Parameter, incomplete: str) -> Words:
    """Sections and keys."""
    names = (one for one in _schema(ctx, incomplete).children if one and NAME not in one)
    sections = dict.fromkeys(names, "")
    return [*_items(incomplete, sections), *complete_key(ctx, param, incomplete)]


def complete_key_to_set(ctx: click.Context, param: click.Parameter, incomplete: str) -> Words:
    """Keys that a file may contain, and one provider's entry of an alias."""
    del param
    alias, dot, _ = incomplete.rpartition(".")
    entries = [f"{alias}.{provider}" for provider in _providers(ctx)] if dot and alias.startswith("aliases.") else []
    return _items(incomplete, _keys(ctx, incomplete) | dict.fromkeys(entries, ""))


def complete_key_to_unset(ctx: click.Context, param: click.Parameter, incomplete: str) -> Words:
    """Keys in the file, including unknown ones; all keys when it cannot be read, and for the fleet's store."""
    name: LayerName = "project" if ctx.params.get("project") else "user"
    loaded = _loaded(ctx) if not ctx.params.get("fleet") else None
    found = [layer for layer in loaded.layers if layer.name == name] if loaded is not None else []
    keys = [key for layer in found for key in (*layer.entries, *layer.refused)]
    problems = loaded.problems if loaded is not None else ()
    keys += [p.key for p in problems if p.code == "unknown-key" and p.origin is not None and p.origin.layer == name]
    return _items(incomplete, {key: _doc(key, _schema(ctx, incomplete)) for key in keys}) or complete_key_to_set(
        ctx, param, incomplete
    )


def complete_value(ctx: click.Context, param: click.Parameter, incomplete: str) -> Words:
    """Values of the preceding key."""
    del param
    return _items(incomplete, _values(ctx, str(ctx.params.get("key")), incomplete))


def complete_assignment(ctx: click.Context, param: click.Parameter, incomplete: str) -> Words:
    """`KEY=` for each key that is allowed on a command line; after it the values of that key."""
    del param
    key, equals, begun = incomplete.partition("=")
    if equals:
        return _items(incomplete, {f"{key}={word}": what for word, what in _values(ctx, key, begun).items()})
    schema = _schema(ctx, incomplete)
    settings = {known: schema.find(known) for known in _keys(ctx, incomplete) if known != "mode"}
    return _items(incomplete, {k if k in _FOLDED else f"{k}=": "" for k, s in settings.items() if not _is_secret(s)})


def complete_provider(ctx: click.Context, param: click.Parameter, incomplete: str) -> Words:
    """Providers, and `auto`."""
    del param
    return _items(incomplete, dict.fromkeys([*_providers(ctx), "auto"], ""))


def complete_named_provider(ctx: click.Context, param: click.Parameter, incomplete: str) -> Words:
    """Providers."""
    del param
    return _items(incomplete, dict.fromkeys(_providers(ctx), ""))


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> Words:
    """Aliases, known models, and `provider:model`."""
    del param
    return _items(incomplete, _models(ctx, incomplete))


def complete_pull(ctx: click.Context, param: click.Parameter, incomplete: str) -> Words:
    """Known models of Ollama, and aliases."""
    del param
    return _items(incomplete, _aliases(ctx) | _known("ollama", every=bool(incomplete)))


def complete_side(ctx: click.Context, param: click.Parameter, incomplete: str) -> Words:
    """The arguments of `diff`: modes, and files from the shell (first, because bash drops earlier candidates)."""
    del ctx, param
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file"), *_items(incomplete, dict.fromkeys(("local", "cloud"), "a mode"))]


def complete_worker(ctx: click.Context, param: click.Parameter, incomplete: str) -> Words:
    """The processes of running workers."""
    del ctx, param
    from ...workers import local_workers

    return _items(incomplete, {str(worker.pid): worker.model for worker in local_workers.running(capture())})


def _items(incomplete: str, words: Mapping[str, str]) -> Words:
    """The words with this prefix, with a note on each. A word that continues (`KEY=`) has no note: see `shells`."""
    from click.shell_completion import CompletionItem

    fitting = [word for word in words if word.startswith(incomplete) and re.fullmatch(_PLAIN, word)]
    return [CompletionItem(word, help=printable(words[word]) or None) for word in fitting]


def _keys(ctx: click.Context, incomplete: str) -> dict[str, str]:
    schema = _schema(ctx, incomplete)
    keys = {key: _doc(key, schema) for key in schema.settings if key.startswith(incomplete)}
    for section in _FOLDED:
        if not incomplete.startswith(section):
            keys = {key: what for key, what in keys.items() if not key.startswith(section)} | {section: ""}
    if incomplete.startswith("aliases."):
        keys |= {f"aliases.{name}": what for name, what in _aliases(ctx).items()}
    return keys


def _schema(ctx: click.Context, begun: str = "") -> Schema:
    """The settings that the command line may refer to."""
    return _where(ctx, begun).schema


def _doc(key: str, schema: Schema) -> str:
    """The first words of a key's documentation."""
    setting = schema.find(key)
    return re.split(r"[.:;(] ?", setting.doc)[0] if setting is not None else ""


def _is_secret(setting: Setting | None) -> bool:
    return setting is not None and setting.is_secret


def _values(ctx: click.Context, key: str, incomplete: str) -> dict[str, str]:
    if key.startswith("aliases."):
        provider = key.rpartition(".")[2]
        return _known(provider, every=bool(incomplete)) if provider in _providers(ctx) else _models(ctx, incomplete)
    setting = _schema(ctx, key).find(key)
    if setting is None or setting.is_secret:
        return {}
    words: dict[str, str] = {}
    if isinstance(setting.value_type, Boolean):
        return dict.fromkeys(("true", "false"), "")
    if isinstance(setting.value_type, Choice):
        words = dict.fromkeys((*setting.value_type.choices, *setting.value_type.extra), "")
    elif isinstance(setting.value_type, ProviderName):
        words = dict.fromkeys((*_providers(ctx), "auto"), "")
    elif isinstance(setting.value_type, ModelString):
        own = key.split(".")[1] if key.startswith("providers.") else None
        words = _models(ctx, incomplete) if own is None else _aliases(ctx) | _known(own, every=bool(incomplete))
    # A single candidate would be inserted at once.
    return words | {"null": "none"} if setting.nullable and (words or incomplete) else words


def _providers(ctx: click.Context) -> Iterable[str]:
    """The packaged and the declared providers."""
    loaded = _loaded(ctx)
    return loaded.config.providers if loaded is not None else packaged_providers()


def _models(ctx: click.Context, incomplete: str) -> dict[str, str]:
    provider, colon, begun = incomplete.partition(":")
    if colon and provider in _providers(ctx):
        return {f"{provider}:{name}": "" for name in _known(provider, every=bool(begun))}
    prefixes = dict.fromkeys([f"{provider}:" for provider in _providers(ctx)] if incomplete else [], "")
    return _aliases(ctx) | prefixes | _known(None, every=bool(incomplete))


def _known(provider: str | None, *, every: bool) -> dict[str, str]:
    """The catalogue's models that are not retired; `every`: with all their names, including dated ones."""
    from ...llm.catalogue import catalogue

    today = capture().today
    words: dict[str, str] = {}
    for model in catalogue().models:
        left = model.days_left(today)
        if provider in (None, model.provider) and (left is None or left > 0):
            names = [*model.names, model.id] if every else [model.name]
            words |= {name: model.provider for name in names if every or not re.search(_DATED, name)}
    return words


def _aliases(ctx: click.Context) -> dict[str, str]:
    """The aliases, each with its model for the provider in force."""
    loaded = _loaded(ctx)
    if loaded is None:
        return {}
    config: Config = loaded.config
    return {name: config.meaning(name)[config.llm.provider] or "" for name in sorted(config.aliases)}


def _where(ctx: click.Context, begun: str = "") -> CommandContext:
    asked: Mapping[str, Any] = ctx.params
    project_dir: Any = False if asked.get("no_project") else asked.get("project_dir")
    named = mentions([begun, *asked.values()])
    return CommandContext(asked.get("mode"), project_dir, tuple(asked.get("apps") or ()), mentioned=named)


def _loaded(ctx: click.Context) -> Loaded | None:
    """The configuration for the options on the command line; None when it cannot be loaded."""
    from ...loading.load import read  # imported late: keys need no load

    try:
        request = _where(ctx).request()
        # Reading a fleet's store needs the network.
        variables = {name: value for name, value in request.environment.variables.items() if name != "STIGMER_ETCD"}
        world = msgspec.structs.replace(request.environment, variables=variables)
        return read(msgspec.structs.replace(request, environment=world))
    except Exception:  # noqa: BLE001 - whatever it is, there is nothing to offer
        return None
