"""Layers → Config, and from a Config its overrides and its explanations: all from one walk."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from ..config.config import RESOLVED, Config
from ..config.sections import LLMConfig, provider_settings, section
from ..core.frozen_map import FrozenMap
from ..core.merge import merge
from ..core.problems import ConfigError, Problem, has_errors
from ..core.provenance import Entry, Explanation, Layer, Loser, Origin, Reason, items, targets, value_of
from ..llm.catalogue import Catalogue
from ..llm.model_strings import ModelNames
from ..llm.provider_selection import Walk
from ..llm.providers import foreign_prefix, known_providers, model_strings
from ..llm.resolve import Resolved, refused, resolve
from ..secrets.references import Opener
from ..settings.declarations import FREE_FIELDS, SETTINGS, find
from ..settings.unknown import unknown_name
from ..settings.value_types import no_provider
from ..sources.mapping import Pairs, entries_of, read_pairs
from ..trust.credential_binding import exposed, passed_over
from ..trust.grants import NONE, Trust

# Secrets that are read at each load, whoever serves the model.
_USED_SECRETS = frozenset({"backend.api_key", "sandbox.api_key", "redis.password", "temporal.api_key"})

# Overrides of these alone touch neither provider, model nor credential: key → field, and whether a model may refuse it.
_PLAIN = {
    "llm.temperature": ("temperature", True),
    "llm.num_ctx": ("num_ctx", True),
    "llm.max_tokens": ("max_tokens", False),
    "llm.timeout": ("timeout", False),
    "llm.max_retries": ("max_retries", False),
}


_ORIGINS = {key: Origin("execution", f"override[{key}]") for key in SETTINGS}


def _override_origin(key: str) -> Origin:
    return _ORIGINS.get(key) or Origin("execution", f"override[{key}]")


def read_override(values: Mapping[str, Any]) -> tuple[Pairs, list[Problem]]:
    """The pairs of one override, and its faults."""
    return read_pairs(values, "execution", _override_origin)


def _layer(pairs: Pairs) -> Layer:
    return Layer("execution", "override", "loaded", entries_of(pairs, _override_origin))


class View(msgspec.Struct, frozen=True):
    """One Config's walk and what it resolves to."""

    walk: Walk
    resolved: Resolved


class Derivation:
    """What one load found: its layers, their merge, and the walk over them.

    `problems` are the walk's own; those of reading and vetting stand with whoever read and vetted.
    """

    def __init__(
        self,
        mode: Any,
        layers: Iterable[Layer],
        catalogue: Catalogue,
        today: datetime.date,
        overrides: Iterable[Pairs],
        opener: Opener,
        trust: Trust = NONE,
    ) -> None:
        self.mode = mode
        self.layers = tuple(layers)
        self.today = today
        overrides = tuple(overrides)
        self._opener = opener
        self.winners = merge(self.layers)
        self.names = ModelNames(self.winners, catalogue, known_providers(self.layers))
        self.walk = Walk(self.names, self.layers, baseline=_baseline(self.layers, catalogue) if trust.covered else None)
        self.walk.granted = trust.credentials
        trusted = merge(layer for layer in self.layers if layer.name != "project") if trust.covered else self.winners
        self._passed_over = passed_over(self.winners, trusted, trust.credentials)
        unknown = [self._unknown_providers(pairs) for pairs in overrides]
        self.overrides = tuple(pairs for pairs, faults in zip(overrides, unknown, strict=True) if not faults)
        self._top = self._view(self.overrides)
        resolved = self._top.resolved
        found = (*itertools.chain(*unknown), *self.names.problems(), *self._top.walk.problems, *resolved.problems)
        self.problems = (*found, *self._passed_over.values(), *exposed(self.winners))
        self._values = self._read_values()

    def _view(self, overrides: tuple[Pairs, ...]) -> View:
        walk = self.walk.with_overrides(map(_layer, overrides))
        resolved = resolve(walk, self.today, self._opener)
        fallbacks = resolved.entries.get("fallbacks")
        if fallbacks is not None and fallbacks.value:
            resolved = self._with_fallbacks(walk, resolved, fallbacks)
        return View(walk, resolved)

    def _with_fallbacks(self, walk: Walk, resolved: Resolved, entry: Entry) -> Resolved:
        """Each fallback resolved as an override of the model would be; what is wrong with one is said at its item."""
        found: list[LLMConfig] = []
        problems = list(resolved.problems)
        for item in items(entry):
            chosen = Layer("execution", "override", "loaded", {"llm.model": item})
            switched = walk.over(chosen)
            fallback = resolve(switched, self.today, self._opener)
            found.append(fallback.llm)
            known = {*map(id, walk.problems)}
            new = [*(p for p in switched.problems if id(p) not in known), *fallback.problems]
            problems += (_of_fallback(problem, item) for problem in new if problem not in resolved.problems)
        llm = msgspec.structs.replace(resolved.llm, fallbacks=tuple(found))
        return msgspec.structs.replace(resolved, llm=llm, problems=tuple(problems))

    def config(self, generation: int, warnings: Iterable[Problem]) -> Config:
        """The Config of this derivation."""
        values = self._values
        aliases = {name: _alias_value(entry) for name, entry in self.names.aliases.items()}
        return Config(
            mode=self.mode,
            llm=self._top.resolved.llm,
            providers=FrozenMap((name, provider_settings(name, values)) for name in self.names.providers),
            aliases=FrozenMap(aliases),
            temporal=section("temporal", values),
            backend=section("backend", values),
            sandbox=section("sandbox", values),
            redis=None if self.mode == "local" else section("redis", values),
            logging=section("logging", values),
            locked=values.get("locked", ()),
            generation=generation,
            warnings=tuple(warnings),
            _deriver=self,
            _overrides=self.overrides,
        )

    def _read_values(self) -> dict[str, Any]:
        """The winning values; of the secrets those that are used, the others unread."""
        values: dict[str, Any] = {}
        for key, entry in self.winners.items():
            if key in _USED_SECRETS and key not in self._passed_over and not self._is_unused_redis(key):
                values[key], unavailable = self._opener.open(key, entry)
                self.problems += (unavailable,) if unavailable is not None else ()
            elif key not in self._passed_over:
                values[key] = self._glance(entry)
        return values

    def _glance(self, entry: Entry) -> Any:
        """An entry's value as it can be shown without reading anything."""
        value = value_of(entry)
        if type(value) is dict:
            parts = {name: self._opener.glance(part) for name, part in value.items() if part is not None}
            return FrozenMap(parts)
        return self._opener.glance(value)

    def _is_unused_redis(self, key: str) -> bool:
        return key.startswith("redis.") and self.mode == "local"

    def override(self, config: Config, values: Mapping[str, Any]) -> Config:
        """`config` with one more layer on top. Raises `ConfigError`."""
        pairs, problems = read_override(values)
        problems += self._unknown_providers(pairs)
        if has_errors(problems):
            raise ConfigError(problems)
        overrides = (*config._overrides, pairs)
        llm = self._plainly(config.llm, pairs)
        if llm is not None:
            return msgspec.structs.replace(config, llm=llm, _overrides=overrides)
        view = self._view(overrides)
        found = (*problems, *view.walk.problems, *view.resolved.problems)
        warnings = _warnings(config.warnings, found) if found or config.warnings else ()
        return msgspec.structs.replace(config, llm=view.resolved.llm, warnings=warnings, _overrides=overrides)

    def _plainly(self, llm: LLMConfig, pairs: Pairs) -> LLMConfig | None:
        """`llm` with parameters changed that decide nothing else; None when more has to be worked out."""
        if llm.fallbacks:
            return None
        changes: dict[str, Any] = {}
        for index in range(0, len(pairs), 2):
            field, is_judged = _PLAIN.get(pairs[index], ("", True))
            value = changes[field] = pairs[index + 1]
            if is_judged and (not field or self._is_remarkable(llm, field, value)):
                return None
        return msgspec.structs.replace(llm, **changes)

    def _is_remarkable(self, llm: LLMConfig, field: str, value: Any) -> bool:
        """Whether a parameter's new value is refused, or may take a warning about the old one away."""
        if value is None or (field == "temperature" and llm.kind == "anthropic" and value > 1):
            return True
        facts = self.names.catalogue.find(llm.model_id, llm.provider)
        return refused(field, value, llm.provider, llm.kind, facts, llm.reasoning_effort) is not None

    def _unknown_providers(self, pairs: Pairs) -> list[Problem]:
        """What names a provider in an override that does not exist."""
        found: list[Problem] = []
        for index in range(0, len(pairs), 2):
            key, value = pairs[index], pairs[index + 1]
            origin = _override_origin(key)
            if key == "llm.provider" and value != "auto" and value not in self.names.providers:
                found.append(no_provider(value, self.names.providers).problem(key, origin))
            elif key in ("llm.model", "llm.fallbacks"):
                strings = model_strings(key, Entry(value, origin))
                foreign = (foreign_prefix(*one, self.names.providers, self.names.catalogue) for one in strings)
                found += (problem for problem in foreign if problem is not None)
        return found

    def explain(self, config: Config, key: str) -> Explanation:
        """Why `key` has its value in `config`. Raises `KeyError` for a key that does not exist."""
        value = config.value(key)
        view = self._top if config._overrides == self.overrides else self._view(config._overrides)
        if key.startswith("llm."):
            return _explain_llm(view, key, value)
        winner = self.winners.get(key) if key not in self._passed_over else None
        local_redis = self._is_unused_redis(key)
        losers = [
            Loser(value_of(entry), entry.origin, "not-in-mode" if local_redis else reason or self._lost(key, entry))
            for entry, reason in self._rows(key)
            if (local_redis or reason is not None or entry is not winner) and not self._merged(key, entry)
        ]
        return Explanation(key, value, winner.origin if winner and not local_redis else None, tuple(losers))

    def meaning(self, config: Config, alias: str) -> dict[str, str | None]:
        """What an alias stands for, by provider. Raises `KeyError` for one that does not exist."""
        if alias not in config.aliases:
            raise unknown_name("alias", alias, config.aliases)
        ends = {provider: self.names.end_of(alias, provider) for provider in self.names.providers}
        return {provider: None if end.prefix not in (None, provider) else end.name for provider, end in ends.items()}

    def _rows(self, key: str) -> Iterator[tuple[Entry, Reason | None]]:
        """Every entry of a key, highest layer first, with why it was refused if it was."""
        for layer in reversed(self.layers):
            if key in layer.refused:
                yield layer.refused[key].entry, layer.refused[key].reason
            elif key in layer.entries:
                yield layer.entries[key], None

    def _lost(self, key: str, entry: Entry) -> Reason:
        return "bound-elsewhere" if key in self._passed_over and entry is self.winners[key] else "overridden"

    def _merged(self, key: str, entry: Entry) -> bool:
        """Whether an entry lives on in a merged one: part of `locked`, or of an alias's mapping."""
        if key == "locked":
            return True
        winner = self.winners.get(key)
        mine, all_targets = targets(entry), targets(winner) if winner else None
        if mine is None or all_targets is None:
            return False
        return all(all_targets.get(provider) is target for provider, target in mine.items())


def _baseline(layers: Iterable[Layer], catalogue: Catalogue) -> Walk:
    """The walk without the project: by it is judged what a credential belongs to."""
    trusted = [layer for layer in layers if layer.name != "project"]
    return Walk(ModelNames.of(trusted, catalogue), trusted)


def _of_fallback(problem: Problem, item: Entry) -> Problem:
    message = f"the fallback {item.value}: {problem.message}"
    hint = problem.hint
    if problem.code.startswith("model-"):  # it is an item of a list, which no command changes by itself
        hint = "put another model in its place: stigmer config models"
    return msgspec.structs.replace(problem, key="llm.fallbacks", message=message, hint=hint, origin=item.origin)


def _warnings(before: tuple[Problem, ...], found: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """The warnings after an override: those about `llm` are found anew, the others stay. Raises `ConfigError`."""
    errors = [problem for problem in found if problem.severity == "error"]
    if errors:
        raise ConfigError(errors)
    return (*(problem for problem in before if not problem.key.startswith("llm.")), *found)


def _explain_llm(view: View, key: str, value: Any) -> Explanation:
    walk, resolved = view.walk, view.resolved
    if key == "llm.provider":
        winner = walk.named_by
        entry_keys: tuple[str, ...] = ("llm.provider",)
    else:
        field = "model" if key in RESOLVED else key.removeprefix("llm.")
        winner = resolved.entries.get(field)
        entry_keys = (f"llm.{field}", f"providers.{walk.provider}.{field}")
    losers: list[Loser] = []
    for layer, owner in reversed(list(zip(walk.layers, walk.owners, strict=True))):
        for entry_key in entry_keys:
            if entry_key in layer.refused:
                refusal = layer.refused[entry_key]
                losers.append(Loser(value_of(refusal.entry), refusal.entry.origin, refusal.reason))
            entry = layer.entries.get(entry_key)
            if entry is not None and entry is not winner:
                reason = resolved.reasons.get(id(entry)) or _lost(entry_key, owner, walk.provider)
                losers.append(Loser(value_of(entry), entry.origin, reason))
    hops = resolved.end.hops if key == "llm.model" or key in RESOLVED else ()
    return Explanation(key, value, winner.origin if winner is not None else None, tuple(losers), hops)


def _lost(key: str, owner: str, provider: str) -> Reason:
    field = key.removeprefix("llm.")
    belongs = key != field and field not in FREE_FIELDS | {"provider"}
    switched = belongs and owner != provider
    return "provider-switched" if switched else "overridden"


def _alias_value(entry: Entry) -> Any:
    value = value_of(entry)
    return FrozenMap(value) if isinstance(value, dict) else value


def definition(key: str) -> Any:
    """The Setting of a key; that of `llm.model` for what a model string came to."""
    return find("llm.model" if key in RESOLVED else key)
