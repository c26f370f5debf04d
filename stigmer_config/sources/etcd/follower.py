"""The fleet's store as a worker follows it: always the newest that was seen, whatever becomes of the store.

One thread waits for changes in a watch. Another reads everything every PULSE seconds, through the majority of the
members, for what a watch lost or a member that is cut off does not know; it also tells the fleet how the worker is
doing. The store's state never goes backwards: an answer that is older than the newest one is passed over.
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
from .layer import FleetLayer, etcd_layer, not_to_be_had, read_once, unavailable
from .snapshot import Stored

if TYPE_CHECKING:
    from .client import Etcd

FleetState = Literal["native", "degraded"]

PULSE: Final = 10.0  # seconds between two readings of everything, give or take a fifth: workers need not do it at once
LEASE: Final = 30  # seconds until a worker that says nothing any more is gone
FIRST_PAUSE: Final = 0.1  # seconds until the store is tried again after a failure, doubled up to LAST_PAUSE
LAST_PAUSE: Final = 5.0
LAST_WORD: Final = 1.0  # seconds in which the fleet can be told that a worker ends


class FleetFollower:
    """Follows one store for one worker.

    `read_fleet` gives the layer of the newest state; `follow` begins to keep that up to date. `state` is `degraded`
    while the store does not answer; `unannounced` is why the fleet cannot be told of this worker ("" when it can).
    """

    def __init__(self, environment: Environment, stored: Stored | None = None, schema: Schema = BUILT_IN) -> None:
        self.state: FleetState = "native"
        self.unannounced = ""
        self._environment = environment
        self._schema = schema
        # With the time, so that no later process of this number has the same.
        self._name = f"{socket.gethostname()}:{os.getpid()}:{time.time_ns():x}"
        self._fleet, self._problems = fleet_of(environment)
        self._stored = stored
        self._layer: tuple[Stored, FleetLayer] | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._pulse = threading.Event()
        self._said = self._heard = b""  # what the fleet was told, and what it is to be told
        self._overtaken = False  # the sweep had news before the watch, and ended it: no failure of the store
        self._threads: list[threading.Thread] = []
        self._etcds: list[Etcd] = []

    def anew(self) -> FleetFollower:
        """The same for a forked child."""
        return FleetFollower(self._environment, self._stored, self._schema)

    def read_fleet(self, environment: Environment) -> FleetLayer:
        """The layer of the newest state that was seen; at first it is read."""
        del environment  # the one it was made for
        if self._fleet is None:
            return not_to_be_had(ETCD, self._problems)
        if self._stored is None:
            try:
                self._take(read_once(self._fleet))
            except Exception as error:  # noqa: BLE001 - whatever a store or the library comes up with
                return not_to_be_had(self._fleet.source, [*self._problems, unavailable(self._fleet, error)])
        return self._layer_of(self._stored)

    def _layer_of(self, stored: Stored | None) -> FleetLayer:
        assert self._fleet is not None and stored is not None  # noqa: S101, PT018 - it was read just now
        kept = self._layer
        if kept is None or kept[0] is not stored:
            layer, problems = etcd_layer(self._fleet, stored, self._schema)
            self._layer = kept = stored, (layer, [*self._problems, *problems])
        return kept[1][0], list(kept[1][1])

    def refresh(self) -> bool:
        """Whether the newest state is another than the one whose layer was given last."""
        return self._layer is not None and self._layer[0] is not self._stored

    def read_now(self) -> None:
        """Looks at the store, in this thread. That it cannot be read changes nothing."""
        if self._fleet is not None and self._stored is not None:
            with contextlib.suppress(Exception):
                self._take(read_once(self._fleet))

    def follow(
        self,
        on_change: Callable[[], None],
        on_state: Callable[[FleetState, str], None],
        on_unannounced: Callable[[str], None],
    ) -> None:
        """Follows the store until `close`. All are called in threads of its own.

        `on_unannounced` gets why a store that answers will not be told of this worker, and "" once it was.
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
        """Tells the fleet how this worker is doing, soon and as long as it runs."""
        self._heard = data
        self._pulse.set()

    def close(self) -> None:
        """Ends both threads and closes every descriptor. The fleet is told, if it listens."""
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
        """In a forked child: the parent's threads are not here, and its connections are not to be spoken on."""
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
                        break  # it is another etcd's by now: read and watch that one
                    self._take(bounded(self._newest.after(events)), since=begin)
            except Exception as error:  # noqa: BLE001 - whatever a store or the library comes up with
                if self._overtaken:
                    self._overtaken = False
                    self._renew(etcd)
                    continue
                # A watch that ends as soon as it began is a failure like any other.
                failures = 1 if time.monotonic() - began > LAST_PAUSE else failures + 1
                self._step_back(etcd, error, failures)
        etcd.close()

    def _catch_up(self, etcd: Etcd) -> Stored:
        """Takes what the majority of the members has now."""
        newest = self._newest
        stored = etcd.read()
        if stored.cluster == newest.cluster and stored.revision < newest.revision:
            from .client import EtcdError

            # No answer by majority is older but of a store that was restored from a backup.
            raise EtcdError(f"it is at revision {stored.revision}, and {newest.revision} was seen: restart to take it")
        self._take(stored)
        return stored

    def _step_back(self, etcd: Etcd, error: Exception, failures: int) -> None:
        """After a failure: tells it from the second in a row on, and waits; a restart of a member is no news."""
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
        with contextlib.suppress(Exception):  # certificates that are being replaced: the next time
            etcd.renew()

    @property
    def _source(self) -> str:
        return self._fleet.source if self._fleet is not None else ""

    def _beat(self, etcd: Etcd) -> None:
        lease, due = 0, _next_sweep()
        while True:
            self._pulse.wait(max(due - time.monotonic(), 0.0))
            self._pulse.clear()
            if self._ended.is_set():
                break
            if time.monotonic() >= due:  # however often there is something to tell meanwhile
                self._sweep(etcd)
                due = _next_sweep()
            lease = self._announce(etcd, lease)
        with contextlib.suppress(Exception):
            if lease:
                etcd.revoke(lease)
        etcd.close()

    def _sweep(self, etcd: Etcd) -> None:
        """Reads everything. When the watch should have told it, or hangs at a member that is cut off, it is renewed."""
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

    def _announce(self, etcd: Etcd, lease: int) -> int:
        """Keeps the worker's entry alive, and up to date. The lease that it stands under, 0 when there is none."""
        if not self._heard:
            return 0
        try:
            if lease and not etcd.keep(lease):
                lease = 0
            if not lease:
                lease, self._said = etcd.lease(LEASE), b""
            if self._said != self._heard:
                data = self._heard
                etcd.announce(self._name, data, lease)
                self._said = data
        except Exception as error:  # noqa: BLE001 - whatever a store or the library comes up with
            before, self.unannounced = self.unannounced, str(error) or type(error).__name__
            if before and self.state == "native" and not self._ended.is_set():  # twice, and no outage
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
        """Keeps the newer one of two states, and tells it when it says something else.

        `since`: a state of the cluster that `new` goes on from. When another cluster's has come since, it is nothing.
        """
        with self._lock:
            old = self._stored
            if since is not None and old is not None and old.cluster != since.cluster:
                return
            if old is not None and old.cluster == new.cluster and new.revision < old.revision:
                return
            if old is not None and old.values == new.values:
                # Not the new one: nothing has to be loaded again for a revision that changed other keys.
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
