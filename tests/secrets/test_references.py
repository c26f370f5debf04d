"""Secret references: when they are read, how they fail, and that no output contains the secret."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from stigmer_config import ConfigError
from tests.support.sandbox import Sandbox

CLOUD = {"MODE": "cloud"}


def problem(sandbox: Sandbox, variables: dict[str, str] | None = None) -> tuple[str, str, str]:
    errors = [p for p in sandbox.problems({**CLOUD, **(variables or {})}) if p.severity == "error"]
    assert len(errors) == 1, errors
    return errors[0].code, errors[0].key, errors[0].message


def script(sandbox: Sandbox, text: str) -> Path:
    path = sandbox.root / "tool"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return path


def test_a_variable(sandbox: Sandbox) -> None:
    """`{env: NAME}` is the variable's text; an unset or empty one is `secret-unavailable`."""
    sandbox.write(user="llm: {api_key: {env: MY_KEY}}\n")
    key = sandbox.load({**CLOUD, "MY_KEY": "sk-by-variable"}).llm.api_key
    assert key is not None
    assert key.reveal() == "sk-by-variable"
    assert problem(sandbox)[:2] == ("secret-unavailable", "llm.api_key")
    assert problem(sandbox, {"MY_KEY": ""})[0] == "secret-unavailable"


@pytest.mark.parametrize("name", ["relative", "absolute", "home"])
def test_a_file(sandbox: Sandbox, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`{file: PATH}` is its text without the last line end; a relative path starts at the configuration's folder."""
    monkeypatch.setenv("HOME", str(sandbox.home))
    secret = sandbox.home / ".stigmer" / "key"
    path = {"relative": "key", "absolute": str(secret), "home": "~/.stigmer/key"}[name]
    sandbox.write(user=f"providers: {{anthropic: {{api_key: {{file: {path}}}}}}}\n")
    secret.write_text("sk-by-file\n")
    key = sandbox.load(CLOUD).llm.api_key
    assert key is not None
    assert key.reveal() == "sk-by-file"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "not a regular file"),
        (os.mkfifo, "not a regular file"),
        (lambda path: path.write_bytes(b"x" * 8193), "larger than 8 KiB"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "not UTF-8"),
        (lambda path: path.write_text("\n"), "empty"),
    ],
)
def test_a_file_that_is_no_secret(sandbox: Sandbox, make: object, says: str) -> None:
    """Anything else at the path is `secret-unavailable` at its place, without its content."""
    sandbox.write(user="llm:\n  api_key: {file: key}\n")
    make(sandbox.home / ".stigmer" / "key")  # type: ignore[operator]
    code, key, message = problem(sandbox)
    assert (code, key) == ("secret-unavailable", "llm.api_key")
    assert says.lower() in message.lower()
    assert "lines-of-a-secret" not in message


def test_a_command(sandbox: Sandbox) -> None:
    """A worker runs it, without a shell, in `/`, with a minimal environment and no standard input."""
    told = sandbox.root / "told"
    tool = script(sandbox, f'{{ pwd; env; cat; echo "args:$*"; }} > {told}; echo sk-by-command')
    sandbox.write(user=f"llm: {{api_key: {{command: [{tool}, 'a b', '$HOME;id']}}}}\n")
    key = sandbox.load({**CLOUD, "OPENAI_API_KEY": "sk-not-for-the-tool", "LD_PRELOAD": ""}).llm.api_key
    assert key is not None
    assert key.reveal() == "sk-by-command"
    seen = told.read_text()
    assert seen.splitlines()[0] == "/"
    assert "sk-not-for-the-tool" not in seen
    assert "args:a b $HOME;id" in seen


def test_show_never_runs_a_command(sandbox: Sandbox) -> None:
    """`show`, `get`, `explain`, `validate` and `path` say `set (not run)`."""
    ran = sandbox.root / "ran"
    tool = script(sandbox, f"touch {ran}; echo sk-by-command")
    sandbox.write(user=f"llm: {{api_key: {{command: [{tool}]}}}}\n")
    outputs = [
        sandbox.run(*argv, variables=CLOUD).stdout
        for argv in (["show"], ["get", "llm.api_key"], ["get", "llm.api_key", "--reveal"], ["explain", "llm.api_key"])
    ]
    assert all("set (not run)" in output for output in outputs)
    for command in ("validate", "path", "aliases"):
        sandbox.run(command, variables=CLOUD)
    assert not ran.exists()


def test_a_file_is_validated_where_its_secrets_are_not(sandbox: Sandbox) -> None:
    """`validate FILE` judges the file: a secret that only the machines of workers have is no fault of it."""
    file = sandbox.root / "for-a-worker.yaml"
    file.write_text("mode: cloud\nproviders: {anthropic: {api_key: {file: /run/secrets/nowhere}}}\n")
    done = sandbox.run("validate", str(file))
    assert (done.returncode, "secret-unavailable" in done.stdout + done.stderr) == (0, False)


@pytest.mark.parametrize(
    ("body", "says"),
    [("exit 3", "status 3"), ("head -c 9000 /dev/zero | tr '\\0' x", "larger than 8 KiB"), ("true", "empty")],
)
def test_a_command_that_fails(sandbox: Sandbox, body: str, says: str) -> None:
    """An exit status, too much output and no output are each reported, without the output."""
    tool = script(sandbox, f"echo leaked-by-stderr >&2; {body}")
    sandbox.write(user=f"llm: {{api_key: {{command: [{tool}]}}}}\n")
    code, _, message = problem(sandbox)
    assert code == "secret-unavailable"
    assert says in message
    assert "leaked" not in message


def test_a_command_that_hangs_is_ended_with_its_children(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time the whole process group is gone."""
    from stigmer_config.secrets import command as command_secret

    monkeypatch.setattr(command_secret, "SECONDS", 0.5)
    child = sandbox.root / "child"
    tool = script(sandbox, f"sleep 600 & echo $! > {child}; wait")
    sandbox.write(user=f"llm: {{api_key: {{command: [{tool}]}}}}\n")
    assert "did not end" in problem(sandbox)[2]
    pid = int(child.read_text())
    deadline = time.monotonic() + 10
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@pytest.mark.parametrize(
    "reference",
    [
        "{command: [relative, x]}",
        "{command: 'rm -rf /'}",
        "{command: []}",
        "{env: [A]}",
        "{env: A, file: b}",
        "{shell: x}",
        "{}",
        "[a]",
    ],
)
def test_a_reference_that_is_none(sandbox: Sandbox, reference: str) -> None:
    """Anything but one of the three forms is a `wrong-type` at its place."""
    sandbox.write(user=f"llm:\n  api_key: {reference}\n")
    errors = [p for p in sandbox.problems(CLOUD) if p.severity == "error"]
    assert [(p.code, p.key) for p in errors] == [("wrong-type", "llm.api_key")]
    assert errors[0].origin is not None
    assert (errors[0].origin.line, errors[0].origin.column) == (2, 12)


def test_only_the_user_file_names_a_command(sandbox: Sandbox) -> None:
    """In the site file a command is refused; a variable and a file are fine there."""
    sandbox.write(site="llm: {api_key: {command: [/bin/echo, x]}}\n")
    assert problem(sandbox)[:2] == ("wrong-type", "llm.api_key")
    sandbox.write(site="llm: {api_key: {env: SITE_KEY}}\n")
    assert sandbox.load({**CLOUD, "SITE_KEY": "sk-site-key"}).llm.api_key is not None


def test_no_reference_in_a_project(sandbox: Sandbox) -> None:
    """A project may not even name a secret, and nothing of it is read."""
    sandbox.write(project="llm: {api_key: {file: /etc/hostname}}\nsandbox: {api_key: 5}\n")
    found = {(p.code, p.key) for p in sandbox.problems({**CLOUD, "ANTHROPIC_API_KEY": "sk-ant-own"})}
    assert {("secret-in-project", "llm.api_key"), ("secret-in-project", "sandbox.api_key")} <= found


def test_what_is_not_used_is_not_read(sandbox: Sandbox) -> None:
    """A broken reference of another provider has no effect until that provider is in force."""
    sandbox.write(user="providers: {openai: {api_key: {file: missing}}}\n")
    config = sandbox.load({"MODE": "local"})
    assert str(config.providers["openai"].api_key) == "set (not read)"
    with pytest.raises(LookupError):
        config.providers["openai"].api_key.reveal()  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="secret-unavailable"):
        config.override({"llm.provider": "openai"})


def test_a_literal_needs_a_closed_file_and_a_reference_does_not(sandbox: Sandbox) -> None:
    """`insecure-permissions` is about secrets in the file, not about references."""
    sandbox.write(user="llm: {api_key: {env: MY_KEY}}\n")
    sandbox.user_file.chmod(0o644)
    assert sandbox.load({**CLOUD, "MY_KEY": "sk-by-variable"}).llm.api_key is not None
