"""What is otherwise on other systems, as far as that shows on this one. Types are checked for each (`make check`)."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from stigmer_config import ConfigError
from tests.support import versions
from tests.support.cli_tools import variables_of
from tests.support.paths import REPOSITORY
from tests.support.sandbox import Sandbox

OPENING = """
import os, sys
os.O_BINARY = 0x8000  # Python's own on Windows; here the kernel takes it for O_LARGEFILE, which changes nothing
opened, real = [], os.open
def noting(path, flags, *arguments, **names):
    opened.append((str(path), flags))
    return real(path, flags, *arguments, **names)
os.open = noting
from stigmer_config import LiveConfig
from stigmer_config.cli import main
with LiveConfig.start() as live:
    live.reload()
    assert live.current.llm.api_key.reveal() == "sk-ant-portable"
sys.argv = ["stigmer", "config", "set", "llm.timeout", "7"]
try:
    main()
except SystemExit as done:
    assert not done.code
text = [path for path, flags in opened if not flags & (os.O_BINARY | os.O_DIRECTORY)]
print("opened", len(opened), "as text", text)
"""


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What asks for the system gets this answer, once everything is imported."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "win32")
        yield


def test_files_are_read_and_written_byte_for_byte(sandbox: Sandbox) -> None:
    """Without O_BINARY Windows turns line ends round: the file that is written is not the one that was meant."""
    key = sandbox.home / "key"
    key.write_text("sk-ant-portable")
    key.chmod(0o600)
    sandbox.write(user=f"mode: cloud\nllm:\n  api_key: {{file: {key}}}\n")
    done = subprocess.run(
        [sys.executable, "-c", OPENING],
        cwd=sandbox.project,
        env={**variables_of(sandbox), "XDG_RUNTIME_DIR": str(sandbox.root / "run")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith("as text []"), done.stdout
    assert "timeout: 7" in sandbox.user_file.read_text()


@pytest.mark.usefixtures("windows")
def test_a_mode_says_nothing_on_windows(sandbox: Sandbox) -> None:
    """Every file there has mode 0666: the ACL has the permissions."""
    sandbox.write(user="llm: {api_key: sk-ant-portable}\n")
    sandbox.user_file.chmod(0o666)
    assert sandbox.load({"MODE": "cloud"}).llm.provider == "anthropic"


@pytest.mark.usefixtures("windows")
def test_no_command_is_run_on_windows(sandbox: Sandbox) -> None:
    """There is no process group there to end with it."""
    sandbox.write(user="llm: {api_key: {command: [/bin/echo, sk-ant-portable]}}\n")
    with pytest.raises(ConfigError, match="commands are not run") as fault:
        sandbox.load({"MODE": "cloud"})
    assert [problem.code for problem in fault.value.problems] == ["secret-unavailable"]


@pytest.mark.parametrize("test", [*versions.TESTS, *versions.LEFT_OUT])
def test_the_version_matrix_names_tests_that_exist(test: str) -> None:
    """pytest ignores a `--deselect` of what is not there: a renamed test would run, and slowly, for each version."""
    path, *names = test.split("::")
    assert (REPOSITORY / path).exists()
    for name in names:
        assert re.search(rf"^ *(def|class) {name}\b", (REPOSITORY / path).read_text(), re.MULTILINE)


@pytest.mark.parametrize("lock", versions.LOCKS.values())
def test_the_version_matrix_installs_a_whole_part_of_the_lock(lock: str) -> None:
    """Every direct dependency and what it needs, each with hashes; none of the SDKs."""
    text = versions.requirements(lock)
    names = {line.split("==")[0] for line in text.splitlines() if "==" in line and not line.startswith(" ")}
    assert names >= {"msgspec", "click", "ruamel-yaml", "httpx2", "httpcore2", "pytest", "iniconfig", "pluggy"}
    assert text.count("--hash=sha256:") > 2 * len(names)
    assert not names & {"langchain-openai", "anthropic", "mypy", "temporalio"}
