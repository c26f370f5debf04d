"""The error for a name in a program's call that does not exist."""

from __future__ import annotations

from collections.abc import Iterable

from ..core.problems import nearest, printable
from .declarations import BUILT_IN
from .schema import Schema


def unknown_key(key: str, schema: Schema = BUILT_IN, *, what: str = "key") -> KeyError:
    """The `KeyError` for a key that does not exist, with the nearest one that does."""
    near = schema.suggest(key) if key else None
    hint = f"did you mean {near}?" if near else "`stigmer config show --all` lists every key"
    return KeyError(f"there is no {what} '{printable(key)}': {hint}")


def unknown_name(what: str, name: str, names: Iterable[str]) -> KeyError:
    """The `KeyError` for a name that is not among `names`, with the nearest of them."""
    known = list(names)
    near = nearest(name, known)
    hint = f"did you mean {near}?" if near else f"known: {', '.join(known) or 'none'}"
    return KeyError(f"there is no {what} '{printable(name)}': {hint}")
