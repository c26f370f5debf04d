"""The state that a worker publishes to the fleet, and its comparison with the store."""

from __future__ import annotations

import datetime
import os
import socket
from typing import Annotated, Final

import msgspec

from ..core.decoding import from_json
from ..reload.last_good import LastGood
from ..sources.etcd.address import Fleet
from ..sources.etcd.snapshot import Stored

MOST: Final = 5  # the most problems of a rejected reload
LENGTH: Final = 400  # the most characters of each


class FleetWorker(msgspec.Struct, frozen=True):
    """A worker of the fleet. Times are UTC; `model` has the form of `stigmer config show`.

    `store` is the digest of the store's content that the worker uses, `revision` the newest revision of that content;
    `rejected` are the problems of its newest reload, if that was rejected.
    """

    host: str
    pid: int
    started: Annotated[datetime.datetime, msgspec.Meta(tz=True)]
    mode: str
    generation: int
    fingerprint: str
    model: str
    store: str
    restart_required: tuple[str, ...]
    rejected: tuple[str, ...]


def encoded(last_good: LastGood, started: datetime.datetime) -> bytes:
    """This worker's state for the fleet: without secrets, and without values except the model's name."""
    config = last_good.current
    faults = last_good.fault.problems if last_good.fault is not None else ()
    store = last_good.newest.layers.find("etcd")
    state = FleetWorker(
        host=socket.gethostname(),
        pid=os.getpid(),
        started=started,
        mode=config.mode,
        generation=config.generation,
        fingerprint=last_good.fingerprint,
        model=config.llm.model_steps,
        store=(store.digest if store is not None else None) or "",
        restart_required=last_good.restart_required,
        rejected=tuple(str(fault).partition("\n")[0][:LENGTH] for fault in faults[:MOST]),
    )
    return msgspec.json.encode(state)


def decoded(data: bytes) -> FleetWorker | None:
    """Decodes a worker's state; None if the data is invalid."""
    try:
        return from_json(data, FleetWorker)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def listed(fleet: Fleet) -> tuple[Stored, list[FleetWorker]]:
    """The store's content, and the workers that use it, oldest first. Raises `EtcdError`."""
    from ..sources.etcd.client import Etcd

    etcd = Etcd(fleet)
    try:
        stored = etcd.read()
        found = [decoded(data) for data in etcd.announced().values()]
    finally:
        etcd.close()
    return stored, sorted((worker for worker in found if worker is not None), key=lambda worker: worker.started)


def is_healthy(worker: FleetWorker, store: str) -> bool:
    """Whether it uses the store's content, nothing waits for a restart, and its newest reload was good."""
    return worker.store == store and not worker.restart_required and not worker.rejected
