"""The cost of a running worker, and its latency for a change: the part `live` of `run.py`.

Latency is from just before the `rename` in one process to the first line of a subscriber in another, beside a bare
inotify wake and watchfiles at its fastest setting, in turns. Run as a program it is one of the measured processes.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from goals import Goal, Part
from reference import USER, World
from timing import interleaved, median, ratio, repeated, spread

PAUSE = 0.03  # seconds between two saves: longer than a worker's spacing
IN_MOVED_TO = 0x80
SUBJECTS = ("inotify", "watchfiles", "live")


# -- subjects: each in its own process, each prints the time of each wake ---------------------------------------------


def woken() -> None:
    """Prints the time; called first at each change."""
    os.write(1, b"%d\n" % time.monotonic_ns())


def inotify(folder: str, threads: int) -> None:
    """The baseline: one blocking read."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init()
    libc.inotify_add_watch(descriptor, os.fsencode(folder), IN_MOVED_TO)
    ready(threads)
    while os.read(descriptor, 4096):
        woken()


def watchfiles(folder: str, threads: int) -> None:
    """watchfiles' bare event, at its fastest setting; reads nothing."""
    from watchfiles import watch

    threading.Timer(0.3, ready, (threads,)).start()
    for _ in watch(folder, step=1, debounce=1, recursive=False, rust_timeout=60_000):
        woken()


def live(_folder: str, threads: int) -> None:
    """The complete reload: read, check, merge, resolve, swap, call the subscriber."""
    from stigmer_config import LiveConfig

    with LiveConfig.start() as config:
        config.subscribe(lambda *_: woken(), "providers.openai.timeout")
        ready(threads)
        threading.Event().wait()


def ready(threads: int) -> None:
    """Reports that the subject is ready, beside this many busy threads."""

    def work() -> None:
        number = 0
        while True:
            number += 1

    for _ in range(threads):
        threading.Thread(target=work, daemon=True).start()
    os.write(1, b"ready\n")


# -- latency ---------------------------------------------------------------------------------------------------------


class Subject:
    """One subject's process, and the file that it watches."""

    def __init__(self, world: World, name: str, threads: int) -> None:
        self.file = world.user if name == "live" else world.home / name / "config.yaml"
        self.new = world.home / "spare" / "config.yaml"  # elsewhere: its writing wakes nobody
        for folder in (self.file.parent, self.new.parent):
            folder.mkdir(exist_ok=True)
        command = world.python(__file__, "subject", name, str(self.file.parent), str(threads))
        self.process = subprocess.Popen(
            command, cwd=world.project, env=world.environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.line()

    def line(self) -> bytes:
        assert self.process.stdout is not None
        found = self.process.stdout.readline()
        if not found:
            raise RuntimeError(f"{self.file} is watched by nobody any more")
        return found

    def save(self, text: str) -> float:
        """Seconds from just before the rename to the wake."""
        self.new.write_text(text, encoding="utf-8")
        self.new.chmod(0o600)
        begin = time.monotonic_ns()
        os.rename(self.new, self.file)
        return (int(self.line()) - begin) / 1e9


@contextlib.contextmanager
def subjects(world: World, threads: int) -> Iterator[dict[str, Subject]]:
    found: dict[str, Subject] = {}
    try:
        for name in SUBJECTS:
            found[name] = Subject(world, name, threads)
            os.kill(found[name].process.pid, signal.SIGSTOP)
        yield found
    finally:
        for subject in found.values():
            subject.process.kill()
            subject.process.wait()


def latencies(world: World, rounds: int, threads: int) -> dict[str, list[float]]:
    """Seconds of each save, by subject, in turns. A subject is stopped while another one is measured."""
    took: dict[str, list[float]] = {name: [] for name in SUBJECTS}
    with subjects(world, threads) as found:
        for turn in range(-1, max(rounds // 20, 1)):
            for name, subject in found.items():
                os.kill(subject.process.pid, signal.SIGCONT)
                time.sleep(PAUSE)
                for number in range(20):
                    seconds = subject.save(
                        USER.replace("openai:\n", f"openai:\n    timeout: {turn * 20 + number + 100}\n")
                    )
                    if turn >= 0:  # a first turn warms up
                        took[name].append(seconds)
                    time.sleep(PAUSE)
                os.kill(subject.process.pid, signal.SIGSTOP)
    return took


def quantile(values: list[float], part: float) -> float:
    return sorted(values)[min(int(len(values) * part), len(values) - 1)]


def _ms(values: list[float]) -> str:
    half, most = (float(f"{seconds * 1e3:.3g}") for seconds in (statistics.median(values), quantile(values, 0.99)))
    return f"{half:g} / {most:g} ms"


def latency_part(world: World, rounds: int) -> Part:
    took = latencies(world, rounds, 0)
    ours, bare, peer = took["live"], took["inotify"], took["watchfiles"]
    half = statistics.median
    goals = [
        Goal("rename → subscriber / bare inotify wake, p50", 8, half(ours) / half(bare), note=_note(took)),
        Goal("rename → subscriber / bare inotify wake, p99", 12, quantile(ours, 0.99) / quantile(bare, 0.99)),
        Goal("rename → subscriber / watchfiles' bare event, p50", 1.0, half(ours) / half(peer)),
    ]
    busy = latencies(world, rounds // 5, 8)
    what = "under 8 busy threads: rename → subscriber / bare inotify wake, p50"
    goals.append(Goal(what, 5, half(busy["live"]) / half(busy["inotify"]), note=_note(busy)))
    return Part(goals, {"latency": _bars(took), "busy": _bars(busy)})


def _note(took: dict[str, list[float]]) -> str:
    ours, bare, peer = (_ms(took[name]) for name in ("live", "inotify", "watchfiles"))
    return f"p50 / p99: ours {ours}, inotify {bare}, watchfiles {peer}"


def _bars(took: dict[str, list[float]]) -> dict[str, float]:
    """Seconds by subject: median and 99th percentile."""
    found = {}
    for subject, name in (("live", "stigmer-config"), ("inotify", "bare inotify"), ("watchfiles", "watchfiles")):
        found[f"{name}, p50"] = statistics.median(took[subject])
        found[f"{name}, p99"] = quantile(took[subject], 0.99)
    return found


# -- in one process --------------------------------------------------------------------------------------------------


def in_process(rounds: int) -> dict[str, Any]:
    """Reads while a writer swaps each millisecond, reloads without a change, and the cost of idling."""
    from warm import _Frozen

    from stigmer_config import LiveConfig, load

    with LiveConfig.start() as config:
        frozen = _Frozen(_Frozen(None))
        reads = {
            "live": repeated("live.current.llm.model_name", {"live": config}, 20_000),
            "slots": repeated("config.llm.model_name", {"config": frozen}, 20_000),
        }
        figures: dict[str, Any] = {
            "reload": interleaved(
                {
                    "load": repeated("load()", {"load": load}, 2),
                    "unchanged": repeated("live.reload()", {"live": config}, 2),
                    "changed": reloads(config),
                },
                rounds,
            )
        }
        with swapping(config):
            figures["read 1"] = interleaved(reads, rounds)
            figures["read 8"] = interleaved({name: eightfold(read) for name, read in reads.items()}, rounds)
        figures["idle"] = {"watching": config.status.watching} | idle(5.0 if rounds < 10 else 15.0)
    return figures


def reloads(live: Any) -> Callable[[], float]:
    """CPU seconds of `live.reload()` in its thread after one file has changed, unless the watcher was faster."""
    from stigmer_config import Reloaded

    file = Path(os.environ["HOME"]) / ".stigmer" / "config.yaml"
    spare = file.parent.parent / "spare.yaml"  # elsewhere: its writing wakes nobody
    numbers = itertools.count(100)

    def once() -> float:
        while True:
            time.sleep(PAUSE)
            text = USER.replace("openai:\n", f"openai:\n    timeout: {next(numbers)}\n")
            spare.write_text(text, encoding="utf-8")
            spare.chmod(0o600)
            os.rename(spare, file)
            begin = time.thread_time()
            result = live.reload()
            seconds = time.thread_time() - begin
            if isinstance(result, Reloaded):
                return seconds

    return once


@contextlib.contextmanager
def swapping(config: Any) -> Iterator[None]:
    """A writer that swaps the reference each millisecond."""
    ended = threading.Event()
    one, two = config.current, config.current.override({"llm.max_tokens": 7})

    def write() -> None:
        while not ended.wait(0.001):
            config.current = two if config.current is one else one

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        config.current = one


def eightfold(read: Callable[[], float]) -> Callable[[], float]:
    """The mean of eight threads that run it concurrently."""

    def measure() -> float:
        found: list[float] = []
        threads = [threading.Thread(target=lambda: found.append(read())) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return statistics.mean(found)

    return measure


def idle(seconds: float) -> dict[str, float]:
    """The share of a core that an idle worker uses, and how often its threads wake up per second."""

    def switches() -> dict[str, int]:
        found = {}
        for path in Path("/proc/self/task").glob("*/status"):
            for line in path.read_text(encoding="utf-8").splitlines():
                if line.startswith("voluntary_ctxt_switches") and path.parent.name != str(os.getpid()):
                    found[path.parent.name] = int(line.split()[1])
        return found

    time.sleep(1)  # threads that have just ended
    begin, used, woke = time.monotonic(), time.process_time(), switches()
    time.sleep(seconds)
    passed, used = time.monotonic() - begin, time.process_time() - used
    return {"core": used / passed, "wakes": (sum(switches().values()) - sum(woke.values())) / passed}


def process_goals(world: World, rounds: int) -> list[Goal]:
    done = subprocess.run(
        world.python(__file__, "process", str(rounds)),
        cwd=world.project,
        env=world.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    figures = json.loads(done.stdout)
    goals = []
    for count in (1, 8):
        runs = figures[f"read {count}"]
        note = f"{median(runs, 'live') * 1e9:.3g} / {median(runs, 'slots') * 1e9:.3g} ns"
        what = f"live read / a frozen slots attribute, {count} thread{'s' * (count > 1)}, a swap each ms"
        goals.append(Goal(what, 1.4, ratio(runs, "live", "slots"), note=note))
    runs = figures["reload"]
    for name, limit, what in (("unchanged", 0.1, "nothing changed"), ("changed", 0.35, "one changed file")):
        note = f"{median(runs, name) * 1e3:.3g} / {median(runs, 'load') * 1e3:.3g} ms, {spread(runs, name, 'load')}"
        goals.append(Goal(f"`live.reload()` with {what} / `load()`", limit, ratio(runs, name, "load"), note=note))
    idling = figures["idle"]
    note = f"{idling['watching']}, {idling['wakes']:.2g} wake-ups a second"
    return [*goals, Goal("an idle watcher, of a core", 0.1, idling["core"] * 100, "%", note)]


def live_part(world: World, *, quick: bool) -> Part:
    """Reads, reloads and idling in one process; latency across two."""
    latency = latency_part(world, 40 if quick else 300)
    return Part([*process_goals(world, 5 if quick else 21), *latency.goals], latency.bars)


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["subject"]:
        name, folder, threads = arguments[1:]
        {"inotify": inotify, "watchfiles": watchfiles, "live": live}[name](folder, int(threads))
    elif arguments[:1] == ["process"]:
        print(json.dumps(in_process(int(arguments[1]))))
    else:
        sys.exit("python benchmarks/run.py live")


if __name__ == "__main__":
    main(sys.argv[1:])
