"""What people read, letter by letter: one snapshot a situation, in tests/snapshots/.

A snapshot is the command and everything it prints. It is read and judged by a person when it changes:
STIGMER_SNAPSHOTS=write updates them.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

import pytest

from tests.support.cli_tools import ask, tidy
from tests.support.paths import TESTS
from tests.support.sandbox import Sandbox

SNAPSHOTS = TESTS / "snapshots"


class Situation(NamedTuple):
    """Files and variables, and the command that is run there."""

    argv: tuple[str, ...]
    user: str = "mode: local\n"
    project: str | None = None
    variables: tuple[tuple[str, str], ...] = ()
    mode: int = 0o600


VALIDATE = ("validate",)
# The mode of a broken file is unknown.
LOCAL = (("MODE", "local"),)
# A closed port.
NOBODY = "http://127.0.0.1:1"
SITUATIONS = {
    "typo": Situation(VALIDATE, "mode: local\nllm:\n  temprature: 0.2\n"),
    "nearest-key-elsewhere": Situation(VALIDATE, "mode: local\nmodel: fast\nllm.timeout: 5\n"),
    "all-at-once": Situation(
        ("show", "llm", "--origin"),
        "mode: local\nllm:\n  temperature: 9\n  provider: olama\nlogging: {level: loud}\n",
        "llm:\n  max_tokens: many\n  modle: x\n",
        (("STIGMER_LLM_TIMEOUT", "soon"), ("STIGMER_LLM_MODLE", "fast")),
    ),
    "hostile-clone": Situation(
        ("show", "llm", "--origin", "--all"),
        project="llm:\n  temperature: 0.9\n  base_url: https://collector.example\n",
    ),
    "provider-moved-by-a-project": Situation(
        VALIDATE, project="llm:\n  model: gpt-6-luna\n", variables=(("OPENAI_API_KEY", "sk-hidden"),)
    ),
    "secret-in-project": Situation(VALIDATE, project="llm:\n  api_key: sk-hidden\nmode: cloud\n"),
    "locked": Situation(VALIDATE, "mode: local\nlocked: [llm.model]\n", "llm: {model: 'other:7b'}\n"),
    "alias-cycle": Situation(VALIDATE, "mode: local\naliases:\n  a: b\n  b: c\n  c: a\n"),
    "alias-unavailable": Situation(
        VALIDATE, "mode: local\nllm: {model: big}\naliases:\n  big: {openai: gpt-6.1-sol}\n"
    ),
    "provider-mismatch": Situation(VALIDATE, "mode: local\nllm:\n  provider: ollama\n  model: claude-opus-5-5\n"),
    "missing-key": Situation(("explain", "llm.api_key"), variables=(("STIGMER_LLM_PROVIDER", "openai"),)),
    "broken-yaml": Situation(VALIDATE, "mode: local\nllm:\n  model: [fast\n", variables=LOCAL),
    "tab": Situation(VALIDATE, "mode: local\nllm:\n\tmodel: fast\n", variables=LOCAL),
    "given-twice": Situation(VALIDATE, "mode: local\nllm:\n  model: fast\n  model: balanced\n"),
    "anchor": Situation(VALIDATE, "mode: local\nllm: &a {model: fast}\nproviders: *a\n", variables=LOCAL),
    "readable-by-others": Situation(VALIDATE, "mode: local\nbackend: {api_key: sk-hidden}\n", mode=0o644),
    "explain-model": Situation(
        ("explain", "llm.model"),
        "mode: local\nllm: {model: mine}\naliases:\n  mine: careful\n  careful: qwen3-coder:30b\n",
        variables=(("STIGMER_LLM_TIMEOUT", "5"),),
    ),
    "explain-switched": Situation(
        ("explain", "llm.max_tokens"),
        "mode: local\nllm: {max_tokens: 99}\n",
        variables=(("STIGMER_LLM_PROVIDER", "openai"), ("OPENAI_API_KEY", "sk-hidden")),
    ),
    "path-with-faults": Situation(("path",), "mode: lokal\n", "llm:\n  modle: x\n  base_url: http://x\n", LOCAL),
    "etcd-unreachable": Situation(
        ("show", "llm.model", "--origin"), variables=(("STIGMER_ETCD", f"{NOBODY}/stigmer"),)
    ),
    "etcd-without-prefix": Situation(VALIDATE, variables=(("STIGMER_ETCD", "https://etcd.example:2379"),)),
    "etcd-with-password": Situation(
        VALIDATE, variables=(("STIGMER_ETCD", "https://me:sk-hidden@etcd.example:2379/stigmer"),)
    ),
    "etcd-several-hosts": Situation(
        VALIDATE, variables=(("STIGMER_ETCD", "https://etcd1.example:2379,etcd2.example:port/stigmer"),)
    ),
    "etcd-password-over-http": Situation(
        VALIDATE,
        variables=(
            ("STIGMER_ETCD", f"{NOBODY}/stigmer"),
            ("STIGMER_ETCD_USER", "worker"),
            ("STIGMER_ETCD_PASSWORD", "sk-hidden"),
        ),
    ),
    "etcd-relative-certificate": Situation(
        VALIDATE, variables=(("STIGMER_ETCD", "https://etcd.example/stigmer"), ("STIGMER_ETCD_CACERT", "tls/ca.pem"))
    ),
    "etcd-missing-certificate": Situation(
        VALIDATE, variables=(("STIGMER_ETCD", "https://etcd.example/stigmer"), ("STIGMER_ETCD_CACERT", "/none/ca.pem"))
    ),
    "etcd-path": Situation(("path",), variables=(("STIGMER_ETCD", f"{NOBODY}/stigmer"),)),
    "etcd-set-without-one": Situation(("set", "--fleet", "llm.timeout", "3")),
    "etcd-set-unreachable": Situation(
        ("set", "--fleet", "llm.timeout", "3"), variables=(("STIGMER_ETCD", f"{NOBODY}/stigmer"),)
    ),
}


def happening(sandbox: Sandbox, situation: Situation) -> str:
    """The command of a situation and everything it prints, without this machine's folders."""
    sandbox.write(user=situation.user, project=situation.project)
    sandbox.user_file.chmod(situation.mode)
    answer = ask(sandbox, *situation.argv, variables=dict(situation.variables))
    given = "".join(f"{name}={value} " for name, value in situation.variables)
    parts = [
        f"$ {given}stigmer config {' '.join(situation.argv)}",
        answer.out.rstrip(),
        answer.err.rstrip(),
        f"[exit {answer.status}]",
    ]
    text = tidy(sandbox, "\n".join(part for part in parts if part) + "\n")
    # The distance of columns depends on the length of this machine's paths.
    return re.sub(r"(?<=\S) {2,}", "  ", text)


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_person_reads(sandbox: Sandbox, name: str) -> None:
    """The messages equal the snapshot, and contain no secret."""
    text = happening(sandbox, SITUATIONS[name])
    assert "sk-hidden" not in text.partition("\n")[2]
    path = SNAPSHOTS / f"{name}.txt"
    if os.environ.get("STIGMER_SNAPSHOTS") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_every_caret_is_under_its_place(sandbox: Sandbox) -> None:
    """In each excerpt the caret is below the character at line and column, even in long lines."""
    line = "llm: {model: fast, timeout: 5, max_retries: 1, temprature: 0.2, max_tokens: lots} # " + "x" * 80
    sandbox.write(user=f"mode: local\n# naïve 日本\n{line}\n")
    err = ask(sandbox, "validate").err.splitlines()
    found = 0
    for head, excerpt, caret in zip(err, err[1:], err[2:], strict=False):
        if caret.strip() == "^":
            column = int(head.split(": ")[0].rpartition(":")[2])
            assert excerpt[caret.index("^") :][:8] == line[column - 1 :][:8]
            found += 1
    assert found == 2


def test_no_snapshot_is_left_over() -> None:
    """Each file in tests/snapshots belongs to a situation."""
    assert {path.stem for path in SNAPSHOTS.glob("*.txt")} - {"messages"} == set(SITUATIONS)
