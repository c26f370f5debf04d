"""Runs `stigmer config set llm.model balanced` again and again, with one system call going wrong each time.

    python -P crash_driver.py EXISTING

It counts the calls that `saving` makes, then breaks each in each way, and prints one JSON object per run. The
user file holds OLD at the start (nothing, if EXISTING is 0). It runs in a process of its own: it kills children.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stigmer_config.cli import main
from stigmer_config.files import atomic_write as saving

OLD = b"# ours\nllm:\n  model: fast\n"
NEW = {True: b"# ours\nllm:\n  model: balanced\n", False: b"llm:\n  model: balanced\n"}
FAULTS = ("SIGKILL", "ENOSPC", "EIO", "EXDEV", "KeyboardInterrupt")


class Injector:
    """`os`, with its `at`-th call going wrong. `calls` are the names called so far."""

    def __init__(self, at: int | None, fault: str) -> None:
        self.at = at
        self.fault = fault
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if not callable(real) or name == "path":
            return real

        def call(*arguments: Any, **options: Any) -> Any:
            self.calls.append(name)
            if len(self.calls) - 1 == self.at:
                self._break(real, name, arguments)
            return real(*arguments, **options)

        return call

    def _break(self, real: Callable[..., Any], name: str, arguments: tuple[Any, ...]) -> None:
        if self.fault == "SIGKILL":
            os.kill(os.getpid(), signal.SIGKILL)
        if name == "close":  # even a close that fails closes
            real(*arguments)
        if self.fault == "KeyboardInterrupt":
            raise KeyboardInterrupt
        number = getattr(errno, self.fault)
        raise OSError(number, os.strerror(number))


def run(at: int | None, fault: str) -> tuple[int, str, Injector]:
    """The command, once. Its exit status and what it said."""
    injector = Injector(at, fault)
    vars(saving)["os"] = injector
    said = io.StringIO()
    status = 0
    sys.argv = ["stigmer", "config", "set", "llm.model", "balanced"]
    with contextlib.redirect_stderr(said):
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
    vars(saving)["os"] = os
    return status, said.getvalue(), injector


def forked(at: int, fault: str) -> tuple[int, str]:
    """The same in a child that may not come back."""
    child = os.fork()
    if not child:
        with contextlib.redirect_stderr(io.StringIO()):
            os._exit(run(at, fault)[0])
    _, status = os.waitpid(child, 0)
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status), ""


def matrix(*, existing: bool) -> None:
    """Every call, broken in every way."""
    file = Path(os.environ["HOME"]) / ".stigmer" / "config.yaml"

    def reset() -> None:
        for path in file.parent.glob("*") if file.parent.exists() else ():
            path.unlink()
        for path in file.parent.glob(".*"):
            path.unlink()
        if existing:
            file.parent.mkdir(mode=0o700, exist_ok=True)
            file.write_bytes(OLD)
            file.chmod(0o600)
        elif file.parent.exists():
            file.parent.rmdir()

    reset()
    calls = run(None, "")[2].calls
    for at, name in enumerate(calls):
        for fault in FAULTS:
            reset()
            status, said = forked(at, fault) if fault == "SIGKILL" else run(at, fault)[:2]
            data = file.read_bytes() if file.exists() else None
            again = run(None, "")[0]
            row = {
                "call": f"{at}: {name}",
                "fault": fault,
                "status": status,
                "said": said,
                "file": "new" if data == NEW[existing] else "old" if data == (OLD if existing else None) else "other",
                "mode": oct(file.stat().st_mode & 0o777) if file.exists() else "",
                "again": again == 0 and file.read_bytes() == NEW[existing],
                "left": sorted(path.name for path in file.parent.iterdir()),
            }
            print(json.dumps(row))  # noqa: T201 - this is its output


if __name__ == "__main__":
    matrix(existing=sys.argv[1] == "1")
