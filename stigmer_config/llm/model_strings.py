"""Model strings: their prefix, their alias chain, and the provider they name.

A model string is `provider:model` with a known provider before the first colon (case-insensitive; the rest is a
model's own name, never an alias), or an alias, or a bare name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import msgspec

from ..core.problems import Problem, nearest
from ..core.provenance import Entry, Hop, alias_targets
from ..settings.packaged_providers import CORE_PROVIDERS, packaged_providers
from .catalogue import Catalogue

_SHOWN = 24  # the most aliases of a cycle that a message shows
_OPENAI = re.compile(r"gpt-(?!oss).*|chatgpt-.*|o[0-9].*|ft:.*")


class Expansion(msgspec.Struct, frozen=True):
    """A model string with its aliases expanded.

    `name` is the model's name without a prefix, `prefix` the provider written before it, `hops` the steps through
    aliases. `name` is None when the aliases form a `cycle`, and when an alias is a mapping without an entry for the
    provider (`missing`, with the providers it `has`).
    """

    name: str | None
    prefix: str | None = None
    hops: tuple[Hop, ...] = ()
    cycle: tuple[str, ...] = ()
    missing: str | None = None
    has: tuple[str, ...] = ()


def split(text: str, providers: Collection[str]) -> tuple[str | None, str]:
    """A model string's prefix, in lowercase, and the rest; (None, the string) if it is none of these."""
    head, colon, rest = text.partition(":")
    if colon and head.lower() in providers:
        return head.lower(), rest
    return None, text


def is_ollama_cloud(name: str) -> bool:
    """Whether Ollama runs a model with this name on its own servers instead of locally."""
    return name.lower().endswith(("-cloud", ":cloud"))


class ModelNames:
    """The aliases of a layer stack, the catalogue, and the known providers. Immutable, except for a cache."""

    def __init__(
        self, winners: Mapping[str, Entry], catalogue: Catalogue, providers: Collection[str] | None = None
    ) -> None:
        self.catalogue = catalogue
        self.providers = packaged_providers() if providers is None else providers
        self.aliases = {
            key.removeprefix("aliases."): entry for key, entry in winners.items() if key.startswith("aliases.")
        }
        self._expansions: dict[str | None, dict[str, Expansion]] = {}

    def expand_with_hops(self, text: str, provider: str | None) -> Expansion:
        """Expands `text` for a provider, and includes the hops."""
        expansion = self.expand(text, provider)
        if text not in self.aliases:
            return expansion
        hops: dict[str, Hop] = {}
        while text in self.aliases and text not in hops:
            target = self._target(text, provider)
            if target is None:
                break
            hops[text] = Hop(text, target.value, target.origin)
            text = target.value
        return msgspec.structs.replace(expansion, hops=tuple(hops.values()))

    def expand(self, text: str, provider: str | None) -> Expansion:
        """Expands `text` for a provider; for None, an alias that is a mapping is `missing`.

        Results are cached: each alias is expanded once, however long the chains are.
        """
        if text not in self.aliases:
            prefix, name = split(text, self.providers)
            return Expansion(name, prefix)
        cache = self._expansions.setdefault(provider, {})
        if text in cache:
            return cache[text]
        visited: dict[str, int] = {}
        expansion: Expansion | None = None
        while expansion is None:
            if text not in self.aliases:
                prefix, name = split(text, self.providers)
                expansion = Expansion(name, prefix)
            elif text in cache:
                expansion = cache[text]
            elif text in visited:
                expansion = Expansion(None, cycle=(*list(visited)[visited[text] :], text))
            else:
                visited[text] = len(visited)
                target = self._target(text, provider)
                if target is None:
                    expansion = Expansion(None, missing=text, has=tuple(alias_targets(self.aliases[text]) or ()))
                else:
                    text = target.value
        cache |= dict.fromkeys(visited, expansion)
        return expansion

    def is_bare(self, text: str) -> bool:
        """Whether a model string is neither an alias nor has a prefix."""
        return ":" not in text and text not in self.aliases

    def _target(self, alias: str, provider: str | None) -> Entry | None:
        """The target of an alias for a provider, or None when its mapping has no entry for it."""
        entry = self.aliases[alias]
        by_provider = alias_targets(entry)
        return entry if by_provider is None else by_provider.get(provider or "")

    def named_by(self, text: str, *, gateway: bool) -> str | None:
        """The provider that a model string names, or None. With a `gateway` in force a bare name names none."""
        expansion = self.expand(text, None)
        if expansion.prefix is not None or expansion.name is None:
            return expansion.prefix
        return None if gateway else self.belongs_to(expansion.name)

    def belongs_to(self, name: str) -> str | None:
        """The provider that a bare model name belongs to, or None."""
        model = self.catalogue.find(name)
        if model is not None:
            return model.provider
        return self.form_of(name) or ("ollama" if ":" in name else None)

    def form_of(self, name: str) -> str | None:
        """The company whose model names have this form, or None."""
        if name.startswith("claude-"):
            return "anthropic"
        return "openai" if _OPENAI.fullmatch(name) else None

    def nearest(self, name: str, provider: str) -> str | None:
        """The model string that is probably meant by a name that a provider does not have."""
        head, slash, rest = name.partition("/")
        if slash and head.lower() in self.providers:
            return f"{head.lower()}:{rest}"
        known = [model.name for model in self.catalogue.models if model.provider == provider]
        folded = name.lower()
        same = next((one for one in known if one == folded), None)
        return same or next((one for one in known if folded in one), None) or nearest(folded, known)

    def problems(self) -> list[Problem]:
        """The faults of aliases, even unused ones: cycles, and entries with another provider's prefix."""
        found: list[Problem] = []
        reported: set[int] = set()  # ids: all aliases that lead to a cycle share its tuple
        cycles: set[frozenset[str]] = set()
        mentioned = dict.fromkeys(CORE_PROVIDERS)
        for entry in self.aliases.values():
            mentioned.update(dict.fromkeys(alias_targets(entry) or ()))
        for name, entry in sorted(self.aliases.items()):
            by_provider = alias_targets(entry)
            starts: list[tuple[str | None, Entry]] = [(None, entry)]
            if by_provider is not None:
                starts = list(by_provider.items())
            for own_provider, target in starts:
                # Only an alias of an alias can be a cycle, and only an entry for one provider can contradict itself.
                if target.value not in self.aliases and (own_provider is None or ":" not in target.value):
                    continue
                for provider in mentioned if own_provider is None else (own_provider,):
                    end = self.expand(name, provider)
                    if end.cycle and id(end.cycle) not in reported and name in end.cycle:
                        reported.add(id(end.cycle))
                        if frozenset(end.cycle) not in cycles:
                            cycles.add(frozenset(end.cycle))
                            found.append(_cycle(name, end.cycle, target))
                    elif own_provider is not None and end.prefix not in (None, provider):
                        found.append(
                            provider_mismatch(f"aliases.{name}", end, provider, target, f"its entry is for {provider}")
                        )
        return found


def _cycle(name: str, cycle: tuple[str, ...], entry: Entry) -> Problem:
    start = cycle.index(name)
    turned = (*cycle[start:-1], *cycle[:start], name)
    if len(turned) > _SHOWN:
        turned = (*turned[: _SHOWN - 2], "…", *turned[-2:])
    message = f"the alias leads back to itself: {' → '.join(turned)}"
    hint = "make one of them name a model"
    return Problem(code="alias-cycle", key=f"aliases.{name}", message=message, hint=hint, origin=entry.origin)


def provider_mismatch(key: str, end: Expansion, provider: str, entry: Entry, use: str) -> Problem:
    """`provider-mismatch`: `entry` leads to a model of another provider than the one it is used for."""
    owner = end.prefix or "another provider"
    message = f"{end.name} is a model of {owner}, and {use}"
    hint = f"set llm.provider to {owner}, or name a model of {provider}"
    return Problem(code="provider-mismatch", key=key, message=message, hint=hint, origin=entry.origin)
