"""`stigmer config set`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

import click

from ...config.config import RESOLVED
from ...core.problems import did_you_mean, printable
from ...core.provenance import Entry, plain_value
from ...core.secret import MASK, Secret
from ...editing.candidate import EditTarget, Scope
from ...editing.keys import with_value
from ...editing.write import Outcome
from ...loading.load import Loaded, read
from ...secrets.references import Reference
from ...settings.declarations import Setting
from ...settings.request_fields import Headers, Parameters, is_credential
from ...settings.value_types import InvalidValueError
from ...sources.checked_read import Contents
from ...sources.yaml.parser import YamlReader
from ...sources.yaml.scalars import scalar
from ..completion import completing
from ..options import CommandContext, common, require_key
from ..output import render
from ..target import file_of, fleet_scoped, say, stored, target_place, written

if TYPE_CHECKING:
    from ...editing.etcd import Store

_MOST = 64 * 1024  # the most characters of a value


# A negative number is a value, not an option; the key's range may refuse it.
@click.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("key", metavar="KEY", shell_complete=completing("complete_key_to_set"))
@click.argument("values", nargs=-1, metavar="[VALUE]", shell_complete=completing("complete_value"))
@click.option("--stdin", is_flag=True, help="Read the value from standard input.")
@fleet_scoped
@common
def command(
    key: str, values: tuple[str, ...], scope: Scope | Literal["fleet"], where: CommandContext, *, stdin: bool
) -> None:
    """Set KEY to VALUE in a file, or in the fleet's store. Nothing else in the file changes.

    VALUE is read as the key's type; null means none. A secret is never given on the command line: leave VALUE
    out to be prompted for it. aliases.NAME.PROVIDER sets one provider's entry of an alias. A change that would
    cause an error is refused; several KEY=VALUE are one edit, for keys that must change together.

    \b
    Exit status:
      0  the file has the value
      1  refused, or the file could not be written: it is unchanged
      2  no such key, or a secret on the command line
      3  refused: an untrusted project may not set it

    \b
    Examples:
      stigmer config set llm.model balanced
      stigmer config set --project llm.temperature 0.2
      stigmer config set aliases.mine.ollama phi4:14b
      stigmer config set locked "[llm.model, sandbox]"
      stigmer config set llm.parameters '{top_p: 0.9}'
      stigmer config set llm.provider=groq llm.model=llama-3.3-70b-versatile
      stigmer config set --fleet llm.model balanced
      pass show anthropic | stigmer config set providers.anthropic.api_key --stdin
    """
    given = _assignments(key, values, stdin=stdin)
    settings: dict[str, Setting] = {}
    for name in given:
        require_key(name, where.schema)
        if name in RESOLVED:
            raise click.UsageError(f"{name} is derived from llm.model: set llm.model instead")
        settings[name] = cast(Setting, where.schema.find(name))
    if scope == "fleet":
        aimed, outcome = _in_store(where, settings, given, stdin=stdin)
        for name in given:
            _report(aimed, name, outcome)
        return
    raw = {
        name: _raw(setting, name, _text(setting, name, given[name], scope, stdin=stdin))
        for name, setting in settings.items()
    }
    file = file_of(where, scope)
    providers = _providers(lambda: file.load(file.contents()), given)

    def edited(contents: Contents) -> bytes:
        data = contents.data or b""
        for name, value in raw.items():
            data = with_value(data, name, value, providers)
        return data

    outcome = written(file, edited, tuple(given))
    for name in given:
        _report(file, name, outcome)


def _assignments(key: str, values: tuple[str, ...], *, stdin: bool) -> dict[str, str | None]:
    """The values by key, from `KEY VALUE`, or several `KEY=VALUE`; None when no value is given."""
    if "=" not in key:
        if len(values) > 1:
            more = " ".join(map(printable, values[1:]))
            raise click.UsageError(f"{printable(key)} takes one VALUE, and there is more: {more}")
        return {key: values[0] if values else None}
    if stdin:
        raise click.UsageError("--stdin is for one KEY without a VALUE")
    given: dict[str, str | None] = {}
    for text in (key, *values):
        name, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError(f"give each as KEY=VALUE: '{printable(text)}' has no =")
        if name in given:
            raise click.UsageError(f"{printable(name)} is given twice")
        given[name] = value
    return given


def _in_store(
    where: CommandContext, settings: Mapping[str, Setting], given: Mapping[str, str | None], *, stdin: bool
) -> tuple[Store, Outcome]:
    """Sets keys in the fleet's store, which may contain references to secrets, but never a secret."""
    from ...editing.etcd import put, text_of  # most machines have no fleet

    data: dict[str, bytes] = {}
    for key, setting in settings.items():
        value = given[key]
        text = value if setting.is_secret and value is not None and value.lstrip().startswith("{") else None
        if setting.is_secret and text is None and value != "null":
            reference = f"stigmer config set --fleet {key} '{{file: /run/secrets/NAME}}'"
            raise click.UsageError(f"the fleet's store may not hold {key}; name where each machine has it: {reference}")
        if text is None:
            # An invalid value is passed on unchanged: the load refuses it with a reason.
            text = text_of(_raw(setting, key, _text(setting, key, value, "fleet", stdin=stdin)))
        data[key] = text.encode()
    providers = _providers(lambda: read(where.request()), given)
    return stored(where, lambda aimed: put(aimed, data, providers))


def _text(setting: Setting, key: str, value: str | None, scope: Scope | Literal["fleet"], *, stdin: bool) -> str | None:
    """The given value; None for none. Prompts for a secret."""
    if value is not None and value.startswith("--"):
        raise click.UsageError(f"no such option: {printable(value)}")
    if value is not None and stdin:
        raise click.UsageError("give VALUE or --stdin, not both")
    if setting.nullable and value == "null":
        return None
    if setting.is_secret and scope == "project":
        raise click.UsageError(f"a project's file may not hold {key}: it would be committed; use --user")
    if setting.is_secret and value is not None:
        hint = "leave the value out to be prompted for it, or use --stdin"
        raise click.UsageError(f"other users can see a command line, and the shell keeps it in its history: {hint}")
    if stdin:
        return _from_stdin(key)
    if value is None and not setting.is_secret:
        raise click.UsageError("VALUE is missing; null means none")
    return value if value is not None else _asked(key)


def _from_stdin(key: str) -> str:
    text = sys.stdin.buffer.read(_MOST).decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")
    if not text:
        raise click.UsageError(f"there is no value for {key} on standard input")
    return text


def _asked(key: str) -> str:
    if not sys.stdin.isatty():
        raise click.UsageError(f"{key} is a secret: run this on a terminal to be prompted for it, or use --stdin")
    answer: str = click.prompt(key, hide_input=True, err=True)
    return answer


def _raw(setting: Setting, key: str, text: str | None) -> Any:
    """The value to write to the file.

    An invalid value stays as if it was typed into the file, and the load refuses it.
    """
    if text is None or isinstance(setting.value_type, (Parameters, Headers)):
        return None if text is None else _mapping(setting, key, text)
    try:
        value = setting.parse(text, key)
    except InvalidValueError:
        return text if setting.is_secret or not text else scalar(text)
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, (tuple, list)):
        return list(value)
    if isinstance(value, float) and scalar(text) == value:
        return scalar(text)  # 60 stays 60
    return value


def _mapping(setting: Setting, key: str, text: str) -> Any:
    """The mapping of parameters or headers to write to the file, from JSON or YAML's `{name: value}`."""
    reader = YamlReader(text, "flags", key)
    node = reader.read()
    if node is None or reader.problems or type(node.value) is not dict:
        return scalar(text)  # the load refuses it and reports the expected form
    value = node.plain
    if isinstance(setting.value_type, Headers) and any(
        is_credential(name) and type(one) is str for name, one in value.items()
    ):
        hint = "write {env: NAME} or {file: PATH} in its place, or use: stigmer config edit"
        raise click.UsageError(f"other users can see a command line, and the shell keeps it in its history: {hint}")
    return value


def _providers(load: Callable[[], Loaded], keys: Iterable[str]) -> Collection[str]:
    """The known providers, where a key may be an alias's entry for one.

    Refuses `aliases.fast.olama`, which would be a new alias with a dot in its name.
    """
    names = [key.removeprefix("aliases.") for key in keys if key.startswith("aliases.") and key.count(".") > 1]
    if not names:
        return ()
    config = load().config
    for name in names:
        alias, _, provider = name.rpartition(".")
        if provider not in config.providers and alias in config.aliases and name not in config.aliases:
            hint = did_you_mean(provider, config.providers, f"providers: {', '.join(config.providers)}")
            raise click.UsageError(f"{alias} is an alias, and there is no provider '{printable(provider)}': {hint}")
    return config.providers


def _report(aimed: EditTarget | Store, key: str, outcome: Outcome) -> None:
    """Prints the new value, its file, and whether it is in force."""
    owner, entry = _entry(aimed, key, outcome)
    setting = aimed.request.schema.find(key)
    is_hidden = setting is not None and setting.is_secret and not isinstance(entry.value, Reference | None)
    value = MASK if is_hidden else render.text(_shown(setting, entry))
    before = "" if outcome.changed else " (unchanged)"
    where = printable(str(entry.origin)) if aimed.layer == "etcd" else target_place(aimed, entry.origin.line)
    say(f"{where}: {printable(key)} = {value}{before}")
    explanation = outcome.after.config.explain(owner)
    lost = next((loser for loser in explanation.losers if loser.origin == entry.origin), None)
    if explanation.value is None and entry.value is None:
        return  # none is in force, and none was requested
    if lost is not None and lost.reason == "overridden":
        say(f"still overridden by {printable(render.from_home(str(explanation.origin)))}")
    elif lost is not None:
        say(f"not in force: {_REASONS.get(lost.reason, lost.reason)}")


def _shown(setting: Setting | None, entry: Entry) -> Any:
    value = plain_value(entry)
    return value or None if setting is not None and isinstance(setting.value_type, (Parameters, Headers)) else value


_REASONS = {
    "enforced": "the site file or the store enforces another value",
    "provider-switched": "it belongs to another provider than the one in force",
    "not-in-mode": "the mode in force does not use it",
    "bound-elsewhere": "it was given for another endpoint than the one in force",
    "unused": "the provider in force does not use it",
    "unsupported": "the model in force does not take it",
}


def _entry(aimed: EditTarget | Store, key: str, outcome: Outcome) -> tuple[str, Entry]:
    """The key's current entry in the file, and the key it belongs to: for an alias's provider, the alias."""
    layer = next(layer for layer in outcome.after.layers if layer.name == aimed.layer)
    if key in layer.entries:
        return key, layer.entries[key]
    alias, _, provider = key.rpartition(".")
    target: Entry = layer.entries[alias].value[provider]
    return alias, target
