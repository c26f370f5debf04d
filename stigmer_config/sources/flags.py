"""The `flags` layer: command-line flags and `load(flags=…)`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..core.problems import Problem, has_errors
from ..core.provenance import Entry, Layer, Origin, Status, placed
from ..settings.declarations import BUILT_IN
from ..settings.interpolation import uninterpolated
from ..settings.schema import Schema
from ..settings.value_types import InvalidValueError
from .mapping import from_mapping

SOURCE = "flags"


def from_call(flags: Mapping[str, Any] | None, schema: Schema = BUILT_IN) -> tuple[Layer, list[Problem]]:
    """The layer of `load(flags=…)`: a mapping, dotted or nested."""
    entries, problems = from_mapping(flags or {}, "flags", lambda key: Origin("flags", f"flags[{key}]"), schema)
    return _layer(entries, problems)


def from_command_line(
    given: Iterable[tuple[str, str, str]], anthropic_key: str | None = None, schema: Schema = BUILT_IN
) -> tuple[Layer, list[Problem]]:
    """The layer of a command line: rows of (key, text, flag), each parsed as its key's type.

    `anthropic_key` sets `providers.anthropic.api_key`, and names anthropic unless the flags name another provider.
    Keys must exist; the command line has checked that.
    """
    entries: dict[str, Entry] = {}
    problems: list[Problem] = []
    rows = list(given)
    if anthropic_key is not None:
        rows.append(("providers.anthropic.api_key", anthropic_key, "--anthropic-key"))
    flags = {key: flag for key, _, flag in rows}
    for key, text, flag in rows:
        origin = Origin("flags", flag)
        if key.startswith("aliases."):
            found, faults = from_mapping({key: text}, "flags", lambda key: Origin("flags", flags[key]))
            entries |= found
            problems += faults
            continue
        setting = schema.find(key)
        assert setting is not None  # noqa: S101 - the command line has made sure
        try:
            none = setting.nullable and text == "null"
            entries[key] = placed(None if none else setting.parse(text, flag), origin)
        except InvalidValueError as fault:
            problems.append(fault.problem(key, origin))
            continue
        warning = uninterpolated(setting, entries[key].value, origin, key)
        problems += (warning,) if warning else ()
    implied = Entry("anthropic", Origin("flags", "--anthropic-key")) if anthropic_key is not None else None
    return _layer(entries, problems, implied)


def _layer(
    entries: dict[str, Entry], problems: list[Problem], implied: Entry | None = None
) -> tuple[Layer, list[Problem]]:
    status: Status = "error" if has_errors(problems) else "loaded" if entries else "empty"
    return Layer("flags", SOURCE, status, entries, implied_provider=implied), problems
