"""`LiveConfig.start(check=True)`: reports whether the provider can answer, without blocking."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

import pytest
import structlog

from stigmer_config import LiveConfig
from tests.support.live_tools import save
from tests.support.sandbox import Sandbox

DEADLINE = 20.0


@pytest.fixture(autouse=True)
def _structlog_as_it_was() -> Iterator[None]:
    yield
    structlog.reset_defaults()  # capturing has configured it


@pytest.fixture
def hanging() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def closed() -> str:
    """An address where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def events(log: Sequence[Mapping[str, object]], count: int) -> list[Mapping[str, object]]:
    """The first `count` events about the provider, once they are there."""
    deadline = time.monotonic() + DEADLINE
    while True:
        found = [event for event in log if str(event["event"]).startswith("provider.")]
        if len(found) >= count or time.monotonic() > deadline:
            return found
        time.sleep(0.01)


def write(sandbox: Sandbox, **llm: object) -> None:
    lines = "".join(f"  {key}: {value}\n" for key, value in llm.items())
    save(sandbox.user_file, f"mode: local\nllm:\n{lines}")


def test_an_absent_provider_is_reported_with_the_fix(sandbox: Sandbox, closed: str) -> None:
    """`provider.unreachable` names what was seen, the key, its place and the fix; without `check` nothing is logged."""
    sandbox.write(user=f"mode: local\nllm:\n  base_url: {closed}\n")
    with structlog.testing.capture_logs() as log:
        with LiveConfig.start(environment=sandbox.environment(), check=True):
            (event,) = events(log, 1)
        with LiveConfig.start(environment=sandbox.environment()):
            assert events(log, 1) == [event]
    assert (event["event"], event["key"], event["base_url"]) == ("provider.unreachable", "llm.base_url", closed)
    assert str(event["origin"]).endswith("config.yaml:3:13")
    assert "ollama serve" in str(event["fix"])


def test_no_load_waits_for_a_host_that_hangs(sandbox: Sandbox, hanging: str) -> None:
    """Start, reading, reloading and a callback go on while the look at the provider still waits."""
    sandbox.write(user=f"mode: local\nllm:\n  base_url: {hanging}\n")
    began = time.monotonic()
    with (
        structlog.testing.capture_logs() as log,
        LiveConfig.start(environment=sandbox.environment(), check=True) as live,
    ):
        called = threading.Event()
        live.subscribe(lambda new, changes: called.set(), "llm.temperature")
        write(sandbox, base_url=hanging, temperature=0.5)
        assert called.wait(DEADLINE)
        assert live.current.llm.temperature == 0.5
        assert not [event for event in log if str(event["event"]).startswith("provider.")]
    assert time.monotonic() - began < DEADLINE
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("stigmer-config")]


def test_it_checks_again_only_after_a_change_of_provider(sandbox: Sandbox, closed: str) -> None:
    """A change of endpoint is looked at; one of a parameter is not."""
    sandbox.write(user="mode: local\nllm:\n  base_url: http://127.0.0.1:9\n")
    with (
        structlog.testing.capture_logs() as log,
        LiveConfig.start(environment=sandbox.environment(), check=True) as live,
    ):
        events(log, 1)
        write(sandbox, base_url="http://127.0.0.1:9", temperature=0.5)
        live.wait_for(lambda new: new.llm.temperature == 0.5, DEADLINE)
        write(sandbox, base_url=closed, temperature=0.5)
        found = events(log, 2)
    assert [event["base_url"] for event in found] == ["http://127.0.0.1:9", closed]
