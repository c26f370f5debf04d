"""A LiveConfig under random damage by another process, while threads read it: nothing lost, torn, or out of date."""

from __future__ import annotations

import errno
import functools
import os
import random
import threading
import time
from typing import Any

import pytest
from watchdog.observers.api import BaseObserver

from stigmer_config import Config, ConfigError, Environment, LiveConfig, load
from stigmer_config.files.watch import Watcher
from stigmer_config.live import reload_loop as follower
from tests.support.sandbox import Sandbox
from tests.support.vandals import ConfigVandal, acting

OPS = int(os.environ.get("STIGMER_FUZZ_OPS", "150"))
DEADLINE = 15.0  # seconds for what should take milliseconds: only a failure waits for it


def numbers(config: Config) -> dict[str, tuple[Any, Any]]:
    """What each file says in this Config, as its first and its last setting have it; None where it says nothing."""
    pairs = {
        "site": (config.temporal.namespace, config.temporal.task_queue),
        "user": (config.sandbox.root_dir, config.sandbox.snapshot_id),
        "project": (config.llm.num_ctx, config.llm.timeout),
    }
    return {kind: (_number(first), _number(last)) for kind, (first, last) in pairs.items()}


def _number(value: Any) -> int | None:
    text = str(value)
    if text.startswith("n") and text[1:].isdigit():
        return int(text[1:])
    return int(value) if isinstance(value, (int, float)) else None


class Reader(threading.Thread):
    """Reads without end, and notes what no reader may see."""

    def __init__(self, live: LiveConfig) -> None:
        super().__init__(daemon=True)
        self.live = live
        self.seen: dict[str, int] = {}
        self.generation = 0
        self.torn: list[Any] = []
        self.older: list[Any] = []
        self.reads = 0
        self.ended = False

    def run(self) -> None:
        while not self.ended:
            self.look(self.live.current)
            time.sleep(0.0005)

    def look(self, config: Config) -> None:
        self.reads += 1
        if config.generation < self.generation:
            self.older.append(("generation", self.generation, config.generation))
        self.generation = config.generation
        for kind, (first, last) in numbers(config).items():
            if first != last:
                self.torn.append((kind, first, last))
            elif first is not None:
                if first < self.seen.get(kind, 0):
                    self.older.append((kind, self.seen[kind], first))
                self.seen[kind] = first


def on_disk(environment: Environment) -> Config | str:
    """What a fresh load in the mode of the start says: a Config, or all that is wrong."""
    try:
        return load(mode="local", environment=environment)
    except ConfigError as error:
        return str(error)


def agrees(live: LiveConfig, expected: Config | str) -> bool:
    fault = live.status.last_error
    if isinstance(expected, str):
        return fault is not None and str(fault) == expected
    return fault is None and live.current == expected


def converge(sandbox: Sandbox, ops: int, without: frozenset[str] = frozenset()) -> str:
    """Random operations; whenever they rest, the live Config is what a fresh load gives. How it watches at the end."""
    seed = int(os.environ.get("STIGMER_FUZZ_SEED", "1"))
    choice = random.Random(seed)
    environment = sandbox.environment({"XDG_RUNTIME_DIR": str(sandbox.root / "run")})
    sandbox.write(user="mode: local\n")
    files = (sandbox.site_file, sandbox.user_file, sandbox.project_file)
    with (
        LiveConfig.start(environment=environment) as live,
        acting(ConfigVandal(seed, sandbox.root, files, without)) as act,
    ):
        told = Reader(live)
        live.subscribe(lambda new, _: told.look(new))
        readers = [Reader(live) for _ in range(3)]
        for reader in readers:
            reader.start()
        done = 0
        while done < ops:
            number = choice.randrange(1, 8)
            act(number)
            done += number
            expected = on_disk(environment)
            end = time.monotonic() + DEADLINE
            while not agrees(live, expected) and time.monotonic() < end:
                time.sleep(0.002)
            assert agrees(live, expected), f"seed {seed}, after {done}: {live.status}\n{live.current}\nnot {expected}"
        for reader in readers:
            reader.ended = True
            reader.join()
        for reader in (told, *readers):
            assert not reader.torn, f"seed {seed}"
            assert not reader.older, f"seed {seed}"
        assert min(reader.reads for reader in readers) > ops
        assert told.reads > 0
        return live.status.watching


def test_random_damage_is_followed_by_events_alone(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever another process does, nothing is lost, torn or out of date, without any poll."""
    monkeypatch.setattr(follower, "Watcher", functools.partial(Watcher, poll=3600.0))
    assert converge(sandbox, OPS, ConfigVandal.SILENT) == "native"


def test_random_damage_is_followed_with_the_sweep(sandbox: Sandbox) -> None:
    """The same with what raises no event: the slow poll finds it."""
    assert converge(sandbox, OPS // 3) == "native"


def test_random_damage_is_followed_by_polling_alone(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with the native watcher broken on purpose."""

    def refuse(*_: object, **__: object) -> object:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(BaseObserver, "schedule", refuse)
    assert converge(sandbox, OPS // 3) == "polling"
