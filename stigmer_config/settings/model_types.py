"""The types of values that name a model or a provider."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ..core.problems import did_you_mean, quoted, shown_name
from .packaged_providers import PROVIDER_NAME, packaged_providers
from .value_types import InvalidValueError, ValueType

_MODEL = re.compile(r"[A-Za-z0-9._:/@+-]{1,256}")


class ModelString(ValueType, frozen=True):
    """An alias, a friendly name, a model id or `provider:model`. It ends in URLs and in commands."""

    @property
    def expects(self) -> str:
        return "a model name"

    def check(self, value: Any, what: str) -> str:
        if not isinstance(value, str):
            raise self.wrong_type(value, what, "put it in quotes" if isinstance(value, (int, float)) else "")
        if not value or (value[-1] == ":" and value[:-1].lower() in packaged_providers()):
            raise InvalidValueError("empty-model", f"{what} names no model", "give a model, or remove the line")
        if not _MODEL.fullmatch(value) or ".." in value or "//" in value:
            hint = "a model name has letters, digits and . _ : / @ + - only, without '..' or '//', 256 at most"
            raise InvalidValueError("invalid-model", f"{quoted(value)} is not a model name", hint)
        return value


class ProviderName(ValueType, frozen=True):
    """The name of a provider, or auto. Which ones there are is known once every layer is read."""

    @property
    def expects(self) -> str:
        return "the name of a provider"

    def check(self, value: Any, what: str) -> str:
        if not isinstance(value, str):
            raise self.wrong_type(value, what)
        if not PROVIDER_NAME.fullmatch(value):
            raise no_provider(value, packaged_providers())
        return value


# What people call a provider by, and other programs whose name only looks like a slip.
_MEANT = {
    "claude": "anthropic", "chatgpt": "openai", "gpt": "openai", "gemini": "google", "google_genai": "google",
    "grok": "xai", "mistral": "mistralai", "togetherai": "together", "together_ai": "together",
}  # fmt: skip
_NO_SLIP = frozenset(("llamacpp", "llama_cpp", "llama", "azure_openai", "azureopenai"))


def no_provider(name: str, known: Iterable[str]) -> InvalidValueError:
    """The fault of a provider that does not exist, among those `known`, in the order of messages."""
    known = tuple(known)
    message = f"Invalid provider {quoted(name)}. Must be one of: {', '.join(known)}"
    declare = (
        f"declare it with providers.{shown_name(name)}.kind and .base_url, or write auto to choose by the keys set"
    )
    close = "" if name.lower().replace("-", "_") in _NO_SLIP else name
    hint = did_you_mean(_MEANT.get(name.lower(), close), (*known, "auto"), declare)
    return InvalidValueError("invalid-choice", message, hint)
