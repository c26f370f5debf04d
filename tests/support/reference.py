"""Sections 3 and 6 of the contract, said again: slow, obvious, and sharing no code with the package.

Only the data is the package's: the catalogue and what `defaults/<mode>.yaml` says. A layer is a name and a
flat mapping of keys to plain values; a place is (number of the layer, key). Everything is worked out anew
from the whole list of layers each time it is asked for.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import ipaddress
import re
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from ruamel.yaml import YAML

from tests.support.paths import REPOSITORY

DEFAULTS = REPOSITORY / "defaults"
PROVIDERS = ("anthropic", "ollama", "openai")  # the three
COMPANIES = ("anthropic", "openai")  # a packaged address that is the company's own
ROUTERS = ("openrouter",)
NAMED = (*PROVIDERS, "groq", *ROUTERS)  # with two of those in providers.yaml, which speak OpenAI's protocol
OWNED = ("model", "base_url", "api_key", "max_tokens", "temperature", "num_ctx", "reasoning_effort", "fallbacks")
FREE = ("timeout", "max_retries")
FIELDS = OWNED + FREE

Place = tuple[int, str]


@dataclass(frozen=True)
class Given:
    """The content of one layer. `anthropic_key`: whether `--anthropic-key` set it."""

    name: str
    values: dict[str, Any] = field(default_factory=dict)
    anthropic_key: bool = False

    def __repr__(self) -> str:  # the packaged defaults are no news in a failing example
        shown = {} if self.name == "defaults" else self.values
        return f"Given({self.name!r}, {shown!r}{', anthropic_key=True' if self.anthropic_key else ''})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        del cycle
        printer.text(repr(self))


@dataclass
class Outcome:
    """An effective LLM, the place of each value, the losers with reasons, and (code, key, layer) of each problem."""

    provider: str
    provider_place: Place
    values: dict[str, Any]
    places: dict[str, Place | None]
    lost: dict[str, list[tuple[Place, str]]]
    alias: str | None
    model_name: str | None
    model_id: str | None
    problems: set[tuple[str, str, str, str]]


# The package's data.


def _yaml(name: str) -> Any:
    return YAML(typ="safe", pure=True).load((DEFAULTS / name).read_text(encoding="utf-8"))


@functools.cache
def models() -> dict[str, tuple[str, str, dict[str, Any]]]:
    """By id and by each name: (provider, id, facts)."""
    found: dict[str, tuple[str, str, dict[str, Any]]] = {}
    for provider, group in _yaml("models.yaml")["models"].items():
        for model_id, facts in group.items():
            for name in (model_id, *facts.get("names", ())):
                found[name] = (provider, model_id, facts)
    return found


@functools.cache
def packaged(mode: str) -> Given:
    """The defaults layer of a mode, as far as it is about models."""
    file = _yaml(f"{mode}.yaml")
    values: dict[str, Any] = {"llm.provider": file["llm"]["provider"]}
    for provider, fields in file["providers"].items():
        values |= {f"providers.{provider}.{name}": value for name, value in fields.items()}
    others = _yaml("providers.yaml")["providers"]
    values |= {f"providers.{name}.base_url": others[name]["base_url"] for name in NAMED if name not in PROVIDERS}
    values |= {f"aliases.{name}": target for name, target in file["aliases"].items()}
    return Given("defaults", values)


# Aliases and model strings.


def merged_aliases(layers: list[Given]) -> dict[str, tuple[Any, Any]]:
    """Alias → (target, layer number); of a mapping: ({provider: target}, {provider: layer number})."""
    found: dict[str, tuple[Any, Any]] = {}
    for number, layer in enumerate(layers):
        for key, target in layer.values.items():
            if not key.startswith("aliases."):
                continue
            name = key.removeprefix("aliases.")
            if isinstance(target, dict):
                old, numbers = found.get(name, ({}, {}))
                if not isinstance(old, dict):
                    old, numbers = {}, {}
                found[name] = ({**old, **target}, {**numbers, **dict.fromkeys(target, number)})
            else:
                found[name] = (target, number)
    return found


@dataclass
class Chain:
    """The way of a model string through the aliases: its names, the layer of the last, and how it ends."""

    names: list[str]
    last_layer: int | None = None
    end: str | None = None
    cycle: frozenset[str] = frozenset()
    missing: bool = False


def chain(text: str, aliases: dict[str, tuple[Any, Any]], provider: str | None) -> Chain:
    way = Chain([])
    while text in aliases:
        if text in way.names:
            way.cycle = frozenset(way.names[way.names.index(text) :])
            return way
        way.names.append(text)
        target, number = aliases[text]
        if isinstance(target, dict):
            if provider not in target:
                way.missing = True
                return way
            target, number = target[provider], number[provider]
        way.last_layer = number
        text = target
    way.end = text
    return way


def prefix(text: str) -> str | None:
    head = text.split(":", maxsplit=1)[0].lower()
    return head if ":" in text and head in NAMED else None


def without_prefix(text: str) -> str:
    return text.split(":", 1)[1] if prefix(text) else text


def belongs_to(name: str) -> str | None:
    if name in models():
        return models()[name][0]
    if name.startswith("claude-"):
        return "anthropic"
    if name.startswith("gpt-") and not name.startswith("gpt-oss"):
        return "openai"
    if name.startswith(("chatgpt-", "ft:")) or re.match(r"o\d", name):
        return "openai"
    return "ollama" if ":" in name else None


def names_a_provider(text: str, aliases: dict[str, tuple[Any, Any]], *, gateway: bool) -> str | None:
    end = chain(text, aliases, None).end
    if end is None:  # a mapping names no provider, and neither does a cycle
        return None
    if prefix(end):
        return prefix(end)
    return None if gateway else belongs_to(end)


def is_ollama_cloud(target: str) -> bool:
    return prefix(target) in (None, "ollama") and target.lower().endswith(("-cloud", ":cloud"))


# URLs.


def origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return (
        parts.scheme.lower(),
        (parts.hostname or "").rstrip("."),
        parts.port or {"http": 80, "https": 443}[parts.scheme],
    )


def address(url: str) -> tuple[Any, ...]:
    return (*origin(url), urlsplit(url).path.rstrip("/"))


def is_loopback(url: str) -> bool:
    host = origin(url)[1]
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host.removeprefix("::ffff:")).is_loopback
    return host == "localhost" or host.endswith(".localhost")


class Naive:
    """The rules over one list of layers, lowest first, on one day. The project, if any, is untrusted."""

    def __init__(self, layers: list[Given], today: datetime.date) -> None:
        self.layers = layers
        self.today = today
        self.urls = {p: layers[0].values[f"providers.{p}.base_url"] for p in NAMED}
        self.aliases = merged_aliases(layers)
        self.trusted_aliases = merged_aliases([x if x.name != "project" else Given("project") for x in layers])
        self.problems: set[tuple[str, str, str, str]] = set()

    # Rules 1, 2 and 4: who names a provider, and what belongs to whom.

    @functools.cached_property
    def named(self) -> list[tuple[str, str] | None]:
        """For each layer the provider it names and the key that does, or None."""
        found: list[tuple[str, str] | None] = []
        for number in range(len(self.layers)):
            found.append(self._named(number, found))
        return found

    def _named(self, number: int, below: list[tuple[str, str] | None]) -> tuple[str, str] | None:
        layer = self.layers[number]
        aliases = self.aliases if layer.name == "project" else self.trusted_aliases
        chosen, model = layer.values.get("llm.provider"), layer.values.get("llm.model")
        if chosen not in (None, "auto"):
            return chosen, "llm.provider"
        if model is not None:
            so_far = self._last(below) or ""
            gateway = self.is_gateway(so_far, self.url_given(so_far, below, number))
            by_model = names_a_provider(model, aliases, gateway=gateway)
            if by_model is not None:
                return by_model, "llm.provider" if chosen == "auto" else "llm.model"
        if chosen == "auto":
            return self.smart_default(), "llm.provider"
        return ("anthropic", "--anthropic-key") if layer.anthropic_key else None

    def _last(self, named: list[tuple[str, str] | None]) -> str | None:
        """The provider the last trusted layer of these names."""
        for number in reversed(range(len(named))):
            one = named[number]
            if one is not None and self.layers[number].name != "project":
                return one[0]
        return None

    def url_given(self, provider: str, named: list[tuple[str, str] | None], until: int) -> str | None:
        """The base_url that the trusted layers below `until` give a provider."""
        url: str | None = None
        for number in range(until):
            layer = self.layers[number]
            if layer.name == "project":
                continue
            url = layer.values.get(f"providers.{provider}.base_url", url)
            if self._last(named[: number + 1]) == provider:
                url = layer.values.get("llm.base_url", url)
        return url

    def is_gateway(self, provider: str, url: str | None) -> bool:
        if provider not in COMPANIES:
            return provider not in PROVIDERS and provider != ""
        if url is None:
            return False
        return address(url) != address(self.urls[provider])

    def smart_default(self) -> str:
        for provider in ("anthropic", "openai"):
            key: Any = None
            for layer in self.layers:
                if layer.name != "project":
                    key = layer.values.get(f"providers.{provider}.api_key", key)
            if key is not None:
                return provider
        return "ollama"

    def in_force(self, number: int) -> str:
        """The provider in force at a layer: above the project without it, at the project with it."""
        if self.layers[number].name == "project" and self.named[number] is not None:
            return self.named[number][0]  # type: ignore[index]
        last = self._last(self.named[: number + 1])
        assert last is not None
        return last

    @property
    def provider(self) -> str:
        """The final provider, as the trusted layers end."""
        last = self._last(self.named)
        assert last is not None
        return last

    def provider_if_project_counted(self) -> str:
        return next(one[0] for one in reversed(self.named) if one is not None)

    def provider_place(self) -> Place:
        """The place of the last trusted entry that names a provider."""
        for number in reversed(range(len(self.layers))):
            one = self.named[number]
            if one is not None and self.layers[number].name != "project":
                return number, one[1]
        raise AssertionError("the defaults name a provider")

    def entries(self, name: str) -> list[tuple[Place, Any, bool]]:
        """Every `llm.<name>` and `providers.<final>.<name>`, highest first: place, value, whether it belongs."""
        found: list[tuple[Place, Any, bool]] = []
        for number in reversed(range(len(self.layers))):
            values = self.layers[number].values
            if f"llm.{name}" in values:
                belongs = name in FREE or self.in_force(number) == self.provider
                belongs = belongs and not (name == "temperature" and self.is_left_out(number))
                found.append(((number, f"llm.{name}"), values[f"llm.{name}"], belongs))
            own = f"providers.{self.provider}.{name}"
            if own in values:
                found.append(((number, own), values[own], True))
        return found

    def is_hot(self, number: int) -> bool:
        """Whether a layer's temperature is above the limit of Anthropic's protocol, and it is for that."""
        temperature = self.layers[number].values.get("llm.temperature")
        return temperature is not None and temperature > 1 and self.in_force(number) == "anthropic"

    def is_left_out(self, number: int) -> bool:
        """Whether that is a project's that names no provider: it cannot know who reads it."""
        return self.is_hot(number) and self.layers[number].name == "project" and self.named[number] is None

    def layer_name(self, place: Place | None) -> str:
        return self.layers[place[0]].name if place is not None else ""

    def problem(self, code: str, key: str, place: Place | None, severity: str = "error") -> None:
        self.problems.add((severity, code, key, self.layer_name(place)))

    # The whole of section 3.

    def outcome(self) -> Outcome:
        places: dict[str, Place | None] = {}
        values: dict[str, Any] = {}
        for name in FIELDS:
            winner = next(((place, value) for place, value, belongs in self.entries(name) if belongs), None)
            places[name], values[name] = winner if winner is not None else (None, None)
        self._disagreements()
        self._foreign_prefixes()
        self._temperatures()
        cycles = self._cycles()
        if values["base_url"] is None and self.provider in COMPANIES:
            values["base_url"] = self.urls[self.provider]
        if values["base_url"] is None:
            self.problem("missing-base-url", "llm.base_url", places["base_url"])
        if values["model"] is None:
            self.problem("missing-value", "llm.model", self.provider_place())
        way = chain(values["model"], self.aliases, self.provider) if values["model"] is not None else Chain([])
        if way.missing:
            self.problem("alias-unavailable", "llm.model", places["model"])
        if way.end is not None and prefix(way.end) not in (None, self.provider):
            on_the_way = {(places["model"] or (0, ""))[1], *(f"aliases.{name}" for name in way.names)}
            if not any(code == "provider-mismatch" and key in on_the_way for _, code, key, _ in self.problems):
                self.problem("provider-mismatch", "llm.model", places["model"])
        facts, model_name, model_id = self._model(way, places["model"], values["base_url"])
        left_out = filter(self.is_left_out, range(len(self.layers)))
        reasons: dict[Place, str] = {(number, "llm.temperature"): "dropped" for number in left_out}
        self._parameters(values, places, facts, reasons)
        passed = self._credential(values, places)
        reasons |= dict.fromkeys(passed, "bound-elsewhere")
        self.problems |= {("error", "alias-cycle", " ".join(sorted(cycle)), "") for cycle in cycles}
        return Outcome(
            provider=self.provider,
            provider_place=self.provider_place(),
            values=values,
            places=places,
            lost={name: self._lost(name, places[name], reasons) for name in FIELDS},
            alias=values["model"] if way.names and way.end is not None else None,
            model_name=model_name,
            model_id=model_id,
            problems=self.problems,
        )

    def _lost(self, name: str, winner: Place | None, reasons: dict[Place, str]) -> list[tuple[Place, str]]:
        return [
            (place, reasons.get(place, "overridden" if belongs else "provider-switched"))
            for place, _, belongs in self.entries(name)
            if place != winner
        ]

    # Rule 3: contradictions.

    def _disagreements(self) -> None:
        for number, layer in enumerate(self.layers):
            chosen, model = layer.values.get("llm.provider"), layer.values.get("llm.model")
            if chosen in (None, "auto") or model is None:
                continue
            url = self.url_given(chosen, self.named, number)
            for key in (f"providers.{chosen}.base_url", "llm.base_url"):  # its own layer's included
                url = layer.values.get(key, url)
            named = names_a_provider(model, self.aliases, gateway=self.is_gateway(chosen, url))
            if named not in (None, chosen):
                self.problem("provider-mismatch", "llm.model", (number, "llm.model"))

    def _foreign_prefixes(self) -> None:
        for number, layer in enumerate(self.layers):
            for provider in NAMED:
                key = f"providers.{provider}.model"
                end = chain(layer.values[key], self.aliases, provider).end if key in layer.values else None
                if end is not None and prefix(end) not in (None, provider):
                    self.problem("provider-mismatch", key, (number, key))
        for name, (target, numbers) in self.aliases.items():
            for provider in target if isinstance(target, dict) else ():
                end = chain(name, self.aliases, provider).end
                if end is not None and prefix(end) not in (None, provider):
                    self.problem("provider-mismatch", f"aliases.{name}", (numbers[provider], ""))

    def _temperatures(self) -> None:
        for number in filter(self.is_hot, range(len(self.layers))):
            severity = "warning" if self.is_left_out(number) else "error"
            self.problem("out-of-range", "llm.temperature", (number, "llm.temperature"), severity)

    def _cycles(self) -> set[frozenset[str]]:
        ways = [chain(name, self.aliases, provider) for name in self.aliases for provider in NAMED]
        return {way.cycle for way in ways if way.cycle}

    # Rules 5 and 6: the model, what it refuses, the credential.

    def _model(self, way: Chain, place: Place | None, url: str | None) -> tuple[dict[str, Any], str | None, str | None]:
        """What is known of the model that is called, its name, and the id to send."""
        if way.end is None or prefix(way.end) not in (None, self.provider):
            return {}, None, None
        name = without_prefix(way.end)
        home, model_id, facts = models().get(name, ("", name, {}))
        if home != self.provider:
            if home == "" and self._doubts(name, url) and not self._contradicts(place):
                self.problem("doubtful-model", "llm.model", place, "warning")
            return {}, name, name
        left = self._days_left(facts)
        if left is None or left > 60:
            return facts, name, model_id
        chooser = way.last_layer if way.last_layer is not None else (place or (0, ""))[0]
        if left > 0:
            if chooser != 0:
                self.problem("model-retiring", "llm.model", place, "warning")
            return facts, name, model_id
        while chooser == 0 and "replacement" in facts:
            _, replacement_id, facts_then = models()[facts["replacement"]]
            facts = facts_then
            left = self._days_left(facts)
            if left is None or left > 0:
                return facts, name, replacement_id
        self.problem("model-retired", "llm.model", place, "warning")
        return models()[name][2], name, model_id

    def _doubts(self, name: str, url: str | None) -> bool:
        """Whether a name has not the form of the company's models, at the company's own address."""
        if self.provider not in COMPANIES or url is None or self.is_gateway(self.provider, url):
            return False
        return belongs_to(name) != self.provider

    def _contradicts(self, place: Place | None) -> bool:
        """Whether the layer of the model contradicts itself."""
        return ("error", "provider-mismatch", (place or (0, ""))[1], self.layer_name(place)) in self.problems

    def _days_left(self, facts: dict[str, Any]) -> int | None:
        if "retires" not in facts:
            return None
        return (datetime.date.fromisoformat(facts["retires"]) - self.today).days

    def _parameters(
        self, values: dict[str, Any], places: dict[str, Place | None], facts: dict[str, Any], reasons: dict[Place, str]
    ) -> None:
        effort = values["reasoning_effort"]
        takes = facts.get("temperature")
        refused = {
            "temperature": takes is False or (takes == "without-reasoning" and effort != "none"),
            "num_ctx": self.provider != "ollama",
            "reasoning_effort": facts.get("reasoning") is False and effort != "none",
        }
        for name, is_refused in refused.items():
            place, model_place = places[name], places["model"]
            if not is_refused or values[name] is None or place is None:
                continue
            if model_place is not None and place[0] == model_place[0]:
                self.problem("unsupported-parameter", f"llm.{name}", place)
            else:
                self.problem("unsupported-parameter", f"llm.{name}", place, "warning")
                reasons[place] = "dropped"
                values[name], places[name] = None, None

    def _credential(self, values: dict[str, Any], places: dict[str, Place | None]) -> list[Place]:
        """Sets the key that may be used and returns those that were passed over."""
        needs = self.provider != "ollama"
        if not needs:
            unused = [
                p for p, value, own in self.entries("api_key") if own and p[1] == "llm.api_key" and value is not None
            ]
            if unused:
                self.problem("unused-credential", "llm.api_key", unused[0], "warning")
        passed: list[Place] = []
        values["api_key"], places["api_key"] = None, None
        for place, value, belongs in self.entries("api_key"):
            if not belongs or (not needs and place[1] == "llm.api_key"):
                continue
            if value is not None and values["base_url"] is not None:
                pin = self._pin(place[0])
                if pin is None or origin(pin) != origin(values["base_url"]):
                    passed.append(place)
                    continue
            values["api_key"], places["api_key"] = value, place
            break
        url = values["base_url"]
        at_home = url is not None and not self.is_gateway(self.provider, url)
        # A null that was written: no key is sent. One below a key that was passed over was not meant for this.
        written = places["api_key"] is not None and not passed
        if values["api_key"] is None and needs and url and (at_home or (not written and origin(url)[0] == "https")):
            code = "credential-binding" if passed else "missing-api-key"
            self.problem(code, "llm.api_key", None)
        if values["api_key"] is not None and url and origin(url)[0] == "http" and not is_loopback(url):
            self.problem("insecure-endpoint", "llm.base_url", places["base_url"], "warning")
        return passed

    def _pin(self, number: int) -> str | None:
        """The URL a credential of a layer was given for: an override's own, or what all below the overrides say."""
        if self.layers[number].name == "execution":
            until = number + 1
        else:
            until = sum(layer.name != "execution" for layer in self.layers)
        url = self.url_given(self.provider, self.named, until)
        return self.urls[self.provider] if url is None and self.provider in COMPANIES else url


# Section 6: what an untrusted project may not do.


def is_locked(key: str, locks: set[str]) -> bool:
    return any(key == lock or key.startswith(lock + ".") for lock in locks)


class Vetting:
    """One project layer: what is `left` of it under the rules, in their order, and key → code of what is `refused`."""

    def __init__(self, layers: list[Given], here: int, today: datetime.date) -> None:
        self.layers = layers
        self.here = here
        self.today = today
        self.left = dict(layers[here].values)
        self.refused: dict[str, str] = {}
        self.without = self.rules({})
        self.home = self.without.provider
        self.by_class()
        self.aliases()
        self.provider()
        self.model()
        self.fallbacks()
        self.own_models()

    def rules(self, project: dict[str, Any]) -> Naive:
        """The rules over all layers, with these words in the project's."""
        below, above = self.layers[: self.here], self.layers[self.here + 1 :]
        return Naive([*below, Given("project", dict(project)), *above], self.today)

    def refuse(self, key: str, code: str) -> None:
        del self.left[key]
        self.refused[key] = code

    def locks(self) -> set[str]:
        return {lock for layer in self.without.layers for lock in layer.values.get("locked", ())}

    def by_class(self) -> None:
        """Never in a project; secrets; locked keys; protected keys."""
        for key in list(self.left):
            if key in ("mode", "locked"):
                self.refuse(key, "forbidden-in-project")
            elif key.endswith((".api_key", ".password")):
                self.refuse(key, "secret-in-project")
            elif is_locked(key, self.locks()):
                self.refuse(key, "locked-key")
            elif key.endswith(".base_url") or key.split(".")[0] not in ("llm", "providers", "aliases"):
                self.refuse(key, "untrusted-key")

    def aliases(self) -> None:
        """An alias to another provider, of a known model's name, or to Ollama's cloud.

        What a refused one stood in the way of is judged again: behind it another may end elsewhere.
        """
        for key in [
            key for key in self.left if key.startswith("aliases.") and key.removeprefix("aliases.") in models()
        ]:
            self.refuse(key, "untrusted-key")
        before = None
        while before != self.left:
            before = dict(self.left)
            self.aliases_that_lead_away()

    def aliases_that_lead_away(self) -> None:
        aliases = self.rules(self.left).aliases
        gateway = self.without.is_gateway(
            self.home, self.without.url_given(self.home, self.without.named, len(self.layers))
        )
        for key in [key for key in self.left if key.startswith("aliases.")]:
            target = self.left[key]
            named = None
            if not isinstance(target, dict):
                named = names_a_provider(target, aliases, gateway=gateway)
                target = dict.fromkeys((*PROVIDERS, self.home), target)
            away = any(read_by_others(text, aliases, provider) for provider, text in target.items())
            if named not in (None, self.home) or away:
                self.refuse(key, "untrusted-key")

    def provider(self) -> None:
        """`llm.provider` where the final provider would differ; with it falls the model."""
        if "llm.provider" in self.left and self.rules(self.left).provider_if_project_counted() != self.home:
            self.refuse("llm.provider", "untrusted-key")
        if "llm.provider" in self.refused:
            self.left.pop("llm.model", None)

    def model(self) -> None:
        """`llm.model` where the final provider would differ, to Ollama's cloud, or behind a router."""
        if "llm.model" in self.left:
            now = self.rules(self.left)
            others = read_by_others(self.left["llm.model"], now.aliases, now.in_force(self.here))
            away = now.provider_if_project_counted() != self.home
            if away or others:
                locked = away and is_locked("llm.provider", self.locks())
                self.refuse("llm.model", "locked-key" if locked else "untrusted-key")

    def fallbacks(self) -> None:
        """`llm.fallbacks` with an item of a provider that is not in use without the project."""
        if self.left.get("llm.fallbacks"):
            now = self.rules(self.left)
            own = [value for _, value, belongs in self.without.entries("fallbacks") if belongs]
            allowed = {
                self.home,
                *(with_model(self.without, item).provider for item in (own[0] if own else None) or ()),
            }
            for item in self.left["llm.fallbacks"]:
                provider = with_model(now, item).provider
                if provider not in allowed or read_by_others(item, now.aliases, provider):
                    self.refuse("llm.fallbacks", "untrusted-key")
                    return

    def own_models(self) -> None:
        """A provider's own model: the same rule against Ollama's cloud, and behind a router."""
        for provider in NAMED:
            key = f"providers.{provider}.model"
            if key in self.left and read_by_others(self.left[key], self.rules(self.left).aliases, provider):
                self.refuse(key, "untrusted-key")


def with_model(rules: Naive, model: str) -> Naive:
    """The rules with an override of the model."""
    return Naive([*rules.layers, Given("execution", {"llm.model": model})], rules.today)


def read_by_others(text: str, aliases: dict[str, tuple[Any, Any]], provider: str) -> bool:
    """Whether others than the provider's own machines read the prompt: behind a router, or in Ollama's cloud."""
    end = chain(text, aliases, provider).end
    is_cloud = end is not None and (prefix(end) or provider) == "ollama" and is_ollama_cloud(end)
    return provider in ROUTERS or is_cloud


def vet(layers: list[Given], today: datetime.date) -> tuple[list[Given], dict[str, str]]:
    """The layers with what counts of the project, and key → code of what was refused in it."""
    here = next((number for number, layer in enumerate(layers) if layer.name == "project"), None)
    if here is None:
        return layers, {}
    vetting = Vetting(layers, here, today)
    return vetting.rules(vetting.left).layers, vetting.refused


def effective(layers: list[Given], today: datetime.date) -> Outcome:
    """The whole way: the project vetted (without the overrides, which come later), then section 3."""
    loaded = [layer for layer in layers if layer.name != "execution"]
    vetted, refused = vet(loaded, today)
    naive = Naive([*vetted, *layers[len(loaded) :]], today)
    outcome = naive.outcome()
    outcome.problems |= {("error", code, key, "project") for key, code in refused.items()}
    for here, layer in enumerate(layers):
        for name in FIELDS if layer.name == "project" else ():
            outcome.lost[name] = _with_refused(naive, outcome, name, layer, here, refused)
    return outcome


def _with_refused(
    naive: Naive, outcome: Outcome, name: str, project: Given, here: int, refused: dict[str, str]
) -> list[tuple[Place, str]]:
    """The losers of a field with those that vetting took out, where they belong in the order."""
    lost = list(outcome.lost[name])
    for key in (f"llm.{name}", f"providers.{naive.provider}.{name}"):
        counted = key in naive.layers[here].values
        if key in project.values and not counted:
            code = refused.get(key) or refused["llm.provider"]  # with a refused provider falls its model
            reason = {"untrusted-key": "untrusted", "locked-key": "locked"}.get(code)
            if reason is not None:
                lost.append(((here, key), reason))
    return sorted(lost, key=lambda row: (-row[0][0], not row[0][1].startswith("llm.")))


def with_project_layer(layers: list[Given], values: dict[str, Any]) -> list[Given]:
    """The same layers with other words in the project's."""
    return [replace(layer, values=values) if layer.name == "project" else layer for layer in layers]
