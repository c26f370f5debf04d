"""Servers without end: each look is over in time, bounded, and leaves no thread behind."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from stigmer_config.integrations import ollama
from stigmer_config.integrations.http import WireError, at_once, status_of

Say = Callable[[socket.socket], None]


def endless_continue(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")


def dripping_continue(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.05)


def endless_headers(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X")
        time.sleep(0.05)


def endless_body(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b" " * 65536)


def dripping_body(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.05)


def silence(connection: socket.socket) -> None:
    connection.recv(1 << 20)
    while connection.recv(1):
        pass


SERVERS = [endless_continue, dripping_continue, endless_headers, endless_body, dripping_body, silence]


@contextlib.contextmanager
def serving(say: Say) -> Iterator[str]:
    """A server that says this to everyone, at this URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            say(connection)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=serve, args=(connection,), daemon=True, name="test-server")
            thread.start()
            threads.append(thread)

    accepting = threading.Thread(target=accept, daemon=True, name="test-server")
    accepting.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in [accepting, *threads]:
            thread.join(10)


def ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("stigmer-")]


@pytest.mark.parametrize("say", SERVERS)
def test_no_server_holds_a_thread(say: Say) -> None:
    """An endless `100 Continue` left four threads that went on reading for good."""
    with serving(say) as url:
        answers = at_once({name: lambda: status_of(url, timeout=1.0) for name in "ab"}, 1.0)
        assert all(isinstance(answer, WireError) for answer in answers.values())
        with pytest.raises(WireError):
            ollama.look(url, "m", timeout=1.0)
        assert not ours()


def test_a_list_of_models_without_end_is_cut() -> None:
    """120 000 of them took more than a minute."""
    body = b'{"models":[' + b",".join(b'{"name":"m%d:7b","size":1}' % number for number in range(120_000)) + b"]}"

    def say(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    before = time.process_time()
    with serving(say) as url:
        server = ollama.look(url, timeout=30.0)
        assert len(server.installed) == ollama.MOST_INSTALLED
        server.nearest("m1999")
    assert time.process_time() - before < 15
