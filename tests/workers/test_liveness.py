"""Who is alive, and where: namespaces, containers that share a folder, forks, logins, and files that vanish."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from stigmer_config import Environment
from stigmer_config.workers import local_workers
from stigmer_config.workers.folders import folders
from stigmer_config.workers.liveness import WorkerLock, living
from tests.support import live_tools
from tests.support.cli_tools import COMMAND
from tests.support.live_tools import until, world
from tests.support.sandbox import Sandbox
from tests.workers.test_local_workers import ask, environment_of, worker

WORKER = """
import sys
from stigmer_config import LiveConfig
with LiveConfig.start(mode="local"):
    print("ready", flush=True)
    sys.stdin.read()
"""
FORKING = """
import os, sys, time
from stigmer_config import LiveConfig
with LiveConfig.start(mode="local"):
    child = os.fork()
    if child == 0:
        print(f"ready {os.getpid()}", flush=True)
        time.sleep(600)
    sys.stdin.read()
"""


def needs(*command: str) -> pytest.MarkDecorator:
    """Skips where the system does not let this user make such a namespace."""
    try:
        works = subprocess.run([*command, "true"], capture_output=True, timeout=20, check=False).returncode == 0
    except OSError:
        works = False
    return pytest.mark.skipif(not works, reason=f"{' '.join(command)} is not allowed here")


IN_A_PID_NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
IN_A_CONTAINER = (*IN_A_PID_NAMESPACE, "--uts", "--mount")


@contextlib.contextmanager
def running(sandbox: Sandbox, command: Sequence[str], program: str = WORKER, **variables: str) -> Iterator[str]:
    """A program behind a command, ready; the line that it printed."""
    with subprocess.Popen(
        [*command, sys.executable, "-c", program],
        cwd=sandbox.project,
        env={**environment_of(sandbox), "PATH": os.environ["PATH"], **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline().strip()
            assert line.startswith("ready")
            yield line
        finally:
            process.stdin.close()


def listed(sandbox: Sandbox, command: Sequence[str] = ()) -> tuple[int, list[Any]]:
    """The status of `workers`, behind a command, and what it lists."""
    done = subprocess.run(
        [*command, COMMAND, "config", "workers", "--format", "json"],
        cwd=sandbox.project,
        env={**environment_of(sandbox), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, json.loads(done.stdout)


@needs(*IN_A_PID_NAMESPACE)
def test_a_command_in_another_pid_namespace_sees_the_worker(sandbox: Sandbox) -> None:
    """A sidecar has other process numbers: it lists the worker all the same, and removes nothing."""
    sandbox.write(user="mode: local\n")
    with worker(sandbox) as one:
        status, [found] = listed(sandbox, IN_A_PID_NAMESPACE)
        assert (status, found["pid"], found["in_step"]) == (0, one.pid, True)
        assert [found["pid"] for found in ask(sandbox, "workers")[1]] == [one.pid]


@needs(*IN_A_CONTAINER)
def test_two_containers_share_a_folder(sandbox: Sandbox) -> None:
    """In each the worker is process 1: both are listed, each with its host, and one that ends takes its own file."""
    sandbox.write(user="mode: local\n")

    def container(host: str) -> list[str]:
        return [*IN_A_CONTAINER, "sh", "-c", f'hostname {host}; exec "$@"', "sh"]

    with running(sandbox, container("one")):
        with running(sandbox, container("two")):
            for command in ((), container("three")):
                status, found = listed(sandbox, command)
                assert (status, [(one["host"], one["pid"]) for one in found]) == (0, [("one", 1), ("two", 1)])
            table = sandbox.run("workers").stdout.splitlines()
            assert [line.split()[:2] for line in table] == [["host", "pid"], ["one", "1"], ["two", "1"]]
            assert ask(sandbox, "diff", "--worker", "1") == (0, [])
        assert [one["host"] for one in ask(sandbox, "workers")[1]] == ["one"]


@needs("unshare", "--mount")
def test_a_worker_from_before_the_login_is_seen_after_it(sandbox: Sandbox) -> None:
    """Without a /run/user/UID it publishes in the temporary folder; after the login that is looked at, too."""
    sandbox.write(user="mode: local\n")
    runtime = f"/run/user/{os.getuid()}"
    program = (
        "import json, os, subprocess, sys\n"
        "from stigmer_config import LiveConfig\n"
        "def listed(**variables):\n"
        "    done = subprocess.run(sys.argv[1:], env={**os.environ, **variables}, stdout=subprocess.PIPE)\n"
        "    return [worker['pid'] for worker in json.loads(done.stdout)]\n"
        "runtime = f'/run/user/{os.getuid()}'\n"
        "with LiveConfig.start(mode='local'):\n"
        "    before = listed()\n"
        "    os.mkdir(runtime, 0o700)\n"
        "    after = listed(XDG_RUNTIME_DIR=runtime), listed()\n"
        "    with LiveConfig.start(mode='local'):\n"
        "        both = listed(XDG_RUNTIME_DIR=runtime)\n"
        "        print(os.listdir(runtime), [found == [os.getpid()] for found in (before, *after)], len(both))\n"
    )
    script = 'mount -t tmpfs none /run && mkdir /run/user && exec "$@"'
    environment = environment_of(sandbox)
    del environment["XDG_RUNTIME_DIR"]
    command = [sys.executable, "-c", program, COMMAND, "config", "workers", "--format", "json"]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *command],
        cwd=sandbox.project,
        env={**environment, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "['stigmer'] [True, True, True] 2\n", (runtime, done.stderr)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_does_not_keep_its_parent_alive(sandbox: Sandbox) -> None:
    """The child has a copy of each descriptor, but not of the lock: after kill -9 the parent is not listed."""
    sandbox.write(user="mode: local\n")
    with running(sandbox, (), FORKING) as line:
        child = int(line.split()[1])
        try:
            [found] = ask(sandbox, "workers")[1]
            os.kill(found["pid"], signal.SIGKILL)
            assert until(lambda: ask(sandbox, "workers") == (4, []))
            os.kill(child, 0)  # it runs still
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_child_that_a_worker_starts_has_no_copy_of_the_lock(sandbox: Sandbox) -> None:
    """A program that outlives the worker, a daemon say, inherits nothing."""
    sandbox.write(user="mode: local\n")
    program = WORKER.replace(
        'print("ready"',
        "import subprocess\n    "
        "child = subprocess.Popen(['sleep', '600'], close_fds=False, stdout=subprocess.DEVNULL)\n    "
        'print(f"ready {child.pid}"',
    )
    with running(sandbox, (), program) as line:
        try:
            [found] = ask(sandbox, "workers")[1]
            os.kill(found["pid"], signal.SIGKILL)
            assert until(lambda: ask(sandbox, "workers") == (4, []))
        finally:
            os.kill(int(line.split()[1]), signal.SIGKILL)


# -- files that vanish -----------------------------------------------------------------------------------------------


def _state_file(sandbox: Sandbox) -> Path:
    [path] = (sandbox.root / "run").rglob("*.json")
    return path


@pytest.mark.parametrize(
    "lose",
    [
        Path.unlink,
        lambda path: path.with_suffix(".lock").unlink(),
        lambda path: [other.unlink() for other in path.parent.iterdir()],
        lambda path: shutil.rmtree(path.parents[2]),
    ],
    ids=["state", "lock", "both", "folder"],
)
def test_what_a_cleaner_removes_comes_back(sandbox: Sandbox, lose: Callable[[Path], object]) -> None:
    """Without any change of the configuration: the sweep notices within a second. No file is left over at the end."""
    with live_tools.living(sandbox):
        lose(_state_file(sandbox))
        assert until(lambda: [found.pid for found in local_workers.running(world(sandbox))] == [os.getpid()])
    assert not [path for path in (sandbox.root / "run").rglob("*") if path.is_file()]


def test_only_unlocked_files_are_removed(tmp_path: Path) -> None:
    """Files of dead workers go, halves of a write as well; a living one's and those of others stay."""
    tmp_path.chmod(0o700)
    alive = WorkerLock(str(tmp_path))
    Path(alive.state_path).write_text("{}")
    dead = [f"4711-0123456789abcdef.{suffix}" for suffix in ("json", "json.new", "lock")]
    others = ["other.json", "other.lock", "4711-0123456789abcdef.txt"]
    for name in (*dead, *others):
        (tmp_path / name).write_text("{}")
    assert list(living(tmp_path)) == [Path(alive.state_path)]
    name = Path(alive.state_path).stem
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, f"{name}.json", f"{name}.lock"])
    alive.release()
    assert list(living(tmp_path)) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)


def test_every_name_is_new(tmp_path: Path) -> None:
    """Two workers of one process number never share a name."""
    locks = [WorkerLock(str(tmp_path)) for _ in range(100)]
    try:
        assert len({lock.state_path for lock in locks}) == 100
    finally:
        for lock in locks:
            lock.release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one folder")
@pytest.mark.parametrize("runtime", [None, "made"], ids=["without a login", "with one"])
def test_the_first_folder_is_the_one_platformdirs_chooses(tmp_path: Path, runtime: str | None) -> None:
    """Whatever the variables say; and the folders of before and after a login are among them."""
    variables = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)}
    if runtime is not None:
        (tmp_path / runtime).mkdir(mode=0o700)
        variables["XDG_RUNTIME_DIR"] = str(tmp_path / runtime)
    program = (
        "import platformdirs\n"
        "from stigmer_config import Environment\n"
        "from stigmer_config.workers.folders import folders\n"
        "print(platformdirs.user_runtime_path('stigmer') / 'workers', *folders(Environment.capture()))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=True)
    chosen, *found = done.stdout.split()
    assert found[0] == chosen
    assert {
        f"/run/user/{os.getuid()}/stigmer/workers",
        f"{tmp_path}/runtime-{os.getuid()}/stigmer/workers",
    } <= set(found)


def test_an_environment_that_is_passed_in_has_its_own_folder(tmp_path: Path) -> None:
    """A test's workers are apart from this machine's."""
    environment = Environment.capture({"XDG_RUNTIME_DIR": str(tmp_path)}, cwd=tmp_path, home=tmp_path)
    assert folders(environment) == (tmp_path / "stigmer" / "workers",)
