"""`set`, `unset` and `init` as people use them: what is written, refused, and said."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.support.sandbox import Sandbox
from tests.support.terminal import Terminal

LOCAL = {"MODE": "local"}
SECRET = "sk-ant-do-not-show-0123456789"


@pytest.mark.parametrize(
    ("key", "text", "line"),
    [
        ("llm.temperature", "0.7", "  temperature: 0.7"),
        ("llm.timeout", "60", "  timeout: 60"),
        ("llm.max_tokens", "4096", "  max_tokens: 4096"),
        ("llm.max_tokens", "null", "  max_tokens: null"),
        ("llm.model", "1.10", '  model: "1.10"'),
        ("llm.base_url", "http://localhost:9", "  base_url: http://localhost:9"),
        ("logging.level", "DEBUG", "  level: debug"),
        ("mode", "local", "mode: local"),
        ("locked", "[llm.model, sandbox]", "locked: [llm.model, sandbox]"),
        ("locked", "llm.model,llm.model", "locked: [llm.model]"),
        ("aliases.mine", "anthropic:claude-sonnet-4.5", "  mine: anthropic:claude-sonnet-4.5"),
        ("aliases.mine.ollama", "phi4:14b", "    ollama: phi4:14b"),
        ("providers.ollama.num_ctx", "8192", "    num_ctx: 8192"),
        ("temporal.namespace", "null", '  namespace: "null"'),
        ("aliases.mine.mistralai", "mistral-large-latest", "    mistralai: mistral-large-latest"),
        ("llm.fallbacks", "fast,lmstudio:m", '  fallbacks: [fast, "lmstudio:m"]'),
        ("llm.parameters", '{"seed": 7, "stop": ["a: b", "c"]}', '  parameters: {seed: 7, stop: ["a: b", c]}'),
        ("llm.parameters", "{top_p: 0.5}", "  parameters: {top_p: 0.5}"),
        ("providers.groq.headers", "{X-Team: agents}", "    headers: {X-Team: agents}"),
        ("providers.groq.headers", "{X-Auth: {env: TOKEN}}", "    headers: {X-Auth: {env: TOKEN}}"),
    ],
)
def test_a_value_is_read_by_its_keys_type(sandbox: Sandbox, key: str, text: str, line: str) -> None:
    """The command line's string becomes a number, a list, null or a string, by the key's type."""
    done = sandbox.run("set", key, text, variables=LOCAL)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert line in sandbox.user_file.read_text().splitlines()
    assert "~/.stigmer/config.yaml:" in done.stderr


@pytest.mark.parametrize(
    ("key", "text", "code"),
    [
        ("llm.temperature", "hot", "wrong-type"),
        ("llm.temperature", "3", "out-of-range"),
        ("llm.temperature", "-1", "out-of-range"),
        ("llm.temperature", "inf", "wrong-type"),  # in YAML that is a string
        ("llm.temperature", ".inf", "out-of-range"),
        ("llm.temperature", ".nan", "out-of-range"),
        ("llm.max_tokens", "1.5", "wrong-type"),
        ("llm.max_tokens", "", "wrong-type"),
        ("llm.max_tokens", "9" * 30, "out-of-range"),
        ("llm.provider", "gemini", "invalid-choice"),
        ("llm.base_url", "localhost:1", "invalid-url"),
        ("llm.model", "", "empty-model"),
        ("llm.model", "a b", "invalid-model"),
        ("llm.fallbacks", "bedrock:x", "unknown-provider"),
        ("llm.parameters", "[1]", "wrong-type"),
        ("llm.parameters", "{messages: []}", "unsupported-parameter"),
        ("providers.groq.headers", "{Host: x}", "unsupported-parameter"),
        ("temporal.namespace", "", "out-of-range"),
        ("temporal.address", "nowhere", "wrong-type"),
        ("aliases.a", "a", "alias-cycle"),
    ],
)
def test_a_wrong_value_is_refused_as_a_load_would(sandbox: Sandbox, key: str, text: str, code: str) -> None:
    """The problem has the load's code, key and place; neither file nor folder comes into being."""
    done = sandbox.run("set", key, text, variables=LOCAL)
    assert done.returncode == 1
    assert f"error[{code}] {key}: " in done.stderr
    assert f"{sandbox.user_file}:" in done.stderr
    assert not sandbox.user_file.parent.exists()


@pytest.mark.parametrize(
    "argv",
    [
        ("set", "llm.modle", "fast"),
        ("set", "llm", "fast"),
        ("set", "llm.model_id", "x"),
        ("set", "llm.model"),
        ("set", "llm.model", "fast", "--stdin"),
        ("set", "llm.model", "fast", "more"),
        ("set", "llm.model=fast", "more"),
        ("set", "llm.model=fast", "llm.model=powerful"),
        ("set", "llm.model=fast", "--stdin"),
        ("set", "llm.model=fast", f"llm.api_key={SECRET}"),
        ("set", "llm.model=fast", "llm.modle=fast"),
        ("set", "llm.parameters.top_p", "0.5"),
        ("set", "providers.groq.headers", f"{{X-Auth: {SECRET}}}"),
        ("set", "llm.model", "--prject"),
        ("set", "--user", "--project", "llm.model", "fast"),
        ("set", "--project", "--no-project", "llm.model", "fast"),
        ("set", "llm.api_key", SECRET),
        ("set", "redis.password", SECRET),
        ("set", "--project", "llm.api_key", "--stdin"),
        ("set", "llm.api_key"),  # there is no terminal to ask on
        ("set", "llm.api_key", "--stdin"),  # and nothing comes
        ("set", "aliases.fast.olama", "phi4:14b"),
        ("unset", "llm.modle"),
        ("unset", "llm.model_id"),
    ],
)
def test_wrong_usage_is_reported_before_anything_is_done(sandbox: Sandbox, argv: tuple[str, ...]) -> None:
    """Exit 2, nothing written, and no secret repeated."""
    done = sandbox.run(*argv)
    assert done.returncode == 2, done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert not sandbox.user_file.parent.exists()
    assert not sandbox.project_file.parent.exists()


def test_several_keys_are_one_edit(sandbox: Sandbox) -> None:
    """A provider needs a kind and an address: each alone is refused, both together are written at once."""
    alone = sandbox.run("set", "providers.lab.kind", "openai", variables=LOCAL)
    assert (alone.returncode, sandbox.user_file.exists()) == (1, False)
    both = ("providers.lab.kind=openai", "providers.lab.base_url=http://lab:8000/v1", "llm.model=lab:m")
    done = sandbox.run("set", *both, variables=LOCAL)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    config = sandbox.load(LOCAL)
    assert (config.llm.provider, config.llm.base_url, config.llm.model_id) == ("lab", "http://lab:8000/v1", "m")
    assert [line.partition(": ")[2] for line in done.stderr.splitlines()] == [text.replace("=", " = ") for text in both]
    refused = sandbox.run("set", "llm.temperature=0.5", "llm.max_tokens=none", variables=LOCAL)
    assert (refused.returncode, "temperature" in sandbox.user_file.read_text()) == (1, False)


def test_an_alias_may_have_an_entry_for_a_declared_provider(sandbox: Sandbox) -> None:
    """`aliases.NAME.PROVIDER` is set and removed for a provider of one's own, too."""
    sandbox.write(user="providers: {lab: {kind: openai, base_url: 'http://lab:8000/v1'}}\n")
    done = sandbox.run("set", "aliases.writer.lab", "m1", variables=LOCAL)
    assert done.returncode == 0, done.stderr
    assert sandbox.load(LOCAL).aliases["writer"] == {"lab": "m1"}
    assert sandbox.run("unset", "aliases.writer.lab", variables=LOCAL).returncode == 0
    assert "writer" not in sandbox.load(LOCAL).aliases


def test_an_overridden_key_is_set_and_reported(sandbox: Sandbox) -> None:
    """A higher layer still wins: the command succeeds and names it."""
    done = sandbox.run("set", "llm.model", "balanced", variables={"STIGMER_LLM_MODEL": "fast", **LOCAL})
    assert done.returncode == 0
    assert "still overridden by STIGMER_LLM_MODEL\n" in done.stderr
    sandbox.write(project="llm:\n  temperature: 0.1\n")
    done = sandbox.run("set", "llm.temperature", "0.2", variables=LOCAL)
    assert f"still overridden by {sandbox.project_file}:2:16\n" in done.stderr


def test_a_value_for_another_provider_is_reported(sandbox: Sandbox) -> None:
    """A URL set while the variables choose another provider is stored, and a note says that it is not in force."""
    sandbox.write(user="llm:\n  provider: ollama\n")
    variables = {"STIGMER_LLM_PROVIDER": "anthropic", "ANTHROPIC_API_KEY": SECRET}
    done = sandbox.run("set", "llm.num_ctx", "8192", variables=variables)
    assert done.returncode == 0, done.stderr
    assert "not in force: it belongs to another provider than the one in force" in done.stderr


def test_an_edit_that_breaks_the_configuration_is_refused(sandbox: Sandbox) -> None:
    """A reason to fail that was not there before: refused, and the file is as it was, to the byte."""
    text = "# ours\nllm:\n  model: mine\naliases:\n  mine: {ollama: 'phi4:14b'}\n"
    sandbox.write(user=text)
    for argv in (
        ("set", "llm.provider", "anthropic"),
        ("set", "aliases.mine.ollama", "openai:gpt-4.1"),
        ("set", "aliases.mine.ollama", "mine"),
    ):
        done = sandbox.run(*argv, variables=LOCAL)
        assert done.returncode == 1, argv
        assert "nothing was written" in done.stderr
        assert sandbox.user_file.read_text() == text


def test_a_configuration_that_fails_already_can_be_edited(sandbox: Sandbox) -> None:
    """Existing faults do not prevent setting a key; one that hid others can be fixed."""
    sandbox.write(user="llm:\n  temperature: hot\n  nonsense: 1\n")
    assert sandbox.run("set", "llm.timeout", "9").returncode == 0
    mended = sandbox.run("set", "llm.temperature", "0.5")
    assert mended.returncode == 0, mended.stderr
    assert sandbox.user_file.read_text() == "llm:\n  temperature: 0.5\n  nonsense: 1\n  timeout: 9\n"
    again = sandbox.run("set", "llm.temperature", "5")
    assert again.returncode == 1


def test_a_fault_of_the_key_itself_is_refused_even_if_it_was_there(sandbox: Sandbox) -> None:
    """Setting a key from one wrong value to another is not made good by the first."""
    sandbox.write(user="llm:\n  temperature: 7\n")
    done = sandbox.run("set", "llm.temperature", "8")
    assert (done.returncode, sandbox.user_file.read_text()) == (1, "llm:\n  temperature: 7\n")


def test_a_secret_comes_from_standard_input_and_is_not_shown(sandbox: Sandbox) -> None:
    """It lands in the user file, which is the user's alone from then on."""
    sandbox.write(user="llm:\n  timeout: 3\n")
    sandbox.user_file.chmod(0o644)
    done = sandbox.run("set", "providers.anthropic.api_key", "--stdin", stdin=f"{SECRET}\n")
    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert f"api_key: {SECRET}" in sandbox.user_file.read_text()
    assert sandbox.user_file.stat().st_mode & 0o777 == 0o600
    assert sandbox.load().llm.api_key == sandbox.load().providers["anthropic"].api_key
    two_lines = sandbox.run("set", "llm.api_key", "--stdin", stdin=f"{SECRET}\n{SECRET}\n")
    assert two_lines.returncode == 1
    assert SECRET not in two_lines.stdout + two_lines.stderr


def test_a_secret_is_prompted_for_on_a_terminal(sandbox: Sandbox) -> None:
    """What is typed does not appear."""
    command = [str(Path(sys.executable).parent / "stigmer"), "config", "set", "llm.api_key"]
    environment = {"HOME": str(sandbox.home), "PATH": os.environ["PATH"], "XDG_CONFIG_DIRS": str(sandbox.root)}
    with Terminal(command, environment, sandbox.project) as terminal:
        terminal.wait("llm.api_key:")
        terminal.type(SECRET, "Enter")
        assert SECRET not in terminal.wait("ended with 0")
    assert SECRET in sandbox.user_file.read_text()


def test_unset_reports_the_value_in_force(sandbox: Sandbox) -> None:
    """The key's line goes, and the value from below comes to light."""
    sandbox.write(user="llm:\n  model: fast  # cheap\n  timeout: 3\n")
    done = sandbox.run("unset", "llm.model", variables=LOCAL)
    assert (done.returncode, sandbox.user_file.read_text()) == (0, "llm:\n  timeout: 3\n")
    assert "llm.model is qwen2.5-coder:7b now" in done.stderr
    again = sandbox.run("unset", "llm.model", variables=LOCAL)
    assert (again.returncode, sandbox.user_file.read_text()) == (0, "llm:\n  timeout: 3\n")
    assert "is not set in" in again.stderr


LEFTOVERS = """\
mode: local
llm.model: fast
current_backend: prod
LLM: {model: x}
llm:
  modle: fast  # a slip
  timeout: 3
aliases: {mine: {olama: phi4:14b, ollama: phi4:14b}}
"""


@pytest.mark.parametrize(
    ("key", "before", "after"),
    [
        ("llm.modle", "  modle: fast  # a slip\n", ""),
        ("llm.model", "llm.model: fast\n", ""),
        ("current_backend", "current_backend: prod\n", ""),
        ("LLM", "LLM: {model: x}\n", ""),
        ("LLM.model", "LLM: {model: x}\n", "LLM: {}\n"),
        ("llm", "llm:\n  modle: fast  # a slip\n  timeout: 3\n", ""),
        ("aliases.mine.olama", "olama: phi4:14b, ", ""),
        ("aliases", "aliases: {mine: {olama: phi4:14b, ollama: phi4:14b}}\n", ""),
    ],
)
@pytest.mark.parametrize("scope", ["--user", "--project"])
def test_whatever_is_in_a_file_can_be_removed(sandbox: Sandbox, scope: str, key: str, before: str, after: str) -> None:
    """An unknown key, one that was written with dots, another program's, and a whole section."""
    file = sandbox.user_file if scope == "--user" else sandbox.project_file
    text = LEFTOVERS if scope == "--user" else LEFTOVERS.replace("mode: local\n", "")
    sandbox.write(**{scope.removeprefix("--"): text})
    done = sandbox.run("unset", scope, key, variables=LOCAL)
    assert (done.returncode, f"{key} is removed" in done.stderr) == (0, True), done.stderr
    assert file.read_text() == text.replace(before, after)


def test_a_key_that_is_not_in_the_file_is_not_removed(sandbox: Sandbox) -> None:
    """A known key or section that is not set is fine; an unknown one that is nowhere is a typing error."""
    sandbox.write(user="llm:\n  timeout: 3\n")
    for key, status, words in (
        ("llm.temperature", 0, "llm.temperature is not set in"),
        ("sandbox", 0, "sandbox is not set in"),
        ("llm.timeuot", 2, "did you mean llm.timeout?"),
        ("llm.timeout.x", 2, "there is no key 'llm.timeout.x'"),
    ):
        done = sandbox.run("unset", key, variables=LOCAL)
        assert (done.returncode, words in done.stderr) == (status, True), done.stderr
    assert sandbox.user_file.read_text() == "llm:\n  timeout: 3\n"
    assert sandbox.run("unset", "--project", "llm.model").returncode == 0
    assert not sandbox.project_file.parent.exists()  # nor is a folder made to find nothing in it


def test_a_file_that_others_can_write_is_not_adopted(sandbox: Sandbox) -> None:
    """Saving it again would trust content that another user may have written."""
    sandbox.write(user="llm:\n  timeout: 3\n")
    sandbox.user_file.chmod(0o666)
    done = sandbox.run("set", "llm.timeout", "4")
    assert done.returncode == 1
    assert "insecure-permissions" in done.stderr
    assert sandbox.user_file.read_text() == "llm:\n  timeout: 3\n"


def test_a_linked_user_file_is_followed(sandbox: Sandbox) -> None:
    """Dotfiles managers link the file: the target changes and the link stays."""
    dotfiles = sandbox.home / "dotfiles"
    dotfiles.mkdir(mode=0o700)
    (dotfiles / "stigmer.yaml").write_text("llm:\n  timeout: 3\n")
    sandbox.user_file.parent.mkdir(mode=0o700)
    sandbox.user_file.symlink_to(dotfiles / "stigmer.yaml")
    assert sandbox.run("set", "llm.timeout", "4").returncode == 0
    assert sandbox.user_file.is_symlink()
    assert (dotfiles / "stigmer.yaml").read_text() == "llm:\n  timeout: 4\n"
    assert os.listdir(dotfiles) == ["stigmer.yaml"]


def test_a_linked_project_file_is_refused(sandbox: Sandbox) -> None:
    """A clone must not make us write somewhere else."""
    victim = sandbox.root / "victim.yaml"
    victim.write_text("llm:\n  timeout: 3\n")
    sandbox.project_file.parent.mkdir()
    sandbox.project_file.symlink_to(victim)
    done = sandbox.run("set", "--project", "llm.timeout", "4")
    assert done.returncode == 1
    assert "symbolic link" in done.stderr
    assert victim.read_text() == "llm:\n  timeout: 3\n"


def test_which_file_is_written(sandbox: Sandbox) -> None:
    """--user by default; --project the nearest one upwards, or one right here; --project-dir another's."""
    sandbox.write(project="llm:\n  timeout: 3\n")
    deeper = sandbox.project / "src" / "deep"
    deeper.mkdir(parents=True)
    assert sandbox.run("set", "--project", "llm.timeout", "4", cwd=deeper).returncode == 0
    assert sandbox.project_file.read_text() == "llm:\n  timeout: 4\n"
    other = sandbox.root / "other"
    other.mkdir()
    assert sandbox.run("set", "--project", "llm.timeout", "5", "--project-dir", str(other)).returncode == 0
    assert (other / ".stigmer" / "config.yaml").read_text() == "llm:\n  timeout: 5\n"
    assert not sandbox.user_file.exists()
    elsewhere = {"STIGMER_HOME": str(sandbox.root / "settings")}
    assert sandbox.run("set", "llm.timeout", "6", variables=elsewhere).returncode == 0
    assert (sandbox.root / "settings" / "config.yaml").read_text() == "llm:\n  timeout: 6\n"
    at_home = sandbox.run("set", "--project", "llm.timeout", "7", cwd=sandbox.home)
    assert at_home.returncode == 2
    assert "--user" in at_home.stderr
    missing = sandbox.run("set", "--project", "llm.timeout", "7", "--project-dir", str(sandbox.root / "nowhere"))
    assert missing.returncode == 2


def test_what_a_project_may_never_hold_is_refused(sandbox: Sandbox) -> None:
    """The mode and locks are the user's, and a locked key stays locked."""
    sandbox.write(user="locked: [llm.timeout]\n")
    for key, value, code in (
        ("mode", "local", "forbidden-in-project"),
        ("locked", "llm", "forbidden-in-project"),
        ("llm.timeout", "3", "locked-key"),
    ):
        done = sandbox.run("set", "--project", key, value)
        assert (done.returncode, f"error[{code}] {key}" in done.stderr) == (1, True), done.stderr
        assert not sandbox.project_file.parent.exists()


def test_what_the_user_sets_in_a_project_is_trusted_as_done(sandbox: Sandbox) -> None:
    """A protected key by `set --project` counts at once, and stays trusted under further edits by this user only."""
    assert sandbox.run("set", "--project", "backend.endpoint", "localhost:1").returncode == 0
    assert sandbox.run("set", "--project", "sandbox.type", "filesystem").returncode == 0
    assert sandbox.run("get", "backend.endpoint").stdout == "localhost:1\n"
    assert sandbox.run("unset", "--project", "sandbox.type").returncode == 0
    assert sandbox.run("get", "backend.endpoint").stdout == "localhost:1\n"
    elsewhere = sandbox.run("get", "backend.endpoint", variables={"XDG_STATE_HOME": str(sandbox.root / "other-state")})
    assert (elsewhere.stdout, elsewhere.returncode) == ("localhost:8080\n", 3)


def test_an_edit_does_not_vouch_for_what_came_with_the_project(sandbox: Sandbox) -> None:
    """With something untrusted in the file, a protected key is refused (exit 3), and open ones leave it untrusted."""
    text = "backend:\n  endpoint: evil.example:443\n"
    sandbox.write(project=text)
    refused = sandbox.run("set", "--project", "sandbox.type", "filesystem")
    assert (refused.returncode, sandbox.project_file.read_text()) == (3, text)
    assert "untrusted-key" in refused.stderr
    again = sandbox.run("set", "--project", "backend.endpoint", "worse.example:443")
    assert (again.returncode, sandbox.project_file.read_text()) == (3, text)
    assert sandbox.run("set", "--project", "llm.timeout", "4").returncode == 0
    assert sandbox.run("get", "backend.endpoint").returncode == 3


def test_fixing_a_file_does_not_trust_its_other_entries(sandbox: Sandbox) -> None:
    """Entries that faults kept from counting are not the user's: here too many, until one of them is fixed."""
    evil = "http://evil.example:1"
    many = "".join(f"zz{number}: 1\n" for number in range(99))
    sandbox.write(project=f"llm:\n  base_url: {evil}\n  temperature: hot\n{many}")
    sandbox.run("set", "--project", "llm.temperature", "0.2")
    assert sandbox.run("get", "llm.base_url").stdout != f"{evil}\n"
    assert "state:   trusted" not in sandbox.run("trust", "--show").stdout
    assert not list(sandbox.home.rglob("trust/*.json"))


def test_in_a_project_file_with_a_fault_the_fault_comes_first(sandbox: Sandbox) -> None:
    """Nothing in it is trusted until the reported fault is fixed."""
    sandbox.write(project="llm: {temperature: hot}\n")
    refused = sandbox.run("set", "--project", "backend.endpoint", "localhost:1")
    assert refused.returncode == 3
    assert "error[wrong-type] llm.temperature" in refused.stderr
    assert "hint: fix the file's other errors first; " in refused.stderr
    assert sandbox.run("set", "--project", "llm.temperature", "0.2").returncode == 0
    assert sandbox.run("set", "--project", "backend.endpoint", "localhost:1").returncode == 0
    assert sandbox.run("get", "backend.endpoint").stdout == "localhost:1\n"


def test_a_refused_edit_leaves_the_trust_as_it_was(sandbox: Sandbox) -> None:
    """A grant is neither made nor lost by an edit that is not written."""
    assert sandbox.run("set", "--project", "backend.endpoint", "localhost:1").returncode == 0
    assert sandbox.run("set", "--project", "sandbox.type", "nonsense").returncode == 1
    assert sandbox.run("get", "backend.endpoint").stdout == "localhost:1\n"
    sandbox.project_file.parent.chmod(0o500)
    try:
        if os.getuid():  # root writes everywhere
            assert sandbox.run("set", "--project", "sandbox.type", "filesystem").returncode == 1
    finally:
        sandbox.project_file.parent.chmod(0o755)
    assert sandbox.run("get", "backend.endpoint").stdout == "localhost:1\n"


@pytest.mark.parametrize("scope", ["--user", "--project"])
def test_init_writes_a_starter_that_loads(sandbox: Sandbox, scope: str) -> None:
    """A commented file and the schema beside it; it changes nothing, and neither does a second `init`."""
    path = sandbox.user_file if scope == "--user" else sandbox.project_file
    done = sandbox.run("init", scope)
    assert done.returncode == 0, done.stderr
    text = path.read_text()
    assert text.startswith("# yaml-language-server: $schema=schema.json\n")
    assert (path.parent / "schema.json").read_text() == sandbox.run("schema").stdout
    assert all(line.startswith("#") or not line for line in text.splitlines())
    assert sandbox.run("validate").stdout == "no problems\n" or "missing-api-key" in sandbox.run("validate").stderr
    again = sandbox.run("init", scope)
    assert (again.returncode, path.read_text()) == (1, text)
    head, settings = text.split("\n\n", 1)
    path.write_text(head + "\n\n" + settings.replace("# ", "", 1).replace("\n# ", "\n"))
    checked = sandbox.run("validate", str(path), "--mode", "local")
    assert (checked.returncode, checked.stdout) == (0, "no problems\n"), checked.stderr


def test_init_never_overwrites(sandbox: Sandbox) -> None:
    """Neither a file, nor a link that leads nowhere, nor a schema that is there."""
    sandbox.user_file.parent.mkdir(mode=0o700)
    sandbox.user_file.symlink_to(sandbox.home / "nowhere")
    assert sandbox.run("init").returncode == 1
    assert sandbox.user_file.is_symlink()
    sandbox.project_file.parent.mkdir()
    schema = sandbox.project_file.parent / "schema.json"
    schema.write_text("{}")
    assert sandbox.run("init", "--project").returncode == 0
    assert schema.read_text() == "{}"


def test_a_sentence_shortens_the_home_folder_and_a_problems_place_does_not(sandbox: Sandbox) -> None:
    """`~` is for reading. Editors and scripts open the place of a problem, and `--format json` is for programs."""
    for argv in (
        ("set", "llm.timeout", "9"),
        ("unset", "llm.timeout"),
        ("unset", "llm.timeout"),
        ("init",),
        ("set", "llm.timeout", "-1"),
    ):
        said = sandbox.run(*argv, variables=LOCAL).stderr
        sentences = [line for line in said.splitlines() if "error[" not in line]
        assert any("~/.stigmer/config.yaml" in line for line in sentences), said
        assert not any(str(sandbox.home) in line for line in sentences), said
    sandbox.write(user="llm: {timeout: -1}\n")
    assert sandbox.run("validate", variables=LOCAL).stderr.startswith(f"{sandbox.user_file}:1:16: error[out-of-range]")
    found = json.loads(sandbox.run("validate", "--format", "json", variables=LOCAL).stdout)
    assert [problem["origin"]["source"] for problem in found["problems"]] == [str(sandbox.user_file)]
