"""How a project's file stands with the user once they have edited it: what they did themselves is trusted as done.

Only what was trusted before, or what was not there, is trusted afterwards: an edit never vouches for what
came with the project.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ..core.environment import Environment
from ..core.provenance import Layer
from ..trust import grants


def earned(environment: Environment, before: Layer, after: Layer) -> grants.Trust | None:
    """What the edited file is trusted with; None where the record says it, or where it is not trusted.

    A file with a fault says less than what stands in it: mending it may let in what came with the project.
    """
    if before.status == "error":
        return None
    asked, wanted = grants.covered(before), grants.covered(after)
    now = grants.decide(environment, before)
    mistaken = after.faulty.keys()  # by the user, who is told so and not of trust
    changed = wanted and wanted != asked
    if not (changed or mistaken) or (asked and not now.covered):
        return None
    return grants.Trust(frozenset(wanted) | mistaken, now.credentials)


@contextlib.contextmanager
def recorded(environment: Environment, before: Layer, after: Layer, trust: grants.Trust | None) -> Iterator[None]:
    """Records the trust for the time after the file is in place, and takes it back when that fails.

    It is there before the file is, so that a worker that sees the new file finds it trusted. Raises `OSError`.
    """
    if trust is None:
        yield
        return
    had = grants.recorded(environment, after.source)
    grants.record(environment, after, trust.credentials)
    try:
        yield
    except BaseException:
        if had is None:
            grants.revoke(environment, after.source)
        else:
            grants.record(environment, before, had.credential_grants)
        raise
