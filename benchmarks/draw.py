"""The pages and charts of figures.json: `python benchmarks/draw.py [--check]`. A run does it, too.

Writes docs/benchmarks-*.svg, and the tables between the marks in docs/benchmarks.md and in this folder's README.md.
`--check` writes nothing, and exits with 1 when a file is out of date.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import figures
import pygal
from figures import Measured
from goals import TIMES
from pygal.style import Style

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = (DOCS / "benchmarks.md", ROOT / "benchmarks" / "README.md")
_MARKED = re.compile(r"(<!-- figures: [^>]*-->\n).*?(<!-- end of figures -->)", re.DOTALL)

OURS, OTHERS, MISSED = "#1a73b8", "#8a8f98", "#c8452e"
CHARTS = {  # what a part measured in seconds, and the chart's title
    "load": ("warm", "load() of the reference load"),
    "cold": ("cold", "From the start of a process to its listing of the configuration"),
    "latency": ("live", "From just before the rename of a file to the wake-up of its watcher"),
    "busy": ("live", "The same, beside 8 busy threads"),
    "reload": ("trace", "One change of a file, step by step"),
    "imports": ("trace", "What `stigmer config show --origin` imports, by package"),
    "fleet": ("fleet", "From the write of a value into etcd until the last worker uses it"),
}
# Each scheme has its own background, so that the chart is readable on any page.
_STYLE = Style(
    background="#ffffff",
    plot_background="#ffffff",
    font_family="sans-serif",
    label_font_size=13,
    major_label_font_size=13,
    value_font_size=13,
    title_font_size=15,
)
_LOOK = """
.reactive { fill-opacity: 1 !important; stroke-opacity: 0 !important }
.text-overlay text.value { text-anchor: start !important }
@media (prefers-color-scheme: dark) {
  .graph > .background, .plot > .background { fill: #1b1e24 !important }
  .title, .axis text, .series text, .text-overlay text { fill: #e6e8eb !important }
  .axis .line { stroke: #8a8f98 !important }
}
"""


def pictures(parts: dict[str, Measured]) -> Iterator[tuple[Path, str]]:
    """Each chart's file and SVG text."""
    for name, (part, title) in CHARTS.items():
        if part not in parts:
            continue  # not measured yet
        bars = parts[part].part.bars[name]
        yield DOCS / f"benchmarks-{name}.svg", _bars(title, _when(parts[part]), bars)
    yield DOCS / "benchmarks-goals.svg", _goals(parts)


def _bars(title: str, when: str, bars: dict[str, float]) -> str:
    """The fastest on top; logarithmic from one round number to another."""
    found = sorted(((name, seconds * 1e3) for name, seconds in bars.items()), key=lambda bar: -bar[1])
    rounds = [base * 10.0**power for power in range(-4, 5) for base in (1, 3)]
    low = max(number for number in rounds if number < found[-1][1])
    high = min(number for number in rounds if number > found[0][1])
    axis = [number for number in rounds if low <= number <= high]
    title = f"{title}, in ms (logarithmic)"
    chart = _chart(title, when, len(bars), logarithmic=True, range=(low, high), zero=low)
    chart.y_labels = [{"value": number, "label": f"{number:g}"} for number in axis]
    chart.x_labels = [name for name, _ in found]
    chart.add("", [_bar(ms, " ms", OURS if "stigmer" in name else OTHERS) for name, ms in found])
    return _text(chart)


def _goals(parts: dict[str, Measured]) -> str:
    goals = [goal for found in parts.values() for goal in found.part.goals if goal.limit is not None][::-1]
    title = "Each figure divided by its goal (1 or less: the goal is met)"
    chart = _chart(title, _when(*parts.values()), len(goals))
    whole = [goal.figure / (goal.limit or 1) for goal in goals]
    chart.y_labels = [{"value": part / 2, "label": f"{part / 2:g}"} for part in range(int(max(*whole, 1) * 2) + 2)]
    chart.x_labels = [goal.what.replace("`", "") for goal in goals]
    chart.add("", [_bar(part, "", OURS if part <= 1 else MISSED) for part in whole])
    return _text(chart)


def _chart(title: str, when: str, bars: int, **options: Any) -> Any:
    return pygal.HorizontalBar(
        pygal.Config(js=[]),
        style=_STYLE,
        title=title,
        x_title=when,
        width=960,
        height=120 + 27 * bars,
        margin_right=70,
        show_legend=False,
        print_values=True,
        print_values_position="top",
        **options,
    )


def _bar(value: float, unit: str, color: str) -> dict[str, Any]:
    text = f"\u00a0{float(f'{value:.3g}'):g}{unit}"  # a space between the bar's end and the figure
    return {"value": float(f"{value:.3g}"), "color": color, "formatter": lambda _: text}


def _text(chart: Any) -> str:
    """The chart without the program's name, the date and the advertisement that pygal adds."""
    text: str = chart.render().decode()
    text = re.sub(r"<!--.*?-->|<script.*?</script>", "", text, flags=re.DOTALL)
    return text.replace("</style>", f"{_LOOK}</style>", 1).replace(chart.uuid, "figures") + "\n"


def _when(*found: Measured) -> str:
    return "; ".join(sorted({f"{measured.date[:10]}, {measured.machine}" for measured in found}))


def table(parts: dict[str, Measured]) -> str:
    """Every goal with its figure and the command that measures it, and the machine of each part."""
    rows = [("what", "goal", "measured", "", "by", ""), ("---",) * 6]
    for name, found in parts.items():
        for what, goal, figure, verdict, note in (g.cells() for g in found.part.goals):
            rows.append((what, goal, figure, verdict, f"`run.py {name}`", note))
    lines = [f"| {' | '.join(row)} |\n" for row in rows]
    return f"\n{''.join(lines)}\n{''.join(_told(parts))}\n"


def _told(parts: dict[str, Measured]) -> Iterable[str]:
    """The parts of each run, and its machine."""
    yield f"`make bench` measures all of it, `{figures.command('PART')}` a part. {TIMES} are medians of ratios.\n"
    runs = list(dict.fromkeys((found.date, found.machine) for found in parts.values()))
    for run in runs:
        names = ", ".join(f"`{name}`" for name, found in parts.items() if (found.date, found.machine) == run)
        yield f"{'In one run' if len(runs) == 1 else 'In a run of its own'}, {', '.join(run)}: {names}.\n"


def made() -> Iterator[tuple[Path, str]]:
    """Each generated file and its content."""
    parts = figures.last()
    yield from pictures(parts)
    for page in PAGES:
        whole, count = _MARKED.subn(lambda mark: f"{mark[1]}{table(parts)}{mark[2]}", page.read_text(encoding="utf-8"))
        if count != 1:
            raise ValueError(f"{page} has no place for the figures")
        yield page, whole


def main(arguments: list[str]) -> int:
    """Writes or checks. Returns the exit status."""
    if arguments not in ([], ["--check"]):
        sys.exit("draw.py [--check]")
    stale = [(file, text) for file, text in made() if not file.exists() or file.read_text(encoding="utf-8") != text]
    for file, text in stale:
        if arguments:
            sys.stderr.write(f"{file.name} is not up to date: python benchmarks/draw.py\n")
        else:
            file.write_text(text, encoding="utf-8")
    return 1 if arguments and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
