"""Random configurations in which the site file and a store enforce random keys: nothing above them changes one.

The layers are built in memory and judged as a load judges them:

    python fuzz/enforced.py --inputs 100000 --seed 1
"""
# ruff: noqa: RUF012 - the defaults of an application's class are frozen

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from stigmer_config import Config, ConfigError, Secret, app, setting
from stigmer_config.core.layer_stack import LayerStack
from stigmer_config.core.provenance import Layer, LayerName, Origin, plain_value
from stigmer_config.loading.load import Loaded, load_layers
from stigmer_config.loading.request import Request
from stigmer_config.settings.apps import schema_of, with_defaults
from stigmer_config.sources.defaults import defaults_layer
from stigmer_config.sources.flags import from_command_line
from stigmer_config.sources.mapping import from_mapping
from stigmer_config.trust import grants
from stigmer_config.trust.grants import Trust
from tests.support.noninterference import ENVIRONMENT
from tests.support.worlds import revealed

PROVIDERS = ("anthropic", "ollama", "openai", "groq", "openrouter", "corp", "lab")
DECLARED = {"corp": "openai", "lab": "anthropic"}
ALIASES = ("fast", "balanced", "team", "mine", "gpt-4o", "claude-next")
MODELS = (
    *(*ALIASES, "llama3.2:3b", "x:1b", "gpt-oss:20b", "big:cloud", "plain", "o3", "claude-of-mine", "gpt-5"),
    *("openai:gpt-5-mini", "anthropic:claude-opus-4.5", "ollama:x", "groq:llama", "corp:coder", "lab:z", "GROQ:fast"),
    *("claude-sonnet-4.5", "claude-opus-5-5", "openrouter:z/free", "gpt-6-luna"),
)
URLS = (
    *("https://api.anthropic.com", "https://api.openai.com/v1", "http://localhost:11434", "https://gateway.example"),
    *("https://gateway.example:444/v1", "http://gpu:11434"),
)
HEADERS = ("X-Team", "X-Auth", "X-Trace")
PARAMETERS: dict[str, Sequence[Any]] = {"top_p": (0.5, 0.9, None), "seed": (1, 2), "logit_bias": ({"1": 2}, {})}
OTHERS: dict[str, Sequence[Any]] = {
    "temporal.address": ("a.example:7233", "b.example:7233"),
    "temporal.namespace": ("one", "two"),
    "temporal.tls": (True, False, None),
    "temporal.api_key": ("temporal-key-1", "temporal-key-2", None),
    "backend.endpoint": ("a.example:1", "b.example:2"),
    "backend.api_key": ("backend-key-1", "backend-key-2", None),
    "sandbox.type": ("filesystem", "daytona"),
    "sandbox.root_dir": ("/a", "/b", None),
    "redis.host": ("r1", "r2"),
    "redis.port": (1, 2),
    "redis.password": ("redis-key-1", "redis-key-2", None),
    "logging.level": ("debug", "error"),
    "apps.store.url": ("db://a/x", "db://b/x"),
    "apps.store.level": (1, 2, 3),
    "apps.store.password": ("store-key-1", "store-key-2", None),
    "apps.store.labels": ({"a": 1}, {"a": 2, "b": 1}),
    "apps.store.labels.a": (1, 2),
    "apps.other.level": (1, 2),
    "locked": (["llm.timeout"], ["sandbox"]),
}


@app("store")
class Store:
    url: Annotated[str, setting(access="open", per_execution=True)] = "db://default/x"
    level: Annotated[int, setting(access="open", per_execution=True)] = 0
    password: Annotated[Secret | None, setting(bound_to="url")] = None
    labels: Annotated[dict[str, int], setting(access="open", per_execution=True)] = {}


SCHEMA = schema_of([Store])
LISTS = (
    *("llm", "providers", "aliases", "temporal", "backend", "sandbox", "redis", "apps", "apps.store", "logging"),
    *(f"providers.{provider}" for provider in PROVIDERS),
)


@dataclasses.dataclass
class Example:
    """What each layer says, lowest first, how far the project is trusted, and the overrides, one on the other."""

    mode: str
    values: dict[str, dict[str, Any]]
    anthropic_key: bool
    trust: str
    overrides: list[dict[str, Any]]

    def stack(self, names: Sequence[str]) -> LayerStack:
        """The layers of these names above the packaged defaults."""
        found = [with_defaults(defaults_layer(self.mode), SCHEMA)]
        return LayerStack([*found, *(self._layer(name) for name in names)])

    def _layer(self, name: Any) -> Layer:
        given = self.values[name]
        entries, problems = from_mapping(given, name, lambda key: Origin(name, f"{name}:{key}"), SCHEMA)
        assert not [problem for problem in problems if problem.severity == "error"], problems
        implied = None
        if name == "flags" and self.anthropic_key:
            implied = from_command_line([], "flags-anthropic-key")[0].implied_provider
        source = "https://store.example/prefix" if name == "etcd" else f"/{name}"
        return Layer(name, source, "loaded" if entries else "empty", entries, implied_provider=implied)

    def load(self, names: Sequence[str]) -> Loaded:
        """The load of these layers, with the project trusted as the example says."""
        stack = self.stack(names)
        project = stack.project
        if project is None or self.trust == "untrusted":
            return load_layers(Request(ENVIRONMENT, trust=grants.NONE, schema=SCHEMA), stack)
        covered = frozenset(grants.covered(project))
        loaded = load_layers(Request(ENVIRONMENT, trust=Trust(covered), schema=SCHEMA), stack)
        if self.trust == "trusted":
            return loaded
        with_credentials = Trust(covered, credentials=frozenset(loaded.derivation.withheld_credentials()))
        return load_layers(Request(ENVIRONMENT, trust=with_credentials, schema=SCHEMA), stack)

    def described(self) -> str:
        rows = [f"mode {self.mode}, project {self.trust}, overrides {self.overrides}"]
        rows += ["--anthropic-key"] if self.anthropic_key else []
        return "\n".join([*rows, *(f"{name}: {values}" for name, values in self.values.items() if values)])


LAYERS: tuple[LayerName, ...] = ("vendor", "site", "etcd", "user", "project", "env", "flags")


def example(rng: random.Random) -> Example:
    declared = {provider: rng.choice(("site", "user", "")) for provider in DECLARED}
    known = [provider for provider in PROVIDERS if declared.get(provider, "site")]
    share = rng.choice((0.04, 0.1, 0.2))
    values: dict[str, dict[str, Any]] = {name: _values(rng, name, known, share) for name in LAYERS}
    for provider, name in declared.items():
        if name:
            values[name][f"providers.{provider}.kind"] = DECLARED[provider]
            values[name].setdefault(f"providers.{provider}.base_url", "https://gateway.example")
    for name in ("site", "etcd"):
        if values[name] and (name == "site" or rng.random() < 0.5):
            values[name]["enforced"] = _listed(rng, values[name])
    overrides = [_override(rng) for _ in range(rng.randint(0, 3))]
    trust = rng.choice(("untrusted", "trusted", "with credentials"))
    return Example(rng.choice(("local", "cloud")), values, rng.random() < 0.15, trust, overrides)


def _listed(rng: random.Random, values: Mapping[str, Any]) -> list[str]:
    keys = [key for key in values if not key.startswith("apps.store.labels.")]
    sections = [name for name in LISTS if any(key.startswith(f"{name}.") for key in keys)]
    found = [rng.choice(keys) for _ in range(rng.randint(1, 4))]
    found += [rng.choice(sections)] if sections and rng.random() < 0.3 else []
    return list(dict.fromkeys(key for key in found if key != "locked"))[:4] or ["llm"]


def _values(rng: random.Random, name: LayerName, known: Sequence[str], share: float) -> dict[str, Any]:
    if name == "vendor":
        keys = {f"providers.{provider}.api_key": f"vendor-{provider}" for provider in ("anthropic", "openai", "groq")}
        addresses = {f"providers.{provider}.base_url": rng.choice(URLS) for provider in ("anthropic", "openai")}
        return {key: value for key, value in keys.items() if rng.random() < 0.7} | {
            key: value for key, value in addresses.items() if rng.random() < 0.1
        }
    if rng.random() < 0.15 and name != "site":
        return {}
    found: dict[str, Any] = {}
    for section in ("llm", *(f"providers.{provider}" for provider in known)):
        for field, value in _fields(rng, name, section).items():
            if rng.random() < share * (1.5 if section == "llm" else 0.7):
                found[f"{section}.{field}"] = value
    if "llm.provider" in found and rng.random() < 0.9:  # both in one layer are mostly a contradiction
        found.pop("llm.model", None)
    for number, alias in enumerate(ALIASES):
        if rng.random() < share:
            found[f"aliases.{alias}"] = _target(rng, (*ALIASES[number + 1 :], *MODELS[len(ALIASES) :]))
    for key, choices in OTHERS.items():
        if rng.random() < share:
            found[key] = rng.choice(choices)
    if name == "project":
        found = {key: value for key, value in found.items() if not _is_forbidden(key)}
    rows = list(found.items())
    rng.shuffle(rows)
    return dict(rows)


def _is_forbidden(key: str) -> bool:
    return key.endswith((".api_key", ".password", ".headers")) or key == "locked"


def _fields(rng: random.Random, name: str, section: str) -> dict[str, Any]:
    provider = section.removeprefix("providers.")
    found: dict[str, Any] = {
        "model": rng.choice(MODELS) if section == "llm" else rng.choice((f"{provider}:x", f"{provider}:y", "team")),
        "base_url": rng.choice(URLS) if provider in DECLARED else rng.choice((*URLS, None)),
        "api_key": rng.choice((f"{name}-{section}-key", f"{name}-{section}-key", None)),
        "max_tokens": rng.choice((5, 6, None)),
        "temperature": rng.choice((0.0, 0.5, 1.0, None)),
        "num_ctx": rng.choice((4096, 8192, None)),
        "reasoning_effort": rng.choice(("none", "none", "low", None)),
        "timeout": rng.choice((3.0, 9.0, None)),
        "max_retries": rng.choice((1, 2, None)),
        "parameters": {key: rng.choice(some) for key, some in PARAMETERS.items() if rng.random() < 0.5},
    }
    if section == "llm":
        found["provider"] = rng.choice((*PROVIDERS[:5], "auto"))
        found["fallbacks"] = rng.choice((None, [], [rng.choice(MODELS)], rng.sample(MODELS, 2)))
    else:
        names = {header: f"{name}-{header}" for header in HEADERS if rng.random() < 0.5}
        found["headers"] = {header: rng.choice((text, text, None)) for header, text in names.items()}
    return found


def _target(rng: random.Random, targets: Sequence[str]) -> Any:
    if rng.random() < 0.6:
        return rng.choice(targets)
    return {provider: f"{provider}:{rng.choice('xyz')}" for provider in rng.sample(PROVIDERS[:5], rng.randint(2, 5))}


def _override(rng: random.Random) -> dict[str, Any]:
    fields = {f"llm.{field}": value for field, value in _fields(rng, "override", "llm").items()}
    own = [key for key in OTHERS if key.startswith("apps.store.") and key != "apps.store.password"]
    apps = {key: rng.choice(OTHERS[key]) for key in own}
    return {key: value for key, value in {**fields, **apps}.items() if rng.random() < 0.08}


# -- the property ------------------------------------------------------------------------------------------------------


def effective(loaded: Loaded, config: Config, key: str) -> dict[str, Any]:
    """An enforced key's effective value, what it resolves to, and where a credential is sent."""
    if key.startswith("apps."):
        found = {one: revealed(value) for one, value in config.effective() if one == key or one.startswith(f"{key}.")}
        return found | ({"address": config.app(Store).url} if key == "apps.store.password" else {})
    found = {key: _revealed(config.value(key))}
    if key in ("llm.model", "llm.provider"):
        found["model"] = (config.llm.provider, config.llm.model_id) if key == "llm.model" else config.llm.provider
        found["fallbacks"] = [(one.provider, one.model, one.model_id) for one in config.llm.fallbacks]
    if key == "llm.fallbacks":
        found[key] = [(one.provider, one.model, one.model_id) for one in config.llm.fallbacks]
    if key == "llm.api_key":
        found["address"] = (config.llm.provider, config.llm.base_url)
    section, _, rest = key.partition(".")
    if section == "providers":
        provider, field = rest.split(".")
        found["used"] = _used(loaded, config, provider, field)
        if field in ("api_key", "headers"):
            found["address"] = _used(loaded, config, provider, "base_url")
    if section == "aliases":
        found["meaning"] = {one: config.meaning(rest).get(one) for one in PROVIDERS[:3]}
    addresses = {"backend.api_key": "backend.endpoint", "temporal.api_key": "temporal.address"}
    if key in addresses:
        found["address"] = config.value(addresses[key])
    if key == "redis.password":
        found["address"] = (config.value("redis.host"), config.value("redis.port"))
    return found


def _revealed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: revealed(part) for name, part in value.items()}
    return revealed(value)


def _used(loaded: Loaded, config: Config, provider: str, field: str) -> Any:
    """What a provider uses, whichever is in force."""
    derivation = loaded.derivation
    selection = derivation._resolved(config._overrides).selection
    if field == "base_url":
        return selection.endpoint(provider)
    if field == "api_key":
        candidates = selection.candidates.get(provider, ())
        return revealed(candidates[-1].entry.value) if candidates else None
    entry = selection.of(provider).get(field)
    value = _revealed(plain_value(entry)) if entry is not None else None
    if isinstance(value, dict):  # null takes a part out
        return {name: part for name, part in value.items() if part is not None}
    return value


def expectations(found: Example) -> dict[str, dict[str, Any]]:
    """Each enforced key, with what it is in the layers up to the one that enforces it."""
    expected: dict[str, dict[str, Any]] = {}
    for name in ("site", "etcd"):
        alone = found.load(LAYERS[: LAYERS.index(name) + 1])
        listed, layer = found.values[name].get("enforced", ()), alone.layers.find(name)
        assert layer is not None
        for key in layer.entries:  # without those that the site file enforces against
            is_listed = key != "enforced" and any(key == one or key.startswith(f"{one}.") for one in listed)
            if is_listed and _exists(alone.config, key):
                expected.setdefault(key, effective(alone, alone.config, key))
    return expected


def _exists(config: Config, key: str) -> bool:
    """Whether the layers so far know a key: not those of a provider that they do not declare."""
    return not key.startswith("providers.") or key.split(".")[1] in config.providers


def check(found: Example) -> dict[str, int]:
    """Asserts the property, and counts what it was about."""
    counts = {"refused entries": 0, "overridden": 0, "overrides refused": 0, "with errors": 0}
    expected = expectations(found)
    loaded = found.load(LAYERS)
    counts["refused entries"] = sum(r.reason == "enforced" for layer in loaded.layers for r in layer.refused.values())
    counts["with errors"] = bool(loaded.errors)
    config = loaded.config
    for values in ({}, *found.overrides):
        if values:
            try:
                config = config.override(values)
            except ConfigError as error:
                counts["overrides refused"] += any(one.code == "enforced-key" for one in error.problems)
                continue
            counts["overridden"] += 1
        for key, wanted in expected.items():
            got = effective(loaded, config, key)
            assert got == wanted, f"{key} after {values or 'the load'}: {got} instead of {wanted}"
    return counts


def smallest(found: Example) -> Example:
    """The example without what is not needed to fail."""
    while True:
        for smaller in _smaller(found):
            try:
                check(smaller)
            except AssertionError:
                found = smaller
                break
        else:
            return found


def _smaller(found: Example) -> Any:
    for number in range(len(found.overrides)):
        yield dataclasses.replace(found, overrides=found.overrides[:number] + found.overrides[number + 1 :])
    for name, values in found.values.items():
        for key in values:
            less = {one: value for one, value in values.items() if one != key}
            yield dataclasses.replace(found, values={**found.values, name: less})
    for number, values in enumerate(found.overrides):
        for key in values:
            less = {one: value for one, value in values.items() if one != key}
            others = [*found.overrides[:number], less, *found.overrides[number + 1 :]]
            yield dataclasses.replace(found, overrides=others)
    if found.anthropic_key:
        yield dataclasses.replace(found, anthropic_key=False)


def run(inputs: int, seed: int) -> str:
    """Checks that many configurations. Raises `AssertionError` with the smallest form of the one that fails."""
    began = time.monotonic()
    totals: dict[str, int] = {}
    for number in range(inputs):
        found = example(random.Random(f"{seed}-{number}"))
        try:
            counts = check(found)
        except AssertionError:
            found = smallest(found)
            try:
                check(found)
            except AssertionError as error:
                raise AssertionError(f"seed {seed}-{number}: {error}\n{found.described()}") from None
            raise
        for name, count in counts.items():
            totals[name] = totals.get(name, 0) + count
    return f"{inputs} configurations in {time.monotonic() - began:.0f} s: {totals}"
