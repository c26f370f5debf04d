"""A load reads settings: it runs nothing, and no other engine's switches, hooks or little languages count.

Run as a program, this file is the watched process: an audit hook, which nothing can remove again, sees everything
that loads over random layers do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.paths import REPOSITORY
from tests.support.sandbox import Sandbox

OTHER_VARIABLES = REPOSITORY / "defaults" / "other_variables.yaml"  # read when an unknown variable is set
# Strings that some engine, somewhere, takes for a program.
PROGRAMS = [
    "@format {env[CANARY]}", "@jinja {{ env.CANARY }}", "@int 5", "@bool true", "@json {}", "@read_file /etc/hostname",
    "@none", "@del", "@reset", "@merge a=1", "@note x", "@get llm.model", "@path /", "@eval 1+1", "${CANARY}",
    "$CANARY", "%(CANARY)s", "{CANARY}", "{{ CANARY }}", "`id`", "$(id)", "~/x", "~root", "!!python/object:os.system",
    "__import__('os')", "env:CANARY", "file:/etc/hostname", "<%= CANARY %>", "#{CANARY}", "op://vault/x", "=1+1",
]  # fmt: skip
TEXT_KEYS = ["temporal.task_queue", "temporal.namespace", "sandbox.root_dir", "sandbox.snapshot_id", "redis.host"]


class Watch:
    """An audit hook that, while `on`, records all but reads of allowed files and listings of folders below `listed`."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []
        self.allowed: frozenset[str] = frozenset()
        self.records = "/nowhere/"
        self.listed = "/nowhere/"

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on or event == "builtins.id":  # asking for an object's identity does nothing
            return
        if event == "os.scandir" and str(arguments[0]).startswith(self.listed):
            return
        if event == "open":
            path, mode, flags = arguments
            writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
            mine = str(path) in self.allowed or str(path).startswith(self.records)
            if mine and not (mode and set(mode) & set("wax+")) and not flags & writes:
                return
        self.seen.append(f"{event} {arguments!r}"[:300])


def layers() -> st.SearchStrategy[dict[str, str | None]]:
    """Random files and variables, right and wrong, with programs of many engines in them."""
    from tests.sources.test_hostile_input import documents

    text = st.none() | documents()
    return st.fixed_dictionaries({"site": text, "user": text, "project": text})


VARIABLES = st.dictionaries(
    st.sampled_from(
        ["STIGMER_LLM_MODEL", "STIGMER_LLM_MAX_TOKENS", "TEMPORAL_NAMESPACE", "SANDBOX_ROOT_DIR", "STIGMER_LLM_FOO",
         "LOG_LEVEL", "STIGMER_LLM_BASE_URL", "OLLAMA_HOST", "ANTHROPIC_API_KEY", "DYNACONF_LLM__MODEL", "MODE"]
    ),
    st.sampled_from([*PROGRAMS, "5", "local", "x:1b", "debug", "http://h:1", "["]),
)  # fmt: skip


def bait(sandbox: Sandbox) -> None:
    """Puts what other engines run beside every configuration file, and in the working folder."""
    folders = [sandbox.site_dir, sandbox.user_file.parent, sandbox.project_file.parent, sandbox.project, sandbox.home]
    for folder in folders:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        code = f"import os\nos.environ['CANARY_RAN'] = '1'\nopen({str(sandbox.root / 'ran')!r}, 'w').write('ran')\n"
        hook = code + "def post(settings):\n    return {'LLM': {'MODEL': 'evil'}}\n"
        for name in ("dynaconf_hooks.py", "settings.py", "conftest.py", "sitecustomize.py", "dynaconf.py", "ruamel.py"):
            (folder / name).write_text(hook)
        for name in ("config.local.yaml", "settings.yaml", "settings.local.yaml", ".secrets.yaml", "settings.toml"):
            text = "llm: {model: evil, max_tokens: 1}\n" if name.endswith("yaml") else '[llm]\nmodel = "evil"\n'
            (folder / name).write_text(text)
        (folder / ".env").write_text("STIGMER_LLM_MODEL=evil\nDYNACONF_LLM__MODEL=evil\nMODE=cloud\n")


def watched_process() -> None:
    """Loads random layers under the audit hook; prints what it saw, and on how many loads, as JSON."""
    sandbox = Sandbox(Path(tempfile.mkdtemp()))
    bait(sandbox)
    watch = Watch()
    loads = 0
    mine = (sandbox.site_file, sandbox.user_file, sandbox.project_file)
    # A secret may be in a file that a trusted one names.
    state_dir = sandbox.environment().state_dir
    assert state_dir is not None
    watch.records = os.path.join(state_dir, "trust", "")  # what a person has granted
    watch.listed = str(sandbox.root)  # where a file with a wrong name would be
    # The project's file is opened beneath its open folder, name by name.
    beneath = (sandbox.project, ".stigmer", "config.yaml", state_dir)
    secrets = (sandbox.site_dir / "x", sandbox.user_file.parent / "x")
    watch.allowed = frozenset(map(str, (*mine, *secrets, *beneath, OTHER_VARIABLES)))

    def load_all(files: dict[str, str | None], variables: dict[str, str]) -> None:
        nonlocal loads
        for path, text in zip(mine, files.values(), strict=True):
            path.unlink(missing_ok=True)
            if text is not None:
                path.write_text(text)
                path.chmod(0o600)
        world = sandbox.environment(variables)
        from stigmer_config.loading.load import read
        from stigmer_config.loading.request import request

        watch.on = armed
        try:
            loaded = read(request(environment=world))
            str(loaded.problems)
            loads += 1
        finally:
            watch.on = False

    # First everything that is imported or read once in a process; then nothing is.
    armed = False
    for text in ("llm: {modle: 1, api_key: k}", "llm: [", "llm: {model: é, base_url: 'http://[::1]'}", "a: &a 1", None):
        load_all({"site": text, "user": text, "project": text}, {"STIGMER_LLM_FOO": "x", "MODE": "local"})
        load_all({"site": text, "user": text, "project": text}, {"MODE": "cloud"})
    sandbox.user_file.write_text("llm: {max_tokens: 1}")
    sandbox.user_file.chmod(0o664)  # whose group is it?
    sandbox.load({"MODE": "local"}, project_dir=False) if os.getuid() == 0 else sandbox.read({"MODE": "local"})
    sys.addaudithook(watch)
    armed = True

    @settings(max_examples=150, database=None, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(layers(), VARIABLES)
    @example({"site": None, "user": "llm: {model: '@jinja {{ 1 }}'}", "project": None}, {"MODE": "local"})
    def run(files: dict[str, str | None], variables: dict[str, str]) -> None:
        load_all(files, variables)

    run()
    json.dump({"loads": loads, "seen": watch.seen, "ran": (sandbox.root / "ran").exists()}, sys.stdout)


def test_a_load_runs_nothing_and_opens_only_its_files() -> None:
    """Over random layers no load compiles, executes, imports, spawns, connects, writes, or opens another file."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.loading.test_isolation"],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=300,
        env={**os.environ, "CANARY": "c4n4ry"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["seen"] == []
    assert not found["ran"]
    assert found["loads"] >= 100


FORBIDDEN_ACTS = """
import contextlib, os, socket, subprocess, sys
from tests.loading.test_isolation import Watch

path = sys.argv[1]
open(path, "w").close()
watch = Watch()
watch.allowed = frozenset([path])
sys.addaudithook(watch)
watch.on = True
open(path).close()
allowed = len(watch.seen)
open(path, "a").close()
os.close(os.open(path, os.O_RDWR))
open("/dev/null").close()
exec("1")
with contextlib.suppress(ImportError):
    import there_is_no_such_module
subprocess.run(["true"])
socket.socket().close()
watch.on = False
print(allowed, *(line.split()[0] for line in watch.seen))
"""


def test_the_watch_sees_what_it_is_for(tmp_path: Path) -> None:
    """The hook itself: writing, a foreign open, code, an import, a subprocess and a socket are each noticed."""
    done = subprocess.run(
        [sys.executable, "-c", FORBIDDEN_ACTS, str(tmp_path / "file")],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    allowed, *seen = done.stdout.split()
    assert allowed == "0"
    assert seen[:3] == ["open"] * 3
    assert {"compile", "exec", "import", "subprocess.Popen", "socket.__new__"} <= set(seen)


# Each set by itself: those that name a file or would set a key.
ALONE = [
    {"REDIS_PORT_FOR_DYNACONF": "1"},
    {"SETTINGS_FILE_FOR_DYNACONF": "{root}/evil.yaml"},
    {"DYNACONF_LLM__MODEL": "evil", "DYNACONF_LLM": "@json {{}}"},
    {"ENVVAR_PREFIX_FOR_DYNACONF": "STIGMER"},
    {"MERGE_ENABLED_FOR_DYNACONF": "false"},
    {"DOTENV_PATH_FOR_DYNACONF": "{root}/evil.env", "LOAD_DOTENV_FOR_DYNACONF": "true"},
]
TOGETHER = {
    **{name: text for switches in ALONE for name, text in switches.items()},
    "AUTO_CAST_FOR_DYNACONF": "true",
    "LOADERS_FOR_DYNACONF": "['os']",
    "CORE_LOADERS_FOR_DYNACONF": "['PY']",
    "SETTINGS_FILES_FOR_DYNACONF": "['{root}/evil.yaml']",
    "SETTINGS_MODULE_FOR_DYNACONF": "evil",
    "SECRETS_FOR_DYNACONF": "{root}/evil.yaml",
    "INCLUDES_FOR_DYNACONF": "['{root}/evil.yaml']",
    "PRELOAD_FOR_DYNACONF": "['{root}/evil.yaml']",
    "NESTED_SEPARATOR_FOR_DYNACONF": ".",
    "DOTTED_LOOKUP_FOR_DYNACONF": "false",
    "YAML_LOADER_FOR_DYNACONF": "unsafe_load",
    "ROOT_PATH_FOR_DYNACONF": "{root}",
    "VAULT_ENABLED_FOR_DYNACONF": "true",
    "VAULT_URL_FOR_DYNACONF": "http://127.0.0.1:1",
    "REDIS_ENABLED_FOR_DYNACONF": "true",
    "REDIS_DB_FOR_DYNACONF": "2",
    "ENV_FOR_DYNACONF": "production",
    "FORCE_ENV_FOR_DYNACONF": "production",
    "DEBUG_LEVEL_FOR_DYNACONF": "DEBUG",
    "FRESH_VARS_FOR_DYNACONF": "['LLM']",
    "ALWAYS_FRESH_VARS": "['LLM']",
    "DYNACONF_MODE": "cloud",
    "DYNACONF_DYNACONF_INCLUDE": "['{root}/evil.yaml']",
    "DYNACONF_SETTINGS": "{root}/evil.yaml",
}


def prepared(sandbox: Sandbox) -> Sandbox:
    """A world with settings in every file, and bait beside each."""
    sandbox.write(
        site="llm: {timeout: 3}\n",
        user="llm: {max_tokens: 123}\naliases: {dynaconf_merge: 'x:1b', fast: {ollama: 'y:1b'}}\n",
        project="llm: {temperature: 0.5}\n",
    )
    bait(sandbox)
    (sandbox.root / "evil.yaml").write_text("llm: {model: evil}\ndefault: {llm: {model: evil}}\n")
    (sandbox.root / "evil.env").write_text("STIGMER_LLM_MODEL=evil\n")
    return sandbox


def shown(sandbox: Sandbox, variables: dict[str, str] | None = None) -> dict[str, Any]:
    """What the real command shows, and that it says nothing beside."""
    done = sandbox.run(
        "show", "--origin", "--all", "--format", "json", variables={"MODE": "local", **(variables or {})}
    )
    assert (done.returncode, done.stderr) == (0, "")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.mark.parametrize("switches", [*ALONE, TOGETHER], ids=lambda switches: "-".join(switches)[:40])
def test_no_switch_of_dynaconf_in_the_environment_counts(sandbox: Sandbox, switches: dict[str, str]) -> None:
    """Ambient `*_FOR_DYNACONF` and `DYNACONF_*` variables change nothing that the real command shows."""
    prepared(sandbox)
    document = shown(sandbox)
    assert document["values"]["llm.max_tokens"]["value"] == 123
    assert (
        shown(sandbox, {name: text.replace("{root}", str(sandbox.root)) for name, text in switches.items()}) == document
    )


def test_what_lies_beside_a_config_file_is_neither_run_nor_read(sandbox: Sandbox) -> None:
    """Hooks, `.env`, `config.local.yaml`, `settings.*` beside each file and in the working folder: no effect."""
    sandbox.write(user="llm: {max_tokens: 123}\n", project="llm: {temperature: 0.5}\n", site="llm: {timeout: 3}\n")
    before = shown(sandbox)
    bait(sandbox)
    assert shown(sandbox) == before
    assert not (sandbox.root / "ran").exists()


def test_a_project_in_pythonpath_order_runs_nothing(sandbox: Sandbox) -> None:
    """The command imports nothing from the folder it runs in, nor from the project's."""
    prepared(sandbox)
    for folder in (sandbox.project, sandbox.project_file.parent, sandbox.home):
        assert sandbox.run("show", cwd=folder, variables={"MODE": "local"}).returncode == 0
    assert not (sandbox.root / "ran").exists()


@pytest.mark.parametrize("merges", [False, True], ids=["without dynaconf", "with dynaconf"])
def test_the_environment_of_the_process_is_left_as_it_was(sandbox: Sandbox, merges: bool) -> None:
    """A load changes no variable; it imports dynaconf only where two layers give one mapping."""
    sandbox.write(user="aliases: {fast: {ollama: 'y:1b'}}\n" if merges else "llm: {max_tokens: 5}\n")
    script = (
        "import os, sys\nfrom stigmer_config import load\nbefore = dict(os.environ)\nload()\n"
        "assert dict(os.environ) == before\nprint('dynaconf' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=sandbox.project, capture_output=True, text=True, timeout=60, check=False,
        env={"HOME": str(sandbox.home), "MODE": "local", "DYNACONF_X": "1", "ENV_FOR_DYNACONF": "x"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, f"{merges}\n"), done.stderr


@pytest.mark.parametrize("arguments", [("show",), ("get", "llm.model"), ("validate",), ("set", "llm.timeout", "3")])
def test_a_variable_that_breaks_dynaconf_is_a_problem_that_names_it(
    sandbox: Sandbox, arguments: tuple[str, ...]
) -> None:
    """No traceback: the command says which variable to unset."""
    done = prepared(sandbox).run(*arguments, variables={"MODE": "local", "REDIS_PORT_FOR_DYNACONF": "abc"})
    assert done.returncode == 1, done.stderr
    assert "REDIS_PORT_FOR_DYNACONF: error[wrong-type]" in done.stderr + done.stdout
    assert "unset REDIS_PORT_FOR_DYNACONF" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_a_variable_of_dynaconf_breaks_no_load_that_does_not_need_it(sandbox: Sandbox) -> None:
    """Where no mapping is merged, dynaconf is not imported."""
    sandbox.write(user="llm: {max_tokens: 123}\n", project="llm: {temperature: 0.5}\n")
    document = shown(sandbox, {"REDIS_PORT_FOR_DYNACONF": "abc"})
    assert document["values"]["llm.max_tokens"]["value"] == 123


@pytest.mark.parametrize("first", ["dynaconf", "stigmer_config"])
def test_a_program_may_use_dynaconf_itself(sandbox: Sandbox, first: str) -> None:
    """Its dynaconf keeps its own settings, casts and files, whichever is imported first."""
    (sandbox.project / "own.yaml").write_text("default: {answer: '@int 42'}\n")
    imports = ["from stigmer_config import load; config = load()", "import dynaconf"]
    script = "\n".join(
        [
            *(imports if first == "stigmer_config" else reversed(imports)),
            "own = dynaconf.Dynaconf(settings_files=['own.yaml'], environments=True, envvar_prefix='OWN')",
            "assert (own.ANSWER, own.NAME) == (42, 'ann'), own.as_dict()",
            "assert load() == config",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=sandbox.project, capture_output=True, text=True, timeout=60, check=False,
        env={"HOME": str(sandbox.home), "MODE": "local", "OWN_NAME": "ann"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("key", TEXT_KEYS)
def test_no_text_of_a_file_is_ever_evaluated(sandbox: Sandbox, key: str) -> None:
    """Every engine's little language stays the text it is, in every layer."""
    section, name = key.split(".")
    mode = {"MODE": "cloud", "ANTHROPIC_API_KEY": "k", "CANARY": "c4n4ry"}
    for program in PROGRAMS:
        sandbox.write(user=f"{section}: {{{name}: {json.dumps(program)}}}\n")
        assert sandbox.load(mode).value(key) == program
        assert sandbox.load(mode, flags={key: program}).value(key) == program


def test_programs_stay_text_on_the_way_through_the_command(sandbox: Sandbox) -> None:
    """What a file, a variable or a flag says is shown letter by letter."""
    sandbox.write(user=f"temporal: {{task_queue: {json.dumps(PROGRAMS[0])}, namespace: {json.dumps(PROGRAMS[1])}}}\n")
    done = sandbox.run(
        "show", "--format", "json", "--set", "redis.host=@jinja {{ 1 }}",
        variables={"MODE": "cloud", "ANTHROPIC_API_KEY": "k", "CANARY": "c4n4ry", "SANDBOX_ROOT_DIR": "$(id)${CANARY}"},
    )  # fmt: skip
    document = json.loads(done.stdout)
    assert (document["temporal"]["task_queue"], document["temporal"]["namespace"]) == (PROGRAMS[0], PROGRAMS[1])
    assert document["sandbox"]["root_dir"] == "$(id)${CANARY}"
    assert document["redis"]["host"] == "@jinja {{ 1 }}"
    assert "c4n4ry" not in done.stdout


@pytest.mark.parametrize(
    "name", ["dynaconf_merge", "dynaconf_merge_unique", "dynaconf_include", "loaders_for_dynaconf"]
)
def test_an_alias_may_have_a_name_that_dynaconf_reserves(sandbox: Sandbox, name: str) -> None:
    """Reserved names are names like any other, and change nothing beside them."""
    sandbox.write(
        user=f"aliases: {{{name}: 'x:1b', balanced: {{ollama: 'y'}}}}\n", project=f"aliases: {{{name}: 'z:1b'}}\n"
    )
    config = sandbox.load({"MODE": "local", "STIGMER_LLM_MODEL": name})
    assert (config.aliases[name], config.llm.model_name) == ("z:1b", "z:1b")
    assert "anthropic" in config.aliases["balanced"]


@pytest.mark.parametrize(
    "key", ["dynaconf_include", "dynaconf_merge", "auto_cast_for_dynaconf", "loaders_for_dynaconf", "default", "global"]
)
def test_a_reserved_name_at_the_top_of_a_file_is_an_unknown_key(sandbox: Sandbox, key: str) -> None:
    """A file cannot switch anything on: its keys are stigmer's, and others are faults."""
    (problem,) = sandbox.write(user=f"{key}: false\nllm: {{max_tokens: 5}}\n").problems({"MODE": "local"})
    assert (problem.code, problem.key) == ("unknown-key", key)


if __name__ == "__main__":
    watched_process()
