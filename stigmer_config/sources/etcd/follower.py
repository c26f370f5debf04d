"""Follows the fleet's store for a worker, which always has the newest state that was seen, even during an outage.

One thread waits for changes in a watch. Another reads everything every PULSE seconds, from the majority of the members,
for changes that a watch lost or that a partitioned member lacks; it also publishes the worker's state to the fleet.
The store's state never goes backwards: an answer that is older than the newest one is ignored.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from ...core.environment import Environment
from ...settings.declarations import BUILT_IN
from ...settings.schema import Schema
from ..variables import ETCD
from .address import fleet_of
from .layer import FleetLayer, etcd_layer, read_once, unavailable, unavailable_layer
from .snapshot import Stored

if TYPE_CHECKING:
    from .client import Etcd

FleetState = Literal["native", "degraded"]

PULSE: Final = 10.0  # seconds between two full reads, plus or minus a fifth, so that workers do not all read at once
LEASE: Final = 30  # seconds until a silent worker's entry expires
FIRST_PAUSE: Final = 0.1  # seconds until the next attempt after a failure, doubled up to LAST_PAUSE
LAST_PAUSE: Final = 5.0
SPREAD: Final = 1.0  # seconds within which a changed state is published, after the reloads of a machine's workers
LAST_WORD: Final = 1.0  # seconds to remove a worker's entry when it ends


class FleetFollower:
    """Follows one store for one worker.

    `read_fleet` returns the layer of the newest state; `follow` starts keeping it up to date. `state` is `degraded`
    while the store does not answer; `unannounced` is why the store rejects this worker's state ("" when it does not).
    """

    def __init__(self, environment: Environment, stored: Stored | None = None, schema: Schema = BUILT_IN) -> None:
        self.state: FleetState = "native"
        self.unannounced = ""
        self._environment = environment
        self._schema = schema
        # With the time, so that no later process with this pid has the same name.
        self._name = f"{socket.gethostname()}:{os.getpid()}:{time.time_ns():x}"
        self._fleet, self._problems = fleet_of(environment)
        self._stored = stored
        self._layer: tuple[Stored, FleetLayer] | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._pulse = threading.Event()
        self._published = self._to_publish = b""  # the state that was published, and the one to publish
        self._overtaken = False  # the sweep saw a change before the watch, and ended it: not a failure of the store
        self._threads: list[threading.Thread] = []
        self._etcds: list[Etcd] = []

    def anew(self) -> FleetFollower:
        """A new follower for a forked child."""
        return FleetFollower(self._environment, self._stored, self._schema)

    def read_fleet(self, environment: Environment) -> FleetLayer:
        """The layer of the newest state that was seen. The first call reads the store."""
        del environment  # the state that the layer was made from
        if self._fleet is None:
            return unavailable_layer(ETCD, self._problems)
        if self._stored is None:
            try:
                self._take(read_once(self._fleet))
            except Exception as error:  # noqa: BLE001 - whatever a store or the library comes up with
                return unavailable_layer(self._fleet.source, [*self._problems, unavailable(self._fleet, error)])
        return self._layer_of(self._stored)

    def _layer_of(self, stored: Stored | None) -> FleetLayer:
        assert self._fleet is not None and stored is not None  # noqa: S101, PT018 - it was read just now
        kept = self._layer
        if kept is None or kept[0] is not stored:
            layer, problems = etcd_layer(self._fleet, stored, self._schema)
            self._layer = kept = stored, (layer, [*self._problems, *problems])
        return kept[1][0], list(kept[1][1])

    def refresh(self) -> bool:
        """Whether the newest state differs from the one whose layer was returned last."""
        return self._layer is not None and self._layer[0] is not self._stored

    def read_now(self) -> None:
        """Reads the store, in this thread. A failure changes nothing."""
        if self._fleet is not None and self._stored is not None:
            with contextlib.suppress(Exception):
                self._take(read_once(self._fleet))

    def follow(
        self,
        on_change: Callable[[], None],
        on_state: Callable[[FleetState, str], None],
        on_unannounced: Callable[[str], None],
    ) -> None:
        """Follows the store until `close`. The callbacks are called in the follower's threads.

        `on_unannounced` gets the reason why the store rejects this worker's state, and "" once it accepts it.
        """
        if self._fleet is None:
            return
        from .client import Etcd

        self._on_change, self._on_state, self._on_unannounced = on_change, on_state, on_unannounced
        self._etcds = [Etcd(self._fleet), Etcd(self._fleet)]
        for name, target, etcd in zip(("watch", "pulse"), (self._watch, self._beat), self._etcds, strict=True):
            thread = threading.Thread(target=target, args=(etcd,), name=f"stigmer-config-etcd-{name}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def announce(self, data: bytes) -> None:
        """Publishes this worker's state to the fleet, soon, and keeps it published while the worker runs."""
        self._to_publish = data
        self._pulse.set()

    def close(self) -> None:
        """Ends both threads, closes every descriptor, and removes the worker's entry if the store answers."""
        self._ended.set()
        self._pulse.set()
        threads = [thread for thread in self._threads if thread is not threading.current_thread()]
        if len(threads) > 1:
            self._etcds[0].end()
            threads[1].join(LAST_WORD)
        for etcd in self._etcds:
            etcd.end()
        for thread in threads:
            thread.join()

    def forget(self) -> None:
        """In a forked child: the parent's threads do not exist, and its connections must not be used."""
        for etcd in self._etcds:
            etcd.forget()

    # -- the two threads ---------------------------------------------------------------------------------------------

    def _watch(self, etcd: Etcd) -> None:
        from .client import bounded

        failures = 0
        while not self._ended.is_set():
            began = math.inf
            try:
                self._catch_up(etcd)
                begin = self._newest
                for events in etcd.watch(begin.revision + 1):
                    began = min(began, time.monotonic())
                    self._tell("native", "")
                    if self._newest.cluster != begin.cluster:
                        break  # now it is another etcd: read and watch that one
                    self._take(bounded(self._newest.after(events)), since=begin)
            except Exception as error:  # noqa: BLE001 - whatever a store or the library comes up with
                if self._overtaken:
                    self._overtaken = False
                    self._renew(etcd)
                    continue
                # A watch that ends at once is a failure like any other.
                failures = 1 if time.monotonic() - began > LAST_PAUSE else failures + 1
                self._step_back(etcd, error, failures)
        etcd.close()

    def _catch_up(self, etcd: Etcd) -> Stored:
        """Reads the current state from the majority of the members."""
        newest = self._newest
        stored = etcd.read()
        if stored.cluster == newest.cluster and stored.revision < newest.revision:
            from .client import EtcdError

            # A majority's answer is older only if the store was restored from a backup.
            raise EtcdError(f"it is at revision {stored.revision}, and {newest.revision} was seen: restart to take it")
        self._take(stored)
        return stored

    def _step_back(self, etcd: Etcd, error: Exception, failures: int) -> None:
        """After a failure: waits, and reports it only from the second in a row on: a member's restart is normal."""
        from .client import Compacted

        if (isinstance(error, Compacted) and failures == 1) or self._ended.is_set():
            return
        if failures > 1:
            self._tell("degraded", f"{self._source}: {error or type(error).__name__}")
        pause = min(FIRST_PAUSE * 2 ** min(failures, 10), LAST_PAUSE)
        self._ended.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 - not all workers at once
        self._renew(etcd)

    @staticmethod
    def _renew(etcd: Etcd) -> None:
        with contextlib.suppress(Exception):  # the certificates are being replaced: try again next time
            etcd.renew()

    @property
    def _source(self) -> str:
        return self._fleet.source if self._fleet is not None else ""

    def _beat(self, etcd: Etcd) -> None:
        lease, due = 0, _next_sweep()
        while True:
            self._pulse.wait(max(due - time.monotonic(), 0.0))
            is_due = time.monotonic() >= due  # even if there is more to publish meanwhile
            if lease and not is_due:
                self._ended.wait(random.uniform(0.0, SPREAD))  # noqa: S311 - not all workers at once
            self._pulse.clear()
            if self._ended.is_set():
                break
            if is_due:
                self._sweep(etcd)
                due = _next_sweep()
            lease = self._announce(etcd, lease, keeps=is_due)
        with contextlib.suppress(Exception):
            if lease:
                etcd.revoke(lease)
        etcd.close()

    def _sweep(self, etcd: Etcd) -> None:
        """Reads everything. Renews the watch if it missed a change, or hangs at a partitioned member."""
        before = self._newest
        try:
            stored = self._catch_up(etcd)
        except Exception:  # noqa: BLE001 - whatever a store or the library comes up with
            self._etcds[0].interrupt()
            self._renew(etcd)
            return
        if self._newest is stored and stored.values != before.values:
            self._overtaken = True
            self._etcds[0].interrupt()

    def _announce(self, etcd: Etcd, lease: int, *, keeps: bool) -> int:
        """Keeps the worker's entry up to date, and alive if `keeps`. Returns its lease, 0 when there is none."""
        from .client import Denied

        if not self._to_publish:
            return 0
        try:
            if lease and keeps and not etcd.keep(lease):
                lease = 0
            if not lease:
                lease, self._published = etcd.lease(LEASE), b""
            if self._published != self._to_publish:
                data = self._to_publish
                etcd.announce(self._name, data, lease)
                self._published = data
        except Exception as error:  # noqa: BLE001 - whatever a store or the library comes up with
            if isinstance(error, Denied) and lease and not keeps:  # the lease has expired, perhaps
                return self._announce(etcd, lease, keeps=True)
            before, self.unannounced = self.unannounced, str(error) or type(error).__name__
            if before and self.state == "native" and not self._ended.is_set():  # twice, so not a short outage
                self._on_unannounced(self.unannounced)
            return 0
        self.unannounced = ""
        self._on_unannounced("")
        return lease

    @property
    def _newest(self) -> Stored:
        assert self._stored is not None  # noqa: S101 - it is followed once it was read
        return self._stored

    def _take(self, new: Stored, since: Stored | None = None) -> None:
        """Keeps the newer of two states, and reports it if its content differs.

        `since`: the state that `new` continues. If a state of another cluster has arrived since, `new` is ignored.
        """
        with self._lock:
            old = self._stored
            if since is not None and old is not None and old.cluster != since.cluster:
                return
            if old is not None and old.cluster == new.cluster and new.revision < old.revision:
                return
            if old is not None and old.values == new.values:
                # Keep the old one: a revision that changed only other keys needs no reload.
                self._stored = msgspec.structs.replace(old, cluster=new.cluster, revision=new.revision)
                if self._layer is not None and self._layer[0] is old:
                    self._layer = self._stored, self._layer[1]
                return
            self._stored = new
        if old is not None:
            self._on_change()

    def _tell(self, state: FleetState, detail: str) -> None:
        if state != self.state and not self._ended.is_set():
            self.state = state
            self._on_state(state, detail)

    _on_change: Callable[[], None] = staticmethod(lambda: None)
    _on_state: Callable[[FleetState, str], None] = staticmethod(lambda _state, _detail: None)
    _on_unannounced: Callable[[str], None] = staticmethod(lambda _reason: None)


def _next_sweep() -> float:
    return time.monotonic() + PULSE * random.uniform(0.8, 1.2)  # noqa: S311 - not all workers at once
