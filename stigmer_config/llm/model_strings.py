"""What a model string means: its prefix, its alias chain, and the provider it names.

A model string is `provider:model` with a known provider before the first colon (in any case; what follows
is a model's own name, never an alias), or an alias, or a bare name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

import msgspec

from ..core.merge import merge
from ..core.problems import Problem, nearest
from ..core.provenance import Entry, Hop, Layer, targets
from ..settings.providers import PROVIDERS, packaged_providers
from .catalogue import Catalogue
from .providers import known_providers

_SHOWN = 24  # the most aliases of a cycle that a message shows
_OPENAI = re.compile(r"gpt-(?!oss).*|chatgpt-.*|o[0-9].*|ft:.*")


class End(msgspec.Struct, frozen=True):
    """Where a model string leads.

    `name` is the model at the end, without a prefix; `prefix` the provider written before it. `hops` are
    the aliases on the way. Instead of an end there may be a `cycle`, or an alias that is a mapping and
    has no entry for the provider asked for (`missing`, with the providers it `has`).
    """

    name: str | None
    prefix: str | None = None
    hops: tuple[Hop, ...] = ()
    cycle: tuple[str, ...] = ()
    missing: str | None = None
    has: tuple[str, ...] = ()


def split(text: str, providers: Collection[str]) -> tuple[str | None, str]:
    """A model string's prefix, in lowercase, where it is one of these providers, and the rest; else None and all."""
    head, colon, rest = text.partition(":")
    if colon and head.lower() in providers:
        return head.lower(), rest
    return None, text


def is_ollama_cloud(name: str) -> bool:
    """Whether Ollama runs a model of this name on its own servers instead of this machine."""
    return name.lower().endswith(("-cloud", ":cloud"))


class ModelNames:
    """What the names in model strings mean: the aliases, the catalogue, the providers. Immutable but for a cache."""

    def __init__(
        self, winners: Mapping[str, Entry], catalogue: Catalogue, providers: Collection[str] | None = None
    ) -> None:
        self.catalogue = catalogue
        self.providers = packaged_providers() if providers is None else providers
        self.aliases = {
            key.removeprefix("aliases."): entry for key, entry in winners.items() if key.startswith("aliases.")
        }
        self._ends: dict[str | None, dict[str, End]] = {}

    @classmethod
    def of(cls, layers: Sequence[Layer], catalogue: Catalogue) -> ModelNames:
        """The names as some layers have them."""
        return cls(merge(layers, "aliases."), catalogue, known_providers(layers))

    def follow(self, text: str, provider: str | None) -> End:
        """Where `text` leads when `provider` is asked, and the aliases on the way."""
        end = self.end_of(text, provider)
        if text not in self.aliases:
            return end
        hops: dict[str, Hop] = {}
        while text in self.aliases and text not in hops:
            entry: Entry | None = self.aliases[text]
            by_provider = targets(entry) if entry is not None else None
            entry = entry if by_provider is None else by_provider.get(provider or "")
            if entry is None:
                break
            hops[text] = Hop(text, entry.value, entry.origin)
            text = entry.value
        return msgspec.structs.replace(end, hops=tuple(hops.values()))

    def end_of(self, text: str, provider: str | None) -> End:
        """Where `text` leads when `provider` is asked; with None, a mapping ends the way (`missing`).

        Each alias is walked once, however long the chains: what stands behind it is kept.
        """
        known = self._ends.setdefault(provider, {})
        way: dict[str, int] = {}
        end: End | None = None
        while end is None:
            entry = self.aliases.get(text)
            if entry is None:
                prefix, name = split(text, self.providers)
                end = End(name, prefix)
            elif text in known:
                end = known[text]
            elif text in way:
                end = End(None, cycle=(*list(way)[way[text] :], text))
            else:
                way[text] = len(way)
                by_provider = targets(entry)
                target = entry if by_provider is None else by_provider.get(provider or "")
                if target is None:
                    end = End(None, missing=text, has=tuple(by_provider or ()))
                else:
                    text = target.value
        known |= dict.fromkeys(way, end)
        return end

    def named_by(self, text: str, *, gateway: bool) -> str | None:
        """The provider a model string names, or None. Behind a `gateway` a bare name names nobody."""
        end = self.end_of(text, None)
        if end.prefix is not None or end.name is None:
            return end.prefix
        return None if gateway else self.belongs_to(end.name)

    def belongs_to(self, name: str) -> str | None:
        """The provider a bare model name belongs to, or None."""
        model = self.catalogue.find(name)
        if model is not None:
            return model.provider
        return self.form_of(name) or ("ollama" if ":" in name else None)

    def form_of(self, name: str) -> str | None:
        """The company whose models have names of this form, or None."""
        if name.startswith("claude-"):
            return "anthropic"
        return "openai" if _OPENAI.fullmatch(name) else None

    def nearest(self, name: str, provider: str) -> str | None:
        """The model string that was probably meant by a name that a provider does not have."""
        head, slash, rest = name.partition("/")
        if slash and head.lower() in self.providers:
            return f"{head.lower()}:{rest}"
        known = [model.name for model in self.catalogue.models if model.provider == provider]
        folded = name.lower()
        same = next((one for one in known if one == folded), None)
        return same or next((one for one in known if folded in one), None) or nearest(folded, known)

    def problems(self) -> list[Problem]:
        """Faults of the aliases themselves, used or not: cycles, and entries with a foreign prefix."""
        found: list[Problem] = []
        told: set[int] = set()  # by identity: all that lead to a cycle share it, however many
        cycles: set[frozenset[str]] = set()
        mentioned = dict.fromkeys(PROVIDERS)
        for entry in self.aliases.values():
            mentioned.update(dict.fromkeys(targets(entry) or ()))
        for name, entry in sorted(self.aliases.items()):
            by_provider = targets(entry)
            starts: list[tuple[str | None, Entry]] = [(None, entry)]
            if by_provider is not None:
                starts = list(by_provider.items())
            for provider, target in starts:
                for asked in mentioned if provider is None else (provider,):
                    end = self.end_of(name, asked)
                    if end.cycle and id(end.cycle) not in told and name in end.cycle:
                        told.add(id(end.cycle))
                        if frozenset(end.cycle) not in cycles:
                            cycles.add(frozenset(end.cycle))
                            found.append(_cycle(name, end.cycle, target))
                    elif provider is not None and end.prefix not in (None, provider):
                        found.append(foreign(f"aliases.{name}", end, provider, target, f"its entry is for {provider}"))
        return found


def _cycle(name: str, cycle: tuple[str, ...], entry: Entry) -> Problem:
    start = cycle.index(name)
    turned = (*cycle[start:-1], *cycle[:start], name)
    if len(turned) > _SHOWN:
        turned = (*turned[: _SHOWN - 2], "…", *turned[-2:])
    message = f"the alias leads back to itself: {' → '.join(turned)}"
    hint = "let one of them name a model"
    return Problem(code="alias-cycle", key=f"aliases.{name}", message=message, hint=hint, origin=entry.origin)


def foreign(key: str, end: End, provider: str, entry: Entry, use: str) -> Problem:
    """`provider-mismatch`: `entry` leads to a model of another provider than the one it is used for."""
    home = end.prefix or "another provider"
    message = f"{end.name} is a model of {home}, and {use}"
    hint = f"let the provider be {home}, or name a model of {provider}"
    return Problem(code="provider-mismatch", key=key, message=message, hint=hint, origin=entry.origin)
