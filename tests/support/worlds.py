"""Random layers as data (`Given`), and the same layers as files, variables and arguments of a real load."""

from __future__ import annotations

import datetime
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import msgspec
from hypothesis import strategies as st

from stigmer_config import Origin, Secret
from stigmer_config.core.provenance import LayerName
from stigmer_config.loading.load import Loaded, read
from stigmer_config.loading.request import Request, request
from stigmer_config.sources.flags import from_command_line
from tests.support.reference import DECLARED, FIELDS, NAMED, PROVIDERS, Given, Place, packaged
from tests.support.sandbox import Sandbox

# Days on which nothing, something and much has retired.
DAYS = (
    datetime.date(2026, 6, 1),
    datetime.date(2026, 10, 1),
    datetime.date(2026, 11, 29),
    datetime.date(2026, 11, 30),
    datetime.date(2027, 1, 14),
    datetime.date(2027, 6, 1),
)
ALIASES = ("fast", "a", "b", "gpt-4o")
MODELS = (
    *ALIASES,
    "balanced",
    "foo",
    "some/model:free",
    "qwen2.5-coder:7b",
    "name:tag",
    "gpt-oss:20b",
    "gpt-oss",
    "gpt-unheard-of",
    "gpt-5",
    "gpt-6-luna",
    "o3",
    "o9-new",
    "omega",
    "ft:gpt-4o:me",
    "chatgpt-next",
    "codex-mini-latest",
    "claude-sonnet-4.5",
    "claude-opus-4-5-20251101",
    "claude-opus-5-5",
    "claude-sonnet-4",
    "claude-of-mine",
    "Anthropic:claude-sonnet-4.5",
    "anthropic:foo",
    "OPENAI:gpt-4o",
    "openai:o3",
    "openai:foo:bar",
    "ollama:foo",
    "ollama:claude-sonnet-4.5",
    "Ollama:fast",
    "groq:foo",
    "Groq:qwen/qwen3:free",
    "openrouter:some/model",
    "groq:claude-sonnet-4.5",
    "acme:foo",
    "Acme:claude-sonnet-4.5",
    "house:some/model:free",
    "gpu-b:name:tag",
    "gpu-b:big-cloud",
    "big-cloud",
    "big:cloud",
    "anthropic:big-cloud",
)
URLS = (
    "https://api.anthropic.com",
    "https://api.anthropic.com:443/",  # spellings are brought to one form before: tests/settings/test_urls.py
    "https://api.anthropic.com/proxy",
    "https://api.openai.com/v1",
    "https://gateway.example/v1",
    "https://gateway.example:443/v2",
    "http://gateway.example/v1",
    "http://localhost:11434",
    "http://127.0.0.9:11434/",
    "http://gpu-box:11434",
)
KINDS = ("anthropic", "ollama", "openai")

models = st.sampled_from(ALIASES) | st.sampled_from(MODELS)
urls = st.sampled_from(URLS)


def fields(layer: str, *, nulls: bool = True) -> dict[str, st.SearchStrategy[Any]]:
    """The possible values of each field of `llm` or `providers.<p>` in a layer; an API key names its layer."""
    rows: dict[str, st.SearchStrategy[Any]] = {
        "base_url": urls,
        "api_key": st.sampled_from([f"k-{layer}-{number}" for number in range(3)]),
        "max_tokens": st.integers(1, 9999),
        "temperature": st.sampled_from([0.0, 0.25, 1.0, 1.5]),
        "num_ctx": st.integers(1, 9999),
        "reasoning_effort": st.sampled_from(["none", "low", "high"]),
        "timeout": st.sampled_from([0.5, 30.0, 60.0]),
        "max_retries": st.integers(0, 9),
    }
    if nulls:
        rows = {name: values | st.none() for name, values in rows.items()}
    return {"model": models, **rows}


def llm(layer: str, *, nulls: bool = True) -> dict[str, st.SearchStrategy[Any]]:
    """The keys of the section `llm`."""
    named = {f"llm.{name}": values for name, values in fields(layer, nulls=nulls).items()}
    fallbacks = st.lists(models, min_size=1, max_size=2)
    named["llm.fallbacks"] = fallbacks | st.none() if nulls else fallbacks
    return {"llm.provider": st.sampled_from([*NAMED, "auto"]), **named}


def everything(layer: str) -> dict[str, st.SearchStrategy[Any]]:
    """All keys that a file or the flags may have about models."""
    rows = llm(layer)
    for provider in NAMED:
        for name, values in fields(f"{layer}-{provider}").items():
            taken = values.filter(lambda v: v != 1.5) if (provider, name) == ("anthropic", "temperature") else values
            rows[f"providers.{provider}.{name}"] = taken
        if provider not in PROVIDERS:
            rows[f"providers.{provider}.kind"] = st.sampled_from(KINDS)
    mapping = st.dictionaries(st.sampled_from(NAMED), models, min_size=1)
    rows |= {f"aliases.{name}": models | mapping for name in ALIASES}
    return rows


def some(rows: Mapping[str, st.SearchStrategy[Any]], most: int) -> st.SearchStrategy[dict[str, Any]]:
    """A few of the keys, in any order. Those that steer come oftenest."""
    steering = [key for key in rows if key.endswith((".provider", ".model", ".base_url", ".api_key", ".fallbacks"))]
    steering += [key for key in rows if key.startswith("aliases.")]
    chief = [key for key in ("llm.provider", "llm.model") if key in rows]
    keys = st.lists(
        st.sampled_from(chief) | st.sampled_from(steering) | st.sampled_from(list(rows)), max_size=most, unique=True
    )
    return keys.flatmap(lambda chosen: st.fixed_dictionaries({key: rows[key] for key in chosen}))


vendor = st.fixed_dictionaries(
    {},
    optional={
        "providers.anthropic.api_key": st.just("k-vendor-anthropic"),
        "providers.anthropic.base_url": urls,
        "providers.openai.api_key": st.just("k-vendor-openai"),
        "providers.openai.base_url": urls,
        "providers.ollama.base_url": urls,
        "providers.groq.api_key": st.just("k-vendor-groq"),
        "providers.openrouter.api_key": st.just("k-vendor-openrouter"),
    },
)
VENDOR_VARIABLES = {
    "providers.anthropic.api_key": "ANTHROPIC_API_KEY",
    "providers.anthropic.base_url": "ANTHROPIC_BASE_URL",
    "providers.openai.api_key": "OPENAI_API_KEY",
    "providers.openai.base_url": "OPENAI_BASE_URL",
    "providers.ollama.base_url": "OLLAMA_BASE_URL",
    "providers.groq.api_key": "GROQ_API_KEY",
    "providers.openrouter.api_key": "OPENROUTER_API_KEY",
}


@st.composite
def declarations(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """What declares each of `DECLARED`: its kind and its address, each in the site or user file, or in the flags."""
    found: dict[str, dict[str, Any]] = {"site": {}, "user": {}, "flags": {}}
    for provider in DECLARED:
        for name, values in (("kind", st.sampled_from(KINDS)), ("base_url", urls)):
            found[draw(st.sampled_from(list(found)))][f"providers.{provider}.{name}"] = draw(values)
    return found


@st.composite
def layers(draw: st.DrawFn, *, project: bool = True, overrides: int = 2) -> tuple[str, list[Given]]:
    """A mode and its layers, lowest first."""
    mode = draw(st.sampled_from(["local", "cloud"]))
    found = [packaged(mode), Given("vendor", draw(vendor))]
    declared = draw(declarations())
    found += [Given(name, draw(some(everything(name), 6)) | declared[name]) for name in ("site", "user")]
    if project:
        found.append(Given("project", draw(some(everything("project"), 5))))
    found.append(Given("env", draw(some(llm("env", nulls=False), 3))))
    flags = draw(some(everything("flags"), 3)) | declared["flags"]
    anthropic_key = draw(st.booleans()) and draw(st.booleans())
    if anthropic_key:
        flags = {**flags, "providers.anthropic.api_key": "k-flags-anthropic-key"}
    found.append(Given("flags", flags, anthropic_key))
    for number in range(draw(st.integers(0, overrides))):
        found.append(Given("execution", draw(some(llm(f"override{number}"), 4))))
    return mode, found


def declared_in_a_file(found: list[Given]) -> list[Given]:
    """The same layers with every kind, and the address of each of `DECLARED`, in the site file and not in the flags."""
    moved = {
        key: value
        for layer in found
        for key, value in layer.values.items()
        if key.endswith(".kind") or (key.endswith(".base_url") and key.split(".")[1] in DECLARED)
        if layer.name in ("user", "flags")
    }
    rows: list[Given] = []
    for layer in found:
        values = layer.values
        if layer.name == "site":
            values = moved | values
        elif layer.name == "flags":
            values = {key: value for key, value in values.items() if key not in moved}
        rows.append(replace(layer, values=values))
    return rows


def text(values: Mapping[str, Any]) -> tuple[str, dict[str, tuple[int, int]]]:
    """The YAML file of a flat mapping, and the line and column of each key's value."""
    lines: list[str] = []
    places: dict[str, tuple[int, int]] = {}
    tree: dict[str, Any] = {}
    for key, value in values.items():
        parts = key.split(".", 1 if key.startswith("aliases.") else -1)
        below = tree
        for part in parts[:-1]:
            below = below.setdefault(part, {})
        below[parts[-1]] = (key, value)

    def write(below: dict[str, Any], depth: int) -> None:
        for name, part in below.items():
            indent = "  " * depth
            if isinstance(part, dict):
                lines.append(f"{indent}{name}:")
                write(part, depth + 1)
                continue
            key, value = part
            lines.append(f"{indent}{name}: {json.dumps(value)}")
            places[key] = (len(lines), len(indent) + len(name) + 3)

    write(tree, 0)
    return "".join(f"{line}\n" for line in lines), places


class World:
    """One set of layers, put where a load finds them. `origin` gives the Origin of a place."""

    def __init__(self, sandbox: Sandbox, mode: str, given: list[Given]) -> None:
        self.sandbox = sandbox
        self.mode = mode
        self.given = given
        self.variables: dict[str, str] = {"MODE": mode}
        self.flags = Given("flags")
        self.overrides: list[dict[str, Any]] = []
        self._lines: dict[int, tuple[str, dict[str, tuple[int, int]]]] = {}
        files = {"site": sandbox.site_file, "user": sandbox.user_file, "project": sandbox.project_file}
        for path in files.values():
            path.unlink(missing_ok=True)
        for number, layer in enumerate(given):
            if layer.name in files:
                body, places = text(layer.values)
                sandbox.write(**{layer.name: body})
                self._lines[number] = (str(files[layer.name]), places)
            elif layer.name == "vendor":
                self.variables |= {VENDOR_VARIABLES[key]: value for key, value in layer.values.items()}
            elif layer.name == "env":
                for key, value in layer.values.items():
                    shown = ",".join(value) if isinstance(value, list) else str(value)
                    self.variables[f"STIGMER_LLM_{key.removeprefix('llm.').upper()}"] = shown
            elif layer.name == "flags":
                self.flags = layer
            elif layer.name == "execution":
                self.overrides.append(layer.values)

    def request(self, today: datetime.date, overrides: list[dict[str, Any]] | None = None) -> Request:
        """The load of this world. `--anthropic-key` exists on the command line only, so its layer is made there."""
        asked = request(
            environment=self.sandbox.environment(self.variables, today=today),
            flags=self.flags.values,
            overrides=self.overrides if overrides is None else overrides,
        )
        if not self.flags.anthropic_key:
            return asked
        implied = from_command_line([], self.flags.values["providers.anthropic.api_key"])[0].implied_provider
        layer, faults = asked.flags
        return msgspec.structs.replace(asked, flags=(msgspec.structs.replace(layer, implied_provider=implied), faults))

    def read(self, today: datetime.date, overrides: list[dict[str, Any]] | None = None) -> Loaded:
        """Loads it, faults and all."""
        return read(self.request(today, overrides))

    def origin(self, place: Place) -> Origin | None:
        """The Origin of a place; None for the packaged defaults, whose lines are not part of the contract."""
        number, key = place
        layer = self.given[number]
        if layer.name == "defaults":
            return None
        if number in self._lines:
            path, places = self._lines[number]
            return Origin(cast("LayerName", layer.name), path, *places[key])
        if layer.name == "vendor":
            return Origin("vendor", VENDOR_VARIABLES[key])
        if layer.name == "env":
            return Origin("env", f"STIGMER_LLM_{key.removeprefix('llm.').upper()}")
        if key == "--anthropic-key":
            return Origin("flags", key)
        if layer.name == "flags":
            return Origin("flags", f"flags[{key}]")
        return Origin("execution", f"override[{key}]")


@contextmanager
def sandboxed() -> Iterator[Sandbox]:
    """A sandbox for many examples: each World replaces the files of the one before."""
    folder = tempfile.mkdtemp(prefix="stigmer-world-")
    try:
        yield Sandbox(Path(folder))
    finally:
        shutil.rmtree(folder)


def revealed(value: Any) -> Any:
    """A value with a Secret shown, to compare it with what was given."""
    return value.reveal() if isinstance(value, Secret) else value


__all__ = ["DAYS", "FIELDS", "World", "layers", "revealed", "sandboxed", "text"]
