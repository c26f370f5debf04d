"""What etcd's JSON gateway says (https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/), and how it is read."""

from __future__ import annotations

import base64
from typing import Annotated, TypeVar

import msgspec

from ...core.decoding import from_json

T = TypeVar("T")
_Revision = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class EtcdError(Exception):
    """No answer, or none that can be used. The message holds no secret and nothing of what was stored."""


class Compacted(EtcdError):  # noqa: N818 - an answer, not a fault
    """What happened since the revision that was asked for is forgotten: read anew."""


class Denied(EtcdError):  # noqa: N818 - an answer, not a fault
    """The store understood, and does not do it: nothing was written."""


class WatchRefused(EtcdError):  # noqa: N818 - an answer, not a fault
    """A watch did not begin: also what a token that has ended is told, by an answer of status 200."""


def not_etcd_answer() -> EtcdError:
    """The error of an answer that etcd would not give."""
    return EtcdError("the answer is not etcd's")


class Message(msgspec.Struct, rename={"id": "ID", "ttl": "TTL"}):
    """A message; what is 0 or empty is not there, and 64-bit numbers come as text (protobuf's JSON)."""


class Header(Message):
    """Of which etcd, and at which revision of its whole content."""

    cluster_id: int = 0
    revision: _Revision = 0


class KeyValue(Message):
    """One key, in base64, as is its value."""

    key: str = ""
    value: str = ""
    mod_revision: _Revision = 0


class Range(Message):
    """What a range of keys holds; `more`: not all of it."""

    header: Header = msgspec.field(default_factory=Header)
    kvs: list[KeyValue] = []
    more: bool = False


class Event(Message):
    """One change."""

    kv: KeyValue
    type: str = "PUT"


class Watched(Message):
    """One message of a watch."""

    header: Header = msgspec.field(default_factory=Header)
    created: bool = False
    canceled: bool = False
    compact_revision: _Revision = 0
    cancel_reason: str = ""
    events: list[Event] = []


class Failure(Message):
    """Why a question was refused."""

    code: int = 0
    grpc_code: int = 0
    message: str = ""


class Line(Message):
    """One line of a watch."""

    result: Watched | None = None
    error: Failure | None = None


class Transaction(Message):
    """What came of a transaction."""

    header: Header = msgspec.field(default_factory=Header)
    succeeded: bool = False


class Lease(Message):
    """A lease, and the seconds it has left."""

    id: int = 0
    ttl: int = 0


class LeaseLine(Message):
    """The answer to keeping a lease."""

    result: Lease = msgspec.field(default_factory=Lease)


class Token(Message):
    """What a user is known by."""

    token: str = ""


def decoded(data: bytes, kind: type[T]) -> T:
    """The message that these bytes are. Raises `EtcdError`."""
    try:
        return from_json(data, kind, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise not_etcd_answer() from None


def key_text(key: str) -> str:
    """A key as a message holds it."""
    return data_text(key.encode())


def data_text(data: bytes) -> str:
    """Bytes as a message holds them."""
    return base64.b64encode(data).decode("ascii")


def data_of(text: str) -> bytes:
    """The bytes that a message holds. Raises `EtcdError`."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise not_etcd_answer() from None
