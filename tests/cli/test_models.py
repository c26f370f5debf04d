"""`stigmer config models`: the catalogue merged with what Ollama has, and the pull on request."""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stigmer_config.cli.commands.models import _print_age
from stigmer_config.llm.catalogue import catalogue
from tests.support.cli_tools import ANSI, on_terminal
from tests.support.fake_providers import FakeProviders, Fault, OllamaModel, floods, hangs, is_a_web_page, refuses
from tests.support.sandbox import Sandbox

GIB = 2**30


@pytest.fixture
def server() -> Iterator[FakeProviders]:
    with FakeProviders([OllamaModel("qwen2.5-coder:7b", size=5 * GIB), OllamaModel("mine:latest")]) as running:
        yield running


@pytest.fixture
def local(sandbox: Sandbox, server: FakeProviders) -> Sandbox:
    sandbox.variables |= {"MODE": "local", "OLLAMA_HOST": server.url}
    return sandbox


def document(sandbox: Sandbox, *argv: str, status: int = 0) -> dict[str, Any]:
    done = sandbox.run("models", "--format", "json", *argv)
    assert done.returncode == status, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_catalogue_and_ollama_are_one_list(local: Sandbox) -> None:
    """Known models show whether they are installed; installed ones that are unknown are listed, too."""
    found = document(local)
    rows = {(row["provider"], row["id"]): row for row in found["models"]}
    assert (
        rows["ollama", "qwen2.5-coder:7b"] | {"installed": True, "size": 5 * GIB, "in_force": True}
        == rows["ollama", "qwen2.5-coder:7b"]
    )
    assert rows["ollama", "llama3.2:3b"]["installed"] is False
    assert rows["ollama", "mine:latest"]["installed"] is True
    assert rows["anthropic", "claude-sonnet-4-6"]["installed"] is None
    assert sum(row["in_force"] for row in rows.values()) == 1
    assert found["ollama"]["version"] == "0.12.6"
    assert found["ollama"]["reachable"] is True
    assert found["as_of"] == str(catalogue().as_of)


def test_an_absent_ollama_is_no_error(sandbox: Sandbox) -> None:
    """Without a server the list is printed, installation is unknown, and standard error says why; exit 0."""
    sandbox.variables |= {"MODE": "local", "OLLAMA_HOST": "127.0.0.1:1"}
    done = sandbox.run("models", "--provider", "ollama")
    assert done.returncode == 0
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("*")]
    assert line.split()[1:3] == ["ollama", "qwen2.5-coder:7b"]
    assert "installed" not in done.stdout  # unknown for every model
    assert "nothing listens at http://127.0.0.1:1" in done.stderr
    assert "ollama serve" in done.stderr


@pytest.mark.parametrize("fault", [hangs, floods, is_a_web_page, refuses(500)], ids=["hangs", "floods", "page", "500"])
def test_a_faulty_ollama_is_no_error_either(local: Sandbox, server: FakeProviders, fault: Fault) -> None:
    """Whatever the server does, the list comes, soon, with a word about it."""
    server.fail(fault)
    found = document(local, "--timeout", "0.5")
    assert found["ollama"]["reachable"] is False
    assert {row["installed"] for row in found["models"]} == {None}


def test_ollama_is_queried_also_when_another_provider_is_in_force(sandbox: Sandbox, server: FakeProviders) -> None:
    """In cloud mode the installed models are listed all the same, from the configured address."""
    sandbox.variables |= {"ANTHROPIC_API_KEY": "sk-the-configured-key-0001"}
    sandbox.write(user=f"providers:\n  ollama:\n    base_url: {server.url}/v1\n    api_key: ollama-key-000001\n")
    server.key = "ollama-key-000001"
    found = document(sandbox)
    assert (found["ollama"]["reachable"], [row["id"] for row in found["models"] if row["in_force"]]) == (
        True,
        ["claude-sonnet-4-5-20250929"],
    )
    assert "sk-the-configured" not in str(server.arrived)


def test_only_one_provider_on_request(local: Sandbox, server: FakeProviders) -> None:
    """--provider anthropic lists only its models, and sends no request."""
    assert {row["provider"] for row in document(local, "--provider", "anthropic")["models"]} == {"anthropic"}
    assert server.arrived == []


def test_a_gateways_models_are_those_that_its_endpoint_lists(sandbox: Sandbox, server: FakeProviders) -> None:
    """Of the provider in force, or of --provider NAME; its key and headers go to its own address."""
    key = "sk-of-the-gateway-0001"
    own = (
        f"{{kind: openai, base_url: {server.url}/v1, model: mine:latest, api_key: {key}, headers: {{X-Team: agents}}}}"
    )
    other = f"{{kind: anthropic, base_url: {server.url}, api_key: {key}}}"
    sandbox.write(user=f"mode: local\nllm: {{provider: corp}}\nproviders:\n  corp: {own}\n  other: {other}\n")
    found = document(sandbox)
    rows = {row["id"]: row for row in found["models"] if row["provider"] == "corp"}
    assert rows.keys() == {"qwen2.5-coder:7b", "mine:latest"}
    assert (rows["mine:latest"]["in_force"], rows["mine:latest"]["context"]) == (True, 32768)
    assert found["endpoint"] == {"provider": "corp", "base_url": f"{server.url}/v1", "reachable": True}
    asked = [one for one in server.arrived if one.path == "/v1/models"]
    assert [one.headers.get("authorization") for one in asked] == [None, f"Bearer {key}"]
    assert {one.headers.get("x-team") for one in asked} == {"agents"}
    named = document(sandbox, "--provider", "other")["models"]
    assert {(row["provider"], row["id"]) for row in named} == {("other", name) for name in rows}
    assert server.arrived[-1].headers.get("x-api-key") == key
    assert key not in str(found)


def test_another_server_that_speaks_ollamas_protocol_lists_what_it_has_installed(
    sandbox: Sandbox, server: FakeProviders
) -> None:
    """Under any name, in force or not, with its size; the headers of that provider go along."""
    own = f"{{kind: ollama, base_url: '{server.url}', model: mine, headers: {{X-Team: agents}}}}"
    sandbox.write(user=f"mode: local\nllm: {{provider: gpu-box}}\nproviders:\n  gpu-box: {own}\n  spare: {own}\n")
    rows = {row["id"]: row for row in document(sandbox)["models"] if row["provider"] == "gpu-box"}
    assert rows.keys() == {"qwen2.5-coder:7b", "mine:latest"}
    assert (rows["mine:latest"]["in_force"], rows["qwen2.5-coder:7b"]["size"]) == (True, 5 * GIB)
    assert {row["installed"] for row in rows.values()} == {True}
    assert {one.headers.get("x-team") for one in server.arrived} == {"agents"}
    named = document(sandbox, "--provider", "spare")
    assert {(row["provider"], row["id"], row["in_force"]) for row in named["models"]} == {
        ("spare", name, False) for name in rows
    }
    assert "5.0 GiB" in sandbox.run("models", "--provider", "spare").stdout


def test_the_fix_for_a_provider_that_is_not_in_force_names_its_own_address(sandbox: Sandbox) -> None:
    """Not `llm.base_url`, which is that of the provider in force."""
    sandbox.write(user="mode: local\nproviders: {gpu-box: {kind: ollama, base_url: 'http://127.0.0.1:1', model: m}}\n")
    done = sandbox.run("models", "--provider", "gpu-box")
    assert done.returncode == 0
    assert "check providers.gpu-box.base_url" in done.stderr


def test_an_endpoint_that_lists_nothing_is_no_error(sandbox: Sandbox, server: FakeProviders) -> None:
    """Without a required key, the model in force is listed, and standard error says why the others are not."""
    sandbox.write(user=f"mode: local\nproviders: {{corp: {{kind: openai, base_url: '{server.url}/v1', model: m}}}}\n")
    done = sandbox.run("models", "--provider", "corp")
    assert done.returncode == 0
    assert f"What corp offers is not known: {server.url}/v1 asks for a key (401)" in done.stderr
    assert sandbox.run("models", "--provider", "crop").returncode == 2


def test_old_facts_are_reported() -> None:
    """From the 91st day on, standard error says so."""
    known = catalogue()
    for days, is_said in ((90, False), (91, True)):
        today = known.as_of + datetime.timedelta(days=days)
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors):
            _print_age(today)
        assert (f"The facts about models are {days} days old" in errors.getvalue()) is is_said


def test_retired_models_are_listed_on_request(local: Sandbox) -> None:
    """What its provider has switched off is left out, unless --all asks for it."""
    assert not any(row["retired"] for row in document(local, "--provider", "openai")["models"])
    retired = [row for row in document(local, "--provider", "openai", "--all")["models"] if row["retired"]]
    assert {row["id"] for row in retired} >= {"o1-mini", "gpt-4-turbo-preview"}


def test_an_unknown_model_is_listed_when_it_is_in_force(sandbox: Sandbox) -> None:
    """The model in force always has its line."""
    sandbox.variables |= {"OPENAI_API_KEY": "sk-the-configured-key-0001", "STIGMER_LLM_MODEL": "openai:my-own"}
    (row,) = [row for row in document(sandbox, "--provider", "openai")["models"] if row["in_force"]]
    assert (row["id"], row["context"]) == ("my-own", None)


def test_a_servers_words_are_made_safe(local: Sandbox, server: FakeProviders) -> None:
    """A model's name with control characters reaches no terminal."""
    server.models.append(OllamaModel("evil\x1b]0;x\x07\u202e:latest"))
    done = local.run("models")
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout


def test_errors_of_the_configuration_count_as_everywhere(local: Sandbox) -> None:
    """The list is printed, the problem is reported, and the exit status is 1."""
    local.write(user="llm:\n  max_tokens: many\n")
    assert document(local, status=1)["models"]


# ---- pull


def test_a_pull_shows_its_steps_and_the_model_is_installed(local: Sandbox, server: FakeProviders) -> None:
    """Standard output says it is installed; the steps go to standard error, as lines where it is no terminal."""
    done = local.run("models", "--pull", "gemma3:1b")
    assert (done.returncode, done.stdout) == (0, "gemma3:1b is installed\n")
    steps = ["pulling manifest", "pulling dde5aa3fc5ff", "verifying sha256 digest", "success"]
    assert done.stderr.splitlines() == [f"gemma3:1b: {step}" for step in steps]
    assert server.posted("/api/pull").body["model"] == "gemma3:1b"


def test_a_pull_draws_a_bar_on_a_terminal(local: Sandbox) -> None:
    """A person sees how far it is."""
    ours, theirs = pty.openpty()
    command = [str(Path(sys.executable).parent / "stigmer"), "config", "models", "--pull", "gemma3:1b"]
    environment = {"HOME": str(local.home), "LC_ALL": "C.UTF-8", "TERM": "xterm", **local.variables}
    with subprocess.Popen(command, cwd=local.project, env=environment, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # Linux's error when the writer has closed
            while part := os.read(ours, 4096):
                shown += part
    os.close(ours)
    assert process.returncode == 0
    assert b"25%" in shown
    assert b"100%" in shown


@pytest.mark.parametrize(("wanted", "pulled"), [("fast", "llama3.2:3b"), ("ollama:mistral:7b", "mistral:7b")])
def test_a_pull_knows_aliases(local: Sandbox, server: FakeProviders, wanted: str, pulled: str) -> None:
    """An alias or a prefix is resolved to its model."""
    assert local.run("models", "--pull", wanted).returncode == 0
    assert server.posted("/api/pull").body["model"] == pulled


def test_a_pull_that_fails_says_why(local: Sandbox, server: FakeProviders) -> None:
    """Ollama's own words for a model it cannot find; the fix for a server that is not there; exit 4."""
    done = local.run("models", "--pull", "nowhere:1b")
    assert (done.returncode, done.stdout) == (4, "")
    assert "pull model manifest: file does not exist" in done.stderr
    server.fail(refuses(401))
    done = local.run("models", "--pull", "gemma3:1b")
    assert (done.returncode, done.stdout) == (4, "")
    assert "providers.ollama.api_key" in done.stderr


@pytest.mark.parametrize("wanted", ["..", "a b", "", "x;rm"])
def test_a_pull_of_no_model_name_is_wrong_usage(local: Sandbox, server: FakeProviders, wanted: str) -> None:
    """What is no model's name never reaches the server; exit 2."""
    assert local.run("models", "--pull", wanted).returncode == 2
    assert server.arrived == []


def test_nothing_is_pulled_without_a_request(local: Sandbox, server: FakeProviders) -> None:
    """Neither the list nor doctor downloads a model that is missing."""
    server.models.clear()
    local.run("models")
    local.run("doctor")
    assert [one for one in server.arrived if one.path == "/api/pull"] == []


@pytest.mark.parametrize("columns", [80, 140])
def test_a_terminal_shows_whole_names_and_aligned_numbers(sandbox: Sandbox, columns: int) -> None:
    """Columns are left out where they do not fit, or are empty; no name is shortened; numbers end in one column."""
    answer = on_terminal(sandbox, "models", columns=columns, variables={"MODE": "local", "OLLAMA_HOST": "127.0.0.1:1"})
    header, *rows = [line for line in ANSI.sub("", answer.out).splitlines() if re.match(r"[* ]  \w+ +\S", line)]
    assert max(map(len, rows)) <= columns
    assert "…" not in "".join(rows)
    assert ("output" in header) == ("  id " in header) == (columns == 140)
    assert "installed" not in header
    end = header.index("context") + len("context")
    assert {row[end - 1].isdigit() or row[end - 1] == "?" for row in rows} == {True}
    assert {row[end : end + 2].strip() for row in rows} == {""}
    assert {"claude-sonnet-4.5", "gpt-5.4-mini-2026-03-17"} <= {row[3:].split()[1] for row in rows}
