"""The immutable, hashable types of configuration values: structs, lists and mappings."""

from __future__ import annotations

from typing import Any, NoReturn

import msgspec


class Frozen(msgspec.Struct, frozen=True):
    """Immutable, hashable, shared instead of copied, and never pickled."""

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be pickled: call load() in the other process instead")


def _unchangeable(self: Any, *arguments: Any, **named: Any) -> NoReturn:
    del arguments, named
    raise TypeError(f"a {type(self).__name__} of a configuration is immutable: make a copy first")


class FrozenList(list[Any]):
    """A list whose methods that would change it raise `TypeError`."""

    __slots__ = ()

    append = clear = extend = insert = pop = remove = reverse = sort = _unchangeable
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _unchangeable

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self))

    def __copy__(self) -> FrozenList:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenList:
        return self

    def __reduce__(self) -> tuple[type[list[Any]], tuple[list[Any]]]:
        return list, (list(self),)


class FrozenDict(dict[str, Any]):
    """A dict whose methods that would change it raise `TypeError`."""

    __slots__ = ()

    clear = pop = popitem = setdefault = update = _unchangeable
    __setitem__ = __delitem__ = __ior__ = _unchangeable

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __copy__(self) -> FrozenDict:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenDict:
        return self

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (dict(self),)


def frozen(value: Any) -> Any:
    """Plain data with its lists and mappings frozen."""
    if isinstance(value, dict):
        return FrozenDict({name: frozen(part) for name, part in value.items()})
    if isinstance(value, (list, tuple)):
        return FrozenList(frozen(part) for part in value)
    return value
