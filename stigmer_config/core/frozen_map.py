"""A mapping that never changes."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping, ValuesView
from typing import Any, NoReturn


class FrozenMapping(Mapping[str, Any]):
    """A mapping that never changes, compares by content and can be hashed."""

    __slots__ = ()

    def __hash__(self) -> int:
        return hash(frozenset(self.items()))

    def __repr__(self) -> str:
        return repr(dict(self))

    def __copy__(self) -> FrozenMapping:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenMapping:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a part of a Config cannot be pickled: call load() in the other process instead")


class FrozenMap(FrozenMapping):
    """A frozen copy of a mapping."""

    __slots__ = ("_items",)

    def __init__(self, items: Iterable[tuple[str, Any]] | Mapping[str, Any] = ()) -> None:
        self._items: dict[str, Any] = dict(items)

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    # These as a dict does them: the base class calls Python for each item.
    def items(self) -> ItemsView[str, Any]:
        return self._items.items()

    def values(self) -> ValuesView[Any]:
        return self._items.values()

    def __eq__(self, other: object) -> bool:
        return self._items == other._items if isinstance(other, FrozenMap) else super().__eq__(other)

    __hash__ = FrozenMapping.__hash__


EMPTY = FrozenMap()  # shared: a worker keeps many Configs
