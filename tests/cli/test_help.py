"""Help that is enough, and examples that work."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from stigmer_config.cli.groups import COMMANDS
from stigmer_config.settings.declarations import CHILDREN, SETTINGS
from tests.support.cli_tools import COMMAND, ask, variables_of
from tests.support.sandbox import Sandbox

SHOWING = ("show", "get", "explain", "validate", "path", "aliases")
_EXAMPLE = re.compile(r"^    (stigmer .+)$", re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(sandbox: Sandbox, name: str) -> None:
    """`--help` has examples that call the command, the options all commands share, and fits 80 columns."""
    answer = ask(sandbox, name, "--help")
    assert (answer.status, answer.err) == (0, "")
    assert any(f"stigmer config {name}" in example for example in _EXAMPLE.findall(answer.out))
    for option in ("--mode", "--project-dir", "--no-project", "-h, --help"):
        assert option in answer.out
    assert [line for line in answer.out.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("name", SHOWING)
def test_the_examples_in_the_help_work(sandbox: Sandbox, name: str) -> None:
    """Each example of the commands that show something, run by a shell unchanged, exits with 0."""
    sandbox.write(user="mode: local\nllm: {model: fast}\n", project="llm: {timeout: 5}\n")
    variables = variables_of(
        sandbox, {"ANTHROPIC_API_KEY": "sk-example", "PATH": f"{os.path.dirname(COMMAND)}:{os.defpath}"}
    )
    examples = _EXAMPLE.findall(ask(sandbox, name, "--help").out)
    script = "set -e -o pipefail\n" + "\n".join(
        f"{example} >> all.txt" if ">" not in example else example for example in examples
    )
    done = subprocess.run(
        ["/bin/bash", "-c", script], cwd=sandbox.project, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert examples


def test_the_help_of_show_is_enough_to_start_with(sandbox: Sandbox) -> None:
    """It contains every layer with its source, the exit statuses, and the formats."""
    text = ask(sandbox, "show", "--help").out
    for layer in ("defaults", "vendor", "site", "user", "project", "env", "flags"):
        assert re.search(rf"^ +{layer} +\S", text, re.MULTILINE), layer
    for status in "0123":
        assert re.search(rf"^ +{status}  \S", text, re.MULTILINE), status
    for word in ("~/.stigmer/config.yaml", ".stigmer/config.yaml of this folder", "MODE", "yaml", "env", "--reveal"):
        assert word in text


def test_the_groups_list_their_commands(sandbox: Sandbox) -> None:
    """`stigmer config --help` names each command; `stigmer --version` answers; no argument is wrong usage with help."""
    text = ask(sandbox, "--help").out
    for name in COMMANDS:
        assert re.search(rf"^  {name} +\S", text, re.MULTILINE), name
    environment = variables_of(sandbox)
    version = subprocess.run([COMMAND, "--version"], env=environment, capture_output=True, text=True, check=False)
    assert (version.returncode, version.stderr) == (0, "")
    assert re.fullmatch(r"stigmer, version \d+\.\d+\.\d+\S*\n", version.stdout)
    bare = subprocess.run([COMMAND], env=environment, capture_output=True, text=True, check=False)
    assert bare.returncode == 2
    assert "stigmer config show --origin" in bare.stderr


def test_every_key_a_letter_off_finds_its_way_back(sandbox: Sandbox) -> None:
    """For each key, a slip in its name (a letter dropped, two swapped) is wrong usage that names a key or section."""
    for key in SETTINGS:
        section, dot, name = key.rpartition(".")
        for slip in (name[:-1], name[1] + name[0] + name[2:]):
            if f"{section}{dot}{slip}" in {*SETTINGS, *CHILDREN}:
                continue
            answer = ask(sandbox, "get", f"{section}{dot}{slip}")
            assert answer.status == 2
            assert f"did you mean {key}?" in answer.err
