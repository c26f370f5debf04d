"""The packaged providers, from `defaults/providers.yaml`, and the rule for a provider's name."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable
from typing import Literal, get_args

import msgspec

from ..core import data_files
from ..core.decoding import from_json

# The protocols: every provider speaks one.
ProviderKind = Literal["anthropic", "ollama", "openai"]
# The providers that the protocols are named after. They have defaults of their own in each mode.
CORE_PROVIDERS: tuple[str, ...] = get_args(ProviderKind)
PROVIDER_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
# Their packaged address is the company's own: it always needs a key, and serves only that company's models.
COMPANIES = frozenset({"anthropic", "openai"})


class Provider(msgspec.Struct, frozen=True):
    """The packaged facts about one provider.

    `key_variables` and `url_variables` are the variables that its own tools read; the first one that is set counts.
    `is_router`: the model decides which company receives the prompt. `models` is the page that lists its models.
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
    """The packaged providers by name, in the order of messages. Do not modify the returned mapping."""
    lines = data_files.text("providers.yaml").splitlines()
    file = from_json("\n".join(line for line in lines if not line.lstrip().startswith("#")), _File)
    return {name: file.providers[name] for name in in_order(file.providers)}


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Provider names in the order of messages: the three protocols' own first, then the others by name."""
    found = set(names)
    return (*(name for name in CORE_PROVIDERS if name in found), *sorted(found.difference(CORE_PROVIDERS)))


def is_provider(name: str, declared: Collection[str]) -> bool:
    """Whether `name` is a packaged or a declared provider."""
    return name in packaged_providers() or name in declared


def key_variables(provider: str) -> tuple[str, ...]:
    """The variables that hold a provider's key; none for one that is not packaged, or that takes no key."""
    packaged = packaged_providers().get(provider)
    return packaged.key_variables if packaged is not None else ()


def is_router(provider: str) -> bool:
    """Whether the provider is a router: the model decides which company receives the prompt."""
    packaged = packaged_providers().get(provider)
    return packaged is not None and packaged.is_router
