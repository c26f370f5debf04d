"""The examples run, do what they describe, and leave nothing behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stigmer_config import Explanation
from stigmer_config.settings.declarations import SETTINGS
from tests.support.cli_tools import ask, variables_of
from tests.support.paths import REPOSITORY
from tests.support.sandbox import Sandbox

EXAMPLES = REPOSITORY / "examples"


def example(
    name: str, sandbox: Sandbox, *, variables: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """An example program, run in the sandbox."""
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        cwd=cwd or sandbox.root,
        env=variables_of(sandbox, variables),
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sandbox, subprocess.CompletedProcess[str]]:
    """The demo, played once: from a folder that is no project, on a machine that is full of configuration."""
    sandbox = Sandbox(tmp_path_factory.mktemp("demo"))
    sandbox.write(user="mode: cloud\nllm: {model: never-this}\n", site="llm: {model: never-this-either}\n")
    (sandbox.root / "tmp").mkdir(exist_ok=True)
    variables = {"TMPDIR": str(sandbox.root / "tmp"), "STIGMER_LLM_MODEL": "not-this", "ANTHROPIC_API_KEY": "sk-hidden"}
    return sandbox, example("demo.py", sandbox, variables=variables)


def test_the_demo_shows_the_main_job(played: tuple[Sandbox, subprocess.CompletedProcess[str]]) -> None:
    """From nothing configured to all layers: each step's command and its real output are there, and it ends with 0."""
    _, done = played
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    steps = (
        "$ MODE=local stigmer config show llm\n",
        "| mode: local",
        "$ stigmer config show llm --origin\n",
        "$ stigmer config explain llm.model\n",
        "STIGMER_LLM_MODEL=fast",
        "hint: did you mean llm.temperature?",
        "\n(exit status 1)\n",
        "error[untrusted-key] llm.base_url",
        "\n(exit status 3)\n",
        "$ STIGMER_LLM_MAX_TOKENS=4096 stigmer config show --origin",
    )
    rest = done.stdout
    for step in steps:
        assert step in rest, step
        rest = rest[rest.index(step) :]
    last = rest
    for layer in ("defaults", "user", "project", "env", "flags"):
        assert re.search(rf"^\S+ .* {layer} +\S+", last, re.MULTILINE), layer


def test_the_demo_takes_nothing_from_the_machine_and_leaves_nothing(
    played: tuple[Sandbox, subprocess.CompletedProcess[str]],
) -> None:
    """Neither files nor variables of the machine show, no secret, and the temporary folder is gone."""
    sandbox, done = played
    for word in ("never-this", "not-this", "sk-hidden"):
        assert word not in done.stdout
    assert list((sandbox.root / "tmp").iterdir()) == []
    assert sorted(path.name for path in sandbox.home.iterdir()) == [".stigmer"]


def test_the_demo_fails_when_something_is_not_as_described(sandbox: Sandbox) -> None:
    """A command that answers otherwise ends the demo with 1 and says what was expected."""
    script = (
        EXAMPLES.joinpath("demo.py")
        .read_text(encoding="utf-8")
        .replace('"http://localhost:11434")', '"http://elsewhere")', 1)
    )
    assert "http://elsewhere" in script
    (sandbox.root / "demo.py").write_text(script, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(sandbox.root / "demo.py")],
        env=variables_of(sandbox),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "FAILED: the output lacks 'http://elsewhere'" in done.stdout


def test_quickstart_in_both_modes(sandbox: Sandbox) -> None:
    """The program of the README's first pages loads, derives, explains; and prints every problem when it cannot."""
    sandbox.write(user="llm: {model: balanced}\n")
    local = example("quickstart.py", sandbox, variables={"MODE": "local"})
    assert (local.returncode, local.stderr) == (0, "")
    assert "in force: ollama balanced (sent as qwen2.5-coder:7b) at http://localhost:11434" in local.stdout
    assert "for one request: ollama fast (sent as llama3.2:3b)" in local.stdout
    assert f"{sandbox.user_file}:1:14" in local.stdout
    cloud = example("quickstart.py", sandbox, variables={"MODE": "cloud", "ANTHROPIC_API_KEY": "sk-hidden"})
    assert cloud.returncode == 0
    assert "sk-hidden" not in cloud.stdout
    failing = example("quickstart.py", sandbox, variables={"MODE": "cloud"})
    assert (failing.returncode, failing.stdout) == (1, "")
    assert "error[missing-api-key]" in failing.stderr
    assert "Traceback" not in failing.stderr


def switched_on(text: str) -> str:
    """The example file with every setting that was switched off switched on."""
    lines = (line if re.match(r" *# \S|#?$", line) else re.sub(r"^( *)#", r"\1", line) for line in text.splitlines())
    return "\n".join(lines) + "\n"


def test_the_example_file_is_valid_and_has_every_key(sandbox: Sandbox) -> None:
    """The file has no error, unchanged and with all comments enabled; then it contains every key."""
    text = (EXAMPLES / "config.yaml").read_text(encoding="utf-8")
    assert ask(sandbox, "validate", str(EXAMPLES / "config.yaml")).out == "no problems\n"
    sandbox.write(user=text)
    assert sandbox.load().llm.model_id == "qwen2.5-coder:7b"
    config = sandbox.write(user=switched_on(text)).load()
    given = {key for key in SETTINGS if "user" in _layers(config.explain(key))}
    # A built-in provider's kind is fixed, and only the site file enforces.
    assert {key for key in SETTINGS if not key.endswith(".kind")} - {"enforced"} == given
    assert config.aliases["review"] == {
        "anthropic": "claude-opus-5-5",
        "ollama": "qwen3-coder:30b",
        "openai": "gpt-6.1-sol",
    }


def _layers(why: Explanation) -> set[str]:
    """The layers that say something about a key, in vain or not."""
    return {place.layer for place in (why.origin, *(loser.origin for loser in why.losers)) if place is not None}


def test_no_example_names_this_machine(sandbox: Sandbox) -> None:
    """What ships names no folder and no user of the machine it was made on."""
    home = os.path.expanduser("~")
    for path in EXAMPLES.rglob("*"):
        if path.is_file() and path.suffix in (".py", ".yaml"):
            text = path.read_text(encoding="utf-8")
            assert f"{home}/" not in text
            assert str(EXAMPLES.parent) not in text
