"""Proxies and certificates of the environment: nothing to a client for this machine, and elsewhere what they mean."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from stigmer_config import ConfigError
from stigmer_config.integrations.chat import chat_model
from stigmer_config.integrations.doctor import examine
from stigmer_config.integrations.http import WireError
from stigmer_config.integrations.ollama import look
from stigmer_config.sources.etcd.address import Fleet
from stigmer_config.sources.etcd.messages import EtcdError
from stigmer_config.sources.etcd.transport import Members
from tests.integrations.test_chat import config_for
from tests.support.fake_providers import FakeProviders, OllamaModel, text_of
from tests.support.sandbox import TODAY, Sandbox

PROVIDERS = ("anthropic", "ollama", "openai")
FAULTY = {
    "ALL_PROXY": "socks5://127.0.0.1:1",
    "HTTPS_PROXY": "gopher://127.0.0.1:1",
    "SSL_CERT_FILE": "/none",
}


@pytest.fixture
def server() -> Iterator[FakeProviders]:
    with FakeProviders([OllamaModel("qwen2.5-coder:7b")]) as running:
        yield running


@pytest.mark.parametrize("provider", PROVIDERS)
def test_no_variable_breaks_a_client_for_this_machine(sandbox: Sandbox, server: FakeProviders, provider: str) -> None:
    """Not at the import of its library either: each would be a proxy, a host or a file that cannot be used."""
    llm = config_for(sandbox, server, provider).llm
    ambient = {**FAULTY, "NO_PROXY": "[::1]", "HTTP_PROXY": "http://127.0.0.1:1", "OLLAMA_HOST": "x:y"}
    program = (
        "import os, sys\n"
        "from stigmer_config import load\n"
        "from stigmer_config.integrations.chat import chat_model\n"
        "llm = load().llm\n"
        f"os.environ.update({ambient!r})\n"
        "print(chat_model(llm).invoke('ping').text)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=sandbox.project,
        env={"HOME": str(sandbox.home), "PATH": os.defpath},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip() == text_of(llm.model_id), done.stderr


@pytest.mark.parametrize("variable", FAULTY)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_elsewhere_a_variable_that_cannot_be_used_is_named(
    sandbox: Sandbox, server: FakeProviders, monkeypatch: pytest.MonkeyPatch, provider: str, variable: str
) -> None:
    """One ConfigError with the variable and the fix; the same is a failed check of `doctor`."""
    config = config_for(sandbox, server, provider)
    chat_model(config.llm)  # the library is imported without the variable
    monkeypatch.setenv(variable, FAULTY[variable])
    remote = config.override({"llm.base_url": "https://models.example.com", "llm.api_key": "sk-another-key-0001"})
    with pytest.raises(ConfigError, match=variable) as error:
        chat_model(remote.llm)
    [problem] = error.value.problems
    assert f"unset {variable}" in problem.hint
    sandbox.write(
        user=f"llm: {{provider: {provider}}}\nproviders:\n"
        f"  {provider}: {{base_url: 'https://127.0.0.2.example.invalid', api_key: sk-another-key-0001}}\n"
    )
    checks = [finding.check for finding in examine(sandbox.read(), TODAY, timeout=0.5)]
    [client] = [check for check in checks if check.name == "client"]
    assert (client.state, variable in client.seen, f"unset {variable}" in client.fix) == ("failed", True, True)


def test_a_remote_endpoint_is_reached_through_the_proxy(
    sandbox: Sandbox, server: FakeProviders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTPS_PROXY means for these clients what it means elsewhere."""
    config = config_for(sandbox, server, "openai")
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        remote = config.override({"llm.base_url": "https://models.example.com", "llm.api_key": "sk-another-key-0001"})
        model: Any = chat_model(remote.llm, timeout=5, max_retries=0)
        proxy.settimeout(30)
        caller = threading.Thread(target=lambda: _ignoring(model.invoke, "ping"), daemon=True)
        caller.start()
        connection, _ = proxy.accept()
        with connection:
            assert connection.recv(100).startswith(b"CONNECT models.example.com:443 ")
        caller.join(30)


def test_a_request_of_our_own_names_the_variable_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """`doctor` and `models` ask with the standard library, which takes no SOCKS proxy and hides a missing file."""
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1")
    with pytest.raises(WireError, match="HTTPS_PROXY"):
        look("https://models.example.com")
    monkeypatch.delenv("HTTPS_PROXY")


def test_the_fleets_store_names_a_missing_certificate_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without STIGMER_ETCD_CACERT the system's authorities count, and SSL_CERT_FILE names others."""
    monkeypatch.setenv("SSL_CERT_FILE", "/none")
    with pytest.raises(EtcdError, match="SSL_CERT_FILE names a file that is not there"):
        Members(Fleet(("https://etcd.example.com:2379",), "/stigmer"))
    Members(Fleet(("http://127.0.0.1:2379",), "/stigmer")).close()


def _ignoring(call: Any, *arguments: Any) -> None:
    try:
        call(*arguments)
    except Exception:  # noqa: BLE001 - the proxy hangs up
        return
