"""etcd over its JSON gateway (https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/): read, watch, compare and put.

Each answer is bounded in bytes and in time: a store that is broken or hostile costs an `EtcdError`.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import math
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Final, TypeVar

import msgspec

from ..fleet import Event, Fleet, Stored, Value
from ..secret import MASK

try:
    import httpx
except ImportError as error:
    raise ImportError("httpx is not installed: pip install 'stigmer-config[etcd]'") from error

CONNECT: Final = 2.0  # seconds to reach one member
ANSWER: Final = 5.0  # seconds for one whole answer, whichever member gives it; of a watch for its first message
MAX_ANSWER: Final = 1024 * 1024  # bytes of one answer, or of one line of a watch
MAX_KEYS: Final = 1000  # below the prefix: nobody has so many settings
MAX_PAGES: Final = 100  # of 200 workers each
_UNAUTHENTICATED: Final = 16  # https://grpc.io/docs/guides/status-codes/
_FOREIGN = "the answer is not etcd's"

T = TypeVar("T")
_Revision = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class EtcdError(Exception):
    """No answer, or none that can be used. The message holds no secret and nothing of what was stored."""


class Compacted(EtcdError):  # noqa: N818 - an answer, not a fault
    """What happened since the revision that was asked for is forgotten: read anew."""


class _Struct(msgspec.Struct, rename={"id": "ID", "ttl": "TTL"}):
    """A message; what is 0 or empty is not there, and 64-bit numbers come as text (protobuf's JSON)."""


class _Header(_Struct):
    cluster_id: int = 0
    revision: _Revision = 0


class _KeyValue(_Struct):
    key: str = ""
    value: str = ""
    mod_revision: _Revision = 0


class _Range(_Struct):
    header: _Header = msgspec.field(default_factory=_Header)
    kvs: list[_KeyValue] = []
    more: bool = False


class _Event(_Struct):
    kv: _KeyValue
    type: str = "PUT"


class _Watched(_Struct):
    header: _Header = msgspec.field(default_factory=_Header)
    created: bool = False
    canceled: bool = False
    compact_revision: _Revision = 0
    cancel_reason: str = ""
    events: list[_Event] = []


class _Failure(_Struct):
    code: int = 0
    grpc_code: int = 0
    message: str = ""


class _Line(_Struct):
    result: _Watched | None = None
    error: _Failure | None = None


class _Transaction(_Struct):
    header: _Header = msgspec.field(default_factory=_Header)
    succeeded: bool = False


class _Lease(_Struct):
    id: int = 0
    ttl: int = 0


class _LeaseLine(_Struct):
    result: _Lease = msgspec.field(default_factory=_Lease)


class _Token(_Struct):
    token: str = ""


class Etcd:
    """One client of one store, for one thread; `interrupt` is for any.

    What asks raises `EtcdError`, as does making one whose certificates cannot be used.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._client = self._open()
        self._first = 0  # the member that answered last
        self._token: str | None = None
        self._deadline = math.inf
        self._sockets: set[socket.socket] = set()
        self._ended = False

    def _open(self) -> httpx.Client:
        fleet, context = self._fleet, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            if fleet.is_trusted:
                context = ssl.create_default_context(cafile=fleet.cacert)
            if fleet.is_trusted and fleet.certificate:
                # Without a key of its own the certificate's file holds it. An encrypted key would ask the terminal.
                context.load_cert_chain(fleet.certificate, fleet.key, password="")
        except (OSError, ValueError) as error:
            named = ", ".join(path for path in (fleet.cacert, fleet.certificate, fleet.key) if path)
            raise EtcdError(f"the certificates cannot be used ({named}): {_reason(error)}") from None
        return httpx.Client(
            verify=context,
            timeout=httpx.Timeout(ANSWER, connect=CONNECT),
            headers={"Accept-Encoding": "identity"},
            follow_redirects=False,
            trust_env=False,  # no proxy, no .netrc: it is called where STIGMER_ETCD says
        )

    # -- the store ---------------------------------------------------------------------------------------------------

    def read(self) -> Stored:
        """Everything below the prefix, as the majority of the members has it."""
        found = self._call("/v3/kv/range", {**self._span(), "limit": MAX_KEYS + 1}, _Range)
        if found.more or len(found.kvs) > MAX_KEYS:
            raise EtcdError(f"more than {MAX_KEYS} keys below {self._fleet.prefix}/")
        if not found.header.revision:  # no etcd is at 0: what looks like an empty store is none
            raise EtcdError(_FOREIGN)
        values = {self._name(kv.key): Value(_bytes(kv.value), kv.mod_revision) for kv in found.kvs}
        return Stored(found.header.cluster_id, found.header.revision, values)

    def watch(self, revision: int) -> Iterator[tuple[Event, ...]]:
        """What happens below the prefix from `revision` on, until `interrupt()`; the first message has no events.

        Raises `Compacted` when that revision is forgotten, and `EtcdError` when the stream ends.
        """
        create = {**self._span(), "start_revision": revision}
        deadline = time.monotonic() + ANSWER
        with self._post("/v3/watch", {"create_request": create}, deadline, for_ever=True) as answer:
            messages = self._messages(answer)
            with self._until(deadline):
                first = next(messages, ())
            yield first
            yield from messages
        raise EtcdError("the watch ended")

    def _messages(self, answer: httpx.Response) -> Iterator[tuple[Event, ...]]:
        for line in filter(None, _lines(answer)):
            told = _decoded(line, _Line)
            if told.error is not None or told.result is None:
                raise EtcdError("the watch was refused")
            result = told.result
            if result.compact_revision:
                raise Compacted("the history was compacted")
            if result.canceled:
                raise EtcdError("the watch was cancelled")
            if result.created or result.events:
                yield tuple(self._event(event) for event in result.events)

    def _event(self, event: _Event) -> Event:
        value = None if event.type == "DELETE" else Value(_bytes(event.kv.value), event.kv.mod_revision)
        return Event(self._name(event.kv.key), value, event.kv.mod_revision)

    def put(self, name: str, data: bytes | None, seen: int) -> int | None:
        """Writes a key below the prefix, or removes it (None), when nothing below it is newer than `seen`.

        The revision that it was written at; None when something is newer.
        """
        key = f"{self._fleet.prefix}/{name}"
        newer = {**self._span(), "target": "MOD", "result": "LESS", "mod_revision": seen + 1}
        change = {"request_delete_range": {"key": _text(key)}}
        if data is not None:
            change = {"request_put": {"key": _text(key), "value": _base64(data)}}
        done = self._call("/v3/kv/txn", {"compare": [newer], "success": [change]}, _Transaction)
        return done.header.revision if done.succeeded else None

    # -- who is there ------------------------------------------------------------------------------------------------

    def lease(self, seconds: int) -> int:
        """A lease of that many seconds."""
        return self._call("/v3/lease/grant", {"TTL": seconds}, _Lease).id

    def keep(self, lease: int) -> bool:
        """Keeps a lease for another while. False when it has ended."""
        return self._call("/v3/lease/keepalive", {"ID": lease}, _LeaseLine).result.ttl > 0

    def revoke(self, lease: int) -> None:
        """Ends a lease, and with it what was written under it."""
        self._call("/v3/lease/revoke", {"ID": lease}, _Struct)

    def announce(self, name: str, data: bytes, lease: int) -> None:
        """Writes what a worker tells of itself, for as long as its lease."""
        key = f"{self._fleet.prefix}.workers/{name}"
        self._call("/v3/kv/put", {"key": _text(key), "value": _base64(data), "lease": lease}, _Struct)

    def announced(self) -> dict[str, bytes]:
        """What each worker tells of itself, by its name."""
        start = f"{self._fleet.prefix}.workers/"
        found: dict[str, bytes] = {}
        for _ in range(MAX_PAGES):
            span = {"key": _text(start), "range_end": _text(f"{self._fleet.prefix}.workers0"), "limit": 200}
            page = self._call("/v3/kv/range", span, _Range)
            keys = [_bytes(kv.key).decode("utf-8", "replace") for kv in page.kvs]
            found |= {key.rpartition("/")[2]: _bytes(kv.value) for key, kv in zip(keys, page.kvs, strict=True)}
            if not page.more or not keys:
                return found
            start = f"{keys[-1]}\0"
        raise EtcdError("the list of workers does not end")

    # -- the connection ----------------------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """Ends every connection: whoever waits for an answer gets an `EtcdError`."""
        for connection in tuple(self._sockets):
            # Not the TLS socket's own method: it would forget its TLS first, under a reader.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def end(self) -> None:
        """Ends every connection, and each that is made from now on. From any thread."""
        self._ended = True
        self.interrupt()

    def renew(self) -> None:
        """Begins anew, with the next member: the certificates may be others by now."""
        self.close()
        self._first = (self._first + 1) % len(self._fleet.endpoints)
        self._client = self._open()

    def close(self) -> None:
        """Closes every descriptor."""
        self._client.close()
        self._sockets = set()

    def forget(self) -> None:
        """In a forked child: lets go of the parent's descriptors, and says nothing on them."""
        for connection in self._sockets:
            with contextlib.suppress(OSError):
                os.close(connection.detach())
        self._sockets = set()

    def _span(self) -> dict[str, Any]:
        return {"key": _text(f"{self._fleet.prefix}/"), "range_end": _text(f"{self._fleet.prefix}0")}

    def _name(self, key: str) -> str:
        name, prefix = _bytes(key).decode("utf-8", "backslashreplace"), f"{self._fleet.prefix}/"
        if not name.startswith(prefix):
            raise EtcdError(_FOREIGN)
        return name.removeprefix(prefix)

    def _call(self, path: str, body: Mapping[str, Any], kind: type[T], deadline: float = 0.0) -> T:
        """One question, one answer: of the member that answered last, else of the next one."""
        deadline = deadline or time.monotonic() + ANSWER
        with self._post(path, body, deadline) as answer, self._until(deadline):
            return _decoded(_body(answer), kind)

    @contextlib.contextmanager
    def _until(self, deadline: float) -> Iterator[None]:
        """Nothing is read after the deadline: with a byte now and then no other time limit would ever pass."""
        before, self._deadline = self._deadline, deadline
        try:
            yield
        finally:
            self._deadline = before

    def _read(self, read: Callable[..., bytes], size: int, timeout: float | None = None) -> bytes:
        """What comes next on a connection."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise httpx.ReadTimeout("")
        patience = min(left, math.inf if timeout is None else timeout)
        return read(size, patience if patience < math.inf else None)

    @contextlib.contextmanager
    def _post(
        self, path: str, body: Mapping[str, Any], deadline: float, *, for_ever: bool = False
    ) -> Iterator[httpx.Response]:
        """An answer of status 200 whose body is still to be read."""
        if self._fleet.user is not None and self._token is None and path != "/v3/auth/authenticate":
            self._authenticate(deadline)
        answer = self._answer(path, body, deadline, for_ever=for_ever)
        try:
            if answer.status_code != httpx.codes.OK:
                self._refused(answer, deadline)
            yield answer
        finally:
            with contextlib.suppress(Exception):  # the connection may be gone
                answer.close()

    def _answer(self, path: str, body: Mapping[str, Any], deadline: float, *, for_ever: bool) -> httpx.Response:
        """The beginning of an answer. Each member gets its share of the time that is left."""
        members = self._fleet.endpoints
        fault = EtcdError("nobody was asked")
        for offset in range(0 if self._ended else len(members)):
            number = (self._first + offset) % len(members)
            share = max(deadline - time.monotonic(), 0.1) / (len(members) - offset)
            request = self._client.build_request(
                "POST",
                f"{members[number]}{path}",
                json=body,
                headers={"Authorization": self._token} if self._token else {},
                timeout=httpx.Timeout(ANSWER, connect=min(CONNECT, share), read=None if for_ever else ANSWER),
                extensions={"trace": self._connected},
            )
            try:
                with self._until(time.monotonic() + share):
                    answer = self._client.send(request, stream=True)
            except (httpx.HTTPError, OSError) as error:
                reason = _reason(error)
                fault = EtcdError(reason if len(members) == 1 else f"{members[number]}: {reason}")
                if self._ended:
                    break
                continue
            if answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR or offset + 1 == len(members):
                self._first = number
                return answer
            answer.close()  # it has no leader, or is about to end: another one may do better
        self._first = (self._first + 1) % len(members)
        raise fault

    def _connected(self, event: str, info: Mapping[str, Any]) -> None:
        """Keeps each socket as it is made (https://www.python-httpx.org/advanced/extensions/#trace)."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            stream = info["return_value"]
            stream.read = functools.partial(self._read, stream.read)
            made = stream.get_extra_info("socket")
            self._sockets = {made, *(known for known in self._sockets if known.fileno() >= 0)}
            if self._ended:
                self.interrupt()

    def _refused(self, answer: httpx.Response, deadline: float) -> None:
        failure = _Failure()
        with contextlib.suppress(EtcdError), self._until(deadline):
            failure = _decoded(_body(answer), _Failure)
        if (failure.code or failure.grpc_code) == _UNAUTHENTICATED:
            self._token = None  # it has ended: the next call asks for another
        said = failure.message if failure.message.startswith("etcdserver: ") else f"status {answer.status_code}"
        if self._fleet.password is not None:  # whoever answers knows it
            said = said.replace(self._fleet.password.reveal(), MASK)
        raise EtcdError(said[:200])

    def _authenticate(self, deadline: float) -> None:
        fleet = self._fleet
        body = {"name": fleet.user, "password": fleet.password.reveal() if fleet.password is not None else ""}
        token = self._call("/v3/auth/authenticate", body, _Token, deadline).token
        if not (token.isascii() and token.isprintable()):  # it will be a header
            raise EtcdError(_FOREIGN)
        self._token = token


def bounded(stored: Stored) -> Stored:
    """The same. Raises `EtcdError` when it is more than one answer may hold."""
    size = sum(len(name) + len(value.data) for name, value in stored.values.items())
    if len(stored.values) > MAX_KEYS or size > MAX_ANSWER:
        raise EtcdError(f"more than {MAX_KEYS} keys, or {MAX_ANSWER // 1024} KiB")
    return stored


def _body(answer: httpx.Response) -> bytes:
    data = bytearray()
    try:
        for part in answer.iter_raw():
            data += part
            if len(data) > MAX_ANSWER:
                raise EtcdError("the answer does not end")
    except (httpx.HTTPError, httpx.StreamError, OSError) as error:
        raise EtcdError(f"the answer broke off: {_reason(error)}") from None
    return bytes(data)


def _lines(answer: httpx.Response) -> Iterator[bytes]:
    rest = bytearray()
    try:
        for part in answer.iter_raw():
            *ends, begin = part.split(b"\n")
            for end in ends:
                yield bytes(rest + end)
                rest.clear()
            rest += begin
            if len(rest) > MAX_ANSWER:
                raise EtcdError("a message does not end")
    except (httpx.HTTPError, httpx.StreamError, OSError) as error:
        raise EtcdError(f"the watch broke off: {_reason(error)}") from None


def _decoded(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise EtcdError(_FOREIGN) from None


def _text(key: str) -> str:
    return _base64(key.encode())


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise EtcdError(_FOREIGN) from None


def _reason(error: Exception) -> str:
    """What went wrong, in a few words: of a TLS fault what did not fit."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not to be trusted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed: {cause.reason or 'it ended in the middle'}"
        if isinstance(cause, OSError) and cause.strerror:
            return str(cause.strerror)
        cause = cause.__cause__ or cause.__context__
    named = {httpx.ConnectTimeout: "nobody answers", httpx.ReadTimeout: "no answer in time"}
    return next((words for kind, words in named.items() if isinstance(error, kind)), type(error).__name__)
