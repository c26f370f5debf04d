"""The pages and charts come from the last figures, every goal is among them, and what is compared does the same job."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import types
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stigmer_config import Config, LiveConfig, LLMConfig
from tests.support.paths import REPOSITORY

ROOT = REPOSITORY
BENCHMARKS = ROOT / "benchmarks"
FIGURES: dict[str, dict[str, Any]] = json.loads((BENCHMARKS / "figures.json").read_text(encoding="utf-8"))
GOALS = {goal["what"]: goal for part in FIGURES.values() for goal in part["goals"]}
CHARTS = sorted((ROOT / "docs").glob("benchmarks-*.svg"))
TABLES = (ROOT / "docs" / "benchmarks.md", BENCHMARKS / "README.md")
SVG = "{http://www.w3.org/2000/svg}"

# Each goal that is held, with its limit: a ratio, ms, % of a core or bytes. None is reported only.
HELD: dict[str, float | None] = {
    "live read / a frozen slots attribute, 1 thread, a swap each ms": 1.4,
    "live read / a frozen slots attribute, 8 threads, a swap each ms": 1.4,
    "override / `structs.replace`, the same mapping": 20,
    "override, alias / `structs.replace`, the same mapping": 30,
    "override, provider / `structs.replace`, the same mapping": 30,
    "override / `structs.replace`, fields written out": 20,
    "override, alias / `structs.replace`, fields written out": 60,
    "override, provider / `structs.replace`, fields written out": 60,
    "the first override of a Config, alias / the next one": 1.5,
    "kept bytes: override": 700,
    "kept bytes: override, alias": 700,
    "kept bytes: override, provider": 700,
    "`load()` / the same files by dynaconf": 0.07,
    "`load()` / the same files by pydantic-settings": 0.2,
    "`live.reload()` with nothing changed / `load()`": 0.1,
    "`live.reload()` with one changed file / `load()`": 0.35,
    "rename → subscriber / bare inotify wake, p50": 8,
    "rename → subscriber / bare inotify wake, p99": 12,
    "rename → subscriber / watchfiles' bare event, p50": 1.0,
    "under 8 busy threads: rename → subscriber / bare inotify wake, p50": 5,
    "`show --origin` / `dynaconf list`": 0.55,
    "completion of a key / `dynaconf list`": 0.55,
    "`import stigmer_config; load()` / the same by pydantic-settings, new processes": 0.5,
    "`show --origin` / `npm config ls -l`": 0.85,
    "`show --origin` / `pip config debug`": 1.0,
    "load, 10 → 1500 aliases: cost of one more": 1.3,
    "show, 10 → 1500 aliases: cost of one more": 1.3,
    "reload, 10 → 1500 aliases: cost of one more": 1.3,
    "read, 10 → 1500 aliases": 1.2,
    "override, 10 → 1500 aliases": 1.2,
    "subscribe, 10 → 1500 aliases": 1.2,
    "an idle watcher, of a core": 0.1,
    "etcd: commit → the last of 200 workers on this machine, p99": 500,
    "etcd: CPU of one of 200 workers for one change": 2,
    "calls that let the interpreter's lock go, from the event to the callback": 12,
}


def run(*argv: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *argv], cwd=cwd, capture_output=True, encoding="utf-8", timeout=120, check=False
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The benchmarks and the documents, to write in."""
    for folder in ("benchmarks", "docs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_every_goal_is_measured_and_its_limit_is_not_moved() -> None:
    """Each goal is in figures.json under its name, with its limit."""
    assert {what: GOALS[what]["limit"] for what in HELD} == HELD


@pytest.mark.parametrize("page", TABLES, ids=lambda page: page.parent.name)
def test_each_table_has_the_verdict_and_the_command_of_every_goal(page: Path) -> None:
    """The figure decides whether a goal is met, and the command that measures it names its part."""
    rows = [line.strip("| ").split(" | ") for line in page.read_text(encoding="utf-8").splitlines()]
    told = {row[0]: (row[3].strip(), row[4]) for row in rows if row[0] in GOALS and len(row) > 4}
    assert set(told) == set(GOALS)
    for part, found in FIGURES.items():
        for goal in found["goals"]:
            verdict, command = told[goal["what"]]
            met = goal["limit"] is None or goal["figure"] <= goal["limit"]
            assert verdict == ("" if goal["limit"] is None else "met" if met else "**missed**"), goal
            assert command == f"`run.py {part}`", goal


def test_the_pages_and_charts_are_not_older_than_the_figures() -> None:
    """`draw.py --check` finds nothing to do in the checkout."""
    done = run("benchmarks/draw.py", "--check")
    assert done.returncode == 0, done.stderr


def test_a_new_figure_makes_every_page_and_chart_of_it_stale(checkout: Path) -> None:
    """The check names each outdated file and writes none; drawing again updates all of them."""
    file = checkout / "benchmarks" / "figures.json"
    figures = json.loads(file.read_text(encoding="utf-8"))
    figures["warm"]["goals"][0]["figure"] *= 1.5
    figures["warm"]["bars"]["load"]["dynaconf"] *= 1.5
    file.write_text(json.dumps(figures), encoding="utf-8")
    draw = str(checkout / "benchmarks" / "draw.py")
    before = (checkout / "docs" / "benchmarks.md").read_bytes()
    stale = run(draw, "--check")
    assert (checkout / "docs" / "benchmarks.md").read_bytes() == before
    named = set(re.findall(r"^(\S+) is not up to date", stale.stderr, re.MULTILINE))
    assert named == {"benchmarks.md", "README.md", "benchmarks-load.svg", "benchmarks-goals.svg"}
    assert [stale.returncode, run(draw).returncode, run(draw, "--check").returncode] == [1, 0, 0]


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.stem)
def test_a_chart_says_what_it_shows_where_and_when(chart: Path) -> None:
    """Its title, its unit and its scale, each bar's name, the date, the cores and the Python are in it as text."""
    texts = [text for node in ET.parse(chart).iter(f"{SVG}text") for text in node.itertext()]
    whole = " ".join(texts)
    name = chart.stem.removeprefix("benchmarks-")
    if name == "goals":
        bars = [what.replace("`", "") for what, goal in GOALS.items() if goal["limit"] is not None]
        parts = list(FIGURES.values())
        assert "Each figure divided by its goal" in whole
    else:
        (part,) = (part for part in FIGURES.values() if name in part["bars"])
        bars, parts = list(part["bars"][name]), [part]
        assert "in ms (logarithmic)" in whole
    assert set(bars) <= set(texts)
    for part in parts:
        assert part["date"][:10] in whole
        assert part["machine"].split(", ")[0] in whole
        assert "Python 3." in whole


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.stem)
def test_a_chart_is_readable_in_light_and_dark_and_runs_nothing(chart: Path) -> None:
    """Each scheme has its own ground and text colour; there is no program in it, and nothing from elsewhere."""
    text = chart.read_text(encoding="utf-8")
    dark = text.partition("@media (prefers-color-scheme: dark)")[2].partition("</style>")[0]
    assert ".graph > .background" in dark.replace("&gt;", ">")
    assert ".axis text" in dark
    assert not re.search(r"<script|javascript:|\bon[a-z]+=|@import|url\(", text)
    assert set(re.findall(r"https?://[^\"'\s<]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_every_chart_is_on_the_page_with_an_alternative_text() -> None:
    """No chart is unused, and none is missing."""
    page = TABLES[0].read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^\]]{10,}\]\((benchmarks-\w+\.svg)\)", page)
    assert sorted(shown) == [chart.name for chart in CHARTS]
    assert {"benchmarks-load.svg", "benchmarks-cold.svg", "benchmarks-latency.svg"} <= set(shown)


# Holds every peer to the reference load in a world of its own; SPOIL may change that world first.
_PEERS = """
import os, sys
from pathlib import Path
sys.path.insert(0, {benchmarks!r})
from reference import World
world = World(Path({root!r}))
os.environ.clear(); os.environ.update(world.environment()); os.chdir(world.project)
{spoil}
import peers
print(*peers.loads(world.files))
"""


@pytest.fixture
def loads(tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    def once(spoil: str) -> subprocess.CompletedProcess[str]:
        root = str(tmp_path.resolve() / "world")
        return run("-c", _PEERS.format(benchmarks=str(BENCHMARKS), root=root, spoil=spoil), cwd=tmp_path)

    return once


def test_every_peer_gives_the_values_of_the_reference_load(
    loads: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    """dynaconf, pydantic-settings, OmegaConf and Hydra load the same files and variables to the same 43 values."""
    done = loads("")
    assert done.stdout.split() == ["dynaconf", "pydantic-settings", "OmegaConf", "Hydra"], done.stderr


@pytest.mark.parametrize(
    "spoil",
    [
        "file = Path(world.files[1]); file.write_text(file.read_text().replace('deep: claude', 'deep: cloud'))",
        "del os.environ['PEER_REDIS__PORT']",
    ],
    ids=["another value in a file", "a variable less"],
)
def test_a_peer_that_gives_something_else_is_not_measured(
    spoil: str, loads: Callable[[str], subprocess.CompletedProcess[str]]
) -> None:
    """A load that does another job ends the run, and names the key."""
    done = loads(spoil)
    assert done.returncode != 0
    assert re.search(r"RuntimeError: dynaconf does not load what it should: (aliases\.deep|redis\.port)", done.stderr)


@pytest.mark.parametrize(
    ("name", "has", "lacks"),
    [
        ("stigmer-config", {"click", "msgspec", "ruamel-yaml-clib"}, {"pydantic", "setuptools", "typing-extensions"}),
        ("dynaconf", {"dynaconf"}, {"click", "setuptools", "typing-extensions"}),
        ("pydantic-settings", {"pydantic-core", "pyyaml", "typing-extensions"}, {"click", "dynaconf", "setuptools"}),
    ],
)
def test_a_whole_process_runs_with_what_its_users_have(name: str, has: set[str], lacks: set[str]) -> None:
    """Each in an environment of its own: what else is installed is imported by some, and changes their times."""
    program = (
        f"import sys\nsys.path.insert(0, {str(BENCHMARKS)!r})\nimport environments\nprint(environments.lock({name!r}))"
    )
    done = run("-c", program)
    assert done.returncode == 0, done.stderr
    packages = set(re.findall(r"^([a-z0-9-]+)==", done.stdout, re.MULTILINE))
    assert (packages >= has, packages & lacks) == (True, set())
    assert "--hash=sha256:" in done.stdout


def test_a_quick_run_prints_its_table_and_keeps_nothing(checkout: Path) -> None:
    """`run.py --quick PART` measures that part with the real command line, and leaves the last figures alone."""
    before = {path: path.read_bytes() for path in checkout.rglob("*") if path.is_file()}
    done = run(str(checkout / "benchmarks" / "run.py"), "--quick", "kept", cwd=checkout)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^\| (kept bytes: [\w, ]+) \| ≤ 700 bytes \| \d+ bytes \| met \|", done.stdout, re.MULTILINE)
    assert rows == [goal["what"] for goal in FIGURES["kept"]["goals"]]
    after = {path: path.read_bytes() for path in checkout.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert after == before


def test_the_trace_of_a_reload_has_every_step_of_its_picture() -> None:
    """The traced worker names functions of the product: one that is renamed there must not end the run."""
    done = run("benchmarks/run.py", "--quick", "trace")
    assert done.returncode == 0, done.stderr
    assert "| calls that let the interpreter's lock go, from the event to the callback |" in done.stdout


@pytest.mark.parametrize(("owner", "name"), [(LiveConfig, "current"), (Config, "llm"), (LLMConfig, "model_name")])
def test_no_lock_property_or_proxy_is_on_the_way_of_a_read(owner: type, name: str) -> None:
    """Each step of `live.current.llm.model_name` is a slot without a wrapper."""
    assert type(vars(owner)[name]) is types.MemberDescriptorType
    assert [kind for kind in owner.__mro__[:-1] if "__getattribute__" in vars(kind)] == []


def test_an_unknown_part_is_reported() -> None:
    """With the names of those that do."""
    done = run("benchmarks/run.py", "wram")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no such part: wram; there are cold, warm, kept, growth, live, fleet" in done.stderr
