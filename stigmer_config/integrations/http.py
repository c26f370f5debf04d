"""HTTP with the standard library, with limits on seconds and bytes, and without redirects.

Proxies are taken from the environment as usual (`HTTPS_PROXY`, `NO_PROXY`), but never for this machine.
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

MAX_BYTES = 8 * 1024 * 1024  # the most bytes of one answer
_MAX_LINE = 64 * 1024

_NoAnswer = Literal["refused", "unresolved", "unreachable", "timeout", "tls", "cut-off"]
Trouble = _NoAnswer | Literal["garbled", "too-large", "redirect", "status", "error"]
T = TypeVar("T")


class WireError(Exception):
    """A request that failed.

    `trouble` is the kind of failure; `detail` has more, safe to print: for `status` and `error` the server's message,
    for `redirect` the target. `status` is the HTTP status of a `status` or a `redirect`.
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
    """Requests `url` by GET, or by POST with a `body`, and decodes the JSON answer to a `shape`.

    `key` is sent only after a 401 or 403, `headers` always. `timeout`: seconds for each network operation; `at_once`
    limits the whole. Raises `WireError`.
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
    """The HTTP status of a GET of `url`, below 300 or from 400 up. Raises `WireError`."""
    status, headers, data = _exchange(url, None, None, timeout)
    if 300 <= status < 400:
        good(status, headers, data)
    return status


def lines(url: str, body: Mapping[str, Any], *, key: Secret | None = None, timeout: float) -> Iterator[bytes]:
    """Yields the lines of a streamed answer to a POST. `timeout`: the most seconds without data.

    Raises `WireError`, also in the middle of the stream.
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
    """Runs the calls concurrently within a time limit. Returns the result of each, or the exception it raised.

    For one that takes longer the result is a `WireError` of `timeout`, and its connections are ended, so that its
    thread ends even if the server never finishes its answer.
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


# The open connections of each thread. Only the thread uses its list, except for `_end_connections`.
_connections: weakref.WeakKeyDictionary[threading.Thread, list[socket.socket]] = weakref.WeakKeyDictionary()
_late: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
_ENDED = 0.5  # seconds for a thread to end after its connections


def _register(connection: socket.socket) -> None:
    thread = threading.current_thread()
    _connections[thread] = [*(known for known in _connections.get(thread, ()) if known.fileno() >= 0), connection]
    if thread in _late:  # it was abandoned while it connected
        raise TimeoutError


def _end_connections(thread: threading.Thread) -> None:
    _late.add(thread)
    for connection in tuple(_connections.get(thread, ())):
        # Not the TLS socket's own method: it would drop its TLS state first, while another thread reads.
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

    # A daemon: a host that hangs must not delay the end of the process.
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
    """The message of an error answer, as one safe line of at most 200 characters; "" when there is none."""
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
    """Foreign text for a message: one printable line, cut, without any secret of this process."""
    for secret in sorted(registered(), key=len, reverse=True):
        if len(secret) >= 4:
            text = text.replace(secret, MASK)
    text = printable(" ".join(text.split()))
    return text if len(text) <= 200 else text[:199] + "…"


def redirect_target(location: str) -> str:
    """The target of a redirect, without parts that may be secret: path, query, userinfo."""
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
        if response.length:  # fewer bytes than announced
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
    # "Unredirected": urllib sends it only to this URL.
    for name, value in more.items():
        request.add_unredirected_header(name, value)
    if key is not None:
        request.add_unredirected_header("Authorization", f"Bearer {key.reveal()}")
    opener = urllib.request.OpenerDirector()
    # Without the handlers for redirects, other schemes and errors: each status is an answer.
    opener.add_handler(urllib.request.ProxyHandler({} if is_loopback(url) else None))
    opener.add_handler(_Handler())
    opener.add_handler(_TlsHandler())
    _refuse_unknown_proxy(request)
    return opener.open(request, timeout=timeout)


def _refuse_unknown_proxy(request: urllib.request.Request) -> None:
    """Raises `WireError` for an unsupported proxy, such as SOCKS, to which the standard library would speak HTTP."""
    proxy = urllib.request.getproxies().get(request.type, "")
    scheme, separator, _ = proxy.partition("://")
    if not separator or scheme.lower() in ("http", "https") or is_loopback(request.full_url):
        return
    if not urllib.request.proxy_bypass(request.host):
        variable = f"{request.type.upper()}_PROXY"
        text = f"{variable} names a proxy of another kind than http:// ({safe(scheme)}): name one, or unset {variable}"
        raise WireError("unreachable", text)


class _translated:  # noqa: N801 - used as a statement
    """Converts an exception of the standard library to `WireError`."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(cause, (OSError, http.client.HTTPException, ValueError)):
            raise _wire_error(cause) from None


# The exceptions of the standard library, the more specific ones first.
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
