"""A real program in a real terminal: tmux, polled until it shows the expected text."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import pytest

PATIENCE = 60.0  # seconds: a loaded machine is slow, and nothing else ends the waiting


class Terminal:
    """One program on a screen of 100 by 30, ended at the end of the `with`."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], cwd: Path, *needs: str) -> None:
        missing = [program for program in ("tmux", *needs) if shutil.which(program) is None]
        if missing:
            pytest.skip(f"{', '.join(missing)} is not installed")
        self.socket = f"stigmer-{uuid.uuid4().hex}"
        pairs = [f"{name}={value}" for name, value in {"TERM": "screen", **environment}.items()]
        line = f"{shlex.join(['env', '-i', *pairs, *command])}; echo ended with $?; exec sleep 600"
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30", "-c", str(cwd), line)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._tmux("kill-server", check=False)

    def _tmux(self, *words: str, check: bool = True) -> str:
        command = ["tmux", "-u", "-L", self.socket, *words]
        return subprocess.run(command, capture_output=True, text=True, check=check, timeout=PATIENCE).stdout

    @property
    def screen(self) -> str:
        return self._tmux("capture-pane", "-p", "-J")

    def wait(self, text: str) -> str:
        """The screen, once it shows `text`."""
        deadline = time.monotonic() + PATIENCE
        while text not in (screen := self.screen):
            assert time.monotonic() < deadline, f"{text!r} did not come; there is:\n{screen}"
            time.sleep(0.05)
        return screen

    def type(self, *keys: str) -> None:
        """Keys as tmux names them (`Enter`, `Escape`), or text."""
        for key in keys:
            literal = [] if key in ("Enter", "Escape", "C-c", "C-d") else ["-l"]
            self._tmux("send-keys", *literal, key)
