"""A worker that follows the fleet's store, with a real etcd: changes, faults, outages, members that hang."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stigmer_config import ConfigError, LiveConfig, Reloaded, Unchanged, load
from stigmer_config.sources.etcd import follower as kept_fleet
from stigmer_config.sources.etcd import transport as etcd_members
from stigmer_config.sources.etcd.client import Etcd, EtcdError
from stigmer_config.sources.etcd.snapshot import Event, Stored
from stigmer_config.workers.fleet import LENGTH, MOST, FleetWorker, listed
from tests.support.etcd_tools import Certificates, Cluster, Keys, Link, Member, needs_etcd, needs_openssl
from tests.support.live_tools import DEADLINE, heard, living, logged, rejected, resources, save, takes, until, world
from tests.support.sandbox import Sandbox

pytestmark = needs_etcd


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One member, for tests that do it no harm; each has a prefix of its own."""
    with Cluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One member behind TLS, too."""
    folder = tmp_path_factory.mktemp("etcd-tls")
    with Cluster(folder, tls=Certificates(folder / "tls")) as cluster:
        yield cluster


@pytest.fixture
def prefix(sandbox: Sandbox) -> str:
    return f"/{sandbox.root.name}"


@pytest.fixture
def keys(one: Cluster, prefix: str) -> Iterator[Keys]:
    with one.keys(prefix) as keys:
        yield keys


# -- what a worker does with the store ---------------------------------------------------------------------------------


def test_a_change_is_taken_with_its_place(sandbox: Sandbox, one: Cluster, keys: Keys, prefix: str) -> None:
    """What is written there is in force, says where it comes from, and goes with its key."""
    first = keys.put("llm/timeout", "7")
    with living(sandbox, one.variables(prefix)) as live:
        assert live.current.llm.timeout == 7.0
        assert str(live.current.explain("llm.timeout").origin) == f"etcd:{prefix}/llm/timeout@{first}"
        second = keys.put("llm/timeout", "8")
        new = takes(live, timeout=8.0)
        assert str(new.explain("llm.timeout").origin) == f"etcd:{prefix}/llm/timeout@{second}"
        assert new == load(environment=world(sandbox, one.variables(prefix)))
        keys.put("llm/timeout", None)
        takes(live, timeout=None)


def test_one_transaction_is_one_change(sandbox: Sandbox, one: Cluster, keys: Keys, prefix: str) -> None:
    """Keys that are written together are seen together: no execution gets one without the other."""
    seen: list[tuple[Any, Any]] = []
    with living(sandbox, one.variables(prefix)) as live:
        live.subscribe(lambda new, _: seen.append((new.llm.timeout, new.llm.max_retries)), "llm")
        for number in range(1, 6):
            lines = f"put {prefix}/llm/timeout {number}\nput {prefix}/llm/max_retries {number}\n"
            subprocess.run(
                ["etcdctl", "--endpoints", one.members[0].url, "txn"],
                input=f"\n{lines}\n\n",
                text=True,
                check=True,
                capture_output=True,
                env={"ETCDCTL_API": "3", "PATH": os.environ["PATH"]},
            )
            takes(live, timeout=float(number))
        assert until(lambda: seen and seen[-1] == (5.0, 5))
    assert all(timeout == retries for timeout, retries in seen)


def test_a_bad_value_never_replaces_a_good_one(sandbox: Sandbox, one: Cluster, keys: Keys, prefix: str) -> None:
    """It is rejected with its place, the last good stays, and a worker that starts then does not start."""
    keys.put("llm/timeout", "7")
    with logged() as events, living(sandbox, one.variables(prefix)) as live:
        revision = keys.put("llm/timeout", "soon")
        assert rejected(live)
        assert live.status.last_error is not None
        problem = live.status.last_error.problems[0]
        assert (problem.code, str(problem.origin)) == ("wrong-type", f"etcd:{prefix}/llm/timeout@{revision}")
        assert live.current.llm.timeout == 7.0
        with pytest.raises(ConfigError, match="wrong-type"):
            load(environment=world(sandbox, one.variables(prefix)))
        keys.put("llm/timeout", "9")
        takes(live, timeout=9.0)
        assert until(lambda: live.status.last_error is None)
    assert [event["event"] for event in events].count("config.reload_rejected") == 1


def test_reload_asks_the_store(
    sandbox: Sandbox, one: Cluster, keys: Keys, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`reload()` uses the current content, whatever a watch reported."""
    monkeypatch.setattr(kept_fleet.FleetFollower, "_watch", lambda _, etcd: etcd.close())
    with living(sandbox, one.variables(prefix)) as live:
        keys.put("llm/timeout", "3")
        live.reload()
        assert takes(live, timeout=3.0)


def test_a_file_and_the_store_make_one_configuration(sandbox: Sandbox, one: Cluster, keys: Keys, prefix: str) -> None:
    """The user's file beats the store, and what it does not say any more comes from there again."""
    keys.put("llm/timeout", "3")
    sandbox.write(user="mode: local\nllm: {timeout: 5}\n")
    with living(sandbox, one.variables(prefix)) as live:
        assert live.current.llm.timeout == 5.0
        sandbox.write(user="mode: local\n")
        takes(live, timeout=3.0)


def test_nothing_is_loaded_for_what_others_write(
    sandbox: Sandbox, one: Cluster, keys: Keys, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys beside the prefix, and the same value again, change no generation; the longer prefix is another one."""
    keys.put("llm/timeout", "3")
    with living(sandbox, one.variables(prefix)) as live, one.keys(f"{prefix}2") as others:
        generation = live.current.generation
        others.put("llm/timeout", "8")
        keys.put("llm/timeout", "3")
        keys.put("llm/max_retries", "2")
        takes(live, max_retries=2)
        assert (live.current.generation, live.current.llm.timeout) == (generation + 1, 3.0)


# -- outages -----------------------------------------------------------------------------------------------------------


def test_an_outage_costs_nothing_and_ends_by_itself(sandbox: Sandbox, tmp_path: Path) -> None:
    """While the store is away the last good stays, visibly; what was written meanwhile is taken when it is back."""
    with Cluster(tmp_path / "etcd") as cluster, cluster.keys("/p") as keys:
        member = cluster.members[0]
        keys.put("llm/timeout", "1")
        with logged() as events, living(sandbox, cluster.variables("/p")) as live:
            for number in (2, 3):
                member.kill()
                assert until(lambda: live.status.watching == "degraded")
                assert isinstance(live.reload(), Unchanged)
                assert live.current.llm.timeout == float(number - 1)
                cluster.start(member)
                keys.put("llm/timeout", str(number))
                takes(live, timeout=float(number))
                assert heard(events, "config.watch_restored", number - 1)
                assert live.status.watching == "native"
        names = [event["event"] for event in events if event["event"].startswith("config.watch")]
        assert names == ["config.watch_degraded", "config.watch_restored"] * 2
        assert live.status.last_error is None


def test_everything_is_read_again_after_a_compaction(sandbox: Sandbox, tmp_path: Path) -> None:
    """A watch cannot continue from a compacted revision: everything is read, and nothing is lost."""
    with Cluster(tmp_path / "etcd") as cluster, cluster.keys("/p") as keys:
        link = Link(cluster.members[0].client)
        try:
            keys.put("llm/timeout", "1")
            keys.put("llm/max_retries", "1")
            with living(sandbox, {"STIGMER_ETCD": f"http://127.0.0.1:{link.port}/p"}) as live:
                link.close()
                keys.put("llm/max_retries", None)
                for number in range(2, 30):
                    revision = keys.put("llm/timeout", str(number))
                cluster.etcdctl("compact", str(revision))
                link = Link(cluster.members[0].client, link.port)
                takes(live, timeout=29.0, max_retries=None)
        finally:
            link.close()


def test_a_watch_that_hears_nothing_is_made_up_for(
    sandbox: Sandbox, one: Cluster, keys: Keys, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watch that died silently loses nothing: everything is read regularly, and the watch is replaced."""
    monkeypatch.setattr(kept_fleet, "PULSE", 0.2)
    link = Link(one.members[0].client)
    hosts = f"127.0.0.1:{link.port},127.0.0.1:{one.members[0].client}"
    try:
        with living(sandbox, {"STIGMER_ETCD": f"http://{hosts}{prefix}"}) as live:
            keys.put("llm/timeout", "1")
            takes(live, timeout=1.0)
            link.cut()
            for number in (2, 3, 4):
                keys.put("llm/timeout", str(number))
                takes(live, timeout=float(number))
    finally:
        link.close()


def test_members_that_hang_are_passed_over(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With three members each may hang or die in its turn: changes keep coming."""
    monkeypatch.setattr(kept_fleet, "PULSE", 0.3)
    monkeypatch.setattr(etcd_members, "ANSWER", 1.0)
    with (
        Cluster(tmp_path / "etcd", 3) as cluster,
        cluster.keys("/p") as keys,
        living(sandbox, cluster.variables("/p")) as live,
    ):
        number = 0
        for member in cluster.members:
            for harm, mend in ((Member.hang, Member.wake), (Member.kill, cluster.start)):
                harm(member)
                number += 1
                keys.put("llm/timeout", str(number))
                takes(live, timeout=float(number))
                mend(member)


def test_without_a_majority_the_last_good_stays(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member that is cut off from the others still answers: what it says is not taken for the newest."""
    monkeypatch.setattr(kept_fleet, "PULSE", 0.3)
    monkeypatch.setattr(etcd_members, "ANSWER", 1.0)
    with Cluster(tmp_path / "etcd", 3) as cluster, cluster.keys("/p") as keys:
        keys.put("llm/timeout", "1")
        with living(sandbox, cluster.variables("/p")) as live:
            for member in cluster.members[1:]:
                member.kill()
            assert until(lambda: live.status.watching == "degraded")
            assert live.current.llm.timeout == 1.0
            for member in cluster.members[1:]:
                cluster.start(member)
            keys.put("llm/timeout", "2")
            takes(live, timeout=2.0)
            assert until(lambda: live.status.watching == "native")


def test_a_store_from_a_backup_is_not_taken_for_the_newest(
    sandbox: Sandbox, one: Cluster, keys: Keys, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer older than the newest one is ignored and reported; another cluster's revisions are independent."""
    keys.put("llm/timeout", "1")
    read, watch, stands = Etcd.read, Etcd.watch, threading.Event()

    def watched(self: Etcd, revision: int) -> Iterator[tuple[Event, ...]]:
        for events in watch(self, revision):
            stands.set()
            yield events

    monkeypatch.setattr(Etcd, "watch", watched)
    with living(sandbox, one.variables(prefix)) as live:
        assert stands.wait(DEADLINE)  # no thread reads from now on, except the sweep ten seconds later
        real = keys.etcd.read()
        old = Stored(real.cluster, 1, {})
        monkeypatch.setattr(Etcd, "read", lambda _: old)
        live.reload()
        assert live.current.llm.timeout == 1.0
        monkeypatch.setattr(Etcd, "read", lambda _: Stored(real.cluster + 1, 1, {}))
        assert isinstance(live.reload(), Reloaded)
        assert live.current.llm.timeout is None
        monkeypatch.setattr(Etcd, "read", read)


def test_a_start_without_the_store_says_why(sandbox: Sandbox, one: Cluster, prefix: str) -> None:
    """A worker does not start on half of its configuration."""
    sandbox.write(user="mode: local\n")
    with pytest.raises(ConfigError) as raised:
        LiveConfig.start(environment=world(sandbox, {"STIGMER_ETCD": f"http://127.0.0.1:1{prefix}"}))
    assert [problem.code for problem in raised.value.problems] == ["etcd-unavailable"]


# -- its end, and forks ------------------------------------------------------------------------------------------------


def test_nothing_stays_behind(sandbox: Sandbox, one: Cluster, prefix: str) -> None:
    """Fifty lives leave no thread and no descriptor."""
    with living(sandbox, one.variables(prefix)):
        pass
    before = resources()
    for _ in range(50):
        with living(sandbox, one.variables(prefix)):
            pass
    assert until(lambda: resources() == before)


def test_a_forked_child_leaves_its_parents_connections_alone(
    sandbox: Sandbox, one: Cluster, keys: Keys, prefix: str
) -> None:
    """The child follows by connections of its own after `restart()`; the parent's watch goes on."""
    with living(sandbox, one.variables(prefix)) as live:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                live.restart()
                keys.etcd.renew()
                keys.put("llm/timeout", "1")
                takes(live, timeout=1.0)
                live.close()
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        takes(live, timeout=1.0)
        keys.put("llm/timeout", "2")
        takes(live, timeout=2.0)


# -- who may enter, and by what ----------------------------------------------------------------------------------------


@needs_openssl
def test_over_verified_tls_the_store_is_trusted(sandbox: Sandbox, secure: Cluster, prefix: str) -> None:
    """Behind a certificate that fits it may set an endpoint; behind one that does not it says nothing at all."""
    sandbox.write(user="mode: local\n")
    with secure.keys(prefix) as keys:
        keys.put("llm/base_url", "http://10.0.0.1:11434")
        variables = secure.variables(prefix, secure=True)
        assert sandbox.load(variables).llm.base_url == "http://10.0.0.1:11434"
        with living(sandbox, variables) as live:
            keys.put("llm/base_url", "http://10.0.0.2:11434")
            live.wait_for(lambda c: c.llm.base_url == "http://10.0.0.2:11434", DEADLINE)
        assert [problem.code for problem in sandbox.problems(secure.variables(prefix))] == ["untrusted-key"]
        del variables["STIGMER_ETCD_CACERT"]
        found = sandbox.problems(variables)
        assert [problem.code for problem in found] == ["etcd-unavailable"]
        assert "certificate is not trusted" in found[0].message


@needs_openssl
def test_a_client_certificate_is_presented_on_request(sandbox: Sandbox, tmp_path: Path) -> None:
    """A store that requires a client certificate accepts this machine's."""
    tls = Certificates(tmp_path / "tls")
    asking = ["--client-cert-auth", "--trusted-ca-file", str(tls.ca)]
    with Cluster(tmp_path / "etcd", options=asking, tls=tls) as cluster:
        cluster.etcdctl("put", "/p/llm/timeout", "4")
        sandbox.write(user="mode: local\n")
        variables = cluster.variables("/p", secure=True)
        assert [problem.code for problem in sandbox.problems(variables)] == ["etcd-unavailable"]
        variables |= {"STIGMER_ETCD_CERT": str(tls.certificate), "STIGMER_ETCD_KEY": str(tls.key)}
        assert sandbox.load(variables).llm.timeout == 4.0


@needs_openssl
def test_a_password_is_sent_over_tls(sandbox: Sandbox, tmp_path: Path) -> None:
    """A store that asks for one gets it; a wrong one is a problem that does not show it."""
    tls = Certificates(tmp_path / "tls")
    with Cluster(tmp_path / "etcd", tls=tls) as cluster:
        etcdctl = cluster.etcdctl
        etcdctl("put", "/p/llm/timeout", "4")
        for argv in ("user add root:open-sesame-17", "role add root", "user grant-role root root", "auth enable"):
            etcdctl(*argv.split())
        sandbox.write(user="mode: local\n")
        variables = {
            **cluster.variables("/p", secure=True),
            "STIGMER_ETCD_USER": "root",
            "STIGMER_ETCD_PASSWORD": "open-sesame-17",
        }
        assert sandbox.load(variables).llm.timeout == 4.0
        with living(sandbox, variables) as live:
            etcdctl("--user", "root:open-sesame-17", "put", "/p/llm/timeout", "5")
            takes(live, timeout=5.0)
        answer = sandbox.run("validate", variables={**variables, "STIGMER_ETCD_PASSWORD": "wrong-sesame-18"})
        assert answer.returncode == 1
        assert "etcd-unavailable" in answer.stderr + answer.stdout
        assert "sesame" not in answer.stderr + answer.stdout


# -- set, unset, workers -----------------------------------------------------------------------------------------------


def test_a_key_is_set_when_it_is_good(sandbox: Sandbox, one: Cluster, keys: Keys, prefix: str) -> None:
    """`set --fleet` writes what a load would take, and nothing else; `unset --fleet` takes it out."""
    sandbox.write(user="mode: local\n").variables.update(one.variables(prefix))
    done = sandbox.run("set", "--fleet", "llm.model", "balanced")
    assert done.returncode == 0, done.stderr
    stored = keys.etcd.read()
    assert {name: value.data for name, value in stored.values.items()} == {"llm/model": b"balanced"}
    assert f"etcd:{prefix}/llm/model@{stored.values['llm/model'].revision}: llm.model = balanced" in done.stderr
    assert sandbox.run("get", "llm.model_name").stdout == "qwen2.5-coder:7b\n"
    for argv, status, code in (
        (("llm.temperature", "7"), 1, "out-of-range"),
        (("llm.model", "anthropic:claude-sonnet-4.5"), 3, "untrusted-key"),
        (("llm.base_url", "http://10.0.0.1"), 3, "untrusted-key"),
        (("providers.openai.api_key", "{command: [/bin/true]}"), 1, "secret-in-etcd"),
    ):
        refused = sandbox.run("set", "--fleet", *argv)
        assert (refused.returncode, code in refused.stderr) == (status, True), refused.stderr
        assert "nothing was written" in refused.stderr
    assert keys.etcd.read().values == stored.values
    assert sandbox.run("unset", "--fleet", "llm.model").returncode == 0
    assert keys.etcd.read().values == {}


@pytest.mark.parametrize(
    ("key", "left"),
    [
        ("llm.modle", {"llm/model": "fast", "aliases/a": "{ollama: phi4:14b, opnai: x}", "prod/llm/model": "fast"}),
        ("prod", {"llm/model": "fast", "llm/modle": "fast", "aliases/a": "{ollama: phi4:14b, opnai: x}"}),
        ("llm", {"aliases/a": "{ollama: phi4:14b, opnai: x}", "prod/llm/model": "fast"}),
        (
            "aliases.a.opnai",
            {"llm/model": "fast", "llm/modle": "fast", "aliases/a": "{ollama: phi4:14b}", "prod/llm/model": "fast"},
        ),
        ("aliases.a", {"llm/model": "fast", "llm/modle": "fast", "prod/llm/model": "fast"}),
    ],
)
def test_whatever_is_in_the_store_can_be_removed(
    sandbox: Sandbox, one: Cluster, keys: Keys, prefix: str, key: str, left: dict[str, str]
) -> None:
    """An unknown key, a section, and one entry of a mapping that a single key holds."""
    sandbox.write(user="mode: local\n").variables.update(one.variables(prefix))
    keys.put("llm/model", "fast")
    keys.put("llm/modle", "fast")
    keys.put("aliases/a", "{ollama: phi4:14b, opnai: x}")
    keys.put("prod/llm/model", "fast")
    done = sandbox.run("unset", "--fleet", key)
    assert (done.returncode, f"{key} is removed" in done.stderr) == (0, True), done.stderr
    assert {name: value.data.decode() for name, value in keys.etcd.read().values.items()} == left


def test_a_key_that_is_not_in_the_store_is_not_removed(sandbox: Sandbox, one: Cluster, keys: Keys, prefix: str) -> None:
    """A known key or section that is not set is fine; an unknown one that is nowhere is a typing error."""
    sandbox.write(user="mode: local\n").variables.update(one.variables(prefix))
    keys.put("llm/model", "fast")
    for key, status, words in (
        ("llm.timeout", 0, "llm.timeout is not set in"),
        ("sandbox", 0, "sandbox is not set in"),
        ("llm.modle", 2, "did you mean llm.model?"),
    ):
        done = sandbox.run("unset", "--fleet", key)
        assert (done.returncode, words in done.stderr) == (status, True), done.stderr
    assert list(keys.etcd.read().values) == ["llm/model"]


@pytest.mark.parametrize(
    ("key", "given", "stored"),
    [
        ("llm.temperature", "0.5", "0.5"),
        ("llm.timeout", "60", "60"),
        ("llm.max_tokens", "null", "null"),
        ("temporal.namespace", "123", '"123"'),
        ("temporal.namespace", "a: b # c", '"a: b # c"'),
        ("temporal.namespace", "北京", "北京"),
        ("aliases.mine", "fast", "fast"),
        ("aliases.gpt-4.1", "openai:gpt-4.1", "openai:gpt-4.1"),
        ("aliases.mine.ollama", "phi4:14b", "phi4:14b"),
        ("locked", "[llm.model, sandbox]", '["llm.model", "sandbox"]'),
        ("providers.openai.api_key", "{file: /run/secrets/openai}", "{file: /run/secrets/openai}"),
    ],
)
@needs_openssl
def test_a_value_reads_back_as_it_was_given(
    sandbox: Sandbox, secure: Cluster, prefix: str, key: str, given: str, stored: str
) -> None:
    """Whatever a key's type, what the store holds means what was typed."""
    sandbox.write(user="mode: local\n").variables.update(secure.variables(prefix, secure=True))
    done = sandbox.run("set", "--fleet", key, given)
    assert done.returncode == 0, done.stderr
    with secure.keys(prefix) as keys:
        assert [value.data.decode() for value in keys.etcd.read().values.values()] == [stored]
    assert sandbox.run("set", "--fleet", key, given).stderr.count("(unchanged)") == 1


def test_a_literal_secret_is_refused_before_it_is_sent(sandbox: Sandbox, one: Cluster, keys: Keys, prefix: str) -> None:
    """Not by argument, not from standard input: the store is no place for it."""
    sandbox.variables.update(one.variables(prefix))
    for argv, stdin in ((("sk-canary-secret",), ""), (("--stdin",), "sk-canary-secret")):
        refused = sandbox.run("set", "--fleet", "providers.openai.api_key", *argv, stdin=stdin)
        assert refused.returncode == 2
        assert "canary" not in refused.stderr + refused.stdout
    assert keys.etcd.read().values == {}


def test_a_slip_in_a_provider_s_name_is_no_new_alias(sandbox: Sandbox, one: Cluster, keys: Keys, prefix: str) -> None:
    """`aliases.fast.olama` is refused for the store as for a file: an alias with a dot in its name is never meant."""
    for scope in ("--fleet", "--user"):
        done = sandbox.run("set", scope, "aliases.fast.olama", "qwen3:8b", variables=one.variables(prefix))
        assert done.returncode == 2
        assert "did you mean ollama" in done.stderr
    assert not keys.etcd.read().values


@needs_openssl
def test_setting_no_secret_is_reported(sandbox: Sandbox, secure: Cluster, prefix: str) -> None:
    """That there is to be no key is no secret, and where there is none anyway it is overridden by nothing."""
    sandbox.write(user="mode: local\n")
    for scope in ("--fleet", "--user"):
        done = sandbox.run("set", scope, "llm.api_key", "null", variables=secure.variables(prefix, secure=True))
        assert done.returncode == 0
        assert "llm.api_key = none\n" in done.stderr
        assert "overridden" not in done.stderr


def test_writers_at_once_lose_nothing(sandbox: Sandbox, one: Cluster, keys: Keys, prefix: str) -> None:
    """Each judged what it wrote against what stood there: twelve writers, twelve values."""
    sandbox.write(user="mode: local\n").variables.update(one.variables(prefix))
    with living(sandbox, one.variables(prefix)) as live:
        threads = [
            threading.Thread(target=sandbox.run, args=("set", "--fleet", f"aliases.a{number}", "qwen3:8b"))
            for number in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(keys.etcd.read().values) == 12
        live.wait_for(lambda c: len([name for name in c.aliases if name[1:].isdigit()]) == 12, DEADLINE)


def test_a_write_that_was_judged_by_an_older_state_is_judged_again(
    sandbox: Sandbox, one: Cluster, keys: Keys, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compare and swap: what came in between counts, and may be the reason to refuse it."""
    from stigmer_config.editing import etcd as store
    from stigmer_config.editing.candidate import EditRejected
    from stigmer_config.loading.request import request

    keys.put("aliases/one", "qwen3:8b")
    target = store.store(request(environment=world(sandbox.write(user="mode: local\n"), one.variables(prefix))))
    compare_and_write, met = Etcd.write, list[Stored]()

    def late(self: Etcd, changes: Mapping[str, bytes | None], seen: Stored) -> int | None:
        if not met:
            met.append(seen)
            keys.put("aliases/one", "two")  # with `two: one` that is a cycle
        return compare_and_write(self, changes, seen)

    with monkeypatch.context() as patch:
        patch.setattr(Etcd, "write", late)
        with pytest.raises(EditRejected, match="alias-cycle"):
            store.put(target, {"aliases.two": b"one"})
    assert "aliases/two" not in keys.etcd.read().values


@needs_openssl
def test_a_write_that_relied_on_what_was_removed_meanwhile_is_judged_again(
    sandbox: Sandbox, secure: Cluster, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A removal in between counts as a change does, though it leaves no revision behind."""
    from stigmer_config.editing import etcd as store
    from stigmer_config.editing.candidate import EditRejected
    from stigmer_config.loading.request import request

    target = store.store(request(environment=world(sandbox, secure.variables(prefix, secure=True))))
    compare_and_write, met = Etcd.write, list[Stored]()
    with secure.keys(prefix) as keys:
        keys.put("llm/provider", "ollama")
        keys.put("llm/timeout", "3")

        def late(self: Etcd, changes: Mapping[str, bytes | None], seen: Stored) -> int | None:
            if not met:
                met.append(seen)
                keys.put("llm/provider", None)
            return compare_and_write(self, changes, seen)

        with monkeypatch.context() as patch:
            patch.setattr(Etcd, "write", late)
            with pytest.raises(EditRejected, match="at most 1 for anthropic"):
                store.put(target, {"llm.temperature": b"1.5"})
        assert met
        assert set(keys.etcd.read().values) == {"llm/timeout"}


def test_a_store_of_many_keys_can_be_edited(keys: Keys) -> None:
    """One transaction of etcd's compares so many keys only: more in the store are no reason not to write."""
    for number in range(140):
        keys.put(f"aliases/a{number}", "qwen3:8b")
    assert len(keys.etcd.read().values) == 140


@needs_openssl
@pytest.mark.parametrize("here", [{}, {"MODE": "local"}])
def test_what_is_set_is_judged_in_the_mode_that_the_store_chooses(
    sandbox: Sandbox, secure: Cluster, prefix: str, here: dict[str, str]
) -> None:
    """The mode of the operator's machine hides no fault that the fleet's would show."""
    fleet = secure.variables(prefix, secure=True)
    assert sandbox.run("set", "--fleet", "mode", "cloud", variables=fleet).returncode == 0
    done = sandbox.run("set", "--fleet", "llm.temperature", "1.5", variables={**fleet, **here})
    assert done.returncode == 1
    assert "out-of-range" in done.stderr
    with secure.keys(prefix) as keys:
        assert set(keys.etcd.read().values) == {"mode"}


@needs_openssl
def test_a_provider_is_declared_in_the_store(sandbox: Sandbox, secure: Cluster, prefix: str) -> None:
    """Its kind and address are one edit; a running worker takes it with an alias's entry for it, and loses it again."""
    fleet = secure.variables(prefix, secure=True)
    with living(sandbox, fleet) as live:
        assert sandbox.run("set", "--fleet", "providers.lab.kind", "openai", variables=fleet).returncode == 1
        both = ("providers.lab.kind=openai", "providers.lab.base_url=http://lab:8000/v1")
        for argv in (both, ("aliases.writer.lab", "m1"), ("llm.model=writer", "llm.provider=lab")):
            done = sandbox.run("set", "--fleet", *argv, variables=fleet)
            assert done.returncode == 0, done.stderr
        new = takes(live, provider="lab", model_id="m1", base_url="http://lab:8000/v1")
        assert str(new.explain("llm.base_url").origin).startswith(f"etcd:{prefix}/providers/lab/base_url@")
        assert sandbox.run("unset", "--fleet", "llm", variables=fleet).returncode == 0
        takes(live, provider="ollama")


def test_the_fleet_lists_what_each_worker_runs(sandbox: Sandbox, one: Cluster, keys: Keys, prefix: str) -> None:
    """`workers --fleet` lists each worker, and shows which rejected, lag or must restart; ended ones are gone."""
    variables = one.variables(prefix)
    sandbox.write(user="mode: local\n").variables.update(variables)

    def listed() -> tuple[int, list[dict[str, Any]]]:
        answers: list[subprocess.CompletedProcess[str]] = []

        def answered() -> str:  # on a starved machine the store may not answer in time
            answers.append(sandbox.run("workers", "--fleet", "--format", "json"))
            return answers[-1].stdout

        assert until(answered)
        return answers[-1].returncode, json.loads(answers[-1].stdout)["workers"]

    keys.put("llm/timeout", "1")
    with living(sandbox, variables) as first, living(sandbox, variables):
        assert until(lambda: len(listed()[1]) == 2)
        status, workers = listed()
        assert status == 0
        assert sandbox.run("workers", "--fleet", "--expect", "2").returncode == 0
        missing = sandbox.run("workers", "--fleet", "--expect", "3")
        assert (missing.returncode, "3 workers expected, 2 healthy and in step" in missing.stderr) == (4, True)
        assert {worker["pid"] for worker in workers} == {os.getpid()}
        assert all(worker["in_step"] and worker["model"] == first.current.llm.model_id for worker in workers)
        keys.put("llm/timeout", "later")
        assert until(lambda: all(worker["rejected"] for worker in listed()[1]))
        status, workers = listed()
        assert status == 4
        assert "wrong-type" in workers[0]["rejected"][0]
        keys.put("llm/timeout", "2")
        assert until(lambda: listed()[0] == 0)
        text = sandbox.run("workers", "--fleet")
        assert "2 of 2 workers run what the store holds" in text.stderr
        save(sandbox.user_file, "mode: local\ntemporal: {task_queue: other}\n")
        assert until(lambda: all(worker["restart_required"] for worker in listed()[1]))
        status, workers = listed()
        assert (status, [worker["in_step"] for worker in workers]) == (4, [False, False])
        assert sandbox.run("workers", "--fleet").stdout.count("no: restart for temporal.task_queue") == 2
    assert until(lambda: listed()[1] == [])
    for argv in ((), ("--expect", "1")):  # a rollout to no worker is not complete
        nobody = sandbox.run("workers", "--fleet", *argv)
        assert (nobody.returncode, nobody.stdout) == (4, "")
        assert "no worker of the fleet is running" in nobody.stderr


def test_a_fleet_that_rejects_is_listed_with_all_its_problems(keys: Keys) -> None:
    """Hundreds of workers with the largest possible states, in any script, do not make the list unreadable."""
    told = FleetWorker(
        host="h" * 64,
        pid=1,
        started=datetime.datetime.now(datetime.UTC),
        mode="local",
        generation=1,
        fingerprint="f" * 32,
        model="m" * 256,
        store="d" * 64,
        restart_required=(),
        rejected=("設" * LENGTH,) * MOST,
    )
    lease = keys.etcd.lease(60)
    for number in range(210):
        keys.etcd.announce(f"h:{number}", msgspec.json.encode(told), lease)
    assert len(listed(keys.fleet)[1]) == 210
    keys.etcd.revoke(lease)


def test_a_worker_that_died_is_gone_when_its_lease_is(sandbox: Sandbox, one: Cluster, keys: Keys, prefix: str) -> None:
    """Nobody has to clean up after a machine that lost its power."""
    program = (
        "import sys, time\n"
        "from stigmer_config import LiveConfig\n"
        "from stigmer_config.sources.etcd import follower\n"
        "follower.LEASE, follower.PULSE = 5, 0.5\n"
        "with LiveConfig.start(mode='local'):\n"
        "    print('up', flush=True)\n"
        "    time.sleep(600)\n"
    )
    folders = dict.fromkeys(("HOME", "XDG_RUNTIME_DIR"), str(sandbox.home))
    environment = {"PATH": os.environ["PATH"], **folders, **one.variables(prefix)}
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment,
        cwd=sandbox.project,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as worker:
        try:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"up\n"
            assert until(lambda: len(keys.etcd.announced()) == 1)
            # The lease is kept: it stays for longer than one of them.
            assert not until(lambda: not keys.etcd.announced(), timeout=7.0)
        finally:
            worker.kill()
    assert until(lambda: not keys.etcd.announced(), timeout=30.0)


def test_a_change_costs_a_worker_one_request(
    sandbox: Sandbox, one: Cluster, keys: Keys, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It publishes the newest state; it keeps its lease when it is due, however much changes meanwhile."""
    kept: list[int] = []
    keep = Etcd.keep

    def counted(etcd: Etcd, lease: int) -> bool:
        kept.append(lease)
        return keep(etcd, lease)

    monkeypatch.setattr(Etcd, "keep", counted)
    monkeypatch.setattr(kept_fleet, "SPREAD", 0.0)
    monkeypatch.setattr(kept_fleet, "PULSE", 3600.0)
    with living(sandbox, one.variables(prefix)) as live:
        for seconds in range(2, 6):
            keys.put("llm/timeout", str(seconds))
            takes(live, timeout=float(seconds))
            generation = live.current.generation
            assert until(lambda: [worker.generation for worker in listed(keys.fleet)[1]] == [generation])  # noqa: B023
    assert kept == []


def test_a_worker_whose_lease_has_ended_is_listed_again_with_its_next_change(
    sandbox: Sandbox, one: Cluster, keys: Keys, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store refuses a state under a lease that is gone: the worker takes another one at once."""
    leases: list[int] = []
    lease = Etcd.lease

    def remembered(etcd: Etcd, seconds: int) -> int:
        leases.append(lease(etcd, seconds))
        return leases[-1]

    monkeypatch.setattr(Etcd, "lease", remembered)
    monkeypatch.setattr(kept_fleet, "SPREAD", 0.0)
    monkeypatch.setattr(kept_fleet, "PULSE", 3600.0)
    with living(sandbox, one.variables(prefix)) as live:
        assert until(keys.etcd.announced)
        keys.etcd.revoke(leases[0])
        assert until(lambda: not keys.etcd.announced())
        keys.put("llm/timeout", "7")
        takes(live, timeout=7.0)
        assert until(lambda: [worker.generation for worker in listed(keys.fleet)[1]] == [live.current.generation])
    assert len(leases) == 2


@pytest.mark.skipif(shutil.which("etcdctl") is None, reason="there is no etcdctl here (Debian: etcd-client)")
@needs_openssl
def test_a_worker_that_may_only_read_works(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the right to write it is not listed, says so once, and follows the store all the same."""
    tls = Certificates(tmp_path / "tls")
    with Cluster(tmp_path / "etcd", tls=tls) as cluster:
        for argv in (
            "put /p/llm/timeout 4",
            "user add root:root",
            "role add root",
            "user grant-role root root",
            "user add reader:reader-sesame",
            "role add reader",
            "role grant-permission reader --prefix=true read /p/",
            "user grant-role reader reader",
            "auth enable",
        ):
            cluster.etcdctl(*argv.split())
        variables = {
            **cluster.variables("/p", secure=True),
            "STIGMER_ETCD_USER": "reader",
            "STIGMER_ETCD_PASSWORD": "reader-sesame",
        }
        monkeypatch.setattr(kept_fleet, "PULSE", 0.2)
        with logged() as events, living(sandbox, variables) as live:
            assert until(lambda: any(event["event"] == "config.fleet_unannounced" for event in events))
            cluster.etcdctl("--user", "root:root", "put", "/p/llm/timeout", "5")
            takes(live, timeout=5.0)
        told = [event["reason"] for event in events if event["event"] == "config.fleet_unannounced"]
        assert told == ["etcdserver: permission denied"]
        refused = sandbox.run("set", "--fleet", "llm.timeout", "6", variables=variables)
        assert refused.returncode == 1
        assert refused.stderr == (
            f"{variables['STIGMER_ETCD']}: the fleet's store refused it: etcdserver: permission denied; "
            "nothing was written\nhint: stigmer config doctor shows more about the store\n"
        )


def test_a_store_without_a_majority_refuses_writes(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`set --fleet` says that nothing was written, and the store agrees."""
    monkeypatch.setattr(etcd_members, "ANSWER", 1.0)
    with Cluster(tmp_path / "etcd", 3) as cluster:
        for member in cluster.members[1:]:
            member.kill()
        sandbox.write(user="mode: local\n").variables.update(cluster.variables("/p"))
        done = sandbox.run("set", "--fleet", "llm.timeout", "4")
        assert done.returncode == 1
        assert "nothing was written" in done.stderr
        for member in cluster.members[1:]:
            cluster.start(member)
        cluster.wait()
        with cluster.keys("/p") as keys:
            assert keys.etcd.read().values == {}


def test_an_answer_that_does_not_come_is_an_error_of_ours(one: Cluster) -> None:
    """Whatever a member does, there is one exception for it."""
    with one.keys("/p") as keys, pytest.raises(EtcdError):
        keys.etcd.call("/v3/nowhere", {}, Stored)
