"""What a worker that follows the fleet's store recovers from by itself: a dead watch, tokens and certificates."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from stigmer_config.sources.etcd import follower as kept_fleet
from stigmer_config.sources.etcd.client import Etcd, EtcdError
from stigmer_config.sources.etcd.snapshot import Event
from tests.support.etcd_tools import DEADLINE, Certificates, Cluster, Link, fleet_at, needs_etcd, needs_openssl
from tests.support.live_tools import LOCAL, living, logged, save, takes, until
from tests.support.sandbox import Sandbox

pytestmark = needs_etcd


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything is read five times a second."""
    with monkeypatch.context() as patch:
        patch.setattr(kept_fleet, "PULSE", 0.2)
        yield


def test_a_worker_that_publishes_often_still_reads_the_store(sandbox: Sandbox, tmp_path: Path) -> None:
    """A worker whose own files change all the time also detects that its watch is dead."""
    with Cluster(tmp_path / "etcd") as cluster, cluster.keys("/p") as keys:
        link, ended = Link(cluster.members[0].client), threading.Event()

        def edit() -> None:
            number = 0
            while not ended.wait(0.03):
                number += 1
                save(sandbox.user_file, f"{LOCAL}llm: {{max_retries: {number % 9}}}\n")

        editor = threading.Thread(target=edit)
        try:
            keys.put("llm/timeout", "1")
            with living(sandbox, {"STIGMER_ETCD": f"http://127.0.0.1:{link.port}/p"}) as live:
                editor.start()
                assert until(lambda: live.current.generation > 5)
                link.cut()
                keys.put("llm/timeout", "2")
                link.mend()
                takes(live, timeout=2.0)
        finally:
            ended.set()
            editor.join()
            link.close()


needs_etcdctl = pytest.mark.skipif(shutil.which("etcdctl") is None, reason="there is no etcdctl (Debian: etcd-client)")


@contextlib.contextmanager
def cluster_with_users(folder: Path) -> Iterator[tuple[Cluster, dict[str, str]]]:
    """An etcd that gives signed tokens (`--auth-token jwt`), and what a worker's environment says about it."""
    for argv in ("genrsa -out key.pem 2048", "rsa -in key.pem -pubout -out public.pem"):
        subprocess.run(["openssl", *argv.split()], cwd=folder, check=True, capture_output=True)
    files = f"pub-key={folder}/public.pem,priv-key={folder}/key.pem"
    options = ["--auth-token", f"jwt,{files},sign-method=RS256,ttl=10m"]
    with Cluster(folder / "etcd", options=options, tls=Certificates(folder / "tls")) as cluster:
        for argv in ("user add root:root", "role add root", "user grant-role root root", "auth enable"):
            cluster.etcdctl(*argv.split())
        known = {"STIGMER_ETCD_USER": "root", "STIGMER_ETCD_PASSWORD": "root"}
        yield cluster, {**cluster.variables("/p", secure=True), **known}


@needs_etcdctl
@needs_openssl
def test_a_change_of_users_does_not_stop_a_workers_updates(sandbox: Sandbox, tmp_path: Path) -> None:
    """Signed tokens are refused after any change of users: another is asked for, silently."""
    with (
        cluster_with_users(tmp_path) as (cluster, variables),
        logged() as events,
        living(sandbox, variables) as live,
    ):
        for number in (1, 2, 3):
            cluster.etcdctl("--user", "root:root", "put", "/p/llm/timeout", str(number))
            takes(live, timeout=float(number))
            cluster.etcdctl("--user", "root:root", "user", "add", f"other-{number}:x")
        sweeps = live._follower._fleet
        assert sweeps is not None
        assert until(lambda: not sweeps.unannounced)
    assert [event for event in events if event["event"] == "config.watch_degraded"] == []


def test_a_change_that_the_sweep_sees_first_is_no_failure_of_the_store(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watch on a slow member gets a change after the sweep did: it is renewed, and no failure is reported."""
    interrupted = threading.Event()
    watch, interrupt, late = Etcd.watch, Etcd.interrupt, [1, 2, 3]

    def silent(etcd: Etcd, revision: int) -> Generator[tuple[Event, ...]]:
        if not late:
            yield from watch(etcd, revision)
        late.pop()
        yield ()
        assert interrupted.wait(DEADLINE)
        interrupted.clear()
        raise EtcdError("interrupted")

    def interrupting(etcd: Etcd) -> None:
        interrupted.set()
        interrupt(etcd)

    with Cluster(tmp_path / "etcd") as cluster, cluster.keys("/p") as keys, monkeypatch.context() as patch:
        patch.setattr(Etcd, "watch", silent)
        patch.setattr(Etcd, "interrupt", interrupting)
        with logged() as events, living(sandbox, cluster.variables("/p")) as live:
            number = 0
            while late:
                number += 1
                keys.put("llm/timeout", str(number))
                takes(live, timeout=float(number))
    assert [event for event in events if event["event"] == "config.watch_degraded"] == []


@needs_etcdctl
@needs_openssl
def test_a_watch_begins_with_a_token_that_ended_just_before(tmp_path: Path) -> None:
    """A watch is refused by an answer of status 200 that cancels it; a question is refused by its status."""
    with cluster_with_users(tmp_path) as (cluster, variables):
        etcd = Etcd(fleet_at(variables))
        seen = etcd.read()
        cluster.etcdctl("--user", "root:root", "user", "add", "other:x")
        with contextlib.closing(etcd.watch(seen.revision + 1)) as messages:
            assert next(messages) == ()
        etcd.close()


@needs_openssl
def test_certificates_that_are_being_replaced_do_not_disconnect(sandbox: Sandbox, tmp_path: Path) -> None:
    """A CA's file that cannot be used just now changes nothing: the one that was read is good still."""
    tls = Certificates(tmp_path / "tls")
    with Cluster(tmp_path / "etcd", tls=tls) as cluster, cluster.keys("/p") as keys:
        keys.put("llm/timeout", "1")
        with living(sandbox, cluster.variables("/p", secure=True)) as live:
            takes(live, timeout=1.0)
            tls.ca.write_text("half of it")
            cluster.members[0].kill()
            assert until(lambda: live.status.watching == "degraded")
            cluster.start(cluster.members[0])
            cluster.wait()
            keys.put("llm/timeout", "2")
            takes(live, timeout=2.0)
            assert until(lambda: live.status.watching == "native")
