"""Reads a secret from a command, which runs without a shell, in a minimal environment, and within a time limit."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from subprocess import Popen

    from ..core.environment import Environment

SECONDS = 10.0
# Only the variables that a password manager needs to find its store and its agent.
_VARIABLES = (
    *("HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME"),
    *("GNUPGHOME", "SSH_AUTH_SOCK", "DBUS_SESSION_BUS_ADDRESS"),
)


def run(argv: tuple[str, ...], environment: Environment, limit: int) -> bytes | str:
    """The command's output, at most `limit` bytes and one more; or why it is unavailable.

    No shell, no standard input, folder `/`, a minimal environment, 10 seconds; its process group is killed in any
    case. No message contains its output.
    """
    import subprocess

    if sys.platform == "win32":
        return "commands are not run on Windows: use {file: PATH} or {env: NAME}"
    variables = {name: value for name in _VARIABLES if (value := environment.variable(name)) is not None}
    try:
        process = subprocess.Popen(  # noqa: S603 - no shell, an absolute argv[0], from the user's own file
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", **variables},
            start_new_session=True,
            close_fds=True,
        )
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or "it cannot be started"
    try:
        return _output(process, limit)
    finally:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        if process.stdout is not None:
            process.stdout.close()
        process.wait()


def _output(process: Popen[bytes], limit: int) -> bytes | str:
    import select
    import subprocess
    import time

    deadline = time.monotonic() + SECONDS
    pipe = process.stdout
    data = b""
    while pipe is not None and len(data) <= limit:
        ready, _, _ = select.select([pipe], [], [], max(deadline - time.monotonic(), 0))
        if not ready:
            return f"it did not end within {SECONDS:g} seconds"
        part = os.read(pipe.fileno(), limit + 1)
        if not part:
            break
        data += part
    if len(data) > limit:
        return data
    try:
        status = process.wait(timeout=max(deadline - time.monotonic(), 0.01))
    except subprocess.TimeoutExpired:
        return f"it did not end within {SECONDS:g} seconds"
    return data if status == 0 else f"it ended with status {status}"
