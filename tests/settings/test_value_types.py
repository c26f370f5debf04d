"""Credentials are judged once, where they are read, and by the same rules from every source."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from stigmer_config import Problem
from tests.support.sandbox import Sandbox

KEY = "providers.anthropic.api_key"
CLOUD = {"MODE": "cloud"}

# A way to give the key: prepares the sandbox, and returns variables and flags.
Source = Callable[[Sandbox, str], tuple[dict[str, str], dict[str, str]]]


def _variable(sandbox: Sandbox, text: str) -> tuple[dict[str, str], dict[str, str]]:
    return {"ANTHROPIC_API_KEY": text}, {}


def _own_variable(sandbox: Sandbox, text: str) -> tuple[dict[str, str], dict[str, str]]:
    return {"STIGMER_LLM_API_KEY": text}, {}


def _named_variable(sandbox: Sandbox, text: str) -> tuple[dict[str, str], dict[str, str]]:
    sandbox.write(user="providers: {anthropic: {api_key: {env: MY_KEY}}}\n")
    return {"MY_KEY": text}, {}


def _file(sandbox: Sandbox, text: str) -> tuple[dict[str, str], dict[str, str]]:
    sandbox.write(user="providers: {anthropic: {api_key: {file: key}}}\n")
    (sandbox.user_file.parent / "key").write_text(text)
    return {}, {}


def _command(sandbox: Sandbox, text: str) -> tuple[dict[str, str], dict[str, str]]:
    (sandbox.root / "key").write_text(text)
    sandbox.write(user=f"providers: {{anthropic: {{api_key: {{command: [/bin/cat, {sandbox.root / 'key'}]}}}}}}\n")
    return {}, {}


def _literal(sandbox: Sandbox, text: str) -> tuple[dict[str, str], dict[str, str]]:
    sandbox.write(user=f"providers: {{anthropic: {{api_key: {json.dumps(text)}}}}}\n")
    return {}, {}


def _flag(sandbox: Sandbox, text: str) -> tuple[dict[str, str], dict[str, str]]:
    return {}, {KEY: text}


SOURCES: list[Source] = [_variable, _own_variable, _named_variable, _file, _command, _literal, _flag]
every_source = pytest.mark.parametrize("give", SOURCES, ids=lambda give: give.__name__.strip("_"))


def _problems(sandbox: Sandbox, give: Source, text: str) -> list[Problem]:
    variables, flags = give(sandbox, text)
    return sandbox.problems({**CLOUD, **variables}, flags=flags)


@every_source
def test_white_space_around_a_credential_is_no_part_of_it(sandbox: Sandbox, give: Source) -> None:
    """A line end from `echo`, a space from a paste: the key is sent without them."""
    variables, flags = give(sandbox, " sk-around-1 \r\n")
    key = sandbox.load({**CLOUD, **variables}, flags=flags).llm.api_key
    assert key is not None
    assert key.reveal() == "sk-around-1"


@every_source
@pytest.mark.parametrize("text", ["sk-in 1x2y", "sk-in\n1x2y", "sk-in\t1x2y", "sk-in\x071x2y", "sk-ïn1x2y"])
def test_a_credential_that_cannot_be_sent_is_an_error_without_its_text(
    sandbox: Sandbox, give: Source, text: str
) -> None:
    """White space inside, a control character and a letter beyond ASCII: `invalid-credential`, whatever the source."""
    if give is _literal and "\x07" in text:
        text = text.replace("\x07", "\x7f")
    errors = [problem for problem in _problems(sandbox, give, text) if problem.severity == "error"]
    assert [problem.code for problem in errors] == ["invalid-credential"]
    assert "1x2y" not in str(errors[0])


@every_source
@pytest.mark.parametrize(
    "text",
    ["${ANTHROPIC_API_KEY}", "$ANTHROPIC_API_KEY", "{{env.KEY}}", "env:MY_SECRET", "os.environ/MY_SECRET",
     '"sk-quoted"', "'sk-quoted'", "ANTHROPIC_API_KEY=sk-1"],
)  # fmt: skip
def test_what_looks_like_a_reference_is_used_with_a_warning(sandbox: Sandbox, give: Source, text: str) -> None:
    """Nothing is evaluated, and the warning says so at the value's place."""
    problems = [problem for problem in _problems(sandbox, give, text) if problem.code == "not-interpolated"]
    assert [problem.severity for problem in problems] == ["warning"]
    assert problems[0].hint
    assert "sk-" not in str(problems[0])


def test_the_hint_names_the_variable(sandbox: Sandbox) -> None:
    """In a file, the line to write instead."""
    sandbox.write(user="providers: {anthropic: {api_key: '${ANTHROPIC_API_KEY}'}}\n")
    (problem,) = [p for p in sandbox.problems(CLOUD) if p.code == "not-interpolated"]
    assert problem.hint == "nothing in a file is evaluated: write {env: ANTHROPIC_API_KEY}"


@pytest.mark.parametrize(
    "text", ["$aBc12secret", "pa$$word", "abcdef==", "key=", "sk-${x", "{{", "'", "environment", "a=b"]
)
def test_an_ordinary_credential_is_no_reference_and_never_shown(sandbox: Sandbox, text: str) -> None:
    """A password may begin with a dollar sign: it may get the warning, its text is in none."""
    sandbox.write(user=f"providers: {{anthropic: {{api_key: {json.dumps(text)}}}}}\n")
    problems = [problem for problem in sandbox.problems(CLOUD) if problem.code != "model-retiring"]
    assert all(text not in str(problem) for problem in problems)
    assert bool(problems) == (text == "$aBc12secret")


@pytest.mark.parametrize(
    ("user", "key", "hint"),
    [
        ("sandbox: {root_dir: '${HOME}/ws'}", "sandbox.root_dir", "SANDBOX_ROOT_DIR"),
        ("sandbox: {root_dir: $HOME/ws}", "sandbox.root_dir", "SANDBOX_ROOT_DIR"),
        ("temporal: {namespace: '{{ .Values.namespace }}'}", "temporal.namespace", "TEMPORAL_NAMESPACE"),
        ("llm: {model: 'env:MODEL'}", "llm.model", "STIGMER_LLM_MODEL"),
    ],
)
def test_a_text_that_looks_like_a_reference_warns(sandbox: Sandbox, user: str, key: str, hint: str) -> None:
    """Not only credentials: `show` gives the literal text, and the warning the variable that the key has."""
    sandbox.write(user=f"{user}\n")
    (problem,) = sandbox.problems({"MODE": "local"})
    assert (problem.severity, problem.code, problem.key) == ("warning", "not-interpolated", key)
    assert hint in problem.hint


def test_set_from_standard_input_takes_the_white_space_away(sandbox: Sandbox) -> None:
    """And refuses what cannot be sent, before anything is written."""
    done = sandbox.run("set", KEY, "--stdin", stdin="  sk-by-stdin \n", variables={"MODE": "local"})
    assert (done.returncode, sandbox.user_file.read_text()) == (
        0,
        "providers:\n  anthropic:\n    api_key: sk-by-stdin\n",
    ), done.stderr
    before = sandbox.user_file.read_bytes()
    done = sandbox.run("set", KEY, "--stdin", stdin="sk-by stdin\n", variables={"MODE": "local"})
    assert (done.returncode, sandbox.user_file.read_bytes()) == (1, before)
    assert "invalid-credential" in done.stderr
    assert "sk-by" not in done.stderr


def test_an_override_warns_too(sandbox: Sandbox, tmp_path: Path) -> None:
    """Its Config carries the warning."""
    config = sandbox.load({**CLOUD, "ANTHROPIC_API_KEY": "sk-1"}).override({"llm.api_key": "${KEY}"})
    assert "not-interpolated" in {problem.code for problem in config.warnings}
