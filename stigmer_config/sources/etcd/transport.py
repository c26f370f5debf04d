"""HTTP requests to the members of an etcd: to whichever answers, within one deadline and a limit of bytes.

A broken or hostile store causes an `EtcdError`, and costs at most `ANSWER` seconds and `MAX_ANSWER` bytes.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import socket
import ssl
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, Final, TypeVar

from ...core.secret import MASK
from .address import Fleet
from .messages import Denied, EtcdError, Failure, Token, decoded, not_etcd_answer

try:
    import httpx2
except ImportError as error:
    raise ImportError("httpx2 is not installed: pip install 'stigmer-config[etcd]'") from error

CONNECT: Final = 2.0  # seconds to connect to one member
ANSWER: Final = 5.0  # seconds for one whole answer, from whichever member; for a stream, for its first line
MAX_ANSWER: Final = 1024 * 1024  # bytes of one answer, or of one line of a stream
_AUTHENTICATE: Final = "/v3/auth/authenticate"
_UNAUTHENTICATED: Final = 16  # https://grpc.io/docs/guides/status-codes/
_OLD_TOKEN: Final = "etcdserver: revision of auth store is old"  # noqa: S105 - a signed one, after any change of users

T = TypeVar("T")


class Members:
    """A client of one store, for one thread; `interrupt` and `end` may be called from any.

    Requests raise `EtcdError`, and so does the constructor when the certificates cannot be used.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._client = self._open()
        self._first = 0  # the member that answered last
        self._token: str | None = None
        self._deadline = math.inf
        self._sockets: set[socket.socket] = set()
        self._ended = False

    def _open(self) -> httpx2.Client:
        fleet, context = self._fleet, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authorities = os.environ.get("SSL_CERT_FILE")
        if fleet.is_trusted and fleet.cacert is None and authorities and not os.path.isfile(authorities):
            # OpenSSL would trust no certificate at all, without saying why.
            raise EtcdError(
                "SSL_CERT_FILE names a file that is not there: fix its path, unset it, or set STIGMER_ETCD_CACERT"
            )
        try:
            if fleet.is_trusted:
                context = ssl.create_default_context(cafile=fleet.cacert)
            if fleet.is_trusted and fleet.certificate:
                # Without a key file the certificate's file contains the key. An encrypted key would prompt on the
                # terminal.
                context.load_cert_chain(fleet.certificate, fleet.key, password="")
        except (OSError, ValueError) as error:
            named = ", ".join(path for path in (fleet.cacert, fleet.certificate, fleet.key) if path)
            raise EtcdError(f"the certificates cannot be used ({named}): {_reason(error)}") from None
        return httpx2.Client(
            verify=context,
            timeout=httpx2.Timeout(ANSWER, connect=CONNECT),
            headers={"Accept-Encoding": "identity"},
            follow_redirects=False,
            trust_env=False,  # no proxy, no .netrc: only STIGMER_ETCD decides the address
        )

    def call(self, path: str, body: Mapping[str, Any], kind: type[T], deadline: float = 0.0) -> T:
        """Sends one request and returns its answer: from the member that answered last, else from the next one."""
        deadline = deadline or time.monotonic() + ANSWER
        with self._post(path, body, deadline) as answer, self._until(deadline):
            return decoded(_body(answer), kind)

    def stream(self, path: str, body: Mapping[str, Any]) -> Generator[bytes]:
        """The lines of an answer that does not end, until `interrupt()`. The first one has a deadline."""
        deadline = time.monotonic() + ANSWER
        with self._post(path, body, deadline, for_ever=True) as answer:
            lines = _lines(answer)
            with self._until(deadline):
                first = next(lines, b"")
            yield first
            yield from lines

    def forget_token(self) -> bool:
        """Drops the token, so that the next request gets a new one. Returns whether there was one."""
        known, self._token = self._token, None
        return known is not None

    def interrupt(self) -> None:
        """Ends every connection: a thread that waits for an answer gets an `EtcdError`."""
        for connection in tuple(self._sockets):
            # Not the TLS socket's own method: it would drop its TLS state first, while another thread reads.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def end(self) -> None:
        """Ends every connection, and each one that is opened later. From any thread."""
        self._ended = True
        self.interrupt()

    def renew(self) -> None:
        """Reconnects, to the next member and with the current certificates; if those are bad, with the earlier ones."""
        self._first = (self._first + 1) % len(self._fleet.endpoints)
        client = self._open()
        self.close()
        self._client = client

    def close(self) -> None:
        """Closes every descriptor."""
        self._client.close()
        self._sockets = set()

    def forget(self) -> None:
        """In a forked child: closes its copies of the parent's descriptors without sending anything."""
        for connection in self._sockets:
            with contextlib.suppress(OSError):
                os.close(connection.detach())
        self._sockets = set()

    @contextlib.contextmanager
    def _until(self, deadline: float) -> Iterator[None]:
        """Yields chunks until the deadline: slow single bytes never exceed the other time limits."""
        before, self._deadline = self._deadline, deadline
        try:
            yield
        finally:
            self._deadline = before

    def _read(self, read: Callable[..., bytes], size: int, timeout: float | None = None) -> bytes:
        """The next chunk of a connection."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise httpx2.ReadTimeout("")
        patience = min(left, math.inf if timeout is None else timeout)
        return read(size, patience if patience < math.inf else None)

    @contextlib.contextmanager
    def _post(
        self, path: str, body: Mapping[str, Any], deadline: float, *, for_ever: bool = False
    ) -> Iterator[httpx2.Response]:
        """An answer of status 200 with an unread body."""
        answer = self._taken(path, body, deadline, for_ever=for_ever, is_again=False)
        try:
            yield answer
        finally:
            with contextlib.suppress(Exception):  # the connection may be gone
                answer.close()

    def _taken(
        self, path: str, body: Mapping[str, Any], deadline: float, *, for_ever: bool, is_again: bool
    ) -> httpx2.Response:
        """The start of an answer of status 200; repeats the request with a new token if the old one has expired."""
        if self._fleet.user is not None and self._token is None and path != _AUTHENTICATE:
            self._authenticate(deadline)
        token, answer = self._token, self._answer(path, body, deadline, for_ever=for_ever)
        if answer.status_code == httpx2.codes.OK:
            return answer
        try:
            error = self._refused(answer, deadline)
        finally:
            with contextlib.suppress(Exception):  # the connection may be gone
                answer.close()
        if is_again or token is None or self._token is not None:
            raise error
        return self._taken(path, body, deadline, for_ever=for_ever, is_again=True)

    def _answer(self, path: str, body: Mapping[str, Any], deadline: float, *, for_ever: bool) -> httpx2.Response:
        """The start of an answer. Each member gets its share of the remaining time."""
        members = self._fleet.endpoints
        fault = EtcdError("no member was asked")
        for offset in range(0 if self._ended else len(members)):
            number = (self._first + offset) % len(members)
            share = max(deadline - time.monotonic(), 0.1) / (len(members) - offset)
            request = self._client.build_request(
                "POST",
                f"{members[number]}{path}",
                json=body,
                headers={"Authorization": self._token} if self._token else {},
                timeout=httpx2.Timeout(ANSWER, connect=min(CONNECT, share), read=None if for_ever else ANSWER),
                extensions={"trace": self._connected},
            )
            try:
                with self._until(time.monotonic() + share):
                    answer = self._client.send(request, stream=True)
            except (httpx2.HTTPError, OSError) as error:
                reason = _reason(error)
                fault = EtcdError(reason if len(members) == 1 else f"{members[number]}: {reason}")
                if self._ended:
                    break
                continue
            if answer.status_code < httpx2.codes.INTERNAL_SERVER_ERROR or offset + 1 == len(members):
                self._first = number
                return answer
            answer.close()  # it has no leader, or is shutting down: another member may answer
        self._first = (self._first + 1) % len(members)
        raise fault

    def _connected(self, event: str, info: Mapping[str, Any]) -> None:
        """Records each socket when it is created (https://www.python-httpx.org/advanced/extensions/#trace)."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            stream = info["return_value"]
            stream.read = functools.partial(self._read, stream.read)
            made = stream.get_extra_info("socket")
            self._sockets = {made, *(known for known in self._sockets if known.fileno() >= 0)}
            if self._ended:
                self.interrupt()

    def _refused(self, answer: httpx2.Response, deadline: float) -> EtcdError:
        """The error for a refused request. Drops an expired token."""
        failure = Failure()
        with contextlib.suppress(EtcdError), self._until(deadline):
            failure = decoded(_body(answer), Failure)
        if (failure.code or failure.grpc_code) == _UNAUTHENTICATED or failure.message == _OLD_TOKEN:
            self._token = None
        said = failure.message if failure.message.startswith("etcdserver: ") else f"status {answer.status_code}"
        if self._fleet.password is not None:  # the member that answers knows it already
            said = said.replace(self._fleet.password.reveal(), MASK)
        kind = EtcdError if answer.status_code >= httpx2.codes.INTERNAL_SERVER_ERROR else Denied
        return kind(said[:200])

    def _authenticate(self, deadline: float) -> None:
        fleet = self._fleet
        body = {"name": fleet.user, "password": fleet.password.reveal() if fleet.password is not None else ""}
        token = self.call(_AUTHENTICATE, body, Token, deadline).token
        if not (token.isascii() and token.isprintable()):  # it becomes a header
            raise not_etcd_answer()
        self._token = token


def _body(answer: httpx2.Response) -> bytes:
    data = bytearray()
    try:
        for part in answer.iter_raw():
            data += part
            if len(data) > MAX_ANSWER:
                raise EtcdError("the answer does not end")
    except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
        raise EtcdError(f"the answer broke off: {_reason(error)}") from None
    return bytes(data)


def _lines(answer: httpx2.Response) -> Iterator[bytes]:
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
    except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
        raise EtcdError(f"the watch broke off: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """The cause in a few words; for a TLS fault, what did not match."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed: {cause.reason or 'it ended in the middle'}"
        if isinstance(cause, OSError) and cause.strerror:
            return str(cause.strerror)
        cause = cause.__cause__ or cause.__context__
    named = {httpx2.ConnectTimeout: "it cannot be reached", httpx2.ReadTimeout: "no answer in time"}
    return next((words for kind, words in named.items() if isinstance(error, kind)), type(error).__name__)
