"""What bash, zsh and fish complete: in the shells themselves, and through the command as they call it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stigmer_config import LiveConfig
from stigmer_config.cli.groups import COMMANDS
from stigmer_config.settings.declarations import CORE_PROVIDERS, SETTINGS
from stigmer_config.settings.packaged_providers import packaged_providers
from stigmer_config.settings.value_types import Choice
from tests.support import command_server
from tests.support.cli_tools import COMMAND, ask, variables_of
from tests.support.sandbox import Sandbox
from tests.support.terminal import Terminal

SHELLS = {"bash": ("--norc", "--noprofile", "-i"), "zsh": ("-f", "-i"), "fish": ("--no-config", "-i")}
LEARN = {
    "bash": 'eval "$(stigmer config completion bash)"',
    "zsh": 'autoload -Uz compinit; compinit -D; eval "$(stigmer config completion zsh)"',
    "fish": "stigmer config completion fish | source",
}
CLEAR = "\x15"  # Ctrl-U: the line is empty again, in all three
# Words that are safe in a shell: nothing that it would expand, run or read as an option.
PLAIN = re.compile(r"[A-Za-z0-9._/@][A-Za-z0-9._:/@+=-]*|--?[a-z-]+")


def asked(sandbox: Sandbox, *words: str, variables: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The command as bash calls it for the last of `words`, which are parted as bash parts them."""
    environment = {
        "_STIGMER_COMPLETE": "bash_complete",
        "COMP_WORDS": "\n".join(("stigmer", *words)),
        "COMP_CWORD": str(len(words)),
        **(variables or {}),
    }
    return command_server.run(cwd=sandbox.project, env=variables_of(sandbox, environment))


def completed(sandbox: Sandbox, *words: str, variables: dict[str, str] | None = None) -> set[str]:
    """What is offered for the last of `words`."""
    done = asked(sandbox, *words, variables=variables)
    assert (done.returncode, done.stderr) == (0, "")
    return {line.partition(",")[2] for line in done.stdout.splitlines() if line}


@contextlib.contextmanager
def shell(sandbox: Sandbox, name: str) -> Iterator[Terminal]:
    """A person's shell on a terminal, which has learned to complete."""
    path = f"{os.path.dirname(COMMAND)}:{os.environ.get('PATH', os.defpath)}"
    environment = variables_of(sandbox, {"PATH": path, "PS1": "> "})
    with Terminal([name, *SHELLS[name]], environment, sandbox.project, name) as terminal:
        # What is typed is not what is waited for.
        terminal.type(f"{LEARN[name]}; echo lear''ned", "Enter")
        terminal.wait("learned")
        yield terminal


@pytest.mark.parametrize("name", SHELLS)
def test_a_shell_completes_what_is_typed(sandbox: Sandbox, name: str) -> None:
    """After a TAB the word is whole: colons and equals signs in it, and no space where it goes on."""
    sandbox.write(user="mode: local\naliases: {tango: fast}\n")
    with shell(sandbox, name) as terminal:
        for typed, more, whole in (
            ("stigmer conf", "", "stigmer config"),
            ("stigmer config exp", "llm.mod", "stigmer config explain llm.mod"),
            ("stigmer config set llm.model ollama:qwen2.5-coder:7", "", "ollama:qwen2.5-coder:7b"),
            ("stigmer config set llm.model tan", "", "llm.model tango"),
            ("stigmer config show --set llm.temper", "0.2", "--set llm.temperature=0.2"),
            ("stigmer config show --set llm.model=tan", "", "--set llm.model=tango"),
            ("stigmer config show --format=js", "", "--format=json"),
            ("stigmer config get aliases.tan", "", "aliases.tango"),
            ("stigmer config get prov", "x", "providers.x" if name == "bash" else "providers."),
        ):
            terminal.type(typed, "\t", *([more] if more else []))
            terminal.wait(whole)
            terminal.type(CLEAR)


@pytest.mark.parametrize("name", SHELLS)
def test_a_shell_lists_the_choices(sandbox: Sandbox, name: str) -> None:
    """Where several words fit, they are listed."""
    with shell(sandbox, name) as terminal:
        terminal.type("stigmer config set llm.provider ", "\t", "\t")
        for word in CORE_PROVIDERS:
            terminal.wait(word)
        terminal.type(CLEAR, "stigmer config diff cl", "\t")
        terminal.wait("diff cloud")


@pytest.mark.parametrize("name", SHELLS)
def test_a_script_is_for_the_shell_that_is_named_or_used(sandbox: Sandbox, name: str) -> None:
    """With SHELL, and by $SHELL without; the shell itself finds no fault in it."""
    named = ask(sandbox, "completion", name)
    assert (named.status, named.err) == (0, "")
    assert ask(sandbox, "completion", variables={"SHELL": f"/usr/bin/{name}"}) == named
    with contextlib.suppress(FileNotFoundError):
        done = subprocess.run([name, "-n"], input=named.out, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_without_a_known_shell_it_is_wrong_usage(sandbox: Sandbox) -> None:
    """Another shell, or none: the three are named."""
    for variables, said in (({"SHELL": "/bin/tcsh"}, "$SHELL names tcsh"), ({}, "$SHELL is not set")):
        answer = ask(sandbox, "completion", variables=variables)
        assert (answer.status, answer.out) == (2, "")
        assert said in answer.err
        assert all(name in answer.err for name in SHELLS)


def test_the_help_says_how_to_make_it_permanent(sandbox: Sandbox) -> None:
    """For each shell: the line for this time, and the line for good."""
    text = ask(sandbox, "completion", "--help").out
    assert text.count("~/.bashrc") == text.count("~/.zshrc") == text.count("~/.config/fish/completions/") == 1
    for name in SHELLS:
        assert text.count(f"stigmer config completion {name}") >= 2


def test_commands_keys_and_aliases_are_offered(sandbox: Sandbox) -> None:
    """Commands, keys, sections and aliases; sections that fill a screen open when they are typed."""
    sandbox.write(user="aliases: {fable: fast}\n")
    assert completed(sandbox, "config", "") == set(COMMANDS)
    assert completed(sandbox, "config", "ex") == {"explain"}
    models = {"llm.model", "llm.max_tokens", "llm.max_retries", "llm.model_name", "llm.model_id"}
    assert completed(sandbox, "config", "get", "llm.m") == models
    assert completed(sandbox, "config", "explain", "aliases.fa") == {"aliases.fast", "aliases.fable"}
    sandbox_keys = {key for key in SETTINGS if key.startswith("sandbox.")}
    assert completed(sandbox, "config", "show", "sand") == {"sandbox", *sandbox_keys}
    assert completed(sandbox, "config", "get", "prov") == {f"providers.{provider}." for provider in CORE_PROVIDERS}
    ollama = {key for key in SETTINGS if key.startswith("providers.ollama.")}
    assert completed(sandbox, "config", "set", "providers.ollama.") == ollama
    assert completed(sandbox, "config", "set", "aliases.fable.") == {f"aliases.fable.{p}" for p in packaged_providers()}
    assert completed(sandbox, "config", "trust", "--") >= {"--show", "--revoke", "--with-credentials"}


@pytest.mark.parametrize("key", [key for key, setting in SETTINGS.items() if isinstance(setting.value_type, Choice)])
def test_the_choices_of_a_key_are_offered(sandbox: Sandbox, key: str) -> None:
    """`set KEY` and `--set KEY=` offer the values of the key, and `null` if it is nullable."""
    setting = SETTINGS[key]
    assert isinstance(setting.value_type, Choice)
    words = {*setting.value_type.choices, *setting.value_type.extra, *(["null"] if setting.nullable else [])}
    assert completed(sandbox, "config", "set", key, "") == words
    assert completed(sandbox, "config", "show", "--set", key, "=") == words


def test_models_are_offered(sandbox: Sandbox) -> None:
    """Aliases and known models that are not retired; after `provider:` and for `providers.P.model` that provider's."""
    sandbox.write(project="aliases: {fable: fast}\n")
    every = completed(sandbox, "config", "set", "llm.model", "")
    assert every >= {"fast", "fable", "claude-sonnet-5.5", "gpt-6.1-terra", "qwen2.5-coder:7b"}
    assert "claude-3-opus" not in every
    assert completed(sandbox, "config", "set", "llm.model", "qwen3-c") == {"qwen3-coder:30b"}
    # bash splits the word: only the part after the last colon is replaced.
    assert completed(sandbox, "config", "set", "llm.model", "ollama", ":", "qwen3-c") == {"qwen3-coder:30b"}
    assert completed(sandbox, "config", "set", "llm.model", "qwen3-coder", ":") == {"30b"}
    assert completed(sandbox, "config", "show", "--set", "llm.model", "=", "qwen3-coder", ":", "3") == {"30b"}
    assert completed(sandbox, "config", "set", "llm.model", "'ollama:qwen3-c") == {"ollama:qwen3-coder:30b"}
    openai = completed(sandbox, "config", "set", "providers.openai.model", "g")
    assert "gpt-6.1-sol" in openai
    assert all(name.startswith("gpt-") for name in openai)
    assert completed(sandbox, "config", "show", "--llm-model", "fa") == {"fast", "fable"}
    assert completed(sandbox, "config", "set", "aliases.x.ollama", "phi") == {"phi4:14b"}
    assert completed(sandbox, "config", "models", "--pull", "phi") == {"phi4:14b"}


def test_options_and_their_values_are_offered(sandbox: Sandbox) -> None:
    """Formats, modes, providers, assignments; `--option=VALUE` as bash parts it; files where files go."""
    assert completed(sandbox, "config", "show", "--format", "") == {"table", "json", "yaml", "env"}
    assert completed(sandbox, "config", "show", "--format", "=", "j") == {"json"}
    assert completed(sandbox, "config", "get", "--mode", "") == {"local", "cloud"}
    assert completed(sandbox, "config", "show", "--llm-provider", "a") == {"anthropic", "auto"}
    assert completed(sandbox, "config", "show", "--set", "backend.") == {"backend.endpoint="}
    assert completed(sandbox, "config", "show", "--set", "mo") == set()
    assert completed(sandbox, "config", "show", "--set", "=", "llm.temp") == {"llm.temperature="}
    assert asked(sandbox, "config", "diff", "").stdout.splitlines() == ["file,", "plain,local", "plain,cloud"]
    assert asked(sandbox, "config", "validate", "x").stdout.splitlines() == ["file,x"]
    assert asked(sandbox, "config", "get", "--project-dir", "x").stdout.splitlines() == ["dir,x"]
    assert completed(sandbox, "config", "completion", "") == set(SHELLS)


def test_a_word_in_the_middle_of_the_line_is_completed(sandbox: Sandbox) -> None:
    """The text after the cursor changes nothing."""
    variables = {"COMP_WORDS": "stigmer\nconfig\nget\n\n--mode\nlocal", "COMP_CWORD": "3"}
    assert "llm.model" in completed(sandbox, variables=variables)


def test_the_options_on_the_line_decide_which_aliases_are_offered(sandbox: Sandbox) -> None:
    """--no-project and --project-dir count as they will when the line is run."""
    sandbox.write(project="aliases: {here: fast}\n")
    other = sandbox.root / "other"
    (other / ".stigmer").mkdir(parents=True)
    (other / ".stigmer" / "config.yaml").write_text("aliases: {there: fast}\n")
    model = ("--llm-model", "")
    assert "here" in completed(sandbox, "config", "show", *model)
    assert "here" not in completed(sandbox, "config", "show", "--no-project", *model)
    assert "there" in completed(sandbox, "config", "show", "--project-dir", str(other), *model)


def test_unset_offers_the_keys_in_the_file(sandbox: Sandbox) -> None:
    """The keys of your file, or with --project of the project's."""
    sandbox.write(user="mode: local\nllm: {timeout: 5}\n", project="llm: {temperature: 0.5}\n")
    assert completed(sandbox, "config", "unset", "") == {"mode", "llm.timeout"}
    assert completed(sandbox, "config", "unset", "--project", "") == {"llm.temperature"}
    sandbox.write(user="mode: local\nllm: {timeuot: 3}\n")
    assert completed(sandbox, "config", "unset", "llm.") == {"llm.timeuot"}
    assert completed(sandbox, "config", "unset", "--fleet", "llm.ti") == {"llm.timeout"}


def test_running_workers_are_offered(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """`diff --worker` takes the process of one that runs."""
    runtime = sandbox.root / "run"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    sandbox.write(user="mode: local\n")
    variables = {"XDG_RUNTIME_DIR": str(runtime)}
    with LiveConfig.start(environment=sandbox.environment(variables)):
        assert completed(sandbox, "config", "diff", "--worker", "", variables=variables) == {str(os.getpid())}
    assert completed(sandbox, "config", "diff", "--worker", "", variables=variables) == set()


def test_no_command_is_run_and_no_server_is_called(sandbox: Sandbox) -> None:
    """No secret's command is run, no request is sent to the fleet's store or Ollama, and no secret is offered."""
    ran = sandbox.root / "ran"
    key = f"{{command: [/usr/bin/touch, {ran}]}}"
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        sandbox.write(
            user=f"mode: local\nllm: {{base_url: {address}}}\nproviders: {{anthropic: {{api_key: {key}}}}}\n"
            "backend: {api_key: sk-hidden}\n"
        )
        variables = {"STIGMER_ETCD": f"{address}/stigmer", "MODE": "local"}
        assert completed(sandbox, "config", "set", "llm.model", "fa", variables=variables) == {"fast"}
        assert completed(sandbox, "config", "get", "aliases.fa", variables=variables) == {"aliases.fast"}
        assert completed(sandbox, "config", "models", "--pull", "fa", variables=variables) == {"fast"}
        assert completed(sandbox, "config", "set", "backend.api_key", "", variables=variables) == set()
        with pytest.raises(BlockingIOError):
            server.accept()
    assert not ran.exists()


def test_a_clone_puts_nothing_harmful_on_the_line(sandbox: Sandbox) -> None:
    """A name that a shell would run, expand, part or read as an option is not offered."""
    names = ["$(touch x)", "`x`", "a b", "x;y", "--reveal", "*", "~x", "a\\nb", "\\e[31m", "x'", "$HOME", "ok-1.2"]
    sandbox.write(project="aliases:\n" + "".join(f'  "{name}": fast\n' for name in names))
    for words in (
        ("get", "aliases."),
        ("show", "--llm-model", ""),
        ("set", "llm.model", ""),
        ("unset", "--project", ""),
    ):
        offered = completed(sandbox, "config", *words)
        assert [word for word in offered if not PLAIN.fullmatch(word)] == []
        assert any("ok-1.2" in word for word in offered), words
        assert not any(
            "reveal" in word.removeprefix("aliases.") and not word.startswith("aliases.") for word in offered
        )


def test_faults_are_silent(sandbox: Sandbox) -> None:
    """A broken file, a deleted folder, garbage from the shell: less is offered, nothing is said."""
    sandbox.write(user="aliases: [\n")
    assert completed(sandbox, "config", "get", "aliases.f") == {"aliases.fast"}
    script = f"mkdir gone && cd gone && rmdir ../gone && {COMMAND}"
    words = {"_STIGMER_COMPLETE": "bash_complete", "COMP_WORDS": "stigmer\nconfig\nget\naliases.f", "COMP_CWORD": "3"}
    for command, extra in (
        (["/bin/bash", "-c", script], {}),
        ([COMMAND], {"COMP_CWORD": "many"}),
        ([COMMAND], {"COMP_CWORD": "99"}),
        ([COMMAND], {"_STIGMER_COMPLETE": "csh_complete"}),
        ([COMMAND], {"_STIGMER_COMPLETE": ""}),
    ):
        variables = variables_of(sandbox, {**words, **extra})
        done = subprocess.run(command, cwd=sandbox.project, env=variables, capture_output=True, text=True, check=False)
        offered = "" if extra else "plain,aliases.fast"  # without a working folder there is no project, and the rest
        assert (done.returncode, done.stdout.strip(), done.stderr) == (0, offered, ""), extra


WORDS = st.one_of(
    st.sampled_from(["config", *COMMANDS, *SETTINGS, "--set", "--format", "=", ":", "--mode", "--", "-", "", "llm.x"]),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8),
)


@given(words=st.lists(WORDS, min_size=1, max_size=6), at=st.integers(-1, 7), name=st.sampled_from(sorted(SHELLS)))
def test_no_line_makes_it_fail(tmp_path_factory: pytest.TempPathFactory, words: list[str], at: int, name: str) -> None:
    """For any command line and cursor position: exit 0 and nothing on standard error."""
    sandbox = Sandbox(tmp_path_factory.mktemp("world"))
    line = "\n".join(("stigmer", "config", *words))
    variables = {"_STIGMER_COMPLETE": f"{name}_complete", "COMP_WORDS": line, "COMP_CWORD": str(at)}
    done = asked(sandbox, variables=variables)
    assert (done.returncode, done.stderr) == (0, "")


def test_it_costs_little(sandbox: Sandbox) -> None:
    """The list of commands imports none of them; nothing that talks to a network or starts threads is imported."""
    code = (
        "import atexit, json, sys\n"
        "atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.__stderr__))\n"
        "from stigmer_config.cli import main\nmain()"
    )
    for words in ("config\n", "config\nset\nllm.model\n", "config\nshow\n--set\nllm.provider\n=\n"):
        variables = {
            "_STIGMER_COMPLETE": "bash_complete",
            "COMP_WORDS": f"stigmer\n{words}",
            "COMP_CWORD": str(words.count("\n")),
        }
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=sandbox.project,
            env=variables_of(sandbox, variables),
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip()
        modules = set(json.loads(done.stderr))
        heavy = {"asyncio", "dynaconf.base", "httpx2", "ssl", "structlog", "watchdog", "subprocess", "langchain_core"}
        assert sorted(modules & heavy) == []
        commands = {name for name in COMMANDS if f"stigmer_config.cli.commands.{name}" in modules}
        assert commands <= {words.split("\n")[1]}


def test_the_variable_of_click_still_prints_the_script(sandbox: Sandbox) -> None:
    """Who has click's own line in a profile keeps completion."""
    for name in SHELLS:
        done = asked(sandbox, variables={"_STIGMER_COMPLETE": f"{name}_source"})
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.strip() == ask(sandbox, "completion", name).out.strip()
        assert Path(COMMAND).name in done.stdout
