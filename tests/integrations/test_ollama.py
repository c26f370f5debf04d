"""What is seen of an Ollama server, and that no server can make it take long or much."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import ollama as ollama_sdk
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stigmer_config import Secret
from stigmer_config.integrations import ollama
from stigmer_config.integrations.http import WireError
from stigmer_config.integrations.ollama import GIB, Installed, Server, full_name, look, parameters, pull, recommended
from stigmer_config.llm.catalogue import catalogue
from tests.support.fake_providers import (
    FakeProviders,
    Fault,
    OllamaModel,
    breaks_off,
    drips,
    floods,
    hangs,
    is_a_web_page,
    is_no_json,
    redirects,
    refuses,
    text_of,
)

CODER = OllamaModel(
    "qwen2.5-coder:7b", size=5 * GIB, parameters='num_ctx                        8192\nstop "<|im_end|>"'
)


@pytest.fixture
def server() -> Iterator[FakeProviders]:
    with FakeProviders([CODER, OllamaModel("llama3.2:latest")]) as running:
        yield running


def test_the_fake_speaks_ollamas_protocol(server: FakeProviders) -> None:
    """Ollama's own client understands every answer of the fake server."""
    with ollama_sdk.Client(host=server.url) as client:
        assert [model.model for model in client.list().models] == ["qwen2.5-coder:7b", "llama3.2:latest"]
        shown = client.show("qwen2.5-coder:7b")
        assert shown.modelinfo is not None
        assert shown.modelinfo["qwen2.context_length"] == 32768
        assert shown.capabilities == ["completion", "tools"]
        question = [{"role": "user", "content": "ping"}]
        assert client.chat("qwen2.5-coder:7b", question).message.content == text_of("qwen2.5-coder:7b")
        parts = client.chat("qwen2.5-coder:7b", question, stream=True)
        assert "".join(part.message.content or "" for part in parts) == text_of("qwen2.5-coder:7b")
        assert [step.status for step in client.pull("gemma3:1b", stream=True)][-1] == "success"
        assert client.ps().models == []
        with pytest.raises(ollama_sdk.ResponseError, match="model 'nothing:1b' not found") as error:
            client.show("nothing:1b")
        assert error.value.status_code == 404


def test_look_returns_version_models_and_the_facts_of_the_requested_model(server: FakeProviders) -> None:
    """One query: version, installed models, context lengths and capabilities."""
    server.models[0].loaded = 4096
    seen = look(server.url, "qwen2.5-coder:7b")
    assert seen.version == "0.12.6"
    assert [model.name for model in seen.installed] == ["qwen2.5-coder:7b", "llama3.2:latest"]
    assert seen.installed[0].size == 5 * GIB
    assert seen.facts == ollama.Facts(context=32768, num_ctx=8192, loaded=4096, capabilities=("completion", "tools"))


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/"])
def test_the_imitation_of_openai_is_left_out_of_the_address(server: FakeProviders, end: str) -> None:
    """A base_url with /v1 or a slash at its end means the same server."""
    assert look(server.url + end).version == "0.12.6"
    assert {one.path for one in server.arrived} == {"/api/tags", "/api/version"}


def test_facts_that_an_old_server_omits_are_unknown(server: FakeProviders) -> None:
    """Missing versions, capabilities and context lengths are not guessed."""
    server.models[:] = [OllamaModel("old:1b", capabilities=None, context=None)]
    server.fail(refuses(404), "/api/version")
    server.fail(refuses(404), "/api/ps")
    seen = look(server.url, "old:1b")
    assert (seen.version, seen.facts) == ("", ollama.Facts())


def test_a_server_without_models_has_none(server: FakeProviders) -> None:
    """A `null` in place of the list, as Go writes an empty one, is an empty list."""
    server.fail(lambda handler: handler.json({"models": None}), "/api/tags")
    assert look(server.url, "qwen2.5-coder:7b").installed == ()


def test_the_key_goes_only_to_a_server_that_asks_for_it(server: FakeProviders) -> None:
    """An open server never sees the key; one that answers 401 gets it and is content."""
    key = Secret("ollama-key-123456")
    look(server.url, "qwen2.5-coder:7b", key=key)
    assert not [one for one in server.arrived if "authorization" in one.headers]
    server.key = "ollama-key-123456"
    assert look(server.url, "qwen2.5-coder:7b", key=key).version == "0.12.6"
    with pytest.raises(WireError) as error:
        look(server.url, key=Secret("another-key-123456"))
    assert (error.value.status, "another" in str(error.value)) == (401, False)


def test_proxies_of_the_environment_do_not_come_between_this_machine_and_itself(
    server: FakeProviders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that is set for everything is not asked for a loopback address."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert look(server.url).version == "0.12.6"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("path", ["/api/tags", "/api/show", "/api/pull"])
def test_no_redirect_is_followed(server: FakeProviders, status: int, path: str) -> None:
    """Whatever redirect a server sends, nothing arrives where it points to."""
    key = Secret("ollama-key-123456")
    with FakeProviders([CODER], key="never") as elsewhere:
        server.fail(redirects(elsewhere.url, status), path)
        if path == "/api/show":
            assert look(server.url, "qwen2.5-coder:7b", key=key).facts is None
        else:
            with pytest.raises(WireError) as error:
                look(server.url, key=key) if path == "/api/tags" else pull(server.url, "x:1b", print, key=key)
            assert (error.value.trouble, error.value.status) == ("redirect", status)
            assert error.value.detail == elsewhere.url
        assert elsewhere.arrived == []


def test_a_redirects_target_is_shown_without_secret_parts(server: FakeProviders) -> None:
    """Of a redirect's target only scheme and host are shown: no user, path or query."""
    server.fail(lambda handler: handler.json({}, 302, {"Location": "https://u:hidden@sso.example/x?token=hidden"}))
    with pytest.raises(WireError) as error:
        look(server.url)
    assert error.value.detail == "https://sso.example"


FAULTS: dict[str, tuple[Fault, str]] = {
    "hangs": (hangs, "timeout"),
    "drips": (drips, "timeout"),
    "floods": (floods, "too-large"),
    "is no JSON": (is_no_json, "garbled"),
    "is a web page": (is_a_web_page, "garbled"),
    "breaks off": (breaks_off, "cut-off"),
    "has a fault": (refuses(500), "status"),
    "has nothing there": (refuses(404), "garbled"),
    "is another API": (lambda handler: handler.json({"data": []}), "garbled"),
    "is deep": (lambda handler: handler.whole(b'{"models":' + b"[" * 10**6, "application/json"), "garbled"),
    "has wrong types": (lambda handler: handler.json({"models": [{"name": 7}]}), "garbled"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_server_costs_a_problem_and_little_time(server: FakeProviders, name: str) -> None:
    """Every fault is one WireError, within the time that was given."""
    fault, trouble = FAULTS[name]
    server.fail(fault)
    started = time.monotonic()
    with pytest.raises(WireError) as error:
        look(server.url, "qwen2.5-coder:7b", timeout=1.0 if trouble == "timeout" else 30)
    assert error.value.trouble == trouble
    assert time.monotonic() - started < 10


def test_an_absent_server_is_reported_at_once() -> None:
    """A closed port and an unknown host are two different troubles."""
    with FakeProviders() as gone:
        url = gone.url
    with pytest.raises(WireError) as error:
        look(url)
    assert error.value.trouble == "refused"
    with pytest.raises(WireError) as error:
        look("http://nowhere.invalid:11434", timeout=20)
    assert error.value.trouble in ("unresolved", "timeout")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
documents = json_values | st.fixed_dictionaries(
    {},
    optional={
        "models": st.none() | st.lists(st.fixed_dictionaries({}, optional={"name": json_values, "size": json_values})),
        "version": json_values,
        "model_info": st.dictionaries(st.sampled_from(["a.context_length", "x"]), json_values, max_size=2),
        "parameters": st.none() | st.text(max_size=40),
        "capabilities": json_values,
        "error": json_values,
    },
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=documents, status=st.sampled_from([200, 200, 200, 404, 500]))
def test_no_answer_brings_it_down(server: FakeProviders, document: Any, status: int) -> None:
    """Whatever JSON the server answers, the look ends in a Server or in a WireError."""
    server.faults = [("", lambda handler: handler.json(document, status))]
    told = [server.url]
    with contextlib.suppress(WireError):
        told += [model.name for model in look(server.url, "qwen2.5-coder:7b").installed]
    assert all(text.isprintable() for text in told)


def test_a_pull_reports_each_step_and_installs_the_model(server: FakeProviders) -> None:
    """A pull reports the completed bytes, and ends when the server says so."""
    steps: list[ollama.Progress] = []
    pull(server.url, "gemma3:1b", steps.append)
    assert [step.status for step in steps][0::5] == ["pulling manifest", "success"]
    assert [(step.completed, step.total) for step in steps if step.total] == [(0, 1000), (250, 1000), (1000, 1000)]
    assert look(server.url).find("gemma3:1b") is not None
    assert server.posted("/api/pull").body == {"model": "gemma3:1b", "stream": True}


def lines_of(*steps: object) -> Fault:
    return lambda handler: handler.pieces([json.dumps(step).encode() + b"\n" for step in steps], "application/x-ndjson")


PULL_FAULTS: dict[str, tuple[Fault, str]] = {
    "an error in the middle": (lines_of({"status": "pulling manifest"}, {"error": "no space left"}), "error"),
    "an end without success": (lines_of({"status": "pulling manifest"}), "cut-off"),
    "no JSON": (lambda handler: handler.pieces([b"<html>\n"], "text/html"), "garbled"),
    "a line without end": (lambda handler: handler.pieces([b"x" * 2**20], "application/json"), "too-large"),
    "a server that hangs": (hangs, "timeout"),
    "a refusal": (refuses(403), "status"),
}


@pytest.mark.parametrize("name", PULL_FAULTS)
def test_a_pull_that_fails_says_so(server: FakeProviders, name: str) -> None:
    """Each way for a download to fail is a WireError; none counts as installed."""
    fault, trouble = PULL_FAULTS[name]
    server.fail(fault, "/api/pull")
    with pytest.raises(WireError) as error:
        pull(server.url, "gemma3:1b", lambda step: None, timeout=0.5 if trouble == "timeout" else 30)
    assert error.value.trouble == trouble
    if trouble == "error":
        assert error.value.detail == "no space left"


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("qwen2.5-coder:7b", "qwen2.5-coder:7b"),
        ("qwen2.5-coder", None),  # means :latest
        ("llama3.2", "llama3.2:latest"),
        ("llama3.2:3b", None),
        ("QWEN2.5-coder:7b", None),
    ],
)
def test_the_tag_counts(server: FakeProviders, asked: str, found: str | None) -> None:
    """A model is installed under exactly that tag, and no tag means `latest`."""
    seen = look(server.url).find(asked)
    assert (seen.name if seen else None) == found


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("qwen2.5-coder:32b", "qwen2.5-coder:14b"),  # the same model, another size
        ("qwen2.5-coder", "qwen2.5-coder:14b"),
        ("qwen2.5-codr:14b", "qwen2.5-coder:14b"),  # a slip
        ("hf.co/team/model", "hf.co/team/model:q4"),
        ("mixtral:8x22b", None),
    ],
)
def test_the_nearest_installed_model_is_named(asked: str, near: str | None) -> None:
    """The same model with another tag comes before one that only looks alike."""
    names = ("qwen2.5:32b", "qwen2.5-coder:14b", "llama3.2:3b", "hf.co/team/model:q4")
    assert Server("", tuple(Installed(name) for name in names)).nearest(asked) == near


@pytest.mark.parametrize("name", ["a", "a:b", "host:5000/a", "host:5000/a:b", "x/y/z"])
def test_a_full_name_stays_as_it_is(name: str) -> None:
    """A name is completed once, and a port is no tag."""
    assert full_name(full_name(name)) == full_name(name)
    assert full_name(name).rpartition("/")[2].count(":") == 1


def test_parameters_are_read_from_tags() -> None:
    """The billions of parameters are those of the tag, not of a quantization."""
    told = {
        "qwen2.5-coder:7b": 7,
        "llama3.2:1.5b": 1.5,
        "qwen3:30b-a3b": 30,
        "q:7b-instruct-q4_K_M": 7,
        "x:latest": None,
    }
    assert {name: parameters(name) for name in told} == told


@given(st.integers(0, 2**43), st.integers(0, 2**43))
def test_more_memory_never_takes_a_recommendation_away(some: int, more: int) -> None:
    """What is recommended calls tools, fits, and stays recommended on a larger machine."""
    smaller, larger = sorted((some, more))
    fitting = recommended(smaller)
    assert set(fitting) <= set(recommended(larger))
    assert all(model.tools and model.provider == "ollama" for model in fitting)
    assert all((parameters(model.id) or 0) * GIB <= smaller for model in fitting)
    assert {model.id for model in recommended(2**50)} >= {"qwen2.5-coder:7b", "qwen3-coder:30b"}
    assert not {model.id for model in recommended(2**50)} & {m.id for m in catalogue().models if m.tools is False}


def test_this_machines_memory_is_known() -> None:
    """A machine that runs tests has at least 256 MiB, and less than a pebibyte."""
    memory = ollama.machine_memory()
    assert memory is not None
    assert 2**28 < memory < 2**50
