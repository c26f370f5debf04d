"""The README is executed: every file in it is written, every command and program run, every output compared."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

from stigmer_config.core import data_files as packaged
from tests.support.paths import REPOSITORY

ROOT = REPOSITORY
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
_FENCE = re.compile(
    r"(?:<!-- file: (?P<file>\S+) -->\n)?^```(?P<language>\w+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)


class Reader:
    """Someone who follows the README from the top: a home, a project in it, and nothing configured."""

    def __init__(self, root: Path) -> None:
        self.home = root / "you"
        self.project = self.home / "project"
        self.site = root / "xdg"
        (self.project / ".git").mkdir(parents=True)
        self.environment = {
            "HOME": str(self.home),
            "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
            "LC_ALL": "C.UTF-8",
            "XDG_CONFIG_DIRS": str(self.site),
            "XDG_RUNTIME_DIR": str(root / "run"),  # no worker of this machine, nor of another test
        }

    def write(self, name: str, text: str) -> None:
        path = self.home / name.removeprefix("~/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)

    def run(self, *argv: str, log: int = subprocess.STDOUT) -> tuple[int, str]:
        done = subprocess.run(
            argv,
            cwd=self.project,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=log,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        shown = done.stdout.replace(packaged.FOLDER, "…/defaults").replace(str(self.home), "/home/you")
        return done.returncode, shown.replace(str(self.site), "/etc/xdg")


class Command(NamedTuple):
    """One command of a console block, the status it ends with (`# exits 3`), and what it prints."""

    line: str
    status: int
    output: list[str]


def commands(body: str) -> list[Command]:
    found: list[Command] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            exits = re.search(r"# exits (\d+)$", line)
            found.append(Command(line[2:], int(exits[1]) if exits else 0, []))
        else:
            found[-1].output.append(line)
    return found


def aligned(line: str) -> str:
    """A line without the padding of its columns, which depends on the paths of this machine."""
    return re.sub(r"(?<=\S) {2,}", "  ", line).rstrip()


def test_every_block_does_what_the_readme_says(tmp_path: Path) -> None:
    """From the top to the bottom, as a reader does it: files written, commands and programs run, outputs the same."""
    reader = Reader(tmp_path.resolve())
    done = {"console": 0, "yaml": 0, "python": 0}
    for block in _FENCE.finditer(TEXT):
        language, body = block["language"], block["body"]
        if language == "yaml":
            assert block["file"], f"where does this file go?\n{body}"
            reader.write(block["file"], body)
        elif language == "console":
            for command in commands(body):
                status, output = reader.run("/bin/sh", "-c", command.line)
                assert [aligned(line) for line in output.splitlines()] == [aligned(line) for line in command.output], (
                    command.line
                )
                assert status == command.status, command.line
        elif language == "python":
            # Two spaces after the arrow have no meaning: the rest is one printed line.
            status, output = reader.run(sys.executable, "-c", body, log=subprocess.DEVNULL)
            assert output.splitlines() == [line.partition("# → ")[2] for line in body.splitlines() if "# → " in line]
            assert status == 0
        else:
            continue
        done[language] += 1
    assert min(done.values()) >= 1, done


def test_the_commands_to_install_and_test_exist() -> None:
    """Every `make` target that the README names is one."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)\b", TEXT))
    assert named
    assert named <= targets


def test_every_link_works_on_a_package_index() -> None:
    """Links are absolute, and those into the repository lead to a file of it."""
    repository = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Source"]
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", TEXT)
    assert links
    assert [link for link in links if not link.startswith("https://")] == []
    inside = re.compile(re.escape(repository) + r"/(?:blob|raw)/main/")
    files = [inside.sub("", link) for link in links if link.startswith(repository)]
    assert files
    assert [file for file in files if not (ROOT / file).is_file()] == []
