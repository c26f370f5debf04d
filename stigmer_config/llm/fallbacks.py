"""The fallback models: each is resolved like an override of `llm.model`."""

from __future__ import annotations

import datetime

import msgspec

from ..config.sections import LLMConfig
from ..core.problems import Problem
from ..core.provenance import Entry, Layer, Origin, items
from ..secrets.references import SecretResolver
from .provider_selection import ProviderSelection
from .resolve import Resolved, resolve


def resolve_with_fallbacks(
    selection: ProviderSelection, today: datetime.date, opener: SecretResolver | None
) -> Resolved:
    """Resolves a selection, including `llm.fallbacks`. The problems of a fallback have its item's place."""
    resolved = resolve(selection, today, opener)
    entry = resolved.entries.get("fallbacks")
    if entry is None or not entry.value:
        return resolved
    found: list[LLMConfig] = []
    keys: list[Origin | None] = []
    problems = list(resolved.problems)
    known = {*map(id, selection.problems)}
    for item in items(entry):
        switched = selection.with_override(Layer("execution", "override", "loaded", {"llm.model": item}))
        fallback = resolve(switched, today, opener)
        found.append(fallback.llm)
        keys.append(fallback.entries["api_key"].origin if fallback.llm.api_key is not None else None)
        new = [*(p for p in switched.problems if id(p) not in known), *fallback.problems]
        problems += (_of_fallback(problem, item) for problem in new if problem not in resolved.problems)
    llm = msgspec.structs.replace(resolved.llm, fallbacks=tuple(found))
    return msgspec.structs.replace(resolved, llm=llm, problems=tuple(problems), fallback_keys=tuple(keys))


def _of_fallback(problem: Problem, item: Entry) -> Problem:
    message = f"the fallback {item.value}: {problem.message}"
    hint = problem.hint
    if problem.code.startswith("model-"):  # it is a list's item, which no command can change separately
        hint = "put another model in its place: stigmer config models"
    return msgspec.structs.replace(problem, key="llm.fallbacks", message=message, hint=hint, origin=item.origin)
