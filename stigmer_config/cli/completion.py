"""What a shell offers after a TAB. Nothing here may fail or print: a shell would show it in the middle of a line."""

from __future__ import annotations

import click

from ..config import RESOLVED
from ..settings import CHILDREN, PROVIDERS, SETTINGS
from .common import Where


def complete_key(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Keys, and aliases once their section was typed."""
    del ctx, param
    return _starting(incomplete, [*SETTINGS, *RESOLVED, *_alias_keys(incomplete)])


def complete_key_or_section(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Sections and keys."""
    del ctx, param
    return _starting(incomplete, [*filter(None, CHILDREN), *SETTINGS, *RESOLVED, *_alias_keys(incomplete)])


def complete_assignment(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """`KEY=` for each key that may stand on a command line."""
    del ctx, param
    keys = [key for key, setting in SETTINGS.items() if not setting.is_secret and key != "mode"]
    return _starting(incomplete, [f"{key}=" for key in [*keys, *_alias_keys(incomplete)]])


def complete_provider(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Providers, and `auto`."""
    del ctx, param
    return _starting(incomplete, [*PROVIDERS, "auto"])


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Aliases."""
    del ctx, param
    return _starting(incomplete, _aliases())


def _starting(incomplete: str, words: list[str]) -> list[str]:
    return [word for word in dict.fromkeys(words) if word.startswith(incomplete)]


def _alias_keys(incomplete: str) -> list[str]:
    return [f"aliases.{name}" for name in _aliases()] if incomplete.startswith("aliases.") else []


def _aliases() -> list[str]:
    try:
        return sorted(Where().load().config.aliases)
    except Exception:  # noqa: BLE001 - see above: then there is nothing to offer
        return []
