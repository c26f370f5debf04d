"""`stigmer config set`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import click

from ...config.config import RESOLVED
from ...core.problems import did_you_mean, printable
from ...core.provenance import Entry
from ...core.secret import MASK, Secret
from ...editing.candidate import Scope, Target
from ...editing.keys import with_value
from ...editing.write import Outcome
from ...loading.load import Loaded, read
from ...secrets.references import Reference
from ...settings.declarations import PROVIDERS, Setting
from ...settings.value_types import InvalidValueError
from ...sources.yaml.scalars import scalar
from ..completion.candidates import complete_key_to_set, complete_value
from ..options import Where, common, require_key
from ..output import render
from ..target import file_of, fleet_scoped, place, say, stored, written

if TYPE_CHECKING:
    from ...editing.etcd import Store

_MOST = 64 * 1024  # characters of a value


# A negative number is a value, not an option: the key's own range refuses it.
@click.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("key", shell_complete=complete_key_to_set)
@click.argument("value", required=False, shell_complete=complete_value)
@click.option("--stdin", is_flag=True, help="Read the value from standard input.")
@fleet_scoped
@common
def command(key: str, value: str | None, scope: Scope | Literal["fleet"], where: Where, *, stdin: bool) -> None:
    """Set KEY to VALUE in a file, or in the fleet's store. Nothing else in the file changes.

    VALUE is read as the key's type; null means none. A secret is never given on the command line: leave VALUE
    out to be prompted for it. aliases.NAME.PROVIDER sets one provider's entry of an alias. A change that would
    cause an error is refused; to change two keys together, use stigmer config edit.

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
      stigmer config set --fleet llm.model balanced
      pass show anthropic | stigmer config set providers.anthropic.api_key --stdin
    """
    require_key(key, where.schema)
    if key in RESOLVED:
        raise click.UsageError(f"{key} is derived from llm.model: set llm.model instead")
    setting = where.schema.find(key)
    assert setting is not None  # noqa: S101 - require_key has made sure
    if scope == "fleet":
        _tell(*_in_store(where, setting, key, value, stdin=stdin))
        return
    raw = _raw(setting, key, _text(setting, key, value, scope, stdin=stdin))
    aimed = file_of(where, scope)
    _require_provider(lambda: aimed.load(aimed.contents()), key)
    _tell(aimed, key, written(aimed, lambda contents: with_value(contents.data or b"", key, raw), key))


def _in_store(
    where: Where, setting: Setting, key: str, value: str | None, *, stdin: bool
) -> tuple[Store, str, Outcome]:
    """Sets the key in the fleet's store. A secret's place may stand there, and never the secret."""
    text = value if setting.is_secret and value is not None and value.lstrip().startswith("{") else None
    if setting.is_secret and text is None and value != "null":
        reference = f"stigmer config set --fleet {key} '{{file: /run/secrets/NAME}}'"
        raise click.UsageError(f"the fleet's store may not hold {key}; name where each machine has it: {reference}")
    from ...editing.etcd import put, text_of  # most machines have no fleet

    if text is None:
        raw = _raw(setting, key, _text(setting, key, value, "fleet", stdin=stdin))
        # What the key's type refuses goes as it was given: the load refuses it, and says why.
        text = text_of(raw)
    _require_provider(lambda: read(where.request()), key)
    data = text.encode()
    aimed, outcome = stored(where, lambda aimed: put(aimed, key, data))
    return aimed, key, outcome


def _text(setting: Setting, key: str, value: str | None, scope: Scope | Literal["fleet"], *, stdin: bool) -> str | None:
    """The value as it was given; None for none. A secret is asked for."""
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
    """The value as the file is to hold it.

    What the key's type refuses stays as a person would have typed it into the file: the load refuses that.
    """
    if text is None:
        return None
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


def _require_provider(load: Callable[[], Loaded], key: str) -> None:
    """Refuses `aliases.fast.olama`, which would be a new alias with a dot in its name."""
    alias, _, provider = key.removeprefix("aliases.").rpartition(".")
    if not key.startswith("aliases.") or not alias or provider in PROVIDERS:
        return
    aliases = load().config.aliases
    if alias in aliases and key.removeprefix("aliases.") not in aliases:
        hint = did_you_mean(provider, PROVIDERS, f"providers: {', '.join(PROVIDERS)}")
        raise click.UsageError(f"{alias} is an alias, and there is no provider '{printable(provider)}': {hint}")


def _tell(aimed: Target | Store, key: str, outcome: Outcome) -> None:
    """Says what stands where now, and whether it counts."""
    owner, entry = _entry(aimed, key, outcome)
    setting = aimed.request.schema.find(key)
    is_hidden = setting is not None and setting.is_secret and not isinstance(entry.value, Reference | None)
    value = MASK if is_hidden else render.text(entry.value)
    before = "" if outcome.changed else " (unchanged)"
    where = printable(str(entry.origin)) if aimed.layer == "etcd" else place(aimed, entry.origin.line)
    say(f"{where}: {printable(key)} = {value}{before}")
    explanation = outcome.after.config.explain(owner)
    lost = next((loser for loser in explanation.losers if loser.origin == entry.origin), None)
    if explanation.value is None and entry.value is None:
        return  # none is in force, and none was asked for
    if lost is not None and lost.reason == "overridden":
        say(f"still overridden by {printable(str(explanation.origin))}")
    elif lost is not None:
        say(f"not in force: {_REASONS.get(lost.reason, lost.reason)}")


_REASONS = {
    "enforced": "the site file or the store enforces another value",
    "provider-switched": "it belongs to another provider than the one in force",
    "not-in-mode": "the mode in force does not use it",
    "bound-elsewhere": "it was given for another endpoint than the one in force",
    "unused": "the provider in force does not use it",
    "unsupported": "the model in force does not take it",
}


def _entry(aimed: Target | Store, key: str, outcome: Outcome) -> tuple[str, Entry]:
    """The key's entry in the file as it is now, and the key it belongs to: an alias's, for one provider's."""
    layer = next(layer for layer in outcome.after.layers if layer.name == aimed.layer)
    if key in layer.entries:
        return key, layer.entries[key]
    alias, _, provider = key.rpartition(".")
    target: Entry = layer.entries[alias].value[provider]
    return alias, target
