"""What the SDKs say about models, held against the packaged catalogue.

    python -m tests.support.catalogue_drift [--newest]

Prints the whole report for the installed SDKs, or for the newest ones of the package index, which it installs into
.venvs/newest-sdks. The exit status is 1 when a contradiction matters.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import inspect
import os
import re
import shutil
import subprocess
import sys
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from stigmer_config.llm.catalogue import Catalogue, ModelFacts, catalogue
from stigmer_config.sources.defaults import defaults_layer

from .paths import REPOSITORY
from .versions import INSTALL_SECONDS, has_uv, why_not

PACKAGES = ("anthropic", "langchain-anthropic", "openai", "langchain-openai")
NEWEST = REPOSITORY / ".venvs" / "newest-sdks"


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
        yield from _ends(known, provider, sdk, today)
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
        yield Drift(name, f"{place} chooses it, and it ends on {model.retires}: time for another default")


def _ends(known: Catalogue, provider: str, sdk: Sdk, today: datetime.date) -> Iterable[Drift]:
    for name, day in sdk.ends.items():
        model = known.find(name, provider)
        if model is None:
            if day > today:  # a model that has ended is not missed
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


def report() -> int:
    """Prints the differences on this day to the SDKs that can be imported."""
    today = datetime.datetime.now(datetime.UTC).date()
    try:
        sdks = installed()
    except (ImportError, AttributeError) as error:
        sys.stdout.write(f"CONTRADICTION: the SDKs no longer have their models where this looks: {error}\n")
        return 1
    found = sorted(drifts(catalogue(), sdks, chosen_by_the_package(), today), key=lambda d: (not d.matters, d.model))
    matter = sum(drift.matters for drift in found)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    counts = f"{matter} contradictions, {len(found) - matter} notes"
    lines = [*map(str, found), f"{counts}: the catalogue of {catalogue().as_of} against {versions}"]
    sys.stdout.write("\n".join(lines) + "\n")
    return int(matter > 0)


def report_on_the_newest() -> int:
    """The report for the newest SDKs of the index, in a process that imports them; without an index, for those here."""
    shutil.rmtree(NEWEST, ignore_errors=True)
    install = ["uv", "pip", "install"] if has_uv() else [sys.executable, "-m", "pip", "install", "--no-compile"]
    command = [*install, "-q", "--target", str(NEWEST), *PACKAGES]
    try:
        subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        sys.stdout.write(f"The newest SDKs cannot be installed here, so these are the locked ones: {why_not(error)}\n")
        return report()
    command = [sys.executable, "-m", "tests.support.catalogue_drift"]
    return subprocess.run(command, check=False, env={**os.environ, "PYTHONPATH": str(NEWEST)}).returncode


if __name__ == "__main__":
    sys.exit(report_on_the_newest() if "--newest" in sys.argv else report())
