"""`STIGMER_ETCD` and the variables beside it: what they may look like, and what is said of what they may not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from stigmer_config import Problem
from stigmer_config.core.environment import Environment
from stigmer_config.sources.etcd.address import Fleet, fleet_of
from tests.support.etcd_fake import Fake
from tests.support.etcd_tools import Certificates, needs_openssl
from tests.support.sandbox import Sandbox

SECRET = "sk-hidden-91c"


def named(url: str, **variables: str) -> tuple[Fleet | None, list[Problem]]:
    world = Environment.capture({"STIGMER_ETCD": url, **variables}, cwd=Path("/"), home=Path("/"))
    return fleet_of(world)


@pytest.mark.parametrize(
    ("url", "endpoints", "prefix"),
    [
        ("https://etcd.example:2379/stigmer", ("https://etcd.example:2379",), "/stigmer"),
        ("https://etcd.example/stigmer", ("https://etcd.example:2379",), "/stigmer"),
        ("https://etcd.example/stigmer/", ("https://etcd.example:2379",), "/stigmer"),
        ("https://a:1,b,c:3/teams/x-1/y_2.z", ("https://a:1", "https://b:2379", "https://c:3"), "/teams/x-1/y_2.z"),
        ("https://[::1]:4001/stigmer", ("https://[::1]:4001",), "/stigmer"),
        ("https://[fd00::7],[fd00::8]:1/p", ("https://[fd00::7]:2379", "https://[fd00::8]:1"), "/p"),
        ("http://127.0.0.1/p", ("http://127.0.0.1:2379",), "/p"),
    ],
)
def test_a_store_is_hosts_and_a_prefix(url: str, endpoints: tuple[str, ...], prefix: str) -> None:
    """One scheme, one host or several with commas, 2379 where no port is named, and a prefix of at least one name."""
    fleet, problems = named(url)
    assert problems == []
    assert fleet is not None
    assert (fleet.endpoints, fleet.prefix) == (endpoints, prefix)
    assert fleet.is_trusted is url.startswith("https:")
    assert named(fleet.source)[0] == fleet


@pytest.mark.parametrize(
    ("given", "value", "beside"),
    [
        ("STIGMER_ETCD_KEY", "/etc/etcd/worker.key", "STIGMER_ETCD_CERT"),
        ("STIGMER_ETCD_PASSWORD", SECRET, "STIGMER_ETCD_USER"),
    ],
)
def test_half_of_a_pair_is_no_silent_default(given: str, value: str, beside: str) -> None:
    """A key without its certificate, a password without its user: nothing is left out unsaid."""
    fleet, problems = named("https://etcd.example/stigmer", **{given: value})
    assert fleet is None
    assert [(problem.code, str(problem.origin)) for problem in problems] == [("missing-value", given)]
    assert problems[0].message == f"{given} is set, and {beside} is not"
    assert SECRET not in str(problems[0])


@pytest.mark.parametrize(
    "url",
    [
        "etcd.example:2379/stigmer",
        "HTTPS://etcd.example/stigmer",
        "ftp://etcd.example/stigmer",
        "https://etcd.example:2379",
        "https://etcd.example:2379/",
        "https:///stigmer",
        "https://a,/stigmer",
        "https://,a/stigmer",
        "https://a:0/stigmer",
        "https://a:70000/stigmer",
        "https://a:b/stigmer",
        "https://::1/stigmer",
        "https://[::1/stigmer",
        "https://a b/stigmer",
        "https://a\n/stigmer",
        "https://a:1\n/stigmer",
        "https://a/stigmer\n",
        "https://a/st igmer",
        "https://a//stigmer",
        "https://a/stigmer?x=1",
        "https://a/stigmer#x",
        "https://a,https://b/stigmer",
        "https://\x1b[31m/stigmer",
        "/stigmer",
        "https://" + "a" * 5000 + "/\x00",
    ],
)
def test_anything_else_is_an_error_of_the_variable(sandbox: Sandbox, url: str) -> None:
    """One `invalid-url` that names the variable and shows a correct one; no request is sent, nothing is guessed."""
    problems = sandbox.problems({"MODE": "local", "STIGMER_ETCD": url})
    assert [(problem.code, str(problem.origin)) for problem in problems] == [("invalid-url", "STIGMER_ETCD")]
    assert "STIGMER_ETCD must" in problems[0].message
    assert problems[0].hint == "for example https://etcd.example:2379/stigmer"
    assert len(str(problems[0])) < 300
    assert not [char for char in str(problems[0]) if char != "\n" and not char.isprintable()]


@pytest.mark.parametrize(
    "url",
    [
        f"https://me:{SECRET}@etcd.example/stigmer",
        f"https://{SECRET}@etcd.example/stigmer",
        f"https://etcd.example/stigmer@{SECRET}",
        f"me:{SECRET}@etcd.example/stigmer",
    ],
)
def test_a_password_in_the_url_is_refused_and_not_shown(sandbox: Sandbox, url: str) -> None:
    """It has its own variable, which no process list and no message shows."""
    [problem] = sandbox.problems({"MODE": "local", "STIGMER_ETCD": url})
    assert (problem.code, problem.hint) == ("invalid-url", "use STIGMER_ETCD_USER and STIGMER_ETCD_PASSWORD")
    assert SECRET not in repr(problem) + str(problem)


def test_an_empty_variable_is_unset(sandbox: Sandbox) -> None:
    """As everywhere."""
    config = sandbox.load({"MODE": "local", "STIGMER_ETCD": "", "STIGMER_ETCD_CACERT": "relative"})
    assert config == sandbox.load({"MODE": "local"})


@pytest.mark.parametrize("name", ["STIGMER_ETCD_CACERT", "STIGMER_ETCD_CERT", "STIGMER_ETCD_KEY"])
def test_a_relative_path_is_refused(sandbox: Sandbox, name: str) -> None:
    """A worker's working folder is arbitrary."""
    [problem] = sandbox.problems({"MODE": "local", "STIGMER_ETCD": "https://127.0.0.1:1/p", name: "tls/x.pem"})
    assert str(problem.origin) == name
    assert f"{name} must be an absolute path, not 'tls/x.pem'" in problem.message


@needs_openssl
def test_files_that_are_no_certificates_are_a_problem(sandbox: Sandbox, tmp_path: Path) -> None:
    """Missing, empty, a folder, a key that does not fit or has a passphrase: reported without a request."""
    tls, other = Certificates(tmp_path / "tls"), Certificates(tmp_path / "other")
    empty = tmp_path / "empty.pem"
    empty.touch()
    locked = tmp_path / "locked.key"
    subprocess.run(
        ["openssl", "ec", "-in", str(tls.key), "-aes256", "-passout", "pass:secret", "-out", str(locked)],
        check=True,
        capture_output=True,
    )
    wrong = [
        {"CACERT": str(tmp_path / "missing.pem")},
        {"CACERT": str(empty)},
        {"CACERT": str(tmp_path)},
        {"CACERT": str(tls.key)},
        {"CERT": str(tmp_path / "missing.pem"), "KEY": str(tls.key)},
        {"CERT": str(tls.certificate), "KEY": str(tmp_path / "missing.key")},
        {"CERT": str(tls.certificate), "KEY": str(other.key)},
        {"CERT": str(tls.certificate), "KEY": str(locked)},
        {"CERT": str(tls.certificate)},
    ]
    with Fake() as fake:
        for files in wrong:
            variables = {f"STIGMER_ETCD_{name}": path for name, path in files.items()}
            url = fake.url.replace("http:", "https:")
            [problem] = sandbox.problems({"MODE": "local", "STIGMER_ETCD": url, **variables})
            assert problem.code == "etcd-unavailable"
            assert "the certificates cannot be used (" in problem.message
            assert all(path in problem.message for path in files.values())
        assert fake.asked == []
