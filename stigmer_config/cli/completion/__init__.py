"""Shell completion. A command names its candidates, whose module is imported when a shell requests them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem

    ShellComplete = Callable[[click.Context, click.Parameter, str], list[CompletionItem[Any]]]


def completing(function: str) -> ShellComplete:
    """The `shell_complete` of a parameter: a function of `candidates.py`, by its name."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
        from . import candidates

        found: list[CompletionItem[Any]] = getattr(candidates, function)(ctx, param, incomplete)
        return found

    return complete
