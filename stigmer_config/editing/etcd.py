"""Edits the fleet's store: read, change, check, compare and write."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..core.environment import Environment
from ..core.problems import Problem
from ..core.provenance import Layer
from ..loading.load import Loaded, read
from ..loading.request import ReadFleet, Request
from ..settings.packaged_providers import is_provider
from ..sources.etcd.address import Fleet, fleet_of
from ..sources.etcd.layer import etcd_layer
from ..sources.etcd.snapshot import Event, Stored, Value
from ..sources.yaml.parser import YamlReader
from .candidate import EditRejected, NoTarget, new_errors
from .keys import without
from .patches import EditError
from .write import Outcome

_TRIES = 20  # so many other writers may write at the same moment
# Values that are missing here may exist on the machines that run workers.
_LOCAL = frozenset({"missing-api-key", "secret-unavailable"})


class StoreError(Exception):
    """The store could not be read or written. The message says why, and whether the edit was made."""


class Store(msgspec.Struct, frozen=True):
    """The fleet's store, and the load that it is a part of."""

    fleet: Fleet
    request: Request
    layer: Literal["etcd"] = "etcd"

    @property
    def path(self) -> str:
        """The store's name in messages."""
        return self.fleet.source

    def load(self, stored: Stored) -> Loaded:
        """Loads everything as if the store had this content."""
        return read(msgspec.structs.replace(self.request, read_fleet=self._reading(stored)))

    def load_alone(self, stored: Stored, mode: str) -> Loaded:
        """Loads the store over the packaged defaults: no file, variable or flag of this machine hides a fault.

        `mode` is used when the store does not choose one.
        """
        here = self.request.environment
        nowhere = Path("/nonexistent")
        world = Environment(
            variables={"STIGMER_ETCD": self.fleet.source},
            cwd=nowhere,
            home=nowhere,
            uid=here.uid,
            today=here.today,
            site_dir=nowhere,
            state_dir=nowhere,
        )
        layer, _ = etcd_layer(self.fleet, stored, self.request.schema)
        chosen = None if "mode" in layer.entries else mode
        return read(
            Request(
                world,
                chosen,
                project_dir=False,
                read_fleet=self._reading(stored),
                runs_commands=False,
                schema=self.request.schema,
            )
        )

    def _reading(self, stored: Stored) -> ReadFleet:
        def read_fleet(environment: Environment) -> tuple[Layer, list[Problem]]:
            del environment  # independent of the variables: the given content
            return etcd_layer(self.fleet, stored, self.request.schema)

        return read_fleet


def store(request: Request) -> Store:
    """The store that this machine's variables name. Raises `NoTarget`, or `EditRejected` for wrong variables."""
    fleet, problems = fleet_of(request.environment)
    if fleet is not None:
        return Store(fleet, request)
    if problems:
        raise EditRejected(problems)
    raise NoTarget("no fleet store is configured: set STIGMER_ETCD, for example to https://etcd.example:2379/stigmer")


def name_of(key: str, providers: Collection[str] = ()) -> str:
    """The key's name in the store: `llm.model` is `llm/model`, `aliases.fast.ollama` is `aliases/fast/ollama`.

    `providers` are the declared ones.
    """
    if not key.startswith("aliases."):
        return key.replace(".", "/")
    alias, _, provider = key.removeprefix("aliases.").rpartition(".")
    is_entry = alias and is_provider(provider, providers)
    return f"aliases/{alias}/{provider}" if is_entry else f"aliases/{key[8:]}"


def _key(name: str) -> str:
    return name.replace("/", ".")


def text_of(value: Any) -> str:
    """A value in the store's form: the text after the colon in a file, on one line."""
    if isinstance(value, str):
        reader = YamlReader(value, "etcd", "")
        node = reader.read()
        if node is not None and not reader.problems and node.value == value:
            return value
    return json.dumps(value, ensure_ascii=False)


Changes = Mapping[str, bytes | None]  # by the key's name in the store; None removes it


def put(target: Store, values: Mapping[str, bytes], providers: Collection[str] = ()) -> Outcome:
    """Sets keys in the store, all or none.

    The result is checked first, and written only if nothing changed meanwhile. Raises `EditRejected` and `StoreError`:
    the store is then unchanged, unless the error says otherwise.
    """
    wanted = {name_of(key, providers): data for key, data in values.items()}
    return _edit(
        target, tuple(values), lambda stored: {n: data for n, data in wanted.items() if stored.data(n) != data}
    )


def remove(target: Store, key: str, providers: Collection[str] = ()) -> Outcome:
    """Removes a key or a section from the store, even an unknown key. Otherwise like `put`."""
    return _edit(target, (key,), lambda stored: _removal(stored, key, providers))


def _removal(stored: Stored, key: str, providers: Collection[str]) -> Changes:
    """The changes that remove a key: its name and all names below it, or its part of a mapping above it."""
    from ..sources.etcd.client import MAX_COMPARED

    section = f"{name_of(key, providers)}/"
    found = [name for name in stored.values if _key(name) == key or name.startswith(section)]
    if len(found) > MAX_COMPARED:
        raise StoreError(f"{key} has more than {MAX_COMPARED} keys below it: remove those first; nothing was written")
    if found:
        return dict.fromkeys(found)
    above = max((name for name in stored.values if key.startswith(f"{_key(name)}.")), key=len, default=None)
    return _removal_within(above, stored.values[above].data, key[len(above) + 1 :]) if above is not None else {}


def _removal_within(name: str, data: bytes, key: str) -> Changes:
    try:
        rest = without(data, key)
    except EditError as error:
        raise StoreError(f"{name} cannot be changed: {error}; nothing was written") from None
    if rest is None:
        return {}
    return {name: rest if rest.strip() not in (b"", b"{}") else None}


def _edit(target: Store, keys: Collection[str], change: Callable[[Stored], Changes]) -> Outcome:
    from ..sources.etcd.client import Etcd, EtcdError

    try:
        etcd = Etcd(target.fleet)
    except EtcdError as error:
        raise StoreError(f"the fleet's store cannot be reached: {error}") from None
    try:
        for _ in range(_TRIES):
            outcome = _try(etcd, target, keys, change)
            if outcome is not None:
                return outcome
    finally:
        etcd.close()
    raise StoreError("the store keeps changing: nothing was written")


def _try(etcd: Any, target: Store, keys: Collection[str], change: Callable[[Stored], Changes]) -> Outcome | None:
    """Makes one attempt. Returns None when another writer changed the store meanwhile."""
    from ..sources.etcd.client import Denied, EtcdError

    try:
        stored = etcd.read()
    except EtcdError as error:
        raise StoreError(f"the fleet's store cannot be read: {error}; nothing was written") from None
    before = target.load(stored)
    changes = change(stored)
    if not changes:
        return Outcome(before, before, changed=False)
    _validate(target, stored, _with(stored, changes, stored.revision + 1), before, keys)
    try:
        revision = etcd.write(changes, stored)
    except Denied as error:
        raise StoreError(f"the fleet's store refused it: {error}; nothing was written") from None
    except EtcdError as error:
        raise StoreError(f"{error}; stigmer config get {min(keys)} shows whether it was written") from None
    if revision is None:
        return None
    return Outcome(before, target.load(_with(stored, changes, revision)), changed=True)


def _with(stored: Stored, changes: Changes, revision: int) -> Stored:
    return stored.after(
        Event(name, Value(data, revision) if data is not None else None, revision) for name, data in changes.items()
    )


def _validate(target: Store, stored: Stored, wanted: Stored, before: Loaded, keys: Collection[str]) -> None:
    """Raises `EditRejected` for new errors, here or on a machine that has only the store."""
    mode = before.config.mode
    pairs = (
        (before, target.load(wanted)),
        (target.load_alone(stored, mode), target.load_alone(wanted, mode)),
    )
    new = [
        problem
        for old, after in pairs
        for problem in new_errors(old, after, "etcd", keys)
        if problem.code not in _LOCAL
    ]
    if new:
        raise EditRejected(list(dict.fromkeys(new)))
