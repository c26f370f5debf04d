"""stigmer_config.testing: what users test their own code with, used as they would."""

from __future__ import annotations

import datetime
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from stigmer_config import Config, ConfigError, Rejected, Reloaded, Unchanged, load
from stigmer_config.testing import API_KEY, Live, Sandbox, live, make_config, sandbox

# -- make_config -----------------------------------------------------------------------------------------------------


def test_a_config_in_one_line() -> None:
    """Sections by name, or keys in a mapping; everything else is the packaged default."""
    assert make_config().llm.provider == "ollama"
    assert make_config(llm={"model": "fast", "timeout": 5}).llm.timeout == 5.0
    assert make_config({"llm.model": "fast"}, aliases={"fast": "mine:1b"}).llm.model_id == "mine:1b"
    assert make_config(mode="cloud").llm.provider == "anthropic"
    assert make_config(mode="cloud") == make_config(mode="cloud")


@pytest.mark.parametrize("provider", ["anthropic", "openai"])
def test_a_hosted_provider_has_a_key(provider: str) -> None:
    """No key has to be made up; one that is given counts."""
    assert make_config(llm={"provider": provider}).llm.api_key.reveal() == API_KEY  # type: ignore[union-attr]
    own = make_config({"llm.provider": provider, "llm.api_key": "mine"})
    assert own.llm.api_key.reveal() == "mine"  # type: ignore[union-attr]


def test_a_made_config_checks_like_any_other() -> None:
    """A mistake in a test is reported as everywhere, with every problem."""
    with pytest.raises(ConfigError) as raised:
        make_config(llm={"max_tokens": "x", "timeout": -1})
    assert {problem.code for problem in raised.value.problems} == {"wrong-type", "out-of-range"}
    with pytest.raises(KeyError, match=r"did you mean llm\.model"):
        make_config(llm={"modl": "x"})


def test_a_made_config_has_nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither variables nor files of whoever runs the tests count, and no folder is made."""
    (tmp_path / ".stigmer").mkdir(mode=0o700)
    (tmp_path / ".stigmer" / "config.yaml").write_text("llm: {timeout: 99}\n")
    for name, value in {
        "HOME": str(tmp_path),
        "STIGMER_HOME": str(tmp_path / ".stigmer"),
        "STIGMER_SITE_CONFIG": str(tmp_path / ".stigmer" / "config.yaml"),
        "STIGMER_LLM_TIMEOUT": "98",
        "MODE": "cloud",
        "OLLAMA_HOST": "elsewhere",
    }.items():
        monkeypatch.setenv(name, value)
    config = make_config()
    assert (config.llm.timeout, config.mode, config.llm.base_url) == (None, "local", "http://localhost:11434")
    assert [path.name for path in tmp_path.iterdir()] == [".stigmer"]


# -- sandbox ---------------------------------------------------------------------------------------------------------


def test_a_sandbox_is_a_world_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files by layer, variables, an Environment for `load`; gone at the end."""
    monkeypatch.setenv("STIGMER_LLM_MODEL", "never-this")
    with sandbox({"STIGMER_LLM_MAX_RETRIES": "2"}) as world:
        world.write_site("llm: {timeout: 1, num_ctx: 1}\n")
        world.write_user("llm: {timeout: 2, temperature: 0.5}\n")
        world.write_project("llm: {timeout: 3}\n")
        config = world.load()
        llm = config.llm
        assert (llm.timeout, llm.temperature, llm.num_ctx, llm.max_retries) == (3.0, 0.5, 1, 2)
        assert llm.model == "qwen2.5-coder:7b"
        assert load(environment=world.environment) == config
        assert not config.warnings
        root = world.root
        with pytest.raises(ConfigError, match="untrusted-key"):
            world.write_project("llm: {base_url: 'http://elsewhere'}\n") and world.load()
    assert not root.exists()


def test_a_sandbox_has_the_day_one_asks_for() -> None:
    """By default a day on which nothing retires soon because of the calendar; any other for tests about that."""
    variables = {"MODE": "cloud", "STIGMER_LLM_MODEL": "claude-sonnet-4.5"}  # a default would not warn
    with sandbox(variables, today=datetime.date(2099, 1, 1)) as world:
        assert "model-retired" in {problem.code for problem in world.load().warnings}


# -- live ------------------------------------------------------------------------------------------------------------


class Cache:
    """Somebody's code: keeps what it derived from the configuration."""

    def __init__(self) -> None:
        self.model = ""
        self.calls = 0

    def follow(self, config: Config, _: object) -> None:
        self.calls += 1
        time.sleep(0.02)  # it takes its time, and `apply` waits for it
        self.model = config.llm.model_id


def test_apply_returns_when_the_change_is_applied_and_reported() -> None:
    """After `apply` the new values are current and every callback has run: nothing to sleep for."""
    with sandbox() as world, live(world) as worker:
        cache = Cache()
        worker.config.subscribe(cache.follow, "llm.model")
        for number, (text, model) in enumerate(
            [("llm: {model: fast}", "llama3.2:3b"), ("llm: {model: powerful}", "qwen3-coder:30b"), ("", "")], start=1
        ):
            outcome = worker.apply(text)
            assert isinstance(outcome, Reloaded)
            assert "llm.model" in {change.key for change in outcome.changes}
            assert outcome.config is worker.current
            assert cache.model == (model or "qwen2.5-coder:7b")
            assert cache.calls == number


@pytest.mark.parametrize("file", ["user", "project", "site"])
def test_apply_returns_the_reloads_result(file: str) -> None:
    """Reloaded, Unchanged or Rejected for each of the files, and for one that is removed."""

    def apply(worker: Live, text: str | None) -> object:
        return worker.apply(text, file)  # type: ignore[arg-type]

    with sandbox() as world, live(world) as worker:
        assert isinstance(apply(worker, "llm: {timeout: 1}"), Reloaded)
        assert isinstance(apply(worker, "llm: {timeout: 1} # as before"), Unchanged)
        refused = apply(worker, "llm: {timeout: never}")
        assert isinstance(refused, Rejected)
        assert [problem.key for problem in refused.problems] == ["llm.timeout"]
        assert worker.current.llm.timeout == 1.0
        assert isinstance(apply(worker, "llm: {timeout: 2}"), Reloaded)
        assert isinstance(apply(worker, None), Reloaded)
        assert worker.current.llm.timeout is None
        assert isinstance(apply(worker, None), Unchanged)


def test_live_takes_the_arguments_of_start() -> None:
    """Flags, overrides and the mode are those of `LiveConfig.start`; a bad start raises."""
    with sandbox({"MODE": ""}) as world:
        arguments: dict[str, Any] = {
            "mode": "cloud",
            "flags": {"llm.max_retries": 4},
            "overrides": [{"llm.timeout": 9}],
        }
        with live(world, **arguments) as worker:
            assert isinstance(worker.apply("mode: local\nllm: {temperature: 0.5, max_retries: 1}"), Reloaded)
            llm = worker.current.llm
            assert (worker.current.mode, llm.max_retries, llm.timeout) == ("cloud", 4, 9.0)
        world.write_user("llm: [")
        with pytest.raises(ConfigError), live(world):
            pass


def test_a_callback_that_hangs_is_reported() -> None:
    """`apply` does not wait for ever."""
    go_on = threading.Event()
    with sandbox() as world, live(world, timeout=0.2) as worker:
        worker.config.subscribe(lambda *_: go_on.wait(10))
        with pytest.raises(TimeoutError, match="a callback did not return"):
            worker.apply("llm: {timeout: 1}")
        go_on.set()


def test_a_live_sandbox_publishes_nothing_on_this_machine() -> None:
    """`stigmer config workers` of whoever runs the tests does not list it."""
    from stigmer_config import Environment
    from stigmer_config.workers import local_workers

    with sandbox() as world, live(world):
        assert [worker.pid for worker in local_workers.running(world.environment)] == [os.getpid()]
        assert os.getpid() not in [worker.pid for worker in local_workers.running(Environment.capture())]


def test_many_sandboxes_live_side_by_side() -> None:
    """Nothing is shared: two worlds in one process do not see each other."""
    with sandbox() as one, sandbox() as two, live(one) as first, live(two) as second:
        first.apply("llm: {timeout: 1}")
        second.apply("llm: {timeout: 2}")
        assert (first.current.llm.timeout, second.current.llm.timeout) == (1.0, 2.0)


def test_a_sandbox_can_be_kept_where_one_wants(tmp_path: Path) -> None:
    """`Sandbox(folder)` for a test that has a folder already: a fixture is one line."""
    world = Sandbox(tmp_path / "world")
    assert world.write_user("llm: {timeout: 1}\n") == tmp_path.resolve() / "world" / "home" / ".stigmer" / "config.yaml"
    assert world.load().llm.timeout == 1.0
