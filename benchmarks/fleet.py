"""A fleet on a real etcd of three members: from a value's commit to the last worker that uses it.

The workers share this machine's cores, so many of them slow each other down: with 200 on two cores their reloads take
most of the time. The baseline is a bare watch of the same gateway, which parses nothing.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from goals import Goal, Part
from live import quantile
from reference import World

ROOT = Path(__file__).parent.parent
PROCESSES = 4
COUNTS = (1, 20, 200)
PAUSE = 0.05  # seconds between a change that all workers have and the next one
DEADLINE = 60.0


def _wake(url: str, prefix: str) -> None:
    """The baseline: a stream of the gateway, and the time of each line."""
    import base64

    import httpx2

    span = [base64.b64encode(f"{prefix}{end}".encode()).decode() for end in ("/", "0")]
    body = {"create_request": {"key": span[0], "range_end": span[1]}}
    with httpx2.stream("POST", f"{url}/v3/watch", json=body, timeout=None) as answer:
        for _ in answer.iter_lines():
            os.write(1, f"0 0 {time.monotonic_ns()}\n".encode())


class Crowd:
    """Processes that write a line, with the time, for each change that one of their workers applies."""

    def __init__(self, commands: list[list[str]], size: int, environment: dict[str, str]) -> None:
        self._size = size
        self._times: list[int] = []
        self._changed = threading.Condition()
        self._processes = [
            subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            for command in commands
        ]
        for process in self._processes:
            threading.Thread(target=self._read, args=(process,), daemon=True).start()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line != b"up\n":
                with self._changed:
                    self._times.append(int(line.split()[2]))
                    self._changed.notify_all()

    def all(self) -> list[int]:
        """The time when each applied the change, once all have; the next call is for the next change."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._times) >= self._size, DEADLINE):
                raise RuntimeError(f"{len(self._times)} of {self._size} took the change")
            found, self._times = self._times, []
            return found

    def cpu(self) -> float:
        """The processes' CPU seconds so far, in all threads (proc(5): stat, fields 14 and 15)."""
        ticks = 0
        for process in self._processes:
            fields = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


@contextlib.contextmanager
def crowd(commands: list[list[str]], size: int, environment: dict[str, str]) -> Iterator[Crowd]:
    found = Crowd(commands, size, environment)
    try:
        found.all()  # each reports its first value, or that its watch is active
        yield found
    finally:
        found.close()


def _rollouts(keys: Any, found: Crowd, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds from just before each write until its first and its last worker."""
    first, last = [], []
    for number in range(rounds + 1):
        time.sleep(PAUSE)
        begin = time.monotonic_ns()
        keys.put("llm/timeout", str(number + 100))
        times = found.all()
        if number:  # the first one warms up
            first.append((min(times) - begin) / 1e9)
            last.append((max(times) - begin) / 1e9)
    return first, last


def fleet_part(world: World, *, quick: bool) -> Part:
    """One worker beside a bare watch; then many on this machine."""
    sys.path.insert(0, str(ROOT))
    from tests.support.etcd_tools import Cluster  # the tests' etcd: three real members on loopback

    rounds = 5 if quick else 20
    goals: list[Goal] = []
    bars: dict[str, float] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        Cluster(Path(folder) / "etcd", 3) as cluster,
        cluster.keys("/bench") as keys,
    ):
        # No file of the reference load: its timeout would hide the store's.
        home = dict.fromkeys(("HOME", "XDG_RUNTIME_DIR"), folder)
        environment = {"PATH": os.environ["PATH"], **home, **cluster.variables("/bench")}
        keys.put("llm/timeout", "1")
        with crowd([[*world.python(__file__, cluster.members[0].url, "/bench")]], 1, environment) as found:
            _, bare = _rollouts(keys, found, rounds)
        bars["a bare watch of the gateway"] = median(bare)
        for count in COUNTS:
            processes = min(PROCESSES, count)
            command = [*world.python("-m", "tests.support.fleet_workers", str(count // processes))]
            with crowd([command] * processes, count, environment) as found:
                used = found.cpu()
                first, last = _rollouts(keys, found, rounds)
                each = (found.cpu() - used) / (rounds + 1) / count
            bars[f"the last of {count} workers" if count > 1 else "one worker"] = median(last)
            spread = f"p50 / p99 {median(last) * 1e3:.3g} / {quantile(last, 0.99) * 1e3:.3g} ms"
            if count == 1:
                note = f"{spread}, bare {median(bare) * 1e3:.3g} ms"
                what, figure = "etcd: commit → subscriber / a bare watch", median(last) / median(bare)
                goals.append(Goal(what, None, figure, note=note))
            else:
                what = f"etcd: commit → the last of {count} workers on this machine"
                note = f"{spread}, the first {median(first) * 1e3:.3g} ms"
                limit = 500 if count == max(COUNTS) else None
                goals.append(Goal(what, None, median(last) * 1e3, "ms", note))
                if limit is not None:
                    goals.append(Goal(f"{what}, p99", limit, quantile(last, 0.99) * 1e3, "ms"))
                    what = f"etcd: CPU of one of {count} workers for one change"
                    goals.append(Goal(what, 2, each * 1e3, "ms", "all of its process, the watch included"))
    return Part(goals, {"fleet": bars})


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("python benchmarks/run.py fleet")
    _wake(*sys.argv[1:])
