"""What a failed call means: the key that decides it, what was seen, the fix; and never a secret."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stigmer_config import Config, Secret
from stigmer_config.integrations.chat import chat_model
from stigmer_config.integrations.diagnosis import Check, diagnose
from stigmer_config.integrations.health import check_provider
from stigmer_config.integrations.http import safe
from tests.support.fake_providers import (
    FakeProviders,
    Fault,
    OllamaModel,
    breaks_off,
    drips,
    fails_in_the_middle,
    floods,
    hangs,
    is_a_web_page,
    is_no_json,
    redirects,
    refuses,
)
from tests.support.sandbox import Sandbox

KEY = "sk-the-configured-key-0001"
PROVIDERS = ("anthropic", "ollama", "openai")
MODELS = {"anthropic": "claude-sonnet-4-6", "ollama": "qwen2.5-coder:7b", "openai": "gpt-5.2"}


@pytest.fixture
def server() -> Iterator[FakeProviders]:
    with FakeProviders([OllamaModel("qwen2.5-coder:7b")]) as running:
        yield running


def config_for(sandbox: Sandbox, base_url: str, provider: str, timeout: float = 30) -> Config:
    own = {"base_url": base_url, "model": MODELS[provider], "api_key": KEY, "timeout": timeout, "max_retries": 0}
    lines = "".join(f"    {name}: {value}\n" for name, value in own.items())
    return sandbox.write(user=f"llm:\n  provider: {provider}\nproviders:\n  {provider}:\n{lines}").load()


def told_key(provider: str) -> Any:
    """A refusal of the key that quotes it."""
    return {"error": f"bad key {KEY}"} if provider == "ollama" else {"error": {"message": f"bad key {KEY}"}}


def no_model(provider: str) -> Any:
    return {
        "anthropic": {"type": "error", "error": {"type": "not_found_error", "message": "model: claude-sonnet-4-6"}},
        "ollama": {"error": "model 'qwen2.5-coder:7b' not found"},
        "openai": {"error": {"message": "The model `gpt-5.2` does not exist", "code": "model_not_found"}},
    }[provider]


# name → what the server does, the key that is named, words of what was seen, words of the fix.
FAULTS: dict[str, tuple[Callable[[str], Fault], str, str, str]] = {
    "the key is refused": (lambda p: refuses(401, told_key(p)), "llm.api_key", "refuses the key (401)", "api_key in"),
    "the key may not": (lambda p: refuses(403, told_key(p)), "llm.api_key", "refuses the key (403)", "api_key in"),
    "there is no such model": (lambda p: refuses(404, no_model(p)), "llm.model", "has no model", ""),
    "too many calls": (lambda p: refuses(429, told_key(p)), "llm.api_key", "(429)", "llm.max_retries"),
    "it has a fault": (lambda p: refuses(503), "llm.base_url", "has an error of its own (503)", ""),
    "a value is refused": (
        lambda p: refuses(
            400, {"error": "temperature: no"} if p == "ollama" else {"error": {"message": "temperature: no"}}
        ),
        "llm.temperature",
        "refuses the request (400): temperature: no",
        "stigmer config explain llm.temperature",
    ),
    "a redirect": (
        lambda p: redirects("http://127.0.0.1:1"),
        "llm.base_url",
        "answers 307",
        "redirects are not followed",
    ),
    "it hangs": (lambda p: hangs, "llm.timeout", "did not answer in time", "llm.timeout"),
    "no JSON": (lambda p: is_no_json, "llm.base_url", "does not answer as", "check llm.base_url"),
    "a web page": (lambda p: is_a_web_page, "llm.base_url", "does not answer as", "check llm.base_url"),
    "it breaks off": (lambda p: breaks_off, "llm.base_url", "closed the connection in the middle", ""),
}


def failed(config: Config, *, stream: bool = False) -> Check:
    """What a failing call of the configured model means."""
    model = chat_model(config.llm)
    try:
        list(model.stream("ping")) if stream else model.invoke("ping")
    except Exception as error:  # noqa: BLE001 - each client raises its own
        return diagnose(error, config.llm)
    raise AssertionError("the call did not fail")


@pytest.mark.parametrize("stream", [False, True], ids=["called", "streamed"])
@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_of_a_call_names_key_place_and_fix(
    sandbox: Sandbox, server: FakeProviders, provider: str, name: str, *, stream: bool
) -> None:
    """Whatever a provider does, the message says which setting, where, what was seen and what to do."""
    fault, key, seen, fix = FAULTS[name]
    server.fail(fault(provider))
    config = config_for(sandbox, server.base_url(provider), provider, 0.3 if key == "llm.timeout" else 30)
    check = failed(config, stream=stream)
    assert (check.state, check.key) == ("failed", key)
    assert server.base_url(provider) in check.seen
    assert seen in check.seen
    assert check.fix
    assert fix in check.fix
    assert KEY not in repr(check)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_error_in_the_middle_of_an_answer_is_reported(
    sandbox: Sandbox, server: FakeProviders, provider: str
) -> None:
    """A stream with status 200 that turns into an error is a fault with the provider's message."""
    server.fail(fails_in_the_middle)
    check = failed(config_for(sandbox, server.base_url(provider), provider), stream=True)
    said = {
        "anthropic": "Overloaded",
        "ollama": "llama runner process has terminated",
        "openai": "The server had an error",
    }
    assert (check.state, check.key) == ("failed", "llm.base_url")
    assert f"in the middle of an answer: {said[provider]}" in check.seen


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_closed_port_is_reported(sandbox: Sandbox, provider: str) -> None:
    """Refused connections name the address; for Ollama the fix is to start it."""
    with FakeProviders() as gone:
        url = gone.base_url(provider)
    check = failed(config_for(sandbox, url, provider))
    assert (check.key, check.seen) == ("llm.base_url", f"nothing listens at {url}")
    assert ("ollama serve" in check.fix) == (provider == "ollama")


@pytest.mark.parametrize(
    ("installed", "url", "fix"),
    [
        (True, "http://127.0.0.1:1", "start it with  ollama serve, or check llm.base_url"),
        (False, "http://127.0.0.1:1", "install Ollama (https://ollama.com/download) and start it with  ollama serve"),
        (False, "http://192.0.2.1:1", "start it on that machine with  ollama serve"),
    ],
)
def test_ollama_is_started_where_it_is_installed(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, installed: bool, url: str, fix: str
) -> None:
    """`ollama serve` alone is a fix only for this machine, and only if there is such a command."""
    if installed:
        (tmp_path / "ollama").write_text("#!/bin/sh\n")
        (tmp_path / "ollama").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    error = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    assert diagnose(error, config_for(sandbox, url, "ollama").llm).fix.startswith(fix)


def test_a_missing_model_of_ollama_names_the_pull(sandbox: Sandbox, server: FakeProviders) -> None:
    """The fix of Ollama's 404 is the command to run."""
    server.models.clear()
    assert failed(config_for(sandbox, server.url, "ollama")).fix == "ollama pull qwen2.5-coder:7b"


def test_other_peoples_text_is_one_safe_line(sandbox: Sandbox, server: FakeProviders) -> None:
    """Control characters, direction marks, secrets and length of a server's words do not reach a terminal."""
    nasty = f"model \x1b[31m\u202e{KEY}\r\n" + "x" * 5000
    server.fail(refuses(404, {"error": nasty}))
    check = failed(config_for(sandbox, server.url, "ollama"))
    assert check.seen.isprintable()
    assert KEY not in check.seen
    assert len(check.seen) < 400
    secret = Secret("a-secret-of-this-process")
    assert safe(f"it is\n{secret.reveal()}!") == "it is ********!"


# ---- the look at the provider that doctor and the start of a worker take


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_provider_that_answers_is_ready(sandbox: Sandbox, server: FakeProviders, provider: str) -> None:
    """Nobody is asked for an answer, no key is sent, and the provider is ready."""
    health = check_provider(config_for(sandbox, server.base_url(provider), provider).llm)
    assert health.ready
    assert health.fault is None
    assert all("authorization" not in one.headers for one in server.arrived)
    assert not {one.path for one in server.arrived} & {"/v1/messages", "/v1/chat/completions", "/api/chat"}


CHECK_FAULTS: dict[str, tuple[Fault, str]] = {
    "hangs": (hangs, "llm.timeout"),
    "drips": (drips, "llm.timeout"),
    "floods": (floods, "llm.base_url"),
    "breaks off": (breaks_off, "llm.base_url"),
    "redirects": (redirects("http://127.0.0.1:1"), "llm.base_url"),
}


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("name", CHECK_FAULTS)
def test_a_provider_that_cannot_answer_is_not_ready(
    sandbox: Sandbox, server: FakeProviders, provider: str, name: str
) -> None:
    """Each fault is a Health with one fault that names its key, within the time that was given."""
    fault, key = CHECK_FAULTS[name]
    server.fail(fault)
    llm = config_for(sandbox, server.base_url(provider), provider).llm
    health = check_provider(llm, timeout=0.5 if key == "llm.timeout" else 30)
    assert not health.ready
    assert health.fault is not None
    assert health.fault.key == key
    assert health.fault.fix


def test_a_wrong_path_of_a_gateway_is_reported(sandbox: Sandbox, server: FakeProviders) -> None:
    """A base_url that lacks its /v1 answers, but has no models: a warning with the fix, no failure."""
    health = check_provider(config_for(sandbox, server.url, "openai").llm)
    (check,) = [check for check in health.checks if check.state == "warning"]
    assert health.ready
    assert "/v1" in check.fix


def test_a_provider_without_a_key_is_not_ready(sandbox: Sandbox) -> None:
    """Reachable is not enough where a key is needed."""
    loaded = sandbox.read({"MODE": "cloud"})
    (key,) = [check for check in check_provider(loaded.config.llm).checks if check.key == "llm.api_key"]
    assert (key.state, "export ANTHROPIC_API_KEY" in key.fix) == ("failed", True)
