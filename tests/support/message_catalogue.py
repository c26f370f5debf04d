"""Collects every message of the package from its source, for one snapshot that is read as a whole.

A message is a string literal or an f-string that contains a space and is not a docstring, and the docstring of
a command, which is its help. `{…}` marks what is filled in.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

# No person reads these: patterns, structure of other formats, type names for forward references.
_NOT_PROSE = re.compile(r"^[\s\W\d]*$|\\[sdwS]|\(\?|^[A-Za-z_.]+\[[^\]]*\]( \| None)?$|^\s*<|^[a-z_]+ \| [a-zA-Z_]+$")
_COMMAND = re.compile(r"\b(command|group)\b")


def messages_of(source: str) -> list[str]:
    """The messages of one module, in the order of its lines."""
    tree = ast.parse(source)
    found: dict[tuple[int, int], str] = {}
    for node, owner in _strings(tree):
        text = _rendered(node)
        if owner == "docstring" or (owner != "help" and (" " not in text.strip() or _NOT_PROSE.search(text))):
            continue
        found[node.lineno, node.col_offset] = re.sub(r"\s*\n\s*", " ⏎ ", text.strip())
    return [found[place] for place in sorted(found)]


def catalogue(package: Path) -> str:
    """The messages of all modules of a package folder, each module under its path."""
    found = {path: messages_of(path.read_text(encoding="utf-8")) for path in sorted(package.rglob("*.py"))}
    parts = ["\n".join([f"## {path.relative_to(package).as_posix()}", *found[path]]) for path in found if found[path]]
    return "\n\n".join(parts) + "\n"


def _strings(tree: ast.Module) -> Iterator[tuple[ast.expr, str]]:
    """Each string expression that is not part of another, and whether it is a docstring or a command's help."""
    owners: dict[int, str] = {}
    inner: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                owners[id(first.value)] = "help" if _is_command(node) else "docstring"
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            owners.setdefault(id(node.value), "docstring")
        if isinstance(node, ast.JoinedStr):
            inner.update(id(value) for value in node.values if isinstance(value, ast.Constant))
            inner.update(id(value.format_spec) for value in node.values if isinstance(value, ast.FormattedValue))
    for node in ast.walk(tree):
        if id(node) in inner:
            continue
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            yield node, owners.get(id(node), "")


def _is_command(node: ast.AST) -> bool:
    """Whether a function is a click command, by its decorators."""
    decorators = getattr(node, "decorator_list", [])
    return any(_COMMAND.search(ast.unparse(decorator)) for decorator in decorators)


def _rendered(node: ast.expr) -> str:
    """The text of a string expression, with `{expression}` for what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    assert isinstance(node, ast.JoinedStr)
    return "".join(
        "{" + ast.unparse(value.value) + "}" if isinstance(value, ast.FormattedValue) else _rendered(value)
        for value in node.values
    )
