"""One execution's overrides: reads them, and applies those that only change independent parameters."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec

from ..config.sections import LLMConfig
from ..core.problems import Problem
from ..core.provenance import Entry, Layer, Origin
from ..llm.catalogue import Catalogue
from ..llm.declared_providers import foreign_prefix, model_strings
from ..llm.resolve import why_unsupported
from ..settings.declarations import BUILT_IN, SETTINGS
from ..settings.model_types import no_provider
from ..settings.schema import Schema
from ..sources.mapping import Pairs, entries_of, read_pairs

# These select another model; everything that follows from them is the same for every execution.
_SELECTING = frozenset({"llm.model", "llm.provider"})

# Overriding only these changes no provider, model or credential: key → field.
_INDEPENDENT = {f"llm.{field}": field for field in ("temperature", "num_ctx", "max_tokens", "timeout", "max_retries")}
_JUDGED = frozenset({"temperature", "num_ctx"})  # those that a model may refuse

_ORIGINS = {key: Origin("execution", f"override[{key}]") for key in SETTINGS}


def override_origin(key: str) -> Origin:
    """The origin of a key that an override sets."""
    return _ORIGINS.get(key) or Origin("execution", f"override[{key}]")


def read_override(values: Mapping[str, Any], schema: Schema = BUILT_IN) -> tuple[Pairs, list[Problem]]:
    """Reads an override: its pairs and its faults."""
    return read_pairs(values, "execution", override_origin, schema)


def rows(pairs: Pairs) -> Iterator[tuple[str, Any]]:
    """The keys and values of an override."""
    return zip(pairs[::2], pairs[1::2], strict=True)


def layer_of(pairs: Pairs) -> Layer:
    """The layer of an override."""
    return Layer("execution", "override", "loaded", entries_of(pairs, override_origin))


def separated(pairs: Pairs) -> tuple[Pairs, Pairs]:
    """The pairs that select a model, and the others."""
    selecting: Pairs = ()
    others: Pairs = ()
    for index in range(0, len(pairs), 2):
        if pairs[index] in _SELECTING:
            selecting += pairs[index : index + 2]
        else:
            others += pairs[index : index + 2]
    return selecting, others


def with_parameters(llm: LLMConfig, pairs: Pairs, catalogue: Catalogue) -> LLMConfig | None:
    """`llm` with only independent parameters changed; None when the override needs a new resolution."""
    if llm.fallbacks:
        return None
    changes: dict[str, Any] = {}
    for index in range(0, len(pairs), 2):
        field = _INDEPENDENT.get(pairs[index])
        if field is None:
            return None
        value = changes[field] = pairs[index + 1]
        if field in _JUDGED and _may_cause_problem(llm, field, value, catalogue):
            return None
    return msgspec.structs.replace(llm, **changes)


def _may_cause_problem(llm: LLMConfig, field: str, value: Any, catalogue: Catalogue) -> bool:
    """Whether a parameter's new value may be refused, or may end a warning about the old one."""
    if value is None or (field == "temperature" and llm.kind == "anthropic" and value > 1):
        return True
    facts = catalogue.find(llm.model_id, llm.provider)
    if facts is not None and field == "temperature" and facts.temperature is True:
        return False  # the usual case
    return why_unsupported(field, value, llm.provider, llm.kind, facts, llm.reasoning_effort) is not None


def unknown_providers(pairs: Pairs, providers: Collection[str], catalogue: Catalogue) -> list[Problem]:
    """The problems of an override that names a provider that does not exist."""
    found: list[Problem] = []
    for key, value in rows(pairs):
        if key == "llm.provider" and value != "auto" and value not in providers:
            found.append(no_provider(value, providers).problem(key, override_origin(key)))
        elif key in ("llm.model", "llm.fallbacks") and ":" in str(value):  # without a colon there is no prefix
            strings = model_strings(key, Entry(value, override_origin(key)))
            foreign = (foreign_prefix(*one, providers, catalogue) for one in strings)
            found += (problem for problem in foreign if problem is not None)
    return found
