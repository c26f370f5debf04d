"""The example workers, as programs and as a Temporal activity."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import Worker as TemporalWorker

from stigmer_config import Config, Rejected
from stigmer_config.testing import live
from stigmer_config.testing import sandbox as made
from tests.support.fake_providers import FakeProviders, OllamaModel, ollama_answer, text_of
from tests.support.live_tools import save
from tests.support.paths import REPOSITORY
from tests.support.sandbox import Sandbox

EXAMPLES = REPOSITORY / "examples"
BEGUN = re.compile(r"#(\d+) begins on generation (\d+): (\S+) (\S+) at (\S+),")
ENDED = re.compile(r"#(\d+) ended on generation (\d+): (\S+)( \(generation \d+ is current\))?")


class Running:
    """An example worker that runs; its lines as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []

    def reads_until(self, what: str) -> str:
        """Reads lines up to one that has this in it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if re.search(what, line):
                return line
        raise AssertionError(f"no line with {what!r}, but: {self.lines}")

    def ends(self) -> int:
        """Reads to the end. The exit status."""
        assert self.process.stdout is not None
        self.lines += self.process.stdout.read().splitlines()
        return self.process.wait(60)


@contextlib.contextmanager
def worker(
    sandbox: Sandbox,
    *argv: str,
    stdin: str = "",
    program: str = "worker.py",
    stderr: int = subprocess.PIPE,
    **variables: str,
) -> Iterator[Running]:
    environment = {
        "HOME": str(sandbox.home),
        "PATH": os.defpath,
        "XDG_CONFIG_DIRS": str(sandbox.root / "xdg"),
        "XDG_RUNTIME_DIR": str(sandbox.root / "run"),
        **variables,
    }
    with subprocess.Popen(
        [sys.executable, str(EXAMPLES / program), *argv],
        cwd=sandbox.project,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    ) as process:
        assert process.stdin is not None
        process.stdin.write(stdin)
        process.stdin.close()
        try:
            yield Running(process)
        finally:
            process.kill()


def test_each_execution_keeps_what_it_took(sandbox: Sandbox) -> None:
    """A save while executions run: those end on what they began with, the next begin on the new values."""
    sandbox.write(user="mode: local\nllm: {model: 'one:1b'}\n")
    with worker(sandbox, "--executions", "60", "--seconds", "0.05", "--at-once", "6") as running:
        running.reads_until(r"#9 begins")
        save(sandbox.user_file, "mode: local\nllm: {model: 'two:2b'}\n")
        running.reads_until(r"== generation 2: llm.model, .* now ollama two:2b")
        save(sandbox.user_file, "mode: local\nllm: {modl: 'three:3b'}\n")  # changes nothing
        assert running.ends() == 0
    begun = {number: (generation, model) for number, generation, _, model, _ in BEGUN.findall("\n".join(running.lines))}
    ended = {number: (generation, model) for number, generation, model, _ in ENDED.findall("\n".join(running.lines))}
    assert len(begun) == 60
    assert ended == begun
    plain = [
        model for number, (_, model) in sorted(begun.items(), key=lambda item: int(item[0])) if int(number) % 3 == 0
    ]
    assert plain[:3] == ["one:1b"] * 3
    assert plain[-3:] == ["two:2b"] * 3
    assert {model for number, (_, model) in begun.items() if int(number) % 3 == 1} == {"llama3.2:3b"}  # the request's
    assert {generation for generation, _ in begun.values()} == {"1", "2"}
    assert running.lines[-1] == "== ended on generation 2"


def test_its_own_settings_are_in_the_same_file(sandbox: Sandbox) -> None:
    """A change of them is taken while it runs."""
    sandbox.write(user="mode: local\n")
    with worker(sandbox, "--seconds", "0.05", "--at-once", "2") as running:
        running.reads_until("#3 begins")
        save(sandbox.user_file, "mode: local\napps: {example: {question: Why me}}\n")
        assert running.reads_until("asks").rstrip() == "== generation 2: asks 'Why me'"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_running_ones_end(sandbox: Sandbox, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM: nothing new begins, what runs ends, exit status 0, no state file stays."""
    sandbox.write(user="mode: local\n")
    with worker(sandbox, "--seconds", "0.2", "--at-once", "4") as running:
        running.reads_until("#4 begins")
        running.process.send_signal(number)
        assert running.ends() == 0
        text = "\n".join(running.lines)
        assert len(BEGUN.findall(text)) == len(ENDED.findall(text))
        assert list((sandbox.root / "run").rglob("*.json")) == []


def test_the_flags_of_the_seed_worker(sandbox: Sandbox) -> None:
    """--llm-provider, --llm-model, and a key from standard input, which is printed nowhere."""
    sandbox.write(user="mode: local\n")
    key = "sk-ant-from-standard-input"
    argv = ("--llm-model", "claude-opus-4.5", "--anthropic-key", "-", "--executions", "3", "--seconds", "0")
    with worker(sandbox, *argv, stdin=f"{key}\n") as running:
        assert running.ends() == 0
        assert running.process.stderr is not None
        everything = "\n".join([*running.lines, running.process.stderr.read()])
    assert "#3 begins on generation 1: anthropic claude-opus-4-5-20251101 at https://api.anthropic.com," in everything
    assert "api_key=********" in everything
    assert key not in everything
    with worker(sandbox, "--anthropic-key", key) as running:
        assert running.ends() == 2


def test_a_failed_start_is_reported(sandbox: Sandbox) -> None:
    """Every problem with its place, and exit status 1."""
    sandbox.write(user="mode: local\nllm: {modl: x}\n")
    with worker(sandbox) as running:
        assert running.ends() == 1
        assert running.process.stderr is not None
        assert "config.yaml:2:7: error[unknown-key] llm.modl" in running.process.stderr.read()


def test_it_calls_for_real_and_follows_the_endpoint(sandbox: Sandbox) -> None:
    """With --call the model at the configured address answers; a failure is reported with its fix."""
    models = [OllamaModel("mine:1b")]
    with FakeProviders(models) as one, FakeProviders([*models, OllamaModel("llama3.2:3b")]) as two:
        text = "mode: local\nllm: {{base_url: '{}', model: 'mine:1b'}}\n"
        sandbox.write(user=text.format(one.url))
        with worker(sandbox, "--call", "--at-once", "2") as running:
            running.reads_until(r"#1 failed on generation 1: .*; fix: ollama pull llama3.2:3b")
            running.reads_until(rf"#3 ended on generation 1: mine:1b {text_of('mine:1b')}")
            save(sandbox.user_file, text.format(two.url))
            running.reads_until(rf"ended on generation 2: llama3.2:3b {text_of('llama3.2:3b')}")
            running.process.send_signal(signal.SIGINT)
            assert running.ends() == 0
        assert {one.path for one in (*one.arrived, *two.arrived)} == {"/api/chat"}


# -- Temporal --------------------------------------------------------------------------------------------------------


def temporal_worker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("temporal_worker", EXAMPLES / "temporal_worker.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["temporal_worker"] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


async def run(executions: Any, **overrides: Any) -> Any:
    """One run of the activity, outside any server."""
    example = sys.modules["temporal_worker"]
    environment = ActivityEnvironment()
    beats: list[Any] = []
    environment.on_heartbeat = lambda *details: beats.extend(details)
    answer = await environment.run(executions.execute, example.Request("why?", overrides))
    assert beats[0] == answer.generation
    return answer


@pytest.fixture
def provider() -> Iterator[FakeProviders]:
    with FakeProviders([OllamaModel("one:1b"), OllamaModel("two:2b"), OllamaModel("llama3.2:3b")]) as fake:
        yield fake


def test_an_activity_takes_the_config_of_its_moment(provider: FakeProviders) -> None:
    """Each run of the activity answers from what is current when it begins, with its request's overrides."""
    example = temporal_worker()
    file = f"llm: {{{{base_url: '{provider.url}', temperature: 0.25, model: '{{}}'}}}}\n"

    async def use(running: Any) -> None:  # one event loop, which the clients are bound to
        executions = example.Executions(running.config)
        first = await run(executions)
        assert (first.generation, first.model, first.text) == (1, "one:1b", text_of("one:1b"))
        assert provider.posted("/api/chat").body["options"]["temperature"] == 0.25
        running.apply(file.format("two:2b"))
        second = await run(executions)
        assert (second.generation, second.text) == (2, text_of("two:2b"))
        assert (await run(executions, llm={"model": "fast"})).text == text_of("llama3.2:3b")
        assert isinstance(running.apply("llm: {modl: x}"), Rejected)
        assert (await run(executions)).model == "two:2b"

    with made() as world:
        world.write_user(file.format("one:1b"))
        with live(world) as running:
            asyncio.run(use(running))
    assert example.chat_model.cache_info().misses == 3  # one client for each configuration
    assert example.chat_model.cache_info().hits == 1


def test_a_running_activity_keeps_its_config(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reload in the middle of an activity is for the next one. It sends heartbeats meanwhile."""
    example = temporal_worker()
    with made() as world, live(world) as running:
        executions = example.Executions(running.config)
        environment = ActivityEnvironment()
        environment.info = dataclasses.replace(environment.info, heartbeat_timeout=datetime.timedelta(milliseconds=30))
        beaten = asyncio.Queue[Any]()
        environment.on_heartbeat = lambda *details: beaten.put_nowait(details)

        async def slow(config: Config, question: str) -> str:
            await asyncio.to_thread(running.apply, "llm: {model: fast}")
            for _ in range(4):
                assert await asyncio.wait_for(beaten.get(), 30) == (1,)
            return f"{question} {config.llm.model_id}"

        monkeypatch.setattr(executions, "_ask", slow)
        found = asyncio.run(environment.run(executions.execute, example.Request("why?")))
        assert (found.generation, found.text, running.current.generation) == (1, "why? qwen2.5-coder:7b", 2)


def test_the_client_is_built_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes seconds the first time: the loop goes on, and other activities with it."""
    example = temporal_worker()
    threads: list[int] = []

    class Model:
        async def ainvoke(self, question: str) -> Any:
            threads.append(threading.get_ident())
            return SimpleNamespace(text=question)

    def build(_: Any) -> Model:
        threads.append(threading.get_ident())
        return Model()

    monkeypatch.setattr("stigmer_config.integrations.chat.chat_model", build)
    with made() as world, live(world) as running:
        assert asyncio.run(run(example.Executions(running.config))).text == "why?"
    built, asked = threads
    assert built != asked


def test_a_request_that_cannot_be_met_is_not_tried_again() -> None:
    """An override that is not allowed fails the activity for good, with every problem."""
    example = temporal_worker()
    with made() as world, live(world) as running:
        request = example.Request("why?", {"llm": {"modl": "x", "timeout": -1}})
        with pytest.raises(ApplicationError) as raised:
            asyncio.run(ActivityEnvironment().run(example.Executions(running.config).execute, request))
        assert raised.value.non_retryable
        assert "error[unknown-key] llm.modl" in str(raised.value)
        assert "error[out-of-range] llm.timeout" in str(raised.value)


def test_the_client_is_by_the_settings(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Address, namespace, key and TLS; without a setting of TLS it is unencrypted."""
    example = temporal_worker()
    asked: list[tuple[str, dict[str, Any]]] = []

    async def connecting(address: str, **options: Any) -> None:
        asked.append((address, options))

    monkeypatch.setattr(example.Client, "connect", connecting)
    files = {name: sandbox.root / name for name in ("ca", "cert", "key")}
    for name, file in files.items():
        file.write_text(name)
    sandbox.write(
        user="mode: local\ntemporal: {address: 'ns.acct.tmprl.cloud:7233', namespace: ns.acct, "
        f"api_key: {{env: K}}, tls_server_name: tmprl.cloud, tls_ca_file: {files['ca']}, "
        f"tls_cert_file: {files['cert']}, tls_key_file: {files['key']}}}\n"
    )
    asyncio.run(example.connect(sandbox.load({"K": "temporal-key-0123"})))
    sandbox.write(user="mode: local\n")
    asyncio.run(example.connect(sandbox.load({})))
    tls = example.TLSConfig(
        server_root_ca_cert=b"ca", domain="tmprl.cloud", client_cert=b"cert", client_private_key=b"key"
    )
    assert asked == [
        ("ns.acct.tmprl.cloud:7233", {"namespace": "ns.acct", "api_key": "temporal-key-0123", "tls": tls}),
        ("localhost:7233", {"namespace": "default", "api_key": None, "tls": False}),
    ]


TEST_SERVER = Path(sys.executable).with_name("temporal-test-server")


@contextlib.contextmanager
def temporal_server() -> Iterator[int]:
    """Temporal's own test server, on the port it gives."""
    if not TEST_SERVER.exists():
        pytest.skip("there is no temporal-test-server for this machine")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen([TEST_SERVER, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            yield port
        finally:
            server.kill()


@workflow.defn(name="Ask", sandboxed=False)
class Ask:
    """What a workflow of another service does: it runs the activity on the worker's task queue."""

    @workflow.run
    async def run(self, question: str, overrides: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = await workflow.execute_activity(
            "execute",
            {"question": question, "overrides": overrides},
            task_queue="agents",
            start_to_close_timeout=datetime.timedelta(minutes=2),
            heartbeat_timeout=datetime.timedelta(seconds=60),
            retry_policy=RetryPolicy(maximum_attempts=1),
        )
        return answer


async def connected(port: int) -> Client:
    """A client, once the server listens."""
    for _ in range(600):
        try:
            return await Client.connect(f"127.0.0.1:{port}")
        except RuntimeError:
            await asyncio.sleep(0.1)
    raise AssertionError("Temporal's test server does not listen")


def test_it_serves_temporals_own_server_and_drains(sandbox: Sandbox, provider: FakeProviders) -> None:
    """The whole program: an execution, one with its request's model, a reload; SIGTERM lets the running one end."""
    text = (
        "mode: local\nllm: {{base_url: '{}', model: '{}'}}\ntemporal: {{address: '127.0.0.1:{}', task_queue: agents}}\n"
    )
    begun, may_end = threading.Event(), threading.Event()

    def slow(handler: Any) -> None:
        begun.set()
        may_end.wait(60)
        handler.json(ollama_answer("two:2b"))

    async def ask(client: Client, number: int, overrides: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = await client.execute_workflow(
            "Ask", args=["why?", overrides], id=f"ask-{number}", task_queue="workflows"
        )
        return answer

    async def use(port: int, running: Running) -> None:
        client = await connected(port)
        async with TemporalWorker(client, task_queue="workflows", workflows=[Ask]):
            first = await ask(client, 1, {})
            assert (first["generation"], first["text"]) == (1, text_of("one:1b"))
            assert (await ask(client, 2, {"llm.model": "fast"}))["model"] == "llama3.2:3b"
            with pytest.raises(WorkflowFailureError) as raised:
                await ask(client, 3, {"llm.modl": "x"})
            assert "error[unknown-key] llm.modl" in str(raised.value.cause.__cause__)
            save(sandbox.user_file, text.format(provider.url, "two:2b", port))
            await asyncio.to_thread(running.reads_until, '"config.reloaded"')
            provider.fail(slow, "/api/chat")
            last = asyncio.create_task(ask(client, 4, {}))
            await asyncio.to_thread(begun.wait, 60)
            running.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(running.reads_until, "draining")
            may_end.set()
            assert (await last)["model"] == "two:2b"
        assert await asyncio.to_thread(running.ends) == 0
        assert running.lines[-1] == "stopped"

    with temporal_server() as port:
        asyncio.run(connected(port))
        sandbox.write(user=text.format(provider.url, "one:1b", port))
        with worker(sandbox, program="temporal_worker.py", stderr=subprocess.STDOUT) as running:
            running.reads_until("serving agents")
            asyncio.run(use(port, running))


def test_temporal_that_does_not_answer_is_an_exit_status(sandbox: Sandbox) -> None:
    """4, and a line with the address, where nothing listens; a TLS file that is missing is named."""
    text = "mode: local\ntemporal: {address: '127.0.0.1:1'}\n"
    for more, said in (("", "127.0.0.1:1: "), ("tls_ca_file: /nowhere.pem", "/nowhere.pem")):
        sandbox.write(user=text.replace("'}", f"', {more}}}") if more else text)
        with worker(sandbox, program="temporal_worker.py", stderr=subprocess.STDOUT) as running:
            assert running.ends() == 4
        assert said in running.lines[-1]
