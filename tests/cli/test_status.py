"""Exit statuses, usage errors, and secrets that never show."""

from __future__ import annotations

import json

import pytest

from stigmer_config.settings.declarations import SETTINGS
from tests.support.cli_tools import ask
from tests.support.sandbox import Sandbox

TYPO = "llm: {modle: fast}\n"
REDIRECT = "llm:\n  base_url: https://elsewhere.example\n"
LOCAL = {"MODE": "local"}
COMMANDS = (
    ("show",),
    ("show", "--origin", "--format", "json"),
    ("explain", "llm.model"),
    ("validate",),
    ("path",),
    ("aliases",),
)


def test_without_errors_every_command_ends_with_0(sandbox: Sandbox) -> None:
    """A configuration with warnings only is fine for every command."""
    sandbox.write(user="llm: {api_key: unused-by-ollama}\n")
    for argv in (*COMMANDS, ("get", "llm.model")):
        answer = ask(sandbox, *argv, variables={**LOCAL, "STIGMER_LLM_MODLE": "x"})
        assert answer.status == 0, answer


def test_with_errors_every_command_but_get_ends_with_1(sandbox: Sandbox) -> None:
    """An error anywhere is exit 1; `get` of another key is not concerned."""
    sandbox.write(user=TYPO)
    for argv in COMMANDS:
        answer = ask(sandbox, *argv, variables=LOCAL)
        assert (answer.status, bool(answer.out)) == (1, True), answer
    assert ask(sandbox, "get", "llm.provider", variables=LOCAL) == (0, "ollama\n", "")


def test_what_an_untrusted_project_sets_ends_with_3_before_1(sandbox: Sandbox) -> None:
    """`untrusted-key` is exit 3, other errors beside it or not."""
    sandbox.write(user=TYPO, project=REDIRECT)
    for argv in (*COMMANDS, ("get", "llm.base_url")):
        assert ask(sandbox, *argv, variables=LOCAL).status == 3, argv
    assert ask(sandbox, "show", "--no-project", variables=LOCAL).status == 1


def test_a_failing_command_never_fails_in_silence(sandbox: Sandbox) -> None:
    """A command that fails prints the reason, or the command that shows it, to standard error."""
    sandbox.write(user=TYPO)
    for argv in COMMANDS:
        answer = ask(sandbox, *argv, variables=LOCAL)
        if "json" not in argv:
            assert "unknown-key" in answer.err or "stigmer config validate" in answer.err, argv


def test_get_fails_only_for_its_own_key_or_a_file_that_cannot_be_read(sandbox: Sandbox) -> None:
    """`get` prints the value it can determine; its status is only about that value."""
    sandbox.write(user="llm:\n  temperature: hot\n  timeout: 5\nlogging: {level: loud}\n")
    assert ask(sandbox, "get", "llm.timeout", variables=LOCAL) == (0, "5.0\n", "")
    hot = ask(sandbox, "get", "llm.temperature", variables=LOCAL)
    assert (hot.status, hot.out) == (1, "0.0\n")
    assert "error[wrong-type] llm.temperature" in hot.err
    assert "logging" not in hot.err
    sandbox.write(user="llm: [\n")
    broken = ask(sandbox, "get", "llm.timeout", variables=LOCAL)
    assert (broken.status, broken.out) == (1, "")
    assert "error[yaml-syntax]" in broken.err
    sandbox.write(user="")
    sandbox.user_file.chmod(0o666)
    assert ask(sandbox, "get", "llm.timeout", variables=LOCAL).status == 1


@pytest.mark.parametrize("text", ["llm: [\n", "llm: {timeout: 1}\nllm: {timeout: 2}\n", "llm: hot\n"])
def test_get_does_not_fail_for_a_file_below_the_one_that_its_value_comes_from(sandbox: Sandbox, text: str) -> None:
    """Whatever is wrong there: what it says would lose."""
    sandbox.write(user=text)
    variables = {**LOCAL, "STIGMER_LLM_TIMEOUT": "7", "STIGMER_LLM_MODEL": "x:1b"}
    assert ask(sandbox, "get", "llm.timeout", variables=variables) == (0, "7.0\n", "")
    assert ask(sandbox, "get", "llm.model", variables=variables) == (0, "x:1b\n", "")
    assert ask(sandbox, "get", "mode", variables=variables) == (0, "local\n", "")
    sandbox.write(project="llm: {timeout: 8}\n")
    assert ask(sandbox, "get", "llm.timeout", variables=LOCAL) == (0, "8.0\n", "")
    sandbox.write(user="llm: {timeout: 8}\n", project=text)
    assert ask(sandbox, "get", "llm.timeout", variables=LOCAL).status == 1


def test_get_fails_for_any_file_that_might_say_what_a_name_means(sandbox: Sandbox) -> None:
    """All files add to the aliases, and to what is locked."""
    sandbox.write(user="llm: [\n")
    variables = {**LOCAL, "STIGMER_LLM_MODEL": "x:1b"}
    assert ask(sandbox, "get", "llm.model_id", variables=variables)[:2] == (1, "x:1b\n")
    assert ask(sandbox, "get", "locked", variables=variables).status == 1


def test_get_fails_for_an_error_that_concerns_its_effective_value(sandbox: Sandbox) -> None:
    """A broken setting of the active provider, or a broken alias behind the model, concerns the effective value."""
    sandbox.write(
        user="llm: {model: mine}\naliases: {mine: a, a: b, b: a}\n"
        "providers: {ollama: {max_tokens: 0}, openai: {max_tokens: 0}}\n"
    )
    assert ask(sandbox, "get", "llm.max_tokens", variables=LOCAL).status == 1
    assert "alias-cycle" in ask(sandbox, "get", "llm.model_id", variables=LOCAL).err
    assert ask(sandbox, "get", "llm.timeout", variables=LOCAL).status == 0


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("llm: {timeout: 1}\nllm: {max_tokens: 2}\n", "llm.max_tokens", "8192\n"),
        ("providers: {ollama: {timeout: 1}, ollama: {max_tokens: 2}}\n", "llm.max_tokens", "8192\n"),
        ("providers: [ollama]\n", "llm.max_tokens", "8192\n"),
        ("llm: hot\n", "llm.temperature", "0.0\n"),
        ("temporal: {namespace: x}\ntemporal: {namespace: y}\n", "temporal.namespace", "x\n"),
        ("aliases: {a: fast}\naliases: {b: fast}\n", "aliases.a", "fast\n"),
        ("llm: {model: my}\naliases: 5\n", "llm.model_name", "my\n"),
        ("llm: {model: my}\naliases: {my: a b}\n", "llm.model_id", "my\n"),
    ],
)
def test_get_fails_for_an_error_of_the_section_it_looks_into(sandbox: Sandbox, text: str, key: str, value: str) -> None:
    """The value might have stood in what did not count; other sections are none of its business."""
    sandbox.write(user=text)
    answer = ask(sandbox, "get", key, variables=LOCAL)
    assert (answer.status, answer.out) == (1, value)
    assert answer.err
    assert ask(sandbox, "get", "logging.level", variables=LOCAL).status == 0


def test_get_prints_nothing_but_the_value(sandbox: Sandbox) -> None:
    """Scripts get the bare value: lists and mappings as JSON, nothing for a key without a value."""
    sandbox.write(user="llm: {model: fast}\nlocked: [llm.model, sandbox]\naliases: {big: {ollama: 'a:1'}}\n")
    wanted = {
        "llm.model": "fast",
        "llm.model_name": "llama3.2:3b",
        "llm.alias": "fast",
        "llm.temperature": "0.0",
        "llm.api_key": None,
        "redis.port": None,
        "locked": '["llm.model", "sandbox"]',
        "aliases.big": '{"ollama": "a:1"}',
    }
    for key, value in wanted.items():
        answer = ask(sandbox, "get", key, variables=LOCAL)
        assert answer == (0, f"{value}\n" if value is not None else "", ""), key


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("get", "llm.modle"), "did you mean llm.model?"),
        (("get", "modle"), "did you mean mode?"),
        (("get", "temprature"), "there is no key 'temprature'"),
        (("get", "llm"), "stigmer config show llm"),
        (("get", "aliases.fats"), "did you mean aliases.fast?"),
        (("get", ""), "there is no key ''"),
        (("get",), "KEY"),
        (("explain", "sandbox.rootdir"), "did you mean sandbox.root_dir?"),
        (("explain", "aliases.fats"), "did you mean aliases.fast?"),
        (("show", "lmm"), "did you mean llm?"),
        (("show", "zzz"), "stigmer config show --all"),
        (("show", "--set", "llm.temprature=1"), "did you mean llm.temperature?"),
        (("show", "--set", "llm.temperature"), "--set llm.temperature=VALUE"),
        (("show", "--set", "mode=local"), "--mode local"),
        (("show", "--set", "llm.model_id=x"), "llm.model"),
        (("show", "--anthropic-key", "sk-ant-argv"), "standard input"),
        (("show", "--anthropic-key", "-"), "no key on standard input"),
        (("show", "--mode", "lokal"), "local"),
        (("show", "--modee", "local"), "--mode"),
        (("show", "--format", "xml"), "yaml"),
        (("shwo",), "did you mean show?"),
        (("aliasse",), "did you mean aliases?"),
    ],
)
def test_wrong_usage_ends_with_2_and_names_what_was_meant(sandbox: Sandbox, argv: tuple[str, ...], said: str) -> None:
    """A typing error on the command line prints nothing to standard output and suggests the right word."""
    answer = ask(sandbox, *argv, variables=LOCAL)
    assert (answer.status, answer.out) == (2, "")
    assert said in answer.err
    assert "sk-ant-argv" not in answer.err


def test_a_command_without_config_is_recognized(sandbox: Sandbox) -> None:
    """`stigmer show` suggests `stigmer config show`."""
    from click.testing import CliRunner

    from stigmer_config.cli.groups import stigmer

    result = CliRunner().invoke(stigmer, ["show"])
    assert result.exit_code == 2
    assert "stigmer config show" in result.stderr


@pytest.mark.parametrize("key", [key for key, setting in SETTINGS.items() if setting.is_secret])
def test_a_secret_on_the_command_line_is_refused(sandbox: Sandbox, key: str) -> None:
    """`--set` of any secret is exit 2, before anything is loaded, and the secret is not repeated."""
    for assignment in (f"{key}=sk-on-argv", key):
        answer = ask(sandbox, "show", "--set", assignment, variables=LOCAL)
        assert (answer.status, answer.out) == (2, "")
        assert "config.yaml" in answer.err
        assert "sk-on-argv" not in answer.err


def test_the_anthropic_key_comes_from_standard_input(sandbox: Sandbox) -> None:
    """`--anthropic-key -` reads one line, uses Anthropic with it, and masks it."""
    answer = ask(
        sandbox, "show", "llm", "--origin", "--anthropic-key", "-", variables=LOCAL, stdin="sk-ant-stdin\nmore\n"
    )
    assert answer.status == 0
    rows = {line.split()[0]: line.split()[1:] for line in answer.out.splitlines()}
    assert rows["llm.provider"] == ["anthropic", "flags", "--anthropic-key"]
    assert rows["llm.api_key"] == ["********", "flags", "--anthropic-key"]
    assert "sk-ant-stdin" not in answer.both


def secrets() -> tuple[str, dict[str, str]]:
    """A user file with every secret there is, and the secrets by key."""
    given = {key: f"hidden-{number}-value" for number, key in enumerate(k for k, s in SETTINGS.items() if s.is_secret)}
    lines = ["mode: cloud", f"llm: {{api_key: {given['llm.api_key']}}}", "providers:"]
    lines += [f"  {p}: {{api_key: {given[f'providers.{p}.api_key']}}}" for p in ("anthropic", "ollama", "openai")]
    lines += [
        f"{section}: {{{name}: {given[f'{section}.{name}']}}}"
        for section, name in (k.split(".") for k in given if k.count(".") == 1)
        if section != "llm"
    ]
    return "\n".join(lines) + "\n", given


def test_no_command_shows_a_secret_without_reveal(sandbox: Sandbox) -> None:
    """Every secret is masked in every command and format; `--reveal` shows each one."""
    text, given = secrets()
    sandbox.write(user=text)
    shows = [
        ("show", "--all", *origin, "--format", form)
        for form in ("table", "json", "yaml", "env")
        for origin in ((), ("--origin",))
    ]
    quiet = [*shows, ("validate",), ("path",), ("aliases",), *(("get", key) for key in given)]
    quiet += [("explain", key, "--format", form) for key in given for form in ("text", "json")]
    for argv in quiet:
        answer = ask(sandbox, *argv)
        assert answer.status == 0, answer
        assert [value for value in given.values() if value in answer.both] == [], argv
    for argv in shows:
        revealed = ask(sandbox, *argv, "--reveal").out
        missing = {key for key, value in given.items() if value not in revealed}
        # Those without a variable are no part of `env`.
        assert missing == ({key for key in given if SETTINGS[key].variable is None} if "env" in argv else set()), argv
    assert {key: ask(sandbox, "get", key, "--reveal").out.strip() for key in given if key != "llm.api_key"} == {
        key: value for key, value in given.items() if key != "llm.api_key"
    }


def test_a_secret_in_a_broken_file_is_not_quoted(sandbox: Sandbox) -> None:
    """Neither a syntax error nor a mistyped key beside or on a secret's line shows it."""
    for text in (
        "llm:\n  api_key: hidden-a\n  model: [\n",
        "llm:\n  api_kye: hidden-a\n",
        "llm: {api_key: hidden-a, modle: x}\n",
        "llm:\n  api_key: [hidden-a]\n",
    ):
        sandbox.write(user=text)
        for argv in (("show",), ("validate",), ("validate", "--format", "json"), ("get", "llm.api_key")):
            answer = ask(sandbox, *argv, variables=LOCAL)
            assert answer.status == 1 or argv[0] == "get", (text, argv)
            assert "hidden-a" not in answer.both, (text, argv)


def test_validate_checks_files_by_themselves(sandbox: Sandbox) -> None:
    """`validate FILE…` ignores this machine, reports the problems of all files, and recognises a project's file."""
    sandbox.write(user=TYPO, project=REDIRECT)
    good, bad = sandbox.root / "good.yaml", sandbox.root / "bad.yaml"
    good.write_text("mode: cloud\nllm: {model: fast}\n")
    bad.write_text("llm: {temperature: 9}\nloging: {}\n")
    variables = {"STIGMER_LLM_TEMPERATURE": "hot"}
    assert ask(sandbox, "validate", "--mode", "local", str(good), variables=variables) == (0, "no problems\n", "")
    files = (str(good), str(bad), str(sandbox.project_file))
    answer = ask(sandbox, "validate", "--mode", "local", *files, variables=variables)
    assert (answer.status, answer.out) == (3, "3 errors\n")
    for said in (
        f"{bad}:1:20: error[out-of-range]",
        f"{bad}:2:1: error[unknown-key]",
        "error[untrusted-key] llm.base_url",
    ):
        assert said in answer.err
    missing = ask(sandbox, "validate", "--mode", "local", str(sandbox.root / "none.yaml"), "--format", "json")
    assert missing.status == 1
    assert [problem["code"] for problem in json.loads(missing.out)["problems"]] == ["unreadable-file"]


def test_validate_reads_standard_input(sandbox: Sandbox) -> None:
    """`validate -` checks what is piped in as a user's file, with its places, its size and its encoding."""
    piped = ("validate", "--mode", "local", "-")
    assert ask(sandbox, *piped, stdin="llm: {model: fast}\n") == (0, "no problems\n", "")
    answer = ask(sandbox, *piped, stdin="llm: {modl: fast}\n")
    assert (answer.status, answer.out) == (1, "1 error\n")
    assert answer.err.startswith("<stdin>:1:7: error[unknown-key] llm.modl")
    answer = ask(sandbox, *piped, "--format", "json", stdin="#" * 70_000)
    assert [problem["code"] for problem in json.loads(answer.out)["problems"]] == ["too-large"]
    assert sandbox.run(*piped, stdin="llm: {temperature: 9}\n").stderr.startswith("<stdin>:1:20: error[out-of-range]")


def test_validate_takes_the_mode_of_a_load(sandbox: Sandbox) -> None:
    """`--mode`, then MODE, then the file's own; an invalid MODE is reported once for all files."""
    text = "llm: {temperature: 1.5}\n"  # too much for Anthropic
    plain, own = sandbox.root / "plain.yaml", sandbox.root / "own.yaml"
    plain.write_text(text)
    own.write_text(f"mode: local\n{text}")
    for file, variables, status in [(plain, {}, 1), (own, {}, 0), (plain, LOCAL, 0), (own, {"MODE": "cloud"}, 1)]:
        assert ask(sandbox, "validate", str(file), variables=variables).status == status
        assert ask(sandbox, "validate", "--mode", "local", str(file), variables=variables).status == 0
    answer = ask(sandbox, "validate", str(own), str(own), variables={"MODE": "prod"})
    assert (answer.status, answer.out) == (1, "1 error\n")
    assert answer.err.startswith("MODE: error[invalid-choice] mode: Invalid mode 'prod'")
