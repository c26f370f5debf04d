"""HTTP with bounds, from the standard library: so many seconds, so many bytes, no redirects.

Proxies are taken from the environment as everywhere (`HTTPS_PROXY`, `NO_PROXY`), but never for this machine.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeVar, cast

import msgspec

from ..core.decoding import from_json
from ..core.problems import printable
from ..core.secret import MASK, Secret, registered
from ..settings.urls import is_loopback

MAX_BYTES = 8 * 1024 * 1024  # of one answer
_MAX_LINE = 64 * 1024

_NoAnswer = Literal["refused", "unresolved", "unreachable", "timeout", "tls", "cut-off"]
Trouble = _NoAnswer | Literal["garbled", "too-large", "redirect", "status", "error"]
T = TypeVar("T")


class WireError(Exception):
    """A request that got no good answer.

    `trouble` says in a word what happened; `detail` what is to be said of it beyond that, safe to print: for
    `status` and `error` the other side's words, for `redirect` where it points. `status` is the HTTP status
    that came with a `status` or a `redirect`.
    """

    def __init__(self, trouble: Trouble, detail: str = "", status: int | None = None) -> None:
        super().__init__(f"{trouble}: {detail}" if detail else trouble)
        self.trouble = trouble
        self.detail = detail
        self.status = status


def ask(
    url: str,
    shape: type[T],
    *,
    body: Mapping[str, Any] | None = None,
    key: Secret | None = None,
    headers: Mapping[str, str] = {},
    timeout: float,
) -> T:
    """The JSON answer of `url` as a `shape`: by GET, or with `body` by POST.

    `key` goes along only when the other side asks for one (401, 403), `headers` always. `timeout`: seconds for each
    step on the network; `at_once` bounds the whole. Raises `WireError`.
    """
    status, answered, data = _exchange(url, body, None, timeout, headers)
    if status in (401, 403) and key is not None:
        status, answered, data = _exchange(url, body, key, timeout, headers)
    good(status, answered, data)
    try:
        return from_json(data, shape)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise WireError("garbled", "no JSON of the expected form") from error


def status_of(url: str, *, timeout: float) -> int:
    """The HTTP status that a GET of `url` gets, below 300 or from 400 up. Raises `WireError`."""
    status, headers, data = _exchange(url, None, None, timeout)
    if 300 <= status < 400:
        good(status, headers, data)
    return status


def lines(url: str, body: Mapping[str, Any], *, key: Secret | None = None, timeout: float) -> Iterator[bytes]:
    """The lines of an answer that comes bit by bit to a POST. `timeout`: seconds without a sign of life.

    Raises `WireError`, also in the midst of it.
    """
    with _translated(), _open(url, body, key, timeout) as response:
        if response.status >= 300:
            good(response.status, response.headers, response.read(_MAX_LINE))
        while line := response.readline(_MAX_LINE + 1):
            if len(line) > _MAX_LINE:
                raise WireError("too-large", f"a line of more than {_MAX_LINE // 1024} KiB")
            if line.strip():
                yield line


def at_once(calls: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, Any]:
    """The result of each call, or the exception it raised. All run at the same time, and none for longer.

    One that takes longer gets a `WireError` of `timeout`, and its connections are ended, so that its thread ends:
    a server that never comes to the point must not hold one for good.
    """
    results: dict[str, Any] = {}
    threads = {name: _start(call, name, results) for name, call in calls.items()}
    deadline = time.monotonic() + seconds
    for thread in threads.values():
        thread.join(max(deadline - time.monotonic(), 0))
    late = WireError("timeout", f"{seconds:g} s")
    taken = dict(results)  # a late thread may still write into `results`
    for thread in threads.values():
        if thread.is_alive():
            _end_connections(thread)
    return {name: taken.get(name, late) for name in calls}


# The connections that each thread has open here. A thread's list is its own, but for `_end_connections`.
_connections: weakref.WeakKeyDictionary[threading.Thread, list[socket.socket]] = weakref.WeakKeyDictionary()
_late: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
_ENDED = 0.5  # seconds that an ended connection's thread gets to end, too


def _register(connection: socket.socket) -> None:
    thread = threading.current_thread()
    _connections[thread] = [*(known for known in _connections.get(thread, ()) if known.fileno() >= 0), connection]
    if thread in _late:  # it was given up while it connected
        raise TimeoutError


def _end_connections(thread: threading.Thread) -> None:
    _late.add(thread)
    for connection in tuple(_connections.get(thread, ())):
        # Not the TLS socket's own method: it would forget its TLS first, under a reader.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(connection, socket.SHUT_RDWR)
    thread.join(_ENDED)


class _Connection(http.client.HTTPConnection):
    """A connection that another thread can end."""

    def connect(self) -> None:
        super().connect()
        _register(self.sock)


class _TlsConnection(http.client.HTTPSConnection):
    """The same over TLS."""

    def connect(self) -> None:
        super().connect()
        _register(self.sock)


class _Handler(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, request)


class _TlsHandler(urllib.request.HTTPSHandler):
    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_TlsConnection, request)


def _start(call: Callable[[], Any], name: str, results: dict[str, Any]) -> threading.Thread:
    def run() -> None:
        try:
            results[name] = call()
        except Exception as error:  # noqa: BLE001 - it is the result
            results[name] = error

    # A daemon: a host that hangs must not hold up the end of the process.
    thread = threading.Thread(target=run, name=f"stigmer-{name}", daemon=True)
    thread.start()
    return thread


def good(status: int, headers: Mapping[str, str], data: bytes) -> None:
    """Raises `WireError` for a redirect or a status of 400 and above."""
    if 300 <= status < 400:
        raise WireError("redirect", redirect_target(headers.get("Location") or ""), status)
    if status >= 400:
        raise WireError("status", said(data), status)


def said(data: bytes | str) -> str:
    """What an error answer says, as one safe line of at most 200 characters; "" when that cannot be told."""
    text = ""
    try:
        document = from_json(data, dict[str, Any])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        document = {}
    for name in ("error", "message", "detail"):
        found: Any = document.get(name)
        if isinstance(found, dict):
            found = cast("dict[str, Any]", found).get("message")
        if isinstance(found, str):
            text = found
            break
    return safe(text)


def safe(text: str) -> str:
    """Text from elsewhere as part of a message: one printable line, cut, without any secret of this process."""
    for secret in sorted(registered(), key=len, reverse=True):
        if len(secret) >= 4:
            text = text.replace(secret, MASK)
    text = printable(" ".join(text.split()))
    return text if len(text) <= 200 else text[:199] + "…"


def redirect_target(location: str) -> str:
    """Where a redirect points, without what may be secret in it: a path, a query, a name before an @."""
    try:
        parts = urllib.parse.urlsplit(location)
    except ValueError:
        return "nowhere"
    return printable(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else "itself")[:200]


def _exchange(
    url: str, body: Mapping[str, Any] | None, key: Secret | None, timeout: float, headers: Mapping[str, str] = {}
) -> tuple[int, Mapping[str, str], bytes]:
    deadline = time.monotonic() + timeout
    with _translated(), _open(url, body, key, timeout, headers) as response:
        parts: list[bytes] = []
        size = 0
        while part := response.read1(64 * 1024):
            parts.append(part)
            size += len(part)
            if size > MAX_BYTES:
                raise WireError("too-large", f"more than {MAX_BYTES // 2**20} MiB")
            if time.monotonic() > deadline:
                raise WireError("timeout", f"{timeout:g} s")
        if response.length:  # fewer bytes than were promised
            raise WireError("cut-off")
        return response.status, response.headers, b"".join(parts)


def _open(
    url: str, body: Mapping[str, Any] | None, key: Secret | None, timeout: float, more: Mapping[str, str] = {}
) -> Any:
    headers = {"User-Agent": "stigmer-config", "Accept": "application/json"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    data = None if body is None else msgspec.json.encode(body)
    request = urllib.request.Request(url, data, headers)  # noqa: S310 - the configuration takes http(s) only
    # "Unredirected": urllib sends it to this very URL only.
    for name, value in more.items():
        request.add_unredirected_header(name, value)
    if key is not None:
        request.add_unredirected_header("Authorization", f"Bearer {key.reveal()}")
    opener = urllib.request.OpenerDirector()
    # Without the handlers for redirects, for other schemes and for errors: each status is an answer.
    opener.add_handler(urllib.request.ProxyHandler({} if is_loopback(url) else None))
    opener.add_handler(_Handler())
    opener.add_handler(_TlsHandler())
    _refuse_unknown_proxy(request)
    return opener.open(request, timeout=timeout)


def _refuse_unknown_proxy(request: urllib.request.Request) -> None:
    """Raises `WireError` for a SOCKS proxy, say, to which the standard library would speak HTTP."""
    proxy = urllib.request.getproxies().get(request.type, "")
    scheme, separator, _ = proxy.partition("://")
    if not separator or scheme.lower() in ("http", "https") or is_loopback(request.full_url):
        return
    if not urllib.request.proxy_bypass(request.host):
        variable = f"{request.type.upper()}_PROXY"
        text = f"{variable} names a proxy of another kind than http:// ({safe(scheme)}): name one, or unset {variable}"
        raise WireError("unreachable", text)


class _translated:  # noqa: N801 - used as a statement
    """What the standard library raises, as `WireError`."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(cause, (OSError, http.client.HTTPException, ValueError)):
            raise _wire_error(cause) from None


# What the standard library raises, the narrower kind first.
_TROUBLES: tuple[tuple[type[Exception], Trouble], ...] = (
    (TimeoutError, "timeout"),
    (socket.gaierror, "unresolved"),
    (ssl.SSLError, "tls"),
    (ConnectionRefusedError, "refused"),
    (ConnectionResetError, "cut-off"),
    (BrokenPipeError, "cut-off"),
    (http.client.IncompleteRead, "cut-off"),
    (OSError, "unreachable"),
)


def _wire_error(error: Exception) -> WireError:
    known: list[Trouble] = [word for kind, word in _TROUBLES if isinstance(error, kind)]
    trouble = known[0] if known else "garbled"
    why = getattr(error, "verify_message", None)
    if trouble == "unreachable" and isinstance(error, OSError):
        why = error.strerror or str(error)
    if trouble == "tls" and not os.path.isfile(os.environ.get("SSL_CERT_FILE", __file__)):
        why = "SSL_CERT_FILE names a file that is not there: fix its path, or unset it"
    return WireError(trouble, safe(why or ""))
