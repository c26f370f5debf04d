"""What the installed SDKs say about models, held against the packaged catalogue.

`python -m tests.support.catalogue_drift` prints the whole report; it exits with 1 when a contradiction matters.
"""

from __future__ import annotations

import datetime
import inspect
import re
import sys
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from stigmer_config.llm.catalogue import Catalogue, ModelFacts, catalogue
from stigmer_config.sources.defaults import defaults_layer


@dataclass
class Sdk:
    """What a provider's SDK and LangChain's profiles know: ids, announced ends, and facts by id."""

    ids: frozenset[str]
    ends: Mapping[str, datetime.date]
    profiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Drift:
    """One difference. `matters`: a default or an alias is wrong, or a date is."""

    model: str
    text: str
    matters: bool = False

    def __str__(self) -> str:
        return f"{'CONTRADICTION' if self.matters else 'note'}: {self.model}: {self.text}"


def installed() -> dict[str, Sdk]:
    """The data of the packages that are installed here."""
    from anthropic.resources.messages.messages import DEPRECATED_MODELS
    from anthropic.types.model import Model as AnthropicModel
    from langchain_anthropic.data._profiles import _PROFILES as ANTHROPIC
    from langchain_openai.data._profiles import _PROFILES as OPENAI
    from openai.types.shared import chat_model

    literal, _ = typing.get_args(AnthropicModel)
    ends = {model: _day(text) for model, text in DEPRECATED_MODELS.items()}
    return {
        "anthropic": Sdk(frozenset(typing.get_args(literal)) | ends.keys(), ends, ANTHROPIC),
        "openai": Sdk(
            frozenset(typing.get_args(chat_model.ChatModel)), dict(_openai_ends(inspect.getsource(chat_model))), OPENAI
        ),
    }


def _day(text: str) -> datetime.date:
    """`November 30th, 2026`."""
    plain = re.sub(r"(\d)(st|nd|rd|th)", r"\1", text)
    return datetime.datetime.strptime(plain, "%B %d, %Y").replace(tzinfo=datetime.UTC).date()


def _openai_ends(source: str) -> Iterator[tuple[str, datetime.date]]:
    """The ends in the comment below the list of ids: `- "a", "b": Announced shutdown date: 2026-12-11.`."""
    text = " ".join(source.partition('"""Deprecated values:')[2].split())
    for entry in re.split(r"- (?=\")", text):
        day = re.search(r"Announced shutdown date: (\d{4}-\d{2}-\d{2})", entry)
        if day:
            for model in re.findall(r'"([^"]+)"', entry):
                yield model, datetime.date.fromisoformat(day[1])


def chosen_by_the_package() -> dict[str, tuple[str, str]]:
    """What the packaged defaults and built-in aliases choose: where it is said → (provider, model)."""
    found: dict[str, tuple[str, str]] = {}
    for mode in ("local", "cloud"):
        for key, entry in defaults_layer(mode).entries.items():
            if re.fullmatch(r"providers\.\w+\.model", key):
                found[f"{mode}: {key}"] = (key.split(".")[1], entry.value)
            elif key.startswith("aliases."):
                for provider, target in entry.value.items():
                    found[f"{mode}: {key}.{provider}"] = (provider, target.value)
    return found


def drifts(
    known: Catalogue, sdks: Mapping[str, Sdk], chosen: Mapping[str, tuple[str, str]], today: datetime.date
) -> Iterator[Drift]:
    """Every difference, on a day."""
    for place, (provider, name) in chosen.items():
        yield from _choice(known, sdks, place, provider, name, today)
    for provider, sdk in sdks.items():
        models = {model.id: model for model in known.models if model.provider == provider}
        yield from _ends(known, provider, sdk)
        for model in models.values():
            yield from _facts(model, sdk.profiles.get(model.id, {}))
            if model.replacement and model.replacement not in models:
                yield Drift(model.id, f"its replacement {model.replacement} is not in the catalogue", matters=True)
        for unknown in sorted(sdk.ids - {name for m in models.values() for name in (m.id, *m.names)} - sdk.ends.keys()):
            yield Drift(unknown, "the SDK knows it, the catalogue does not")


def _choice(
    known: Catalogue, sdks: Mapping[str, Sdk], place: str, provider: str, name: str, today: datetime.date
) -> Iterable[Drift]:
    model = known.find(name, provider)
    if model is None:
        yield Drift(name, f"{place} chooses it, and the catalogue does not have it", matters=True)
        return
    sdk = sdks.get(provider)
    if sdk is not None and model.id not in sdk.ids:
        yield Drift(name, f"{place} chooses it, and the SDK no longer knows it", matters=True)
    left = model.days_left(today)
    if left is not None and left <= 0 and known.successor(model, today) is None:
        yield Drift(name, f"{place} chooses it, it is retired, and nothing replaces it", matters=True)
    elif left is not None and left <= 60:
        yield Drift(name, f"{place} chooses it, and it ends in {left} days: time for another default")


def _ends(known: Catalogue, provider: str, sdk: Sdk) -> Iterable[Drift]:
    for name, day in sdk.ends.items():
        model = known.find(name, provider)
        if model is None:
            yield Drift(name, f"the SDK announces its end ({day}), the catalogue does not know it")
        elif model.retires != day:
            yield Drift(name, f"its end moved: {model.retires} in the catalogue, {day} in the SDK", matters=True)


def _facts(model: ModelFacts, profile: Mapping[str, Any]) -> Iterable[Drift]:
    pairs = {
        "context": (model.context, profile.get("max_input_tokens")),
        "output": (model.output, profile.get("max_output_tokens")),
        "tools": (model.tools, profile.get("tool_calling")),
    }
    for name, (ours, theirs) in pairs.items():
        if ours is not None and theirs is not None and ours != theirs:
            yield Drift(model.id, f"{name} is {ours} in the catalogue and {theirs} in LangChain's profile")
    if model.temperature is True and profile.get("temperature") is False:
        yield Drift(model.id, "the catalogue says it takes a temperature, LangChain's profile that it does not")


def main() -> int:
    """Prints the report for today."""
    today = datetime.datetime.now(datetime.UTC).date()
    found = sorted(
        drifts(catalogue(), installed(), chosen_by_the_package(), today), key=lambda d: (not d.matters, d.model)
    )
    matter = sum(drift.matters for drift in found)
    lines = [*map(str, found), f"{matter} contradictions, {len(found)} differences; catalogue of {catalogue().as_of}"]
    sys.stdout.write("\n".join(lines) + "\n")
    return int(matter > 0)


if __name__ == "__main__":
    sys.exit(main())
