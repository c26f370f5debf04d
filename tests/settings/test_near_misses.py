"""A message about a value, a key or a file that is nearly right contains the correct form."""

from __future__ import annotations

import pytest

from stigmer_config import ConfigError, Problem
from tests.support.sandbox import Sandbox

LOCAL = {"MODE": "local"}


def only(sandbox: Sandbox, user: str) -> Problem:
    sandbox.write(user=user)
    (problem,) = sandbox.problems(LOCAL)
    return problem


@pytest.mark.parametrize(
    ("key", "text", "number"),
    [
        ("temperature", '"0.7"', "0.7"),
        ("temperature", "0,7", "0.7"),
        ("timeout", "60s", "60"),
        ("timeout", "5m", "300"),
        ("timeout", "500ms", "0.5"),
        ("timeout", "1h", "3600"),
        ("max_tokens", "8k", "8000"),
        ("max_tokens", "1.5M", "1500000"),
        ("max_tokens", "1e4", "10000"),
        ("max_tokens", '"8000"', "8000"),
        ("max_tokens", "8_000", "8000"),
        ("max_tokens", "5.0", "5"),
    ],
)
def test_the_number_that_was_meant(sandbox: Sandbox, key: str, text: str, number: str) -> None:
    """In the file, and the same in a variable unless it is right there."""
    problem = only(sandbox, f"llm:\n  {key}: {text}\n")
    assert problem.code == "wrong-type"
    assert problem.hint.removesuffix(" without quotes") == f"write {number}"
    if '"' not in text:
        sandbox.write(user="")
        (problem,) = sandbox.problems({**LOCAL, f"STIGMER_LLM_{key.upper()}": text})
        assert problem.hint == f"write {number}"


@pytest.mark.parametrize("text", ["lots", "[1]", "0.5.1", "8 apples", "1e999"])
def test_what_is_no_number_gets_no_number(sandbox: Sandbox, text: str) -> None:
    """No guess where there is nothing to guess."""
    hint = only(sandbox, f"llm:\n  max_tokens: {text}\n").hint
    assert hint in ("", "write a whole number from 1 to 10000000")


@pytest.mark.parametrize("text", ["none", "unlimited", "-1", "None"])
def test_another_word_for_null(sandbox: Sandbox, text: str) -> None:
    """Where a key takes null, other programs' words for no limit lead to it."""
    assert only(sandbox, f"llm:\n  max_tokens: {text}\n").hint == "write null for none"
    sandbox.write(user="")
    (problem,) = sandbox.problems({**LOCAL, "STIGMER_LLM_MAX_TOKENS": text})
    assert problem.hint == "write null for none"


@pytest.mark.parametrize(("word", "meant"), [("on", "true"), ("yes", "true"), ("Off", "false"), ("'true'", "true")])
def test_another_word_for_true_or_false(sandbox: Sandbox, word: str, meant: str) -> None:
    """YAML 1.1's words, and a word in quotes."""
    hint = only(sandbox, f"temporal:\n  tls: {word}\n").hint
    assert hint.removesuffix(" without quotes") == f"write {meant}"


@pytest.mark.parametrize(
    ("text", "hint"), [("http://host:7233/x", "write host:7233"), ("host", "add the port: host:PORT")]
)
def test_an_address_that_is_nearly_right(sandbox: Sandbox, text: str, hint: str) -> None:
    """With a scheme, or without a port."""
    assert only(sandbox, f"temporal:\n  address: {text}\n").hint == hint


@pytest.mark.parametrize(
    ("name", "meant"), [("gemini", "google"), ("claude", "anthropic"), ("grok", "xai"), ("anthropc", "anthropic")]
)
def test_a_provider_by_its_other_name(sandbox: Sandbox, name: str, meant: str) -> None:
    """By its model's name, or with a slip."""
    assert only(sandbox, f"llm:\n  provider: {name}\n").hint == f"did you mean {meant}?"


def test_another_program_is_no_slip(sandbox: Sandbox) -> None:
    """llama.cpp is not Ollama: its server is declared."""
    assert "providers.llamacpp.kind" in only(sandbox, "llm:\n  provider: llamacpp\n").hint


@pytest.mark.parametrize(
    "text", ["llm.model = 'x'\n", "STIGMER_LLM_MODEL=x\n", "export STIGMER_LLM_MODEL=x\nMODE=local\n"]
)
def test_another_format_names_the_key_in_this_one(sandbox: Sandbox, text: str) -> None:
    """TOML, and a file of variables."""
    assert only(sandbox, text).hint == "this file is YAML: write llm: {model: …}"


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("llm:\n\tmodel: fast\n", 2, "indent with spaces"),
        ("llm:\n  model: @fast\n", 2, "quote a value that starts with @"),
        ("// mine\nllm: {model: fast}\n", 2, "start a comment with #"),
        ("llm:\n  model:fast\n  timeout: 5\n", 3, "put a space after the colon in line 2"),
    ],
)
def test_a_syntax_error_leads_to_its_cause(sandbox: Sandbox, text: str, line: int, hint: str) -> None:
    """Where the lines around it show it."""
    problem = only(sandbox, text)
    assert problem.origin is not None
    assert (problem.origin.line, problem.hint.startswith(hint)) == (line, True)


def test_what_is_no_mapping_is_a_type_error(sandbox: Sandbox) -> None:
    """Flags and overrides."""
    with pytest.raises(TypeError, match=r"flags must be a mapping .* not list"):
        sandbox.load(LOCAL, flags=["llm.model=fast"])
    with pytest.raises(TypeError, match=r"an override must be a mapping .* not str"):
        sandbox.load(LOCAL).override("llm.model=fast")  # type: ignore[arg-type]


def test_helm_writes_whole_numbers_with_an_exponent(sandbox: Sandbox) -> None:
    """From a million on, in a file and in a variable: 1e+06 is 1000000."""
    sandbox.write(user="llm: {max_tokens: 1e+06}\n")
    value = sandbox.load(LOCAL).llm.max_tokens
    assert (type(value), value) == (int, 1_000_000)
    sandbox.write(user="")
    assert sandbox.load({**LOCAL, "STIGMER_LLM_MAX_TOKENS": "2.5e+06"}).llm.max_tokens == 2_500_000


@pytest.mark.parametrize(
    ("user", "hint"),
    [
        ("llm:\n  model:fast\n", "put a space after the colon"),
        ("STIGMER_LLM_MODEL: fast\n", "STIGMER_LLM_MODEL is a variable; write it nested: llm: {model: …}"),
        ("llm:\n\u00a0\u00a0model: fast\n", "U+00A0"),
        ('model = "fast"\n', "this file is YAML"),
        ("MODE=local\nSTIGMER_LLM_MODEL=fast\n", "this file is YAML"),
        ('[llm]\nmodel = "fast"\n', "this file is YAML"),
        ("llm:\n  api_key: !env MY_KEY\n", "write {env: NAME}"),
        ("llm_model: fast\n", "did you mean llm.model?"),
    ],
)
def test_what_the_file_should_say(sandbox: Sandbox, user: str, hint: str) -> None:
    """Each with a hint that can be followed."""
    sandbox.write(user=user)
    problems = sandbox.problems(LOCAL)
    assert hint in problems[0].hint, problems


def test_a_git_conflict_is_reported_at_its_first_marker(sandbox: Sandbox) -> None:
    """Not where the parser gave up."""
    user = "mode: local\nllm:\n<<<<<<< HEAD\n  model: fast\n=======\n  model: balanced\n>>>>>>> theirs\n"
    problem = only(sandbox, user)
    assert problem.origin is not None
    assert (problem.code, problem.origin.line, problem.origin.column) == ("yaml-syntax", 3, 1)
    assert "git" in problem.message


def test_profiles_are_no_providers(sandbox: Sandbox) -> None:
    """A word of another tool is not answered by one that only looks like it."""
    assert "did you mean" not in only(sandbox, "profiles: {a: 1}\n").hint


def test_a_flag_with_an_underscore_for_the_dot(sandbox: Sandbox) -> None:
    """`flags={"llm_model": …}`."""
    with pytest.raises(KeyError, match=r"did you mean llm\.model\?"):
        sandbox.problems(LOCAL, flags={"llm_model": "fast"})


def test_an_override_of_what_has_no_variable_names_none(sandbox: Sandbox) -> None:
    """Aliases are set in a file or by a flag."""
    with pytest.raises(ConfigError) as caught:
        sandbox.load(LOCAL).override({"aliases.mine": "fast"})
    assert "variable" not in caught.value.problems[0].hint


def test_commands_say_what_to_change(sandbox: Sandbox) -> None:
    """`validate` of a missing file, and `set KEY=VALUE` in one word."""
    done = sandbox.run("validate", "nosuch.yaml", variables=LOCAL)
    assert (done.returncode, "unset" in done.stderr) == (1, False)
    done = sandbox.run("set", "llm.api_key=sk-never-shown", variables=LOCAL)
    assert (done.returncode, "sk-never" in done.stderr) == (2, False)
