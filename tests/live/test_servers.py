"""The recipes of docs/prefork.md with the real servers: every process takes a change, and `workers` lists it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.live_tools import save, until
from tests.support.paths import REPOSITORY
from tests.support.sandbox import Sandbox

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="servers that fork")
PATIENCE = 120.0  # seconds for what should take two: servers start slowly on a busy machine
BIN = Path(sys.executable).parent
PAGE = (REPOSITORY / "docs" / "prefork.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"<!-- file: (\S+) -->\n```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
OLD, NEW = "qwen2.5-coder:7b", "llama3.2:3b"  # `balanced`, and `fast`


@pytest.fixture
def recipes(sandbox: Sandbox) -> Sandbox:
    """The page's files in the project's folder."""
    for name, text in RECIPES.items():
        (sandbox.project / name).write_text(text)
    return sandbox.write(user="mode: local\n")


def environment(sandbox: Sandbox) -> dict[str, str]:
    return {
        "HOME": str(sandbox.home),
        "PATH": f"{BIN}:{os.defpath}",
        "XDG_RUNTIME_DIR": str(sandbox.root / "run"),
        "XDG_CONFIG_DIRS": str(sandbox.root / "xdg"),
    }


@contextlib.contextmanager
def server(sandbox: Sandbox, *argv: str) -> Iterator[Path]:
    """A running server; its output in a file."""
    log = sandbox.root / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *argv],
            cwd=sandbox.project,
            env=environment(sandbox),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield log
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def answer(path: Path) -> tuple[int, str] | None:
    """The process that answers at a unix socket, and its model; None when none listens yet."""
    connection = http.client.HTTPConnection("localhost", timeout=PATIENCE)
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.connect(str(path))
        connection.request("GET", "/")
        pid, model = connection.getresponse().read().decode().split()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return int(pid), model


def workers(sandbox: Sandbox) -> dict[int, str]:
    """What `stigmer config workers` lists: the model's name of each pid."""
    done = sandbox.run("workers", "--format", "json", variables=environment(sandbox))
    return {worker["pid"]: worker["model"] for worker in json.loads(done.stdout or "[]")}


def all_answer(path: Path, model: str, number: int) -> set[int]:
    """Waits until so many processes answer, each of them with this model. Their pids."""
    models: dict[int, str] = {}

    def ask() -> bool:
        found = answer(path)
        if found is not None:
            models[found[0]] = found[1]
        return len(models) == number and set(models.values()) == {model}

    assert until(ask, PATIENCE), models
    return set(models)


def takes_a_change(sandbox: Sandbox, path: Path, log: Path, *, with_parent: bool) -> None:
    """Two processes answer with the old model, then both with the new one, and both are listed."""
    pids = all_answer(path, OLD, 2)
    save(sandbox.user_file, "mode: local\nllm: {model: fast}\n")
    assert all_answer(path, NEW, 2) == pids
    assert until(lambda: set(workers(sandbox).values()) == {f"fast → {NEW}"}, PATIENCE)
    listed = set(workers(sandbox))
    assert pids <= listed
    assert len(listed) == 2 + with_parent
    assert "config.not_following" not in log.read_text()


@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["import", "preload"])
def test_gunicorn(recipes: Sandbox, options: tuple[str, ...]) -> None:
    path = recipes.root / "socket"
    (recipes.project / "gunicorn.conf.py").unlink()
    with server(recipes, "gunicorn", "--workers", "2", *options, "--bind", f"unix:{path}", "app:app") as log:
        takes_a_change(recipes, path, log, with_parent=bool(options))
    assert workers(recipes) == {}


def test_gunicorn_that_restarts_after_the_fork(recipes: Sandbox) -> None:
    path = recipes.root / "socket"
    app = recipes.project / "app.py"
    app.write_text(RECIPES["app.py"].replace("follow_forks=True", ""))
    with server(recipes, "gunicorn", "--workers", "2", "--preload", "--bind", f"unix:{path}", "app:app") as log:
        takes_a_change(recipes, path, log, with_parent=True)


def test_gunicorn_whose_children_do_not_follow_says_so(recipes: Sandbox) -> None:
    """Neither `follow_forks` nor `restart()`: each child logs it, with the fix."""
    path = recipes.root / "socket"
    (recipes.project / "gunicorn.conf.py").unlink()
    (recipes.project / "app.py").write_text(RECIPES["app.py"].replace("follow_forks=True", ""))
    with server(recipes, "gunicorn", "--workers", "2", "--preload", "--bind", f"unix:{path}", "app:app") as log:
        all_answer(path, OLD, 2)
        assert until(lambda: log.read_text().count('"config.not_following"') == 2, PATIENCE)
        assert log.read_text().count("live.restart()") == 2


def test_uvicorn(recipes: Sandbox) -> None:
    path = recipes.root / "socket"
    with server(recipes, "uvicorn", "--workers", "2", "--uds", str(path), "service:app") as log:
        takes_a_change(recipes, path, log, with_parent=False)


CELERY = """
broker_url = "filesystem://"
broker_transport_options = {"data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control"}
result_backend = "file://RESULTS"
"""
ASK = "from tasks import answer\nprint(answer.delay().get(timeout=100))"


def test_celery(recipes: Sandbox) -> None:
    """The processes of its prefork pool, with the file system for a broker."""
    for folder in ("queue", "control", "results"):
        (recipes.project / folder).mkdir()
    results = recipes.project / "results"
    (recipes.project / "celeryconfig.py").write_text(CELERY.replace("RESULTS", str(results)))

    def ask() -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-c", ASK],
            cwd=recipes.project,
            env=environment(recipes),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        pid, model = done.stdout.split()
        return int(pid), model

    with server(recipes, "celery", "--app", "tasks", "worker", "--concurrency", "2", "--loglevel", "INFO") as log:
        assert until(lambda: len(workers(recipes)) == 2, PATIENCE), log.read_text()
        pids = set(workers(recipes))
        assert ask()[1] == OLD
        save(recipes.user_file, "mode: local\nllm: {model: fast}\n")
        assert until(lambda: workers(recipes) == dict.fromkeys(pids, f"fast → {NEW}"), PATIENCE)
        pid, model = ask()
        assert pid in pids
        assert model == NEW
        assert "config.loaded" in log.read_text()
    assert workers(recipes) == {}


@pytest.mark.parametrize("name", ["spawned.py", "forked.py"])
def test_multiprocessing(recipes: Sandbox, name: str) -> None:
    """Each process of the pool takes a change that comes while it runs."""
    text = RECIPES[name]
    wait = '    live.wait_for(lambda config: config.llm.model == "fast", timeout=100)\n    return f"'
    assert text.count('    return f"') == 1
    text = text.replace('    return f"', wait)
    (recipes.project / name).write_text(text)
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", name],
        cwd=recipes.project,
        env=environment(recipes),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    expected = 2 + (name == "forked.py")
    assert until(lambda: len(workers(recipes)) == expected, PATIENCE)
    save(recipes.user_file, "mode: local\nllm: {model: fast}\n")
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert NEW in output
    assert OLD not in output
    assert "config.not_following" not in errors
