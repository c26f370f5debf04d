"""The source line under each problem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from ..core.problems import Problem, excerpt
from ..core.provenance import Layer, LayerName, Origin


def with_excerpts(problems: list[Problem], layers: Sequence[Layer]) -> tuple[Problem, ...]:
    """The problems, errors first, with the source line under each that has a place."""
    files: dict[tuple[LayerName, str], Layer] = {
        (layer.name, layer.source): layer for layer in layers if layer.text is not None
    }
    shown = [
        msgspec.structs.replace(problem, excerpt=_excerpt(problem.origin, files)) if problem.origin else problem
        for problem in problems
    ]
    return tuple(sorted(shown, key=lambda problem: problem.severity != "error"))


def _excerpt(origin: Origin, files: Mapping[tuple[LayerName, str], Layer]) -> str | None:
    """The line of an origin with a caret under it; None where there is none or it may hold a secret."""
    layer = files.get((origin.layer, origin.source))
    if layer is None or origin.line is None or origin.column is None or origin.line in layer.secret_lines():
        return None
    line = dict(enumerate((layer.text or "").splitlines(), start=1)).get(origin.line)
    # A URL's password may precede an @.
    return None if line is None or "@" in line else excerpt(line, origin.column)
