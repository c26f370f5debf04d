"""A broken or hostile etcd causes a problem, not a crash: bounded time and memory, last good kept, no secret shown."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stigmer_config import Config, LiveConfig
from stigmer_config.sources.etcd import follower as kept_fleet
from stigmer_config.sources.etcd import transport as etcd_members
from stigmer_config.sources.etcd.client import Etcd, EtcdError
from stigmer_config.workers.fleet import listed
from tests.support.etcd_fake import (
    Answer,
    Fake,
    broken_off,
    coded,
    dripping,
    endless,
    endless_heads,
    flooding,
    found,
    gone,
    head,
    key_value,
    line,
    redirecting,
    refusing_without_end,
    said,
    silent,
    soon,
    squeezed,
    told,
    watching,
)
from tests.support.etcd_tools import Certificates, fleet_at, free_port, needs_openssl
from tests.support.live_tools import heard, living, logged, resources, until
from tests.support.sandbox import Sandbox

RANGE, WATCH = "/v3/kv/range", "/v3/watch"
MIB = 1024 * 1024
LOCAL = {"MODE": "local"}
HUGE = "9" * 30

# What a question may be answered with.
BROKEN: dict[str, Answer] = {
    "garbage": said(b"\x00\xff\x13garbage"),
    "not UTF-8": said(b'{"kvs":[{"key":"\xff\xfe"}]}'),
    "no HTTP": lambda _fake, end, _asked: end.sendall(b"220 mail.example ESMTP\r\n"),
    "a page": said("<html>not found</html>", "404 Not Found"),
    "a page with 200": said("<html>please log in</html>", "200 OK", "Content-Type: text/html"),
    "500": said("oh", "500 Internal Server Error"),
    "503, endless": refusing_without_end,
    "another's 401": said('{"code":16,"message":"etcdserver: invalid auth token"}', "401 Unauthorized"),
    "nothing": said(""),
    "null": said("null"),
    "a list": said("[]"),
    "empty keys": said('{"header":{},"kvs":[' + "{}," * 300_000 + "{}]}"),
    "deep": said('{"x":' + "[" * 500_000),
    "many keys": told(found(*(key_value(f"k{number}", "x") for number in range(5_000)))),
    "more keys than it tells": told(found(key_value("llm/timeout", "3"), more=True)),
    "a large value": told(found(key_value("llm/model", "x" * 2 * MIB))),
    "no base64": told(found({"key": coded("/stigmer/a"), "value": "?!", "mod_revision": "1"})),
    "no base64 at all": told(found({"key": "é", "value": "", "mod_revision": "1"})),
    "a revision out of range": told(found(key_value("llm/timeout", "3", HUGE))),
    "a revision without end": told(found(key_value("llm/timeout", "3", "9" * 5000))),
    "a negative revision": told(found(key_value("llm/timeout", "3"), revision="-5")),
    "a key's negative revision": told(found(key_value("llm/timeout", "3", "-5"))),
    "a revision that is none": told(found(revision={"a": 1})),
    "another prefix": told(found(key_value("llm/timeout", "3", prefix="/other"))),
    "a prefix of the same beginning": told(found(key_value("llm/timeout", "3", prefix="/stigmer2"))),
    "broken off": broken_off,
    "gone": gone,
    "endless": endless,
    "endless heads": endless_heads,
    "early hints for ever": soon,
    "more than it announced": lambda _fake, end, _asked: end.sendall(head(length=2) + b"{}" * 1000),
    "a length out of range": said("{}", "200 OK", f"Content-Length: {HUGE}"),
    "squeezed": said(squeezed(200 * MIB), "200 OK", "Content-Encoding: gzip"),
    "switching protocols": lambda _fake, end, _asked: end.sendall(head("101 Switching", "Upgrade: x")),
}
# What takes as long as it is let.
SLOW: dict[str, Answer] = {
    "silent": silent,
    "a head in drops": dripping(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1000),
    "a body in drops": dripping(head() + b'{"header":'),
    "a chunk's size in drops": dripping(head("200 OK", "Transfer-Encoding: chunked") + b"5;" + b"x" * 1000),
    "a refusal in drops": dripping(head("500 No") + b"{"),
}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same clocks, all of them faster."""
    monkeypatch.setattr(etcd_members, "ANSWER", 1.0)
    monkeypatch.setattr(kept_fleet, "PULSE", 0.4)
    monkeypatch.setattr(kept_fleet, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(kept_fleet, "LAST_PAUSE", 0.1)


@contextlib.contextmanager
def bounded(*, seconds: float, mib: float = 64.0) -> Iterator[None]:
    """The block takes no longer, and no more memory at any time."""
    tracemalloc.start()
    began = time.monotonic()
    try:
        yield
        took, (_, peak) = time.monotonic() - began, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert took < seconds
    assert peak < mib * MIB


def refused(sandbox: Sandbox, url: str, **variables: str) -> str:
    """The only problem of a load, that the store is unavailable, as text."""
    problems = sandbox.problems({**LOCAL, "STIGMER_ETCD": url, **variables})
    assert [(problem.severity, problem.code) for problem in problems] == [("error", "etcd-unavailable")]
    text = str(problems[0])
    assert len(text) < 1000
    assert not [char for char in text if char != "\n" and not char.isprintable()]
    return text


class TestLoad:
    """`load()` asks once."""

    @pytest.mark.parametrize("name", BROKEN)
    @pytest.mark.usefixtures("quick")
    def test_what_is_not_etcd_is_a_problem(self, sandbox: Sandbox, name: str) -> None:
        """One `etcd-unavailable`, soon, in little memory; never another exception."""
        with Fake() as fake:
            fake.answers[RANGE] = BROKEN[name]
            with bounded(seconds=5.0):
                refused(sandbox, fake.url)

    @pytest.mark.parametrize("name", SLOW)
    def test_what_takes_for_ever_is_given_up(
        self, sandbox: Sandbox, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However it is kept going: the whole answer has one deadline."""
        monkeypatch.setattr(etcd_members, "ANSWER", 0.3)
        with Fake() as fake:
            fake.answers[RANGE] = SLOW[name]
            with bounded(seconds=2.5):
                text = refused(sandbox, fake.url)
            assert "no answer in time" in text or "status 500" in text

    def test_the_deadline_is_short(self, sandbox: Sandbox) -> None:
        """With its own clocks it is under 6 s, for one silent member and for three that must be logged in to."""
        assert etcd_members.CONNECT < etcd_members.ANSWER
        with Fake() as one, Fake() as two, Fake() as three:
            for fake in (one, two, three):
                fake.answers[RANGE] = silent
            hosts = ",".join(f"127.0.0.1:{fake.port}" for fake in (one, two, three))
            began = time.monotonic()
            refused(sandbox, f"http://{hosts}/stigmer", STIGMER_ETCD_USER="me")
            assert time.monotonic() - began < 6.0
            assert all(len(fake.asked) >= 1 for fake in (one, two, three))

    def test_one_good_member_is_enough(self, sandbox: Sandbox) -> None:
        """Each member gets its share of the time: the good one among silent and broken ones answers."""
        with Fake() as one, Fake() as two, Fake({"llm/timeout": "3"}) as three:
            one.answers[RANGE], two.answers[RANGE] = silent, BROKEN["500"]
            hosts = ",".join(f"127.0.0.1:{fake.port}" for fake in (one, two, three))
            assert sandbox.load({**LOCAL, "STIGMER_ETCD": f"http://{hosts}/stigmer"}).llm.timeout == 3.0

    def test_no_server_is_there(self, sandbox: Sandbox) -> None:
        """A closed port, and an unknown host."""
        assert "Connection refused" in refused(sandbox, f"http://127.0.0.1:{free_port()}/stigmer")
        refused(sandbox, "http://no-such-host.invalid:2379/stigmer")

    def test_plain_http_where_tls_is_meant(self, sandbox: Sandbox) -> None:
        """And TLS where http is meant."""
        with Fake() as fake:
            assert "TLS failed" in refused(sandbox, fake.url.replace("http:", "https:"))

    @pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
    def test_no_redirect_is_followed(self, sandbox: Sandbox, status: str) -> None:
        """The request and the password are sent nowhere else."""
        with Fake() as other, Fake() as fake:
            fake.answers[RANGE] = redirecting(other.port, status)
            assert f"status {status[:3]}" in refused(sandbox, fake.url)
            assert other.asked == []

    def test_no_proxy_is_used(self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        """A proxy in the environment is for browsing."""
        with Fake() as proxy, Fake({"llm/timeout": "3"}) as fake:
            for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            assert sandbox.load({**LOCAL, "STIGMER_ETCD": fake.url}).llm.timeout == 3.0
            assert proxy.asked == []

    def test_what_it_says_is_printed_escaped(self, sandbox: Sandbox) -> None:
        """Neither a key's name nor an error of the server's obeys on a terminal."""
        with Fake({"llm/mo\x1b[2Jdel": "x", "a\u202eb": "x"}) as fake:
            done = sandbox.run("validate", variables={**LOCAL, "STIGMER_ETCD": fake.url})
            assert done.returncode == 1
            fake.answers[RANGE] = said('{"message":"etcdserver: \\u001b[2J\\u202e"}', "400 No")
            again = sandbox.run("validate", variables={**LOCAL, "STIGMER_ETCD": fake.url})
            assert "etcd-unavailable" in again.stderr
            shown = done.stdout + done.stderr + again.stdout + again.stderr
            assert not [char for char in shown if char != "\n" and not char.isprintable()]

    @pytest.mark.parametrize("name", ["garbage", "deep", "not UTF-8"])
    @pytest.mark.parametrize(
        "argv", [["set", "--fleet", "llm.timeout", "3"], ["workers", "--fleet"], ["show"], ["doctor"]], ids=" ".join
    )
    def test_no_command_ends_in_a_traceback(self, sandbox: Sandbox, name: str, argv: list[str]) -> None:
        """It prints the fault, and exits with 1."""
        with Fake() as fake:
            fake.answers[RANGE] = BROKEN[name]
            done = sandbox.run(*argv, variables={**LOCAL, "STIGMER_ETCD": fake.url})
            assert done.returncode == 1
            assert "Traceback" not in done.stderr
            assert "store" in done.stdout + done.stderr


def live_variables(fake: Fake, **variables: str) -> dict[str, str]:
    return {"STIGMER_ETCD": fake.url, **variables}


def takes_timeout(live: LiveConfig, seconds: float) -> Config:
    return live.wait_for(lambda c: c.llm.timeout == seconds, 10.0)


LIVE_BROKEN = (
    "garbage",
    "not UTF-8",
    "500",
    "empty keys",
    "many keys",
    "a revision out of range",
    "another prefix",
    "broken off",
    "gone",
    "endless",
    "silent",
    "a head in drops",
    "a chunk's size in drops",
)
# What a watch may come up with while everything else is good.
WATCHES: dict[str, Answer] = {
    "garbage": watching(b"\x00\xff garbage\n"),
    "not UTF-8": watching(b'{"result":{"cancel_reason":"\xff"}}\n'),
    "deep": watching(b'{"result":{"x":' + b"[" * 500_000 + b"\n"),
    "no base64": watching(line(events=[{"kv": {"key": "?", "value": "?", "mod_revision": "9"}}])),
    "a negative revision": watching(line(events=[{"kv": key_value("llm/timeout", "9", "-9")}])),
    "out of range": watching(line(events=[{"kv": key_value("llm/timeout", "9", HUGE)}])),
    "another key": watching(line(events=[{"kv": key_value("llm/timeout", "9", "9", prefix="/other")}])),
    "empty events": watching(line(events=[{}] * 10)),
    "very many events": watching(b'{"result":{"events":[' + b"{}," * 300_000 + b"{}]}}\n"),
    "an error": watching(b'{"error":{"grpc_code":14,"message":"no"}}\n'),
    "cancelled": watching(line(canceled=True, cancel_reason="no")),
    "compacted for ever": watching(line(canceled=True, compact_revision="4")),
    "over as soon as it began": watching(then=gone),
    "one endless line": watching(then=endless),
    "never begun": silent,
    "a refusal in drops": dripping(head("500 No") + b"{"),
    "a head in drops": dripping(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1000),
    "redirected": redirecting(9),
    "404": said("no", "404 Not Found"),
    "a flood of the past": flooding(lambda _: line(events=[{"kv": key_value("llm/timeout", "9", "3")}])),
}


class TestWorker:
    """A LiveConfig follows the store for weeks."""

    @pytest.mark.parametrize("name", LIVE_BROKEN)
    @pytest.mark.usefixtures("quick")
    def test_last_good_stays_until_the_store_is_back(
        self, sandbox: Sandbox, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Everything answers like this: the worker keeps its Config, says `degraded`, and takes the next good state."""
        with Fake({"llm/timeout": "1"}) as fake, logged() as events, living(sandbox, live_variables(fake)) as live:
            before = live.current
            monkeypatch.setattr(etcd_members, "ANSWER", 0.3)
            fake.turn(dict.fromkeys((RANGE, WATCH, "/v3/lease/grant"), {**BROKEN, **SLOW}[name]))
            assert until(lambda: live.status.watching == "degraded")
            assert live.current is before
            live.reload()
            assert live.current == before
            assert live.status.last_error is None
            monkeypatch.setattr(etcd_members, "ANSWER", 5.0)
            fake.put("llm/timeout", "2")
            fake.turn({})
            takes_timeout(live, 2.0)
            assert heard(events, "config.watch_restored")
            assert live.status.watching == "native"
            told_of = [event["event"] for event in events]
            assert told_of.count("config.watch_degraded") >= 1
            assert told_of.index("config.watch_degraded") < told_of.index("config.watch_restored")

    @pytest.mark.parametrize("name", WATCHES)
    @pytest.mark.usefixtures("quick")
    def test_a_bad_watch_delays_a_change_and_forges_none(self, sandbox: Sandbox, name: str) -> None:
        """While reading is good, each change is taken all the same; what the watch said is not, and costs little."""
        with Fake({"llm/timeout": "1"}) as fake, living(sandbox, live_variables(fake)) as live:
            with bounded(seconds=8.0):
                fake.turn({WATCH: WATCHES[name]})
                for number in (2, 3):
                    fake.put("llm/timeout", str(number))
                    takes_timeout(live, float(number))
            assert len(fake.asked) < 400

    @pytest.mark.usefixtures("quick")
    def test_a_flood_of_changes_uses_bounded_memory(self, sandbox: Sandbox) -> None:
        """Endless changes of one key, then of ever new keys: memory is bounded, and the worker recovers."""
        told_of: list[int] = []

        def changes(number: int, key: str, text: str) -> bytes:
            told_of.append(number)
            fake.revision = max(fake.revision, number)  # the reads keep up with the flood
            return line(events=[{"kv": key_value(key, text, str(number))}])

        floods = (
            (1000, flooding(lambda n: changes(n, "llm/timeout", str(n)))),
            (20, flooding(lambda n: changes(n, f"aliases/a{n}", "x" * 60_000))),
        )
        with Fake({"llm/timeout": "1"}) as fake, living(sandbox, live_variables(fake)) as live:
            for many, flood in floods:
                told_of.clear()
                fake.cluster, fake.revision = fake.cluster + 1, 5
                with bounded(seconds=20.0):
                    fake.turn({WATCH: flood})
                    assert until(lambda many=many: len(told_of) > many)  # type: ignore[misc]
            fake.cluster += 1
            fake.put("llm/timeout", "0.5")
            fake.turn({})
            takes_timeout(live, 0.5)

    @pytest.mark.usefixtures("quick")
    def test_it_never_goes_backwards(self, sandbox: Sandbox) -> None:
        """A store at an older revision is ignored and reported; one that has caught up is used."""
        with Fake({"llm/timeout": "1"}) as fake, logged() as events, living(sandbox, live_variables(fake)) as live:
            fake.put("llm/timeout", "2", revision=50)
            takes_timeout(live, 2.0)
            fake.put("llm/timeout", "1", revision=20)
            fake.turn({})
            assert heard(events, "config.watch_degraded")
            assert live.status.watching == "degraded"
            live.reload()
            assert live.current.llm.timeout == 2.0
            degraded = [event for event in events if event["event"] == "config.watch_degraded"]
            assert "at revision 20, and 50 was seen" in degraded[0]["detail"]
            fake.put("llm/timeout", "3", revision=51)
            takes_timeout(live, 3.0)
            assert until(lambda: live.status.watching == "native")

    @pytest.mark.usefixtures("quick")
    def test_another_cluster_is_another_count(self, sandbox: Sandbox) -> None:
        """Behind the same address a new etcd begins at 1: its state is the newest there is."""
        with Fake({"llm/timeout": "1"}) as fake, living(sandbox, live_variables(fake)) as live:
            fake.cluster = 2
            fake.put("llm/timeout", "2", revision=1)
            fake.turn({})
            takes_timeout(live, 2.0)
            fake.put("llm/timeout", "3", revision=2)
            takes_timeout(live, 3.0)

    @pytest.mark.usefixtures("quick")
    def test_bad_values_are_rejected_whole(self, sandbox: Sandbox) -> None:
        """What does not validate is no news to the executions, and the next good state is taken."""
        with Fake({"llm/timeout": "1"}) as fake, logged() as events, living(sandbox, live_variables(fake)) as live:
            for bad in ("soon", "[", "-1", "&a 3", "x" * 70_000):
                fake.put("llm/timeout", bad)
                assert until(lambda: live.status.last_error is not None)
                assert live.current.llm.timeout == 1.0
                fake.put("llm/timeout", "1")
                assert until(lambda: live.status.last_error is None)
            assert live.current.generation == 1
            assert [event["event"] for event in events].count("config.reload_rejected") == 5

    @pytest.mark.parametrize("name", ["silent", "a head in drops", "endless", "gone"])
    def test_closing_is_quick_and_leaves_nothing(self, sandbox: Sandbox, name: str) -> None:
        """Whatever the store does, with the real clocks: `close()` returns, with no thread and no descriptor left."""
        with Fake({"llm/timeout": "1"}) as fake:
            with living(sandbox, live_variables(fake)):
                pass
            before = _own_threads()
            with living(sandbox, live_variables(fake)) as live:
                assert _watched(fake)
                fake.asked.clear()
                fake.turn(dict.fromkeys((RANGE, WATCH, "/v3/lease/grant"), {**BROKEN, **SLOW}[name]))
                assert until(lambda: any(asked.path == RANGE for asked in fake.asked))
                began = time.monotonic()
                live.close()
                assert time.monotonic() - began < 3.0
            assert _own_threads() == before

    def test_closing_does_not_wait_for_a_dead_link(self, sandbox: Sandbox) -> None:
        """Packets without an answer: connecting times out."""
        with Fake({"llm/timeout": "1"}) as fake, living(sandbox, live_variables(fake)) as live:
            assert _watched(fake)
            fake.__exit__()
            with _black_hole(fake.port):
                assert until(lambda: _connecting(fake.port) > 2)
                began = time.monotonic()
                live.close()
                assert time.monotonic() - began < 3.5

    def test_an_outage_of_hours_is_survived(self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        """After more failures in a row than a float has powers of two, the store is followed as before."""
        failures: list[int] = []

        def fail(_client: Etcd) -> None:
            failures.append(1)
            raise EtcdError("nobody is there")

        with Fake({"llm/timeout": "1"}) as fake, living(sandbox, live_variables(fake)) as live:
            assert _watched(fake)
            with monkeypatch.context() as hours:
                hours.setattr(kept_fleet, "LAST_PAUSE", 0.0)
                hours.setattr(Etcd, "read", fail)
                hours.setattr(Etcd, "renew", lambda _client: None)  # only for the time it takes
                fake.cut()
                assert until(lambda: len(failures) > 1100)
            fake.put("llm/timeout", "2")
            takes_timeout(live, 2.0)

    def test_no_thread_is_to_be_had(self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        """The start fails with that, and leaves nothing behind."""
        start = threading.Thread.start

        def refuse(thread: threading.Thread) -> None:
            if thread.name == "stigmer-config-etcd-pulse":
                raise RuntimeError("can't start new thread")
            start(thread)

        with Fake({"llm/timeout": "1"}) as fake:
            monkeypatch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError, match="can't start new thread"), living(sandbox, live_variables(fake)):
                pass
            assert _own_threads() == []

    def test_descriptors_do_not_pile_up(self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        """After many failures there are as many as before, and after the end none is left."""
        monkeypatch.setattr(kept_fleet, "LAST_PAUSE", 0.01)
        with Fake({"llm/timeout": "1"}) as fake, living(sandbox, live_variables(fake)):
            pass  # what stays for good once it was used
        _settled(fake)
        start = resources()
        with Fake({"llm/timeout": "1"}) as fake, living(sandbox, live_variables(fake)) as live:
            fake.turn({RANGE: gone, WATCH: gone})
            assert until(lambda: len(fake.asked) > 50)
            early = resources()
            assert until(lambda: len(fake.asked) > 200)
            assert resources()[1] <= early[1] + 5
            live.close()
        _settled(fake)
        assert until(lambda: all(now <= then for now, then in zip(resources(), start, strict=True)))


def _settled(fake: Fake) -> None:
    """Waits for the server's own threads."""
    assert until(lambda: not any(thread.name == fake.name for thread in threading.enumerate()))


def _watched(fake: Fake) -> bool:
    """Waits for the worker's watch."""
    return until(lambda: any(asked.path == WATCH for asked in list(fake.asked)))


def _own_threads() -> list[str]:
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("stigmer-"))


@contextlib.contextmanager
def _black_hole(port: int) -> Iterator[None]:
    """A port whose queue is full: a client gets no answer at all."""
    with contextlib.ExitStack() as ends:
        listener = ends.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(0)
        for _ in range(3):  # the queue holds one
            end = ends.enter_context(socket.socket())
            end.setblocking(False)
            end.connect_ex(("127.0.0.1", port))
        yield


def _connecting(port: int) -> int:
    """How many connections to a port of loopback wait for an answer (proc(5), /proc/net/tcp: state 02)."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2] == f"0100007F:{port:04X}" and row[3] == "02" for row in rows)


class TestFleetList:
    """`workers --fleet` reads what anybody with the right to write has put there."""

    def test_an_endless_list_ends(self) -> None:
        """`more: true` for ever, with the same page or with new ones, is no list."""
        for page in (lambda: "same", iter(map(str, range(10**9))).__next__):
            with Fake() as fake:
                fake.answers[RANGE] = lambda f, end, asked, page=page: told(  # type: ignore[misc]
                    found(key_value(f"workers/{page()}", "{}", prefix="/stigmer."), more=True)
                )(f, end, asked)
                client = Etcd(fleet_at({"STIGMER_ETCD": fake.url}))
                with bounded(seconds=5.0), pytest.raises(EtcdError, match="does not end"):
                    client.announced()
                client.close()

    def test_what_is_no_worker_is_passed_over(self) -> None:
        """Garbage, other versions and times without a zone are skipped."""
        good = {
            "host": "h",
            "pid": 1,
            "started": "2026-06-01T00:00:00Z",
            "mode": "local",
            "generation": 1,
            "fingerprint": "f",
            "model": "m",
            "store": "s",
            "restart_required": [],
            "rejected": [],
        }
        rows: list[bytes] = [
            b"",
            b"\xff",
            b'{"host":"\xff"}',
            b"[" * 100_000,
            b"{}",
            json.dumps({**good, "started": "2026-06-01T00:00:00"}).encode(),
            json.dumps({**good, "pid": "1"}).encode(),
            json.dumps(good).encode(),
        ]
        with Fake() as fake:
            pages: list[dict[str, Any]] = [
                found(key_value("llm/timeout", "3")),
                found(*(key_value(f"workers/{n}", row, prefix="/stigmer.") for n, row in enumerate(rows))),
            ]
            fake.answers[RANGE] = lambda f, end, asked: told(pages.pop(0))(f, end, asked)  # noqa: PLW0108 - each a page
            _, workers = listed(fleet_at({"STIGMER_ETCD": fake.url}))
            assert [(worker.host, worker.pid) for worker in workers] == [("h", 1)]


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A CA and a certificate of loopback."""
    return Certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def context(tls: Certificates) -> ssl.SSLContext:
    """A server's side of them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.certificate, tls.key)
    return context


@needs_openssl
class TestPassword:
    """`STIGMER_ETCD_PASSWORD` goes to the store that was named, over TLS, and nowhere else."""

    CANARY = "pass-canary-77ab"

    def variables(self, fake: Fake, tls: Certificates, **more: str) -> dict[str, str]:
        user = {"STIGMER_ETCD_USER": "worker", "STIGMER_ETCD_PASSWORD": self.CANARY}
        return {"MODE": "local", "STIGMER_ETCD": fake.url, "STIGMER_ETCD_CACERT": str(tls.ca), **user, **more}

    @pytest.mark.usefixtures("quick")
    def test_whatever_the_store_does_the_password_is_not_shown(
        self, sandbox: Sandbox, tls: Certificates, context: ssl.SSLContext
    ) -> None:
        """A server that has it and gives it back, in every way: in no message, log, state file or repr."""
        echo = f'{{"code":16,"message":"etcdserver: no {self.CANARY}","token":"{self.CANARY}é"}}'
        answers = (
            {"/v3/auth/authenticate": said(echo, "400 No")},
            {"/v3/auth/authenticate": said(echo)},
            {RANGE: said(echo, "401 No")},
            {RANGE: said(self.CANARY)},
            {"/v3/auth/authenticate": told({"token": "a\r\nb"})},
        )
        with Fake({"llm/timeout": "1"}, context) as fake, logged() as events:
            seen: list[str] = []
            for answer in answers:
                fake.answers = dict(answer)
                problems = sandbox.problems(self.variables(fake, tls))
                assert [problem.code for problem in problems] == ["etcd-unavailable"]
                seen += [*map(str, problems), *map(repr, problems)]
            fake.answers = {}
            with living(sandbox, self.variables(fake, tls, XDG_RUNTIME_DIR=str(sandbox.root / "run"))) as live:
                state_files = [path.read_text() for path in (sandbox.root / "run").rglob("*.json")]
                assert state_files
                for answer in answers:
                    fake.turn({**answer, WATCH: gone})
                    assert until(lambda: live.status.watching == "degraded")
                    seen.append(repr(live.status))
                    fake.turn({})
                    assert until(lambda: live.status.watching == "native")
            seen += [*state_files, repr(events), repr(fleet_at(self.variables(fake, tls)))]
            assert not [text for text in seen if self.CANARY in text]
            assert any(self.CANARY in str(asked.body) for asked in fake.asked)

    def test_a_redirect_takes_it_nowhere(self, sandbox: Sandbox, tls: Certificates, context: ssl.SSLContext) -> None:
        """Neither the login nor a request with its token is sent on."""
        with Fake() as other, Fake({"llm/timeout": "1"}, context) as fake:
            for path in ("/v3/auth/authenticate", RANGE):
                fake.answers = {path: redirecting(other.port)}
                assert "status 307" in str(sandbox.problems(self.variables(fake, tls))[0])
            assert other.asked == []

    def test_over_http_it_is_not_sent(self, sandbox: Sandbox, tls: Certificates) -> None:
        """A warning says so, and the store is read without it."""
        with Fake({"llm/timeout": "3"}) as fake:
            config = sandbox.load(self.variables(fake, tls))
            assert [warning.code for warning in config.warnings] == ["insecure-endpoint"]
            assert config.llm.timeout == 3.0
            assert not [asked for asked in fake.asked if self.CANARY in str(asked) or "auth" in asked.path]

    def test_it_is_not_sent_to_a_wrong_certificate(
        self, sandbox: Sandbox, tls: Certificates, context: ssl.SSLContext, tmp_path: Path
    ) -> None:
        """Another CA, another host's name: nothing is sent to them."""
        others = Certificates(tmp_path / "others")
        with Fake({}, context) as fake, Fake({}, context, "127.0.0.2") as elsewhere:
            variables = self.variables(fake, tls, STIGMER_ETCD_CACERT=str(others.ca))
            for problems in (sandbox.problems(variables), sandbox.problems(self.variables(elsewhere, tls))):
                assert "its certificate is not trusted" in str(problems[0])
            assert fake.asked == elsewhere.asked == []


def test_what_a_command_says_of_the_password(sandbox: Sandbox) -> None:
    """Nothing: no command prints it, whatever the store answers."""
    variables = {"MODE": "local", "STIGMER_ETCD_USER": "me", "STIGMER_ETCD_PASSWORD": TestPassword.CANARY}
    with Fake({"llm/timeout": "x"}) as fake:
        for argv in (["show", "--all"], ["validate"], ["path"], ["doctor"], ["workers", "--fleet"]):
            done = sandbox.run(*argv, variables={**variables, "STIGMER_ETCD": fake.url})
            assert TestPassword.CANARY not in done.stdout + done.stderr
