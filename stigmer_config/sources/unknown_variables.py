"""Warnings about `STIGMER_*` variables that nothing reads and are probably misspelled, with the nearest name."""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatchcase

from ..core import data_files
from ..core.environment import Environment
from ..core.problems import Problem, nearest
from ..core.provenance import Origin
from ..settings.declarations import VARIABLES

_PREFIX = "STIGMER_"
# The variables of this package: those of the settings, and others.
_OURS = frozenset(
    (
        *VARIABLES,
        *("STIGMER_HOME", "STIGMER_SITE_CONFIG", "STIGMER_TRUST_PROJECT"),
        *("STIGMER_ETCD", "STIGMER_ETCD_CACERT", "STIGMER_ETCD_CERT", "STIGMER_ETCD_KEY"),
        *("STIGMER_ETCD_USER", "STIGMER_ETCD_PASSWORD"),
    )
)


def unknown_variables(environment: Environment, declared: Collection[str] = ()) -> list[Problem]:
    """A warning for each `STIGMER_*` variable of neither this package, nor another Stigmer program, nor `declared`.

    `declared`: the variables of applications' settings.
    """
    unknown = [
        name
        for name, text in environment.variables.items()
        if name.startswith(_PREFIX) and text and name not in declared and name not in _OURS
    ]
    if not unknown:
        return []
    ours = {*_OURS, *declared}
    others = _other_programs()
    return [
        _warning(name, ours) for name in sorted(unknown) if not any(fnmatchcase(name, pattern) for pattern in others)
    ]


def _other_programs() -> list[str]:
    """The patterns in `defaults/other_variables.yaml`. A fault in it means a broken installation: `RuntimeError`."""
    from .yaml.parser import parse

    name = "other_variables.yaml"
    tree, problems = parse(data_files.text(name), "defaults", data_files.path(name))
    if tree is None or problems:
        raise RuntimeError("broken installation\n" + "\n".join(map(str, problems)))
    return [item.value for item in tree.value["variables"].value]


def _warning(name: str, ours: Collection[str]) -> Problem:
    meant = _meant(name, ours)
    hint = f"did you mean {meant}?" if meant else f"unset {name}, unless another program reads it"
    message = f"{name} is not a variable of stigmer and does nothing"
    return Problem(severity="warning", code="unknown-variable", message=message, hint=hint, origin=Origin("env", name))


def _meant(name: str, ours: Collection[str]) -> str | None:
    """The nearest of our variables. Some of them lack the prefix, so only the rest of the name is compared."""
    rest = name.removeprefix(_PREFIX)
    by_rest = {one.removeprefix(_PREFIX): one for one in sorted(ours, key=lambda one: one.startswith(_PREFIX))}
    if rest in by_rest:  # STIGMER_LOG_LEVEL means LOG_LEVEL
        return by_rest[rest]
    # STIGMER_MODEL means STIGMER_LLM_MODEL.
    ends = [one for one in ours if one.endswith(f"_{rest}")]
    if ends:
        return min(ends, key=lambda one: (not one.startswith(_PREFIX), len(one), one))
    near = nearest(rest, by_rest)
    return by_rest[near] if near else None
