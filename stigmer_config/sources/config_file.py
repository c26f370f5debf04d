"""Makes a layer from a configuration file: bytes, text, tree, entries, and the faults of each stage."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from ..core.problems import Problem
from ..core.provenance import Entry, Layer, LayerName, Origin
from ..settings.declarations import BUILT_IN
from ..settings.schema import Schema
from .checked_read import Contents, read_contents
from .entries import Collector
from .yaml.parser import YamlReader, line_and_column

# With these faults the whole file is ignored: its bytes may not be what its owner wrote.
_FATAL = frozenset({"yaml-syntax", "yaml-forbidden", "too-large", "not-a-mapping", "bad-encoding", "unreadable-file"})


def file_layer(
    path: str, layer: LayerName, uid: int, *, named: bool = False, schema: Schema = BUILT_IN
) -> tuple[Layer, list[Problem]]:
    """Reads one configuration file.

    A missing file is an `absent` layer, or `unreadable-file` when it was `named`; so is a named site file of zero
    bytes, which a full disk leaves. Faults do not raise: each is a Problem, and a layer with a fault has the status
    `error`.
    """
    return layer_of(read_contents(path, layer, uid), path, layer, named=named, schema=schema)


def layer_of(
    contents: Contents, path: str, layer: LayerName, *, named: bool = False, schema: Schema = BUILT_IN
) -> tuple[Layer, list[Problem]]:
    """The layer of a file's contents, and every fault of it. The same contents give the same layer."""
    if contents.data == b"" and named and layer == "site":
        return _emptied(contents, path, layer)
    if contents.data is not None:
        read, found = _parsed(contents, contents.data, path, layer, schema)
        return read, list(found)
    problems = list(contents.problems)
    if named and not problems:
        hint = "check the path, or unset STIGMER_SITE_CONFIG" if layer == "site" else "check the path"
        fault = Problem(code="unreadable-file", message="there is no such file", hint=hint, origin=Origin(layer, path))
        problems.append(fault)
    if problems:
        refused = any(problem.severity == "error" for problem in problems)
        return Layer(layer, path, "error" if refused else "untrusted", why=problems[0].message), problems
    return Layer(layer, path, "absent", why="no such file"), []


def _emptied(contents: Contents, path: str, layer: LayerName) -> tuple[Layer, list[Problem]]:
    """The layer of a file that must not be empty and is: its owner's settings were lost, not removed on purpose."""
    hint = "write its settings again; {} says on purpose that it has none"
    fault = Problem(code="unreadable-file", message="the file is empty", hint=hint, origin=Origin(layer, path))
    return Layer(layer, path, "error", why=fault.message, hashed=_hashed(b"")), [*contents.problems, fault]


@functools.lru_cache(maxsize=8)  # a program that loads again finds most files unchanged; parsing is half of a load
def _parsed(
    contents: Contents, data: bytes, path: str, layer: LayerName, schema: Schema
) -> tuple[Layer, tuple[Problem, ...]]:
    hashed = _hashed(data)
    problems = list(contents.problems)
    try:
        text = _decoded(data)
    except UnicodeDecodeError as error:
        problems.append(_not_utf8(data, error, path, layer))
        return Layer(layer, path, "error", why=problems[-1].message, hashed=hashed), tuple(problems)
    reader = YamlReader(text, layer, path)
    tree = reader.read()
    problems += reader.problems
    collector = Collector(layer, path, schema)
    collector.tree(tree)
    problems += collector.problems
    if contents.readable_by_others:
        problems += _readable_secrets(collector, path)
    fatal = next((p for p in problems if p.code in _FATAL and not p.key), None) or _writable(problems)
    errors = [problem for problem in problems if problem.severity == "error"]
    why = (fatal or errors[0]).summary if errors else ""
    read = Layer(
        name=layer,
        source=path,
        status="error" if errors else "loaded" if collector.entries else "empty",
        entries={} if fatal else collector.entries,
        faulty={} if fatal else collector.faulty,
        named={} if fatal else collector.named,
        why=why,
        text=text,
        secret_lines=functools.partial(_all_lines, text)
        if contents.linked
        else functools.cache(functools.partial(_secret_lines, text, layer, path, schema)),
        hashed=hashed,
        apps=None if fatal else collector.apps,
        not_read=tuple(collector.not_read),
    )
    return read, tuple(problems)


def _hashed(data: bytes) -> Callable[[], str]:
    """Computes the digest of a file's bytes on first need: only running workers publish it."""

    @functools.cache
    def hashed() -> str:
        import hashlib  # imported late: it loads OpenSSL

        return hashlib.sha256(data).hexdigest()

    return hashed


def _all_lines(text: str) -> frozenset[int]:
    """All lines: a link may name any file of the project, so none of its lines is shown."""
    return frozenset(range(1, len(text.splitlines()) + 1))


def _secret_lines(text: str, layer: LayerName, path: str, schema: Schema) -> frozenset[int]:
    """Parses the text again: few texts have a fault to show, and keeping the lines in each layer would cost memory."""
    from .yaml.secret_lines import hidden_lines

    reader = YamlReader(text, layer, path)
    return hidden_lines(text, reader.read(), reader.lost, schema)


def _writable(problems: list[Problem]) -> Problem | None:
    """The fault that lets others write the file, if there is one: then none of its content can be trusted."""
    return next((p for p in problems if p.code == "insecure-permissions" and not p.key), None)


def _is_wide(data: bytes) -> bool:
    """Whether a file starts like UTF-16 or UTF-32 (https://yaml.org/spec/1.2.2/#52-character-encodings)."""
    return data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data[:2]


def _decoded(data: bytes) -> str:
    if _is_wide(data):
        raise UnicodeDecodeError("utf-8", data, 0, 1, "not UTF-8")
    return data.decode("utf-8").removeprefix("\ufeff")


def _not_utf8(data: bytes, error: UnicodeDecodeError, path: str, layer: LayerName) -> Problem:
    before = data[: error.start].decode("utf-8").removeprefix("\ufeff")
    line, column = line_and_column(before, len(before))
    hint = "save it as UTF-8" + (" (it starts like UTF-16)" if _is_wide(data) else "")
    origin = Origin(layer, path, line, column)
    return Problem(code="bad-encoding", message="the file is not UTF-8 text", hint=hint, origin=origin)


def _readable_secrets(collector: Collector, path: str) -> list[Problem]:
    """The faults of literal secrets in a file that others can read."""
    from ..core.secret import Secret

    rows = [(key, value) for key, entry in collector.entries.items() for value in _values(entry)]
    for key, value in rows:
        if type(value) is Secret and not collector.schema.is_unregistered(key):
            entry = collector.entries[key]
            message = "others can read the file that holds it"
            hint = f"chmod 600 {path}"
            return [Problem(code="insecure-permissions", key=key, message=message, hint=hint, origin=entry.origin)]
    return []


def _values(entry: Entry) -> Iterable[Any]:
    """The single values of an entry: the value itself, the items of a list, or the values of headers."""
    if isinstance(entry.value, list):
        return entry.value
    return [part.value for part in entry.value.values()] if type(entry.value) is dict else [entry.value]
