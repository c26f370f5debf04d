"""A canary planted in every source of secrets is in no output of any kind."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from stigmer_config import ConfigError, Secret, redact_secrets
from tests.support.sandbox import Sandbox

CANARY = "canary-0123456789abcdef"


def planted(sandbox: Sandbox, where: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Plants the canary; returns the variables and `load` arguments that go with it."""
    variables = {"MODE": "cloud"}
    arguments: dict[str, Any] = {}
    match where:
        case "variable":
            variables["STIGMER_LLM_API_KEY"] = CANARY
        case "vendor":
            variables["ANTHROPIC_API_KEY"] = CANARY
        case "user":
            sandbox.write(user=f"llm:\n  api_key: {CANARY}\n")
        case "site":
            sandbox.write(site=f"providers: {{anthropic: {{api_key: '{CANARY}'}}}}\n")
        case "flags":
            arguments["flags"] = {"llm.api_key": CANARY}
        case "override":
            arguments["overrides"] = [{"llm": {"api_key": CANARY}}]
        case "file":
            sandbox.write(user="llm: {api_key: {file: key}}\n")
            (sandbox.home / ".stigmer" / "key").write_text(CANARY)
        case "reference":
            variables["MY_KEY"] = CANARY
            sandbox.write(user="llm: {api_key: {env: MY_KEY}}\n")
        case "command":
            sandbox.write(user=f"llm: {{api_key: {{command: [/bin/echo, {CANARY}]}}}}\n")
    return variables, arguments


SOURCES = ["variable", "vendor", "user", "site", "flags", "override", "file", "reference", "command"]


@pytest.mark.parametrize("where", SOURCES)
def test_nothing_of_a_config_shows_it(sandbox: Sandbox, where: str) -> None:
    """repr, str, format, explain, diff, copies, fingerprint, JSON and a failed override: all masked."""
    variables, arguments = planted(sandbox, where)
    config = sandbox.load(variables, **arguments)
    assert config.llm.api_key == Secret(CANARY)
    other = config.override({"llm.api_key": "another-canary-987"})
    outputs = [
        *(repr(part) for part in (config, config.llm, config.providers, config.sandbox, config.backend)),
        *(str(part) for part in (config, config.llm, config.llm.api_key, copy.deepcopy(config))),
        *(format(part) for part in (config.llm.api_key, config.llm)),
        f"{config.llm.api_key:>40}" if where != "command" else "",
        repr(config.explain("llm.api_key")) if where != "command" else "",
        repr(config.diff(other)),
        config.fingerprint,
        repr(config.warnings),
        json.dumps(dict(config.effective()), default=str),
        "%s %r" % (config.llm.api_key, config.llm.api_key),  # noqa: UP031 - the old form masks, too
    ]
    for bad in ({"llm.base_url": "https://elsewhere.example"}, {"llm.max_tokens": -1}):
        with pytest.raises(ConfigError) as raised:
            config.override(bad)
        outputs += [str(raised.value), repr(raised.value), repr(raised.value.problems)]
    assert not [output for output in outputs if CANARY in output or "another-canary" in output]


def test_it_is_not_pickled_or_encoded(sandbox: Sandbox) -> None:
    """pickle, msgspec and json refuse a Secret and all that holds one."""
    variables, arguments = planted(sandbox, "user")
    config = sandbox.load(variables, **arguments)
    for part in (config, config.llm, config.llm.api_key, config.providers):
        with pytest.raises(TypeError, match=r"load\(\)"):
            pickle.dumps(part)
    for part in (config.llm, config.llm.api_key):
        with pytest.raises(TypeError):
            msgspec.json.encode(part)
        with pytest.raises(TypeError):
            json.dumps(part)


@pytest.mark.parametrize("where", [source for source in SOURCES if source not in ("flags", "override")])
def test_no_command_prints_it(sandbox: Sandbox, where: str) -> None:
    """Without --reveal no command shows it, on either stream; what names the source may."""
    variables, _ = planted(sandbox, where)
    if where == "command":  # its words are in the user's own file: they are not secret
        sandbox.write(user="llm: {api_key: {command: [/bin/false]}}\n")
    argvs = [
        ["show", "--all"],
        ["show", "--origin", "--all", "--format", "json"],
        ["show", "--all", "--format", "yaml"],
        ["show", "--format", "env"],
        ["get", "llm.api_key"],
        ["explain", "llm.api_key"],
        ["validate"],
        ["path"],
        ["diff", "local", "cloud"],
        ["show", "--set", "llm.base_url=ftp://x", "--set", "llm.temperature=9"],
    ]
    for argv in argvs:
        done = sandbox.run(*argv, variables=variables)
        assert CANARY not in done.stdout + done.stderr, argv


def test_no_log_event_holds_it(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """The redacting processor takes it out of every field, nested ones and exceptions included."""
    variables, arguments = planted(sandbox, "user")
    config = sandbox.load(variables, **arguments)
    key = config.llm.api_key
    assert key is not None
    log = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[structlog.processors.add_log_level, redact_secrets, structlog.processors.JSONRenderer()],
    )
    log.info(
        f"calling with {key.reveal()}", header={"x-api-key": key.reveal()}, rows=[(key, key.reveal())], config=config
    )
    try:
        raise RuntimeError(f"401 for {key.reveal()}")
    except RuntimeError:
        log.exception("failed")
    logging.getLogger("stigmer-canary").warning("%s %r", config, config.llm)
    out = capsys.readouterr()
    assert "RuntimeError: 401 for ********" in out.err
    assert CANARY not in out.out + out.err


def test_a_crashed_worker_leaks_nothing(sandbox: Sandbox) -> None:
    """The traceback of a worker that dies while using the Config does not contain the secret."""
    variables, _ = planted(sandbox, "user")
    program = (
        "from stigmer_config import load\n"
        "def run(config):\n    key = config.llm.api_key\n    raise RuntimeError(config, key)\n"
        "run(load())\n"
    )
    environment = {"HOME": str(sandbox.home), "PATH": "/usr/bin:/bin", **variables}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=sandbox.project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "RuntimeError" in done.stderr
    assert CANARY not in done.stdout + done.stderr


def test_no_file_of_ours_holds_it(sandbox: Sandbox) -> None:
    """Neither the worker's state file nor a grant holds it."""
    sandbox.write(user=f"llm:\n  api_key: {CANARY}\n", project="llm: {base_url: 'https://corp.example'}\n")
    variables = {"MODE": "cloud", "STIGMER_API_KEY": CANARY + "-2", "ANTHROPIC_API_KEY": CANARY + "-3"}
    sandbox.run("trust", "--with-credentials", variables=variables, stdin="y\n")
    program = (
        "from stigmer_config import Environment, LiveConfig\n"
        "from stigmer_config.workers.folders import folders\n"
        "folder = folders(Environment.capture())[0]\n"
        "with LiveConfig.start() as live:\n    print([p.read_text() for p in folder.iterdir()])\n"
    )
    environment = {
        "HOME": str(sandbox.home),
        "PATH": "/usr/bin:/bin",
        "XDG_STATE_HOME": str(sandbox.home / ".state"),
        "TMPDIR": str(sandbox.temporary),
        **variables,
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=sandbox.project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "fingerprint" in done.stdout, done.stderr
    written = [path for path in sandbox.home.rglob("*") if path.is_file() and path != sandbox.user_file]
    assert written
    assert CANARY not in done.stdout + done.stderr + "".join(path.read_text(errors="replace") for path in written)


def test_a_traceback_of_a_refused_value_has_no_secret(sandbox: Sandbox) -> None:
    """The exceptions behind a ConfigError, context and all, do not quote a value."""
    with pytest.raises(ConfigError) as raised:
        sandbox.load({"MODE": "cloud", "STIGMER_LLM_API_KEY": f"{CANARY}\twith a tab"})
    assert CANARY not in "".join(traceback.format_exception(raised.value))
    assert Path(__file__).name in "".join(traceback.format_exception(raised.value))
