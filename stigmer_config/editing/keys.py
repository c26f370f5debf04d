"""Sets and removes single keys in a configuration file's bytes.

The text is patched by span, with the parser's places. ruamel's round-trip dumper is not used: it rewrites the whole
file (indentation, blank lines, flow collections over several lines, line ends, byte order mark), and is a second
parser. Wrong patches are detected: every new text is parsed again and must have the old values with only that key
changed, or the edit is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from ..settings.packaged_providers import is_provider
from ..sources.yaml.nodes import Node
from .patches import EditError, Patch, Patches
from .spans import plain, spans
from .starter import with_key

__all__ = ["EditError", "with_value", "without"]

_MARK = b"\xef\xbb\xbf"  # the byte order mark that some editors put in front
_MOST_ITEMS = 100  # a list with more changes is rewritten: each change takes a parse
_BY_HAND = "it is written in a form that cannot be changed alone"


def with_value(data: bytes, key: str, value: Any, providers: Collection[str] = ()) -> bytes:
    """The file's bytes with `key` set to `value`: None, a number, a string, a list or a mapping.

    `providers` are the declared providers, whose names may be the last part of the key of an alias's entry.

    Raises `EditError` when the file has to be edited by hand.
    """
    if any("\ud800" <= character <= "\udfff" for character in str(value)):
        raise EditError("the value is not UTF-8 text")
    mark, text = _decoded(data)
    patches = Patches(text)
    names = _names(patches.root, key, providers)
    way = _way(patches.root, names)
    if way is not None and _same(plain(way[-1]), value):
        return data
    wanted = _changed(plain(patches.root), names, value)
    if way is None:
        uncommented = _uncommented(text, names, value)
        if uncommented is not None and _holds(uncommented, wanted):
            return mark + uncommented.encode()
    if type(value) is list and all(type(item) is str for item in value):
        itemwise = _with_items(text, names, value)
        if itemwise is not None and _holds(itemwise, wanted):
            return mark + itemwise.encode()
    return mark + _checked(patches.apply(_set(patches, names, value)), wanted).encode()


def _uncommented(text: str, names: Sequence[str], value: Any) -> str | None:
    """The text with the value in the place of the starter's commented example; None without one."""
    example = with_key(text, names)
    if example is None or not spans(example).readable:
        return None
    patches = Patches(example)
    way = _way(patches.root, names)
    return None if way is None else patches.apply(patches.replaced(way[-1], value, flow=False))


def without(data: bytes, key: str, providers: Collection[str] = ()) -> bytes | None:
    """The file's bytes without `key`, which may be unknown; None when it is not in the file.

    A section that becomes empty stays. Raises `EditError` when the file has to be edited by hand.
    """
    mark, text = _decoded(data)
    patches = Patches(text)
    names = _names(patches.root, key, providers)
    way = _way(patches.root, names)
    if way is None:
        names = _names_with_dots(patches.root, tuple(key.split("."))) or names
        way = _way(patches.root, names)
    if way is None:
        return None
    *_, parent, node = way
    if names[0] == "aliases" and len(names) == 3 and len(parent.children) == 1:
        return without(data, ".".join(names[:2]), providers)  # an alias without providers is invalid
    new = patches.apply(patches.removed(parent, node))
    return mark + _checked(new, _changed(plain(patches.root), names)).encode()


def _decoded(data: bytes) -> tuple[bytes, str]:
    mark = _MARK if data.startswith(_MARK) else b""
    try:
        return mark, data[len(mark) :].decode("utf-8")
    except UnicodeDecodeError:
        raise EditError("the file is not UTF-8 text") from None


def _names(root: Node | None, key: str, providers: Collection[str]) -> tuple[str, ...]:
    """The parts of a key. `aliases.fast.ollama` is an entry of the alias `fast`.

    An alias's name may contain dots: an exact name in the file takes precedence.
    """
    section, _, name = key.partition(".")
    if section != "aliases":
        return tuple(key.split("."))
    alias, _, provider = name.rpartition(".")
    aliases = root.value.get("aliases") if root is not None and type(root.value) is dict else None
    known = aliases is not None and type(aliases.value) is dict and name in aliases.value
    is_entry = alias and is_provider(provider, providers) and not known
    return (section, alias, provider) if is_entry else (section, name)


def _names_with_dots(node: Node | None, parts: tuple[str, ...]) -> tuple[str, ...] | None:
    """The parts by which a key is in the file, when one of them contains dots itself: `llm.model: fast`."""
    below = node.value if node is not None else None
    if type(below) is not dict:
        return None
    for length in range(1, len(parts) + 1):
        name, rest = ".".join(parts[:length]), parts[length:]
        if name in below:
            names = _names_with_dots(below[name], rest) if rest else ()
            if names is not None:
                return (name, *names)
    return None


def _way(root: Node | None, names: Sequence[str]) -> list[Node] | None:
    """The nodes from the root down to a key, or None when it is not in the file."""
    nodes = [root] if root is not None else []
    for name in names:
        below = nodes[-1].value if nodes else None
        if type(below) is not dict or name not in below:
            return None
        nodes.append(below[name])
    return nodes


def _set(patches: Patches, names: Sequence[str], value: Any) -> list[Patch]:
    root = patches.root
    if root is None or root.value is None:
        return patches.appended(names, value)
    parent, node, flow = root, root, root.is_flow
    for depth, name in enumerate(names):
        rest = names[depth:]
        if node.value is None:
            return patches.filled(node, parent, rest, value, flow=flow)
        if type(node.value) is not dict:
            raise EditError(f"{'.'.join(names[:depth]) or 'the file'} holds a value of its own")
        if name not in node.value:
            at_end = node is root and not flow
            return patches.appended(rest, value) if at_end else patches.inserted(node, rest, value)
        parent, node = node, node.value[name]
        flow = flow or node.is_flow
    return patches.replaced(node, value, flow=flow)


def _with_items(text: str, names: Sequence[str], items: list[str]) -> str | None:
    """The text with a list's items removed and added one by one; None when that is not enough."""
    try:
        there = [item.value for item in _listed(Patches(text), names).children]
        gone = [value for value in there if value not in items]
        if len(gone) == len(there) or len(gone) + len(items) > _MOST_ITEMS:
            return None
        for value in gone:
            patches = Patches(text)
            listed = _listed(patches, names)
            text = patches.apply(patches.removed(listed, next(i for i in listed.children if i.value == value)))
        for value in items:
            if value not in there:
                patches = Patches(text)
                text = patches.apply(patches.item_added(_listed(patches, names), value))
    except EditError:
        return None
    return text


def _listed(patches: Patches, names: Sequence[str]) -> Node:
    way = _way(patches.root, names)
    if way is None or type(way[-1].value) is not list:
        raise EditError("no list")
    return way[-1]


_GONE = object()


def _changed(tree: Any, names: Sequence[str], value: Any = _GONE) -> Any:
    """The tree that a file must have after the key is set or removed."""
    name, *rest = names
    tree = dict(tree) if type(tree) is dict else {}  # a value in its place is not overwritten: `_set` refuses
    if rest:
        tree[name] = _changed(tree.get(name), rest, value)
    elif value is _GONE:
        del tree[name]
    else:
        tree[name] = value
    return tree or None


def _holds(text: str, wanted: Any) -> bool:
    found = spans(text)
    return found.readable and _same(plain(found.root), wanted)


def _checked(text: str, wanted: Any) -> str:
    if not _holds(text, wanted):
        raise EditError(_BY_HAND)
    return text


def _same(one: Any, other: Any) -> bool:
    """Whether two trees are equal, including types and the order of lists: 1, 1.0 and true are different values."""
    if type(one) is not type(other):
        return False
    if type(one) is dict:
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if type(one) is list:
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other) or one != one  # noqa: PLR0124 - .nan is itself
