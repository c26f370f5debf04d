"""The example workers, as programs and as a Temporal activity."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from stigmer_config import Rejected
from stigmer_config.testing import live
from stigmer_config.testing import sandbox as made
from tests.support.fake_providers import FakeProviders, OllamaModel, text_of
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
def worker(sandbox: Sandbox, *argv: str, stdin: str = "", **variables: str) -> Iterator[Running]:
    environment = {
        "HOME": str(sandbox.home),
        "PATH": os.defpath,
        "XDG_CONFIG_DIRS": str(sandbox.root / "xdg"),
        "XDG_RUNTIME_DIR": str(sandbox.root / "run"),
        **variables,
    }
    with subprocess.Popen(
        [sys.executable, str(EXAMPLES / "worker.py"), *argv],
        cwd=sandbox.project,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
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


def test_a_bad_start_is_told(sandbox: Sandbox) -> None:
    """Every problem with its place, and exit status 1."""
    sandbox.write(user="mode: local\nllm: {modl: x}\n")
    with worker(sandbox) as running:
        assert running.ends() == 1
        assert running.process.stderr is not None
        assert "config.yaml:2:7: error[unknown-key] llm.modl" in running.process.stderr.read()


def test_it_calls_for_real_and_follows_the_endpoint(sandbox: Sandbox) -> None:
    """With --call the model at the configured address answers; what fails is told with its fix."""
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


def test_an_activity_takes_the_config_of_its_moment() -> None:
    """Each run of the activity answers from what is current when it begins, with its request's overrides."""
    example = temporal_worker()
    with made() as world, live(world) as running:
        executions = example.Executions(running.config)

        def run(**overrides: Any) -> Any:
            environment = ActivityEnvironment()
            beats: list[Any] = []
            environment.on_heartbeat = lambda *details: beats.extend(details)
            answer = asyncio.run(environment.run(executions.execute, example.Request("why?", overrides)))
            assert beats == [answer.generation]
            return answer

        first = run()
        assert (first.generation, first.model) == (1, "qwen2.5-coder:7b")
        assert first.text == "would ask ollama qwen2.5-coder:7b at http://localhost:11434: why?"
        running.apply("llm: {model: fast}")
        assert (run().generation, run().model) == (2, "llama3.2:3b")
        assert run(llm={"model": "powerful"}).model == "qwen3-coder:30b"
        assert isinstance(running.apply("llm: {modl: x}"), Rejected)
        assert run().model == "llama3.2:3b"


def test_a_running_activity_keeps_its_config(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reload in the middle of an activity is for the next one."""
    example = temporal_worker()
    with made() as world, live(world) as running:
        executions = example.Executions(running.config)
        answer = executions._answer

        async def slow(config: Any, question: str) -> str:
            await asyncio.to_thread(running.apply, "llm: {model: fast}")
            assert running.current.llm.model == "fast"
            return str(await answer(config, question))

        monkeypatch.setattr(executions, "_answer", slow)
        found = asyncio.run(ActivityEnvironment().run(executions.execute, example.Request("why?")))
        assert (found.generation, found.model, running.current.generation) == (1, "qwen2.5-coder:7b", 2)


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


def test_the_activity_calls_the_model_with_what_it_took() -> None:
    """With `call=True` the answer comes from the configured endpoint."""
    example = temporal_worker()
    with FakeProviders([OllamaModel("mine:1b")]) as provider, made() as world:
        world.write_user(f"llm: {{base_url: '{provider.url}', model: 'mine:1b', temperature: 0.25}}\n")
        with live(world) as running:
            executions = example.Executions(running.config, call=True)
            answer = asyncio.run(ActivityEnvironment().run(executions.execute, example.Request("why?")))
        assert answer.text == text_of("mine:1b")
        assert provider.posted("/api/chat").body["options"]["temperature"] == 0.25
