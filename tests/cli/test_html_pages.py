"""`--html FILE`: one page, in a real browser, narrow and wide, by keyboard, with hostile markup in every value."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support import npm
from tests.support.paths import TESTS
from tests.support.sandbox import Sandbox

FOLDER = TESTS / "browser"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
SECRET = "sk-ant-never-on-a-page"
MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>"
USER = f"""\
mode: local
llm: {{model: balanced, timeout: 60}}
providers: {{anthropic: {{api_key: {SECRET}}}}}
temporal: {{namespace: "{MARKUP}", task_queue: "'\\"><b>"}}
"""
PROJECT = """\
llm:
  temperature: 0.9
  base_url: "https://collector.example/<script>"
  model: "<img src=x onerror=alert(3)>"
"""


def written(sandbox: Sandbox, *argv: str, status: int = 0) -> Path:
    """The page that a command wrote; the command prints nothing else on standard output."""
    page = sandbox.root / "page.html"
    done = sandbox.run(*argv, "--html", str(page))
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    return page


def opened(page: Path, width: int, lock: Path, keys: str = "") -> dict[str, Any]:
    """What a browser of that width saw on the page, after typing `keys`."""
    if not CHROMIUM:
        pytest.skip("Chromium is not installed")
    npm.install(FOLDER, lock)
    command = ["node", "audit.mjs", CHROMIUM, str(page), str(width), keys]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


@pytest.fixture
def lock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp().parent / "browser.lock"


@pytest.mark.parametrize("width", [400, 1400])
def test_a_page_in_a_browser(sandbox: Sandbox, lock: Path, width: int) -> None:
    """It fetches nothing, runs nothing of a value, has no accessibility violation, and filters by keyboard alone."""
    sandbox.write(user=USER, project=PROJECT)
    page = written(sandbox, "show", status=3)
    seen = opened(page, width, lock, "llm. temp")
    assert seen["requests"] == [page.as_uri()]
    assert (seen["dialogs"], seen["errors"], seen["violations"]) == ([], [], [])
    assert not seen["overflows"]
    assert "img" not in seen["elements"]
    assert seen["focused"] == "filter"
    assert seen["rows"] == ["llm.temperature"]
    assert seen["count"].startswith("1 of ")


@pytest.mark.parametrize("argv", [("explain", "llm.base_url"), ("diff", "local", "cloud")], ids=" ".join)
def test_the_other_pages_in_a_browser(sandbox: Sandbox, lock: Path, argv: tuple[str, ...]) -> None:
    """`explain` and `diff` have a page of the same kind."""
    sandbox.write(user=USER, project=PROJECT)
    seen = opened(written(sandbox, *argv, status=3), 400, lock)
    assert (seen["dialogs"], seen["errors"], seen["violations"]) == ([], [], [])
    assert not seen["overflows"]


def test_what_a_page_says(sandbox: Sandbox) -> None:
    """Winner, losers with their reasons and places, problems with their source lines; no secret, no raw markup."""
    sandbox.write(user=USER, project=PROJECT)
    text = written(sandbox, "show", status=3).read_text(encoding="utf-8")
    assert SECRET not in text
    assert MARKUP not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "~/.stigmer/config.yaml:2:14" in text
    assert "untrusted</span>" in text
    assert "base_url: &quot;https://collector.example" in text  # the source line of the problem
    assert text.count("<script>") == 1


def test_an_edit_of_the_model_is_one_row(sandbox: Sandbox) -> None:
    """As `diff` prints it on a terminal: the configured string, and what it resolves to."""
    for name, model in (("a.yaml", "fast"), ("b.yaml", "powerful")):
        (sandbox.project / name).write_text(f"mode: local\nllm: {{model: {model}}}\n")
    text = written(sandbox, "diff", "a.yaml", "b.yaml").read_text(encoding="utf-8")
    assert "fast → llama3.2:3b" in text
    assert "powerful → qwen3-coder:30b" in text
    assert text.count("<tr><th scope='row'>") == 1


def test_one_key_has_no_filter(sandbox: Sandbox) -> None:
    """There is nothing to filter on the page of `explain`; the page of `show` has the field."""
    sandbox.write(user=USER)
    field = "<input type='search'"
    assert field not in written(sandbox, "explain", "llm.model").read_text(encoding="utf-8")
    assert field in written(sandbox, "show").read_text(encoding="utf-8")


def test_reveal_does_not_affect_a_page(sandbox: Sandbox) -> None:
    """A page may be shared, so its secrets stay masked."""
    sandbox.write(user=USER)
    assert SECRET not in written(sandbox, "show", "--reveal").read_text(encoding="utf-8")


def test_a_page_on_standard_output(sandbox: Sandbox) -> None:
    """`-` is standard output."""
    done = sandbox.run("explain", "llm.model", "--html", "-", variables={"MODE": "local"})
    assert done.returncode == 0
    assert done.stdout.startswith("<!doctype html>")


def test_a_place_that_cannot_be_written(sandbox: Sandbox) -> None:
    """The command says which file could not be written, without a traceback."""
    done = sandbox.run("show", "--html", str(sandbox.root / "none" / "page.html"), variables={"MODE": "local"})
    assert done.returncode == 1
    assert "page.html" in done.stderr
    assert "Traceback" not in done.stderr
