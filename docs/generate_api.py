"""Writes docs/api.md from the signatures and docstrings of the public names; `generate.py` runs it."""

from __future__ import annotations

import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import stigmer_config
from stigmer_config import testing
from stigmer_config.config import sections
from stigmer_config.core import provenance
from stigmer_config.integrations import chat, metrics
from stigmer_config.loading import request
from stigmer_config.settings import built_in_sections

PAGE = Path(__file__).with_name("api.md")
_WIDTH = 100
_HEAD = """\
# Python API

<!-- Made by `python docs/generate.py` from signatures and docstrings: do not edit it here. -->

Every public name, with its signature, its fields and what it raises. All of them are typed (`py.typed`); nothing else
in the package is public. [Write a worker](worker.md), [Reload](reload.md), [Your own settings](apps.md) and
[Testing](testing.md) show them in use.
"""
# Each public name once: test_docs.py compares them with `__all__`.
_TOP: tuple[tuple[str, str, tuple[Any, ...]], ...] = (
    ("Loading", "stigmer_config", ("load", "Config", "LLMConfig", "Secret", "ConfigError", "Problem", "Environment")),
    (
        "Following changes",
        "stigmer_config",
        ("LiveConfig", "Status", "Reloaded", "Unchanged", "Rejected", "Closed", "Forked"),
    ),
    ("Provenance", "stigmer_config", ("Explanation", "Origin", "Change")),
    ("Your own settings", "stigmer_config", ("app", "setting")),
    ("Logging", "stigmer_config", ("redact_secrets",)),
)
_MODULES: tuple[tuple[str, Any, tuple[str, ...]], ...] = (
    ("Model clients", chat, ("chat_model", "chat_models", "parse_model_string", "MissingExtra")),
    ("OpenTelemetry metrics", metrics, ("observe",)),
    ("Tests", testing, ("make_config", "sandbox", "Sandbox", "live", "Live")),
)
_PARTS = (
    sections.ProviderConfig,
    built_in_sections.TemporalConfig,
    built_in_sections.BackendConfig,
    built_in_sections.SandboxConfig,
    built_in_sections.RedisConfig,
    built_in_sections.LoggingConfig,
    provenance.Loser,
    provenance.Hop,
)
_INTERNAL = {"LiveConfig": {"begin"}, "Config": {"schema", "application_keys", "unregistered"}}


def page() -> str:
    """The whole page."""
    parts = [_HEAD]
    for title, module, names in _TOP:
        parts.append(f"## {title}\n\n`from {module} import {', '.join(names)}`\n")
        parts += [part for name in names for part in _described(name, getattr(stigmer_config, name))]
    for title, module, names in _MODULES:
        imported = f"`from {module.__name__} import {', '.join(names)}`"
        parts.append(f"## {title}\n\n{imported}\n")
        parts += [part for name in names for part in _described(name, getattr(module, name))]
    parts.append("## Parts of the above\n\nThe types of some fields. Programs read them and do not make them.\n")
    parts += [part for part_class in _PARTS for part in _described(part_class.__name__, part_class)]
    return "\n".join(parts)


def _described(name: str, value: Any) -> Iterator[str]:
    yield f"### {name}\n"
    if not inspect.isclass(value):
        yield _signature(name, value)
        yield f"{_doc(value)}\n"
        return
    if not _is_struct(value) and "__init__" in vars(value) and name not in {"LiveConfig", "Sandbox", "Live"}:
        yield _signature(name, value.__init__)
    yield f"{_doc(value)}\n"
    fields = _fields(name, value)
    if fields:
        rows = "".join(f"| `{field}` | `{kind.replace('|', chr(92) + '|')}` |\n" for field, kind in fields)
        yield f"| attribute | type |\n| --- | --- |\n{rows}"
    for member, described in vars(value).items():
        if member.startswith("_") or member in _INTERNAL.get(name, ()) or not _is_method(described):
            continue
        yield f"#### {name}.{member}\n"
        yield _signature(member, getattr(described, "__func__", described), owner=name)
        yield f"{_doc(described)}\n"


def _is_struct(value: type) -> bool:
    return hasattr(value, "__struct_fields__")


def _is_method(value: Any) -> bool:
    return inspect.isfunction(value) or isinstance(value, classmethod | staticmethod)


def _fields(name: str, value: type) -> list[tuple[str, str]]:
    """A struct's fields, other annotated attributes, and properties, each with its type."""
    annotated = [(field, _type(kind, value)) for field, kind in inspect.get_annotations(value).items()]
    properties = [
        (field, _type(inspect.get_annotations(described.fget).get("return", "Any"), value))
        for field, described in vars(value).items()
        if isinstance(described, property) and described.fget is not None
    ]
    internal = _INTERNAL.get(name, set())
    return [field for field in annotated + properties if not field[0].startswith("_") and field[0] not in internal]


def _doc(value: Any) -> str:
    text = inspect.getdoc(value)
    if not text:
        return ""
    return re.sub(r"^```python\n.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL).strip()


def _signature(name: str, function: Callable[..., Any], owner: str | None = None) -> str:
    """The call as a line of Python, on several lines where it is long; `self` and `cls` are left out."""
    signature = inspect.signature(function)
    parameters = [p for p in signature.parameters.values() if p.name not in {"self", "cls"}]
    shown, starred = [], False
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            starred = True
            shown.append("*")
        starred = starred or parameter.kind is parameter.VAR_POSITIONAL
        shown.append(str(parameter.replace(annotation=_Bare(_type(parameter.annotation, function)))))
    returns = "" if owner is None and name[0].isupper() else f" -> {_type(signature.return_annotation, function)}"
    start = "async def" if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function) else "def"
    prefix = f"{start} {name}("
    line = f"{prefix}{', '.join(shown)}){returns}"
    if len(line) > _WIDTH:
        line = prefix + "".join(f"\n    {parameter}," for parameter in shown) + f"\n){returns}"
    return f"```text\n{line}\n```\n"


def _written(annotation: Any) -> str:
    """An evaluated annotation, without what `Annotated` says beside the type."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _written(typing.get_args(annotation)[0])
    if isinstance(annotation, types.UnionType):
        return " | ".join(_written(part) for part in typing.get_args(annotation))
    if annotation is type(None):
        return "None"
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).removeprefix("typing.")


def _type(annotation: Any, owner: Any) -> str:
    """An annotation as it is written in the source, with the values of the choices that it names."""
    if not isinstance(annotation, str):
        return _written(annotation)
    names = {"ProjectDir": request.ProjectDir, **vars(sys.modules[owner.__module__])}
    return re.sub(r"\b[A-Z]\w+\b", lambda found: _choices(names.get(found[0])) or found[0], str(annotation))


def _choices(value: Any) -> str | None:
    """The members of a `Literal`, or of a union that has a name; None for anything else."""
    if typing.get_origin(value) is typing.Literal:
        return f"Literal[{', '.join(map(repr, typing.get_args(value)))}]"
    if typing.get_origin(value) in {typing.Union, types.UnionType}:
        return " | ".join(_choices(part) or _class_name(part) for part in typing.get_args(value))
    return None


def _class_name(value: type) -> str:
    return "None" if value is type(None) else value.__name__


class _Bare:
    """An annotation that prints as it is written in the source."""

    def __init__(self, annotation: Any) -> None:
        self._text = str(annotation)

    def __repr__(self) -> str:
        return self._text
