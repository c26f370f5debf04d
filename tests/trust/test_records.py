"""The record of a grant is trusted only if no other user can have written it, and survives a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from stigmer_config import Environment
from stigmer_config.core.provenance import Layer
from stigmer_config.loading.load import Loaded, read
from stigmer_config.loading.request import request
from stigmer_config.sources.config_file import file_layer
from stigmer_config.trust import grants
from tests.support.acls import let_user
from tests.support.sandbox import Sandbox

STRANGER = 4_000_000
ASKS = "llm: {base_url: 'http://gpu-box:11434'}\n"
OTHER = "llm: {base_url: 'http://another-box:11434'}\n"
LOCAL = {"MODE": "local"}

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to give a file to another user")


def project_layer(environment: Environment, sandbox: Sandbox) -> Layer:
    return file_layer(str(sandbox.project_file), "project", environment.uid)[0]


def granted(sandbox: Sandbox) -> Path:
    """Grants the project what it asks for. Returns the record's path."""
    environment = sandbox.write(project=ASKS).environment(LOCAL)
    path = grants.record(environment, project_layer(environment, sandbox))
    assert sandbox.load(LOCAL).llm.base_url == "http://gpu-box:11434"
    return path


def by_code(loaded: Loaded) -> dict[str, str]:
    return {problem.code: problem.message for problem in loaded.problems}


def strangers(path: Path) -> None:
    os.chown(path, STRANGER, -1)


def writable(path: Path) -> None:
    path.chmod(path.stat().st_mode | 0o022)


def by_acl(path: Path) -> None:
    let_user(path, STRANGER, 7)


def a_link(path: Path) -> None:
    elsewhere = path.with_name("elsewhere")
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


@pytest.mark.parametrize("place", ["record", "folder", "state folder"])
@pytest.mark.parametrize("spoil", [pytest.param(strangers, marks=as_root), writable, by_acl, a_link])
def test_a_record_that_another_user_may_have_written_is_not_believed(
    sandbox: Sandbox, place: str, spoil: Callable[[Path], None]
) -> None:
    """The project is refused as if nothing was granted, and a warning says why; `trust --show` says it, too."""
    record = granted(sandbox)
    spoil({"record": record, "folder": record.parent, "state folder": record.parent.parent}[place])
    loaded = sandbox.read(LOCAL)
    assert by_code(loaded).keys() == {"untrusted-key", "insecure-permissions"}
    assert "does not count" in by_code(loaded)["insecure-permissions"]
    assert loaded.config.llm.base_url == "http://localhost:11434"


def test_a_record_that_is_no_file_never_blocks(sandbox: Sandbox) -> None:
    """A FIFO hung every command."""
    record = granted(sandbox)
    record.unlink()
    os.mkfifo(record)
    assert by_code(sandbox.read(LOCAL)).keys() == {"untrusted-key", "insecure-permissions"}
    record.unlink()
    record.mkdir()
    assert by_code(sandbox.read(LOCAL)).keys() == {"untrusted-key", "insecure-permissions"}


def test_a_record_is_read_to_a_limit(sandbox: Sandbox) -> None:
    record = granted(sandbox)
    with record.open("ab") as file:
        file.truncate(1 << 40)
    assert "untrusted-key" in by_code(sandbox.read(LOCAL))


@as_root
def test_roots_record_counts_for_every_user(sandbox: Sandbox) -> None:
    """As root's user file does."""
    environment = sandbox.write(project=ASKS).environment(LOCAL)
    grants.record(environment, project_layer(environment, sandbox))
    users = msgspec.structs.replace(environment, uid=STRANGER)
    assert grants.decide(users, project_layer(users, sandbox)).covered


@pytest.fixture
def old_umask() -> Iterator[None]:
    before = os.umask(0o002)
    yield
    os.umask(before)


@pytest.mark.usefixtures("old_umask")
def test_the_folders_are_the_users_alone(sandbox: Sandbox) -> None:
    """From `stigmer/` down, whatever the umask says; folders of an earlier version are closed."""
    state = sandbox.home / ".local" / "state" / "stigmer"
    (state / "trust").mkdir(parents=True)
    (state / "trust").chmod(0o775)
    record = granted(sandbox)
    modes = [path.stat().st_mode & 0o777 for path in (state, record.parent, record)]
    assert modes == [0o700, 0o700, 0o600]


def test_another_user_cannot_plant_a_grant(sandbox: Sandbox) -> None:
    """With umask 002 and a shared group, another user wrote a record and got the key."""
    if os.geteuid() != 0:
        pytest.skip("takes root, to become another user")
    with tempfile.TemporaryDirectory() as shared:
        home = Path(shared) / "home"
        home.mkdir()
        Path(shared).chmod(0o755)
        environment = msgspec.structs.replace(
            sandbox.write(project=ASKS).environment(LOCAL), state_dir=home / "state" / "stigmer"
        )
        os.umask(before := os.umask(0o002))
        (home / "state" / "stigmer" / "trust").mkdir(parents=True)
        for folder in (home / "state", home / "state" / "stigmer", home / "state" / "stigmer" / "trust"):
            folder.chmod(0o775)
            os.chown(folder, 0, STRANGER)
        os.umask(before)
        record = grants.path_of(environment, str(sandbox.project_file))
        layer = project_layer(environment, sandbox)
        forged = {"project": str(sandbox.project_file), "digest": grants.digest(grants.covered(layer))}
        text = json.dumps({**forged, "granted": "2026-01-01T00:00:00Z", "credentials": []})
        planting = ["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups", "tee", str(record)]
        subprocess.run(planting, input=text, text=True, check=True, stdout=subprocess.DEVNULL)
        assert not grants.decide(environment, layer).covered
        assert read(request(environment=environment)).config.llm.base_url == "http://localhost:11434"


def killed_at(call: str, act: Callable[[], object]) -> None:
    """Runs `act` in a child that is killed at its next `os.CALL`."""
    child = os.fork()
    if child == 0:
        try:
            setattr(os, call, lambda *_arguments, **_named: os.kill(os.getpid(), signal.SIGKILL))
            act()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.parametrize("call", ["write", "fsync", "link", "replace"])
def test_a_kill_leaves_the_old_grant_or_the_new_one_and_nothing_piles_up(sandbox: Sandbox, call: str) -> None:
    record = granted(sandbox)
    environment = sandbox.write(project=OTHER).environment(LOCAL)
    other = project_layer(environment, sandbox)
    old = record.read_bytes()
    for _ in range(5):
        killed_at(call, lambda: grants.record(environment, other))
    assert record.read_bytes() == old
    assert len(list(record.parent.iterdir())) <= 4  # the record, what was prepared, a lock, a temporary file
    grants.record(environment, other)
    assert [path.name for path in record.parent.iterdir()] == [record.name]
    assert grants.decide(environment, other).covered


def test_between_a_grant_and_the_files_replacement_both_count(sandbox: Sandbox) -> None:
    """`set --project` is killed in between: the old file is as trusted as it was, and the new one is, too."""
    record = granted(sandbox)
    environment = sandbox.environment(LOCAL)
    old = project_layer(environment, sandbox)
    new = project_layer(environment, sandbox.write(project=OTHER))
    grants.prepare(environment, new)
    assert grants.decide(environment, old).covered
    assert grants.decide(environment, new).covered
    assert grants.revoke(environment, new.source)
    assert not grants.decide(environment, old).covered
    assert not grants.decide(environment, new).covered
    assert not list(record.parent.iterdir())


def test_an_edit_that_is_killed_before_the_rename_keeps_the_old_grant(sandbox: Sandbox) -> None:
    """The same through the command."""
    granted(sandbox)
    state = {"XDG_STATE_HOME": str(sandbox.home / ".local" / "state"), **LOCAL}
    assert sandbox.run("get", "llm.base_url", variables=state).stdout == "http://gpu-box:11434\n"
    program = (
        "import os, signal, stigmer_config.files.atomic_write as w\n"
        "put = w.Locked._put\n"
        "def killed(self, *, new):\n"
        "    if self.path.endswith('config.yaml'): os.kill(os.getpid(), signal.SIGKILL)\n"
        "    put(self, new=new)\n"
        "w.Locked._put = killed\n"
        "from stigmer_config.cli import main\n"
        "main()\n"
    )
    variables = {"HOME": str(sandbox.home), "PATH": os.environ["PATH"], **state}
    argv = ["config", "set", "--project", "llm.base_url", "http://another-box:11434"]
    done = subprocess.run([sys.executable, "-c", program, *argv], cwd=sandbox.project, env=variables, check=False)
    assert done.returncode == -signal.SIGKILL
    shown = sandbox.run("get", "llm.base_url", variables=state)
    assert (shown.returncode, shown.stdout) == (0, "http://gpu-box:11434\n")
    (sandbox.project_file.parent / ".config.yaml.new").unlink()


def test_a_full_disk_is_named_as_what_it_is(sandbox: Sandbox) -> None:
    """`trust` blamed "the output"."""
    if not Path("/dev/full").exists() or os.geteuid() != 0:
        pytest.skip("takes root and Linux, to mount a small file system")
    sandbox.write(project=ASKS)
    state = sandbox.root / "full"
    state.mkdir()
    command = (
        f"mount -t tmpfs -o size=4k,nr_inodes=16 none {state} && head -c 4096 /dev/zero > {state}/zeros; "
        f"echo y | {Path(sys.executable).parent}/stigmer config trust"
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", command],
        cwd=sandbox.project,
        env={"HOME": str(sandbox.home), "PATH": os.environ["PATH"], "XDG_STATE_HOME": str(state), **LOCAL},
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr.splitlines()[0]}")
    assert (done.returncode, "nothing was granted" in done.stderr) == (1, True)
    assert "No space left on device" in done.stderr
    assert "output" not in done.stderr
