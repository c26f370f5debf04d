"""Trusts the user's own edits of a project's file.

Only entries that were trusted before, or did not exist, are trusted afterwards: an edit never grants trust to entries
that came with the project.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ..core.environment import Environment
from ..core.provenance import Layer
from ..trust import grants


def trust_after_edit(environment: Environment, before: Layer, after: Layer) -> grants.Trust | None:
    """The grants of the edited file; None when the record already has them, or when it is not trusted.

    The entries of a faulty file are incomplete: fixing it may add entries that came with the project.
    """
    if before.status == "error":
        return None
    old, new = grants.covered(before), grants.covered(after)
    now = grants.decide(environment, before)
    mistaken = after.faulty.keys()  # the user's own invalid values: the message is about them, not about trust
    changed = new and new != old
    if not (changed or mistaken) or (old and not now.covered):
        return None
    return grants.Trust(grants.covers(after, new) | mistaken, now.credentials)


@contextlib.contextmanager
def recording_trust(environment: Environment, after: Layer, trust: grants.Trust | None) -> Iterator[None]:
    """Records the grant for the new file before it is in place, and withdraws it if writing fails.

    A worker that sees the new file then finds it trusted; until the file is in place, the earlier grant counts as well.
    Raises `OSError` and `SaveError`.
    """
    if trust is None:
        yield
        return
    grants.prepare(environment, after, trust.credentials)
    try:
        yield
    except BaseException:
        grants.withdraw(environment, after.source)
        raise
    with contextlib.suppress(OSError):  # then both continue to count
        grants.confirm(environment, after.source)
