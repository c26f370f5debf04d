"""The source line under each problem."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import msgspec

from ..core.problems import Problem, excerpt
from ..core.provenance import Layer, LayerName, Origin


def with_excerpts(problems: list[Problem], layers: Sequence[Layer]) -> tuple[Problem, ...]:
    """The problems, errors first, each with the source line of its place."""
    files: dict[tuple[LayerName, str], Layer] = {
        (layer.name, layer.source): layer for layer in layers if layer.text is not None
    }

    @cache  # a hostile file may have thousands of lines, with a problem on each
    def lines(layer: LayerName, source: str) -> list[str]:
        return (files[layer, source].text or "").splitlines()

    def shown(origin: Origin) -> str | None:
        """The line of an origin with a caret under it; None when there is no line or it may hold a secret."""
        layer = files.get((origin.layer, origin.source))
        if layer is None or origin.line is None or origin.column is None or origin.line in layer.secret_lines():
            return None
        numbered = lines(origin.layer, origin.source)
        line = numbered[origin.line - 1] if 0 < origin.line <= len(numbered) else None
        # A URL's password may precede an @.
        return None if line is None or "@" in line else excerpt(line, origin.column)

    with_lines = [
        msgspec.structs.replace(problem, excerpt=shown(problem.origin)) if problem.origin else problem
        for problem in problems
    ]
    return tuple(sorted(with_lines, key=lambda problem: problem.severity != "error"))
