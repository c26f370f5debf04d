"""Hostile servers: each look at one is over in time, is bounded in memory, and leaves no thread behind."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator

import msgspec
import pytest

from stigmer_config.config.sections import LLMConfig
from stigmer_config.core.secret import Secret
from stigmer_config.integrations import ollama
from stigmer_config.integrations.doctor import probe_model
from stigmer_config.integrations.http import WireError, at_once, status_of
from stigmer_config.settings.packaged_providers import ProviderKind
from tests.support.sandbox import Sandbox

Say = Callable[[socket.socket], None]


def _without_end(connection: socket.socket, head: bytes, part: bytes) -> None:
    connection.sendall(head)
    while True:
        connection.sendall(part)


def endless_continue(connection: socket.socket) -> None:
    _without_end(connection, b"", b"HTTP/1.1 100 Continue\r\n\r\n")


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
    _without_end(connection, b"HTTP/1.1 200 OK\r\n\r\n", b" " * 65536)


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


def endless_line(connection: socket.socket) -> None:
    _without_end(connection, b"HTTP/1.1 200 ", b"O" * 65536)


def endless_chunks(connection: socket.socket) -> None:
    _without_end(
        connection, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * 65536 + b"\r\n"
    )


def broken_chunks(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n")


def endless_events(connection: socket.socket) -> None:
    _without_end(
        connection, b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", b'data: {"choices": []}\n\n' * 1000
    )


def endless_refusal(connection: socket.socket) -> None:
    _without_end(connection, b"HTTP/1.1 401 Unauthorized\r\n\r\n", b"x" * 65536)


def endless_failure(connection: socket.socket) -> None:
    _without_end(connection, b"HTTP/1.1 500 Internal Server Error\r\n\r\n", b"x" * 65536)


def many_headers(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(100_000)))
    connection.sendall(b"Content-Length: 2\r\n\r\n{}")


def redirects(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")


def compressed(connection: socket.socket) -> None:
    """A gigabyte of spaces."""
    deflated = zlib.compressobj(9, zlib.DEFLATED, 31)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n")
    for _ in range(1024):
        connection.sendall(deflated.compress(b" " * (1 << 20)))
    connection.sendall(deflated.flush())


def nested(connection: socket.socket) -> None:
    body = b"[" * 1_000_000
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def not_http(connection: socket.socket) -> None:
    connection.sendall(os.urandom(1 << 20))


def cut_off(connection: socket.socket) -> None:
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n{"data": [')


HOSTILE: list[Say] = [
    *SERVERS,
    *(endless_line, endless_chunks, broken_chunks, endless_events, endless_refusal, endless_failure, many_headers),
    *(redirects, compressed, nested, not_http, cut_off),
]
COMMANDS = {
    "doctor": ("endpoint", "config", "doctor", "--probe"),
    "models": ("endpoint", "config", "models", "--provider", "openai"),
    "workers": ("store", "config", "workers", "--fleet"),
    "show": ("store", "config", "show"),
}
MOST_MEMORY = 128 << 20  # bytes
MOST_PROCESSOR = 15.0  # seconds


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


# Runs the command, and writes its peak memory in bytes and its CPU seconds. (`ru_maxrss` has the parent's, too.)
MEASURED = """
import atexit, re, resource, runpy, sys
from pathlib import Path
file = Path(sys.argv.pop(1))
def write():
    peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    used = resource.getrusage(resource.RUSAGE_SELF)
    file.write_text(f"{peak} {used.ru_utime + used.ru_stime}")
atexit.register(write)
runpy.run_module("stigmer_config", run_name="__main__", alter_sys=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a process's peak memory is read from /proc")
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_no_server_takes_the_memory_of_a_command(command: tuple[str, ...], sandbox: Sandbox) -> None:
    """The real commands, each beside a server: the model's endpoint, or the fleet's store."""
    running: dict[str, subprocess.Popen[str]] = {}
    with contextlib.ExitStack() as stack:
        # LangChain takes three seconds to import: `doctor` meets them all only with ALL_SERVERS=1.
        every = "doctor" not in command or "ALL_SERVERS" in os.environ
        for say in HOSTILE if every else (endless_body, endless_refusal, compressed):
            url = stack.enter_context(serving(say))
            environment = {
                "HOME": str(sandbox.home),
                "PATH": os.environ["PATH"],
                "STIGMER_LLM_PROVIDER": "openai",
                "STIGMER_LLM_MODEL": "m",
                "STIGMER_LLM_API_KEY": "k-c4n4ry",
                **({"STIGMER_ETCD": f"{url}/stigmer"} if "store" in command else {"STIGMER_LLM_BASE_URL": url}),
            }
            running[say.__name__] = subprocess.Popen(
                [sys.executable, "-c", MEASURED, str(sandbox.root / say.__name__), *command[1:]],
                cwd=sandbox.project,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        for name, process in running.items():
            errors = process.communicate()[1]
            assert process.returncode in (0, 1, 3, 4), (name, errors)
            assert "Traceback" not in errors, (name, errors)
    measured = {name: [float(part) for part in (sandbox.root / name).read_text().split()] for name in running}
    assert {name: row for name, row in measured.items() if row[0] > MOST_MEMORY or row[1] > MOST_PROCESSOR} == {}


@pytest.mark.parametrize("kind", ["anthropic", "ollama", "openai"])
@pytest.mark.parametrize(("say", "trouble"), [(endless_body, "too-large"), (compressed, "garbled")])
def test_a_probe_reads_no_answer_without_end(kind: ProviderKind, say: Say, trouble: str) -> None:
    """`doctor --probe` read as much as came within its five seconds: 100 MiB and more, or a gigabyte in a megabyte."""
    pytest.importorskip(f"langchain_{kind}")
    llm = LLMConfig(provider=kind, kind=kind, model="m", model_name="m", model_id="m", api_key=Secret("k-c4n4ry"))
    error: BaseException | None = None
    with serving(say) as url:
        try:
            probe_model(msgspec.structs.replace(llm, base_url=url), 30.0)
        except Exception as raised:  # noqa: BLE001 - the SDKs' own; what it came from counts
            error = raised
    while error is not None and not isinstance(error, WireError):
        error = error.__cause__ or error.__context__
    assert isinstance(error, WireError)
    assert error.trouble == trouble
