"""The providers of one load: the packaged ones, and those that some layer declares.

A layer declares one by `providers.<name>.kind` and `providers.<name>.base_url`. Which names exist is known only once
every layer is read: until then a layer keeps its settings of any name, and `without_unknown_providers` removes those of
undeclared names.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from ..core.layer_stack import LayerStack
from ..core.problems import Problem, did_you_mean, nearest, quoted
from ..core.provenance import Entry, Layer, Origin, alias_targets, by_section, items
from ..settings.model_types import no_provider
from ..settings.packaged_providers import COMPANIES, CORE_PROVIDERS, in_order, packaged_providers
from ..settings.urls import same_url
from .catalogue import Catalogue

_DECLARATION = ("kind", "base_url")
_NAMING = ("llm", "providers", "aliases")  # the sections whose entries may name a provider
_MOST_PROBLEMS = 100  # a file with more faults is hostile, and each problem costs a search for the nearest name


@functools.lru_cache(maxsize=4096)  # cached: called for every key of every layer
def provider_of(key: str) -> tuple[str, str]:
    """The provider and the field of a `providers.*` key; two empty strings for another key."""
    section, _, rest = key.partition(".")
    if section != "providers":
        return "", ""
    provider, _, field = rest.partition(".")
    return provider, field


def is_gateway(provider: str, url: str | None, packaged_url: str | None) -> bool:
    """Whether a provider may serve any model name: all but the three, and anthropic or openai at another URL."""
    if provider not in COMPANIES:
        return provider not in CORE_PROVIDERS
    return url is not None and not same_url(url, packaged_url)


def known_providers(layers: Iterable[Layer]) -> Collection[str]:
    """The packaged providers and those that these layers declare."""
    layers = [layer for layer in layers if layer.name != "defaults"]
    names = {name for layer in layers for name in _declarations(layer)}
    if not names:
        return packaged_providers()
    needed = {name: [f"providers.{name}.{field}" for field in _DECLARATION] for name in names}
    given = {key for layer in layers for keys in needed.values() for key in keys if key in layer.entries}
    declared = [name for name, keys in needed.items() if given.issuperset(keys)]
    return dict.fromkeys(in_order((*packaged_providers(), *declared))) if declared else packaged_providers()


@functools.lru_cache(maxsize=16)  # needed several times in a load, and by a reload of the layers that did not change
def _declarations(layer: Layer) -> Mapping[str, Collection[str]]:
    """A layer's `kind` and `base_url` settings of each provider that is not packaged. A faulty value counts, too."""
    found: dict[str, tuple[str, ...]] = {}
    if layer.name == "defaults":
        return found
    for key in (*by_section(layer).get("providers", ()), *layer.faulty, *layer.named):
        provider, field = provider_of(key)
        if provider:
            fields = found.setdefault(provider, ())
            if field in _DECLARATION:
                found[provider] = (*fields, field)
    packaged = packaged_providers()
    return {provider: fields for provider, fields in found.items() if provider not in packaged}


@functools.lru_cache(maxsize=2)
def _ollama_families(catalogue: Catalogue) -> frozenset[str]:
    """The part before the colon in the names of known Ollama models."""
    return frozenset(model.id.partition(":")[0] for model in catalogue.models if model.provider == "ollama")


class _Judgement:
    """Removes entries that name a provider that does not exist, and reports a problem for each."""

    def __init__(self, layers: Iterable[Layer], granted: Collection[str], catalogue: Catalogue) -> None:
        self.layers = tuple(layers)
        self.catalogue = catalogue
        self.problems: list[Problem] = []
        self.trusted = [_counting(layer, granted) for layer in self.layers]
        self.own = [_declarations(layer) for layer in self.layers]
        self.declarations: dict[str, set[str]] = {}
        for layer, counting, own in zip(self.layers, self.trusted, self.own, strict=True):
            for provider, fields in (own if counting is layer else _declarations(counting)).items():
                self.declarations.setdefault(provider, set()).update(fields)
        self.known = known_providers(self.trusted)
        self.families = _ollama_families(catalogue)

    def judge(self) -> list[Layer]:
        self._declared()
        return [self._layer(layer, own) for layer, own in zip(self.layers, self.own, strict=True)]

    def _problem(self, code: str, key: str, message: str, hint: str, origin: Origin, *, error: bool = True) -> None:
        severity: Any = "error" if error else "warning"
        problem = Problem(severity=severity, code=code, key=key, message=message, hint=hint, origin=origin)
        if problem not in self.problems:
            self.problems.append(problem)

    def _is_full(self, layer: Layer) -> bool:
        """Whether a layer has more faults than are made by mistake; those of other layers are still reported."""
        found = sum(problem.origin is not None and problem.origin.layer == layer.name for problem in self.problems)
        return found >= _MOST_PROBLEMS

    def _declared(self) -> None:
        """Reports incomplete declarations, and declared names that have another meaning."""
        for provider, fields in self.declarations.items():
            key = f"providers.{provider}"
            if not fields:
                continue
            if provider == "auto" or provider in self.families:
                what = "is how one is chosen" if provider == "auto" else "is a model of Ollama"
                hint = "give the provider another name"
                message = f"a provider may not be named {provider}: it {what}"
                self._problem("invalid-choice", key, message, hint, _place(self.trusted, key))
                self.known = [name for name in self.known if name != provider]
            elif len(fields) < len(_DECLARATION):
                missing = next(field for field in _DECLARATION if field not in fields)
                example = {"kind": "openai", "base_url": "https://llm.example.com/v1"}[missing]
                near = nearest(provider, self.known)
                hint = f"add {missing}, for example {missing}: {example}"
                hint = f"did you mean providers.{near}? Else {hint}" if near else hint
                message = f"the provider {provider} has no {missing}"
                self._problem("missing-value", f"{key}.{missing}", message, hint, _place(self.trusted, key))

    def _layer(self, layer: Layer, own: Mapping[str, Collection[str]]) -> Layer:
        if layer.name in ("defaults", "vendor"):
            return layer
        # An untrusted layer's settings are refused together with its declaration.
        proposed = () if layer.is_trusted else [name for name, fields in own.items() if fields]
        known = {*self.known, *proposed}
        undeclared = {provider for provider in own if provider not in known}
        sections = by_section(layer)
        named = [row for name in _NAMING for row in sections.get(name, {}).items() if _may_name_provider(*row)]
        if not (named or undeclared):
            return layer
        entries = dict(layer.entries)
        if undeclared:
            entries = {key: entry for key, entry in entries.items() if provider_of(key)[0] not in undeclared}
        for provider in sorted(undeclared):
            self._undeclared(layer, provider)
        for key, entry in named:
            if key == "llm.provider" and entry.value != "auto" and entry.value not in known:
                fault = no_provider(entry.value, self.known)
                if self._is_for_others(layer, entry.value):
                    self._for_others(key, entry.value, entry.origin)
                else:
                    self._problem(fault.code, key, fault.message, fault.hint, entry.origin)
                del entries[key]
            elif key.startswith("aliases.") and alias_targets(entry) is not None:
                self._targets(layer, key, known, entries)
            if key in entries:
                self._prefixes(key, entries[key], known, entries)
        if entries == layer.entries:  # entries compare by identity
            return layer
        lost = {key: layer.entries[key].origin for key in layer.entries if key not in entries}
        return msgspec.structs.replace(layer, entries=entries, faulty={**layer.faulty, **_kept(lost)})

    def _is_for_others(self, layer: Layer, provider: str) -> bool:
        """Whether a project's file may name this provider for users who have declared it."""
        return layer.name == "project" and nearest(provider, self.known) is None

    def _for_others(self, key: str, provider: str, origin: Origin) -> None:
        message = f"there is no provider {provider} here: it is ignored"
        hint = f"to use it, declare providers.{provider}.kind and .base_url in ~/.stigmer/config.yaml"
        self._problem("unknown-provider", key, message, hint, origin, error=False)

    def _undeclared(self, layer: Layer, provider: str) -> None:
        """Reports a section of an undeclared provider."""
        key = f"providers.{provider}"
        if self.declarations.get(provider) or self._is_full(layer):
            return  # an incomplete declaration is reported already
        origin = _place([layer], key)
        if self._is_for_others(layer, provider):
            self._for_others(key, provider, origin)
            return
        known = f"known keys of providers: {', '.join(self.known)}"
        near = nearest(provider, self.known)
        hint = f"did you mean providers.{near}?" if near else f"{known}; one of your own needs a kind and a base_url"
        self._problem("unknown-key", key, "there is no such key", hint, origin)

    def _targets(self, layer: Layer, key: str, known: Collection[str], entries: dict[str, Entry]) -> None:
        """Reports the entries of an alias for providers that do not exist."""
        by_provider = alias_targets(entries[key]) or {}
        lost = [provider for provider in by_provider if provider not in known]
        if not lost:
            return
        shown = () if self._is_full(layer) else lost[:_MOST_PROBLEMS]
        ignored = [provider for provider in shown if self._is_for_others(layer, provider)]
        for provider in shown:
            name = f"{key}.{provider}"
            origin = layer.named.get(name, by_provider[provider].origin)
            if provider in ignored:
                self._for_others(name, provider, origin)
                continue
            hint = did_you_mean(provider, self.known, f"providers: {', '.join(self.known)}")
            self._problem("unknown-alias-provider", name, f"there is no provider {quoted(provider)}", hint, origin)
        left = {provider: target for provider, target in by_provider.items() if provider in known}
        if left and len(ignored) == len(lost):
            entries[key] = Entry(left, entries[key].origin)
        else:
            del entries[key]

    def _prefixes(self, key: str, entry: Entry, known: Collection[str], entries: dict[str, Entry]) -> None:
        """Reports model strings with a prefix that is a provider in other tools but not here."""
        faults = [
            problem
            for where, target in model_strings(key, entry)
            if (problem := foreign_prefix(where, target, known, self.catalogue)) is not None
        ]
        if faults:
            self.problems += (fault for fault in faults if fault not in self.problems)
            del entries[key]


def foreign_prefix(key: str, entry: Entry, known: Collection[str], catalogue: Catalogue) -> Problem | None:
    """`unknown-provider` for a model string with a prefix that is a provider in other tools but not here."""
    head, colon, rest = str(entry.value).partition(":")
    head = head.lower()
    if not colon or head in known or head not in catalogue.foreign_prefixes:
        return None
    ours = catalogue.foreign_prefixes[head]
    declare = f"declare it: providers.{head}.kind and .base_url, with an address that speaks OpenAI's protocol"
    hint = f"write {ours}:{rest}" if ours else declare
    message = f"there is no provider {head} here, though other tools have one"
    return Problem(code="unknown-provider", key=key, message=message, hint=hint, origin=entry.origin)


def _may_name_provider(key: str, entry: Entry) -> bool:
    """Whether an entry may name a provider: itself, as a key, or before a model."""
    if key.startswith("aliases."):
        return type(entry.value) is dict or ":" in str(entry.value)
    if key in ("llm.model", "llm.fallbacks") or key.endswith(".model"):
        return ":" in str(entry.value)
    return key == "llm.provider"


def model_strings(key: str, entry: Entry) -> Iterator[tuple[str, Entry]]:
    """The model strings in an entry, each with the key to report."""
    if key.startswith("aliases."):
        by_provider = alias_targets(entry)
        if by_provider is None:
            yield key, entry
        else:
            yield from ((f"{key}.{provider}", target) for provider, target in by_provider.items())
    elif key == "llm.fallbacks":
        yield from ((key, item) for item in items(entry))
    elif (key == "llm.model" or provider_of(key)[1] == "model") and entry.value is not None:
        yield key, entry


def without_unknown_providers(
    layers: LayerStack, catalogue: Catalogue, problems: list[Problem], granted: Collection[str] = ()
) -> LayerStack:
    """The layers without entries that name a provider that does not exist; adds the reasons to `problems`.

    `granted` are the keys of the project's file that are granted. Faults inside a section of a provider that does not
    exist are removed from `problems`.
    """
    judgement = _Judgement(layers, granted, catalogue)
    judged = judgement.judge()
    if not judgement.problems:
        return LayerStack(judged)
    gone = [problem.key for problem in judgement.problems if problem.code in ("unknown-key", "unknown-provider")]
    sections = tuple(f"{key}." for key in gone if key.count(".") == 1 and key.startswith("providers."))
    names = tuple(key for key in gone if key.startswith("providers."))
    problems[:] = [p for p in problems if not p.key.startswith(sections) and p.key not in names]
    problems += judgement.problems
    return LayerStack([_with_status(layer, judgement.problems) for layer in judged])


def _with_status(layer: Layer, problems: list[Problem]) -> Layer:
    fault = next((p for p in problems if p.severity == "error" and p.origin and p.origin.layer == layer.name), None)
    if fault is None or layer.status == "error":
        return layer
    return msgspec.structs.replace(layer, status="error", why=fault.summary)


def _counting(layer: Layer, granted: Collection[str]) -> Layer:
    """A layer with the entries that count before vetting: all of a trusted layer, the granted ones of a project."""
    if layer.is_trusted:
        return layer
    granted = granted if layer.name == "project" else ()
    entries = {key: entry for key, entry in layer.entries.items() if key in granted}
    named = {key: origin for key, origin in layer.named.items() if any(one.startswith(f"{key}.") for one in entries)}
    return msgspec.structs.replace(layer, entries=entries, named=named, faulty={})


def _place(layers: Iterable[Layer], key: str) -> Origin:
    """The place of a provider's section, in the highest layer that has one."""
    for layer in reversed(tuple(layers)):
        if key in layer.named:
            return layer.named[key]
        for below, entry in layer.entries.items():
            if below.startswith(f"{key}."):
                return entry.origin
        for below, origin in layer.faulty.items():
            if below.startswith(f"{key}."):
                return origin
    raise LookupError(key)


def _kept(lost: dict[str, Origin]) -> dict[str, Origin]:
    """The removed entries that still count as an attempt to set the key."""
    return {key: origin for key, origin in lost.items() if not key.startswith("providers.")}
