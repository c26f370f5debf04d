"""`temporal.*`: the names that Temporal's own tools know, and TLS."""

from __future__ import annotations

import pytest

from tests.support.sandbox import Sandbox

KEY = "temporal-key-0123456789"


def test_temporals_own_variables_count(sandbox: Sandbox) -> None:
    """Those of the `temporal` command and of the SDKs."""
    temporal = sandbox.load(
        {
            "MODE": "local",
            "TEMPORAL_ADDRESS": "ns.acct.tmprl.cloud:7233",
            "TEMPORAL_NAMESPACE": "ns.acct",
            "TEMPORAL_API_KEY": KEY,
            "TEMPORAL_TLS": "True",
            "TEMPORAL_TLS_SERVER_NAME": "tmprl.cloud",
            "TEMPORAL_TLS_SERVER_CA_CERT_PATH": "ca.pem",
            "TEMPORAL_TLS_CLIENT_CERT_PATH": "~/cert.pem",
            "TEMPORAL_TLS_CLIENT_KEY_PATH": "~/key.pem",
        }
    ).temporal
    assert (temporal.address, temporal.namespace) == ("ns.acct.tmprl.cloud:7233", "ns.acct")
    assert temporal.api_key is not None
    assert temporal.api_key.reveal() == KEY
    assert (temporal.tls, temporal.tls_server_name, temporal.is_encrypted) == (True, "tmprl.cloud", True)
    files = (temporal.tls_ca_file, temporal.tls_cert_file, temporal.tls_key_file)
    assert files == ("ca.pem", "~/cert.pem", "~/key.pem")


def test_the_workers_own_name_of_the_address_goes_first(sandbox: Sandbox) -> None:
    """`TEMPORAL_SERVICE_ADDRESS`, else `TEMPORAL_ADDRESS`; the origin says which."""
    both = {"MODE": "local", "TEMPORAL_SERVICE_ADDRESS": "ours:1", "TEMPORAL_ADDRESS": "theirs:2"}
    config = sandbox.load(both)
    origin = config.explain("temporal.address").origin
    assert (config.temporal.address, origin and origin.source) == ("ours:1", "TEMPORAL_SERVICE_ADDRESS")
    config = sandbox.load({**both, "TEMPORAL_SERVICE_ADDRESS": ""})
    origin = config.explain("temporal.address").origin
    assert (config.temporal.address, origin and origin.source) == ("theirs:2", "TEMPORAL_ADDRESS")


@pytest.mark.parametrize(
    ("text", "encrypted"),
    [
        ("", False),
        ("tls: true", True),
        ("tls: false", False),
        ("api_key: k-0123456789", True),
        ("api_key: k-0123456789, tls: false", False),
        ("tls_server_name: x", True),
        ("tls_cert_file: /c, tls_key_file: /k", True),
    ],
)
def test_whether_it_is_encrypted(sandbox: Sandbox, text: str, encrypted: bool) -> None:
    """`tls` decides; without it a key or another TLS setting does."""
    sandbox.write(user=f"mode: local\ntemporal: {{{text}}}\n")
    assert sandbox.load().temporal.is_encrypted is encrypted


@pytest.mark.parametrize("value", ["yes", "2", "'true'", "[true]"])
def test_tls_is_true_or_false(sandbox: Sandbox, value: str) -> None:
    """Nothing else is, and a quoted one gets a hint."""
    sandbox.write(user=f"mode: local\ntemporal: {{tls: {value}}}\n")
    (problem,) = sandbox.problems()
    assert (problem.code, problem.key) == ("wrong-type", "temporal.tls")
    assert ("quotes" in problem.hint) is (value == "'true'")


def test_a_key_in_the_clear_is_a_warning(sandbox: Sandbox) -> None:
    """Beyond this machine, where TLS is switched off."""
    text = "mode: local\ntemporal: {{address: '{}', api_key: k-0123456789, tls: false}}\n"
    sandbox.write(user=text.format("temporal.example:7233"))
    (problem,) = sandbox.problems()
    assert (problem.severity, problem.code, problem.key) == ("warning", "insecure-endpoint", "temporal.address")
    assert "remove temporal.tls: false" in problem.hint
    assert "k-0123456789" not in str(problem)
    for quiet in (text.format("localhost:7233"), text.format("temporal.example:7233").replace("false", "true")):
        sandbox.write(user=quiet)
        assert sandbox.problems() == []


def test_a_project_may_set_none_of_them(sandbox: Sandbox) -> None:
    """The key is a secret, the rest is protected."""
    sandbox.write(
        project="temporal: {api_key: k-0123456789, tls: false, tls_server_name: x, tls_ca_file: /x, "
        "tls_cert_file: /x, tls_key_file: /x}\n"
    )
    found = {(problem.code, problem.key) for problem in sandbox.problems({"MODE": "local"})}
    fields = ("tls", "tls_server_name", "tls_ca_file", "tls_cert_file", "tls_key_file")
    assert found == {
        ("secret-in-project", "temporal.api_key"),
        *(("untrusted-key", f"temporal.{field}") for field in fields),
    }
