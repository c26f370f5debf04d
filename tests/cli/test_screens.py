"""The screens that people see: `show`, `explain`, `validate`, `set` and others, as terminals of two widths draw them.

A real tmux draws them, with everything fixed that differs between machines. A snapshot is looked at by a person when
it changes: STIGMER_SNAPSHOTS=write writes them anew, into tests/snapshots/screens/.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from stigmer_config.core import data_files as packaged
from tests.support.cli_tools import ANSI
from tests.support.fake_providers import FakeProviders, OllamaModel
from tests.support.paths import TESTS
from tests.support.sandbox import TODAY
from tests.support.terminal import PATIENCE

SNAPSHOTS = TESTS / "snapshots" / "screens"
WIDTHS = (80, 140)
LINES = 40

USER = """\
mode: local
llm:
  model: review
  timeout: 60
providers:
  anthropic: {temperature: 0.3}
aliases:
  review: careful
  careful: qwen3-coder:30b
"""
PROJECT = "llm:\n  temperature: 0.25\n"
SITE = """\
llm: {model: fast}
temporal:
  address: temporal.internal.example:7233
logging: {level: warning}
"""
FAULTY = """\
mode: local
llm:
  temprature: 0.2
  max_tokens: lots
aliases:
  a: b
  b: a
"""
HOSTILE = "llm:\n  base_url: https://collector.example/v1/chat/completions\n"


class Screen(NamedTuple):
    """A command, and the files and variables of the world that it is called in."""

    argv: str
    user: str = USER
    project: str = PROJECT
    site: str = SITE
    variables: tuple[tuple[str, str], ...] = ()


SCREENS = {
    "show": Screen("show --origin", variables=(("STIGMER_LLM_MAX_TOKENS", "4096"), ("LOG_FORMAT", "json"))),
    "show-all": Screen("show llm --all --origin", variables=(("STIGMER_LLM_TEMPERATURE", "0.1"),)),
    "show-values": Screen("show", project="llm: {temperature: 0.25}\n"),
    "explain": Screen("explain llm.model", variables=(("STIGMER_LLM_MODEL", "balanced"),)),
    "explain-untrusted": Screen("explain llm.base_url", project=HOSTILE),
    "validate": Screen("validate", user=FAULTY, project=HOSTILE),
    "doctor": Screen("doctor"),
    "set": Screen("set providers.lab.kind=openai providers.lab.base_url=http://lab:8000/v1 llm.timeout=90"),
    "set-overridden": Screen("set llm.temperature 0.1"),
    "set-refused": Screen("set llm.temperature 9"),
    "unset": Screen("unset llm"),
    "workers": Screen("workers"),
}
COLOURED = ("show-all", "show-values", "explain")
# What docs/pictures.py draws, at the width of a picture.
PICTURES = {
    "picture-show": Screen("show llm --origin", site="{}\n", variables=(("STIGMER_LLM_MAX_TOKENS", "4096"),)),
    "picture-explain": Screen("explain llm.model", site="{}\n", variables=(("STIGMER_LLM_MODEL", "balanced"),)),
}
PICTURE_WIDTH = 96


@pytest.fixture
def world() -> Iterator[Path]:
    """A folder whose path is as long as the one that the snapshots show."""
    root = Path(tempfile.mkdtemp(prefix="screen-", dir="/tmp"))
    yield root
    shutil.rmtree(root)


def build(root: Path, screen: Screen) -> None:
    """Home, project, the machine's file, packaged defaults, and a command that lives on the day of the tests."""
    for path, text in (
        (root / "home" / ".stigmer" / "config.yaml", screen.user),
        (root / "app" / ".stigmer" / "config.yaml", screen.project),
        (root / "etc" / "config.yaml", screen.site),
        (root / "bin" / "stigmer", program(root)),
    ):
        path.parent.mkdir(parents=True)
        path.write_text(text)
        path.chmod(0o600)
    (root / "home").chmod(0o700)
    (root / "bin" / "stigmer").chmod(0o700)
    (root / "app" / ".git").mkdir()
    (root / "lib").symlink_to(packaged.FOLDER)


def program(root: Path) -> str:
    """The command, with the date and the place of the packaged files given."""
    return f"""\
#!{sys.executable}
import datetime
from stigmer_config.core import data_files
from stigmer_config.core.environment import Environment
data_files.FOLDER = {str(root / "lib")!r}
capture = Environment.capture
Environment.capture = lambda: capture(today=datetime.date({TODAY.year}, {TODAY.month}, {TODAY.day}))
from stigmer_config.cli import main
main()
"""


def drawn(root: Path, screen: Screen, width: int, server: FakeProviders) -> str:
    """The screen after the command has ended, with its colours as escape sequences."""
    variables = {
        "HOME": str(root / "home"),
        "PATH": f"{root / 'bin'}:{os.defpath}",
        "LC_ALL": "C.UTF-8",
        "TERM": "screen-256color",
        "XDG_CONFIG_DIRS": str(root / "xdg"),
        "XDG_RUNTIME_DIR": str(root / "run"),
        "STIGMER_SITE_CONFIG": str(root / "etc" / "config.yaml"),
        "OLLAMA_HOST": server.url,
        **dict(screen.variables),
    }
    given = " ".join(f"{name}={value}" for name, value in screen.variables)
    line = f"{given} stigmer config {screen.argv}".strip()
    script = f"printf '$ %s\\n' {shlex.quote(line)}; stigmer config {screen.argv}; echo \"[exit $?]\"; exec sleep 600"
    pairs = [f"{name}={value}" for name, value in variables.items()]
    tmux = ["tmux", "-u", "-L", f"stigmer-{uuid.uuid4().hex}", "-f", "/dev/null"]
    size = ["-x", str(width), "-y", str(LINES)]
    begin = ["new-session", "-d", *size, "-c", str(root / "app"), shlex.join(["env", "-i", *pairs, "sh", "-c", script])]
    subprocess.run([*tmux, *begin], check=True, timeout=PATIENCE)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            done = subprocess.run(
                [*tmux, "capture-pane", "-p", "-e"], capture_output=True, text=True, check=True, timeout=PATIENCE
            )
            if "[exit " in done.stdout:
                return done.stdout
            assert time.monotonic() < deadline, done.stdout
            time.sleep(0.05)
    finally:
        subprocess.run([*tmux, "kill-server"], check=False, timeout=PATIENCE)


def fixed(root: Path, server: FakeProviders, text: str) -> str:
    """A screen with the parts that differ between machines replaced by text of the same width."""
    port = server.url.rpartition(":")[2]
    assert (len(root.name), len(port)) == (len("screen-snapshot"), len("11434"))
    text = text.replace(root.name, "screen-snapshot").replace(f"127.0.0.1:{port}", "127.0.0.1:11434")
    return "".join(f"{line.rstrip()}\n" for line in text.rstrip().split("\n"))


NAMES = {1: "bold", 2: "dim", 9: "struck"}
COLOURS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")


def marked(text: str) -> str:
    """Colours in words, the same for every version of tmux: `<green bold>local</>`."""
    style: set[str] = set()
    shown = ""
    out: list[str] = []
    for part in re.split(r"(\x1b\[[0-9;]*m)", text):
        if part.startswith("\x1b"):
            for code in map(int, part[2:-1].split(";") if part[2:-1] else ["0"]):
                style = styled(style, code)
        elif part:
            for piece in re.split(r"(\s*\n)", part):
                wanted = " ".join(sorted(style)) if piece.strip() else ""
                out.append(("</>" if shown else "") + (f"<{wanted}>" if wanted else "") if wanted != shown else "")
                out.append(piece)
                shown = wanted
    return "".join(out)


def styled(style: set[str], code: int) -> set[str]:
    """A style after one more code of an escape sequence (ECMA-48, SGR)."""
    if code == 0:
        return set()
    if code in NAMES:
        return style | {NAMES[code]}
    plain = {name for name in style if name.removeprefix("bright-") not in COLOURS}
    if code == 39:
        return plain
    if 30 <= code <= 37:
        return plain | {COLOURS[code - 30]}
    if 90 <= code <= 97:
        return plain | {f"bright-{COLOURS[code - 90]}"}
    assert code == 49, f"what is SGR {code}?"
    return style


def hold(name: str, text: str) -> None:
    """Compares with the snapshot, or writes it when that is asked for."""
    path = SNAPSHOTS / f"{name}.txt"
    if os.environ.get("STIGMER_SNAPSHOTS") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", SCREENS)
def test_a_person_sees(world: Path, name: str, width: int) -> None:
    """The screen equals the snapshot, including colours; the terminal wraps no line."""
    with FakeProviders([OllamaModel("qwen2.5-coder:7b"), OllamaModel("qwen2.5-coder:14b")]) as server:
        build(world, SCREENS[name])
        screen = fixed(world, server, drawn(world, SCREENS[name], width, server))
    hold(f"{name}-{width}", ANSI.sub("", screen))
    if name in COLOURED and width == 80:
        hold(f"{name}-{width}-colours", marked(screen))


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
@pytest.mark.parametrize("name", PICTURES)
def test_the_pictures_show_real_output(world: Path, name: str) -> None:
    """The pictures of the README are drawn from these snapshots."""
    with FakeProviders([OllamaModel("qwen2.5-coder:7b")]) as server:
        build(world, PICTURES[name])
        screen = fixed(world, server, drawn(world, PICTURES[name], PICTURE_WIDTH, server))
    hold(name, marked(screen))


def test_no_screen_is_left_over() -> None:
    """Each file in tests/snapshots/screens belongs to a screen."""
    wanted = {f"{name}-{width}" for name in SCREENS for width in WIDTHS} | {f"{name}-80-colours" for name in COLOURED}
    wanted |= set(PICTURES)
    assert {path.stem for path in SNAPSHOTS.iterdir()} == wanted
