"""`STIGMER_*` variables that nothing reads are reported, with the name that was probably meant."""

from __future__ import annotations

import pytest

from tests.support.sandbox import Sandbox


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("STIGMER_MODEL", "STIGMER_LLM_MODEL"),
        ("STIGMER_MODE", "MODE"),
        ("STIGMER_PROVIDER", "STIGMER_LLM_PROVIDER"),
        ("STIGMER_HOEM", "STIGMER_HOME"),
        ("STIGMER_LLMMODEL", "STIGMER_LLM_MODEL"),
        ("STIGMER_LOG_LEVEL", "LOG_LEVEL"),
        ("STIGMER_LLM_TEMPRATURE", "STIGMER_LLM_TEMPERATURE"),
        ("STIGMER_SITE_CONF", "STIGMER_SITE_CONFIG"),
        ("STIGMER_ETCD_PASSWD", "STIGMER_ETCD_PASSWORD"),
        ("STIGMER_FROBNICATE", None),
    ],
)
def test_the_nearest_name_is_suggested(sandbox: Sandbox, name: str, meant: str | None) -> None:
    """One warning at the variable; where nothing is near, how to be rid of it."""
    (problem,) = sandbox.problems({"MODE": "local", name: "x"})
    assert (problem.severity, problem.code, str(problem.origin)) == ("warning", "unknown-variable", name)
    assert problem.hint == (f"did you mean {meant}?" if meant else f"unset {name}, unless another program reads it")


@pytest.mark.parametrize(
    "name",
    ["STIGMER_TOKEN", "STIGMER_CHECKPOINTER_TYPE", "STIGMER_SANDBOX_IMAGE", "STIGMER_TEMPORAL_CODEC",
     "STIGMER_LLM_REQUEST_TIMEOUT_MS", "STIGMER_PRIMARY_MODEL", "stigmer_model", "MY_STIGMER_MODEL"],
)  # fmt: skip
def test_what_another_program_reads_is_no_problem(sandbox: Sandbox, name: str) -> None:
    """The list is data: `defaults/other_variables.yaml`."""
    assert sandbox.problems({"MODE": "local", name: "x"}) == []


def test_an_empty_variable_counts_as_unset(sandbox: Sandbox) -> None:
    """As every variable."""
    assert sandbox.problems({"MODE": "local", "STIGMER_MODEL": ""}) == []
