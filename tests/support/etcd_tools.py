"""Real etcd members on loopback, for the tests of the fleet's store; and what a test does to them."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from stigmer_config.core.environment import Environment
from stigmer_config.sources.etcd.address import Fleet, fleet_of
from stigmer_config.sources.etcd.client import Etcd, EtcdError

DEADLINE = 30.0  # seconds for what should take milliseconds: only a failure waits for it

needs_etcd = pytest.mark.skipif(shutil.which("etcd") is None, reason="there is no etcd here (Debian: etcd-server)")
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl here")


def free_port() -> int:
    """A free port on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Certificates:
    """A CA of our own, and a certificate for loopback, which serves as a client's, too."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.ca, self.certificate, self.key = folder / "ca.pem", folder / "server.pem", folder / "server.key"
        new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        usage = ("-addext", "keyUsage=critical,keyCertSign")
        self._openssl(
            "req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", *usage, cwd=folder
        )
        self._openssl("req", *new, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=server", cwd=folder)
        (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-days", "30")
        self._openssl("x509", "-req", "-in", "server.csr", "-out", "server.pem", *signed, cwd=folder)

    @staticmethod
    def _openssl(*argv: str, cwd: Path) -> None:
        subprocess.run(["openssl", *argv], cwd=cwd, check=True, capture_output=True)


class Member:
    """One etcd process. It can be killed, stopped in its tracks, and started again on the same data."""

    def __init__(
        self, name: str, folder: Path, options: Sequence[str] = (), *, tls: Certificates | None = None
    ) -> None:
        self.name = name
        self.client, self.peer, self.secure = free_port(), free_port(), free_port()
        self._folder = folder
        self._options = list(options)
        self._tls = tls
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.client}"

    @property
    def https(self) -> str:
        return f"https://127.0.0.1:{self.secure}"

    def start(self, cluster: Mapping[str, str] | None = None) -> None:
        """Starts the process. `cluster`: name → peer's address, of all members, this one included."""
        peer = f"http://127.0.0.1:{self.peer}"
        listening = self.url
        command = ["etcd", "--name", self.name, "--data-dir", str(self._folder / self.name)]
        if self._tls is not None:
            listening += f",{self.https}"
            command += ["--cert-file", str(self._tls.certificate), "--key-file", str(self._tls.key)]
        members = ",".join(f"{name}={url}" for name, url in (cluster or {self.name: peer}).items())
        command += ["--listen-client-urls", listening, "--advertise-client-urls", listening]
        command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", members]
        command += ["--heartbeat-interval", "50", "--election-timeout", "500"]  # a test waits for elections
        with (self._folder / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen([*command, *self._options], stdout=log, stderr=log, cwd=self._folder)

    def kill(self) -> None:
        """As if the machine had lost its power."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def hang(self) -> None:
        """It takes connections, and says nothing any more: a member behind a dead link."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


class Cluster:
    """Members that know each other, running while it is entered."""

    def __init__(
        self, folder: Path, size: int = 1, options: Sequence[str] = (), *, tls: Certificates | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.members = [Member(f"m{number}", folder, options, tls=tls) for number in range(size)]
        self.tls = tls

    def __enter__(self) -> Self:
        for member in self.members:
            self.start(member)
        self.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member in self.members:
            member.kill()

    def start(self, member: Member) -> None:
        """Starts a member, or starts it again."""
        member.start({known.name: f"http://127.0.0.1:{known.peer}" for known in self.members})

    def variables(self, prefix: str, *, secure: bool = False) -> dict[str, str]:
        """What a worker's environment says about this store."""
        hosts = ",".join(f"127.0.0.1:{member.secure if secure else member.client}" for member in self.members)
        found = {"STIGMER_ETCD": f"{'https' if secure else 'http'}://{hosts}{prefix}"}
        if secure:
            assert self.tls is not None
            found["STIGMER_ETCD_CACERT"] = str(self.tls.ca)
        return found

    def wait(self) -> None:
        """Until the majority answers."""
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                with self.keys("/up") as keys:
                    keys.etcd.read()
                return
            except EtcdError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    @contextlib.contextmanager
    def keys(self, prefix: str) -> Iterator[Keys]:
        """Writes and reads below a prefix."""
        keys = Keys(self.variables(prefix))
        try:
            yield keys
        finally:
            keys.etcd.close()

    def etcdctl(self, *argv: str) -> str:
        """Etcd's own command."""
        patience = ("--dial-timeout", f"{DEADLINE:g}s", "--command-timeout", f"{DEADLINE:g}s")
        command = ["etcdctl", *patience, "--endpoints", ",".join(member.url for member in self.members), *argv]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env={"ETCDCTL_API": "3", "PATH": "/usr/bin:/bin"}
        )
        return done.stdout


class Keys:
    """An operator's hand in the store."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.fleet = fleet_at(variables)
        self.etcd = Etcd(self.fleet)

    def put(self, name: str, text: str | None) -> int:
        """Writes a key, whatever is there; None removes it. The revision it was written at, retried through outages.

        Each try is good for the state it saw only: a member that hung would bring it to the others when it wakes up,
        long after a later one.
        """
        deadline = time.monotonic() + DEADLINE
        data = None if text is None else text.encode()
        is_again = False
        while True:
            try:
                seen = self.etcd.read()
                there = seen.values.get(name)
                if is_again and (there.data if there is not None else None) == data:
                    return there.revision if there is not None else seen.revision
                revision = self.etcd.write({name: data}, seen)
                if revision is not None:
                    return revision
            except EtcdError:
                is_again = True
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


def fleet_at(variables: Mapping[str, str]) -> Fleet:
    """The store that these variables name."""
    fleet, problems = fleet_of(Environment.capture(variables, cwd=Path("/"), home=Path("/")))
    assert fleet is not None, problems
    return fleet


class Link:
    """A way to one address that can be cut without either side noticing: what was sent is swallowed."""

    def __init__(self, port: int, at: int = 0) -> None:
        self._target = port
        self._whole = threading.Event()
        self._whole.set()
        self._listener = socket.create_server(("127.0.0.1", at))
        self._open: list[socket.socket] = [self._listener]
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def cut(self) -> None:
        self._whole.clear()

    def mend(self) -> None:
        """Lets new connections through again; the cut ones stay dead."""
        self._whole.set()

    def close(self) -> None:
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._open.append(near)
                if not self._whole.is_set():
                    continue  # accepted by the kernel, never answered
                try:
                    far = socket.create_connection(("127.0.0.1", self._target))
                except OSError:  # no server is there at the moment
                    near.close()
                    continue
                self._open.append(far)
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        is_dead = False
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                is_dead = is_dead or not self._whole.is_set()
                if not is_dead:
                    other.sendall(data)
        if not is_dead:
            with contextlib.suppress(OSError):
                other.shutdown(socket.SHUT_RDWR)
