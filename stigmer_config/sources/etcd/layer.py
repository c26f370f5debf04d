"""Makes the `etcd` layer from the content of the fleet's store.

A key of the store is a key of the configuration with slashes (`/stigmer/llm/model`); its value has the syntax of a
value after the colon in a file, with the same rules and limits. So `/stigmer/aliases/fast/ollama` is one provider's
entry of an alias, and `/stigmer/aliases/fast` may contain them all: `{ollama: …, openai: …}`.
"""

from __future__ import annotations

import os
from typing import Any

from ...core.environment import Environment
from ...core.problems import Problem, quoted, shown_name
from ...core.provenance import Layer, Origin, Status
from ...secrets.references import Reference
from ...settings.declarations import BUILT_IN
from ...settings.schema import Schema, Setting
from ...settings.value_types import InvalidValueError
from ..checked_read import MAX_BYTES
from ..entries import Collector
from ..variables import ETCD
from ..yaml.nodes import Node
from ..yaml.parser import MAX_DEPTH, MAX_PROBLEMS, YamlReader
from .address import Fleet, fleet_of
from .snapshot import Stored

UNTRUSTED = "without TLS anyone on the network can change it: let STIGMER_ETCD start with https://"
_MAX_SHOWN = 200  # the most characters of a key's name


class _Key(Node):
    """A node with the store's key that it comes from; None for a folder of keys."""

    origin: Origin | None = None


def _node(value: Any, origin: Origin | None) -> _Key:
    return _Key(value, 1, 1, 1, 0, 0, "", origin=origin)


def etcd_layer(fleet: Fleet, stored: Stored, schema: Schema = BUILT_IN) -> tuple[Layer, list[Problem]]:
    """The layer of a store at one revision, and all its faults."""
    collector, digest = _Collector(fleet, schema), stored.digest
    if sum(len(name) + len(value.data) for name, value in stored.values.items()) > MAX_BYTES:
        message = f"the store holds more than {MAX_BYTES // 1024} KiB below {fleet.prefix}"
        hint = "keep settings only in it"
        fault = Problem(code="too-large", message=message, hint=hint, origin=Origin("etcd", fleet.source))
        return Layer("etcd", fleet.source, "error", why=message, hashed=lambda: digest), [fault]
    root = _node({}, None)
    for name, value in sorted(stored.values.items()):
        if len(collector.problems) < MAX_PROBLEMS:
            origin = Origin("etcd", f"etcd:{fleet.prefix}/{_shown(name)}@{value.revision}")
            collector.put(root, name, value.data, origin)
    collector.tree(root)
    if not fleet.is_trusted:
        collector.refuse_what_is_not_open()
    errors = [problem for problem in collector.problems if problem.severity == "error"]
    status: Status = "error" if errors else "loaded" if collector.entries else "empty"
    if any(problem.code == "untrusted-key" for problem in collector.problems):
        status = "untrusted"
    why = errors[0].summary if errors else ""
    layer = Layer("etcd", fleet.source, status, collector.entries, why=why, hashed=lambda: digest, apps=collector.apps)
    return layer, collector.problems


class _Collector(Collector):
    """Collects the entries, each with the place of its own key."""

    def __init__(self, fleet: Fleet, schema: Schema) -> None:
        super().__init__("etcd", fleet.source, schema)
        self._fleet = fleet

    def put(self, root: Node, name: str, data: bytes, origin: Origin) -> None:
        """Puts the value of one key into the tree."""
        *folders, last = name.split("/")
        if len(folders) >= MAX_DEPTH:
            self._key_fault("too-large", name, f"the key is more than {MAX_DEPTH} deep", "remove it", origin)
            return
        here = root
        for folder in folders:
            child = here.value.setdefault(folder, _node({}, origin))
            if type(child.value) is not dict:
                self._twice(name, origin)
                return
            here = child
        node = self._read(name, data, origin)
        if node is None:
            return
        if last in here.value:  # cannot happen: names are sorted, so keys below this one come later
            self._twice(name, origin)
        else:
            here.value[last] = node

    def refuse_what_is_not_open(self) -> None:
        """Removes what an untrusted project may not set from a store whose answers may be forged."""
        for key, entry in list(self.entries.items()):
            setting = self.schema.find(key)
            if setting is None or setting.access != "open":
                del self.entries[key]
                message = "only a store behind https:// may set it"
                fault = Problem(code="untrusted-key", key=key, message=message, hint=UNTRUSTED, origin=entry.origin)
                self.problems.append(fault)

    def _twice(self, name: str, origin: Origin) -> None:
        message = f"{quoted(_key(name))} is set twice: by a key of the store, and by one above it"
        self._key_fault("duplicate-key", name, message, "remove one of them", origin)

    def _key_fault(self, code: str, name: str, message: str, hint: str, origin: Origin) -> None:
        self.problems.append(Problem(code=code, key=_key(name), message=message, hint=hint, origin=origin))

    def _nested(self, key: str) -> str:
        return f"did you mean {self._fleet.prefix}/{key.replace('.', '/')}?"

    def _read(self, name: str, data: bytes, origin: Origin) -> Node | None:
        """Parses one value to a tree; None, with its fault, when it cannot be read."""
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            self._key_fault("bad-encoding", name, "the value is not UTF-8 text", "write it again", origin)
            return None
        reader = YamlReader(text, "etcd", origin.source)
        reader.names += name.split("/")  # a secret's value is never shown
        read = reader.read()
        for problem in reader.problems:
            self._key_fault(problem.code, name, problem.message, problem.hint, origin)
        if reader.problems:
            return None
        return _placed(read, origin) if read is not None else _node(None, origin)

    def _origin(self, node: Node, *, of_key: bool = False) -> Origin:
        del of_key  # all values of one key of the store have the same place
        found = node.origin if isinstance(node, _Key) else None
        return found or Origin("etcd", self.source)

    def _secret(self, key: str, setting: Setting, node: Node) -> Any:
        """A reference to a secret, or none, from a trusted store. A literal secret is never kept."""
        if self._fleet.is_trusted and node.value is None:
            return super()._secret(key, setting, node)
        if not self._fleet.is_trusted or type(node.value) is not dict:
            raise InvalidValueError(
                "secret-in-etcd",
                "the fleet's store may not hold it: anyone who can read the store would have it",
                "store {file: PATH} or {env: NAME} there, and the secret on each machine"
                if self._fleet.is_trusted
                else "only a store behind https:// may name secrets, by {file: PATH} or {env: NAME}",
            )
        found = super()._secret(key, setting, node)
        if isinstance(found, Reference) and found.kind == "file" and not os.path.isabs(node.value["file"].value):
            message = f"{quoted(node.value['file'].value)} is no absolute path"
            raise InvalidValueError("wrong-type", message, "write the full path: it is the same on each machine")
        return found


def _shown(name: str) -> str:
    """The part of a store's name that looks like a name: after a typing error a secret may follow."""
    shown = "/".join(map(shown_name, name.split("/")))
    return shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}…"


def _key(name: str) -> str:
    return _shown(name).replace("/", ".")


def _placed(node: Node, origin: Origin) -> _Key:
    """The node and all nodes below it, with the place of its key."""
    value = node.value
    if type(value) is dict:
        value = {name: _placed(child, origin) for name, child in value.items()}
    elif type(value) is list:
        value = [_placed(item, origin) for item in value]
    found = _node(value, origin)
    found.bad = node.bad
    return found


FleetLayer = tuple[Layer, list[Problem]]


def read_fleet(environment: Environment, schema: Schema = BUILT_IN) -> FleetLayer:
    """The current layer of the store that the variables name. Faults do not raise: each is a Problem."""
    fleet, problems = fleet_of(environment)
    if fleet is None:
        return unavailable_layer(ETCD, problems)
    try:
        stored = read_once(fleet)
    except Exception as error:  # noqa: BLE001 - whatever a store or the library comes up with is no traceback
        return unavailable_layer(fleet.source, [*problems, unavailable(fleet, error)])
    layer, found = etcd_layer(fleet, stored, schema)
    return layer, [*problems, *found]


def read_once(fleet: Fleet) -> Stored:
    """Reads the store. Raises `EtcdError`, or `ImportError` without the extra `etcd`."""
    from .client import Etcd

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


def unavailable_layer(source: str, problems: list[Problem]) -> FleetLayer:
    """The layer of a store that cannot be read."""
    return Layer("etcd", source, "error", why=problems[-1].message), problems
