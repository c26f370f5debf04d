"""Each address that is accepted is called at the very host and port that a credential is pinned to."""

from __future__ import annotations

import contextlib
import os
import random
import socket
from collections.abc import Callable, Iterator

import msgspec
import pytest

from stigmer_config.config.sections import LLMConfig
from stigmer_config.core.secret import Secret
from stigmer_config.settings.urls import Url, origin_of
from stigmer_config.settings.value_types import InvalidValueError

# ADDRESSES=20000 takes some minutes.
COUNT = int(os.environ.get("ADDRESSES", "100"))
CLIENTS = ("httpx", "httpx2", "ollama", "openai", "anthropic")
NAMES = (
    *("localhost", "gateway.example", "a_b.example", "xn--bcher-kva.example", "api.anthropic.com", "x", "h-1.example"),
    *("127.0.0.1", "10.0.0.255", "127.1", "0x7f.1", "2130706433", "127.0.0.01", "1.2.3.4.5", "a.1", "255.255.255.256"),
    *(
        "b\u00fccher.example",
        "anthrop\u0131c.com",
        "\u212aube.example",
        "\uff41.example",
        "a\u3002example",
        "a..b",
        "-a.b",
    ),
    *("[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[2001:db8::a]", "[fe80::1%25eth0]", "[::g]", "a" * 64),
)
PORTS = ("", ":", ":80", ":443", ":1", ":00080", ":65535", ":65536", ":0", ":11434", ":\u0661", ":-1")
PATHS = ("", "/", "/v1", "/v1/", "/a%20b/c", "//x", "/@x")


def generated(count: int) -> Iterator[str]:
    """Addresses in many spellings, some of them none."""
    source = random.Random(7)
    for number in range(count):
        name = source.choice(NAMES)
        if source.random() < 0.5 and not name.startswith("["):
            name = f"h{number}.{name}"
        if source.random() < 0.5:
            name = "".join(source.choice((char.upper(), char.lower())) for char in name)
        dot = source.choice(("", "", ".", ".."))
        scheme = source.choice(("http", "https", "HTTP", "httpS", "HttP", "ftp", "http\u017f"))
        yield f"{scheme}://{name}{dot}{source.choice(PORTS)}{source.choice(PATHS)}"


def accepted(count: int) -> list[str]:
    """As many that are accepted, in their normal form."""
    found: list[str] = []
    for url in generated(count * 40):
        with contextlib.suppress(InvalidValueError):
            found.append(Url().check(url, "base_url"))
        if len(found) == count:
            return found
    raise AssertionError("too few addresses are accepted")


class ResolverError(OSError):
    """What the resolver below answers: nothing is ever connected to."""


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each `host:port` that reaches the resolver."""
    found: list[str] = []

    def getaddrinfo(host: object, port: object, *_rest: object, **_named: object) -> None:
        found.append(f"{host.decode() if isinstance(host, bytes) else host}:{port}")
        raise socket.gaierror(socket.EAI_NONAME, "not in a test")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    return found


def caller(client: str) -> Callable[[str], object]:
    """What calls a base URL as that client does."""
    if client.startswith("httpx"):
        made = pytest.importorskip(client).Client(trust_env=False)
        get: Callable[[str], object] = made.get
        return get
    from stigmer_config.integrations.chat import chat_model

    pytest.importorskip(f"langchain_{client}")

    def call(url: str) -> object:
        base = LLMConfig(provider="openai", kind="openai", model="m", model_name="m", model_id="m", max_tokens=1)
        llm = msgspec.structs.replace(base, provider=client, kind=client, base_url=url, api_key=Secret("k-c4n4ry"))
        return chat_model(llm, max_retries=0).invoke("x")

    return call


@pytest.mark.parametrize("client", CLIENTS)
def test_what_is_pinned_is_called(called: list[str], client: str) -> None:
    """`HTTP://127.0.0.1` was pinned to port 80, and called at 11434."""
    call = caller(client)
    for url in accepted(COUNT):
        called.clear()
        with contextlib.suppress(Exception):  # nothing answers; where it called is what counts
            call(url)
        pinned = origin_of(url).partition("://")[2].replace("[", "").replace("]", "")
        assert set(called) == {pinned}, url
