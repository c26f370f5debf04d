"""What a hostile project costs a worker has bounds: problems, log events, state files, watches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from stigmer_config import ConfigError, LiveConfig, Rejected
from stigmer_config.core.problems import MOST_SHOWN
from stigmer_config.workers.local_workers import running
from tests.support.sandbox import Sandbox

LOCAL = {"MODE": "local"}
COUNT = 2000
# Aliases that no untrusted project may have, below the limit of a file.
MANY = "aliases:\n" + "".join(f"  a{number}: openai:gpt-5\n" for number in range(COUNT))


def test_an_exception_and_an_event_show_the_first_problems_and_count_the_others(sandbox: Sandbox) -> None:
    """One log event had 1.3 MB."""
    variables = {**LOCAL, "XDG_RUNTIME_DIR": str(sandbox.root / "run")}
    (sandbox.root / "run").mkdir(mode=0o700)
    capture = LogCapture()
    structlog.configure(processors=[capture])
    try:
        with LiveConfig.start(environment=sandbox.environment(variables)) as live:
            sandbox.write(project=MANY)
            outcome = live.reload()
            assert isinstance(outcome, Rejected)
            assert len(outcome.problems) == COUNT
            (worker,) = running(sandbox.environment(variables))
            assert worker.rejected[-1] == f"and {COUNT - MOST_SHOWN} more"
    finally:
        structlog.reset_defaults()
    event = next(entry for entry in capture.entries if entry["event"] == "config.reload_rejected")
    assert event["problems"][-1] == f"and {COUNT - MOST_SHOWN} more"
    assert len(json.dumps(event)) < 100_000
    with pytest.raises(ConfigError) as caught:
        sandbox.load(LOCAL)
    assert (len(caught.value.problems), len(str(caught.value)) < 100_000) == (COUNT, True)


def test_a_state_that_would_be_too_long_to_be_read_is_cut(sandbox: Sandbox) -> None:
    """A worker vanished from `workers` when its state passed 1 MiB."""
    (sandbox.root / "run").mkdir(mode=0o700)
    long = "x" * 100_000
    variables = {**LOCAL, "XDG_RUNTIME_DIR": str(sandbox.root / "run")}
    names = ("TEMPORAL_NAMESPACE", "SANDBOX_ROOT_DIR", "DAYTONA_DEV_TOOLS_SNAPSHOT_ID", "REDIS_HOST")
    variables |= dict.fromkeys((*names, "TEMPORAL_AGENT_EXECUTION_RUNNER_TASK_QUEUE"), long)
    flags = {"sandbox.root_dir": long, "temporal.namespace": long * 5}
    with LiveConfig.start(environment=sandbox.environment(variables), flags=flags):
        assert [worker.pid for worker in running(sandbox.environment(variables))] == [os.getpid()]


def leave(_logger: Any, _method: str, event: Any) -> Any:
    if event["event"] == "config.reloaded":
        raise SystemExit(3)
    return event


def test_a_log_processor_that_leaves_keeps_nothing_from_being_published(sandbox: Sandbox) -> None:
    """`SystemExit` in one left the published state old."""
    (sandbox.root / "run").mkdir(mode=0o700)
    environment = sandbox.environment({**LOCAL, "XDG_RUNTIME_DIR": str(sandbox.root / "run")})
    structlog.configure(processors=[leave, LogCapture()])
    try:
        with LiveConfig.start(environment=environment) as live:
            sandbox.write(user="llm: {max_tokens: 78}\n")
            live.reload()
            (worker,) = running(environment)
            assert (worker.generation, worker.values["llm.max_tokens"]) == (2, 78)
    finally:
        structlog.reset_defaults()


def watches(process: int) -> int:
    """How many inotify watches a process holds."""
    found = 0
    for info in Path(f"/proc/{process}/fdinfo").iterdir():
        try:
            found += info.read_text().count("inotify wd:")
        except OSError:
            continue
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="inotify is Linux's")
def test_a_chain_of_links_costs_few_watches(sandbox: Sandbox) -> None:
    """39 links, each below 800 folders, cost 31 000 watches and a whole core."""
    stigmer = sandbox.project_file.parent
    stigmer.mkdir(exist_ok=True)
    deep = "/".join(["d"] * 800)
    here = os.getcwd()
    for number in range(8):  # each is made where the one before is: a path has 4 096 characters at most
        os.chdir(stigmer)
        os.mkdir(f"l{number}")
        os.chdir(f"l{number}")
        for _ in range(800):
            os.mkdir("d")
            os.chdir("d")
        last = number == 7
        if last:
            Path("end").write_text("llm: {max_tokens: 77}\n")
        else:
            up = "/".join([".."] * 801)
            os.symlink(f"{up}/l{number + 1}/n", "end")
        os.chdir(stigmer)
        os.symlink(f"{deep}/end", f"l{number}/n")
    os.chdir(here)
    sandbox.project_file.symlink_to("l0/n")
    from stigmer_config.files.watch import Watcher

    before, cpu = watches(os.getpid()), time.process_time()
    watcher = Watcher([sandbox.project_file], lambda _paths: None)
    watcher.start()
    try:
        assert watches(os.getpid()) - before <= 130
    finally:
        watcher.close()
    assert time.process_time() - cpu < 2
    assert [problem.code for problem in sandbox.problems(LOCAL)] == ["unreadable-file"]
    subprocess.run(["rm", "-rf", str(stigmer)], check=True)
