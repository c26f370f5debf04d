"""LiveConfig: the swap, the last good configuration, what a reload reads again and what it does not."""

from __future__ import annotations

import datetime
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from watchdog.observers.api import BaseObserver

from stigmer_config import Config, ConfigError, LiveConfig, Rejected, Reloaded, Unchanged, load
from stigmer_config.files import stable_read as settled
from stigmer_config.files.watch.due_files import DueFiles
from stigmer_config.llm.catalogue import catalogue
from stigmer_config.llm.provider_selection import CredentialGrant
from stigmer_config.loading.load import read
from stigmer_config.loading.request import request
from stigmer_config.reload import last_good as held
from stigmer_config.reload import reloader
from stigmer_config.reload.last_good import LastGood
from stigmer_config.reload.reloader import Reloader
from stigmer_config.reload.secret_cache import SecretCache
from stigmer_config.trust import grants
from tests.support.live_tools import DEADLINE, LOCAL, Calls, heard, living, logged, rejected, save, takes, until, world
from tests.support.sandbox import TODAY, Sandbox


def test_a_provider_is_declared_while_a_worker_runs(sandbox: Sandbox) -> None:
    """It is in force with the next reload, moves with its address, and what is half declared is rejected."""
    declared = "mode: local\nllm: {{model: 'lab:m'}}\nproviders: {{lab: {{kind: openai, base_url: 'http://{}/v1'}}}}\n"
    with living(sandbox) as live:
        assert "lab" not in live.current.providers
        save(sandbox.user_file, declared.format("lab:8000"))
        new = takes(live, provider="lab", kind="openai", base_url="http://lab:8000/v1", model_id="m")
        assert new.providers["lab"].base_url == "http://lab:8000/v1"
        save(sandbox.user_file, declared.format("lab:9000"))
        takes(live, base_url="http://lab:9000/v1")
        save(sandbox.user_file, "mode: local\nproviders: {lab: {kind: openai}}\n")
        assert rejected(live)
        assert live.current.llm.base_url == "http://lab:9000/v1"
        save(sandbox.user_file, "mode: local\n")
        assert "lab" not in takes(live, provider="ollama").providers


# -- the swap --------------------------------------------------------------------------------------------------------


def test_a_bad_start_raises_with_every_problem(sandbox: Sandbox) -> None:
    """A worker does not start on a configuration that is not good."""
    sandbox.write(user="mode: local\nllm: {modl: x, max_tokens: many}\n")
    with pytest.raises(ConfigError) as raised:
        LiveConfig.start(environment=world(sandbox))
    assert [problem.code for problem in raised.value.problems] == ["unknown-key", "wrong-type"]


def test_a_change_is_a_new_frozen_config_of_the_next_generation(sandbox: Sandbox) -> None:
    """An execution keeps the Config it took; the next one takes the new one."""
    with living(sandbox) as live:
        taken = live.current
        assert (taken.generation, taken.llm.model) == (1, "qwen2.5-coder:7b")
        sandbox.write(user="mode: local\nllm: {model: fast}\n")
        new = takes(live, model="fast")
        assert (new.generation, live.current) == (2, new)
        assert (taken.generation, taken.llm.model) == (1, "qwen2.5-coder:7b")
        assert taken.override({"llm.timeout": 5}).llm.model == "qwen2.5-coder:7b"


def test_the_live_config_is_what_a_fresh_load_gives(sandbox: Sandbox) -> None:
    """Every layer counts as in `load()`, the arguments and the overrides included."""
    sandbox.write(site="llm: {timeout: 7}\n", project="llm: {temperature: 0.5}\n")
    arguments: dict[str, Any] = {"flags": {"llm.max_retries": 3}, "overrides": [{"llm.num_ctx": 4096}]}
    with living(sandbox, {"STIGMER_LLM_MAX_TOKENS": "99"}, **arguments) as live:
        environment = world(sandbox, {"STIGMER_LLM_MAX_TOKENS": "99"})
        assert live.current == load(environment=environment, **arguments)
        save(sandbox.project_file, "llm: {temperature: 0.75}\n")
        assert takes(live, temperature=0.75) == load(environment=environment, **arguments)
        llm = live.current.llm
        assert (llm.timeout, llm.max_retries, llm.num_ctx, llm.max_tokens) == (7.0, 3, 4096, 99)


@pytest.mark.parametrize("where", ["site_file", "user_file", "project_file"])
def test_a_file_that_was_not_there_is_noticed(sandbox: Sandbox, where: str) -> None:
    """A file may appear after the start, with its folder, and go again."""
    with LiveConfig.start(mode="local", environment=world(sandbox)) as live:
        path: Path = getattr(sandbox, where)
        save(path, "llm: {timeout: 3}\n")
        takes(live, timeout=3.0)
        path.unlink()
        takes(live, timeout=None)


def test_a_nearer_projects_file_takes_over_and_gives_back(sandbox: Sandbox) -> None:
    """Which file is the project's is asked again: a nearer one that appears counts, the outer one when it goes."""
    sandbox.write(user=LOCAL, project="llm: {timeout: 1}\n")
    deep = sandbox.project / "src" / "deep"
    deep.mkdir(parents=True)
    with LiveConfig.start(environment=world(sandbox, cwd=deep)) as live:
        assert live.current.llm.timeout == 1.0
        save(sandbox.project / "src" / ".stigmer" / "config.yaml", "llm: {timeout: 2}\n")
        takes(live, timeout=2.0)
        save(sandbox.project_file, "llm: {timeout: 11}\n")
        (sandbox.project / "src" / ".stigmer" / "config.yaml").unlink()
        takes(live, timeout=11.0)
        (deep / ".git").mkdir()  # a repository of its own from now on: the search ends there
        takes(live, timeout=None)
        (deep / ".git").rmdir()
        takes(live, timeout=11.0)


def test_links_may_make_one_file_of_the_users_and_the_projects(sandbox: Sandbox) -> None:
    """Once the user file is a link to the project's, it is the user's, once; and again two when it is not."""
    sandbox.write(user="mode: local\nllm: {timeout: 1}\n", project="llm: {timeout: 2, base_url: 'http://gpu:1'}\n")
    with LiveConfig.start(mode="local", project_dir=False, environment=world(sandbox)) as live:
        assert live.current.llm.timeout == 1.0
    sandbox.write(project="llm: {timeout: 2}\n")
    with living(sandbox) as live:
        assert live.current.llm.timeout == 2.0
        sandbox.user_file.unlink()
        sandbox.user_file.symlink_to(sandbox.project_file)
        assert until(lambda: live.current.explain("llm.timeout").origin.layer == "user")  # type: ignore[union-attr]
        sandbox.user_file.unlink()
        assert until(lambda: live.current.explain("llm.timeout").origin.layer == "project")  # type: ignore[union-attr]


def test_files_that_change_together_make_one_config(sandbox: Sandbox) -> None:
    """The changes of one reload become one generation; intermediate states are never visible."""
    with living(sandbox) as live:
        with live._follower._lock:  # no reload runs meanwhile
            save(sandbox.site_file, "llm: {timeout: 1}\n")
            save(sandbox.user_file, "mode: local\nllm: {model: fast}\n")
            save(sandbox.project_file, "llm: {temperature: 0.1}\n")
            outcome = live.reload()
        assert isinstance(outcome, Reloaded)
        assert outcome.config.generation == 2
        llm = outcome.config.llm
        assert (llm.timeout, llm.model, llm.temperature) == (1.0, "fast", 0.1)


def test_a_named_site_file_may_be_a_mounted_config_map(sandbox: Sandbox) -> None:
    """STIGMER_SITE_CONFIG on a ConfigMap: its swaps are taken, in one step; without the mount it is a fault."""
    mount = sandbox.root / "mount"
    mount.mkdir(mode=0o755)
    for version in (1, 2):
        folder = mount / f"..{version}"
        folder.mkdir()
        (folder / "config.yaml").write_text(f"llm: {{timeout: {version}, max_retries: {version}}}\n")
    (mount / "..data").symlink_to("..1")
    (mount / "config.yaml").symlink_to("..data/config.yaml")
    with living(sandbox, {"STIGMER_SITE_CONFIG": str(mount / "config.yaml")}) as live:
        calls = Calls()
        live.subscribe(calls)
        assert live.current.llm.timeout == 1.0
        (mount / "..data_tmp").symlink_to("..2")
        (mount / "..data_tmp").replace(mount / "..data")
        takes(live, timeout=2.0, max_retries=2)
        assert calls.reaches(1)
        assert calls.keys == [{"llm.timeout", "llm.max_retries"}]
        mount.rename(sandbox.root / "away")
        assert rejected(live)
        assert live.current.llm.timeout == 2.0
        (sandbox.root / "away").rename(mount)
        assert until(lambda: live.status.last_error is None)


@pytest.mark.parametrize("lose", [lambda path: path.write_bytes(b""), Path.unlink], ids=["emptied", "removed"])
def test_a_named_site_file_that_is_lost_keeps_the_last_good(sandbox: Sandbox, lose: Callable[[Path], None]) -> None:
    """A full disk under the file that STIGMER_SITE_CONFIG names is no wish for the packaged defaults."""
    named = sandbox.root / "etc" / "config.yaml"
    save(named, "llm: {timeout: 1}\n")
    with living(sandbox, {"STIGMER_SITE_CONFIG": str(named)}) as live:
        lose(named)
        assert rejected(live)
        assert live.status.last_error is not None
        assert [problem.code for problem in live.status.last_error.problems] == ["unreadable-file"]
        assert (live.current.generation, live.current.llm.timeout) == (1, 1.0)
        save(named, "llm: {timeout: 2}\n")
        takes(live, timeout=2.0)
        assert live.status.last_error is None


def test_the_whole_project_may_go_and_come_back(sandbox: Sandbox) -> None:
    """The working folder itself removed and made again: its file goes, and counts again."""
    save(sandbox.project_file, "llm: {timeout: 1}\n")
    with living(sandbox) as live:
        shutil.rmtree(sandbox.project)
        takes(live, timeout=None)
        (sandbox.project / ".git").mkdir(parents=True)
        save(sandbox.project_file, "llm: {timeout: 2}\n")
        takes(live, timeout=2.0)


def test_without_native_events_it_follows_by_polling(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without watches `status` and one event say so, and changes are still applied; later watching is native again."""

    def refuse(*_: object, **__: object) -> object:
        raise OSError(28, "No space left on device")

    with logged() as events, monkeypatch.context() as patch:
        patch.setattr(BaseObserver, "schedule", refuse)
        with living(sandbox) as live:
            assert live.status.watching == "polling"
            for number in (1, 2):
                save(sandbox.user_file, f"mode: local\nllm: {{timeout: {number}}}\n")
                takes(live, timeout=float(number))
            patch.undo()
            assert until(lambda: live.status.watching == "native")
            assert heard(events, "config.watch_restored")
    names = [event["event"] for event in events if event["event"].startswith("config.watch")]
    assert names == ["config.watch_degraded", "config.watch_restored"]


def test_a_fault_of_our_own_loses_no_change(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should a load raise what it should not, the next one takes the change all the same."""
    with living(sandbox) as live:
        with monkeypatch.context() as patch, live._follower._lock:
            patch.setattr(reloader, "read", lambda _: 1 / 0)
            save(sandbox.user_file, "mode: local\nllm: {timeout: 1}\n")
            with pytest.raises(ZeroDivisionError):
                live.reload()
        live.reload()
        takes(live, timeout=1.0)


def test_a_fault_of_our_own_in_the_watchers_thread_loses_none_either(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is reported, and the reported paths are read again without another change."""
    reported: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", reported.append)
    with living(sandbox) as live:
        with monkeypatch.context() as patch:
            patch.setattr(reloader, "read", lambda _: 1 / 0)
            save(sandbox.user_file, "mode: local\nllm: {timeout: 1}\n")
            assert until(lambda: reported)
        takes(live, timeout=1.0)
    assert {hook.exc_type for hook in reported} == {ZeroDivisionError}


@pytest.mark.parametrize(
    "fails", [(SecretCache, "refresh"), (Reloader, "_look_around"), (Config, "effective"), (LastGood, "accept")]
)
def test_the_change_is_applied_and_reported_wherever_it_failed(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, fails: tuple[type, str]
) -> None:
    """One step of a reload fails for lack of memory: the next attempt repeats all of them, including the callbacks."""
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    owner, name = fails
    works = getattr(owner, name)
    left = [1]

    def once(*arguments: Any, **named: Any) -> Any:
        if left:
            left.pop()
            raise MemoryError
        return works(*arguments, **named)

    with living(sandbox) as live:
        calls = Calls()
        live.subscribe(calls, "llm.timeout")
        monkeypatch.setattr(owner, name, once)
        save(sandbox.project_file, "llm: {timeout: 1}\n")
        takes(live, timeout=1.0)
        assert calls.reaches(1)
        assert not left


@pytest.fixture(params=["events", "sweep"])
def hearing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its events, and with all of them lost: then the sweep has to find the changes."""
    if request.param == "sweep":
        monkeypatch.setattr(DueFiles, "event", lambda *_: None)


@pytest.mark.usefixtures("hearing")
def test_a_link_that_leads_nowhere_goes_with_its_folder(sandbox: Sandbox) -> None:
    """A dangling link is a fault, no file at all is none: the folder that is moved away takes the fault along."""
    with LiveConfig.start(mode="local", environment=world(sandbox)) as live:
        sandbox.project_file.parent.mkdir()
        sandbox.project_file.symlink_to("nowhere")
        assert rejected(live)
        sandbox.project_file.parent.rename(sandbox.root / "away")
        assert until(lambda: live.status.last_error is None)


@pytest.mark.usefixtures("hearing")
def test_a_projects_folder_that_becomes_a_link_to_elsewhere_is_refused(sandbox: Sandbox) -> None:
    """The file there is the very one that was there before: its folder is a link out of the project now."""
    away = sandbox.root / "work" / "away"
    with LiveConfig.start(mode="local", environment=world(sandbox)) as live:
        save(sandbox.project_file, "llm: {timeout: 3}\n")
        takes(live, timeout=3.0)
        sandbox.project_file.parent.rename(away)
        sandbox.project_file.parent.symlink_to("../away")
        assert rejected(live)


# -- reload() --------------------------------------------------------------------------------------------------------


def test_reload_returns_its_result(sandbox: Sandbox) -> None:
    """`reload()` returns Reloaded, Unchanged or Rejected, with all details, at once."""
    with living(sandbox) as live:
        assert isinstance(live.reload(), Unchanged)
        with live._follower._lock:
            save(sandbox.user_file, "mode: local\nllm: {timeout: 4}\n")
            taken = live.reload()
        assert isinstance(taken, Reloaded)
        assert [(change.key, change.old, change.new) for change in taken.changes] == [("llm.timeout", None, 4.0)]
        assert str(taken.changes[0].new_origin) == f"{sandbox.user_file}:2:16"
        with live._follower._lock:
            save(sandbox.user_file, "mode: local\nllm: {timeout: -4}\n")
            refused = live.reload()
        assert isinstance(refused, Rejected)
        assert [(problem.code, str(problem.origin)) for problem in refused.problems] == [
            ("out-of-range", f"{sandbox.user_file}:2:16")
        ]
        assert live.current.llm.timeout == 4.0


def test_reload_does_not_wait_for_callbacks(sandbox: Sandbox) -> None:
    """A callback that hangs holds up neither `reload()` nor the swap."""
    with living(sandbox) as live:
        begun, go_on = threading.Event(), threading.Event()

        def slow(*_: object) -> None:
            begun.set()
            assert go_on.wait(DEADLINE)

        live.subscribe(slow)
        try:
            save(sandbox.user_file, "mode: local\nllm: {timeout: 1}\n")
            assert begun.wait(DEADLINE)
            save(sandbox.user_file, "mode: local\nllm: {timeout: 2}\n")
            takes(live, timeout=2.0)
            assert isinstance(live.reload(), Unchanged)
        finally:
            go_on.set()


def test_the_same_values_in_other_words_are_no_change(sandbox: Sandbox) -> None:
    """A touch or a rewrite calls no subscriber and keeps the generation; `explain` has the new place."""
    sandbox.write(user="mode: local\nllm: {model: fast}\n")
    with living(sandbox) as live:
        calls = Calls()
        live.subscribe(calls)
        before = live.current
        sandbox.user_file.touch()
        assert isinstance(live.reload(), Unchanged)
        text = "# moved down\nmode: local\nllm:\n  model: fast\nproviders: {openai: {api_key: unused}}\n"
        save(sandbox.user_file, text.partition("providers")[0])
        assert until(lambda: live.current.explain("llm.model").origin.line == 4)  # type: ignore[union-attr]
        after = live.current
        assert after is not before
        assert after == before
        assert (after.generation, live.status.generation) == (1, 1)
        save(sandbox.user_file, "mode: local\nllm: {model: fast, timeout: 1}\n")
        assert calls.reaches(1)
        assert calls.keys == [{"llm.timeout"}]


def test_two_configs_of_equal_values_do_not_differ(sandbox: Sandbox) -> None:
    """`!=` is the opposite of `==`, whatever the generation."""
    with living(sandbox) as live:
        save(sandbox.user_file, f"{LOCAL}# {'x' * 10}\nllm: {{timeout: 1}}\n")
        takes(live, timeout=1.0)
        save(sandbox.user_file, LOCAL)
        again = takes(live, timeout=None)
        assert again.generation == 3
        fresh = load(environment=world(sandbox))
        assert again == fresh
        assert not again != fresh  # noqa: SIM202 - the other operator is meant


# -- what is not good ------------------------------------------------------------------------------------------------


def test_a_rejected_change_leaves_the_last_good_until_the_next_good_one(sandbox: Sandbox) -> None:
    """`last_error` has every problem at its line; a good save clears it, and is taken."""
    sandbox.write(user="mode: local\nllm: {timeout: 1}\n")
    with living(sandbox) as live:
        save(sandbox.user_file, "mode: local\nllm:\n  timeout: never\n  modl: fast\nredis: 7\n")
        assert rejected(live)
        error = live.status.last_error
        assert error is not None
        assert [(problem.code, problem.origin.line) for problem in error.problems if problem.origin] == [
            ("wrong-type", 3),
            ("unknown-key", 4),
            ("not-a-mapping", 5),
        ]
        assert (live.current.generation, live.current.llm.timeout) == (1, 1.0)
        save(sandbox.user_file, "mode: local\nllm: {timeout: 2}\n")
        assert takes(live, timeout=2.0).generation == 2
        assert live.status.last_error is None


def test_a_rejected_change_is_rejected_whole(sandbox: Sandbox) -> None:
    """While one file has a fault, a good change in another is not applied alone, but together with the fix."""
    with living(sandbox) as live:
        save(sandbox.project_file, "llm: [")
        assert rejected(live)
        save(sandbox.user_file, "mode: local\nllm: {timeout: 5}\n")
        outcome = live.reload()
        assert isinstance(outcome, Rejected)
        assert live.current.llm.timeout is None
        save(sandbox.project_file, "llm: {temperature: 0.3}\n")
        assert takes(live, timeout=5.0).llm.temperature == 0.3


def test_going_back_to_what_was_good_clears_the_fault(sandbox: Sandbox) -> None:
    """The very bytes that were good before are good again: same generation, no error."""
    with living(sandbox) as live:
        save(sandbox.user_file, "llm: [")
        assert rejected(live)
        save(sandbox.user_file, LOCAL)
        assert until(lambda: live.status.last_error is None)
        assert live.current.generation == 1


def test_a_new_fault_is_not_reported_at_once(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault that is fixed within 150 ms is never reported, however often that happens."""
    clock = Clock()
    monkeypatch.setattr(held, "time", clock)
    with logged() as events, living(sandbox) as live:
        for number in range(1, 4):
            seen = clock.asked
            save(sandbox.user_file, f"llm: [ # {number}")
            assert until(lambda seen=seen: clock.asked > seen)  # type: ignore[misc]
            save(sandbox.user_file, f"mode: local\nllm: {{timeout: {number}}}\n")
            takes(live, timeout=float(number))
            assert live.status.last_error is None
        save(sandbox.user_file, "llm: [")
        seen = clock.asked
        assert until(lambda: clock.asked > seen + 1)
        assert live.status.last_error is None
        clock.now += 0.2
        assert rejected(live)
    assert [event["event"] for event in events if event["log_level"] == "error"] == ["config.reload_rejected"]


def test_another_fault_is_young_again(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one fault persists, a different fault between two saves is not reported either."""
    clock = Clock()
    monkeypatch.setattr(held, "time", clock)
    with logged() as events, living(sandbox) as live:
        save(sandbox.user_file, "llm: [")
        assert until(lambda: clock.asked > 0)
        clock.now += 0.2
        assert rejected(live)
        first, seen = str(live.status.last_error), clock.asked
        save(sandbox.user_file, "nonsense: 1\n")
        assert until(lambda: clock.asked > seen)
        assert str(live.status.last_error) == first
        save(sandbox.user_file, "llm: [")
        save(sandbox.user_file, "mode: local\nllm: {timeout: 1}\n")
        takes(live, timeout=1.0)
    assert [event["event"] for event in events] == ["config.loaded", "config.reload_rejected", "config.reloaded"]


def test_the_end_of_a_fault_is_reported_without_a_change(sandbox: Sandbox) -> None:
    """A rejected change is undone: no value changed, but the log reports the recovery."""
    with logged() as events, living(sandbox) as live:
        text = sandbox.user_file.read_text()
        save(sandbox.user_file, "llm: [")
        assert rejected(live)
        save(sandbox.user_file, text)
        assert until(lambda: live.status.last_error is None)
        assert until(lambda: len(events) == 3)
    assert [event["event"] for event in events] == ["config.loaded", "config.reload_rejected", "config.recovered"]
    assert events[-1]["generation"] == 1


def test_a_fault_that_stays_is_reported_after_its_grace_time(sandbox: Sandbox) -> None:
    """With a real clock: not before 150 ms, and without another event in the folder."""
    with living(sandbox) as live:
        begin = time.monotonic()
        save(sandbox.user_file, "llm: [")
        assert rejected(live)
        assert time.monotonic() - begin >= held.FAULT_GRACE


@pytest.mark.parametrize("empties", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_vanished_or_emptied_file_counts_after_a_moment(sandbox: Sandbox, empties: Callable[[Path], object]) -> None:
    """Its values go after 100 ms, not before."""
    save(sandbox.project_file, "llm: {timeout: 9}\n")
    with living(sandbox) as live:
        begin = time.monotonic()
        empties(sandbox.project_file)
        assert isinstance(live.reload(), Unchanged)
        takes(live, timeout=None)
        assert time.monotonic() - begin >= settled.GRACE


def test_a_file_that_vanishes_during_a_reload_counts_after_a_moment(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the read of the files and the search for a project's file it is not gone at once, either."""
    save(sandbox.project_file, "llm: {timeout: 9}\n")
    with living(sandbox) as live:
        gone: list[float] = []
        search = Reloader._search

        def vanishes_first(reloader: Reloader) -> object:
            if not gone:
                gone.append(time.monotonic())
                sandbox.project_file.unlink()
            return search(reloader)

        monkeypatch.setattr(Reloader, "_search", vanishes_first)
        assert isinstance(live.reload(), Unchanged)
        takes(live, timeout=None)
        assert time.monotonic() - gone[0] >= settled.GRACE


def test_a_file_that_is_back_at_once_was_never_gone(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """An editor that moves the old file away before it writes the new one changes nothing in between."""
    clock = Clock()
    save(sandbox.project_file, "llm: {timeout: 9}\n")
    with living(sandbox) as live:
        calls = Calls()
        live.subscribe(calls)
        monkeypatch.setattr(settled, "time", clock)
        for number in range(1, 4):
            seen = clock.asked
            sandbox.project_file.rename(sandbox.root / "away")
            assert until(lambda seen=seen: clock.asked > seen + 1)  # type: ignore[misc]
            assert live.current.llm.timeout == (number - 1 or 9)
            save(sandbox.project_file, f"llm: {{timeout: {number}}}\n")
            takes(live, timeout=float(number))
        assert calls.reaches(3)
        assert [new.llm.timeout for new, _ in calls.seen] == [1.0, 2.0, 3.0]


class Clock:
    """A clock that moves only when told to; `asked` counts the looks at it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked = 0

    def monotonic(self) -> float:
        self.asked += 1
        return self.now

    def time(self) -> float:
        return time.time()


# -- what waits for a restart ----------------------------------------------------------------------------------------


def test_the_mode_of_the_start_is_kept(sandbox: Sandbox) -> None:
    """Another mode in a file is reported and waits for a restart; the worker goes on in its own."""
    sandbox.write(user="mode: local\nllm: {timeout: 1}\n")
    with living(sandbox) as live:
        save(sandbox.user_file, "mode: cloud\nllm: {timeout: 1}\n")
        assert until(lambda: live.status.restart_required)
        assert list(live.status.restart_required) == ["mode"]
        assert (live.current.mode, live.current.llm.provider, live.current.generation) == ("local", "ollama", 1)
        save(sandbox.user_file, "mode: cloud\nllm: {timeout: 2}\n")
        assert takes(live, timeout=2.0) == load(mode="local", environment=world(sandbox))
        save(sandbox.user_file, "mode: local\nllm: {timeout: 2}\n")
        assert until(lambda: not live.status.restart_required)


def test_a_requested_mode_is_not_reported_as_a_change(sandbox: Sandbox) -> None:
    """With `mode=` or MODE, what a file says of it changes nothing, and nothing waits."""
    with living(sandbox, mode="local") as live:
        save(sandbox.user_file, "mode: cloud\nllm: {timeout: 1}\n")
        takes(live, timeout=1.0)
        assert not live.status.restart_required


def test_a_required_restart_is_reported_and_withdrawn(sandbox: Sandbox) -> None:
    """A restart key's change is in `current` and in `restart_required`, until the old value is back."""
    with living(sandbox) as live:
        calls = Calls()
        live.subscribe(calls)
        save(sandbox.user_file, "mode: local\ntemporal: {address: 'temporal:1', namespace: ours}\nllm: {timeout: 1}\n")
        takes(live, timeout=1.0)
        assert live.current.temporal.address == "temporal:1"
        assert list(live.status.restart_required) == ["temporal.namespace", "temporal.address"]
        assert calls.reaches(1)
        assert {change.key: change.restart_required for change in calls.seen[0][1]} == {
            "llm.timeout": False,
            "temporal.namespace": True,
            "temporal.address": True,
        }
        save(sandbox.user_file, LOCAL)
        takes(live, timeout=None)
        assert not live.status.restart_required


# -- what is read again, and what is not -----------------------------------------------------------------------------


def test_variables_are_never_read_again(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reload re-reads files; the variables and the working folder stay those of the start."""
    sandbox.write(user=LOCAL)
    for name in [name for name in os.environ if name.startswith(("STIGMER_", "ANTHROPIC_", "OPENAI_", "OLLAMA_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(sandbox.home))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(sandbox.root / "run"))
    monkeypatch.setenv("STIGMER_SITE_CONFIG", "")
    monkeypatch.setenv("STIGMER_LLM_TIMEOUT", "1")
    with LiveConfig.start(mode="local", project_dir=sandbox.project) as live:
        monkeypatch.setenv("STIGMER_LLM_TIMEOUT", "2")
        monkeypatch.setenv("STIGMER_LLM_MODEL", "fast")
        assert isinstance(live.reload(), Unchanged)
        save(sandbox.user_file, "mode: local\nllm: {max_retries: 1}\n")
        assert takes(live, max_retries=1).llm.timeout == 1.0
        assert live.current.llm.model == "qwen2.5-coder:7b"


def test_the_date_is_read_again(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that nears its end while the worker runs warns at the next reload, without a change of a file."""
    model = catalogue().find("claude-opus-4-5")
    assert model is not None
    assert model.retires is not None
    until = model.retires - datetime.timedelta(days=30) - TODAY
    later = datetime.date.today() + until  # noqa: DTZ011 - as the reloader counts days
    sandbox.write(user="llm: {model: claude-opus-4-5}\n")  # an explicit one: a default causes no warning
    with living(sandbox, {"ANTHROPIC_API_KEY": "sk-of-nobody", "MODE": "cloud"}) as live:
        assert not live.current.warnings
        monkeypatch.setattr(reloader, "datetime", SimpleNamespace(date=SimpleNamespace(today=lambda: later)))
        assert isinstance(live.reload(), Unchanged)
        assert [problem.code for problem in live.current.warnings] == ["model-retiring"]


def test_permissions_are_read_again(sandbox: Sandbox) -> None:
    """A user file that others may write from now on is rejected, though its bytes are the same."""
    with living(sandbox) as live:
        sandbox.user_file.chmod(0o666)
        outcome = live.reload()
        assert isinstance(outcome, Rejected)
        assert [problem.code for problem in outcome.problems] == ["insecure-permissions"]
        sandbox.user_file.chmod(0o600)
        assert isinstance(live.reload(), Unchanged)
        assert live.status.last_error is None


def test_a_start_waits_for_a_writer_in_the_middle(sandbox: Sandbox) -> None:
    """A worker that starts while its file is being written takes the whole file, not the half."""
    sandbox.write(user=LOCAL)
    half = sandbox.user_file.open("r+b", buffering=0)
    half.write(b"mode: local\nllm: {timeout: 1}\n")
    ended = threading.Event()

    def finish() -> None:
        half.write(b"sandbox: {root_dir: whole}\n")
        half.close()
        ended.set()

    timer = threading.Timer(0.1, finish)
    timer.start()
    with living(sandbox) as live:
        assert ended.is_set()
        assert live.current.sandbox.root_dir == "whole"
    timer.join()


def test_a_start_in_the_middle_of_endless_writing_says_so(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is written all the time is a fault; it is neither read partially nor skipped."""
    monkeypatch.setattr(reloader, "SETTLE", 0.05)
    sandbox.write(user=LOCAL)
    with sandbox.user_file.open("r+b", buffering=0) as half:
        half.write(b"mode: local\nllm: {model: fa")
        with pytest.raises(ConfigError, match="it is being written"):
            LiveConfig.start(environment=world(sandbox))


# -- trust -----------------------------------------------------------------------------------------------------------


def grant(sandbox: Sandbox) -> None:
    """What `stigmer config trust` records for the project's file as it is now."""
    loaded = read(request(environment=world(sandbox)))
    layer = next(layer for layer in loaded.layers if layer.name == "project")
    entries = {**layer.entries, **{key: refusal.entry for key, refusal in layer.refused.items()}}
    grants.record(world(sandbox), msgspec.structs.replace(layer, entries=entries, refused={}))


def test_trust_is_decided_again_at_each_reload(sandbox: Sandbox) -> None:
    """A grant counts when it is recorded, an edit of what it covers ends it, of other keys it does not."""
    with living(sandbox) as live:
        save(sandbox.project_file, "llm: {base_url: 'http://gpu:11434'}\n")
        assert rejected(live)
        assert live.current.llm.base_url == "http://localhost:11434"
        grant(sandbox)
        takes(live, base_url="http://gpu:11434")
        save(sandbox.project_file, "llm: {base_url: 'http://gpu:11434', timeout: 3}\n")
        takes(live, timeout=3.0)
        assert live.current.llm.base_url == "http://gpu:11434"
        save(sandbox.project_file, "llm: {base_url: 'http://collector:11434', timeout: 4}\n")
        assert rejected(live)
        assert (live.current.llm.base_url, live.current.llm.timeout) == ("http://gpu:11434", 3.0)
        error = live.status.last_error
        assert error is not None
        assert [problem.code for problem in error.problems] == ["untrusted-key"]


GRANTED = "llm: {base_url: 'http://gpu:11434', temperature: 0.3}\n"


def test_a_revoked_grant_takes_the_endpoint_from_a_running_worker(sandbox: Sandbox) -> None:
    """The worker goes on without the entries that are refused now, and reports them until the file is changed."""
    save(sandbox.project_file, GRANTED)
    sandbox.write(user=LOCAL)
    grant(sandbox)
    with living(sandbox) as live:
        assert live.current.llm.base_url == "http://gpu:11434"
        calls = Calls()
        live.subscribe(calls, "llm.base_url")
        assert grants.revoke(world(sandbox), str(sandbox.project_file))
        config = takes(live, base_url="http://localhost:11434")
        assert config.llm.temperature == 0.3
        assert rejected(live)
        assert [p.code for p in live.status.last_error.problems] == ["untrusted-key"]  # type: ignore[union-attr]
        sandbox.write(user=LOCAL + "llm: {max_tokens: 77}\n")  # the user's own changes are followed meanwhile
        assert takes(live, max_tokens=77).llm.base_url == "http://localhost:11434"
        save(sandbox.project_file, "llm: {timeout: 1}\n")
        assert takes(live, timeout=1.0).llm.base_url == "http://localhost:11434"
        assert until(lambda: live.status.last_error is None)
        assert [change.new for _, changes in calls.seen for change in changes] == ["http://localhost:11434"]


def test_a_revoked_grant_is_reported_once(sandbox: Sandbox) -> None:
    """The problem is one event, however often the files are read again; granting it again is applied."""
    save(sandbox.project_file, GRANTED)
    sandbox.write(user=LOCAL)
    grant(sandbox)
    with living(sandbox) as live:
        assert grants.revoke(world(sandbox), str(sandbox.project_file))
        assert isinstance(live.reload(), Reloaded)
        rejections = live.status.rejections
        assert [type(live.reload()) for _ in range(3)] == [Rejected] * 3
        assert live.status.rejections == rejections
        grant(sandbox)
        assert takes(live, base_url="http://gpu:11434")
        assert live.status.last_error is None


def test_a_revocation_beside_another_fault_reaches_the_worker(sandbox: Sandbox) -> None:
    """With a broken file of the user's the worker keeps its last good values, but not what was revoked."""
    save(sandbox.project_file, GRANTED)
    sandbox.write(user=LOCAL + "llm: {max_tokens: 77}\n")
    grant(sandbox)
    with living(sandbox) as live:
        save(sandbox.user_file, "mode: local\nllm: {max_tokens: x}\n")
        assert grants.revoke(world(sandbox), str(sandbox.project_file))
        assert takes(live, base_url="http://localhost:11434").llm.max_tokens == 77
        assert until(lambda: live.status.last_error is not None)


def test_a_revoked_credential_goes_nowhere(sandbox: Sandbox) -> None:
    """Granting the project again without credentials allows the endpoint but no key."""
    variables = {"MODE": "cloud", "ANTHROPIC_API_KEY": "sk-ant-mine-1"}
    save(sandbox.project_file, "llm: {base_url: 'https://corp.example'}\n")
    sandbox.write(user="{}\n")
    environment = world(sandbox, variables)
    grant(sandbox)
    endpoint = CredentialGrant("providers.anthropic.api_key", "ANTHROPIC_API_KEY", "https://corp.example:443")
    layer = msgspec.structs.replace(
        read(request(environment=environment)).layers.project or pytest.fail("no project"), refused={}
    )
    grants.record(environment, layer, [endpoint])
    with living(sandbox, variables) as live:
        assert live.current.llm.api_key is not None
        grants.record(environment, layer)
        assert live.wait_for(lambda config: config.llm.api_key is None, 30).llm.base_url == "https://corp.example"
        assert rejected(live)


def test_a_file_that_turns_hostile_after_a_revocation_is_rejected_whole(sandbox: Sandbox) -> None:
    """Once the file asks for no more than it may, a later attempt changes nothing, as with any other project."""
    save(sandbox.project_file, GRANTED)
    sandbox.write(user=LOCAL)
    grant(sandbox)
    with living(sandbox) as live:
        assert grants.revoke(world(sandbox), str(sandbox.project_file))
        takes(live, base_url="http://localhost:11434")
        save(sandbox.project_file, "llm: {timeout: 1}\n")
        takes(live, timeout=1.0)
        save(sandbox.project_file, "llm: {timeout: 2, base_url: 'http://evil:11434'}\n")
        assert rejected(live)
        assert live.current.llm.timeout == 1.0


# -- secrets ---------------------------------------------------------------------------------------------------------

CLOUD = "mode: cloud\nproviders:\n  anthropic:\n    api_key: {file: key}\n"


def reveals(live: LiveConfig, text: str) -> bool:
    return until(lambda: live.current.llm.api_key is not None and live.current.llm.api_key.reveal() == text)


def test_a_secret_in_a_file_rotates_live(sandbox: Sandbox) -> None:
    """The file behind `{file: …}` is watched: a rotated key is a change of `llm.api_key`, and of nothing else."""
    key = sandbox.home / ".stigmer" / "key"
    sandbox.write(user=CLOUD)
    save(key, "sk-first-key\n")
    with living(sandbox) as live:
        calls = Calls()
        live.subscribe(calls)
        taken = live.current
        assert reveals(live, "sk-first-key")
        for text in ("sk-second-key", "sk-third-key"):
            save(key, f"{text}\n")
            assert reveals(live, text)
        assert calls.reaches(2)
        assert calls.keys == [{"llm.api_key", "providers.anthropic.api_key"}] * 2
        assert live.current.fingerprint == taken.fingerprint
        assert live.current.llm != taken.llm
        derived = taken.override({"llm.model": "fast"})  # an execution keeps what it took, its key too
        assert derived.llm.api_key is not None
        assert derived.llm.api_key.reveal() == "sk-first-key"


def test_a_secret_is_never_taken_by_halves(sandbox: Sandbox) -> None:
    """While the key's file is being written, and while it is gone for a moment, the old key stays."""
    key = sandbox.home / ".stigmer" / "key"
    sandbox.write(user=CLOUD)
    save(key, "sk-first-key\n")
    with living(sandbox) as live:
        with key.open("r+b", buffering=0) as half:
            half.write(b"sk-half")
            assert isinstance(live.reload(), Unchanged)
            half.write(b"-whole-key\n")
        assert reveals(live, "sk-half-whole-key")
        begin = time.monotonic()
        key.unlink()
        assert rejected(live)
        assert time.monotonic() - begin >= settled.GRACE
        assert reveals(live, "sk-half-whole-key")
        save(key, "sk-new-key\n")
        assert reveals(live, "sk-new-key")
        assert live.status.last_error is None


def test_a_secret_may_be_mounted_as_kubernetes_does(sandbox: Sandbox) -> None:
    """A Secret's `..data` link that is swapped rotates the key; so does one that appears later."""
    mount = sandbox.root / "mount"
    mount.mkdir(mode=0o700)
    sandbox.write(user=CLOUD.replace("key}", f"{mount}/key}}"))
    for version in ("1", "2"):
        (mount / f"..{version}").mkdir()
        (mount / f"..{version}" / "key").write_text(f"sk-version-{version}")
    (mount / "..data").symlink_to("..1")
    (mount / "key").symlink_to("..data/key")
    with living(sandbox) as live:
        assert reveals(live, "sk-version-1")
        (mount / "..data_tmp").symlink_to("..2")
        (mount / "..data_tmp").replace(mount / "..data")
        assert reveals(live, "sk-version-2")


def test_a_provider_that_is_not_in_force_may_have_its_key_in_a_file(sandbox: Sandbox) -> None:
    """A reference that nothing reads disturbs nothing, logs included; an override reads it as it is by then."""
    key = sandbox.home / ".stigmer" / "key"
    sandbox.write(user="mode: local\nproviders:\n  anthropic:\n    api_key: {file: key}\n")
    save(key, "sk-first-key\n")
    with logged() as events, living(sandbox) as live:
        assert [event["event"] for event in events] == ["config.loaded"]
        override = {"llm.provider": "anthropic"}
        taken = live.current
        assert taken.override(override).llm.api_key.reveal() == "sk-first-key"  # type: ignore[union-attr]
        save(key, "sk-second-key\n")
        assert until(lambda: live.current is not taken)
        assert live.current.override(override).llm.api_key.reveal() == "sk-second-key"  # type: ignore[union-attr]
        assert live.current.generation == 1


def test_a_command_runs_at_the_start_and_when_its_reference_changes(sandbox: Sandbox) -> None:
    """Reloads for other reasons run nothing; a changed reference runs the new one."""
    count = sandbox.root / "count"
    script = sandbox.root / "secret.sh"
    script.write_text(f"#!/bin/sh\necho run >> {count}\necho sk-from-$1\n")
    script.chmod(0o700)
    text = f"mode: cloud\nproviders: {{anthropic: {{api_key: {{command: [{script}, one]}}}}}}\n"
    sandbox.write(user=text)
    with living(sandbox) as live:
        assert reveals(live, "sk-from-one")
        save(sandbox.user_file, f"{text}llm: {{timeout: 1}}\n")
        takes(live, timeout=1.0)
        save(sandbox.user_file, "llm: [")
        assert rejected(live)
        save(sandbox.user_file, text)
        takes(live, timeout=None)
        live.reload()
        assert count.read_text() == "run\n"
        save(sandbox.user_file, text.replace("one", "two"))
        assert reveals(live, "sk-from-two")
        save(sandbox.user_file, text)
        assert reveals(live, "sk-from-one")
        assert count.read_text() == "run\n" * 3


def test_a_command_that_failed_gets_another_chance(sandbox: Sandbox) -> None:
    """`reload()` runs a failed command again: the user may have unlocked the store meanwhile."""
    script, store = sandbox.root / "secret.sh", sandbox.root / "store"
    script.write_text(f"#!/bin/sh\ncat {store}\n")
    script.chmod(0o700)
    with living(sandbox) as live:
        save(sandbox.user_file, f"mode: local\nbackend: {{api_key: {{command: [{script}]}}}}\n")
        assert rejected(live)
        store.write_text("sk-unlocked\n")
        assert isinstance(live.reload(), Reloaded)
        assert live.current.backend.api_key is not None
        assert live.current.backend.api_key.reveal() == "sk-unlocked"
