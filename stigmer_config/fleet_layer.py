"""The `etcd` layer of one load: the store read once, and what keeps it from being read."""

from __future__ import annotations

from .environment import Environment
from .fleet import Fleet, Stored, fleet_of
from .places import ETCD
from .problems import Problem
from .provenance import Layer, Origin
from .sources.etcd_keys import etcd_layer

FleetLayer = tuple[Layer, list[Problem]]


def read_fleet(environment: Environment) -> FleetLayer:
    """The layer of the store that the variables name, as it is now. No fault raises: each is a Problem."""
    fleet, problems = fleet_of(environment)
    if fleet is None:
        return not_to_be_had(ETCD, problems)
    try:
        stored = read_once(fleet)
    except Exception as error:  # noqa: BLE001 - whatever a store or the library comes up with is no traceback
        return not_to_be_had(fleet.source, [*problems, unavailable(fleet, error)])
    layer, found = etcd_layer(fleet, stored)
    return layer, [*problems, *found]


def read_once(fleet: Fleet) -> Stored:
    """What the store holds. Raises `EtcdError`, or `ImportError` without the extra `etcd`."""
    from .integrations.etcd import Etcd

    etcd = Etcd(fleet)
    try:
        return etcd.read()
    finally:
        etcd.close()


def unavailable(fleet: Fleet, error: Exception) -> Problem:
    """Why the store cannot be read."""
    what, _, fix = str(error).partition(": pip ") if isinstance(error, ImportError) else (str(error), "", "")
    hint = f"pip {fix}" if fix else "etcdctl endpoint health tells more; without the store: unset STIGMER_ETCD"
    message = f"the fleet's store cannot be read: {what or type(error).__name__}"
    return Problem(code="etcd-unavailable", message=message, hint=hint, origin=Origin("etcd", fleet.source))


def not_to_be_had(source: str, problems: list[Problem]) -> FleetLayer:
    """The layer of a store that cannot be read."""
    return Layer("etcd", source, "error", why=problems[-1].message), problems
