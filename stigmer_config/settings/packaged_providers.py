"""The packaged providers, from `defaults/providers.yaml`, and what a provider's name may be."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable

import msgspec

from ..core import data_files
from ..core.decoding import from_json

# These three have defaults of their own in each mode, and name the protocols that every provider speaks one of.
CORE_PROVIDERS = ("anthropic", "ollama", "openai")
PROVIDER_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
# Their packaged address is the company's own: it always needs a key, and serves that company's models only.
COMPANIES = frozenset({"anthropic", "openai"})


class Provider(msgspec.Struct, frozen=True):
    """What is packaged about one provider.

    `key_variables` and `url_variables` are the variables that its own tools read, the first that is set counts.
    `is_router`: behind it the model decides who reads the prompt. `models` is the page that lists its models.
    """

    kind: str
    base_url: str | None = None
    key_variables: tuple[str, ...] = ()
    url_variables: tuple[str, ...] = ()
    is_router: bool = msgspec.field(default=False, name="router")
    models: str = ""


class _File(msgspec.Struct, frozen=True):
    providers: dict[str, Provider]


@functools.cache
def packaged_providers() -> dict[str, Provider]:
    """The packaged providers by name, in the order of messages. Not to be changed."""
    lines = data_files.text("providers.yaml").splitlines()
    file = from_json("\n".join(line for line in lines if not line.lstrip().startswith("#")), _File)
    return {name: file.providers[name] for name in in_order(file.providers)}


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names of providers as messages list them: the three first, then the others by name."""
    found = set(names)
    return (*(name for name in CORE_PROVIDERS if name in found), *sorted(found.difference(CORE_PROVIDERS)))


def is_provider(name: str, declared: Collection[str]) -> bool:
    """Whether `name` is a provider: a packaged one, or one of those that are declared."""
    return name in packaged_providers() or name in declared


def key_variables(provider: str) -> tuple[str, ...]:
    """The variables that hold the key of a provider; none for one that is not packaged, or takes no key."""
    packaged = packaged_providers().get(provider)
    return packaged.key_variables if packaged is not None else ()


def is_router(provider: str) -> bool:
    """Whether the model decides who reads the prompt, behind this provider."""
    packaged = packaged_providers().get(provider)
    return packaged is not None and packaged.is_router
