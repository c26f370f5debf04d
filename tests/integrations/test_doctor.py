"""`stigmer config doctor`: every check, its mark, what was seen and the fix; and its exit status."""

from __future__ import annotations

import datetime
import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from stigmer_config.integrations.doctor import examine
from stigmer_config.integrations.ollama import GIB
from tests.support.fake_providers import FakeProviders, Fault, OllamaModel, hangs, redirects, refuses
from tests.support.sandbox import TODAY, Sandbox

KEY = "sk-the-configured-key-0001"
GOOD = {"STIGMER_LLM_NUM_CTX": "16384"}


@pytest.fixture
def server() -> Iterator[FakeProviders]:
    with FakeProviders([OllamaModel("qwen2.5-coder:7b"), OllamaModel("qwen2.5-coder:14b")]) as running:
        yield running


@pytest.fixture
def local(sandbox: Sandbox, server: FakeProviders) -> Sandbox:
    """A sandbox in local mode, with its Ollama at the fake server."""
    sandbox.variables |= {"MODE": "local", "OLLAMA_HOST": server.url, **GOOD}
    return sandbox


@pytest.fixture
def cloud(sandbox: Sandbox, server: FakeProviders) -> Sandbox:
    """A sandbox in cloud mode, with Anthropic at the fake server, a key, and a model that stays."""
    sandbox.variables |= {
        "ANTHROPIC_BASE_URL": server.url,
        "ANTHROPIC_API_KEY": KEY,
        "STIGMER_LLM_MODEL": "claude-sonnet-4.6",
    }
    return sandbox


class Seen(NamedTuple):
    """A check, and the place of the value that decides it."""

    state: str
    seen: str
    fix: str
    key: str
    origin: str | None


def checks(
    sandbox: Sandbox, variables: Mapping[str, str] | None = None, *, today: datetime.date = TODAY, **options: Any
) -> dict[str, Seen]:
    """The checks of the sandbox's configuration by name; of a name's several, the first that is not fine."""
    found: dict[str, Seen] = {}
    for check, origin in map(msgspec.structs.astuple, examine(sandbox.read(variables, today=today), today, **options)):
        seen = Seen(check.state, check.seen, check.fix, check.key, str(origin) if origin else None)
        if check.name not in found or found[check.name].state == "ok":
            found[check.name] = seen
    return found


def doctor(sandbox: Sandbox, *argv: str, variables: Mapping[str, str] | None = None) -> tuple[int, dict[str, Any]]:
    """The real command: its exit status, and its checks by name as `checks` has them."""
    done = sandbox.run("doctor", "--format", "json", *argv, variables=variables)
    assert KEY not in done.stdout + done.stderr
    found: dict[str, Any] = {}
    for check in json.loads(done.stdout)["checks"]:
        if check["check"] not in found or found[check["check"]]["state"] == "ok":
            found[check["check"]] = check
    return done.returncode, found


def test_a_healthy_ollama_is_all_ticks(local: Sandbox) -> None:
    """With everything in place each line is a tick, the status is 0, and a pipe gets plain text."""
    done = local.run("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    *lines, last = done.stdout.splitlines()
    assert [line for line in lines if not line.startswith("✓ ")] == []
    assert last == f"{len(lines)} checks, all fine"
    names = {line.split()[1] for line in lines}
    assert names >= {
        "files",
        "permissions",
        "trust",
        "configuration",
        "provider",
        "model",
        "context",
        "tools",
        "client",
    }
    assert "\x1b" not in done.stdout


def test_a_healthy_cloud_is_all_ticks(cloud: Sandbox) -> None:
    """For a hosted provider: reachable, a key, no end of the model in sight, and its limits."""
    status, found = doctor(cloud)
    assert status == 0
    assert {check["state"] for check in found.values()} == {"ok"}
    assert found.keys() >= {"provider", "key", "retirement", "context", "client"}


def test_a_terminal_gets_colour(local: Sandbox) -> None:
    """On a terminal the marks are coloured; NO_COLOR makes them plain."""

    def on_a_terminal(**variables: str) -> str:
        ours, theirs = pty.openpty()
        command = [str(Path(sys.executable).parent / "stigmer"), "config", "doctor"]
        environment = {"HOME": str(local.home), "LC_ALL": "C.UTF-8", **local.variables, **variables}
        process = subprocess.Popen(command, cwd=local.project, env=environment, stdout=theirs, stderr=theirs)
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:  # Linux's error when the writer has closed
            pass
        os.close(ours)
        process.wait()
        return shown.decode()

    assert "\x1b[32m" in on_a_terminal()
    assert "\x1b" not in on_a_terminal(NO_COLOR="1")


# ---- Ollama


def test_a_missing_model_names_the_pull_and_the_nearest(local: Sandbox) -> None:
    """The model's line has the installed models, the name's place, the pull and the nearest installed one; exit 4."""
    local.write(user="llm:\n  model: qwen2.5-coder:32b\n")
    done = local.run("doctor")
    assert done.returncode == 4
    at = done.stdout.index("✗ model")
    seen, place, fix = (line.strip() for line in done.stdout[at:].splitlines()[:3])
    assert "qwen2.5-coder:32b is not installed; the server has qwen2.5-coder:7b, qwen2.5-coder:14b" in seen
    assert place == "llm.model, user ~/.stigmer/config.yaml:2:10"
    assert fix.startswith("fix: ollama pull qwen2.5-coder:32b; ")
    assert fix.endswith(("qwen2.5-coder:7b", "qwen2.5-coder:14b"))


def test_a_tag_that_differs_is_another_model(local: Sandbox) -> None:
    """`qwen2.5-coder` means `:latest`, which is not `:7b`."""
    found = checks(local, {"STIGMER_LLM_MODEL": "ollama:qwen2.5-coder"})["model"]
    assert (found.state, found.origin) == ("failed", "STIGMER_LLM_MODEL")


@pytest.mark.parametrize(
    ("variables", "modelfile", "state", "words"),
    [
        ({"STIGMER_LLM_NUM_CTX": ""}, "", "warning", "silently cuts longer prompts"),
        ({"STIGMER_LLM_NUM_CTX": ""}, "num_ctx 16000", "ok", "16000 (its Modelfile's)"),
        ({"STIGMER_LLM_NUM_CTX": "99999"}, "", "warning", "the model takes 32768"),
        ({"STIGMER_LLM_NUM_CTX": "8192"}, "", "warning", "max_tokens is 8192"),
        ({"STIGMER_LLM_NUM_CTX": "32768"}, "", "ok", "num_ctx is 32768; the model takes 32768"),
    ],
)
def test_the_context_length_is_held_against_the_model(
    local: Sandbox, server: FakeProviders, variables: dict[str, str], modelfile: str, state: str, words: str
) -> None:
    """num_ctx unset, too large, or with no room for the prompt is a warning; a Modelfile's own counts."""
    server.models[0].parameters = modelfile
    found = checks(local, variables)["context"]
    assert (found.state, found.key) == (state, "llm.num_ctx")
    assert words in found.seen
    assert bool(found.fix) == (state == "warning")


def test_a_model_without_tools_is_a_warning(local: Sandbox, server: FakeProviders) -> None:
    """What the server says of tools counts before the catalogue; agents need them."""
    server.models[0].capabilities = ("completion",)
    found = checks(local)["tools"]
    assert (found.state, found.seen) == ("warning", "qwen2.5-coder:7b cannot call tools")
    server.models[0].capabilities = None
    assert checks(local)["tools"].state == "ok"


def test_a_model_too_large_for_this_machine_is_a_warning(local: Sandbox, server: FakeProviders) -> None:
    """The memory check names what does fit."""
    server.models[0].size = 2**50
    found = checks(local)["memory"]
    assert found.state == "warning"
    assert "for this machine: " in found.fix or "smaller model" in found.fix
    server.models[0].size = GIB // 64
    assert checks(local)["memory"].state == "ok"


# ---- what keeps anybody from an answer


OLLAMA_FAULTS: dict[str, tuple[Fault, str]] = {
    "hangs": (hangs, "llm.timeout"),
    "redirects": (redirects("http://127.0.0.1:1"), "llm.base_url"),
    "wants a key": (refuses(401), "llm.api_key"),
    "is something else": (refuses(404), "llm.base_url"),
}


@pytest.mark.parametrize("name", OLLAMA_FAULTS)
def test_a_provider_that_cannot_answer_fails_in_seconds(local: Sandbox, server: FakeProviders, name: str) -> None:
    """Whatever is wrong there, one line says it, with a fix, within the timeout and a little."""
    fault, key = OLLAMA_FAULTS[name]
    server.fail(fault)
    started = time.monotonic()
    status, found = doctor(local, "--timeout", "0.5" if key == "llm.timeout" else "30")
    assert time.monotonic() - started < 10
    assert status == 4
    (failed,) = [check for check in found.values() if check["state"] == "failed"]
    assert failed["key"] == key
    assert failed["fix"]


def test_several_hanging_requests_take_no_longer_than_one(local: Sandbox, server: FakeProviders) -> None:
    """The requests of a look are under way at once: four that hang for ever cost one timeout."""
    server.fail(hangs)
    started = time.monotonic()
    assert checks(local, timeout=1.0)["provider"].state == "failed"
    assert time.monotonic() - started < 3.5
    assert len(server.arrived) == 4


def test_no_key_is_sent_unless_required(cloud: Sandbox, server: FakeProviders) -> None:
    """Without --probe neither the key nor a call of the model leaves."""
    assert checks(cloud)["key"].state == "ok"
    assert [one.path for one in server.arrived] == ["/v1/models"]
    assert KEY not in str(server.arrived)


@pytest.mark.parametrize("provider", ["anthropic", "openai", "ollama"])
def test_a_probe_makes_one_small_call(sandbox: Sandbox, server: FakeProviders, provider: str) -> None:
    """--probe calls the configured model once, with the configured key and few tokens, and says how it went."""
    models = {"anthropic": "claude-sonnet-4-6", "openai": "gpt-5.2", "ollama": "qwen2.5-coder:7b"}
    own = {"base_url": server.base_url(provider), "api_key": KEY, "model": models[provider], "max_tokens": 5000}
    lines = "".join(f"    {name}: {value}\n" for name, value in own.items())
    sandbox.write(user=f"llm:\n  provider: {provider}\nproviders:\n  {provider}:\n{lines}")
    found = checks(sandbox, probe=True)["probe"]
    assert found.state == "ok"
    assert "3 tokens in and 4 out" in found.seen
    calls = [one for one in server.arrived if one.method == "POST" and one.path != "/api/show"]
    assert len(calls) == 1
    body = calls[0].body
    limits = [body.get("max_tokens"), body.get("max_completion_tokens"), body.get("options", {}).get("num_predict")]
    assert max(limit for limit in limits if limit) <= 64
    assert calls[0].headers["authorization"] == f"Bearer {KEY}"


def test_a_failed_probe_is_reported_without_the_key(cloud: Sandbox, server: FakeProviders) -> None:
    """A refused key: the probe's line names the setting and the fix, and nothing holds the key; exit 4."""
    server.fail(refuses(401, {"error": {"message": f"invalid key {KEY}"}}), "/v1/messages")
    status, found = doctor(cloud, "--probe")
    assert (status, found["probe"]["state"], found["probe"]["key"]) == (4, "failed", "llm.api_key")
    assert found["probe"]["origin"] == {"layer": "vendor", "source": "ANTHROPIC_API_KEY"}


def test_a_probe_of_a_model_that_hangs_ends(cloud: Sandbox, server: FakeProviders) -> None:
    """--timeout bounds the probe, too."""
    server.fail(hangs, "/v1/messages")
    found = checks(cloud, probe=True, timeout=0.5)["probe"]  # after its import
    assert (found.state, found.key) == ("failed", "llm.timeout")


# ---- the configuration itself


def test_configuration_errors_come_before_unhealthy_checks(local: Sandbox, server: FakeProviders) -> None:
    """A wrong value is exit 1, a project's forbidden one exit 3, even when a check fails too; both are listed."""
    server.models.clear()
    local.write(user="llm:\n  max_tokens: many\n")
    status, found = doctor(local)
    assert (status, found["model"]["state"]) == (1, "failed")
    assert found["configuration"]["key"] == "llm.max_tokens"
    assert found["configuration"]["origin"]["line"] == 2
    local.write(project="llm:\n  base_url: http://evil.example\n")
    status, found = doctor(local)
    assert (status, found["trust"]["state"]) == (3, "failed")
    assert "stigmer config trust" in found["trust"]["fix"]


def test_a_keys_command_is_run_for_a_probe_only(sandbox: Sandbox, server: FakeProviders) -> None:
    """Without --probe a key's command is not run, and counts as set; a probe runs it, as a worker does."""
    ran = sandbox.root / "ran"
    tool = sandbox.root / "tool"
    tool.write_text(f"#!/bin/sh\ntouch {ran}\necho {KEY}\n")
    tool.chmod(0o700)
    own = f"    base_url: {server.url}\n    model: claude-sonnet-4-6\n    api_key: {{command: [{tool}]}}\n"
    sandbox.write(user=f"providers:\n  anthropic:\n{own}")
    status, found = doctor(sandbox)
    assert (status, found["key"]["state"], ran.exists()) == (0, "ok", False)
    assert "set (not run)" in found["key"]["seen"]
    status, found = doctor(sandbox, "--probe")
    assert (status, found["probe"]["state"], ran.exists()) == (0, "ok", True)


def test_an_ollama_that_asks_for_a_key_whose_command_was_not_run(sandbox: Sandbox, server: FakeProviders) -> None:
    """The line says that the key was not read, and how to have it read."""
    server.key = KEY
    own = f"    base_url: {server.url}\n    num_ctx: 16384\n    api_key: {{command: [/bin/echo, {KEY}]}}\n"
    sandbox.write(user=f"llm:\n  provider: ollama\nproviders:\n  ollama:\n{own}")
    done = sandbox.run("doctor")
    assert done.returncode == 4
    assert "whose command was not run (401)" in done.stdout
    assert "fix: stigmer config doctor --probe" in done.stdout
    assert doctor(sandbox, "--probe")[1]["provider"]["state"] == "ok"


def test_a_probe_looks_for_the_model_in_the_endpoints_list(sandbox: Sandbox, server: FakeProviders) -> None:
    """Kind openai: `GET /models` with the key and headers; a model that is not listed is a warning with the nearest."""
    sandbox.write(
        user=f"mode: local\nllm: {{provider: corp}}\nproviders:\n  corp:\n    kind: openai\n"
        f"    base_url: {server.url}/v1\n    api_key: {KEY}\n    model: qwen2.5-coder:8b\n"
    )
    state, seen, fix, key, _ = checks(sandbox, probe=True)["model"]
    assert (state, key) == ("warning", "llm.model")
    assert seen == f"{server.url}/v1 does not list qwen2.5-coder:8b"
    assert fix == "stigmer config models --provider corp lists them; the nearest is qwen2.5-coder:7b"
    listed = [one for one in server.arrived if one.path == "/v1/models"]
    assert listed[-1].headers["authorization"] == f"Bearer {KEY}"
    found = checks(sandbox, {"STIGMER_LLM_MODEL": "qwen2.5-coder:7b"}, probe=True)
    assert (found["model"].state, found["probe"].state) == ("ok", "ok")


def test_each_fallback_is_a_check(sandbox: Sandbox, server: FakeProviders) -> None:
    """Its model, address and key; one that does not answer is a warning. A probe calls each, and none for another."""
    sandbox.write(
        user=f"mode: local\nllm: {{provider: corp, fallbacks: ['second:m2', 'third:m3']}}\nproviders:\n"
        f"  corp: {{kind: openai, base_url: 'http://127.0.0.1:1/v1', model: m1}}\n"
        f"  second: {{kind: anthropic, base_url: '{server.url}', api_key: {KEY}}}\n"
        f"  third: {{kind: openai, base_url: 'http://127.0.0.1:1/v1'}}\n"
    )
    found = [one.check for one in examine(sandbox.read(), TODAY, probe=True)]
    first, second = (check for check in found if check.name == "fallback")
    assert (first.state, second.state) == ("ok", "warning")
    line = sandbox.user_file.read_text().splitlines()[4]
    place = f"{sandbox.user_file}:5:{line.index(KEY) + 1}"
    assert first.seen.startswith(f"second:m2 → m2 at {server.url}, key from {place}; m2 answered in ")
    assert second.seen.startswith("third:m3 → m3 at http://127.0.0.1:1/v1, no key: nothing listens at ")
    assert second.fix == "check providers.third.base_url"
    (probe,) = (check for check in found if check.name == "probe")
    assert probe.state == "failed"
    assert [one.path for one in server.arrived if one.method == "POST"] == ["/v1/messages"]
    assert {check.seen.partition(" ")[0] for check in found if check.name == "client"} == {
        "langchain-openai",
        "langchain-anthropic",
    }


def test_a_fallback_that_is_not_installed_is_what_to_change(sandbox: Sandbox, server: FakeProviders) -> None:
    """The fix pulls it, or names another for the fallback: never for the model in force."""
    own = f"gpu-box: {{kind: ollama, base_url: '{server.url}'}}"
    sandbox.write(user=f"mode: local\nllm: {{fallbacks: ['gpu-box:qwen2.5-coder:8b']}}\nproviders: {{{own}}}\n")
    (check,) = (one.check for one in examine(sandbox.read(), TODAY) if one.check.name == "fallback")
    pull = "ollama pull qwen2.5-coder:8b"
    assert check.fix == f"{pull}; or set the fallback to the nearest that is installed: qwen2.5-coder:7b"


def test_with_errors_no_probe_is_made(cloud: Sandbox, server: FakeProviders) -> None:
    """A configuration that has errors calls no model, even when asked to."""
    cloud.write(user="llm:\n  max_tokens: many\n")
    assert checks(cloud, probe=True)["probe"].state == "warning"
    assert [one for one in server.arrived if one.method == "POST"] == []


def test_a_missing_key_is_reported_once(sandbox: Sandbox) -> None:
    """No key for a hosted provider: one line about it, with the export, and exit 1."""
    done = sandbox.run("doctor", "--format", "json")
    keys = [check for check in json.loads(done.stdout)["checks"] if check["check"] == "key"]
    assert done.returncode == 1
    assert [check["state"] for check in keys] == ["failed"]
    assert "export ANTHROPIC_API_KEY" in keys[0]["fix"]


def test_permissions_are_a_check(local: Sandbox) -> None:
    """A file that others can write is reported as its own check, with the chmod."""
    local.write(user="llm:\n  max_tokens: 10\n").user_file.chmod(0o666)
    found = checks(local)["permissions"]
    assert found.state == "failed"
    assert "chmod" in found.fix


@pytest.mark.parametrize(
    ("today", "state"),
    [("2026-06-01", "ok"), ("2026-09-30", "ok"), ("2026-10-01", "warning"), ("2027-01-01", "failed")],
)
def test_a_models_end_is_reported_in_time(sandbox: Sandbox, server: FakeProviders, today: str, state: str) -> None:
    """Sixty days before its end a chosen model gets a warning; before that its last day is shown."""
    variables = {"ANTHROPIC_BASE_URL": server.url, "ANTHROPIC_API_KEY": KEY, "STIGMER_LLM_MODEL": "claude-sonnet-4.5"}
    found = checks(sandbox, variables, today=datetime.date.fromisoformat(today))["retirement"]
    assert found.state == state
    assert "2026-11-30" in found.seen


def test_old_facts_are_a_warning(local: Sandbox) -> None:
    """A catalogue that is half a year old may lack the newest retirements."""
    found = checks(local, today=datetime.date(2027, 12, 1))["catalogue"]
    assert found.state == "warning"
    assert "upgrade" in found.fix
    assert "catalogue" not in checks(local)


def test_a_limit_above_the_models_is_reported(cloud: Sandbox) -> None:
    """More max_tokens than the model supports would fail every call."""
    found = checks(cloud, {"STIGMER_LLM_MAX_TOKENS": "999999"})["context"]
    assert (found.state, found.key) == ("warning", "llm.max_tokens")
    assert "128000" in found.fix


def test_a_missing_client_is_reported(cloud: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra doctor still checks everything, and names the pip command."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = checks(cloud)
    assert (found["client"].state, found["client"].fix) == ("warning", "pip install 'stigmer-config[anthropic]'")
    assert found["provider"].state == "ok"


def test_every_check_that_is_not_fine_has_a_fix(sandbox: Sandbox) -> None:
    """With nothing configured and nothing running, each ! and ✗ says what to do."""
    nowhere = "http://127.0.0.1:1"
    for mode in ("local", "cloud"):
        variables = {"MODE": mode, "OLLAMA_HOST": nowhere, "ANTHROPIC_BASE_URL": nowhere}
        bad = [check for check in checks(sandbox, variables).values() if check.state != "ok"]
        assert bad
        assert all(check.fix for check in bad)
