"""Homes and working folders that are relative, or do not exist: a real process in a real user namespace."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cli_tools import COMMAND
from tests.support.sandbox import Sandbox

# A user id without an entry in the password file.
STRANGER = ["unshare", "--user", "--map-user=54321"]


@functools.cache
def _why_no_stranger() -> str:
    """Why this machine cannot run a process as such a user; "" when it can."""
    try:
        done = subprocess.run([*STRANGER, sys.executable, "-c", ""], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "there is no unshare here"
    return "" if done.returncode == 0 else f"unshare --user: {done.stderr.strip()}"


needs_stranger = pytest.mark.skipif(bool(_why_no_stranger()), reason=_why_no_stranger() or "never")


def homeless(argv: list[str], cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A process of a user without a home, `HOME` unset."""
    environment = {"PATH": os.defpath, "MODE": "local", "XDG_CONFIG_DIRS": str(cwd / "xdg"), **variables}
    return subprocess.run(
        [*STRANGER, *argv], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@needs_stranger
def test_without_a_home_there_is_no_user_layer_and_all_else_works(sandbox: Sandbox) -> None:
    """`path` says why; a command that needs the folder says how to name one."""
    sandbox.write(project="llm: {max_tokens: 5}\n")
    done = homeless([COMMAND, "config", "get", "llm.max_tokens"], sandbox.project)
    assert (done.returncode, done.stdout, done.stderr) == (0, "5\n", "")
    done = homeless([COMMAND, "config", "path", "--format", "json"], sandbox.project)
    user = next(row for row in json.loads(done.stdout) if row["layer"] == "user")
    assert (done.returncode, user["status"]) == (0, "absent")
    assert "there is no home" in user["why"]
    done = homeless([COMMAND, "config", "set", "llm.timeout", "3"], sandbox.project)
    assert (done.returncode, "STIGMER_HOME" in done.stderr) == (2, True)
    sandbox.write(project="sandbox: {root_dir: /x}\n")
    done = homeless([COMMAND, "config", "trust"], sandbox.project)
    assert (done.returncode, "there is no home" in done.stderr) == (1, True)


@needs_stranger
def test_without_a_home_a_worker_starts_and_follows_its_files(sandbox: Sandbox) -> None:
    """The project's file is taken live."""
    sandbox.write(project="llm: {max_tokens: 5}\n")
    program = (
        "import pathlib\nfrom stigmer_config import LiveConfig\n"
        "with LiveConfig.start() as live:\n"
        "    pathlib.Path('.stigmer/config.yaml').write_text('llm: {max_tokens: 6}\\n')\n"
        "    print(live.wait_for(lambda config: config.llm.max_tokens == 6, timeout=30).llm.max_tokens)\n"
    )
    done = homeless([sys.executable, "-c", program], sandbox.project)
    assert (done.returncode, done.stdout) == (0, "6\n"), done.stderr


@needs_stranger
def test_stigmer_home_helps_where_there_is_no_home(sandbox: Sandbox) -> None:
    """It contains the user's file and the grants."""
    own = sandbox.root / "own"
    own.mkdir(mode=0o700)
    done = homeless([COMMAND, "config", "set", "llm.timeout", "3"], sandbox.project, STIGMER_HOME=str(own))
    assert done.returncode == 0, done.stderr
    done = homeless([COMMAND, "config", "get", "llm.timeout"], sandbox.project, STIGMER_HOME=str(own))
    assert done.stdout == "3.0\n"
    done = homeless(
        [COMMAND, "config", "set", "--project", "sandbox.root_dir", "/x"], sandbox.project, STIGMER_HOME=str(own)
    )
    assert done.returncode == 0, done.stderr
    done = homeless([COMMAND, "config", "get", "sandbox.root_dir"], sandbox.project, STIGMER_HOME=str(own))
    assert (done.returncode, done.stdout) == (0, "/x\n"), done.stderr


@pytest.mark.parametrize("home", ["home", "./home", "../root/home"])
def test_a_relative_home_starts_at_the_working_folder(sandbox: Sandbox, home: str, tmp_path: Path) -> None:
    """For a load and for a worker."""
    root = tmp_path / "root"
    (root / "home" / ".stigmer").mkdir(mode=0o700, parents=True)
    file = root / "home" / ".stigmer" / "config.yaml"
    file.write_text("mode: local\nllm: {api_key: {file: ~/key}, max_tokens: 5}\n")
    file.chmod(0o600)
    program = (
        "import pathlib\nfrom stigmer_config import LiveConfig, load\nprint(load().llm.max_tokens)\n"
        "with LiveConfig.start() as live:\n"
        "    pathlib.Path('home/.stigmer/config.yaml').write_text('mode: local\\nllm: {max_tokens: 6}\\n')\n"
        "    print(live.wait_for(lambda config: config.llm.max_tokens == 6, timeout=30).llm.max_tokens)\n"
    )
    environment = {"PATH": os.defpath, "HOME": home, "XDG_CONFIG_DIRS": str(tmp_path / "xdg")}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "5\n6\n"), done.stderr


def test_a_working_folder_that_is_gone_matters_only_to_what_needs_it(sandbox: Sandbox) -> None:
    """A load and a worker do without the project; a relative path cannot be opened."""
    sandbox.write(user="mode: local\nllm: {max_tokens: 5}\n")
    gone = sandbox.root / "gone"
    gone.mkdir()
    program = (
        "import os, sys\nos.rmdir(os.getcwd())\nfrom stigmer_config import LiveConfig, load\n"
        "print(load().llm.max_tokens)\nwith LiveConfig.start() as live:\n    print(live.current.llm.max_tokens)\n"
        "try:\n    load(project_dir='x')\nexcept ValueError as error:\n    print(error.problems[0].code)\n"
    )
    environment = {"PATH": os.defpath, "HOME": str(sandbox.home), "XDG_CONFIG_DIRS": str(sandbox.root / "xdg")}
    alone = [sys.executable, "-c", "import os; os.rmdir(os.getcwd()); import socket"]
    if b"SystemError" in subprocess.run(alone, cwd=gone, env=environment, capture_output=True, check=False).stderr:
        pytest.skip("this Python cannot import its own socket module there (3.13.0)")
    gone.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=gone, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "5\n5\nunreadable-file\n"), done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have folders of their own")
@pytest.mark.parametrize(
    ("variables", "is_default"),
    [
        ({}, True),
        ({"HOME": "/h/"}, True),
        ({"HOME": "/"}, True),
        ({"XDG_CONFIG_DIRS": "", "XDG_CONFIG_HOME": "", "XDG_STATE_HOME": ""}, True),
        ({"XDG_CONFIG_DIRS": "/a:/b"}, False),
        ({"XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s"}, False),
        ({"XDG_CONFIG_DIRS": "relative"}, False),
    ],
    ids=str,
)
def test_the_folders_are_those_of_platformdirs(tmp_path: Path, variables: dict[str, str], *, is_default: bool) -> None:
    """The defaults without its import, which is a tenth of a load; it decides wherever a variable moves them."""
    program = (
        "import sys\n"
        "from stigmer_config import Environment\n"
        "found = Environment.capture()\n"
        "imported = 'platformdirs' in sys.modules\n"
        "import platformdirs\n"
        "folders = platformdirs.PlatformDirs('stigmer')\n"
        "assert found.site_dir == folders.site_config_path, found.site_dir\n"
        "assert found.config_dir == folders.user_config_path, found.config_dir\n"
        "assert found.state_dir == folders.user_state_path, found.state_dir\n"
        "print(imported)\n"
    )
    environment = {"HOME": str(tmp_path), "PATH": os.defpath, **variables}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == (f"{not is_default}\n", "")
