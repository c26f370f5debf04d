"""Vetted layers → Config, and from a Config its overrides and its explanations."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import msgspec

from ..config.app_values import NONE as NO_APPLICATIONS
from ..config.app_values import Applications, applications, completed, hidden, with_values
from ..config.config import RESOLVED, Config
from ..config.sections import LLMConfig, provider_settings, section
from ..core.frozen_map import FrozenMap
from ..core.problems import ConfigError, Problem, has_errors
from ..core.provenance import Entry, Explanation, Layer, Loser, Origin, Reason, alias_targets, items, plain_value
from ..llm.combined_layers import CombinedLayers
from ..llm.declared_providers import foreign_prefix, model_strings
from ..llm.provider_selection import CredentialGrant, ProviderSelection
from ..llm.resolve import Resolved, resolve, why_unsupported
from ..secrets.references import SecretResolver
from ..settings.declarations import BUILT_IN, FREE_FIELDS, KEY_LISTS, SETTINGS
from ..settings.packaged_providers import CORE_PROVIDERS, packaged_providers
from ..settings.schema import Schema
from ..settings.unknown import unknown_name
from ..settings.value_types import no_provider
from ..sources.mapping import Pairs, entries_of, read_pairs
from ..trust.credential_binding import (
    credential_endpoint,
    exposed_credentials,
    moved_credentials,
    passed_over_credentials,
)
from ..trust.enforced_keys import Policy

# Secrets that are read at each load, whichever provider is in force.
_USED_SECRETS = frozenset({"backend.api_key", "sandbox.api_key", "redis.password", "temporal.api_key"})

# Overriding these alone changes neither provider, model nor credential: key → field, and whether a model may refuse it.
_INDEPENDENT = {
    "llm.temperature": ("temperature", True),
    "llm.num_ctx": ("num_ctx", True),
    "llm.max_tokens": ("max_tokens", False),
    "llm.timeout": ("timeout", False),
    "llm.max_retries": ("max_retries", False),
}


# The types of values that are neither secrets nor made of parts.
_PLAIN = frozenset({str, int, float, bool, type(None)})

_ORIGINS = {key: Origin("execution", f"override[{key}]") for key in SETTINGS}


def _override_origin(key: str) -> Origin:
    return _ORIGINS.get(key) or Origin("execution", f"override[{key}]")


def read_override(values: Mapping[str, Any], schema: Schema = BUILT_IN) -> tuple[Pairs, list[Problem]]:
    """The pairs of one override, and its faults."""
    return read_pairs(values, "execution", _override_origin, schema)


def _given(overrides: Iterable[Pairs]) -> Iterator[tuple[str, Any]]:
    """The keys and values of overrides."""
    for pairs in overrides:
        yield from zip(pairs[::2], pairs[1::2], strict=True)


def _layer(pairs: Pairs) -> Layer:
    return Layer("execution", "override", "loaded", entries_of(pairs, _override_origin))


class _View(msgspec.Struct, frozen=True):
    """One Config's provider selection and what it resolves to."""

    selection: ProviderSelection
    resolved: Resolved


class Derivation:
    """What Configs are made from: the layers of one load, combined.

    `baseline` are the layers without the project. `problems` are those of the selection and the resolution; reading and
    vetting report their own.
    """

    def __init__(
        self,
        mode: Any,
        combined: CombinedLayers,
        baseline: CombinedLayers,
        today: datetime.date,
        overrides: Iterable[Pairs],
        opener: SecretResolver,
        schema: Schema = BUILT_IN,
        policy: Policy | None = None,
    ) -> None:
        self.mode = mode
        self._policy = policy or Policy(today)
        self.layers = combined.layers
        self.winners = combined.winners
        self.names = combined.names
        self.selection = combined.selection
        self.today = today
        overrides = tuple(overrides)
        self._opener = opener
        self.schema = schema
        self._applications = NO_APPLICATIONS
        if schema.apps or any(key.startswith("apps.") for key in self.winners):
            self.winners = self._with_applications(self.winners)
        passed_over = passed_over_credentials(self.winners, baseline.winners, self.selection.inputs.granted, schema)
        self._passed_over = {key: problem for key, problem in passed_over.items() if not self._is_unused_redis(key)}
        unknown = [self._unknown_providers(pairs) for pairs in overrides]
        self.overrides = tuple(pairs for pairs, faults in zip(overrides, unknown, strict=True) if not faults)
        self._view = self._resolved(self.overrides)
        found: tuple[Problem, ...] = (
            *chain(*unknown),
            *self.names.problems(),
            *self._view.selection.problems,
            *self._view.resolved.problems,
        )
        found += tuple(self._policy.overridden(self._view.selection, _given(self.overrides))) if self.overrides else ()
        self.problems = (*found, *self._passed_over.values(), *exposed_credentials(self.winners))
        self._values = self._read_values()
        if self.winners is not combined.winners:
            self._applications, faults = applications(schema, self._values, self.winners)
            self.problems += tuple(faults)
            for pairs in self.overrides:
                self._applications, faults = self._overridden(self._applications, pairs)
                self.problems += tuple(faults)

    def _with_applications(self, winners: Mapping[str, Entry]) -> dict[str, Entry]:
        """The winners, of an application's mappings and the values in their places those that count."""
        order: dict[str, int] = {layer.name: rank for rank, layer in enumerate(self.layers)}
        mine = {key: entry for key, entry in winners.items() if key.startswith("apps.")}
        gone = hidden(mine, order)
        missing, marks = completed(self.schema, {key: entry.value for key, entry in mine.items() if key not in gone})
        return {key: entry for key, entry in winners.items() if key not in gone and key not in marks} | missing

    def _overridden(self, before: Applications, pairs: Pairs) -> tuple[Applications, list[Problem]]:
        """The applications' settings with one override's."""
        changes = {key: value for key, value in zip(pairs[::2], pairs[1::2], strict=True) if key.startswith("apps.")}
        if not changes:
            return before, []
        after, problems = with_values(before, changes)
        return after, [*problems, *moved_credentials(before.values, after.values, changes, self.schema)]

    def _resolved(self, overrides: tuple[Pairs, ...]) -> _View:
        selection = self.selection.with_overrides(map(_layer, overrides))
        resolved = resolve(selection, self.today, self._opener)
        fallbacks = resolved.entries.get("fallbacks")
        if fallbacks is not None and fallbacks.value:
            resolved = self._with_fallbacks(selection, resolved, fallbacks)
        return _View(selection, resolved)

    def _with_fallbacks(self, selection: ProviderSelection, resolved: Resolved, entry: Entry) -> Resolved:
        """Each fallback resolved as an override of the model would be; what is wrong with one is said at its item."""
        found: list[LLMConfig] = []
        keys: list[Origin | None] = []
        problems = list(resolved.problems)
        known = {*map(id, selection.problems)}
        for item in items(entry):
            switched = selection.with_model(item)
            fallback = resolve(switched, self.today, self._opener)
            found.append(fallback.llm)
            keys.append(fallback.entries["api_key"].origin if fallback.llm.api_key is not None else None)
            new = [*(p for p in switched.problems if id(p) not in known), *fallback.problems]
            problems += (_of_fallback(problem, item) for problem in new if problem not in resolved.problems)
        llm = msgspec.structs.replace(resolved.llm, fallbacks=tuple(found))
        return msgspec.structs.replace(resolved, llm=llm, problems=tuple(problems), fallback_keys=tuple(keys))

    def config(self, generation: int, warnings: Iterable[Problem]) -> Config:
        """The Config of this derivation."""
        values = self._values
        aliases = {name: _alias_value(entry) for name, entry in self.names.aliases.items()}
        return Config(
            mode=self.mode,
            llm=self._view.resolved.llm,
            providers=FrozenMap(provider_settings(self.names.providers, values)),
            aliases=FrozenMap(aliases),
            temporal=section("temporal", values),
            backend=section("backend", values),
            sandbox=section("sandbox", values),
            redis=None if self.mode == "local" else section("redis", values),
            logging=section("logging", values),
            locked=values.get("locked", ()),
            enforced=values.get("enforced", ()),
            generation=generation,
            warnings=tuple(warnings),
            _deriver=self,
            _applications=self._applications,
            _overrides=self.overrides,
        )

    def _read_values(self) -> dict[str, Any]:
        """The winning values; of the secrets those that are used, the others unread."""
        values: dict[str, Any] = {}
        for key, entry in self.winners.items():
            if key in self._passed_over:
                continue
            if type(entry.value) in _PLAIN and not key.startswith("apps."):
                values[key] = entry.value
            elif self._is_used_secret(key) and not self._is_unused_redis(key):
                values[key], unavailable = self._opener.open_all(key, entry)
                self.problems += tuple(unavailable)
            else:
                values[key] = self._glance(entry)
        return values

    def _is_used_secret(self, key: str) -> bool:
        if not key.startswith("apps."):
            return key in _USED_SECRETS
        setting = self.schema.find(key)
        return setting is not None and setting.is_secret

    def _glance(self, entry: Entry) -> Any:
        """An entry's value as it can be shown without reading anything."""
        value = plain_value(entry)
        if type(value) is dict:
            return FrozenMap({name: self._opener.glance(part) for name, part in value.items() if part is not None})
        return self._opener.glance(value)

    def _is_unused_redis(self, key: str) -> bool:
        return key.startswith("redis.") and self.mode == "local"

    def override(self, config: Config, values: Mapping[str, Any]) -> Config:
        """`config` with one more layer on top. Raises `ConfigError`."""
        pairs, problems = read_override(values, self.schema)
        problems += self._unknown_providers(pairs)
        if has_errors(problems):
            raise ConfigError(problems)
        overrides = (*config._overrides, pairs)
        given = tuple(_given((pairs,)))
        if self.schema.apps:
            changed, faults = self._overridden(config._applications, pairs)
            if faults:
                raise ConfigError(faults)
            config = msgspec.structs.replace(config, _applications=changed)
            pairs = tuple(
                chain(*(row for row in zip(pairs[::2], pairs[1::2], strict=True) if not row[0].startswith("apps.")))
            )
        llm = self._with_independent(config.llm, pairs) if not self._policy else None
        if llm is not None:
            return msgspec.structs.replace(config, llm=llm, _overrides=overrides)
        view = self._resolved(overrides)
        enforced = self._policy.overridden(view.selection, given) if self._policy else ()
        found = (*problems, *enforced, *view.selection.problems, *view.resolved.problems)
        warnings = _warnings(config.warnings, found) if found or config.warnings else ()
        return msgspec.structs.replace(config, llm=view.resolved.llm, warnings=warnings, _overrides=overrides)

    def _with_independent(self, llm: LLMConfig, pairs: Pairs) -> LLMConfig | None:
        """`llm` with only independent parameters changed; None when the override needs a new resolution."""
        if llm.fallbacks:
            return None
        changes: dict[str, Any] = {}
        for index in range(0, len(pairs), 2):
            field, is_judged = _INDEPENDENT.get(pairs[index], ("", True))
            value = changes[field] = pairs[index + 1]
            if is_judged and (not field or self._may_cause_problem(llm, field, value)):
                return None
        return msgspec.structs.replace(llm, **changes)

    def _may_cause_problem(self, llm: LLMConfig, field: str, value: Any) -> bool:
        """Whether a parameter's new value is refused, or may end a warning about the old one."""
        if value is None or (field == "temperature" and llm.kind == "anthropic" and value > 1):
            return True
        facts = self.names.catalogue.find(llm.model_id, llm.provider)
        return why_unsupported(field, value, llm.provider, llm.kind, facts, llm.reasoning_effort) is not None

    def _unknown_providers(self, pairs: Pairs) -> list[Problem]:
        """What names a provider in an override that does not exist."""
        found: list[Problem] = []
        for index in range(0, len(pairs), 2):
            key, value = pairs[index], pairs[index + 1]
            if key == "llm.provider" and value != "auto" and value not in self.names.providers:
                found.append(no_provider(value, self.names.providers).problem(key, _override_origin(key)))
            elif key in ("llm.model", "llm.fallbacks"):
                strings = model_strings(key, Entry(value, _override_origin(key)))
                foreign = (foreign_prefix(*one, self.names.providers, self.names.catalogue) for one in strings)
                found += (problem for problem in foreign if problem is not None)
        return found

    def explain(self, config: Config, key: str) -> Explanation:
        """Why `key` has its value in `config`. Raises `KeyError` for a key that does not exist."""
        value = config.value(key)
        view = self._view if config._overrides == self.overrides else self._resolved(config._overrides)
        if key.startswith("llm."):
            return _explain_llm(view, key, value)
        if key.startswith("apps.") and config._overrides:
            return self._explain_overridden(config, key, value)
        winner = self.winners.get(key) if key not in self._passed_over else None
        local_redis = self._is_unused_redis(key)
        losers = [
            Loser(plain_value(entry), entry.origin, "not-in-mode" if local_redis else reason or self._lost(key, entry))
            for entry, reason in self._rows(key)
            if (local_redis or reason is not None or entry is not winner) and not self._merged(key, entry)
        ]
        return Explanation(key, value, winner.origin if winner and not local_redis else None, tuple(losers))

    def _explain_overridden(self, config: Config, key: str, value: Any) -> Explanation:
        """An application's key below overrides: the newest that sets it wins."""
        below = msgspec.structs.replace(config, _overrides=(), _applications=self._applications)
        base = self.explain(below, key)
        layers = [dict(zip(pairs[::2], pairs[1::2], strict=True)) for pairs in reversed(config._overrides)]
        given = [Loser(layer[key], _override_origin(key), "overridden") for layer in layers if key in layer]
        if not given:
            return msgspec.structs.replace(base, value=value)
        own = self.winners.get(key)
        beaten = [Loser(plain_value(own), own.origin, "overridden")] if own is not None and base.origin else []
        return Explanation(key, value, given[0].origin, (*given[1:], *beaten, *base.losers))

    def fallback_keys(self, config: Config) -> tuple[Origin | None, ...]:
        """Where the API key of each of `llm.fallbacks` comes from; None for one that has none."""
        view = self._view if config._overrides == self.overrides else self._resolved(config._overrides)
        return view.resolved.fallback_keys

    def meaning(self, config: Config, alias: str) -> dict[str, str | None]:
        """What an alias stands for, by provider. Raises `KeyError` for one that does not exist."""
        if alias not in config.aliases:
            raise unknown_name("alias", alias, config.aliases)
        value, packaged = config.aliases[alias], packaged_providers()
        of_interest = {*CORE_PROVIDERS, config.llm.provider, *(value if isinstance(value, Mapping) else ())}
        providers = [one for one in self.names.providers if one in of_interest or one not in packaged]
        expansions = {provider: self.names.expand(alias, provider) for provider in providers}
        return {
            provider: None if expansion.prefix not in (None, provider) else expansion.name
            for provider, expansion in expansions.items()
        }

    def withheld_credentials(self) -> tuple[CredentialGrant, ...]:
        """The credentials that a project would send elsewhere, whichever provider is in force: a grant for each."""
        found: list[CredentialGrant] = []
        for provider in self.names.providers:
            entry = Entry(provider, _override_origin("llm.provider"))
            layer = Layer("execution", "override", "loaded", {"llm.provider": entry})
            found += resolve(self.selection.with_override(layer), self.today, opener=None).withheld
        found += (
            CredentialGrant(key, self.winners[key].origin.source, credential_endpoint(key, self.winners, self.schema))
            for key in self._passed_over
        )
        return tuple(dict.fromkeys(found))

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
        """Whether an entry is part of a merged one: of `locked`, or of an alias's mapping."""
        if key in KEY_LISTS:
            return True
        winner = self.winners.get(key)
        mine, all_targets = alias_targets(entry), alias_targets(winner) if winner else None
        if mine is None or all_targets is None:
            return False
        return all(all_targets.get(provider) is target for provider, target in mine.items())


def _of_fallback(problem: Problem, item: Entry) -> Problem:
    message = f"the fallback {item.value}: {problem.message}"
    hint = problem.hint
    if problem.code.startswith("model-"):  # it is an item of a list, which no command changes by itself
        hint = "put another model in its place: stigmer config models"
    return msgspec.structs.replace(problem, key="llm.fallbacks", message=message, hint=hint, origin=item.origin)


def _warnings(before: tuple[Problem, ...], found: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """The warnings after an override: those about `llm` are replaced, the others stay. Raises `ConfigError`."""
    errors = [problem for problem in found if problem.severity == "error"]
    if errors:
        raise ConfigError(errors)
    return (*(problem for problem in before if not problem.key.startswith("llm.")), *found)


def _explain_llm(view: _View, key: str, value: Any) -> Explanation:
    selection, resolved = view.selection, view.resolved
    if key == "llm.provider":
        winner = selection.named_by
        entry_keys: tuple[str, ...] = ("llm.provider",)
    else:
        field = "model" if key in RESOLVED else key.removeprefix("llm.")
        winner = resolved.entries.get(field)
        entry_keys = (f"llm.{field}", f"providers.{selection.provider}.{field}")
    losers: list[Loser] = []
    for layer, owners in selection.rows():
        for entry_key in entry_keys:
            if entry_key in layer.refused:
                refusal = layer.refused[entry_key]
                losers.append(Loser(plain_value(refusal.entry), refusal.entry.origin, refusal.reason))
            entry = layer.entries.get(entry_key)
            if entry is not None and entry is not winner:
                owner = owners.of(layer, entry_key)
                reason = resolved.reasons.get(id(entry)) or _lost(entry_key, owner, selection.provider)
                losers.append(Loser(plain_value(entry), entry.origin, reason))
    hops = resolved.expansion.hops if key == "llm.model" or key in RESOLVED else ()
    return Explanation(key, value, winner.origin if winner is not None else None, tuple(losers), hops)


def _lost(key: str, owner: str, provider: str) -> Reason:
    field = key.removeprefix("llm.")
    belongs = key != field and field not in FREE_FIELDS | {"provider"}
    switched = belongs and owner != provider
    return "provider-switched" if switched else "overridden"


def _alias_value(entry: Entry) -> Any:
    value = plain_value(entry)
    return FrozenMap(value) if isinstance(value, dict) else value


def definition(key: str, schema: Schema = BUILT_IN) -> Any:
    """The Setting of a key; that of `llm.model` for the keys that a model string resolves to."""
    return schema.find("llm.model" if key in RESOLVED else key)
