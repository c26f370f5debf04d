"""`Config`: the frozen snapshot that workers read."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, Protocol, TypeVar, cast

import msgspec

from ..core.problems import Problem
from ..core.provenance import Change, Explanation, Origin
from ..core.secret import without_password
from ..files.paths import expanded
from ..settings.built_in_sections import BackendConfig, LoggingConfig, RedisConfig, SandboxConfig, TemporalConfig
from ..settings.declarations import (
    CHILDREN,
    CORE_PROVIDERS,
    MERGED_FIELDS,
    PROVIDER_FIELDS,
    SETTINGS,
    Mode,
    Setting,
)
from ..settings.frozen import Frozen
from ..settings.schema import Schema
from ..settings.unknown import unknown_key
from .app_values import NONE, Applications
from .sections import LLMConfig, ProviderConfig, plain

T = TypeVar("T")

# The resolved model: effective values that are not keys.
RESOLVED = ("llm.alias", "llm.model_name", "llm.model_id")
# Every key except the aliases, with the section (or `providers.<name>`) of its value, and the field there.
_PLACES = {key: (key.rpartition(".")[0], key.rpartition(".")[2]) for key in (*SETTINGS, *RESOLVED)}
_provider_values = attrgetter(*PROVIDER_FIELDS)


def _getter(fields: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """A function that returns the values of these fields."""
    getter = attrgetter(*fields)
    return getter if len(fields) > 1 else lambda section: (getter(section),)


def _by_section() -> Iterator[tuple[str, tuple[str, ...], Callable[[Any], tuple[Any, ...]]]]:
    for owner, rows in itertools.groupby(_PLACES.items(), lambda row: row[1][0]):
        keys, places = zip(*rows, strict=True)
        yield owner, keys, _getter([field for _, field in places])


# The same by section, in the order of the keys, and how to read a section's values.
_SECTIONS = tuple(_by_section())
_FALLBACKS = "llm.fallbacks"


class Deriver(Protocol):
    """The interface to what a Config was derived from, for everything that is not a plain value."""

    def override(self, config: Config, values: Mapping[str, Any]) -> Config: ...

    def explain(self, config: Config, key: str) -> Explanation: ...

    def meaning(self, config: Config, alias: str) -> dict[str, str | None]: ...

    def fallback_keys(self, config: Config) -> tuple[Origin | None, ...]: ...


class Config(Frozen, frozen=True, eq=False, kw_only=True, repr_omit_defaults=True):
    """A whole configuration, frozen. Take it once per execution and keep it as long as you like.

    `redis` is None in local mode. `aliases` has each alias as it was written: a model string, or a mapping
    provider → model string. `generation` counts the changes of a LiveConfig, from 1. `warnings` are the problems that
    did not prevent loading. Two Configs are equal when all effective values and all secrets are.
    """

    mode: Mode
    llm: LLMConfig
    providers: Mapping[str, ProviderConfig]
    aliases: Mapping[str, str | Mapping[str, str]]
    temporal: TemporalConfig
    backend: BackendConfig
    sandbox: SandboxConfig
    redis: RedisConfig | None
    logging: LoggingConfig
    locked: tuple[str, ...]
    enforced: tuple[str, ...]
    generation: int
    warnings: tuple[Problem, ...]
    _deriver: Deriver
    _applications: Applications = NONE
    _overrides: tuple[Any, ...] = ()

    @classmethod
    def load_from_env(cls) -> Config:
        """Calls `load()`, with `backend.api_key` required in cloud mode, like the seed's worker.

        Raises `ConfigError` with every problem.
        """
        from .. import load_for_worker

        return load_for_worker()

    def is_local_mode(self) -> bool:
        """Whether the mode is `local`."""
        return self.mode == "local"

    def get_sandbox_config(self) -> dict[str, str]:
        """The sandbox in the form that the seed's worker uses.

        `{"type": "filesystem", "root_dir": …}`, with `~` expanded, or `{"type": "daytona"[, "snapshot_id": …]}`.
        """
        sandbox = self.sandbox
        if sandbox.type == "filesystem":
            return {"type": "filesystem", "root_dir": expanded(sandbox.root_dir or ".")}
        if sandbox.snapshot_id is None:
            return {"type": "daytona"}
        return {"type": "daytona", "snapshot_id": sandbox.snapshot_id}

    def app(self, settings: type[T]) -> T:
        """An application's own settings: an instance of its `@app(…)` class with the effective values.

        Raises `KeyError` when this Config was loaded without it (`apps=[…]`), `TypeError` for another class.
        """
        found: T | None = self._applications.structs.get(settings)
        if found is None:
            from ..settings.apps import app_of

            name = app_of(settings).name
            raise KeyError(f"apps.{name} was not loaded: pass apps=[{settings.__name__}]")
        return found

    @property
    def schema(self) -> Schema:
        """Every setting of this Config, including those of its applications."""
        return self._applications.schema

    @property
    def application_keys(self) -> tuple[str, ...]:
        """The keys below `apps` of the registered applications that have a value."""
        return tuple(self._applications.values)

    @property
    def unregistered(self) -> tuple[str, ...]:
        """The keys below `apps` of applications that are not registered."""
        return tuple(self._applications.unregistered)

    @property
    def fingerprint(self) -> str:
        """A digest of 32 hex digits of every effective value and the resolved model, without secrets."""
        return fingerprint_of(self, self._values())

    def value(self, key: str) -> Any:
        """The effective value of a key, `llm.model_name`, `llm.model_id` or `llm.alias`; None when not set.

        Raises `KeyError`, with the nearest key, for one that does not exist.
        """
        place = _PLACES.get(key)
        if place is None:
            if key.startswith("apps."):
                return self._applications.value(key)
            setting = self.schema.find(key)
            if setting is not None and key.startswith("aliases."):
                return self.aliases.get(key.removeprefix("aliases."))
            owner, _, field = key.rpartition(".")
            if setting is None or owner.removeprefix("providers.") not in self.providers:
                raise unknown_key(key, self.schema)
            place = owner, field
        return _field(_section(self, place[0]), place[1])

    def effective(self) -> Iterator[tuple[str, Any]]:
        """Every key with its effective value, the resolved model's included, in the settings' order."""
        return iter(self._values().items())

    def _values(self) -> dict[str, Any]:
        """The effective values by key."""
        found: dict[str, Any] = {}
        for name, keys, values_of in _SECTIONS:
            part = _section(self, name)
            found |= dict.fromkeys(keys) if part is None else zip(keys, values_of(part), strict=True)
        for key, (name, field) in _SPECIAL_PLACES:
            found[key] = _field(_section(self, name), field)
        found |= self._applications.values
        for provider, settings in self.providers.items():
            if provider not in CORE_PROVIDERS:
                # No base_url at all means that a file took the packaged one away.
                found |= {
                    f"providers.{provider}.{field}": value if field not in MERGED_FIELDS else value or None
                    for field, value in zip(PROVIDER_FIELDS, _provider_values(settings), strict=True)
                    if value is not None or field == "base_url"
                }
        found |= {f"aliases.{name}": target for name, target in self.aliases.items()}
        return found

    def to_dict(self) -> dict[str, Any]:
        """Every effective value as nested dicts and lists, for `json.dumps`, a web framework or a test.

        The keys are those of a configuration file, with `llm.alias`, `llm.model_name` and `llm.model_id` beside
        `llm.model`. Secrets are masked, and a section that is not in this mode (`redis` in local mode) is None.
        """
        sections = CHILDREN[""].values()
        absent: dict[str, Any] = {name: None for name in sections if getattr(self, name, self) is None}
        return nested((key, value) for key, value in self.effective() if _section_of(key) not in absent) | absent

    def explain(self, key: str) -> Explanation:
        """Why a key has its value: winner, losers, alias hops.

        Raises `KeyError`, with the nearest key, for one that does not exist.
        """
        return self._deriver.explain(self, key)

    def meaning(self, alias: str) -> dict[str, str | None]:
        """The model that an alias means, by provider: a model's name, or None where it has none.

        The providers are anthropic, openai and ollama, the one in force, the declared ones, and those in the alias's
        mapping.

        Raises `KeyError` for an alias that does not exist.
        """
        return self._deriver.meaning(self, alias)

    def fallback_keys(self) -> tuple[Origin | None, ...]:
        """The origin of the API key of each of `llm.fallbacks`; None for one without a key."""
        return self._deriver.fallback_keys(self) if self.llm.fallbacks else ()

    def override(self, values: Mapping[str, Any]) -> Config:
        """A new Config with `values` as one more layer on top, dotted or nested.

        Allowed keys are `llm.*`, and applications' settings that are declared `per_execution=True`.

        Provider, alias and credential are resolved again, and all checks repeated. None means no value, an empty string
        counts as unset. The generation stays the same. Raises `ConfigError`.
        """
        return self._deriver.override(self, values)

    def diff(self, new: Config) -> tuple[Change, ...]:
        """The effective values that differ in `new`, secrets included (masked)."""
        return () if self == new else changes_between(self, self._values(), new, new._values())

    def _parts(self) -> tuple[Any, ...]:
        values = (self.mode, self.llm, self.providers, self.aliases, self.temporal, self.backend, self.sandbox)
        return (*values, self.redis, self.logging, self.locked, self.enforced, self._applications)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Config):
            return NotImplemented
        return self is other or self._parts() == other._parts()

    def __ne__(self, other: object) -> bool:
        # The base class's method would compare identities.
        return not self == other

    def __hash__(self) -> int:
        return hash(self._parts())

    def __repr__(self) -> str:
        return f"Config(mode={self.mode!r}, llm={self.llm!r}, generation={self.generation}, …)"


def nested(values: Iterable[tuple[str, Any]], *, reveal: bool = False) -> dict[str, Any]:
    """Keys and values, nested as in a configuration file; secrets are masked unless `reveal`."""
    tree: dict[str, Any] = {}
    for key, value in values:
        section, _, name = key.partition(".")
        # An alias's name may contain dots: it is one name.
        parts = [section, name] if section == "aliases" else key.split(".")
        below = tree
        for part in parts[:-1]:
            below = below.setdefault(part, {})
        below[parts[-1]] = plain(value, reveal=reveal)
    return tree


def _section(config: Config, name: str) -> Any:
    """What has the fields of a section, of `providers.<name>`, or ("") of the top; None where there is none."""
    if name.startswith("providers."):
        return config.providers[name.removeprefix("providers.")]
    return getattr(config, name) if name else config


# The keys whose effective value is not their attribute, with their places.
_SPECIAL_PLACES = tuple((key, place) for key, place in _PLACES.items() if place[1] in MERGED_FIELDS | {"fallbacks"})


def _field(section: Any, name: str) -> Any:
    """The value of a field of a section: None for a section that is None, and for a mapping that is empty."""
    value = None if section is None else getattr(section, name)
    if name in MERGED_FIELDS:
        return value or None
    if name == "fallbacks" and value is not None:
        return tuple(fallback.model for fallback in value) or None
    return value


def fingerprint_of(config: Config, values: Mapping[str, Any]) -> str:
    """A Config's fingerprint, by its effective values."""
    import hashlib

    plain_ones = {key: value for key, value in values.items() if not _holds_secrets(config.schema, key)}
    fallbacks = config.llm.fallbacks
    plain_ones[_FALLBACKS] = [(llm.provider, llm.model, llm.model_id, llm.base_url) for llm in fallbacks]
    text = msgspec.json.encode(plain_ones, enc_hook=dict, order="deterministic")
    if config._applications.passwords:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - of this module
        text = without_password(text.decode()).encode()
    return hashlib.sha256(text).hexdigest()[:32]


@functools.lru_cache(maxsize=4096)  # the same keys for each Config of a worker
def _holds_secrets(schema: Schema, key: str) -> bool:
    """Whether a key's value is a secret, or contains one."""
    setting = schema.find(key)
    holds_some = key.startswith("providers.") and key.endswith(".headers")
    return setting is not None and (setting.is_secret or holds_some)


def changes_between(
    old: Config, before: Mapping[str, Any], new: Config, after: Mapping[str, Any]
) -> tuple[Change, ...]:
    """The effective values that differ; `before` and `after` are all those of the two Configs."""
    pairs = ((key, before.get(key, _ABSENT), after.get(key, _ABSENT)) for key in {**before, **after})
    differing = [key for key, was, now in pairs if was is not now and was != now]
    if _FALLBACKS not in differing and old.llm.fallbacks != new.llm.fallbacks:
        differing.append(_FALLBACKS)
    values = ((key, _value(old, before, key), _value(new, after, key)) for key in differing)
    rows = [(key, *_two(old, new, was, now, key)) for key, was, now in values]
    return tuple(
        Change(
            key=key,
            old=was,
            new=now,
            old_origin=_origin(old, key),
            new_origin=_origin(new, key),
            restart_required=key not in RESOLVED and cast(Setting, new.schema.find(key)).reload == "restart",
        )
        for key, was, now in rows
        if was != now
    )


_ABSENT: Final = object()  # unlike every value


def _value(config: Config, values: Mapping[str, Any], key: str) -> Any:
    """A key's value; None for one that the Config does not have. Of an application's mapping, the mapping."""
    if key in values:
        return values[key]
    try:
        return config.value(key)
    except KeyError:
        return None


def _two(old: Config, new: Config, before: Any, after: Any, key: str) -> tuple[Any, Any]:
    """A key's two values. Fallbacks with the same names and other models are shown with their models."""
    if key != _FALLBACKS or before != after or old.llm.fallbacks == new.llm.fallbacks:
        return before, after
    return _meant(old.llm.fallbacks), _meant(new.llm.fallbacks)


def _meant(fallbacks: tuple[LLMConfig, ...]) -> tuple[str, ...]:
    return tuple(f"{llm.model} → {llm.model_id} at {llm.base_url}" for llm in fallbacks)


def _origin(config: Config, key: str) -> Origin | None:
    try:
        return config.explain(key).origin
    except KeyError:
        return None


def _section_of(key: str) -> str:
    return key.partition(".")[0]
