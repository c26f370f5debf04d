"""Interleaved runs: each round runs every subject, so that a busy moment affects all of them."""

from __future__ import annotations

import statistics
import time
import timeit
from collections.abc import Callable, Mapping
from typing import Any

Runs = Mapping[str, list[float]]


def interleaved(work: Mapping[str, Callable[[], float]], rounds: int) -> Runs:
    """Seconds by name, one figure per round. The order rotates, and a first round is only a warm-up."""
    names = list(work)
    runs: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            seconds = work[name]()
            if number:
                runs[name].append(seconds)
    return runs


def median(runs: Runs, name: str) -> float:
    return statistics.median(runs[name])


def least(runs: Runs, name: str) -> float:
    """The minimum, the cost without disturbance: for differences that are smaller than the noise."""
    return min(runs[name])


def ratio(runs: Runs, name: str, base: str) -> float:
    """The median of the ratios of each round."""
    return statistics.median(a / b for a, b in zip(runs[name], runs[base], strict=True))


def spread(runs: Runs, name: str, base: str) -> str:
    """The middle half of the rounds' ratios, as the uncertainty of the median."""
    low, _, high = statistics.quantiles((a / b for a, b in zip(runs[name], runs[base], strict=True)), n=4)
    return f"middle half {low:.3g} to {high:.3g}"


def repeated(statement: str, names: Mapping[str, Any], number: int) -> Callable[[], float]:
    """A measurement of one statement, in CPU seconds per run, with its names as local variables.

    CPU time, because these statements never wait, and wall time would include other programs. The statement runs ten
    times in each iteration, so that the loop itself costs little.
    """

    setup = "; ".join(f"{name} = _{name}" for name in names)
    timer = timeit.Timer(
        "; ".join([statement] * 10),
        setup,
        time.process_time,
        globals={f"_{name}": value for name, value in names.items()},
    )
    return lambda: timer.timeit(number) / (number * 10)
