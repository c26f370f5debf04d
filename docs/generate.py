"""Writes docs/reference.md from declarations, packaged defaults and every --help; docs/api.md from docstrings.

python docs/generate.py            write them
python docs/generate.py --check    exit 1 when one is not what it would write
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
import generate_api

from stigmer_config.cli import COMMANDS, stigmer
from stigmer_config.core.provenance import Entry
from stigmer_config.core.secret import Secret
from stigmer_config.settings.declarations import CORE_PROVIDERS, MODEL_FIELDS, SETTINGS, Setting, find
from stigmer_config.settings.value_types import Choice, ValueType
from stigmer_config.sources.defaults import defaults_layer
from stigmer_config.sources.variables import vendor_variables

PAGE = Path(__file__).with_name("reference.md")
_DEFAULTS = {mode: defaults_layer(mode).entries for mode in ("local", "cloud")}
_ACCESS = {
    "open": "anyone",
    "protected": "you; a trusted project",
    "secret": "you (secret)",
    "forbidden": "you",
}
_HEAD = """\
# Reference

<!-- Made by `python docs/generate.py` from the declarations and from --help: do not edit it here. -->

Every key, every variable, every command, with its formats, exit statuses and limits. What they are good for stands
in [the cascade](cascade.md), in [aliases](aliases.md), [trust](trust.md) and [reload](reload.md). `stigmer config
explain KEY` tells the same about one key, with where its value comes from; `stigmer config schema` prints it for
editors.
"""
_KEYS = """\
Who may set it: *anyone* is every layer, a project's file too; *you* are your own file, the machine's, variables
and flags. A change of a *live* key is taken by a running worker; one of a *restart* key is reported, and used
after a restart. "none" means that `null` is a value.
"""
_PLACES = (
    ("STIGMER_HOME", "The folder of your `config.yaml`, instead of `~/.stigmer`."),
    (
        "STIGMER_SITE_CONFIG",
        "The machine's file, instead of the one in the site folder. It must hold something.",
    ),
    ("STIGMER_ETCD", "A fleet's store: `https://host:2379[,host:2379…]/prefix`. It needs the extra `etcd`."),
    ("STIGMER_ETCD_CACERT", "The file of the authority that signed the store's certificate, if not the system's."),
    ("STIGMER_ETCD_CERT", "The file of this machine's certificate for the store; `STIGMER_ETCD_KEY` has its key."),
    ("STIGMER_ETCD_USER", "The user of the store; `STIGMER_ETCD_PASSWORD` is the password, sent behind https only."),
    ("STIGMER_TRUST_PROJECT", "The digest that `stigmer config trust --show` prints: trusts the project's file once."),
    ("VISUAL", "The editor of `stigmer config edit`; then `EDITOR`."),
    ("NO_COLOR", "Set to anything: no colours."),
)
_FORMATS = """\
| command | gives |
| --- | --- |
| `show` | a table; on a terminal it fits the width, in a pipe nothing is cut. `NO_COLOR` and `TERM=dumb`: no colours |
| `show --format json` | the values, nested as in a file, secrets masked |
| `show --origin --format json` | one document: `mode`, `ok`, `fingerprint`, `layers`, `values` (each with `value`, \
`origin`, `shadowed`), `resolved`, `problems` |
| `show --format yaml` | a configuration file that gives the same values again (with `--reveal`; without it, secrets \
are comments) |
| `show --format env` | variables that a shell can source: `set -a; . ./stigmer.env` |
| `get`, `explain`, `validate`, `path`, `aliases` | text for people; all but `get` have `--format json` too |

Data goes to standard output, everything else to standard error. Control characters and marks that reorder text on a
screen are printed as escapes.
"""
_STATUSES = """\
| status | means |
| --- | --- |
| 0 | no errors; there may be warnings |
| 1 | the configuration has errors. `get` fails only for one on that key, or for a file that cannot be read |
| 2 | wrong usage: an unknown command, option or key, a secret on the command line |
| 3 | the project's file sets what only you may set. It goes before 1 |
| 4 | a check or a running worker is unhealthy |
| 70 | a bug in stigmer-config |
"""
_LIMITS = """\
- A file: 64 KiB of UTF-8, 8 KiB a value, 16 levels deep, one YAML 1.2 document. Anchors, aliases, tags, merge keys and
  directives are refused, and so is a key given twice.
- A project's file, and the folder it is in, may be no symbolic links. A file may be no device and no pipe.
- Model names are up to 256 of `A-Z a-z 0-9 . _ : / @ + -`. A URL is http or https, without user name and password.
- A model that the packaged catalogue does not know works too; nothing of it is checked.
"""


def page() -> str:
    """The whole page."""
    parts = [_HEAD, "## Keys\n", _KEYS, _keys(), "### Each provider's own\n", _providers(), "### Built-in aliases\n"]
    parts += [_aliases(), "## Variables\n", _variables(), "## Commands\n", *_commands()]
    parts += ["## Formats\n", _FORMATS, "## Exit statuses\n", _STATUSES, "## Limits\n", _LIMITS]
    return "\n".join(parts)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _keys() -> str:
    rows = [_row(setting) for key, setting in SETTINGS.items() if not key.startswith("providers.")]
    aliases = find("aliases.name")
    if aliases is not None:
        rows.insert(len(MODEL_FIELDS) + 2, _row(aliases))
    return _table(("key", "what it is", "takes", "default", "variable", "who may set it", "change"), rows)


def _row(setting: Setting) -> tuple[str, ...]:
    takes = _takes(setting.value_type) + (", or a reference" if setting.is_secret else "")
    takes += ", or none" if setting.nullable else ""
    variable = " else ".join(f"`{name}`" for name in setting.variables) or "-"
    what = setting.doc.replace("<", "&lt;")
    return f"`{setting.key}`", what, takes, _default(setting.key), variable, _ACCESS[setting.access], setting.reload


def _takes(value_type: ValueType) -> str:
    if isinstance(value_type, Choice):
        return " ".join(f"`{word}`" for word in (*value_type.choices, *value_type.extra))
    return value_type.takes


def _default(key: str) -> str:
    if key == "mode":
        return "`cloud`"
    local, cloud = (_shown(entries.get(key)) for entries in _DEFAULTS.values())
    if local == cloud:
        field = key.removeprefix("llm.")
        own = field in MODEL_FIELDS and any(f"providers.{p}.{field}" in _DEFAULTS["cloud"] for p in CORE_PROVIDERS)
        return "the provider's" if own else local
    return f"local {local}, cloud {cloud}"


def _shown(entry: Entry | None) -> str:
    if entry is None or entry.value is None:
        return "-"
    value: Any = entry.value
    return f"`{value.reveal() if isinstance(value, Secret) else value}`"  # the package ships no real secret


def _providers() -> str:
    rows = [
        (f"`providers.<provider>.{field}`", *(_default(f"providers.{provider}.{field}") for provider in CORE_PROVIDERS))
        for field in MODEL_FIELDS
    ]
    note = (
        "\nWhat they take and who may set them is as for the same field of `llm`, but that Anthropic's temperature\n"
        "ends at 1. They have no variables of their own, except those of [other tools](#other-tools).\n"
    )
    return _table(("key", *CORE_PROVIDERS), rows) + note


def _aliases() -> str:
    rows: list[tuple[str, ...]] = []
    for key, entry in _DEFAULTS["cloud"].items():
        if key.startswith("aliases."):
            targets = [f"`{entry.value[provider].value}`" for provider in CORE_PROVIDERS]
            rows.append((f"`{key.removeprefix('aliases.')}`", *targets))
    return _table(("alias", *CORE_PROVIDERS), rows)


def _variables() -> str:
    own = _table(
        ("variable", "key", "takes"),
        [(f"`{name}`", f"`{s.key}`", _takes(s.value_type)) for s in SETTINGS.values() for name in s.variables],
    )
    others = [(" else ".join(f"`{name}`" for name in names), f"`{key}`") for key, names in vendor_variables() if names]
    return "\n".join(
        [
            "One that is set to the empty text counts as unset. `ENV` is never read.\n",
            own,
            "### Other tools\n",
            "These belong to other tools; anything you set elsewhere is above them.\n",
            _table(("variable", "key"), others),
            "### Places and manners\n",
            _table(("variable", "what it is"), [(f"`{name}`", what) for name, what in _PLACES]),
        ]
    )


def _commands() -> Iterable[str]:
    yield "Every command takes `--mode`, `--project-dir`, `--no-project` and `--help`.\n"
    top = stigmer.make_context("stigmer", [], resilient_parsing=True, terminal_width=80)
    group = stigmer.get_command(top, "config")
    if not isinstance(group, click.Group):
        raise TypeError("stigmer config is no group")
    between = group.make_context("config", [], parent=top, resilient_parsing=True)
    for name in COMMANDS:
        command = group.get_command(between, name)
        if command is None:
            raise LookupError(name)
        context = command.make_context(name, [], parent=between, resilient_parsing=True)
        yield f"### stigmer config {name}\n"
        yield f"```text\n{command.get_help(context)}\n```\n"


def main(arguments: Sequence[str]) -> int:
    """Writes or checks the pages; the exit status."""
    status = 0
    for path, made in ((PAGE, page()), (generate_api.PAGE, generate_api.page())):
        text = made.rstrip("\n") + "\n"
        if list(arguments) != ["--check"]:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            sys.stderr.write(f"docs/{path.name} is not up to date: python docs/generate.py\n")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
