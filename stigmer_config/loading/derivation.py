"""Derives a Config from vetted layers, and overrides from a Config."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from operator import methodcaller
from typing import Any

import msgspec

from ..config.app_values import NONE as NO_APPLICATIONS
from ..config.app_values import Applications, applications, completed, hidden, with_values
from ..config.config import Config
from ..config.sections import LLMConfig, Providers, section
from ..core.frozen_map import FrozenMap
from ..core.problems import ConfigError, Problem, has_errors
from ..core.provenance import Entry, Explanation, Layer, Origin, plain_value
from ..core.secret import Secret
from ..llm.combined_layers import CombinedLayers
from ..llm.fallbacks import resolve_with_fallbacks
from ..llm.provider_selection import CredentialGrant, ProviderSelection
from ..llm.resolve import Resolved, resolve
from ..secrets.references import Reference, SecretResolver, Unavailable, glance
from ..settings.declarations import BUILT_IN, PROVIDER_FIELDS
from ..settings.packaged_providers import CORE_PROVIDERS, packaged_providers
from ..settings.schema import Schema
from ..settings.unknown import unknown_name
from ..sources.mapping import Pairs
from ..trust.credential_binding import (
    credential_endpoint,
    exposed_credentials,
    moved_credentials,
    passed_over_credentials,
)
from ..trust.enforced_keys import Policy
from .explanations import History, explain_llm, explain_overridden
from .overrides import layer_of, override_origin, read_override, rows, separated, unknown_providers, with_parameters

# Secrets that are read at each load, independent of the provider in force.
_USED_SECRETS = frozenset({"backend.api_key", "sandbox.api_key", "redis.password", "temporal.api_key"})

# The most models selected by overrides that a Config keeps resolved.
_MOST_KEPT = 64

_IS_OF_APP = methodcaller("startswith", "apps.")

# The types of values that are neither secrets nor composite.
_PLAIN = frozenset({str, int, float, bool, type(None)})


class _View(msgspec.Struct, frozen=True):
    """The provider selection of one Config and its resolution."""

    selection: ProviderSelection
    resolved: Resolved


class Derivation:
    """The combined layers of one load, from which Configs are derived.

    `baseline` are the layers without the project. `problems` has the problems of the selection and the resolution;
    reading and vetting report their own.
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
        self.layers = combined.layers
        self.winners = combined.winners
        self.names = combined.names
        self.selection = combined.selection
        self.today = today
        self.schema = schema
        self._opener = opener
        self._policy = policy or None  # None: nothing is enforced
        if schema.apps or any(map(_IS_OF_APP, self.winners)):
            self.winners = self._with_applications(self.winners)
        passed_over = passed_over_credentials(self.winners, baseline.winners, self.selection.inputs.granted, schema)
        self._passed_over = {key: problem for key, problem in passed_over.items() if not self._is_unused_redis(key)}
        self._selected: dict[Pairs, LLMConfig | None] = {}
        self.problems: tuple[Problem, ...] = ()
        self.overrides = self._known(overrides)
        self._view = self._resolved(self.overrides)
        self.problems += (*self._problems(), *self._passed_over.values(), *exposed_credentials(self.winners))
        self._values = self._read_values()
        self._secrets = dict(opener.results)  # those that overrides read later are no part of this Config's providers
        self._applications = NO_APPLICATIONS
        if self.winners is not combined.winners:
            self._read_applications()

    def _known(self, overrides: Iterable[Pairs]) -> tuple[Pairs, ...]:
        """The overrides that name no unknown provider; the others are reported."""
        known: tuple[Pairs, ...] = ()
        for pairs in overrides:
            faults = unknown_providers(pairs, self.names.providers, self.names.catalogue)
            self.problems += tuple(faults)
            known += () if faults else (pairs,)
        return known

    def _problems(self) -> Iterator[Problem]:
        """The problems of the aliases, of the selection and its resolution, and of overrides of enforced values."""
        yield from self.names.problems()
        yield from self._view.selection.problems
        yield from self._view.resolved.problems
        if self.overrides and self._policy is not None:
            yield from self._policy.overridden(self._view.selection, chain(*map(rows, self.overrides)))

    def _read_applications(self) -> None:
        self._applications, faults = applications(self.schema, self._values, self.winners)
        self.problems += tuple(faults)
        for pairs in self.overrides:
            self._applications, faults = self._overridden(self._applications, pairs)
            self.problems += tuple(faults)

    def _with_applications(self, winners: Mapping[str, Entry]) -> dict[str, Entry]:
        """The winning entries, without those of an application that another value at the same key hides."""
        order: dict[str, int] = {layer.name: rank for rank, layer in enumerate(self.layers)}
        mine = {key: entry for key, entry in winners.items() if key.startswith("apps.")}
        gone = hidden(mine, order)
        missing, marks = completed(self.schema, {key: entry.value for key, entry in mine.items() if key not in gone})
        return {key: entry for key, entry in winners.items() if key not in gone and key not in marks} | missing

    def _overridden(self, before: Applications, pairs: Pairs) -> tuple[Applications, list[Problem]]:
        """The applications' settings with those of an override."""
        changes = {key: value for key, value in rows(pairs) if key.startswith("apps.")}
        if not changes:
            return before, []
        after, problems = with_values(before, changes)
        return after, [*problems, *moved_credentials(before.values, after.values, changes, self.schema)]

    def _resolved(self, overrides: tuple[Pairs, ...]) -> _View:
        selection = self.selection.with_overrides(map(layer_of, overrides))
        return _View(selection, resolve_with_fallbacks(selection, self.today, self._opener))

    def config(self, generation: int, warnings: Iterable[Problem]) -> Config:
        """Builds the Config."""
        values = self._values
        aliases = {name: _alias_value(entry) for name, entry in self.names.aliases.items()}
        return Config(
            mode=self.mode,
            llm=self._view.resolved.llm,
            providers=Providers(self.names.providers, self._provider_values),
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
        """The winning values, but for the providers' own. Reads the secrets that are used; the others are `Unread`."""
        values: dict[str, Any] = {}
        for key, entry in self.winners.items():
            if key in self._passed_over or key.startswith("providers."):
                continue
            if type(entry.value) in _PLAIN and not key.startswith("apps."):
                values[key] = entry.value
            elif self._is_used_secret(key) and not self._is_unused_redis(key):
                values[key], unavailable = self._opener.open_all(key, entry)
                self.problems += tuple(unavailable)
            else:
                values[key] = _glance(entry, self._opener.results)
        return values

    def _is_used_secret(self, key: str) -> bool:
        if not key.startswith("apps."):
            return key in _USED_SECRETS
        setting = self.schema.find(key)
        return setting is not None and setting.is_secret

    def _provider_values(self, provider: str) -> dict[str, Any]:
        """The winning values of `providers.<provider>`, by field."""
        winners, prefix = self.winners, f"providers.{provider}."
        entries = [(field, winners[key]) for field in PROVIDER_FIELDS if (key := prefix + field) in winners]
        return {
            field: entry.value if type(entry.value) in _PLAIN else _glance(entry, self._secrets)
            for field, entry in entries
        }

    def _is_unused_redis(self, key: str) -> bool:
        return key.startswith("redis.") and self.mode == "local"

    def override(self, config: Config, values: Mapping[str, Any]) -> Config:
        """`config` with one more layer on top. Raises `ConfigError`."""
        pairs, problems = read_override(values, self.schema)
        overrides = (*config._overrides, pairs)
        if self.schema.apps:
            changed, faults = self._overridden(config._applications, pairs)
            problems += faults
            config = msgspec.structs.replace(config, _applications=changed)
            pairs = tuple(chain(*(row for row in rows(pairs) if not row[0].startswith("apps."))))
        if not problems and self._policy is None:
            llm = with_parameters(config.llm, pairs, self.names.catalogue)
            if llm is not None:
                return msgspec.structs.replace(config, llm=llm, _overrides=overrides)
            selecting, parameters = separated(pairs)
            llm = self._with_selected(config, selecting) if selecting else None
            llm = with_parameters(llm, parameters, self.names.catalogue) if llm is not None else None
            if llm is not None:
                warnings = _warnings(config.warnings, ()) if config.warnings else ()
                return msgspec.structs.replace(config, llm=llm, warnings=warnings, _overrides=overrides)
        problems += unknown_providers(pairs, self.names.providers, self.names.catalogue)
        if has_errors(problems):
            raise ConfigError(problems)
        view = self._resolved(overrides)
        enforced: Iterable[Problem] = ()
        if self._policy is not None:
            enforced = self._policy.overridden(view.selection, rows(overrides[-1]))
        found = (*problems, *enforced, *view.selection.problems, *view.resolved.problems)
        warnings = _warnings(config.warnings, found) if found or config.warnings else ()
        return msgspec.structs.replace(config, llm=view.resolved.llm, warnings=warnings, _overrides=overrides)

    def _with_selected(self, config: Config, selecting: Pairs) -> LLMConfig | None:
        """The LLM after an override that selects a model, without parameters; None if it must be resolved with them.

        It is kept: a worker's executions select the same few models again and again.
        """
        if config._overrides is not self.overrides:
            return None
        if selecting in self._selected:
            return self._selected[selecting]
        llm: LLMConfig | None = None
        if not unknown_providers(selecting, self.names.providers, self.names.catalogue):
            view = self._resolved((*self.overrides, selecting))
            llm = view.resolved.llm if not (view.selection.problems or view.resolved.problems) else None
        if len(self._selected) < _MOST_KEPT:
            self._selected[selecting] = llm
        return llm

    def explain(self, config: Config, key: str) -> Explanation:
        """Why `key` has its value in `config`. Raises `KeyError` for a key that does not exist."""
        value = config.value(key)
        if key.startswith("llm."):
            view = self._view_of(config)
            return explain_llm(view.selection, view.resolved, key, value)
        history = History(self.layers, self.winners, self._passed_over, self._is_unused_redis(key))
        if key.startswith("apps.") and config._overrides:
            below = msgspec.structs.replace(config, _overrides=(), _applications=self._applications)
            return explain_overridden(history, key, value, below.value(key), config._overrides)
        return history.explain(key, value)

    def _view_of(self, config: Config) -> _View:
        return self._view if config._overrides == self.overrides else self._resolved(config._overrides)

    def fallback_keys(self, config: Config) -> tuple[Origin | None, ...]:
        """The origin of the API key of each of `llm.fallbacks`; None for one without a key."""
        return self._view_of(config).resolved.fallback_keys

    def meaning(self, config: Config, alias: str) -> dict[str, str | None]:
        """The model that an alias means, by provider. Raises `KeyError` for an alias that does not exist."""
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
        """A grant for each credential that a project would send elsewhere, for any provider in force."""
        found: list[CredentialGrant] = []
        for provider in self.names.providers:
            entry = Entry(provider, override_origin("llm.provider"))
            layer = Layer("execution", "override", "loaded", {"llm.provider": entry})
            found += resolve(self.selection.with_override(layer), self.today, opener=None).withheld
        found += (
            CredentialGrant(key, self.winners[key].origin.source, credential_endpoint(key, self.winners, self.schema))
            for key in self._passed_over
        )
        return tuple(dict.fromkeys(found))


def _glance(entry: Entry, secrets: Mapping[Reference, Secret | Unavailable]) -> Any:
    """An entry's value for showing, without reading anything."""
    value = plain_value(entry)
    if type(value) is dict:
        return FrozenMap({name: glance(part, secrets) for name, part in value.items() if part is not None})
    return glance(value, secrets)


def _warnings(before: tuple[Problem, ...], found: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """The warnings after an override: replaces those about `llm`, keeps the others. Raises `ConfigError`."""
    errors = [problem for problem in found if problem.severity == "error"]
    if errors:
        raise ConfigError(errors)
    return (*(problem for problem in before if not problem.key.startswith("llm.")), *found)


def _alias_value(entry: Entry) -> Any:
    value = plain_value(entry)
    return FrozenMap(value) if isinstance(value, dict) else value
