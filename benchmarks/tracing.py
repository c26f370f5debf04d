"""One reload, step by step, and the imports of `show`: the part `trace` of `run.py`.

Run as a program it is the traced worker. Its steps are timed first, then counted, because counting slows it down.
"""

from __future__ import annotations

import collections
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

from goals import Goal, Part
from reference import USER, World

PAUSE = 0.03  # seconds between two saves: longer than a worker's spacing
HOPS = 2  # to the watcher's thread and to the callbacks' thread: each waits for a lock once
PACKAGES = ("stigmer_config", "click", "msgspec", "ruamel", "platformdirs", "structlog", "rich")


class Steps:
    """The time of each step of one reload, in the order in which they end."""

    def __init__(self) -> None:
        self.times: list[tuple[str, float]] = []

    def note(self, step: str) -> None:
        self.times.append((step, time.monotonic()))

    def around(self, owner: Any, name: str, before: str, after: str) -> None:
        """Wraps a function to record its start and its end."""
        function = getattr(owner, name)

        def noted(*arguments: Any, **named: Any) -> Any:
            if before:
                self.note(before)
            try:
                return function(*arguments, **named)
            finally:
                if after:
                    self.note(after)

        setattr(owner, name, noted)


def worker(rounds: int) -> dict[str, Any]:
    """Saves the user's file repeatedly, and returns the steps' seconds and the calls that release the GIL."""
    from stigmer_config import LiveConfig
    from stigmer_config.files import stable_read
    from stigmer_config.files.watch import inotify
    from stigmer_config.live import live_config
    from stigmer_config.live.reload_loop import ReloadLoop
    from stigmer_config.reload import file_cache, reloader
    from stigmer_config.reload.last_good import LastGood

    steps = Steps()
    steps.around(inotify, "read_ready", "", "inotify's thread has the event")
    steps.around(ReloadLoop, "_on_change", "the watcher's thread has the file's name", "")
    steps.around(stable_read, "_attempt", "", "the file is read, and was not being written")
    steps.around(file_cache, "check_permissions", "", "its permissions and its folder's are checked")
    steps.around(file_cache, "layer_of", "", "it is parsed, and each value checked")
    steps.around(reloader, "load_layers", "", "all layers are vetted, merged and resolved")
    steps.around(LastGood, "accept", "", "it is compared with the one in use")
    steps.around(live_config.LiveConfig, "_swap", "", "live.current is the new one")
    called = threading.Event()
    calls: collections.Counter[str] = collections.Counter()

    def callback(*_: object) -> None:
        steps.note("the callback is called")
        called.set()

    def count(_frame: Any, event: str, function: Any) -> None:
        # The system's calls; poll is a method.
        releases = event == "c_call" and (function.__module__ == "posix" or function.__name__ == "poll")
        if releases and not function.__name__.startswith(("_", "fspath")) and not called.is_set():
            calls[function.__name__] += 1

    def saved(number: int) -> dict[str, float]:
        text = USER.replace("openai:\n", f"openai:\n    timeout: {number + 100}\n")
        spare.write_text(text, encoding="utf-8")
        spare.chmod(0o600)
        time.sleep(PAUSE)
        called.clear()
        steps.times = []
        begin = time.monotonic()
        os.rename(spare, file)
        called.wait()
        found: dict[str, float] = {}
        for step, when in steps.times:
            found[step] = found.get(step, 0.0) + when - begin
            begin = when
        return found

    file = Path(os.environ["HOME"]) / ".stigmer" / "config.yaml"
    spare = file.parent.parent / "spare.yaml"  # elsewhere: its writing wakes nobody
    with LiveConfig.start() as live:
        live.subscribe(callback, "providers.openai.timeout")
        saved(0)
        rows = [saved(number) for number in range(1, rounds + 1)]
    timed = {step: median(row.get(step, 0.0) for row in rows) for step in rows[-1]}
    called.set()
    threading.setprofile(count)
    with LiveConfig.start() as live:
        live.subscribe(callback, "providers.openai.timeout")
        saved(rounds + 1)
        time.sleep(1.5)  # a sweep, during which no save is counted
        calls.clear()
        saved(rounds + 2)
        counted = dict(calls)
    threading.setprofile(None)
    return {"steps": timed, "calls": counted}


def imports(world: World) -> dict[str, float]:
    """Seconds that `show` spends on imports, by package; the standard library counts as one."""
    command = world.python("-X", "importtime", "-m", "stigmer_config", "config", "show", "--origin")
    rounds: list[dict[str, float]] = []
    for _ in range(6):
        done = subprocess.run(
            command, cwd=world.project, env=world.environment(), capture_output=True, encoding="utf-8", check=True
        )
        rows = re.findall(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$", done.stderr, re.MULTILINE)
        found: dict[str, float] = collections.defaultdict(float)
        for microseconds, module in rows:
            package = module.partition(".")[0].replace("_ruamel_yaml", "ruamel")
            found[package if package in PACKAGES else "the standard library"] += int(microseconds) / 1e6
        rounds.append(found)
    return {package: median(found[package] for found in rounds[1:]) for package in rounds[-1]}


def trace_part(world: World, *, quick: bool) -> Part:
    """The steps and the counts of a worker's reload, and the imports of `show`."""
    done = subprocess.run(
        world.python(__file__, str(5 if quick else 40)),
        cwd=world.project,
        env=world.environment(),
        stdout=subprocess.PIPE,
        check=True,
    )
    found = json.loads(done.stdout)
    calls = found["calls"]
    note = ", ".join(f"{count} {name}" for name, count in sorted(calls.items()))
    what = "calls that let the interpreter's lock go, from the event to the callback"
    goal = Goal(what, 12, sum(calls.values()) + HOPS, "calls", f"{note}, {HOPS} waits for another thread")
    return Part([goal], {"reload": found["steps"], "imports": imports(world)})


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("python benchmarks/run.py trace")
    print(json.dumps(worker(int(sys.argv[1]))))
