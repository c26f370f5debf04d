"""The messages of etcd's JSON gateway (https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/), and their decoding."""

from __future__ import annotations

import base64
from typing import Annotated, TypeVar

import msgspec

from ...core.decoding import from_json

T = TypeVar("T")
_Revision = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class EtcdError(Exception):
    """No answer, or an unusable one. The message contains no secret and no stored value."""


class Compacted(EtcdError):  # noqa: N818 - an answer, not a fault
    """The changes since the requested revision were compacted: read everything again."""


class Denied(EtcdError):  # noqa: N818 - an answer, not a fault
    """The store refused the request: nothing was written."""


class WatchRefused(EtcdError):  # noqa: N818 - an answer, not a fault
    """The watch was refused: etcd also answers an expired token so, with status 200."""


def not_etcd_answer() -> EtcdError:
    """The error for an answer that does not come from etcd."""
    return EtcdError("the answer is not etcd's")


class Message(msgspec.Struct, rename={"id": "ID", "ttl": "TTL"}):
    """A message: 0 and empty fields are omitted, and 64-bit numbers are strings (protobuf's JSON)."""


class Header(Message):
    """The cluster that answered, and the revision of its whole content."""

    cluster_id: int = 0
    revision: _Revision = 0


class KeyValue(Message):
    """One key and its value, both in base64."""

    key: str = ""
    value: str = ""
    mod_revision: _Revision = 0


class Range(Message):
    """The content of a range of keys; `more`: the answer is incomplete."""

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
    """Why a request was refused."""

    code: int = 0
    grpc_code: int = 0
    message: str = ""


class Line(Message):
    """One line of a watch."""

    result: Watched | None = None
    error: Failure | None = None


class Transaction(Message):
    """The result of a transaction."""

    header: Header = msgspec.field(default_factory=Header)
    succeeded: bool = False


class Lease(Message):
    """A lease, and its remaining seconds."""

    id: int = 0
    ttl: int = 0


class LeaseLine(Message):
    """The answer to renewing a lease."""

    result: Lease = msgspec.field(default_factory=Lease)


class Token(Message):
    """The token of an authenticated user."""

    token: str = ""


def decoded(data: bytes, kind: type[T]) -> T:
    """Decodes a message. Raises `EtcdError`."""
    try:
        return from_json(data, kind, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise not_etcd_answer() from None


def key_text(key: str) -> str:
    """Encodes a key for a message."""
    return data_text(key.encode())


def data_text(data: bytes) -> str:
    """Encodes bytes for a message."""
    return base64.b64encode(data).decode("ascii")


def data_of(text: str) -> bytes:
    """Decodes the bytes in a message. Raises `EtcdError`."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise not_etcd_answer() from None
