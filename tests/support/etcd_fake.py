"""A server of our own in the place of etcd's JSON gateway: a plain good one, and everything that is not."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Self

PREFIX = "/stigmer"


class Asked(NamedTuple):
    """One request as it came in."""

    path: str
    head: str
    body: dict[str, Any]


Answer = Callable[["Fake", socket.socket, Asked], None]


def coded(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def head(status: str = "200 OK", *lines: str, length: int | None = None) -> bytes:
    """The beginning of an answer; without a length its end is the connection's."""
    rows = [f"HTTP/1.1 {status}", "Connection: close", *lines]
    rows += [f"Content-Length: {length}"] if length is not None else []
    return ("\r\n".join(rows) + "\r\n\r\n").encode()


def said(text: str | bytes, status: str = "200 OK", *lines: str) -> Answer:
    """An answer of this text."""
    data = text.encode() if isinstance(text, str) else text
    return lambda _fake, end, _asked: end.sendall(head(status, *lines, length=len(data)) + data)


def told(message: object) -> Answer:
    """An answer of this message."""
    return said(json.dumps(message))


def key_value(name: str, text: str | bytes, revision: object = 1, prefix: str = PREFIX) -> dict[str, Any]:
    """A key in etcd's form: 64-bit numbers are strings."""
    return {"key": coded(f"{prefix}/{name}"), "value": coded(text), "mod_revision": revision}


def found(*rows: object, revision: object = 5, cluster: object = 1, **more: Any) -> dict[str, Any]:
    """The answer to a range."""
    return {"header": {"cluster_id": cluster, "revision": revision}, "kvs": list(rows), **more}


class Fake:
    """Listens on loopback while entered. `values` is what it holds; `answers` what it does on a path instead.

    A path's answer is called with the connection and the request, in a thread of its own; the connection ends with it.
    """

    def __init__(
        self,
        values: Mapping[str, str] | None = None,
        context: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.values = dict(values or {})
        self.revision = 5
        self.cluster = 1
        self.answers: dict[str, Answer] = {}
        self.asked: list[Asked] = []
        self.ended = threading.Event()
        self._context = context
        self._changed = threading.Condition()
        self._open: set[socket.socket] = set()
        self._host = host
        self._listener = socket.create_server((host, 0))
        self.port: int = self._listener.getsockname()[1]

    @property
    def name(self) -> str:
        """What its threads are called."""
        return f"fake-etcd-{self.port}"

    @property
    def url(self) -> str:
        return f"{'http' if self._context is None else 'https'}://{self._host}:{self.port}{PREFIX}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, name=self.name, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.ended.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Ends every connection."""
        for end in list(self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        with self._changed:
            self._changed.notify_all()

    def put(self, name: str, text: str, revision: int | None = None) -> None:
        """Writes a key, at the next revision or at this one."""
        with self._changed:
            self.revision = self.revision + 1 if revision is None else revision
            self.values[name] = text
            self._changed.notify_all()

    def turn(self, answers: Mapping[str, Answer]) -> None:
        """From now on it does this, on new connections only: the old ones end."""
        self.answers = dict(answers)
        self.cut()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                end, _ = self._listener.accept()
                threading.Thread(target=self._talk, args=(end,), name=self.name, daemon=True).start()

    def _talk(self, end: socket.socket) -> None:
        try:
            if self._context is not None:
                end = self._context.wrap_socket(end, server_side=True)
            self._open.add(end)
            while (asked := _request(end)) is not None:
                self.asked.append(asked)
                answer = self.answers.get(asked.path)
                if answer is not None:
                    answer(self, end, asked)
                    break
                self._answer(end, asked)
        except (OSError, ValueError):
            pass
        finally:
            self._open.discard(end)
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _answer(self, end: socket.socket, asked: Asked) -> None:
        if asked.path == "/v3/kv/range":
            told(self.all())(self, end, asked)
        elif asked.path == "/v3/watch":
            self._watch(end)
        elif asked.path == "/v3/auth/authenticate":
            told({"token": "a-token"})(self, end, asked)
        else:
            told({"header": {"revision": self.revision}, "ID": "77", "TTL": "30", "result": {"TTL": "30"}})(
                self, end, asked
            )

    def all(self) -> dict[str, Any]:
        """What it holds."""
        with self._changed:
            rows = [key_value(name, text, str(self.revision)) for name, text in self.values.items()]
            return found(*rows, revision=str(self.revision), cluster=str(self.cluster))

    def _watch(self, end: socket.socket) -> None:
        end.sendall(head() + line(created=True))
        while not self.ended.is_set():
            with self._changed:
                before = self.revision
                self._changed.wait(1.0)
                if end not in self._open:
                    return
                events = [{"kv": key_value(name, text, str(self.revision))} for name, text in self.values.items()]
                now = self.revision
            if now != before:
                end.sendall(line(events=events))


def line(**result: Any) -> bytes:
    """One message of a watch."""
    return json.dumps({"result": {"header": {"cluster_id": "1", "revision": "5"}, **result}}).encode() + b"\n"


def _request(end: socket.socket) -> Asked | None:
    data = b""
    while b"\r\n\r\n" not in data:
        part = end.recv(65536)
        if not part:
            return None
        data += part
        if not data[:1].isalpha():
            return None  # TLS, perhaps
    top, _, body = data.partition(b"\r\n\r\n")
    lines = top.decode("latin-1").split("\r\n")
    length = next((int(row.partition(":")[2]) for row in lines if row.lower().startswith("content-length:")), 0)
    while len(body) < length:
        part = end.recv(65536)
        if not part:
            return None
        body += part
    return Asked(lines[0].split(" ")[1], "\n".join(lines), json.loads(body or b"{}"))


# -- what is not etcd ------------------------------------------------------------------------------------------------


def silent(fake: Fake, end: socket.socket, _asked: Asked) -> None:
    """Takes the request and never answers."""
    _wait(fake, end)


def gone(_fake: Fake, _end: socket.socket, _asked: Asked) -> None:
    """Closes the connection."""


def broken_off(_fake: Fake, end: socket.socket, _asked: Asked) -> None:
    """Closes it in the middle of an answer."""
    end.sendall(head(length=1000) + b'{"header":{"revision":"9"},"kvs":[')


def endless(_fake: Fake, end: socket.socket, _asked: Asked) -> None:
    """One line that never ends, as fast as it goes."""
    end.sendall(head() + b'{"result":{"events":["')
    while True:
        end.sendall(b"A" * 65536)


def refusing_without_end(fake: Fake, end: socket.socket, asked: Asked) -> None:
    """A refusal, and then everything else."""
    end.sendall(head("503 Not Now"))
    endless(fake, end, asked)


def endless_heads(_fake: Fake, end: socket.socket, _asked: Asked) -> None:
    """Header lines for ever."""
    end.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        end.sendall(b"X-More: yes\r\n" * 1000)


def soon(_fake: Fake, end: socket.socket, _asked: Asked) -> None:
    """Early hints for ever."""
    while True:
        end.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100)


def dripping(data: bytes) -> Answer:
    """A byte now and then, and when there are no more, a space."""

    def answer(fake: Fake, end: socket.socket, _asked: Asked) -> None:
        for byte in data:
            end.sendall(bytes([byte]))
            if fake.ended.wait(0.05):
                return
        while not fake.ended.wait(0.05):
            end.sendall(b" ")

    return answer


def redirecting(port: int, status: str = "307 Temporary Redirect") -> Answer:
    """Sends everybody to another port."""
    return lambda _fake, end, asked: end.sendall(
        head(status, f"Location: http://127.0.0.1:{port}{asked.path}", length=0)
    )


def watching(*messages: bytes, then: Answer = silent) -> Answer:
    """A watch that begins well, and goes on like this."""

    def answer(fake: Fake, end: socket.socket, asked: Asked) -> None:
        end.sendall(head() + line(created=True) + b"".join(messages))
        then(fake, end, asked)

    return answer


def flooding(next_line: Callable[[int], bytes]) -> Answer:
    """A watch that never pauses."""

    def answer(_fake: Fake, end: socket.socket, _asked: Asked) -> None:
        end.sendall(head() + line(created=True))
        for number in _numbers():
            end.sendall(next_line(number))

    return answer


def squeezed(size: int) -> bytes:
    """Very much of nothing, in little."""
    return gzip.compress(bytes(size), 9)


def _numbers() -> Iterator[int]:
    number = 6
    while True:
        yield number
        number += 1


def _wait(fake: Fake, end: socket.socket) -> None:
    """Until the other side, or the server, ends it."""
    end.settimeout(0.2)
    while not fake.ended.is_set():
        with contextlib.suppress(TimeoutError):
            if not end.recv(65536):
                return
        time.sleep(0)
