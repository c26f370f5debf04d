"""Groups changes by edit, for people: an edit of the model changes up to five keys."""

from __future__ import annotations

from collections.abc import Iterable

from ..core.provenance import Change

_MODEL = ("llm.model", "llm.model_name", "llm.model_id")  # from the configured string to what is sent


def by_edit(changes: Iterable[Change]) -> list[list[Change]]:
    """Each change by itself, except for those of the model: they are one item, the configured string first.

    A value of `providers.<name>` that is in force is shown as a change of `llm` alone.
    """
    changes = tuple(changes)
    in_force = {change.new_origin for change in changes if change.key.startswith("llm.")} - {None}
    changes = tuple(
        change for change in changes if not (change.key.startswith("providers.") and change.new_origin in in_force)
    )
    model = [change for key in _MODEL for change in changes if change.key == key]
    groups = []
    for change in changes:
        if not model or (change.key != "llm.alias" and change not in model):
            groups.append([change])
        elif change is model[0]:
            groups.append(model)
    return groups
