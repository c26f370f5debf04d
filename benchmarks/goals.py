"""A goal, its measured figure, and the bars of a chart."""

from __future__ import annotations

from typing import NamedTuple

TIMES = "×"  # noqa: RUF001 - the sign is meant


class Goal(NamedTuple):
    """A line of the table. `limit` is the maximum of `figure`; None when it is only reported."""

    what: str
    limit: float | None
    figure: float
    unit: str = TIMES
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.limit is None:
            return ""
        return "met" if self.figure <= self.limit else "**missed**"

    def cells(self) -> tuple[str, str, str, str, str]:
        goal = "none" if self.limit is None else f"≤ {self.limit:g} {self.unit}"
        return self.what, goal, f"{self.figure:.3g} {self.unit}", self.verdict, self.note


class Part(NamedTuple):
    """The results of one part of the run: its goals, and seconds by chart and bar."""

    goals: list[Goal]
    bars: dict[str, dict[str, float]]


def table(goals: list[Goal]) -> str:
    """The goals as a Markdown table."""
    head = ("what", "goal", "measured", "", "")
    lines = [head, ("---",) * 5, *(goal.cells() for goal in goals)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
