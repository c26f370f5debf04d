"""Limits of a value: msgspec's constraints, as a check and in words."""

from __future__ import annotations

import msgspec

CONSTRAINTS = ("ge", "gt", "le", "lt", "multiple_of", "pattern", "min_length", "max_length")
NUMBER_CONSTRAINTS = frozenset(CONSTRAINTS[:5])
LENGTH_CONSTRAINTS = frozenset(("min_length", "max_length"))


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """msgspec's constraints (https://jcristharif.com/msgspec/constraints.html). None: no limit."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    multiple_of: float | None = None
    pattern: str | None = None
    min_length: int | None = None
    max_length: int | None = None

    def names(self) -> set[str]:
        """The constraints that there are."""
        return {name for name in CONSTRAINTS if getattr(self, name) is not None}

    @property
    def has_top(self) -> bool:
        """Whether a number has an upper bound."""
        return self.le is not None or self.lt is not None

    def allow(self, value: float) -> bool:
        """Whether a number is within the bounds."""
        return (
            (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
            and (self.multiple_of is None or value % self.multiple_of == 0)
        )

    def bounds(self) -> str:
        """The bounds of a number, for `must be …`: `at least 1 and at most 5`; "" where there are none."""
        words = (
            _phrase("at least", self.ge),
            _phrase("greater than", self.gt),
            _phrase("at most", self.le),
            _phrase("less than", self.lt),
            _phrase("a multiple of", self.multiple_of),
        )
        return " and ".join(filter(None, words))

    def range(self) -> str:
        """The bounds of a number, for `a number …`: ` from 1 to 5`, ` greater than 0`; "" where there are none."""
        if self.ge is not None and self.le is not None:
            top = f"from {_shown(self.ge)} to {_shown(self.le)}"
        elif self.ge is not None:
            top = " and ".join(filter(None, (f"from {_shown(self.ge)} on", _phrase("less than", self.lt))))
        else:
            words = (("greater than", self.gt), ("at most", self.le), ("less than", self.lt))
            top = " and ".join(filter(None, (_phrase(word, bound) for word, bound in words)))
        multiple = f"in multiples of {_shown(self.multiple_of)}" if self.multiple_of is not None else ""
        return "".join(f" {words}" for words in (top, multiple) if words)

    def length_fault(self, length: int, unit: str) -> str:
        """What a length out of the limits must be, after `must`; "" for one within them."""
        least, most = self.min_length or 0, self.max_length
        if least <= length and (most is None or length <= most):
            return ""
        if not length and least == 1:
            return "not be empty"
        words = (f"at least {least}" if least else "", f"at most {most}" if most is not None else "")
        return f"have {' and '.join(filter(None, words))} {unit}, not {length}"


def _phrase(words: str, bound: float | None) -> str:
    return f"{words} {_shown(bound)}" if bound is not None else ""


def _shown(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:.12g}"
