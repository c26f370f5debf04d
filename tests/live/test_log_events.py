"""The log events: their fields, their destination, and that they contain no secret."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
import structlog

from stigmer_config import Secret, redact_secrets
from stigmer_config.live.live_config import LiveConfig
from stigmer_config.live.log_events import Reporter
from stigmer_config.loading.request import request
from stigmer_config.reload.reloader import Reloader
from tests.support.cli_tools import ANSI
from tests.support.live_tools import (
    LOCAL,
    Calls,
    living,
    logged,
    no_logging_configured,
    rejected,
    save,
    takes,
    until,
    world,
)
from tests.support.paths import REPOSITORY
from tests.support.sandbox import Sandbox

KEY = "sk-ant-very-secret-0123456789"


def named(events: list[Any], name: str) -> list[Any]:
    return [event for event in events if event["event"] == name]


# -- fields ----------------------------------------------------------------------------------------------------------


def test_the_start_logs_the_workers_configuration(sandbox: Sandbox) -> None:
    """`config.loaded` has the contract's fields, and the origin of each value that is not a default."""
    sandbox.write(user="mode: cloud\nllm:\n  model: balanced\n  timeout: 60\n", project="llm: {temperature: null}\n")
    with logged() as events, living(sandbox, {"ANTHROPIC_API_KEY": KEY, "STIGMER_LLM_MAX_RETRIES": "3"}) as live:
        fingerprint = live.current.fingerprint
    [event] = events
    layers, origins = event.pop("layers"), event.pop("origins")
    assert event == {
        "event": "config.loaded",
        "log_level": "info",
        "mode": "cloud",
        "generation": 1,
        "fingerprint": fingerprint,
        "provider": "anthropic",
        "model": "balanced → claude-sonnet-5-5",
        "base_url": "https://api.anthropic.com",
        "api_key": "set (vendor: ANTHROPIC_API_KEY)",
        "max_tokens": 20000,
        "temperature": None,
        "warnings": [],
    }
    assert [layer.partition(":")[0] for layer in layers] == ["defaults", "vendor", "user", "project", "env"]
    assert f"user: {sandbox.user_file}" in layers
    assert origins["llm.model"] == f"user: {sandbox.user_file}:3:10"
    assert origins["llm.timeout"] == f"user: {sandbox.user_file}:4:12"
    assert origins["llm.max_retries"] == "env: STIGMER_LLM_MAX_RETRIES"
    assert "llm.max_tokens" not in origins
    assert "sandbox.type" not in origins


def test_the_start_lists_each_fallback(sandbox: Sandbox) -> None:
    """`config.loaded` has each fallback's model, address and key, and never the key itself."""
    sandbox.write(user="llm: {fallbacks: ['groq:m', 'vllm:m2']}\n")
    with logged() as events, living(sandbox, {"MODE": "local", "GROQ_API_KEY": KEY}):
        pass
    assert events[0]["fallbacks"] == [
        "groq:m → m at https://api.groq.com/openai/v1, key set (vendor: GROQ_API_KEY)",
        "vllm:m2 → m2 at http://localhost:8000/v1, key none",
    ]
    assert KEY not in str(events)


def test_a_reload_logs_old_and_new_values_with_their_origin(sandbox: Sandbox) -> None:
    """`config.reloaded` has each changed key, and the keys that wait for a restart."""
    with logged() as events, living(sandbox) as live:
        save(sandbox.user_file, "mode: local\nllm:\n  timeout: 5\ntemporal:\n  namespace: ours\n")
        takes(live, timeout=5.0)
    [event] = named(events, "config.reloaded")
    assert event["generation"] == 2
    assert event["restart_required"] == ["temporal.namespace"]
    assert event["changed"] == {
        "llm.timeout": f"none → 5.0 (user: {sandbox.user_file}:3:12)",
        "temporal.namespace": f"default → ours (user: {sandbox.user_file}:5:14)",
    }


def test_an_edit_of_the_model_is_one_change(sandbox: Sandbox) -> None:
    """With what the configured string resolves to, and not one each of the string, its name, its id and its alias."""
    with logged() as events, living(sandbox) as live:
        for text in ("llm: {model: fast}\n", "providers: {ollama: {model: phi4:14b}}\n"):
            save(sandbox.user_file, f"mode: local\n{text}")
            live.reload()
    place = sandbox.user_file
    assert [event["changed"] for event in named(events, "config.reloaded")] == [
        {"llm.model": f"qwen2.5-coder:7b → fast (llama3.2:3b) (user: {place}:2:14)"},
        {"llm.model": f"fast (llama3.2:3b) → phi4:14b (user: {place}:2:29)"},
    ]


def test_another_mode_is_reported_once(sandbox: Sandbox) -> None:
    """A new mode in a file is reported as a change that needs a restart, and so is its withdrawal."""
    with logged() as events, living(sandbox) as live:
        for text in ("mode: cloud\n", "mode: cloud\n# again\n", "mode: local\n"):
            save(sandbox.user_file, text)
            live.reload()
    place = f"(user: {sandbox.user_file}:1:7)"
    assert [(event["changed"], event["restart_required"]) for event in named(events, "config.reloaded")] == [
        ({"mode": f"local → cloud {place}"}, ["mode"]),
        ({"mode": f"cloud → local {place}"}, []),
    ]


def test_a_rejection_is_one_event_with_every_problem_at_its_line(sandbox: Sandbox) -> None:
    """Once for a fault, however often it is looked at; another fault is another event."""
    with logged() as events, living(sandbox) as live:
        save(sandbox.user_file, "mode: local\nllm:\n  timeout: never\n  modl: fast\n")
        assert rejected(live)
        for _ in range(3):
            live.reload()
        sandbox.user_file.touch()
        live.reload()
        save(sandbox.user_file, "mode: local\nllm:\n  modl: fast\n")
        assert until(lambda: len(live.status.last_error.problems) == 1)  # type: ignore[union-attr]
    first, second = named(events, "config.reload_rejected")
    assert [problem.partition(" ")[0] for problem in first["problems"]] == [
        f"{sandbox.user_file}:3:12:",
        f"{sandbox.user_file}:4:3:",
    ]
    assert "error[unknown-key] llm.modl" in first["problems"][1]
    assert "did you mean llm.model?" in first["problems"][1]
    assert len(second["problems"]) == 1
    assert (first["log_level"], first["generation"]) == ("error", 1)


def test_a_recurring_fault_is_reported_again(sandbox: Sandbox) -> None:
    """After a good change the same fault is reported again."""
    with logged() as events, living(sandbox) as live:
        for number in (1, 2):
            save(sandbox.user_file, "llm: [")
            live.reload()
            save(sandbox.user_file, f"mode: local\nllm: {{timeout: {number}}}\n")
            takes(live, timeout=float(number))
    assert len(named(events, "config.reload_rejected")) == 2


def test_degraded_watching_and_its_end_are_reported_once(sandbox: Sandbox) -> None:
    """One event when changes are detected by polling, with the reason; one when that ends."""
    sandbox.write(user=LOCAL)
    with logged() as events:
        reporter = Reporter()
        live = LiveConfig(Reloader(request(environment=world(sandbox))), reporter)
        for state in ("native", "polling", "native", "stopped"):
            reporter.watching(live.current, state, "inotify watch limit reached")
    assert [(event["event"], event["watching"]) for event in events] == [
        ("config.watch_degraded", "polling"),
        ("config.watch_restored", "native"),
    ]
    assert events[0]["detail"] == "inotify watch limit reached"


# -- where they go ---------------------------------------------------------------------------------------------------


def events_of(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


@no_logging_configured()
def test_without_a_terminal_each_event_is_a_line_of_json_on_stderr(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """The event's name comes first; standard output is left to the program."""
    with living(sandbox) as live:
        save(sandbox.user_file, "mode: local\nllm: [")
        assert rejected(live)
    captured = capsys.readouterr()
    assert captured.out == ""
    loaded, refused = events_of(captured.err)
    assert list(loaded)[:3] == ["timestamp", "level", "event"]
    assert (loaded["event"], loaded["level"]) == ("config.loaded", "info")
    assert (refused["event"], refused["level"]) == ("config.reload_rejected", "error")


@no_logging_configured()
def test_on_a_console_a_person_can_read_them(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """`logging.format: console` writes text; a rejected change's problems are below it, line by line."""
    sandbox.write(user="mode: local\nlogging: {format: console}\n")
    with living(sandbox) as live:
        save(sandbox.user_file, "mode: local\nlogging: {format: console}\nllm: {modl: x}\n")
        assert rejected(live)
    lines = ANSI.sub("", capsys.readouterr().err).splitlines()
    assert re.search(r"\[info +\] config\.loaded", lines[0])
    assert re.search(r"\[error +\] config\.reload_rejected", lines[1])
    assert lines[2:] == [
        f"{sandbox.user_file}:3:7: error[unknown-key] llm.modl: there is no such key",
        "    llm: {modl: x}",
        "          ^",
        "hint: did you mean llm.model?",
    ]


@no_logging_configured()
def test_the_level_is_live(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """`logging.level` decides what is logged, from the reload on that changes it."""
    sandbox.write(user="mode: local\nlogging: {level: error}\n")
    with living(sandbox) as live:
        save(sandbox.user_file, "mode: local\nlogging: {level: error}\nllm: {timeout: 1}\n")
        takes(live, timeout=1.0)
        save(sandbox.user_file, "mode: local\nlogging: {level: debug}\nllm: {timeout: 2}\n")
        takes(live, timeout=2.0)
        live.reload()
    assert [event["event"] for event in events_of(capsys.readouterr().err)] == ["config.reloaded"]


def test_a_program_that_configured_structlog_keeps_its_configuration(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """Our events go through the program's processors to its logger, and its configuration is the same afterwards."""
    seen: list[Any] = []

    def take(_logger: object, method: str, event: Any) -> Any:
        seen.append((method, dict(event)))
        raise structlog.DropEvent

    processors: list[Any] = [structlog.contextvars.merge_contextvars, take]
    structlog.configure(processors=processors, logger_factory=structlog.ReturnLoggerFactory())
    before = structlog.get_config()
    try:
        with structlog.contextvars.bound_contextvars(worker="w1"), living(sandbox) as live:
            save(sandbox.user_file, "mode: local\nllm: {timeout: 1}\n")
            with live._follower._lock:
                live.reload()
        assert structlog.get_config() == before
        assert structlog.get_config()["processors"] is processors
    finally:
        structlog.reset_defaults()
    assert [(method, event["event"]) for method, event in seen] == [
        ("info", "config.loaded"),
        ("info", "config.reloaded"),
    ]
    assert seen[0][1]["worker"] == "w1"
    assert capsys.readouterr() == ("", "")


def test_structlog_and_logging_stay_as_they_were(sandbox: Sandbox) -> None:
    """A program that has not configured structlog is not configured afterwards; the standard library's is untouched."""
    with no_logging_configured():
        stays_as_it_was(sandbox)


def stays_as_it_was(sandbox: Sandbox) -> None:
    root = logging.getLogger()
    before = (list(root.handlers), root.level, set(logging.root.manager.loggerDict))
    with living(sandbox) as live:
        live.reload()
    assert not structlog.is_configured()
    known = set(logging.root.manager.loggerDict)
    assert (root.handlers, root.level) == before[:2]
    assert not any(name.startswith("stigmer") for name in known - before[2])


def records(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, str]]:
    return [
        (record.name, record.levelname, record.getMessage().partition(" ")[0])
        for record in caplog.records
        if record.name.startswith("stigmer")
    ]


def test_a_program_with_the_standard_logging_gets_the_events_there(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under `stigmer_config`, at their levels, with their fields; nothing goes to stderr, no logger is changed."""
    logger = logging.getLogger("stigmer_config")
    with caplog.at_level(logging.INFO):
        before = (logger.level, logger.handlers[:], logger.propagate)
        with living(sandbox) as live:
            save(sandbox.user_file, "mode: local\nllm: {modl: fast}\n")
            assert rejected(live)
        assert (logger.level, logger.handlers, logger.propagate) == before
    assert records(caplog) == [
        ("stigmer_config", "INFO", "config.loaded"),
        ("stigmer_config", "ERROR", "config.reload_rejected"),
    ]
    loaded, refused = (record for record in caplog.records if record.name == "stigmer_config")
    assert "provider='ollama'" in loaded.getMessage()
    assert (loaded.__dict__["event"], loaded.__dict__["fields"]["generation"]) == ("config.loaded", 1)
    assert refused.getMessage().splitlines()[0] == "config.reload_rejected generation=1"
    assert "did you mean llm.model?" in refused.getMessage().splitlines()[-1]
    assert capsys.readouterr().err == ""


def test_a_handler_of_ours_alone_is_enough(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """A program that has given only `stigmer_config` a handler, here one that says nothing."""
    logger = logging.getLogger("stigmer_config")
    silent = logging.NullHandler()
    logger.addHandler(silent)
    try:
        with no_logging_configured(), living(sandbox):
            pass
    finally:
        logger.removeHandler(silent)
    assert capsys.readouterr().err == ""


def test_the_level_counts_in_the_standard_logging_too(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """`logging.level` is the least level, and the program's own levels apply as well."""
    quiet = "mode: local\nlogging: {level: error}\n"
    sandbox.write(user=quiet)
    with caplog.at_level(logging.DEBUG), living(sandbox) as live:
        save(sandbox.user_file, f"{quiet}llm: [")
        assert rejected(live)
    assert records(caplog) == [("stigmer_config", "ERROR", "config.reload_rejected")]
    caplog.clear()
    sandbox.write(user="mode: local\nlogging: {level: debug}\n")
    with caplog.at_level(logging.WARNING), living(sandbox):
        pass
    assert records(caplog) == []


def test_structlog_goes_before_the_standard_logging(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """A program that has configured both sees each event once, in structlog."""
    with caplog.at_level(logging.INFO), logged() as events, living(sandbox):
        pass
    assert [event["event"] for event in events] == ["config.loaded"]
    assert records(caplog) == []


@pytest.mark.parametrize("error", [OSError(5, "broken"), ValueError("closed"), RecursionError()])
def test_an_unwritable_log_does_not_stop_the_worker(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A stderr that raises, a processor that raises: the change is taken, callbacks run, the watch goes on."""

    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise error

    monkeypatch.setattr(sys, "stderr", Broken())
    with no_logging_configured(), living(sandbox) as live:
        calls = Calls()
        live.subscribe(calls)
        live.subscribe(raising)
        for number in (1, 2):
            save(sandbox.user_file, f"mode: local\nllm: {{timeout: {number}}}\n")
            assert calls.reaches(number)
        save(sandbox.user_file, "llm: [")
        assert rejected(live)
    assert live.current.generation == 3


def raising(*_: object) -> None:
    raise LookupError("a callback's own")


# -- secrets ---------------------------------------------------------------------------------------------------------


def everything_logged(sandbox: Sandbox, act: Callable[[LiveConfig], None]) -> str:
    """All that a worker with the secret KEY logs: without a configured log, with structlog, with `logging`."""
    texts = []
    for configured in ("", "structlog", "logging"):
        stream = io.StringIO()
        root, level = logging.getLogger(), logging.getLogger().level
        with pytest.MonkeyPatch.context() as patch, no_logging_configured():
            patch.setattr(sys, "stderr", stream)
            if configured == "structlog":
                structlog.configure(logger_factory=structlog.PrintLoggerFactory(stream))
            elif configured:
                root.addHandler(logging.StreamHandler(stream))
                root.setLevel(logging.DEBUG)
            try:
                with living(sandbox, {"ANTHROPIC_API_KEY": KEY, "MODE": "cloud"}) as live:
                    act(live)
            finally:
                root.setLevel(level)
                structlog.reset_defaults()
        texts.append(stream.getvalue())
    assert all("config.loaded" in text for text in texts)
    return "\n".join(texts)


def test_no_event_has_a_secret(sandbox: Sandbox) -> None:
    """Values, problems and exceptions of callbacks, with their chains and notes: the secret is masked."""

    def act(live: LiveConfig) -> None:
        done = threading.Event()

        def leaks(*_: object) -> None:
            done.set()
            local = KEY[::-1]  # not registered as a secret: it would be shown if locals were
            try:
                raise ValueError(f"cause {KEY} {len(local)}")
            except ValueError as error:
                error.add_note(f"note {KEY}")
                raise RuntimeError(f"with {KEY} in it") from error

        live.subscribe(leaks)
        save(sandbox.user_file, f"llm: {{api_key: {KEY}-rotated, timeout: 1}}\nmode: cloud\n")
        assert until(lambda: live.current.llm.timeout == 1.0)
        assert done.wait(10)
        save(sandbox.user_file, f"llm: {{api_key: {KEY}-rotated, base_url: 'http://{KEY}'}}\nproviders: {KEY}\n")
        assert rejected(live)
        until(lambda: False, 0.05)
        save(sandbox.user_file, "mode: cloud\n")
        live.reload()

    text = everything_logged(sandbox, act)
    assert "config.callback_failed" in text
    assert "with ******** in it" in text
    assert "cause ********" in text
    assert "note ********" in text
    assert KEY[::-1] not in text
    assert KEY not in text


def test_a_rotated_secret_is_reported_as_changed_and_not_shown(sandbox: Sandbox) -> None:
    """Both sides of the change are masks."""
    sandbox.write(user=f"mode: cloud\nllm: {{api_key: {KEY}}}\n")
    with logged() as events, living(sandbox) as live:
        save(sandbox.user_file, f"mode: cloud\nllm: {{api_key: {KEY[::-1]}}}\n")
        assert until(lambda: live.current.generation == 2)
    [event] = named(events, "config.reloaded")
    assert event["changed"] == {"llm.api_key": f"******** → ******** (user: {sandbox.user_file}:2:16)"}
    assert KEY not in repr(events)
    assert KEY[::-1] not in repr(events)


SECRET = Secret('it\'s "my" secret\\ / key')


class Thing:
    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"Thing({self.text!r})"


@pytest.mark.parametrize(
    "value",
    [
        SECRET.reveal(),
        f"before {SECRET.reveal()} after",
        repr(SECRET.reveal()),
        json.dumps({"key": SECRET.reveal()}),
        "https://you:it%27s%20%22my%22%20secret%5C%20%2F%20key@redis/0",
        [1, {"deep": (SECRET.reveal(), None)}],
        {SECRET.reveal(): 1},
        SECRET.reveal().encode(),
        Thing(SECRET.reveal()),
        SECRET,
        ValueError(SECRET.reveal()),
    ],
)
def test_the_processor_masks_a_secret_everywhere(value: object) -> None:
    """`redact_secrets` finds a secret in texts, however it is quoted there, and in whatever would be rendered."""
    event = redact_secrets(None, "info", {"event": "x", "value": value})
    assert "secret" not in repr(event)
    assert "********" in repr(event)


def test_the_processor_leaves_everything_else_as_it_is() -> None:
    """Numbers, None, other objects, and short texts that happen to be part of a secret."""
    thing = Thing("harmless")
    event = {"event": "my key", "n": 1, "f": 0.5, "none": None, "flag": True, "thing": thing, "parts": [1, ("a", 2)]}
    assert redact_secrets(None, "info", dict(event)) == event


def test_the_processor_serves_a_programs_own_events() -> None:
    """In a program's chain it masks its events too, exceptions included, without locals."""
    stream = io.StringIO()
    structlog.configure(
        processors=[structlog.processors.add_log_level, redact_secrets, structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(stream),
    )
    try:
        try:
            hidden = SECRET.reveal()
            raise LookupError(hidden)
        except LookupError:
            structlog.get_logger().exception("failed", request=f"GET /?key={SECRET.reveal()}")
    finally:
        structlog.reset_defaults()
    event = json.loads(stream.getvalue())
    assert event["request"] == "GET /?key=********"
    assert event["exception"].endswith("LookupError: ********")
    assert "secret" not in stream.getvalue().replace("SECRET", "")


def test_show_does_not_import_structlog() -> None:
    """Only a worker's first event costs what structlog costs."""
    code = "import sys, stigmer_config.live.live_config; sys.exit('structlog' in sys.modules)"
    environment = {"PATH": os.defpath}
    root = REPOSITORY
    assert subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, check=False).returncode == 0
