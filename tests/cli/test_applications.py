"""Applications that the commands know: by an entry point and by `--app`; and code that they do not run."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.sandbox import Sandbox

ROOT = Path(__file__).resolve().parents[2]
DECLARATION = '''
from typing import Annotated
import os
from stigmer_config import Secret, app, setting

print("printed by an import")
os.write(1, b"written below Python\\n")


@app("checkpointer")
class Checkpointer:
    """Where runs are kept."""

    url: Annotated[str, setting(doc="The database's address.", reload="restart")] = "sqlite:///runs.db"
    interval: Annotated[float, setting(doc="Seconds between two saves.", ge=0.1)] = 30.0
    token: Secret | None = None
    labels: dict[str, int] = {}
    tools: list[str] = []
'''
EVIL = "open('ran', 'w').close()\nraise SystemExit(0)\n"


def install(folder: Path, name: str, code: str, target: str) -> Path:
    """A package as pip leaves it: a module, and its metadata with an entry point."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(code)
    info = folder / f"{name}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[stigmer_config.apps]\ncheckpointer = {target}\n")
    return folder


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return install(tmp_path / "installed", "myapp", DECLARATION, "myapp:Checkpointer")


def environment(sandbox: Sandbox, path: str) -> dict[str, str]:
    return {
        "HOME": str(sandbox.home),
        "MODE": "local",
        "XDG_CONFIG_DIRS": str(sandbox.root / "xdg"),
        "XDG_RUNTIME_DIR": str(sandbox.root / "run"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), path]) if path != ":" else f"{ROOT}{os.pathsep}",
    }


def run(sandbox: Sandbox, *arguments: str, path: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stigmer_config", "config", *arguments],
        cwd=cwd or sandbox.project,
        env=environment(sandbox, path),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_an_installed_application_is_known_to_every_command(sandbox: Sandbox, package: Path) -> None:
    """And what its import prints is no part of the data."""
    sandbox.write(user="apps:\n  checkpointer:\n    interval: 10  # mine\n    labels: {b: 2}\n")
    path = str(package)
    shown = run(sandbox, "show", "apps", "--origin", "--format", "json", path=path)
    document = json.loads(shown.stdout)
    assert shown.returncode == 0, shown.stderr
    assert document["problems"] == []
    assert document["values"]["apps.checkpointer.interval"]["value"] == 10.0
    assert document["values"]["apps.checkpointer.url"]["origin"]["source"] == "myapp:Checkpointer"
    explained = run(sandbox, "explain", "apps.checkpointer.interval", path=path)
    assert "Seconds between two saves." in explained.stdout
    assert run(sandbox, "set", "apps.checkpointer.interval", "12", path=path).returncode == 0
    assert run(sandbox, "set", "apps.checkpointer.tools", "a,b", path=path).returncode == 0
    assert run(sandbox, "set", "apps.checkpointer.labels.c", "3", path=path).returncode == 0
    text = (sandbox.home / ".stigmer" / "config.yaml").read_text()
    assert "    interval: 12  # mine\n    labels: {b: 2, c: 3}\n" in text
    refused = run(sandbox, "set", "apps.checkpointer.interval", "0", path=path)
    assert (refused.returncode, "out-of-range" in refused.stderr) == (1, True)
    misspelled = run(sandbox, "get", "apps.checkpointer.intrval", path=path)
    assert (misspelled.returncode, "did you mean apps.checkpointer.interval?" in misspelled.stderr) == (2, True)
    schema = json.loads(run(sandbox, "schema", path=path).stdout)
    assert schema["properties"]["apps"]["properties"]["checkpointer"]["properties"]["interval"]["minimum"] == 0.1
    assert run(sandbox, "validate", path=path).returncode == 0
    # Removed again, nothing breaks.
    assert run(sandbox, "validate").stdout == "no problems\n"
    assert run(sandbox, "get", "apps.checkpointer.interval").stdout == "12\n"


LOUD = """
import os
from stigmer_config import app

@app("checkpointer")
class Checkpointer:
    interval: float = 30.0

    def __post_init__(self) -> None:
        print("printed by a check")
        os.write(1, b"written below Python\\n")
"""


@pytest.mark.parametrize("command", ["show", "validate", "doctor"])
def test_what_a_check_prints_is_no_part_of_the_data(sandbox: Sandbox, tmp_path: Path, command: str) -> None:
    """A check runs at each load, in the command, too."""
    path = install(tmp_path / "loud", "loudapp", LOUD, "loudapp:Checkpointer")
    sandbox.write(user="apps: {checkpointer: {interval: 10}}\n", project="llm: {temperature: 0.5}\n")
    done = run(sandbox, command, "--format", "json", path=str(path))
    assert isinstance(json.loads(done.stdout), dict), done.stderr
    assert "printed by a check" in done.stderr
    assert "written below Python" in done.stderr


def test_nothing_is_imported_without_apps(sandbox: Sandbox, package: Path) -> None:
    """Nor because of a comment, or of a project's file."""
    sandbox.write(user="# apps: none\nllm: {model: fast}\n", project="apps: {checkpointer: {interval: 5}}\n")
    shown = run(sandbox, "show", path=str(package))
    assert (shown.returncode, shown.stderr) == (0, "")


def test_what_cannot_be_imported_is_a_warning_that_names_its_package(sandbox: Sandbox, tmp_path: Path) -> None:
    """Whatever it raises."""
    broken = install(tmp_path / "broken", "brokenapp", "raise SystemExit(7)\n", "brokenapp:X")
    sandbox.write(user="apps: {checkpointer: {interval: 10}}\n")
    shown = run(sandbox, "validate", path=str(broken))
    assert shown.returncode == 0
    assert "warning[app-unavailable]" in shown.stderr
    assert "the package brokenapp" in shown.stderr
    assert "Traceback" not in shown.stderr


@pytest.mark.parametrize("path", ["", ":", "."])
def test_a_clone_runs_no_code(sandbox: Sandbox, path: str) -> None:
    """With `python -m` and with an empty or a relative item in PYTHONPATH."""
    install(sandbox.project, "evilapp", EVIL, "evilapp:X")
    sandbox.write(user="apps: {checkpointer: {interval: 10}}\n", project="llm: {model: fast}\n")
    for arguments in (["show", "apps"], ["validate"], ["get", "apps.checkpointer.interval"], ["schema"]):
        done = run(sandbox, *arguments, path=path)
        assert done.returncode == 0, done.stderr
    run(sandbox, "show", "--app", "evilapp:X", path=path)
    below = sandbox.project / "below"
    below.mkdir()
    run(sandbox, "show", "apps", path=str(sandbox.project), cwd=below)
    assert not list(sandbox.project.rglob("ran"))


def test_an_application_is_named_by_hand(sandbox: Sandbox, package: Path) -> None:
    """Without an entry point; and a class that is none is a warning."""
    (package / "myapp-1.dist-info" / "entry_points.txt").unlink()
    got = run(sandbox, "get", "apps.checkpointer.url", "--app", "myapp:Checkpointer", path=str(package))
    assert got.stdout == "sqlite:///runs.db\n"
    other = run(sandbox, "show", "--app", "json:JSONDecoder")
    assert (other.returncode, "json:JSONDecoder is no application's settings" in other.stderr) == (0, True)


WORKER = """
import sys
from myapp import Checkpointer
from stigmer_config import LiveConfig

with LiveConfig.start(apps=[Checkpointer]) as live:
    live.subscribe(lambda new, changes: print("llm", flush=True), "llm")
    live.subscribe(
        lambda new, changes: print(*(f"{c.key} {c.old} -> {c.new} {c.restart_required}" for c in changes), flush=True),
        "apps.checkpointer",
    )
    print("ready", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def running(sandbox: Sandbox, path: Path, *arguments: str) -> Iterator[Callable[[str], str]]:
    """A program that runs; what is given reads its output up to a line with this text in it."""
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=sandbox.project,
        env=environment(sandbox, str(path)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:

        def reads(text: str) -> str:
            assert process.stdout is not None
            seen = []
            for line in process.stdout:
                seen.append(line)
                if text in line:
                    return line.strip()
            raise AssertionError(f"no line with {text!r}: {seen}")

        try:
            yield reads
        finally:
            process.kill()


def test_a_running_worker_follows_an_installed_applications_keys(sandbox: Sandbox, package: Path) -> None:
    """`set` in one terminal; a worker, `watch` and `workers` see it."""
    sandbox.write(user="apps:\n  checkpointer:\n    interval: 10\n")
    path = str(package)
    with (
        running(sandbox, package, "-c", WORKER) as worker,
        running(sandbox, package, "-u", "-m", "stigmer_config", "config", "watch") as watch,
    ):
        worker("ready")
        watch("watching")
        assert run(sandbox, "set", "apps.checkpointer.interval", "12", path=path).returncode == 0
        assert worker("->") == "apps.checkpointer.interval 10.0 -> 12.0 False"
        watch("apps.checkpointer.interval")
        watch("12.0")
        in_step = run(sandbox, "workers", path=path)
        assert in_step.returncode == 0, in_step.stdout + in_step.stderr
        assert run(sandbox, "set", "apps.checkpointer.url", "sqlite:///b.db", path=path).returncode == 0
        assert worker("->") == "apps.checkpointer.url sqlite:///runs.db -> sqlite:///b.db True"
        watch("apps.checkpointer.url")
        waiting = run(sandbox, "workers", path=path)
        assert (waiting.returncode, "apps.checkpointer.url" in waiting.stdout) == (4, True), waiting.stdout
