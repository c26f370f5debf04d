"""A file is the old one or the new one, whole, whatever happens; and no writer is lost."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from stigmer_config.editing.candidate import target
from stigmer_config.editing.keys import with_value
from stigmer_config.editing.write import write
from stigmer_config.files import atomic_write as saving
from stigmer_config.files.atomic_write import ChangedError, SaveError, locked
from stigmer_config.loading.request import request
from stigmer_config.trust import grants
from tests.support.crash_driver import NEW, OLD
from tests.support.paths import REPOSITORY, TESTS
from tests.support.sandbox import Sandbox

CLOUD = {"ANTHROPIC_API_KEY": "sk-ant-of-the-tests"}
UNCONFIRMED = "the disk did not confirm it"
UNTOUCHED = "nothing was written"


@pytest.mark.parametrize("existing", [True, False], ids=["existing", "missing"])
def test_any_call_that_fails_leaves_the_old_file_or_the_new_one(sandbox: Sandbox, *, existing: bool) -> None:
    """Whichever call of a save fails or never returns, the file is whole, and exit status and message say which."""
    driver = TESTS / "support" / "crash_driver.py"
    environment = {"HOME": str(sandbox.home), "PATH": os.environ["PATH"], "XDG_CONFIG_DIRS": str(sandbox.root)}
    done = subprocess.run(
        [sys.executable, "-P", str(driver), "01"[existing]],
        cwd=sandbox.project,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["fault"] for row in rows} == {"SIGKILL", "ENOSPC", "EIO", "EXDEV", "KeyboardInterrupt"}
    assert {"old", "new"} <= {row["file"] for row in rows if row["fault"] == "SIGKILL"}
    assert {name for row in rows for name in [row["call"].split()[1]]} >= {"open", "write", "fchmod", "fsync", "close"}
    assert [row for row in rows if not _is_told(row)] == []
    assert [row for row in rows if not row["again"] or row["left"] != ["config.yaml"]] == []


def _is_told(row: dict[str, Any]) -> bool:
    if row["file"] == "other" or (row["file"] == "new" and row["mode"] != "0o600"):
        return False
    if row["fault"] == "SIGKILL":
        return bool(row["status"] == -9)
    if row["file"] == "new":
        return row["status"] == 0 and UNTOUCHED not in row["said"]
    return row["status"] != 0 and UNTOUCHED in row["said"]


def test_an_unconfirmed_rename_is_reported(sandbox: Sandbox) -> None:
    """The folder's fsync fails after the rename: the new file is in place, exit 0, and the doubt is reported."""
    root = REPOSITORY
    environment = {"HOME": str(sandbox.home), "PATH": os.environ["PATH"], "XDG_CONFIG_DIRS": str(sandbox.root)}
    script = (
        f"import sys; sys.path.insert(0, {str(root)!r})\n"
        "import tests.support.crash_driver as d, pathlib, os\n"
        "calls = d.run(None, '')[2].calls\n"
        "at = max(n for n, name in enumerate(calls) if name == 'fsync')\n"
        "path = pathlib.Path(os.environ['HOME'], '.stigmer', 'config.yaml')\n"
        "path.write_bytes(d.OLD)\n"
        "status, said, _ = d.run(at, 'EIO')\n"
        "print(status, said, path.read_bytes() == d.NEW[True])"
    )
    sandbox.write(user=OLD.decode())
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=sandbox.project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.startswith("0 "), done.stderr
    assert UNCONFIRMED in done.stdout
    assert done.stdout.endswith("True\n")


# strace's line for a system call on one of our paths: `123 fsync(5</…>) = 0`.
_CALL = re.compile(r"\d+ +([a-z0-9]+)\(")
_CHANGING = {"openat", "write", "fsync", "fchmod", "renameat", "renameat2", "linkat", "unlinkat", "flock", "close"}


def _strace(sandbox: Sandbox, *options: str) -> subprocess.CompletedProcess[str]:
    folder = sandbox.user_file.parent
    paths = [folder, folder / "config.yaml", folder / ".config.yaml.new", folder / ".config.yaml.lock"]
    command = ["strace", "-f", "-qq", "-o", str(sandbox.root / "strace.log")]
    command += [word for path in paths for word in ("-P", str(path))]
    command += [*options, str(Path(sys.executable).parent / "stigmer"), "config", "set", "llm.model", "balanced"]
    environment = {"HOME": str(sandbox.home), "PATH": os.environ["PATH"], "XDG_CONFIG_DIRS": str(sandbox.root)}
    return subprocess.run(
        command, cwd=sandbox.project, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def _traceable() -> bool:
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-qq", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("fault", ["signal=KILL", "error=ENOSPC", "error=EIO", "error=EXDEV"])
def test_any_system_call_that_fails_leaves_the_old_file_or_the_new_one(sandbox: Sandbox, fault: str) -> None:
    """The same at the kernel's edge, for every system call on the file, its folder and its neighbours."""
    if not _traceable():
        pytest.skip("strace is not there, or may not trace here")
    sandbox.write(user=OLD.decode())
    sandbox.user_file.parent.chmod(0o700)
    assert _strace(sandbox).returncode == 0
    wanted = [step for step in _steps(sandbox) if fault == "signal=KILL" or step[0] in _CHANGING]
    assert {"fsync", "flock", "write"} <= {name for name, _ in wanted}
    seen = set()
    for name, number in wanted:
        _reset(sandbox)
        done = _strace(sandbox, "-e", f"inject={name}:{fault}:when={number}")
        now = sandbox.user_file.read_bytes()
        where = f"{name} {number}: {done.returncode} {done.stderr}"
        assert now in (OLD, NEW[True]), where
        seen.add(now)
        if fault == "signal=KILL":
            assert done.returncode == -9, where
        else:
            assert "(INJECTED)" in (sandbox.root / "strace.log").read_text(), where
            assert (done.returncode == 0) == (now == NEW[True]), where
            assert (done.returncode == 0) != (UNTOUCHED in done.stderr), where
    assert seen == {OLD, NEW[True]}


def _steps(sandbox: Sandbox) -> list[tuple[str, int]]:
    """The system calls of the last run from the lock on: each one's name, and which of that name it is."""
    counted: Counter[str] = Counter()
    steps: list[tuple[str, int]] = []
    begun = False
    for line in (sandbox.root / "strace.log").read_text().splitlines():
        call = _CALL.match(line)
        if call is not None:
            counted[call[1]] += 1
            begun = begun or ".lock" in line
            steps += [(call[1], counted[call[1]])] if begun else []
    return steps


def _reset(sandbox: Sandbox) -> None:
    for path in sandbox.user_file.parent.iterdir():
        path.unlink()
    sandbox.write(user=OLD.decode())


# Two hundred processes that are ready, and go at once: the command itself, without its start.
_CROWD = """
import os, sys
from stigmer_config.cli import main
sys.argv = ["stigmer", "config", "set", "aliases.first", "fast"]  # what each would import is imported once
try:
    main()
except SystemExit:
    pass
wait, go = os.pipe()
children = []
for number in range(200):
    child = os.fork()
    if not child:
        os.close(go)
        os.read(wait, 1)
        sys.argv = ["stigmer", "config", "set", f"aliases.a{number}", f"model-{number}:7b"]
        try:
            main()
        except SystemExit as end:
            os._exit(int(end.code or 0))
    children.append(child)
os.close(go)
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""


def test_two_hundred_writers_lose_nothing(sandbox: Sandbox) -> None:
    """Two hundred `set` processes at once, each another alias: the file has all two hundred."""
    sandbox.write(user="# aliases of many\naliases:\n  first: fast\n")
    environment = {"HOME": str(sandbox.home), "PATH": os.environ["PATH"], "XDG_CONFIG_DIRS": str(sandbox.root)}
    done = subprocess.run(
        [sys.executable, "-c", _CROWD],
        cwd=sandbox.project,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert done.stdout == f"{[0] * 200}\n", done.stderr
    aliases = sandbox.load({"MODE": "local"}).aliases
    assert {name: aliases[name] for name in aliases if re.fullmatch("a[0-9]+", name)} == {
        f"a{number}": f"model-{number}:7b" for number in range(200)
    }
    assert sandbox.user_file.read_text().startswith("# aliases of many\naliases:\n  first: fast\n")
    assert os.listdir(sandbox.user_file.parent) == ["config.yaml"]


def test_separate_commands_at_once_lose_nothing(sandbox: Sandbox) -> None:
    """The same from the shell's side, on both files."""

    def one(number: int) -> int:
        scope = ("--user", "--project")[number % 2]
        return sandbox.run("set", scope, f"aliases.a{number}", "fast").returncode

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(one, range(24))) == {0}
    aliases = sandbox.load({"MODE": "local"}).aliases
    assert {f"a{number}" for number in range(24)} <= set(aliases)


def test_a_writer_without_our_lock_is_not_overwritten(tmp_path: Path) -> None:
    """An editor that saves between our read and our rename keeps its text."""
    path = tmp_path / "config.yaml"
    path.write_bytes(b"theirs")
    with locked(str(path), follow=True) as file, pytest.raises(ChangedError):
        file.replace(b"ours", b"what we read", 0o600)
    assert path.read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == ["config.yaml"]


def test_a_new_file_does_not_overwrite_one_that_came_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever creates the file in the last moment keeps it."""
    path = tmp_path / "config.yaml"

    def late(*names: str, **folders: Any) -> None:
        path.write_bytes(b"theirs")
        os.link(*names, **folders)

    with locked(str(path), follow=True) as file:
        monkeypatch.setattr(saving, "os", _Os(link=late))
        with pytest.raises(ChangedError):
            file.replace(b"ours", None, 0o600)
    assert path.read_bytes() == b"theirs"


class _Os:
    """`os` with some functions replaced."""

    def __init__(self, **replaced: Any) -> None:
        self.replaced = replaced

    def __getattr__(self, name: str) -> Any:
        return self.replaced.get(name) or getattr(os, name)


def test_a_disk_that_takes_a_part_is_written_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short write is gone on with; one that only claims to have written all is found out."""
    path = tmp_path / "config.yaml"
    monkeypatch.setattr(saving, "os", _Os(write=lambda descriptor, data: os.write(descriptor, data[:3])))
    with locked(str(path), follow=True) as file:
        file.replace(b"0123456789", None, 0o600)
    assert path.read_bytes() == b"0123456789"
    monkeypatch.setattr(saving, "os", _Os(write=lambda descriptor, data: os.write(descriptor, data[:3]) and len(data)))
    with locked(str(path), follow=True) as file, pytest.raises(SaveError, match="not all of it"):
        file.replace(b"abcdefghij", b"0123456789", 0o600)
    assert path.read_bytes() == b"0123456789"


def test_a_file_system_without_hard_links_takes_a_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a link is refused, the rename does it."""
    path = tmp_path / "config.yaml"

    def refuse(*names: str, **folders: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(saving, "os", _Os(link=refuse))
    with locked(str(path), follow=True) as file:
        file.replace(b"new", None, 0o600)
    assert os.listdir(tmp_path) == ["config.yaml"]


def test_the_second_writer_waits_for_the_first(tmp_path: Path) -> None:
    """The lock excludes; a writer that never ends is given up on, with nothing written."""
    path = tmp_path / "config.yaml"
    with locked(str(path), follow=True), pytest.raises(SaveError, match="another process"):  # noqa: SIM117
        with locked(str(path), follow=True, wait=0.1):
            pytest.fail("two writers at once")
    with locked(str(path), follow=True, wait=0):
        pass


def test_links_of_a_users_file_are_followed_and_a_projects_are_refused(tmp_path: Path) -> None:
    """A user's file may be a link into a dotfiles folder, and stays one; a project's may not."""
    target = tmp_path / "dotfiles" / "stigmer.yaml"
    target.parent.mkdir()
    target.write_bytes(b"old")
    link = tmp_path / "home" / "config.yaml"
    link.parent.mkdir()
    link.symlink_to(target)
    with locked(str(link), follow=True) as file:
        file.replace(b"new", b"old", 0o600)
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    folder = tmp_path / "project" / ".stigmer"
    folder.parent.mkdir()
    folder.symlink_to(link.parent)
    with pytest.raises(SaveError, match="symbolic link"), locked(str(folder / "config.yaml"), follow=False):
        pytest.fail("a linked folder was opened")


@pytest.mark.parametrize("name", [".config.yaml.new", ".config.yaml.lock"])
def test_what_a_hostile_project_left_in_the_way_is_not_followed(tmp_path: Path, name: str) -> None:
    """A link in place of our own files redirects no write."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    folder = tmp_path / ".stigmer"
    folder.mkdir()
    path = folder / "config.yaml"
    path.write_bytes(b"old")
    (folder / name).symlink_to(victim)
    try:
        with locked(str(path), follow=False) as file:
            file.replace(b"new", b"old", None)
    except SaveError:
        assert path.read_bytes() == b"old"
    else:
        assert path.read_bytes() == b"new"
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize(("mode", "expected"), [(0o640, 0o640), (0o600, 0o600), (0o664, 0o664)])
def test_a_projects_file_keeps_its_mode(sandbox: Sandbox, mode: int, expected: int) -> None:
    """Saving a project's file does not touch who may read it; the user's file is the user's alone."""
    sandbox.write(project="llm:\n  temperature: 0.5\n", user="llm:\n  timeout: 3\n")
    for path in (sandbox.project_file, sandbox.user_file):
        path.chmod(mode)
    sandbox.user_file.chmod(0o644)
    assert sandbox.run("set", "--project", "llm.temperature", "0.7").returncode == 0
    assert sandbox.run("set", "llm.timeout", "4").returncode == 0
    assert stat.S_IMODE(sandbox.project_file.stat().st_mode) == expected
    assert stat.S_IMODE(sandbox.user_file.stat().st_mode) == 0o600


def test_new_files_and_folders_have_the_modes_they_should(sandbox: Sandbox) -> None:
    """A user's folder and file are the user's alone; a project's are as the umask says."""
    assert sandbox.run("set", "llm.timeout", "4").returncode == 0
    assert sandbox.run("set", "--project", "llm.timeout", "4").returncode == 0
    umask = os.umask(0)
    os.umask(umask)
    modes: Sequence[tuple[Path, int]] = (
        (sandbox.user_file.parent, 0o700),
        (sandbox.user_file, 0o600),
        (sandbox.project_file.parent, 0o777 & ~umask),
        (sandbox.project_file, 0o666 & ~umask),
    )
    for path, mode in modes:
        assert stat.S_IMODE(path.stat().st_mode) == mode, path


@pytest.mark.parametrize("granted", [True, False], ids=["granted", "nothing-granted"])
def test_a_write_that_fails_takes_its_trust_back(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, *, granted: bool
) -> None:
    """A full disk under `set --project` leaves file and trust as they were: what was trusted stays so, no more."""
    environment = sandbox.environment(CLOUD)
    aimed = target(request(environment=environment), "project")

    def edit(key: str, value: str) -> None:
        write(aimed, lambda contents: with_value(contents.data or b"", key, value), key)

    def full(*names: str, **folders: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if granted:
        edit("backend.endpoint", "localhost:1")
    before = grants.recorded_grant(environment, aimed.path)[1]
    monkeypatch.setattr(saving, "os", _Os(replace=full, link=full))
    with pytest.raises(SaveError, match="No space left"):
        edit("temporal.namespace", "other")
    monkeypatch.undo()
    after = grants.recorded_grant(environment, aimed.path)[1]
    assert (before and before.digest) == (after and after.digest)
    assert sandbox.load(CLOUD).backend.endpoint == ("localhost:1" if granted else "localhost:8080")
    edit("temporal.namespace", "other")
    assert sandbox.load(CLOUD).temporal.namespace == "other"
