"""Types of what a request contains besides the model: further parameters, headers, and the fallback models."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from ..core.frozen_map import FrozenMap
from ..core.problems import quoted
from ..core.secret import Masked, Secret
from .model_types import ModelString
from .value_types import MAX_INT, InvalidValueError, ValueType, described, shape

MAX_FALLBACKS = 8
# A project may only set how tokens are sampled. Other parameters may have wider effects (store, service_tier).
OPEN_PARAMETERS = frozenset(
    {"top_p", "top_k", "min_p", "seed", "stop", "frequency_penalty", "presence_penalty", "repeat_penalty"}
)

_PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_MAX_DEPTH = 16
MAX_TEXT = 8192
# Parameters that have a setting, by the protocols' names.
_SETTINGS = {
    **dict.fromkeys(("model",), "llm.model"),
    **dict.fromkeys(
        ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_tokens_to_sample", "num_predict"),
        "llm.max_tokens",
    ),
    **dict.fromkeys(("temperature",), "llm.temperature"),
    **dict.fromkeys(("num_ctx",), "llm.num_ctx"),
    **dict.fromkeys(("reasoning_effort", "reasoning", "think"), "llm.reasoning_effort"),
    **dict.fromkeys(("timeout",), "llm.timeout"),
    **dict.fromkeys(("max_retries",), "llm.max_retries"),
    **dict.fromkeys(("base_url",), "llm.base_url"),
    **dict.fromkeys(("api_key",), "llm.api_key"),
    **dict.fromkeys(("fallbacks",), "llm.fallbacks"),
    **dict.fromkeys(("headers", "extra_headers", "default_headers"), "providers.<provider>.headers"),
    **dict.fromkeys(("parameters", "extra_body", "options", "model_kwargs"), "llm.parameters"),
}
# Set by the program, not by the configuration.
_PROMPT = frozenset(
    {
        *("messages", "input", "system", "instructions", "prompt", "stream"),
        *("tools", "tool_choice", "functions", "function_call"),
    }
)

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")  # RFC 9110, 5.6.2
_CREDENTIAL_WORDS = ("key", "token", "secret", "auth", "cookie")
_NOT_HEADERS = frozenset({"host", "connection", "transfer-encoding"})


class Parameters(ValueType, frozen=True):
    """Further parameters of a request: a mapping of names to scalars, lists and mappings. None removes one."""

    @property
    def expects(self) -> str:
        return "a mapping of parameters"

    def check(self, value: Any, what: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise self.wrong_type(value, what, f"for example {what.rpartition('.')[2]}: {{top_p: 0.9}}")
        return {name: self.check_item(name, item, what) for name, item in value.items()}

    def check_item(self, name: Any, value: Any, what: str) -> Any:
        """Checks one parameter's value and freezes it. Raises `InvalidValueError`."""
        if not isinstance(name, str) or not _PARAMETER.fullmatch(name):
            hint = "a parameter has letters, digits and _ only, 64 at most"
            raise InvalidValueError("wrong-type", f"{quoted(str(name))} is not the name of a parameter", hint)
        folded = name.lower()
        if folded in _SETTINGS:
            setting = _SETTINGS[folded]
            raise InvalidValueError("unsupported-parameter", f"{what} may not hold {name}", f"set {setting} instead")
        if folded in _PROMPT:
            message = f"{what} may not hold {name}: the program sets it"
            raise InvalidValueError("unsupported-parameter", message, f"remove {name}")
        return _frozen(value, f"{what}.{name}", 0)

    def parse(self, text: str, what: str) -> dict[str, Any]:
        return self.check(_json(text, self, what), what)


class Headers(ValueType, frozen=True):
    """Headers of every request, by name in lowercase. The values are masked; None removes one."""

    @property
    def expects(self) -> str:
        return "a mapping of headers"

    def check(self, value: Any, what: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise InvalidValueError(
                "wrong-type", f"{what} must be {self.expects}, not {shape(value)}", "for example {X-Team: agents}"
            )
        found: dict[str, Any] = {}
        for name, item in value.items():
            header = self.check_name(name, what)
            if header in found:
                raise InvalidValueError("duplicate-key", f"{quoted(header)} is given twice", "remove one of the two")
            found[header] = self.check_item(header, item, what)
        return found

    def check_name(self, name: Any, what: str) -> str:
        """Checks a header's name and returns it in lowercase. Raises `InvalidValueError`."""
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            hint = "a header has letters, digits and - only, for example X-Team"
            raise InvalidValueError("wrong-type", f"{what} has a name that is not a header's", hint)
        header = name.lower()
        if header in _NOT_HEADERS or header.startswith("content-"):
            message = f"{what} may not hold {name}: the HTTP client sets it"
            raise InvalidValueError("unsupported-parameter", message, f"remove {name}")
        return header

    def check_item(self, header: str, value: Any, what: str) -> Secret | None:
        """Checks one header's value. Raises `InvalidValueError`."""
        if value is None or isinstance(value, Secret):
            return value
        if not isinstance(value, str):
            hint = "put it in quotes" if isinstance(value, (int, float)) else ""
            raise InvalidValueError("wrong-type", f"{what}.{header} must be text, not {shape(value)}", hint)
        text = value.strip()
        if not text or not text.isascii() or not text.isprintable():
            message = f"{what}.{header} must be one line of printable ASCII characters"
            raise InvalidValueError("invalid-credential", message, "give the header's value alone")
        return Secret(text) if is_credential(header) else Masked(text)

    def parse(self, text: str, what: str) -> dict[str, Any]:
        return self.check(_json(text, self, what), what)


class ModelList(ValueType, frozen=True):
    """A list of model strings, in their order."""

    @property
    def expects(self) -> str:
        return "a list of models"

    def check(self, value: Any, what: str) -> tuple[str, ...]:
        if not isinstance(value, (list, tuple)):
            raise self.wrong_type(value, what, "for example [gpt-6-luna, claude-haiku-5-5]")
        if len(value) > MAX_FALLBACKS:
            raise InvalidValueError("out-of-range", f"{what} must have at most {MAX_FALLBACKS} models")
        return tuple(self.check_item(item, what) for item in value)

    def check_item(self, value: Any, what: str) -> str:
        """Checks one model string. Raises `InvalidValueError`."""
        if not isinstance(value, str):
            message = f"{what} must be {self.expects}, and one of its items is {described(value)}"
            raise InvalidValueError("wrong-type", message, "for example [gpt-6-luna, claude-haiku-5-5]")
        return ModelString().check(value, what)

    def parse(self, text: str, what: str) -> tuple[str, ...]:
        return self.check([part.strip() for part in text.strip("[] ").split(",") if part.strip()], what)


def is_credential(header: str) -> bool:
    """Whether a header's name looks like a credential's."""
    folded = header.lower()
    return any(word in folded for word in _CREDENTIAL_WORDS)


def _json(text: str, value_type: ValueType, what: str) -> Any:
    import json  # imported late: few variables are JSON

    try:
        return json.loads(text)
    except ValueError:
        message = f"{what} must be {value_type.expects}, written as JSON"
        raise InvalidValueError("wrong-type", message, """for example '{"top_p": 0.9}'""") from None


def _frozen(value: Any, what: str, depth: int) -> Any:
    """Freezes a parameter's value. Raises `InvalidValueError`."""
    if depth > _MAX_DEPTH:
        raise InvalidValueError("out-of-range", f"{what} is nested more than {_MAX_DEPTH} deep")
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise InvalidValueError("wrong-type", f"{what} has a key that is not text")
        return FrozenMap({name: _frozen(item, what, depth + 1) for name, item in value.items()})
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(item, what, depth + 1) for item in value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        if len(value) > MAX_TEXT or "\0" in value:
            raise InvalidValueError("out-of-range", f"{what} must be text of at most {MAX_TEXT} characters")
        return value
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        if not -MAX_INT <= value <= MAX_INT:
            raise InvalidValueError("out-of-range", f"{what} must hold numbers that fit into 64 bits")
        return value
    raise InvalidValueError("wrong-type", f"{what} must hold finite numbers, strings, lists and mappings only")
