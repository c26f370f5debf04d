"""Detects values that another tool was meant to expand: `${NAME}`, `env:NAME`, quotes, `NAME=value`.

Nothing in a file or a variable is evaluated. Such a value is used as it is, with a warning.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..core.problems import Problem
from ..core.provenance import LayerName, Origin
from ..core.secret import Secret

if TYPE_CHECKING:
    from .declarations import Setting

_NAME = "[A-Za-z_][A-Za-z0-9_]*"
_BRACES = rf"\$\{{(?:{_NAME})(?:[:?+-][^}}]*)?\}}"
_TEMPLATE = r"\{\{.*?\}\}"
_REFERENCE = rf"{_BRACES}|\$(?:{_NAME})|{_TEMPLATE}|env:(?:{_NAME})|os\.environ/(?:{_NAME})"
# Inside a longer string. A credential may contain these characters by chance, so there only a whole reference counts.
_PARTLY = rf"{_BRACES}|{_TEMPLATE}|^\$(?:{_NAME})(?=/)"
# Uppercase with an underscore is a variable's name; anything else might be a password that begins with a dollar sign.
_VARIABLE = r"(?<![A-Za-z0-9_])[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+(?![A-Za-z0-9_])"
_ASSIGNMENT = r"[A-Z][A-Z0-9_]{2,}=[^=]"
_QUOTES = "\"'`"
_FILES: frozenset[LayerName] = frozenset({"site", "etcd", "user", "project"})


def looks_like_reference(text: str, *, is_secret: bool) -> bool:
    """Whether a string is a reference that other tools expand, or (unless it is a secret) contains one."""
    if "$" not in text and "{" not in text and not text.startswith(("env:", "os.environ/")):
        return False  # a fast check that settles nearly every string without a regular expression
    return bool(re.fullmatch(_REFERENCE, text, re.DOTALL) or (not is_secret and re.search(_PARTLY, text, re.DOTALL)))


def reference_hint(setting: Setting, text: str, origin: Origin) -> str:
    """The hint: what to write instead of a reference."""
    if setting.is_secret and origin.layer in _FILES:
        name = re.search(_VARIABLE, text)
        return f"nothing in a file is evaluated: write {{env: {name.group() if name else 'NAME'}}}"
    where = "in a file" if origin.layer in _FILES else "here"
    own = setting.variable if setting.variable != origin.source else None
    return f"nothing {where} is evaluated: write the value itself{f', or set {own}' if own else ''}"


def uninterpolated(setting: Setting, value: Any, origin: Origin, key: str) -> Problem | None:
    """The warning for a layer's value that looks like a reference, or is a credential in quotes or `NAME=…`."""
    text = value.reveal() if type(value) is Secret else value if type(value) is str else ""
    if text and looks_like_reference(text, is_secret=setting.is_secret):
        return _warning(key, "looks like a reference", reference_hint(setting, text, origin), origin)
    return uninterpolated_credential(text, origin, key) if setting.is_secret else None


def uninterpolated_credential(text: str, origin: Origin, key: str) -> Problem | None:
    """The same for a credential that was read through a secret reference."""
    if len(text) > 2 and text[0] == text[-1] and text[0] in _QUOTES:
        return _warning(key, "is in quotes", "remove the quotes; docker --env-file keeps them", origin)
    if re.match(_ASSIGNMENT, text):
        return _warning(key, "reads NAME=…", "keep only what follows the =", origin)
    if looks_like_reference(text, is_secret=True):
        return _warning(key, "looks like a reference", "nothing is evaluated in it: put the key itself there", origin)
    return None


def _warning(key: str, what: str, hint: str, origin: Origin) -> Problem:
    message = f"{what}, and is used as it is"
    return Problem(severity="warning", code="not-interpolated", key=key, message=message, hint=hint, origin=origin)
