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

from stigmer_config.cli.groups import COMMANDS, stigmer
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

All keys, variables and commands, with output formats, exit statuses and limits. For explanations see
[The cascade](cascade.md), [Model aliases](aliases.md), [Trust](trust.md) and [Reload](reload.md).
`stigmer config explain KEY` prints this information for one key, with the origin of its value, and
`stigmer config schema` prints it as a JSON Schema for editors.
"""
_KEYS = """\
*Who may set it*: "anyone" means every layer, including a project's file. "you" means your own file, the machine's file,
variables and flags. *Change*: a running worker uses a new value of a "live" key at once; a new value of a "restart" key
is reported and takes effect after a restart. "or none" means that the key may be `null`.
"""
_PLACES = (
    ("STIGMER_HOME", "The folder of your `config.yaml`, instead of `~/.stigmer`."),
    (
        "STIGMER_SITE_CONFIG",
        "The machine's file, instead of the one in the site folder. It must exist and must not be empty.",
    ),
    ("STIGMER_ETCD", "A fleet's store: `https://host:2379[,host:2379…]/prefix`. Requires the extra `etcd`."),
    ("STIGMER_ETCD_CACERT", "A file with the CA that signed the store's certificate. Default: the system's CAs."),
    ("STIGMER_ETCD_CERT, STIGMER_ETCD_KEY", "Files with this machine's client certificate for the store and its key."),
    (
        "STIGMER_ETCD_USER, STIGMER_ETCD_PASSWORD",
        "User and password for the store. The password is sent over https only.",
    ),
    (
        "STIGMER_TRUST_PROJECT",
        "The digest that `stigmer config trust --show` prints. Trusts the project's file in this process.",
    ),
    ("VISUAL", "The editor that `stigmer config edit` starts. Without it, `EDITOR`."),
    ("NO_COLOR", "If set to anything, the output has no colours."),
)
_FORMATS = """\
| command | output |
| --- | --- |
| `show` | a table. On a terminal it fits the width; in a pipe nothing is shortened. `NO_COLOR` and `TERM=dumb` turn \
colours off |
| `show --format json` | the values, nested as in a file, with secrets masked |
| `show --origin --format json` | one document with `mode`, `ok`, `fingerprint`, `layers`, `values` (each with \
`value`, `origin`, `shadowed`), `resolved` and `problems` |
| `show --format yaml` | a configuration file with the same effective values. Without `--reveal`, secrets are comments |
| `show --format env` | variables that a shell can source: `set -a; . ./stigmer.env` |
| `show --html FILE`, `explain --html FILE`, `diff --html FILE` | a self-contained web page, with secrets masked |
| `explain`, `validate`, `path`, `aliases` | text; JSON with `--format json` |
| `get` | the bare value |

Data goes to standard output, everything else to standard error. Control characters and characters that reorder text on
the screen are printed as escapes.
"""
_STATUSES = """\
| status | means |
| --- | --- |
| 0 | no errors; there may be warnings |
| 1 | the configuration has errors. `get` fails only if the error is about that key or the file its value comes from |
| 2 | wrong usage: an unknown command, option or key, or a secret on the command line |
| 3 | the project's file sets something that only you may set. Takes precedence over 1 |
| 4 | a check or a running worker is unhealthy |
| 70 | a bug in stigmer-config |
"""
_LIMITS = """\
- A file is one YAML 1.2 document in UTF-8 of at most 64 KiB, with at most 8 KiB per value and 16 levels of nesting.
  Anchors, aliases, tags, merge keys, directives and duplicate keys are errors.
- A project's file may be a symbolic link only within the project, and not into `.git`. A file may not be a device or a
  pipe.
- A model name has at most 256 characters: `A-Z a-z 0-9 . _ : / @ + -`. A URL starts with `http://` or `https://` and
  has no user name or password.
- A model that is not in the packaged catalogue works, but its limits and parameters are not checked.
- Linux is where everything is tested. macOS and Windows should work; file events, forks, permissions and `workers` are
  less tested there: [What is tested where](contributing.md#what-is-tested-where).
"""


def page() -> str:
    """The whole page."""
    parts = [
        _HEAD,
        "## Keys\n",
        _KEYS,
        _keys(),
        "### Defaults of each provider\n",
        _providers(),
        "### Built-in aliases\n",
    ]
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
        "\nEach takes the same values as the field of `llm` with the same name and may be set by the same layers,\n"
        "except that Anthropic's temperature is at most 1. There are variables only for the keys and addresses that\n"
        "[other tools](#other-tools) define. A provider of your own also has a `kind` and `headers`:\n"
        "[Providers and gateways](providers.md#add-a-provider-or-a-gateway-of-your-own).\n"
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
            "A variable that is set to the empty string counts as unset. `ENV` is never read.\n",
            own,
            "### Other tools\n",
            "These variables belong to other tools. Every value that you set elsewhere takes precedence over them.\n",
            _table(("variable", "key"), others),
            "### Files, trust and output\n",
            _table(
                ("variable", "what it does"),
                [(", ".join(f"`{name}`" for name in names.split(", ")), what) for names, what in _PLACES],
            ),
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
