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


def trust_after_edit(environment: Environment, before: Layer, after: Layer) -> grants.Trust | None:
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
    return grants.Trust(grants.covers(after, wanted) | mistaken, now.credentials)


@contextlib.contextmanager
def recording_trust(environment: Environment, after: Layer, trust: grants.Trust | None) -> Iterator[None]:
    """Records the trust for the time after the file is in place, and takes it back when that fails.

    It is there before the file is, so that a worker that sees the new file finds it trusted; until the file is
    there the earlier grant counts as well. Raises `OSError` and `SaveError`.
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
    with contextlib.suppress(OSError):  # then both go on to count
        grants.confirm(environment, after.source)
