"""Where files are looked for: the project's search, the user's folder, the site's file."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Any

import pytest

from stigmer_config import Config, ConfigError, Environment, load
from tests.support.live_tools import DEADLINE, living, save
from tests.support.sandbox import Sandbox

TODAY = datetime.date(2026, 6, 1)


def put(folder: Path, tokens: int) -> Path:
    """A project file in a folder, recognised by its `max_tokens`."""
    file = folder / ".stigmer" / "config.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"llm: {{max_tokens: {tokens}}}\n")
    file.chmod(0o600)
    return file


def load_in(sandbox: Sandbox, cwd: Path, variables: dict[str, str] | None = None, **arguments: Any) -> Config:
    """`load()` from a working folder, in local mode."""
    return load(environment=sandbox.environment({"MODE": "local", **(variables or {})}, cwd=cwd), **arguments)


def tokens(config: Config) -> int | None:
    return config.llm.max_tokens


def place(config: Config) -> str:
    origin = config.explain("llm.max_tokens").origin
    assert origin is not None
    return f"{origin.layer}:{origin.source}"


class TestProject:
    """`.stigmer/config.yaml` of the nearest ancestor that has one."""

    def test_it_is_found_from_folders_below(self, sandbox: Sandbox) -> None:
        """However deep one works."""
        deep = sandbox.project / "src" / "deep"
        deep.mkdir(parents=True)
        file = put(sandbox.project, 7)
        assert place(load_in(sandbox, deep)) == f"project:{file}"

    def test_the_nearest_one_counts_alone(self, sandbox: Sandbox) -> None:
        """Two on the way: the lower one, and nothing of the upper one."""
        inner = sandbox.project / "inner"
        put(sandbox.project, 7).write_text("llm: {max_tokens: 7, num_ctx: 9}\n")
        put(inner, 8)
        config = load_in(sandbox, inner)
        assert (config.llm.max_tokens, config.llm.num_ctx) == (8, None)

    @pytest.mark.parametrize("git", ["folder", "file"])
    def test_it_stops_at_a_git_root(self, sandbox: Sandbox, git: str) -> None:
        """Of a repository or a worktree, whose `.git` is a file; the root's own file still counts."""
        put(sandbox.project, 7)
        inner = sandbox.project / "vendor" / "lib"
        inner.mkdir(parents=True)
        (inner / ".git").mkdir() if git == "folder" else (inner / ".git").write_text("gitdir: ../elsewhere\n")
        (inner / "src").mkdir()
        assert tokens(load_in(sandbox, inner / "src")) == 8192
        put(inner, 9)
        assert tokens(load_in(sandbox, inner / "src")) == 9

    def test_it_stops_at_the_home_folder(self, sandbox: Sandbox) -> None:
        """Folders above the home are not searched."""
        put(sandbox.root, 7)
        below = sandbox.home / "code"
        below.mkdir()
        assert tokens(load_in(sandbox, below)) == 8192

    def test_it_stops_at_the_home_folder_reached_by_a_link(self, sandbox: Sandbox) -> None:
        """The home is the same folder under another name."""
        put(sandbox.root, 7)
        (sandbox.home / "code").mkdir()
        (sandbox.root / "link").symlink_to(sandbox.home)
        assert tokens(load_in(sandbox, sandbox.root / "link" / "code")) == 8192

    @pytest.mark.skipif(not Path("/proc/self/mounts").exists(), reason="needs a mount to stop at")
    def test_it_stops_at_a_mount_boundary(self, sandbox: Sandbox, tmp_path: Path) -> None:
        """From inside a mounted file system the folders around it are not looked at."""
        mount = next(folder for folder in (Path("/proc"), Path("/sys"), Path("/dev/shm")) if os.path.ismount(folder))
        loaded = sandbox_paths(sandbox, mount / ("self" if mount == Path("/proc") else ""))
        assert "mount boundary" in loaded["project"]

    def test_it_stops_at_the_root_folder(self, sandbox: Sandbox) -> None:
        """From `/` itself the search ends."""
        assert "root folder" in sandbox_paths(sandbox, Path("/"))["project"]

    def test_in_the_home_folder_the_user_file_is_the_users_once(self, sandbox: Sandbox) -> None:
        """It is no project file: what only the user may set is set."""
        sandbox.write(user="llm: {base_url: 'http://mine:1', max_tokens: 5}\n")
        config = load_in(sandbox, sandbox.home)
        assert config.llm.base_url == "http://mine:1"
        assert [loser.origin.layer for loser in config.explain("llm.max_tokens").losers] == ["defaults"]

    def test_below_the_home_folder_without_a_project_it_is_not_read_twice(self, sandbox: Sandbox) -> None:
        """The search ends at the home, where it meets the user file."""
        sandbox.write(user="llm: {base_url: 'http://mine:1'}\n")
        below = sandbox.home / "notes"
        below.mkdir()
        assert load_in(sandbox, below).llm.base_url == "http://mine:1"

    def test_a_user_file_by_a_linked_home_is_no_project(self, sandbox: Sandbox) -> None:
        """STIGMER_HOME through a link to the project's own folder: one file, the user's."""
        put(sandbox.project, 5).write_text("llm: {base_url: 'http://mine:1'}\n")
        (sandbox.root / "link").symlink_to(sandbox.project / ".stigmer")
        config = load_in(sandbox, sandbox.project, {"STIGMER_HOME": str(sandbox.root / "link")})
        assert config.llm.base_url == "http://mine:1"

    @pytest.mark.parametrize("becomes", ["a file", "nothing"])
    def test_a_link_may_stop_being_one_while_it_is_followed(
        self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, becomes: str
    ) -> None:
        """Somebody replaces it in the very moment: a load is what it finds then, and never a traceback."""
        text = "llm: {max_tokens: 5}\n"
        target = put(sandbox.root / "elsewhere", 4)
        sandbox.project_file.parent.mkdir()
        sandbox.project_file.symlink_to(target)
        read = os.readlink

        def replaced(path: str) -> str:
            if path == str(sandbox.project_file) and sandbox.project_file.is_symlink():
                sandbox.project_file.unlink()
                if becomes == "a file":
                    sandbox.write(project=text)
            return read(path)

        monkeypatch.setattr(os, "readlink", replaced)
        expected = 5 if becomes == "a file" else tokens(load_in(sandbox, sandbox.project, project_dir=False))
        assert tokens(load_in(sandbox, sandbox.project)) == expected

    def test_a_working_folder_reached_by_a_link_is_searched_by_its_own_way(self, sandbox: Sandbox) -> None:
        """Through the link and without it the project's file is found."""
        put(sandbox.project, 7)
        (sandbox.project / "src").mkdir()
        (sandbox.root / "link").symlink_to(sandbox.project / "src")
        assert tokens(load_in(sandbox, (sandbox.root / "link").resolve())) == 7
        (sandbox.root / "whole").symlink_to(sandbox.project)
        assert tokens(load_in(sandbox, sandbox.root / "whole" / "src")) == 7

    def test_the_process_own_folder_is_where_it_starts(self, sandbox: Sandbox) -> None:
        """The real command, in a linked folder: the kernel's path of it counts."""
        put(sandbox.project, 7)
        (sandbox.project / "src").mkdir()
        (sandbox.root / "link").symlink_to(sandbox.project / "src")
        done = sandbox.run("get", "llm.max_tokens", variables={"MODE": "local"}, cwd=sandbox.root / "link")
        assert (done.returncode, done.stdout.strip()) == (0, "7")

    def test_a_missing_one_is_listed_without_a_problem(self, sandbox: Sandbox) -> None:
        """Absent, where it would be, and why."""
        loaded = sandbox.read({"MODE": "local"})
        assert not loaded.problems
        [layer] = [layer for layer in loaded.layers if layer.name == "project"]
        assert (layer.status, layer.source) == ("absent", str(sandbox.project_file))
        assert "a git root" in layer.why

    def test_a_broken_nearer_one_is_an_error_not_skipped(self, sandbox: Sandbox) -> None:
        """The one further up does not step in."""
        put(sandbox.project, 7)
        put(sandbox.project / "inner", 8).write_text("llm: [\n")
        with pytest.raises(ConfigError) as caught:
            load_in(sandbox, sandbox.project / "inner")
        assert [problem.code for problem in caught.value.problems] == ["yaml-syntax"]


def sandbox_paths(sandbox: Sandbox, cwd: Path) -> dict[str, str]:
    """By layer, why `path` says there is none."""
    from stigmer_config.loading.load import read
    from stigmer_config.loading.request import request

    loaded = read(request(environment=sandbox.environment({"MODE": "local"}, cwd=cwd)))
    return {layer.name: layer.why for layer in loaded.layers}


class TestProjectDir:
    """`load(project_dir=…)`, `--project-dir` and `--no-project`."""

    @pytest.mark.parametrize("kind", [str, Path])
    def test_a_folder_is_taken_as_it_is(self, sandbox: Sandbox, kind: type[str] | type[Path]) -> None:
        """That folder's file, without a search, from anywhere."""
        other = sandbox.root / "other"
        file = put(other, 9)
        put(sandbox.project, 7)
        assert place(load_in(sandbox, sandbox.project, project_dir=kind(other))) == f"project:{file}"

    def test_a_relative_one_is_relative_to_the_working_folder(self, sandbox: Sandbox) -> None:
        """As any path a person types."""
        put(sandbox.project / "inner", 9)
        assert tokens(load_in(sandbox, sandbox.project, project_dir="inner")) == 9

    def test_it_is_not_searched_upwards(self, sandbox: Sandbox) -> None:
        """A named folder without a file has none."""
        put(sandbox.project, 7)
        (sandbox.project / "inner").mkdir()
        assert tokens(load_in(sandbox, sandbox.project, project_dir="inner")) == 8192

    def test_one_that_does_not_exist_is_an_error(self, sandbox: Sandbox) -> None:
        """It was named: it is not silently left out."""
        with pytest.raises(ConfigError) as caught:
            load_in(sandbox, sandbox.project, project_dir="mistyped")
        [problem] = caught.value.problems
        assert (problem.code, problem.origin.layer if problem.origin else None) == ("unreadable-file", "project")

    def test_false_means_none(self, sandbox: Sandbox) -> None:
        """A worker that must not read its working folder."""
        put(sandbox.project, 7)
        assert tokens(load_in(sandbox, sandbox.project, project_dir=False)) == 8192

    def test_the_commands_options_are_the_same(self, sandbox: Sandbox) -> None:
        """`--project-dir DIR` and `--no-project`."""
        other = sandbox.root / "other"
        put(other, 9)
        put(sandbox.project, 7)
        for argv, expected in (((), "7"), (("--project-dir", str(other)), "9"), (("--no-project",), "8192")):
            done = sandbox.run("get", "llm.max_tokens", *argv, variables={"MODE": "local"})
            assert (done.returncode, done.stdout.strip()) == (0, expected)


class TestUser:
    """`~/.stigmer/config.yaml`."""

    def test_stigmer_home_names_another_folder(self, sandbox: Sandbox) -> None:
        """And `~/.stigmer` does not count then."""
        sandbox.write(user="llm: {max_tokens: 5}\n")
        other = sandbox.root / "elsewhere"
        other.mkdir()
        (other / "config.yaml").write_text("llm: {num_ctx: 6}\n")
        llm = load_in(sandbox, sandbox.project, {"STIGMER_HOME": str(other)}).llm
        assert (llm.max_tokens, llm.num_ctx) == (8192, 6)

    @pytest.mark.parametrize("name", ["here", "~/there", "../other"])
    def test_it_may_be_relative_or_start_with_a_tilde(self, sandbox: Sandbox, name: str) -> None:
        """It starts at the working folder, or at the home."""
        start = sandbox.home if name.startswith("~") else sandbox.project
        folder = start / name.removeprefix("~/")
        folder.mkdir(mode=0o700)
        (folder / "config.yaml").write_text("llm: {max_tokens: 7}\n")
        assert tokens(load_in(sandbox, sandbox.project, {"STIGMER_HOME": name})) == 7

    def test_an_empty_one_counts_as_unset(self, sandbox: Sandbox) -> None:
        """As every variable."""
        sandbox.write(user="llm: {max_tokens: 5}\n")
        assert tokens(load_in(sandbox, sandbox.project, {"STIGMER_HOME": ""})) == 5


class TestNewProject:
    """Where `set --project` and `init --project` make a file."""

    def test_in_a_new_folder_below_the_home(self, sandbox: Sandbox) -> None:
        """Although the user has a file: that one is no project's."""
        sandbox.write(user="llm: {max_tokens: 5}\n")
        folder = sandbox.home / "new"
        folder.mkdir()
        done = sandbox.run("set", "--project", "llm.timeout", "4", cwd=folder)
        assert done.returncode == 0, done.stderr
        assert (folder / ".stigmer" / "config.yaml").read_text() == "llm:\n  timeout: 4\n"
        assert sandbox.run("get", "llm.timeout", cwd=folder).stdout == "4.0\n"
        other = sandbox.home / "other"
        other.mkdir()
        assert sandbox.run("init", "--project", cwd=other).returncode == 0
        assert (other / ".stigmer" / "config.yaml").exists()

    def test_at_the_git_root(self, sandbox: Sandbox) -> None:
        """From a subfolder of a repository."""
        deep = sandbox.project / "src" / "deep"
        deep.mkdir(parents=True)
        done = sandbox.run("set", "--project", "llm.timeout", "4", cwd=deep)
        assert done.returncode == 0, done.stderr
        assert sandbox.project_file.exists()
        assert not (deep / ".stigmer").exists()

    def test_a_home_that_is_a_repository(self, sandbox: Sandbox) -> None:
        """The file at its root is the user's: a project's file is made in the working folder."""
        sandbox.write(user="llm: {max_tokens: 5}\n")
        (sandbox.home / ".git").mkdir()
        folder = sandbox.home / "new"
        folder.mkdir()
        assert sandbox.run("set", "--project", "llm.timeout", "4", cwd=folder).returncode == 0
        assert (folder / ".stigmer" / "config.yaml").exists()


class TestSite:
    """The site's file."""

    @pytest.mark.parametrize("name", ["s.yaml", "~/s.yaml"])
    def test_a_named_one_may_be_relative(self, sandbox: Sandbox, name: str) -> None:
        """To the working folder, or the home; a worker follows it, too."""
        file = (sandbox.home if name.startswith("~") else sandbox.project) / "s.yaml"
        save(file, "llm: {max_tokens: 5}\n")
        variables = {"STIGMER_SITE_CONFIG": name}
        assert place(load_in(sandbox, sandbox.project, variables)) == f"site:{file}"
        with living(sandbox, variables) as live:
            save(file, "llm: {max_tokens: 6}\n")
            assert live.wait_for(lambda config: config.llm.max_tokens == 6, timeout=DEADLINE)

    def test_the_systems_folder_is_looked_in(self, sandbox: Sandbox) -> None:
        """Without a variable, `config.yaml` there; absent is quiet."""
        assert tokens(load_in(sandbox, sandbox.project)) == 8192
        sandbox.write(site="llm: {max_tokens: 5}\n")
        assert place(load_in(sandbox, sandbox.project)) == f"site:{sandbox.site_file}"

    def test_a_variable_names_another_file_that_must_exist(self, sandbox: Sandbox) -> None:
        """A mistyped mount must not mean the defaults."""
        sandbox.write(site="llm: {max_tokens: 5}\n")
        other = sandbox.root / "mounted.yaml"
        variables = {"STIGMER_SITE_CONFIG": str(other)}
        with pytest.raises(ConfigError) as caught:
            load_in(sandbox, sandbox.project, variables)
        [problem] = caught.value.problems
        assert (problem.code, problem.origin.source if problem.origin else None) == ("unreadable-file", str(other))
        other.write_text("llm: {max_tokens: 6}\n")
        other.chmod(0o600)
        assert tokens(load_in(sandbox, sandbox.project, variables)) == 6


def test_an_environment_is_taken_once(sandbox: Sandbox) -> None:
    """What is captured stays, though the mapping it came from changes."""
    variables = {"MODE": "local", "HOME": str(sandbox.home)}
    world = Environment.capture(
        variables, cwd=sandbox.project, home=sandbox.home, today=TODAY, site_dir=sandbox.site_dir
    )
    variables["MODE"] = "cloud"
    assert load(environment=world).mode == "local"
