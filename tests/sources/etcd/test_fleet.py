"""Two hundred workers on three members: all come to the newest state after every change, and none goes backwards."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.support.etcd_tools import Cluster, Keys, Link, needs_etcd
from tests.support.paths import REPOSITORY

pytestmark = needs_etcd

WORKERS = int(os.environ.get("STIGMER_FLEET_WORKERS", "200"))
CHANGES = int(os.environ.get("STIGMER_FLEET_CHANGES", "5"))
PROCESSES = 4
DEADLINE = 90.0  # seconds until all have it: only a failure waits for it
ROOT = REPOSITORY


class Fleet:
    """The workers' processes. `taken` has what each worker took, in order."""

    def __init__(self, variables: dict[str, str], home: Path) -> None:
        self.taken: dict[tuple[int, int], list[float]] = {}
        self._changed = threading.Condition()
        self._up = 0
        environment = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_RUNTIME_DIR": str(home), **variables}
        command = [sys.executable, "-m", "tests.support.fleet_workers", str(WORKERS // PROCESSES)]
        with (home / "workers.log").open("wb") as log:
            self.processes = [
                subprocess.Popen(
                    command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
                )
                for _ in range(PROCESSES)
            ]
        self._threads = [threading.Thread(target=self._read, args=pair) for pair in enumerate(self.processes)]
        for thread in self._threads:
            thread.start()

    def _read(self, number: int, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with self._changed:
                if line == b"up\n":
                    self._up += 1
                else:
                    worker, value, _ = line.split()
                    taken = 0.0 if value == b"None" else float(value)
                    self.taken.setdefault((number, int(worker)), []).append(taken)
                self._changed.notify_all()

    def is_up(self) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._up == PROCESSES, DEADLINE)

    def all_have(self, value: float) -> bool:
        """Waits for every worker to have this value as its last."""
        with self._changed:
            return self._changed.wait_for(
                lambda: len(self.taken) == WORKERS and all(seen[-1] == value for seen in self.taken.values()), DEADLINE
            )

    def last(self) -> Counter[float]:
        """How many workers have each value."""
        with self._changed:
            return Counter(seen[-1] for seen in self.taken.values())

    def close(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGCONT)
            assert process.stdin is not None
            process.stdin.close()
        for process in self.processes:
            process.wait(DEADLINE)
        for thread in self._threads:
            thread.join()
        for process in self.processes:
            assert process.stdout is not None
            process.stdout.close()


@contextlib.contextmanager
def fleet_on(links: list[Link], home: Path) -> Iterator[Fleet]:
    hosts = ",".join(f"127.0.0.1:{link.port}" for link in links)
    fleet = Fleet({"STIGMER_ETCD": f"http://{hosts}/p"}, home)
    try:
        assert fleet.is_up()
        yield fleet
    finally:
        fleet.close()
        for link in links:
            link.close()


class Harm:
    """One kind of trouble at a time, and its end."""

    def __init__(self, cluster: Cluster, links: list[Link], fleet: Fleet, keys: Keys, seed: int) -> None:
        self._cluster, self._links, self._fleet, self._keys = cluster, links, fleet, keys
        self._random = random.Random(seed)

    @contextlib.contextmanager
    def a_member_dies(self) -> Iterator[None]:
        member = self._random.choice(self._cluster.members)
        member.kill()
        yield
        self._cluster.start(member)

    @contextlib.contextmanager
    def a_member_hangs(self) -> Iterator[None]:
        member = self._random.choice(self._cluster.members)
        member.hang()
        yield
        member.wake()

    @contextlib.contextmanager
    def a_link_is_cut(self) -> Iterator[None]:
        link = self._random.choice(self._links)
        link.cut()
        yield
        link.mend()

    @contextlib.contextmanager
    def workers_are_slow(self) -> Iterator[None]:
        """A process is stopped while the history that it needs is written and compacted."""
        slow = self._random.choice(self._fleet.processes)
        slow.send_signal(signal.SIGSTOP)
        for number in range(20):
            revision = self._keys.put("llm/max_retries", str(number))
        self._cluster.etcdctl("compact", str(revision))
        yield
        slow.send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def the_majority_is_away(self) -> Iterator[None]:
        """Nothing can be written then: the change comes after."""
        gone = self._random.sample(self._cluster.members, 2)
        for member in gone:
            member.kill()
        time.sleep(0.5)  # an outage has to last: no event is waited for
        for member in gone:
            self._cluster.start(member)
        yield


def test_a_fleet_reaches_the_newest_state_through_everything(tmp_path: Path) -> None:
    """Members die, hang and lose their majority, links are cut, workers fall behind a compaction: 0 stale, 0 back."""
    seed = int(os.environ.get("STIGMER_FUZZ_SEED", "7"))
    with Cluster(tmp_path / "etcd", 3) as cluster, cluster.keys("/p") as keys:
        keys.put("llm/timeout", "1")
        links = [Link(member.client) for member in cluster.members]
        with fleet_on(links, tmp_path) as fleet:
            assert fleet.all_have(1.0), "the start"
            harm = Harm(cluster, links, fleet, keys, seed)
            kinds = [
                harm.a_member_dies,
                harm.a_member_hangs,
                harm.a_link_is_cut,
                harm.workers_are_slow,
                harm.the_majority_is_away,
            ]
            value = 1
            for change in range(CHANGES):
                kind = kinds[change % len(kinds)]
                with kind():
                    for _ in range(3):  # a burst: what lies between need not be seen by all
                        value += 1
                        keys.put("llm/timeout", str(value))
                assert fleet.all_have(float(value)), f"{kind.__name__}, {value}, seed {seed}: {fleet.last()}"
        for seen in fleet.taken.values():
            assert seen == sorted(seen), f"went backwards, seed {seed}"
        assert len(fleet.taken) == WORKERS
