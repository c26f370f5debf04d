"""The state that running workers publish, and the commands that use it: workers, diff, watch."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from stigmer_config import LiveConfig
from stigmer_config.workers import liveness, local_workers
from tests.support.cli_tools import ANSI, COMMAND, on_terminal, variables_of
from tests.support.live_tools import DEADLINE, LOCAL, living, rejected, save, takes, until, world
from tests.support.sandbox import Sandbox

PROGRAM = """
import json, sys
from stigmer_config import LiveConfig
arguments = json.loads(sys.argv[1])
with LiveConfig.start(**arguments) as live:
    print("ready", flush=True)
    for line in sys.stdin:
        live.wait_for(lambda c: str(c.llm.timeout) == line.strip(), 30)
        live.reload()
        print(live.current.generation, flush=True)
"""


class Worker:
    """A worker in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid

    def has(self, timeout: str) -> int:
        """Waits until it has this `llm.timeout`. The generation."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{timeout}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


def environment_of(sandbox: Sandbox, variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the worker and the commands have in common."""
    return {
        "HOME": str(sandbox.home),
        "PATH": os.defpath,
        "LC_ALL": "C.UTF-8",
        "XDG_CONFIG_DIRS": str(sandbox.root / "xdg"),
        "XDG_STATE_HOME": str(sandbox.home / ".state"),
        "XDG_RUNTIME_DIR": str(sandbox.home / ".run"),
        "TMPDIR": str(sandbox.temporary),
        **(variables or {}),
    }


@contextlib.contextmanager
def worker(sandbox: Sandbox, variables: Mapping[str, str] | None = None, **arguments: Any) -> Iterator[Worker]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps(arguments)],
        cwd=sandbox.project,
        env=environment_of(sandbox, variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield Worker(process)
        finally:
            process.stdin.close()


def ask(sandbox: Sandbox, *argv: str) -> tuple[int, Any]:
    """A command with `--format json`: its status and its document."""
    done = sandbox.run(*argv, "--format", "json")
    return done.returncode, json.loads(done.stdout)


# -- workers ---------------------------------------------------------------------------------------------------------


def test_without_a_worker_it_fails(sandbox: Sandbox) -> None:
    """Exit status 4: whoever waits for a rollout is not to take it for done. It says so, and JSON is an empty list."""
    done = sandbox.run("workers")
    assert (done.returncode, done.stdout, done.stderr) == (4, "", "no worker is running\n")
    assert ask(sandbox, "workers") == (4, [])


def test_fewer_workers_than_expected_are_a_failure(sandbox: Sandbox) -> None:
    """`--expect N`: exit status 4, and why, until N are in step."""
    sandbox.write(user=LOCAL)
    with worker(sandbox):
        assert sandbox.run("workers", "--expect", "1").returncode == 0
        done = sandbox.run("workers", "--expect", "2")
        assert (done.returncode, done.stderr) == (4, "2 workers expected, 1 healthy and in step\n")
    assert sandbox.run("workers", "--expect", "1").stderr == (
        "no worker is running\n1 worker expected, 0 healthy and in step\n"
    )
    assert sandbox.run("workers", "--expect", "0").returncode == 2


def test_a_worker_is_listed_as_long_as_it_runs(sandbox: Sandbox) -> None:
    """Process, mode, generation, fingerprint and model; in step with the disk, after a reload too; gone at its end."""
    sandbox.write(user="mode: local\nllm: {model: fast}\n")
    with worker(sandbox) as one:
        status, [found] = ask(sandbox, "workers")
        shown = sandbox.show()
        assert status == 0
        assert found.pop("started") > "2026"
        assert found == {
            "pid": one.pid,
            "host": socket.gethostname(),
            "mode": "local",
            "generation": 1,
            "fingerprint": shown["fingerprint"],
            "model": "fast → llama3.2:3b",
            "in_step": True,
            "behind": [],
            "restart_required": [],
            "rejected": [],
        }
        save(sandbox.user_file, "mode: local\nllm: {model: powerful, timeout: 1}\n")
        assert one.has("1.0") == 2
        status, [found] = ask(sandbox, "workers")
        assert (status, found["generation"], found["model"], found["in_step"]) == (
            0,
            2,
            "powerful → qwen3-coder:30b",
            True,
        )
        save(sandbox.user_file, "# the same in other words\nmode: local\nllm: {model: powerful, timeout: 1}\n")
        assert one.has("1.0") == 2
        assert ask(sandbox, "workers")[1][0]["in_step"] is True
    assert ask(sandbox, "workers") == (4, [])


def test_a_worker_in_the_home_folder_is_in_step(sandbox: Sandbox) -> None:
    """Its user file is not taken for a project's file that appeared: there is no project there."""
    sandbox.write(user=LOCAL)
    environment = sandbox.environment({"XDG_RUNTIME_DIR": str(sandbox.home / ".run")}, cwd=sandbox.home)
    with LiveConfig.start(environment=environment) as live:
        status, [found] = ask(sandbox, "workers")
        assert (status, found["in_step"], found["behind"]) == (0, True, [])
        save(sandbox.user_file, f"{LOCAL}llm: {{timeout: 4}}\n")
        takes(live, timeout=4.0)
        assert until(lambda: ask(sandbox, "workers")[0] == 0)


def test_the_table_has_a_row_for_each_oldest_first(sandbox: Sandbox) -> None:
    """One line a worker, with its age; the columns are named."""
    sandbox.write(user=LOCAL)
    with worker(sandbox) as one, worker(sandbox) as two:
        done = sandbox.run("workers")
        header, *rows = [line.split("  ") for line in done.stdout.splitlines()]
        assert done.returncode == 0
        assert [cell.strip() for cell in header if cell.strip()] == [
            "pid",
            "generation",
            "fingerprint",
            "model",
            "in step",
            "newest reload",
            "started",
        ]
        assert [row[0] for row in rows] == [str(one.pid), str(two.pid)]
        assert all(line.endswith("s ago") for line in done.stdout.splitlines()[1:])


def test_a_restart_that_is_due_is_unhealthy(sandbox: Sandbox) -> None:
    """A key or a mode that waits for a restart: not in step, exit status 4, the keys named."""
    sandbox.write(user=LOCAL)
    with worker(sandbox) as one:
        save(sandbox.user_file, "mode: cloud\nllm: {timeout: 1}\ntemporal: {namespace: ours}\n")
        one.has("1.0")
        status, [found] = ask(sandbox, "workers")
        assert (status, found["in_step"], found["restart_required"]) == (4, False, ["mode", "temporal.namespace"])
        done = sandbox.run("workers")
        assert done.returncode == 4
        assert "no: restart for mode, temporal.namespace" in done.stdout


def test_a_rejected_reload_is_unhealthy_and_reported(sandbox: Sandbox) -> None:
    """Exit status 4, and the problems with their places on standard output; a good save fixes it."""
    sandbox.write(user=LOCAL)
    with worker(sandbox) as one:
        save(sandbox.user_file, "mode: local\nllm: {modl: x}\n")
        assert until(lambda: ask(sandbox, "workers")[1][0]["rejected"])
        status, [found] = ask(sandbox, "workers")
        assert (status, found["in_step"], found["generation"]) == (4, False, 1)
        assert found["behind"] == [str(sandbox.user_file)]
        assert found["rejected"][0].startswith(f"{sandbox.user_file}:2:7: error[unknown-key] llm.modl")
        done = sandbox.run("workers")
        assert done.returncode == 4
        assert f"{one.pid} rejected its newest reload, and keeps generation 1:" in done.stdout
        assert f"{sandbox.user_file}:2:7: error[unknown-key]" in done.stdout
        assert "no: ~/.stigmer/config.yaml changed" in done.stdout
        save(sandbox.user_file, "mode: local\nllm: {timeout: 1}\n")
        one.has("1.0")
        assert sandbox.run("workers").returncode == 0


def test_a_worker_that_cannot_follow_is_out_of_step(sandbox: Sandbox) -> None:
    """A stopped process has old files, which the hashes show."""
    sandbox.write(user=LOCAL)
    with worker(sandbox) as one:
        os.kill(one.pid, signal.SIGSTOP)
        try:
            save(sandbox.user_file, "mode: local\nllm: {timeout: 1}\n")
            save(sandbox.project_file, "llm: {max_retries: 1}\n")
            status, [found] = ask(sandbox, "workers")
        finally:
            os.kill(one.pid, signal.SIGCONT)
        assert status == 4
        assert found["behind"] == [str(sandbox.user_file), str(sandbox.project_file)]


def test_a_killed_worker_is_dropped_at_once(sandbox: Sandbox) -> None:
    """After kill -9 its file is there, and the next `workers` removes it, before its parent has waited for it too."""
    sandbox.write(user=LOCAL)
    with worker(sandbox) as one:
        folder = sandbox.home / ".run" / "stigmer" / "workers"
        assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".lock"]
        os.kill(one.pid, signal.SIGKILL)
        os.waitid(os.P_PID, one.pid, os.WEXITED | os.WNOWAIT)  # a zombie until its parent asks
        assert ask(sandbox, "workers") == (4, [])
        assert list(folder.iterdir()) == []


# -- the state file --------------------------------------------------------------------------------------------------


def state_file(sandbox: Sandbox) -> Path:
    [path] = (sandbox.root / "run" / "stigmer" / "workers").glob("*.json")
    return path


def test_the_state_file_is_the_users_alone_and_has_no_secret(sandbox: Sandbox) -> None:
    """Mode 0600 in folders of mode 0700; it contains no secret of any layer, as text or as a digest."""
    sandbox.write(
        user="mode: cloud\nllm: {api_key: sk-in-the-file}\nproviders: {openai: {api_key: {env: OTHER}}}\n",
        site="backend: {api_key: sk-in-the-site}\n",
    )
    variables = {"ANTHROPIC_API_KEY": "sk-in-the-variable", "OTHER": "sk-elsewhere", "REDIS_PASSWORD": "sk-redis"}
    overrides = [{"llm": {"provider": "openai", "api_key": "sk-overriding"}}]
    flags = {"providers.ollama.api_key": "sk-in-a-flag"}
    with living(sandbox, variables, overrides=overrides, flags=flags) as live:
        assert live.current.llm.api_key is not None
        path = state_file(sandbox)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        for folder in (path.parent, path.parent.parent):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        text = path.read_text()
        assert "sk-" not in text
        document = json.loads(text)
        assert document["values"]["llm.api_key"] == "********"
        assert document["startup"]["overrides"] == [{"llm.provider": "openai", "llm.api_key": "********"}]
        assert [source["layer"] for source in document["sources"]] == ["site", "user", "project"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": 1}', b"\xff\xfe", b"x" * 2_000_000])
def test_what_is_no_state_is_passed_over(sandbox: Sandbox, content: bytes) -> None:
    """A partial file, one of another version, and anything else is ignored and not removed."""
    with living(sandbox):
        own = state_file(sandbox)
        other = own.with_name("other.json")
        other.write_bytes(content)
        other.with_name("folder.json").mkdir()
        os.mkfifo(other.with_name("pipe.json"))
        other.with_name("link.json").symlink_to(own)
        assert [found.pid for found in local_workers.running(world(sandbox))] == [os.getpid()]
        assert other.exists()


def test_nothing_is_written_where_others_can(sandbox: Sandbox) -> None:
    """A runtime folder that others can write to may hold links of theirs: nothing is published there."""
    folder = sandbox.root / "run" / "stigmer" / "workers"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    with living(sandbox) as live:
        assert list(folder.iterdir()) == []
        folder.chmod(0o700)
        save(sandbox.user_file, "mode: local\nllm: {timeout: 1}\n")
        takes(live, timeout=1.0)
        assert until(lambda: len(list(folder.glob("*.json"))) == 1)


def test_a_link_in_the_way_is_not_followed(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link at the path of the new state is replaced, never written through."""
    victim = sandbox.root / "victim"
    victim.write_text("precious")
    folder = sandbox.root / "run" / "stigmer" / "workers"
    folder.mkdir(parents=True, mode=0o700)
    monkeypatch.setattr(liveness, "new_name", lambda: "77-0123456789abcdef")
    for suffix in ("json.new", "json"):
        (folder / f"77-0123456789abcdef.{suffix}").symlink_to(victim)
    with living(sandbox):
        assert victim.read_text() == "precious"
        assert not state_file(sandbox).is_symlink()


def test_a_lost_runtime_folder_is_made_again(sandbox: Sandbox) -> None:
    """When the user logs out and in again, the folder is gone: the next change still publishes."""
    import shutil

    with living(sandbox) as live:
        shutil.rmtree(sandbox.root / "run")
        save(sandbox.user_file, "mode: local\nllm: {timeout: 1}\n")
        takes(live, timeout=1.0)
        assert until(lambda: [found.generation for found in local_workers.running(world(sandbox))] == [2])


def test_a_folder_need_not_be_utf_8(sandbox: Sandbox) -> None:
    """A home with other bytes in its name: the worker runs, is listed, and is in step."""
    sandbox.home = sandbox.root / os.fsdecode(b"h\xf6me")
    sandbox.home.mkdir(mode=0o700)
    with living(sandbox, {"LC_ALL": os.fsdecode(b"\xff")}) as live:
        save(sandbox.user_file, "mode: local\nllm: {timeout: 1}\n")
        takes(live, timeout=1.0)
        assert until(lambda: [found.generation for found in local_workers.running(world(sandbox))] == [2])
        assert local_workers.in_step(local_workers.running(world(sandbox))[0])


# -- diff ------------------------------------------------------------------------------------------------------------


def test_a_worker_in_step_does_not_differ(sandbox: Sandbox) -> None:
    """Whatever it was started with, the disk gives it the same again: nothing to print, exit status 0."""
    sandbox.write(
        user="mode: cloud\nproviders:\n  anthropic: {api_key: {env: MY_KEY}}\n  openai: {api_key: {file: none}}\n"
        "aliases: {mine: {anthropic: claude-opus-5-5}}\n",
        project="llm: {timeout: 3}\n",
    )
    variables = {"MY_KEY": "sk-of-nobody", "STIGMER_LLM_MAX_TOKENS": "77", "REDIS_PASSWORD": "secret"}
    arguments: dict[str, Any] = {
        "mode": "cloud",
        "flags": {"llm.max_retries": 3, "aliases.other": {"openai": "gpt-6-luna"}, "backend.api_key": "sk-flag"},
        "overrides": [{"llm": {"model": "mine", "temperature": None}}],
        "require": ["backend.api_key"],
    }
    with worker(sandbox, variables, **arguments) as one:
        assert ask(sandbox, "diff", "--worker", str(one.pid)) == (0, [])
        done = sandbox.run("diff", "--worker", str(one.pid))
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_grant_by_variable_counts_for_the_diff_too(sandbox: Sandbox) -> None:
    """STIGMER_TRUST_PROJECT is part of what a worker was started with."""
    from stigmer_config.sources.config_file import file_layer
    from stigmer_config.trust import grants

    sandbox.write(user=LOCAL, project="llm: {base_url: 'http://gpu:11434'}\n")
    layer, _ = file_layer(str(sandbox.project_file), "project", os.getuid())
    digest = grants.digest(grants.covered(layer))
    with worker(sandbox, {"STIGMER_TRUST_PROJECT": digest}) as one:
        assert ask(sandbox, "diff", "--worker", str(one.pid)) == (0, [])


def test_what_a_worker_lacks_is_shown(sandbox: Sandbox) -> None:
    """- is what it works with, + what the disk says; a key that waits for a restart too; exit status 4."""
    sandbox.write(user=LOCAL)
    with worker(sandbox) as one:
        save(sandbox.user_file, "mode: cloud\nllm: {timeout: 1}\ntemporal:\n  namespace: ours\n")
        one.has("1.0")
        status, changes = ask(sandbox, "diff", "--worker", str(one.pid))
        assert status == 4
        assert [(c["key"], c["old"], c["new"], c["restart_required"]) for c in changes] == [
            ("mode", "local", "cloud", True),
            ("temporal.namespace", "default", "ours", True),
        ]
        assert changes[1]["new_origin"] == {
            "layer": "user",
            "source": str(sandbox.user_file),
            "line": 4,
            "column": 14,
        }
        done = sandbox.run("diff", "--worker", str(one.pid))
        assert done.returncode == 4
        assert "+ ours  (user: ~/.stigmer/config.yaml:4:14)" in done.stdout
        assert "temporal.namespace  (restart required)\n  - default\n" in done.stdout


def test_faults_on_the_disk_are_also_reported(sandbox: Sandbox) -> None:
    """What a load would complain about goes to standard error, with its exit status."""
    sandbox.write(user=LOCAL)
    with worker(sandbox) as one:
        save(sandbox.project_file, "llm: {base_url: 'http://collector.example', timeout: 2}\n")
        assert until(lambda: ask(sandbox, "workers")[1][0]["rejected"])
        done = sandbox.run("diff", "--worker", str(one.pid), "--format", "json")
        assert done.returncode == 3
        assert "error[untrusted-key] llm.base_url" in done.stderr
        assert [(change["key"], change["new"]) for change in json.loads(done.stdout)] == [("llm.timeout", 2.0)]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("diff",), "name two modes or files"),
        (("diff", "local"), "name two modes or files"),
        (("diff", "--worker", "1", "local", "cloud"), "leave A and B out"),
        (("diff", "--worker", "1"), "no worker runs as process 1"),
        (("diff", "--worker", "x"), "not a valid integer"),
    ],
)
def test_wrong_usage_of_diff(sandbox: Sandbox, argv: tuple[str, ...], message: str) -> None:
    """Exit status 2, and what to do instead."""
    done = sandbox.run(*argv)
    assert done.returncode == 2
    assert message in done.stderr


def test_modes_and_files_are_compared(sandbox: Sandbox) -> None:
    """`diff local cloud` on this machine, `diff A B` for files by themselves; differences are no fault."""
    sandbox.write(user="llm: {timeout: 5}\n")
    status, changes = ask(sandbox, "diff", "local", "cloud")
    keys = {change["key"]: (change["old"], change["new"]) for change in changes}
    assert status == 0
    assert keys["mode"] == ("local", "cloud")
    assert keys["llm.provider"] == ("ollama", "anthropic")
    assert keys["redis.host"] == (None, "localhost")
    assert "llm.timeout" not in keys
    for name, text in (("a.yaml", "mode: local\nllm: {timeout: 1}\n"), ("b.yaml", "mode: local\nllm: {timeout: 2}\n")):
        (sandbox.project / name).write_text(text)
    done = sandbox.run("diff", "a.yaml", "b.yaml")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "llm.timeout",
        f"  - 1.0  (user: {sandbox.project}/a.yaml:2:16)",
        f"  + 2.0  (user: {sandbox.project}/b.yaml:2:16)",
    ]
    for name, model in (("a.yaml", "balanced"), ("b.yaml", "fast")):
        (sandbox.project / name).write_text(f"mode: local\nllm: {{model: {model}}}\n")
    assert sandbox.run("diff", "a.yaml", "b.yaml").stdout.splitlines() == [
        "llm.model",  # one edit is one change, although four effective values differ
        f"  - balanced → qwen2.5-coder:7b  (user: {sandbox.project}/a.yaml:2:14)",
        f"  + fast → llama3.2:3b  (user: {sandbox.project}/b.yaml:2:14)",
    ]
    (sandbox.project / "b.yaml").write_text("llm: [")
    assert sandbox.run("diff", "a.yaml", "b.yaml").returncode == 1
    assert sandbox.run("diff", "a.yaml", "missing.yaml").returncode == 1


# -- watch -----------------------------------------------------------------------------------------------------------


class Watch:
    """`stigmer config watch`, and its lines as they come."""

    def __init__(self, sandbox: Sandbox, *argv: str) -> None:
        self.lines: Queue[str] = Queue()
        self.errors: Queue[str] = Queue()
        self.process = subprocess.Popen(
            [COMMAND, "config", "watch", *argv],
            cwd=sandbox.project,
            env=environment_of(sandbox),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for stream, queue in ((self.process.stdout, self.lines), (self.process.stderr, self.errors)):
            threading.Thread(target=self._read, args=(stream, queue), daemon=True).start()
        assert self.errors.get(timeout=DEADLINE) == "watching; press Ctrl-C to stop"

    def _read(self, stream: Any, queue: Queue[str]) -> None:
        with stream:
            for line in stream:
                queue.put(line.rstrip("\n"))

    def take(self, number: int) -> list[str]:
        return [self.lines.get(timeout=DEADLINE) for _ in range(number)]

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(DEADLINE)


def test_watch_prints_each_change_as_it_happens(sandbox: Sandbox) -> None:
    """A small diff for each generation; a rejected change on standard error; Ctrl-C ends it with 0."""
    sandbox.write(user=LOCAL)
    watch = Watch(sandbox)
    save(sandbox.user_file, "mode: local\nllm: {timeout: 1}\n")
    assert watch.take(4) == ["generation 2", "llm.timeout", "  - none", "  + 1.0  (user: ~/.stigmer/config.yaml:2:16)"]
    save(sandbox.user_file, "mode: local\nllm: {timout: 2}\n")
    assert watch.errors.get(timeout=DEADLINE) == "rejected; the last good configuration stays in force:"
    assert "error[unknown-key] llm.timout" in watch.errors.get(timeout=DEADLINE)
    save(sandbox.user_file, "mode: local\nllm: {timeout: 1}\n")
    told = watch.errors.get(timeout=DEADLINE)
    while not told.startswith("valid again"):  # the excerpt and the hint come before
        told = watch.errors.get(timeout=DEADLINE)
    assert told == "valid again: the files match generation 2"
    save(sandbox.user_file, "mode: cloud\nllm: {timeout: 1}\n")
    assert watch.take(4) == [
        "generation 2",
        "mode  (restart required)",
        "  - local  (user: ~/.stigmer/config.yaml:1:7)",
        "  + cloud  (user: ~/.stigmer/config.yaml:1:7)",
    ]
    assert watch.end() == 0
    assert watch.lines.empty()


def test_watch_prints_json_lines(sandbox: Sandbox) -> None:
    """One line a change, for programs; it is no worker, and runs no command of a secret."""
    script = sandbox.root / "secret.sh"
    script.write_text(f"#!/bin/sh\ntouch {sandbox.root}/was-run\necho sk-of-nobody\n")
    script.chmod(0o700)
    sandbox.write(user=f"mode: cloud\nproviders: {{anthropic: {{api_key: {{command: [{script}]}}}}}}\n")
    watch = Watch(sandbox, "--format", "json")
    save(sandbox.project_file, "llm: {timeout: 4, max_retries: 2}\n")
    found = [json.loads(line) for line in watch.take(2)]
    assert [(line["generation"], line["key"], line["old"], line["new"]) for line in found] == [
        (2, "llm.timeout", None, 4.0),
        (2, "llm.max_retries", None, 2),
    ]
    assert ask(sandbox, "workers") == (4, [])
    assert watch.end() == 0
    assert not (sandbox.root / "was-run").exists()


def test_watch_ends_when_its_reader_is_gone(sandbox: Sandbox) -> None:
    """`watch | head -1`: the first write after that ends it, as it does with every command."""
    sandbox.write(user=LOCAL)
    with subprocess.Popen(
        [COMMAND, "config", "watch"],
        cwd=sandbox.project,
        env=environment_of(sandbox),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stderr.readline() == "watching; press Ctrl-C to stop\n"
        process.stdout.close()
        save(sandbox.user_file, "mode: local\nllm: {timeout: 1}\n")
        assert process.wait(DEADLINE) == 1
        assert process.stderr.read() == ""


@pytest.mark.parametrize(("text", "status"), [("llm: [", 1), ("llm: {base_url: 'http://x.example'}\n", 3)])
def test_watch_needs_a_good_start(sandbox: Sandbox, text: str, status: int) -> None:
    """A configuration that does not load is reported, with its exit status."""
    sandbox.write(user=LOCAL, project=text)
    done = sandbox.run("watch")
    assert done.returncode == status
    assert str(sandbox.project_file) in done.stderr


def test_changes_are_coloured_on_a_terminal(sandbox: Sandbox) -> None:
    """- in red and + in green where a person looks, plain text elsewhere."""
    sandbox.write(user="mode: local\n")
    on_screen = on_terminal(sandbox, "diff", "local", "cloud").out
    assert "\x1b[31m  - ollama\x1b[0m" in on_screen
    assert "\x1b[32m  + anthropic\x1b[0m" in on_screen
    plain = sandbox.run("diff", "local", "cloud", variables=variables_of(sandbox)).stdout
    assert ANSI.sub("", on_screen).startswith(plain)


def test_the_last_rejection_of_a_live_config_is_published(sandbox: Sandbox) -> None:
    """The state file equals `status`, also for a reader in the same process."""
    with living(sandbox) as live:
        save(sandbox.user_file, "llm: [")
        assert rejected(live)
        assert until(lambda: local_workers.running(world(sandbox))[0].rejected)
        save(sandbox.user_file, LOCAL)
        assert until(lambda: not local_workers.running(world(sandbox))[0].rejected)
        assert local_workers.is_healthy(local_workers.running(world(sandbox))[0])
