"""A `repr` with an allowlist of fields, for objects that may hold a secret: error reporters capture local variables."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec


class MaskedRepr(msgspec.Struct, frozen=True):
    """Shows only the type and the fields in `_shown`, in `repr` and in rich."""

    _shown: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in self._shown]
