"""Runs the `stigmer` command in forks of one process that has imported it: a start takes milliseconds, not a third of
a second. Each run is a process of its own, with its own arguments, variables, folder, input and output.

What a fork cannot show is tested with the installed command: what a start imports and reads (`tests/test_imports.py`,
`tests/test_packaging.py`), Python's own variables, and terminals.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import io
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_LIMIT = 1 << 20  # bytes of one request
# Python reads these when it starts.
_STARTING = ("PYTHON", "LC_", "LANG")


class CommandServer:
    """The process that forks. It ends with this one."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.command_server", str(theirs.fileno())],
                cwd=Path(__file__).parents[2],
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._requests = ours
        atexit.register(self.close)

    def close(self) -> None:
        self._requests.close()
        self._process.wait()

    def run(
        self, argv: tuple[str, ...], *, cwd: Path, env: Mapping[str, str], stdin: str, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run(["stigmer", …], capture_output=True, text=True)`. Raises `TimeoutExpired`."""
        command = ["stigmer", *argv]
        answer, status = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        pipes = [os.pipe() for _ in range(3)]
        (child_in, to_child), (from_child, child_out), (from_errors, child_err) = pipes
        passed = [child_in, child_out, child_err, status.fileno()]
        request = json.dumps({"argv": command, "cwd": os.fspath(cwd), "env": dict(env)}).encode()
        socket.send_fds(self._requests, [request], passed)
        status.close()
        for descriptor in passed[:3]:
            os.close(descriptor)
        found: dict[str, bytes] = {}

        def read(name: str, descriptor: int) -> None:
            with open(descriptor, "rb") as stream:
                found[name] = stream.read()

        readers = [threading.Thread(target=read, args=row) for row in (("out", from_child), ("err", from_errors))]
        for reader in readers:
            reader.start()
        with contextlib.suppress(BrokenPipeError), open(to_child, "wb") as stream:
            stream.write(stdin.encode())
        with answer, answer.makefile("rb") as lines:
            answer.settimeout(timeout)
            pid = int(lines.readline())
            try:
                code = int(lines.readline())
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(command, timeout) from None
            finally:
                for reader in readers:
                    reader.join()
        return subprocess.CompletedProcess(command, code, found["out"].decode(), found["err"].decode())


_server: list[CommandServer] = []
_starting = threading.Lock()


def run(
    *argv: str, cwd: Path, env: Mapping[str, str], stdin: str = "", timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """`stigmer ARGV…` with these variables alone: in a fork where one can show it, else by the installed command."""
    if sys.platform == "linux" and not any(
        name.startswith(_STARTING) and (name, value) != ("LC_ALL", "C.UTF-8") for name, value in env.items()
    ):
        return _the_server().run(argv, cwd=cwd, env=env, stdin=stdin, timeout=timeout)
    command = [str(Path(sys.executable).parent / "stigmer"), *argv]
    return subprocess.run(
        command, cwd=cwd, env=env, input=stdin, capture_output=True, text=True, timeout=timeout, check=False
    )


def _the_server() -> CommandServer:
    """The server of this process, started by the first call."""
    with _starting:
        if not _server:
            _server.append(CommandServer())
        return _server[0]


def _warm_up() -> None:
    """Imports every command, and runs some in an empty home: what they import later is in each fork, too."""
    import stigmer_config.cli.commands

    for module in pkgutil.iter_modules(stigmer_config.cli.commands.__path__, "stigmer_config.cli.commands."):
        importlib.import_module(module.name)
    before, folder = dict(os.environ), os.getcwd()
    with tempfile.TemporaryDirectory() as home, open(os.devnull, "w", encoding="utf-8") as nothing:
        os.environ["HOME"] = home
        os.chdir(home)
        for argv in (("set", "llm.timeout", "60"), ("show", "--origin"), ("explain", "llm.model"), ("validate",)):
            sys.argv = ["stigmer", "config", *argv]
            with (
                contextlib.redirect_stdout(nothing),
                contextlib.redirect_stderr(nothing),
                contextlib.suppress(SystemExit),
            ):
                stigmer_config.cli.main()
        os.chdir(folder)
    os.environ.clear()
    os.environ.update(before)


def _serve(requests: socket.socket) -> dict[str, Any] | None:
    """Forks for each request. Returns the request in the fork that shall run it; None when there are no more."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no one waits for the supervisors
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, _LIMIT, 4)
        if not message:
            return None
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            requests.close()
            return _supervise(json.loads(message), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _supervise(request: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
    """Returns in the fork that shall run the command. The other one answers with its pid and its exit status."""
    pid = os.fork()
    if pid == 0:
        os.close(descriptors.pop())
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        return request
    for descriptor in descriptors[:3]:
        os.close(descriptor)
    os.write(descriptors[3], b"%d\n" % pid)
    _, status = os.waitpid(pid, 0)
    os.write(descriptors[3], b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _become(request: dict[str, Any]) -> None:
    """Takes on a request's arguments, variables, folder and streams."""
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.argv = request["argv"]
    sys.path[0] = os.path.dirname(sys.executable)
    sys.stdin = io.TextIOWrapper(open(0, "rb"), encoding="utf-8", errors="surrogateescape")  # noqa: SIM115
    sys.stdout = io.TextIOWrapper(open(1, "wb"), encoding="utf-8", errors="surrogateescape")  # noqa: SIM115
    sys.stderr = io.TextIOWrapper(
        open(2, "wb"),  # noqa: SIM115
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=True,
    )
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]


def _run() -> None:
    """The command, and the end of its process. Python's own end frees everything, and takes longer than the rest."""
    from stigmer_config.cli import main

    try:
        main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except OSError:
        status = 120  # as Python's own
    os._exit(status)


if __name__ == "__main__":
    channel = socket.socket(fileno=int(sys.argv[1]))
    _warm_up()
    wanted = _serve(channel)
    if wanted is not None:
        _become(wanted)
        _run()
