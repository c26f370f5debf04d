"""The files that are read: regular, of limited size, and not writable by other users."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from stigmer_config import Environment, Problem
from stigmer_config.loading.load import Loaded, read
from stigmer_config.loading.request import request
from tests.support.sandbox import Sandbox

ROOT = os.getuid() == 0
# Nobody's: no user and no group has these numbers, so no group of this number is private.
STRANGER = 4_000_000
SETTINGS = "llm:\n  max_tokens: 77\n"
SECRET = "providers:\n  anthropic:\n    api_key: sk-c4n4ry-file\n"


def only(loaded: Loaded) -> Problem:
    """The one problem of a load."""
    (problem,) = loaded.problems
    return problem


def status(loaded: Loaded, layer: str) -> str:
    return next(found.status for found in loaded.layers if found.name == layer)


def put(sandbox: Sandbox, layer: str) -> Path:
    """The path of a layer's file, with its folder made."""
    path = {"site": sandbox.site_file, "user": sandbox.user_file, "project": sandbox.project_file}[layer]
    path.parent.mkdir(mode=0o755, exist_ok=True)
    return path


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_link_to_zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_link_to_nothing(path: Path) -> None:
    path.symlink_to("/dev/null")


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(path.parent):  # a socket's path must be short
        made.bind(path.name)


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


def make_dangling(path: Path) -> None:
    path.symlink_to("nowhere.yaml")


KINDS = [make_fifo, make_folder, make_link_to_zeros, make_link_to_nothing, make_socket, make_loop, make_dangling]


@pytest.mark.parametrize("layer", ["site", "user", "project"])
@pytest.mark.parametrize("make", KINDS)
def test_a_path_that_is_no_regular_file_is_an_error_and_never_blocks(
    sandbox: Sandbox, layer: str, make: object
) -> None:
    """FIFOs, devices, sockets, folders, loops and dangling links are `unreadable-file`, never waited for or skipped."""
    assert callable(make)
    make(put(sandbox, layer))
    loaded = sandbox.read({"MODE": "local"})
    problem = only(loaded)
    assert (problem.code, problem.severity, problem.origin and problem.origin.layer) == (
        "unreadable-file", "error", layer,
    )  # fmt: skip
    assert status(loaded, layer) == "error"


@pytest.mark.parametrize("layer", ["site", "user", "project"])
def test_a_missing_file_is_listed_without_a_problem(sandbox: Sandbox, layer: str) -> None:
    """A missing file is no fault, and is listed as `absent`."""
    loaded = sandbox.read({"MODE": "local"})
    assert not loaded.problems
    assert status(loaded, layer) == "absent"


def test_a_file_where_a_folder_belongs_is_a_missing_file(sandbox: Sandbox) -> None:
    """`~/.stigmer` that is a file holds no config.yaml."""
    sandbox.user_file.parent.write_text("no folder")
    assert not sandbox.problems({"MODE": "local"})


def test_a_missing_file_that_was_named_is_an_error(sandbox: Sandbox) -> None:
    """`STIGMER_SITE_CONFIG` names a file that must exist."""
    problem = only(sandbox.read({"MODE": "local", "STIGMER_SITE_CONFIG": str(sandbox.root / "gone.yaml")}))
    assert (problem.code, problem.origin and problem.origin.layer) == ("unreadable-file", "site")


def test_a_site_file_that_was_named_and_is_empty_is_an_error(sandbox: Sandbox) -> None:
    """A full disk leaves no byte in it: that is no wish for the defaults, while `{}` or a comment is one."""
    named = sandbox.root / "named.yaml"
    variables = {"MODE": "local", "STIGMER_SITE_CONFIG": str(named)}
    named.touch(mode=0o600)
    loaded = sandbox.read(variables)
    problem = only(loaded)
    assert (problem.code, problem.origin and problem.origin.source) == ("unreadable-file", str(named))
    assert [layer.status for layer in loaded.layers if layer.name == "site"] == ["error"]
    for text in ("{}", "# nothing to say\n"):
        named.write_text(text)
        assert not sandbox.problems(variables)


def test_an_empty_file_that_was_not_named_says_nothing(sandbox: Sandbox) -> None:
    """Only a variable's word makes a file one that must be there."""
    sandbox.write(site="", user="", project="")
    assert not sandbox.problems({"MODE": "local"})


@pytest.mark.parametrize("name", ["x" * 5000, "a/" * 3000, "nul\0"])
def test_a_path_no_system_takes_is_a_problem_not_a_crash(sandbox: Sandbox, name: str) -> None:
    """Names that are too long or hold a NUL cannot be opened, and that is all."""
    found = {problem.code for problem in sandbox.problems({"MODE": "local", "STIGMER_SITE_CONFIG": f"/{name}"})}
    assert found == {"unreadable-file"}


@contextlib.contextmanager
def without_powers(folder: Path) -> Iterator[Environment]:
    """This world for a user who is not root: root reads anything, and would prove nothing here."""
    if ROOT:
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, STRANGER, STRANGER, follow_symlinks=False)
        os.setegid(STRANGER)
        os.seteuid(STRANGER)
    try:
        uid = os.geteuid()
        world = Environment.capture({"MODE": "local"}, cwd=folder, home=folder, site_dir=folder / "site")
        yield msgspec.structs.replace(world, uid=uid)
    finally:
        if ROOT:
            os.seteuid(0)
            os.setegid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o700)
    shutil.rmtree(folder)


@pytest.mark.parametrize("place", ["file", "folder"])
def test_a_file_that_may_not_be_read_is_an_error(open_folder: Path, place: str) -> None:
    """An unreadable file, or one in a folder that cannot be entered, is reported with its path; nothing is skipped."""
    user_file = open_folder / ".stigmer" / "config.yaml"
    user_file.parent.mkdir(mode=0o700)
    user_file.write_text(SETTINGS)
    (user_file if place == "file" else user_file.parent).chmod(0)
    with without_powers(open_folder) as world:
        loaded = read(request(environment=world, project_dir=False))
    problem = only(loaded)
    assert (problem.code, problem.origin and problem.origin.source) == ("unreadable-file", str(user_file))
    assert "Permission denied" in problem.message
    assert loaded.errors == (problem,)


@pytest.mark.parametrize("layer", ["site", "user"])
@pytest.mark.parametrize(
    ("mode", "text", "is_fine"),
    [
        (0o600, SETTINGS, True),
        (0o600, SECRET, True),
        (0o400, SECRET, True),
        (0o644, SETTINGS, True),
        (0o644, SECRET, False),
        (0o604, SECRET, False),
        (0o606, SETTINGS, False),
        (0o602, SETTINGS, False),
        (0o666, SETTINGS, False),
        (0o777, SETTINGS, False),
    ],
    ids=lambda value: f"{value:04o}" if isinstance(value, int) and not isinstance(value, bool) else None,
)
def test_who_can_read_and_write_a_trusted_file_decides(
    sandbox: Sandbox, layer: str, mode: int, text: str, *, is_fine: bool
) -> None:
    """Others may read settings, never secrets, and may write neither."""
    path = put(sandbox, layer)
    path.write_text(text)
    path.chmod(mode)
    loaded = sandbox.read({"MODE": "local"})
    assert [problem.code for problem in loaded.problems] == ([] if is_fine else ["insecure-permissions"])
    assert (status(loaded, layer) == "loaded") is is_fine


@pytest.mark.parametrize(
    ("mode", "text", "is_fine"),
    [(0o640, SETTINGS, True), (0o640, SECRET, False), (0o660, SETTINGS, False), (0o620, SETTINGS, False)],
)
def test_a_group_with_others_in_it_counts_as_others(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, mode: int, text: str, *, is_fine: bool
) -> None:
    """A shared group may read settings, not secrets, and may not write."""
    path = put(sandbox, "user")
    path.write_text(text)
    path.chmod(mode)
    group = grp.getgrgid(path.stat().st_gid)
    shared = grp.struct_group((group.gr_name, "x", group.gr_gid, ["someone-else"]))
    monkeypatch.setattr(grp, "getgrgid", lambda number: shared)
    found = [problem.code for problem in sandbox.problems({"MODE": "local"})]
    assert found == ([] if is_fine else ["insecure-permissions"])


@pytest.mark.parametrize(("mode", "text"), [(0o660, SETTINGS), (0o640, SECRET), (0o664, SETTINGS)])
def test_the_owners_private_group_counts_as_the_owner(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, mode: int, text: str
) -> None:
    """Where each user has a group of their own (Debian, Fedora), umask 002 makes no fault."""
    path = put(sandbox, "user")
    path.write_text(text)
    path.chmod(mode)
    status = path.stat()
    owner = pwd.struct_passwd(("ann", "x", status.st_uid, status.st_gid, "", "/home/ann", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", lambda number: owner)
    monkeypatch.setattr(grp, "getgrgid", lambda number: grp.struct_group(("ann", "x", number, [])))
    assert not sandbox.problems({"MODE": "local"})


def nobody_knows(number: int) -> grp.struct_group:
    raise KeyError(number)


@pytest.mark.parametrize(("mode", "text"), [(0o660, SETTINGS), (0o640, SECRET)])
def test_an_unknown_group_is_not_private(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, mode: int, text: str
) -> None:
    """A file of a group without a name (an NFS mount, a container) may be the group's of many."""
    path = put(sandbox, "user")
    path.write_text(text)
    path.chmod(mode)
    monkeypatch.setattr(grp, "getgrgid", nobody_knows)
    assert [problem.code for problem in sandbox.problems({"MODE": "local"})] == ["insecure-permissions"]


def as_someone_else(sandbox: Sandbox, path: Path) -> Loaded:
    """A load in a world where `path` belongs neither to root nor to the user."""
    world = sandbox.environment({"MODE": "local"})
    if ROOT:
        os.chown(path, STRANGER, -1)
    else:
        world = msgspec.structs.replace(world, uid=os.getuid() + 1)
    return read(request(environment=world, project_dir=False))


@pytest.mark.parametrize("place", ["file", "folder"])
def test_a_trusted_file_or_folder_of_another_user_is_refused(sandbox: Sandbox, place: str) -> None:
    """What neither root nor the user owns, its owner can change at any time."""
    sandbox.write(user=SETTINGS)
    path = sandbox.user_file if place == "file" else sandbox.user_file.parent
    loaded = as_someone_else(sandbox, path)
    # Without root the whole sandbox is another user's: then both the file and the folder are reported.
    assert {problem.code for problem in loaded.problems} == {"insecure-permissions"}
    assert any(str(path) in problem.message and "read-only" in problem.hint for problem in loaded.problems)
    assert loaded.config.llm.max_tokens != 77


def test_a_file_of_roots_is_fine_for_everybody(sandbox: Sandbox) -> None:
    """A site file belongs to root and is read by all."""
    sandbox.write(site=SETTINGS)
    sandbox.site_file.chmod(0o644)
    if ROOT:
        world = msgspec.structs.replace(sandbox.environment({"MODE": "local"}), uid=STRANGER)
    else:
        world = msgspec.structs.replace(
            sandbox.environment({"MODE": "local"}),
            site_dir=Path("/etc"),
            variables={"STIGMER_SITE_CONFIG": "/etc/hosts"},
        )
    assert "insecure-permissions" not in {p.code for p in read(request(environment=world, project_dir=False)).problems}


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
@pytest.mark.parametrize("layer", ["site", "user"])
def test_a_folder_that_others_can_write_is_no_place_for_a_trusted_file(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, layer: str, mode: int
) -> None:
    """Who can write a folder can replace the files in it. The hint is the `chmod`."""
    path = put(sandbox, layer)
    path.write_text(SETTINGS)
    path.parent.chmod(mode)
    monkeypatch.setattr(grp, "getgrgid", nobody_knows)
    loaded = sandbox.read({"MODE": "local"})
    assert only(loaded).code == "insecure-permissions"
    assert only(loaded).hint == f"chmod go-w '{path.parent}'"
    assert loaded.config.llm.max_tokens != 77


def test_a_secret_others_can_read_has_the_chmod_as_its_hint(sandbox: Sandbox) -> None:
    """The fault of a readable secret is at the secret, and its hint is the command that fixes it."""
    sandbox.write(user=SECRET).user_file.chmod(0o644)
    problem = only(sandbox.read({"MODE": "local"}))
    assert (problem.key, problem.origin and problem.origin.line) == ("providers.anthropic.api_key", 3)
    assert problem.hint.startswith("chmod 600 ")
    assert "c4n4ry" not in str(problem)


def config_map(folder: Path, text: str, version: str) -> None:
    """Mounts a ConfigMap as the kubelet does: `config.yaml` → `..data/config.yaml`, `..data` → `..VERSION`."""
    (folder / version).mkdir()
    (folder / version / "config.yaml").write_text(text)
    (folder / version / "config.yaml").chmod(0o644)
    (folder / "..data_tmp").symlink_to(version)
    os.replace(folder / "..data_tmp", folder / "..data")
    if not (folder / "config.yaml").is_symlink():
        (folder / "config.yaml").symlink_to("..data/config.yaml")


def test_a_site_file_may_be_a_mounted_config_map(sandbox: Sandbox) -> None:
    """The links a ConfigMap is made of are followed, before and after an update of the mount."""
    config_map(sandbox.site_dir, SETTINGS, "..2026_01")
    assert sandbox.load({"MODE": "local"}).llm.max_tokens == 77
    config_map(sandbox.site_dir, SETTINGS.replace("77", "78"), "..2026_02")
    assert sandbox.load({"MODE": "local"}).llm.max_tokens == 78


def test_a_user_file_may_be_a_link_into_ones_dotfiles(sandbox: Sandbox) -> None:
    """People keep `~/.stigmer/config.yaml` elsewhere."""
    dotfiles = sandbox.home / "dotfiles"
    dotfiles.mkdir(mode=0o755)
    (dotfiles / "stigmer.yaml").write_text(SETTINGS)
    (dotfiles / "stigmer.yaml").chmod(0o600)
    put(sandbox, "user").symlink_to(dotfiles / "stigmer.yaml")
    assert sandbox.load({"MODE": "local"}).llm.max_tokens == 77


@pytest.mark.parametrize("hop", ["shared", "target"])
def test_every_folder_on_a_links_way_is_checked(sandbox: Sandbox, hop: str) -> None:
    """A trusted file behind links is only as safe as each folder that holds one of them."""
    shared, target = sandbox.root / "shared", sandbox.root / "target"
    shared.mkdir(mode=0o755)
    target.mkdir(mode=0o755)
    (target / "config.yaml").write_text(SETTINGS)
    (target / "config.yaml").chmod(0o600)
    (shared / "link.yaml").symlink_to(target / "config.yaml")
    put(sandbox, "user").symlink_to(shared / "link.yaml")
    assert sandbox.load({"MODE": "local"}).llm.max_tokens == 77
    (sandbox.root / hop).chmod(0o777)
    problem = only(sandbox.read({"MODE": "local"}))
    assert problem.code == "insecure-permissions"
    assert str(sandbox.root / hop) in problem.message


@pytest.mark.parametrize("link", ["file", "folder"])
def test_no_link_leads_out_of_a_project(sandbox: Sandbox, link: str) -> None:
    """A project's file or folder that is a link is refused: it could show what only its victim may read."""
    elsewhere = sandbox.root / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "config.yaml").write_text(SETTINGS)
    if link == "file":
        put(sandbox, "project").symlink_to(elsewhere / "config.yaml")
    else:
        sandbox.project_file.parent.symlink_to(elsewhere)
    loaded = sandbox.read({"MODE": "local"})
    assert (only(loaded).code, only(loaded).excerpt) == ("unreadable-file", None)
    assert loaded.config.llm.max_tokens != 77


def test_a_file_that_grows_without_end_is_read_to_the_limit_only(sandbox: Sandbox) -> None:
    """No more than 64 KiB of anything is taken into memory."""
    path = put(sandbox, "user")
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a terabyte, all holes
    path.chmod(0o600)
    assert only(sandbox.read({"MODE": "local"})).code == "too-large"


def descriptors() -> int:
    """How many files this process has open."""
    return len(os.listdir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"))


def test_every_descriptor_is_closed_again(sandbox: Sandbox) -> None:
    """Loading good and bad files leaves no file open."""
    make_fifo(put(sandbox, "user"))
    sandbox.write(project=SETTINGS, site="llm: [")
    sandbox.read({"MODE": "local"})
    before = descriptors()
    for _ in range(20):
        sandbox.read({"MODE": "local"})
    assert descriptors() <= before
