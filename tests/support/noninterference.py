"""Random configurations in which a project is untrusted, partly granted, or granted without credentials.

The layers are built in memory and judged as a load judges them, which makes a hundred thousand of them affordable:

    python fuzz/noninterference.py --inputs 100000 --seed 1
"""

from __future__ import annotations

import dataclasses
import datetime
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from stigmer_config import Config, ConfigError, Environment, LLMConfig, Secret
from stigmer_config.core.layer_stack import LayerStack
from stigmer_config.core.provenance import Layer, LayerName, Origin, plain_value
from stigmer_config.llm.provider_selection import ProviderSelection
from stigmer_config.llm.resolve import resolve
from stigmer_config.loading.load import Loaded, load_layers
from stigmer_config.loading.request import Request
from stigmer_config.settings.packaged_providers import is_router
from stigmer_config.settings.urls import origin_of
from stigmer_config.sources.defaults import defaults_layer
from stigmer_config.sources.mapping import from_mapping
from stigmer_config.trust import grants
from stigmer_config.trust.grants import Trust

# The three, two that are packaged, a router, and two that trusted layers may declare.
PROVIDERS = ("anthropic", "ollama", "openai", "groq", "openrouter", "corp", "lab")
DECLARED = {"corp": ("openai", "https://corp.example/v1"), "lab": ("anthropic", "http://lab:8000")}
ALIASES = ("mine", "my-tune", "cheap", "fast", "gpt-7", "gpt-4o", "claude-next", "team")
MODELS = (
    *(
        *ALIASES,
        "balanced",
        "openai:gpt-5-mini",
        "anthropic:claude-opus-4.5",
        "ollama:x",
        "x:1b",
        "o3",
        "claude-of-mine",
    ),
    *("groq:llama", "openrouter:z/free", "corp:coder", "lab:claude-x", "GROQ:fast", "evil:m"),
    *("gpt-oss:20b", "q:cloud", "ollama:z-cloud", "plain", "ft:gpt-4o:me", "claude-sonnet-4.5", "OPENAI:gpt-4o"),
)
URLS = (
    *("https://api.anthropic.com", "https://api.openai.com/v1", "http://localhost:11434", "https://evil.example"),
    *("https://corp.example/v1", "https://corp.example:444", "http://gpu:11434"),
)
DAY = datetime.date(2026, 11, 1)
ENVIRONMENT = Environment(
    {}, cwd=Path("/w"), home=Path("/h"), uid=0, today=DAY, site_dir=Path("/s"), state_dir=Path("/t")
)
OVERRIDES: tuple[Mapping[str, Any], ...] = (
    *({"llm.provider": provider} for provider in (*PROVIDERS, "auto")),
    *({"llm.model": model} for model in ("mine", "cheap", "gpt-7", "openai:gpt-4o", "x:1b", "corp:coder", "groq:m")),
    {"llm.provider": "openai", "llm.base_url": "https://corp.example/v1", "llm.api_key": "own"},
    *({"llm.fallbacks": [model]} for model in ("mine", "cheap", "groq:m", "corp:coder", "openrouter:z/free")),
)

# What decides who is paid and who reads along: the provider, its key, its endpoint, its headers, and behind a router
# the model.
Destination = tuple[str, str | None, str | None, tuple[tuple[str, str], ...], str]


def destination_of(llm: LLMConfig) -> Destination:
    key = llm.api_key
    headers = tuple(sorted((name, value.reveal()) for name, value in llm.headers.items()))
    model = llm.model_id if is_router(llm.provider) else ""
    return llm.provider, key.reveal() if isinstance(key, Secret) else None, llm.base_url, headers, model


def destination(config: Config) -> Destination:
    return destination_of(config.llm)


def destinations(config: Config) -> set[Destination]:
    """Those of the model in force and of its fallbacks."""
    return {destination_of(llm) for llm in (config.llm, *config.llm.fallbacks)}


@dataclasses.dataclass(frozen=True)
class Example:
    """The layers of one load, the project's as it would be written, and the keys of it that the user granted."""

    mode: str
    layers: LayerStack
    project: dict[str, Any]
    granted: frozenset[str]

    def load(self, project: Mapping[str, Any], trust: Trust) -> Loaded:
        """The load with this in the project's file, and this trust."""
        return load_layers(Request(ENVIRONMENT, trust=trust), self.with_project(project))

    def with_project(self, project: Mapping[str, Any]) -> LayerStack:
        rank = next(n for n, layer in enumerate(self.layers) if layer.name == "env")
        return LayerStack([*self.layers[:rank], _layer("project", project), *self.layers[rank:]])


def example(rng: random.Random) -> Example:
    mode = rng.choice(("local", "cloud"))
    stack = [defaults_layer(mode)]
    declared = [name for name in DECLARED if rng.random() < 0.7]
    for name in ("vendor", "site", "user", "env", "flags"):
        trusted: LayerName = name
        values = _values(rng, trusted, declared) if rng.random() < 0.6 else {}
        if name == "site":
            for provider in declared:
                kind, url = DECLARED[provider]
                values |= {f"providers.{provider}.kind": kind, f"providers.{provider}.base_url": url}
        stack.append(_layer(trusted, values))
    project = _values(rng, "project", declared)
    if rng.random() < 0.2:
        project |= {"providers.evil.kind": "openai", "providers.evil.base_url": "https://evil.example"}
    covered = grants.covered(_layer("project", project))
    granted = frozenset(covered) if rng.random() < 0.5 else frozenset(key for key in covered if rng.random() < 0.6)
    return Example(mode, LayerStack(stack), project, granted)


def _layer(name: LayerName, values: Mapping[str, Any]) -> Layer:
    entries, problems = from_mapping(values, name, lambda key: Origin(name, f"{name}:{key}"))
    assert not problems, problems
    return Layer(name, f"/{name}", "loaded" if entries else "empty", entries)


def _values(rng: random.Random, name: LayerName, declared: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    known = [provider for provider in PROVIDERS if provider not in DECLARED or provider in declared]
    if name == "vendor":
        for provider in ("anthropic", "openai", "groq", "openrouter"):
            if rng.random() < 0.8:
                values[f"providers.{provider}.api_key"] = f"vendor-{provider}"
        return values
    sections = ["llm", *(f"providers.{provider}" for provider in known)]
    for section in sections:
        for field, chance in (("model", 0.35), ("base_url", 0.2), ("api_key", 0.25), ("max_tokens", 0.1)):
            if rng.random() >= chance or (name == "project" and field == "api_key"):
                continue
            values[f"{section}.{field}"] = {
                "model": _model(rng, section) if name != "project" else rng.choice(MODELS),
                "base_url": rng.choice(URLS),
                "api_key": f"{name}-{section}",
                "max_tokens": rng.randint(1, 99),
            }[field]
    if rng.random() < 0.3:
        values["llm.provider"] = rng.choice((*known, "auto"))
    if rng.random() < 0.3:
        values["llm.fallbacks"] = [rng.choice(MODELS) for _ in range(rng.randint(1, 3))]
    for alias in ALIASES:
        if rng.random() < 0.25:
            values[f"aliases.{alias}"] = _target(rng)
    return values | (_some_headers(rng, name, known) if name != "project" else {})


def _model(rng: random.Random, section: str) -> str:
    """A model for a section of a trusted layer: mostly one that its provider takes, so that most layers load."""
    provider = section.removeprefix("providers.")
    others = {"evil", *PROVIDERS} - {provider}
    own = [model for model in MODELS if model.partition(":")[0].lower() not in (*others, *ALIASES)]
    return rng.choice(own if provider != "llm" and rng.random() < 0.9 else MODELS)


def _some_headers(rng: random.Random, name: LayerName, providers: Iterable[str]) -> dict[str, Any]:
    return {
        f"providers.{provider}.headers": {
            rng.choice(
                ("X-Team", "X-Auth", *(("Authorization",) if rng.random() < 0.1 else ()))
            ): f"{name}-{provider}-header"
        }
        for provider in providers
        if rng.random() < 0.2
    }


def _target(rng: random.Random) -> Any:
    if rng.random() < 0.75:
        return rng.choice(MODELS)
    return {
        provider: rng.choice(MODELS) for provider in rng.sample(("anthropic", "ollama", "openai"), rng.randint(1, 3))
    }


def check(found: Example) -> dict[str, int]:
    """Asserts the property, and counts how often each part of it said something."""
    counts = {"untrusted": 0, "partly granted": 0, "without credentials": 0, "overridden": 0, "refused": 0}
    counts |= {"with fallbacks": 0, "with headers": 0}
    without = found.load({}, grants.NONE)
    untrusted = found.load(found.project, grants.NONE)
    # An untrusted project changes no destination, whether or not the load is refused.
    _check_destinations(untrusted, without)
    counts["untrusted"] += 1
    counts["with fallbacks"] += bool(untrusted.config.llm.fallbacks)
    counts["with headers"] += bool(untrusted.config.llm.headers)
    counts["overridden"] += _check_overrides(untrusted, without)

    trust = Trust(found.granted)
    partly = found.load(found.project, trust)
    alone = found.load({key: value for key, value in found.project.items() if key in found.granted}, trust)
    refused = {problem.key for problem in partly.errors if problem.code == "untrusted-key"}
    counts["refused"] += bool(partly.errors)
    if "llm.provider" not in refused:  # with it falls the model beside it, granted or not
        _check_destinations(partly, alone)
        counts["partly granted"] += 1
        counts["overridden"] += _check_overrides(partly, alone)
    _check_credentials(partly, without)

    whole = found.load(found.project, Trust(frozenset(grants.covered(_layer("project", found.project)))))
    _check_credentials(whole, without)
    counts["without credentials"] += 1
    return counts


def _check_destinations(loaded: Loaded, other: Loaded) -> None:
    """What is not granted changes no destination, and adds none by a fallback."""
    # A load with errors calls no model: it may well have lost the model's name.
    end = -1 if loaded.errors else None
    assert destination(loaded.config)[:end] == destination(other.config)[:end]
    assert {one[:end] for one in destinations(loaded.config)} <= {one[:end] for one in destinations(other.config)}


def _check_overrides(loaded: Loaded, other: Loaded) -> int:
    """Under an override a request goes where it goes without what is not granted, or is refused."""
    checked = 0
    for values in OVERRIDES:
        try:
            config = loaded.config.override(values)
        except ConfigError:
            continue
        checked += 1
        # Which model an alias of the project means is compared for the provider in force only, a router too.
        assert destination(config)[:-1] == _destination_with(other, values)[:-1], values
        for item, fallback in zip(values.get("llm.fallbacks", ()), config.llm.fallbacks, strict=False):
            alone = _destination_with(other, {"llm.model": item})
            assert destination_of(fallback)[:-1] == alone[:-1], (values, item)
    return checked


def _destination_with(loaded: Loaded, values: Mapping[str, Any]) -> Destination:
    """The destination with an override, also where it would be refused: a model that lacks a name, say."""
    selection = loaded.derivation.selection.with_override(_layer("execution", values))
    resolved = resolve(selection, DAY, opener=None)
    key = resolved.entries.get("api_key")
    revealed = key.value if key is not None and isinstance(key.value, Secret) else None
    return destination_of(msgspec.structs.replace(resolved.llm, api_key=revealed, headers=_headers(selection)))


def _headers(selection: ProviderSelection) -> Mapping[str, Secret]:
    """The headers of the provider in force, which `resolve` reads with an opener only."""
    entry = selection.of(selection.provider).get("headers")
    url, pin = selection.endpoint(selection.provider), selection.pin(selection.provider)
    if entry is None or url is None or pin is None or origin_of(url) != origin_of(pin):
        return {}
    return {name: part.value for name, part in entry.value.items()}


def _check_credentials(loaded: Loaded, without: Loaded) -> None:
    """A grant without credentials: a key in use goes to an endpoint that the trusted layers gave it for."""
    for values in ({}, *OVERRIDES[:3]):
        try:
            config = loaded.config.override(values) if values else loaded.config
        except ConfigError:
            continue
        for provider, key, url, headers, _ in destinations(config):
            if (key is None and not headers) or url is None:
                continue
            pin = without.derivation.selection.pin(provider)
            assert pin is not None
            assert origin_of(url) == origin_of(pin), (values, provider, key, headers, url, pin)


def run(inputs: int, seed: int, start: int = 0) -> dict[str, int]:
    """Checks that many configurations, from number `start` on, and counts what was compared.

    Raises `AssertionError` with the configuration that fails.
    """
    totals: dict[str, int] = {}
    for number in range(start, start + inputs):
        found = example(random.Random(f"{seed}-{number}"))
        try:
            counts = check(found)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}-{number}: {error}\n{_described(found)}") from None
        for name, count in counts.items():
            totals[name] = totals.get(name, 0) + count
    return totals


def _described(found: Example) -> str:
    rows = [f"mode {found.mode}, granted {sorted(found.granted)}"]
    for layer in found.with_project(found.project):
        values = {key: plain_value(entry) for key, entry in layer.entries.items()}
        rows += [f"{layer.name}: {values}"] if layer.name != "defaults" else []
    return "\n".join(rows)
