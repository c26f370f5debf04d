"""Grants: what they cover, what ends them, and what overrides them (in the manner of git's safe.directory tests)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stigmer_config import ConfigError
from tests.support.sandbox import Sandbox

ASKS = "llm:\n  base_url: https://corp.example/v1\n  temperature: 0.3\n"
CLOUD = {"MODE": "cloud", "ANTHROPIC_API_KEY": "sk-ant-trust-suite"}


def codes(sandbox: Sandbox, variables: dict[str, str]) -> set[tuple[str, str]]:
    document = sandbox.show(variables=variables)
    return {(problem["code"], problem["key"]) for problem in document["problems"] if problem["severity"] == "error"}


def value(sandbox: Sandbox, key: str, variables: dict[str, str]) -> object:
    return sandbox.show(variables=variables)["values"].get(key, {}).get("value")


def grant(sandbox: Sandbox, *argv: str, answer: str = "y\n", variables: dict[str, str] = CLOUD) -> int:
    return sandbox.run("trust", *argv, variables=variables, stdin=answer).returncode


def digest(sandbox: Sandbox) -> str:
    shown = sandbox.run("trust", "--show", variables=CLOUD).stdout
    return next(line.split()[1] for line in shown.splitlines() if line.startswith("digest:"))


def test_unset_nothing_is_trusted(sandbox: Sandbox) -> None:
    """Without a grant a protected key is refused, and not used."""
    sandbox.write(project=ASKS)
    assert codes(sandbox, CLOUD) == {("untrusted-key", "llm.base_url")}
    assert value(sandbox, "llm.base_url", CLOUD) == "https://api.anthropic.com"


def test_show_lists_what_a_grant_would_change(sandbox: Sandbox) -> None:
    """As `trust` lists it, and without a question; once it is granted, what is in force."""
    sandbox.write(project=ASKS)
    shown = sandbox.run("trust", "--show", variables=CLOUD)
    assert (shown.returncode, shown.stderr) == (0, "")
    (line,) = (line for line in shown.stdout.splitlines() if "llm.base_url" in line)
    assert line.startswith("  llm.base_url: https://api.anthropic.com (")
    assert line.endswith(") → https://corp.example/v1 (line 2)")
    assert grant(sandbox) == 0
    assert (
        "\n  llm.base_url: https://corp.example/v1 (line 2)\n" in sandbox.run("trust", "--show", variables=CLOUD).stdout
    )


def test_no_is_the_default(sandbox: Sandbox) -> None:
    """An empty answer, another word and the end of input all mean No."""
    sandbox.write(project=ASKS)
    assert [grant(sandbox, answer=answer) for answer in ("\n", "n\n", "")] == [1, 1, 1]
    assert codes(sandbox, CLOUD) == {("untrusted-key", "llm.base_url")}


def test_a_grant_shows_what_changes_and_where_it_is_kept(sandbox: Sandbox) -> None:
    """The list has each key with its current value, origin and the proposed one; the record is outside the project."""
    sandbox.write(project=ASKS)
    done = sandbox.run("trust", variables=CLOUD, stdin="y\n")
    assert done.returncode == 0
    assert "llm.base_url: https://api.anthropic.com" in done.stdout
    assert "→ https://corp.example/v1 (line 2)" in done.stdout
    again = sandbox.run("trust", variables=CLOUD).stdout
    assert "\n  llm.base_url: https://corp.example/v1 (line 2)\n" in again
    records = list((sandbox.home / ".state" / "stigmer" / "trust").iterdir())
    assert len(records) == 1
    assert json.loads(records[0].read_text())["project"] == str(sandbox.project_file)
    assert (records[0].parent.stat().st_mode & 0o777, records[0].stat().st_mode & 0o777) == (0o700, 0o600)
    assert not list(sandbox.project.rglob("*.json"))


def test_a_grant_counts_and_open_keys_may_change(sandbox: Sandbox) -> None:
    """After the grant the endpoint is the project's; editing an open key keeps it, editing a covered one ends it."""
    sandbox.write(project=ASKS)
    assert grant(sandbox, "--with-credentials") == 0
    assert (codes(sandbox, CLOUD), value(sandbox, "llm.base_url", CLOUD)) == (set(), "https://corp.example/v1")
    sandbox.write(project=ASKS.replace("0.3", "0.9") + "  max_tokens: 5\naliases: {mine: fast}\n")
    assert (codes(sandbox, CLOUD), value(sandbox, "llm.temperature", CLOUD)) == (set(), 0.9)
    sandbox.write(project=ASKS.replace("corp", "evil"))
    assert codes(sandbox, CLOUD) == {("untrusted-key", "llm.base_url")}


@pytest.mark.parametrize(
    "more",
    [
        "sandbox: {root_dir: null}\n",
        "aliases: {fast: 'openai:gpt-4o'}\n",
        "aliases: {claude-sonnet-4.5: fast}\n",
        "logging: {level: debug}\n",
        "providers: {openai: {base_url: 'https://evil.example'}}\n",
    ],
)
def test_a_new_covered_key_ends_the_grant(sandbox: Sandbox, more: str) -> None:
    """Adding anything that needs a grant, even a null, requires a new grant for everything."""
    sandbox.write(project=ASKS)
    assert grant(sandbox, "--with-credentials") == 0
    sandbox.write(project=ASKS + more)
    assert ("untrusted-key", "llm.base_url") in codes(sandbox, CLOUD)


def test_the_order_and_the_case_of_a_file_do_not_matter_but_its_values_do(sandbox: Sandbox) -> None:
    """The digest is over sorted keys and typed values: layout is free."""
    sandbox.write(project="llm: {base_url: 'https://corp.example/v1'}\nsandbox: {type: filesystem}\n")
    first = digest(sandbox)
    sandbox.write(project="# moved\nsandbox:\n    type: 'filesystem'\nllm:\n    base_url: https://corp.example/v1\n")
    assert digest(sandbox) == first
    sandbox.write(project="llm: {base_url: 'https://corp.example/v2'}\nsandbox: {type: filesystem}\n")
    assert digest(sandbox) != first


def test_a_grant_is_for_one_place(sandbox: Sandbox) -> None:
    """The same file in another folder is another project; a symlink to the project's folder is the same."""
    sandbox.write(project=ASKS)
    assert grant(sandbox, "--with-credentials") == 0
    other = sandbox.root / "work" / "copy"
    (other / ".stigmer").mkdir(parents=True)
    (other / ".stigmer" / "config.yaml").write_text(ASKS)
    assert sandbox.run("show", "--project-dir", str(other), variables=CLOUD).returncode == 3
    link = sandbox.root / "work" / "link"
    link.symlink_to(sandbox.project)
    assert sandbox.run("show", "--project-dir", str(link), variables=CLOUD).returncode == 0


def test_revoked_means_refused(sandbox: Sandbox) -> None:
    """--revoke takes the grant back, and says so when there was none."""
    sandbox.write(project=ASKS)
    assert grant(sandbox, "--with-credentials") == 0
    assert "is revoked" in sandbox.run("trust", "--revoke", variables=CLOUD).stdout
    assert codes(sandbox, CLOUD) == {("untrusted-key", "llm.base_url")}
    assert "there was no grant" in sandbox.run("trust", "--revoke", variables=CLOUD).stdout


def test_without_credentials_no_key_follows(sandbox: Sandbox) -> None:
    """A trusted endpoint gets no existing key by itself: the error names both endpoints and both sources."""
    sandbox.write(project=ASKS)
    assert grant(sandbox) == 0
    document = sandbox.show(variables=CLOUD)
    assert document["values"]["llm.api_key"]["value"] is None
    assert document["values"]["llm.api_key"]["shadowed"][0]["reason"] == "bound-elsewhere"
    (problem,) = [p for p in document["problems"] if p["code"] == "credential-binding"]
    for part in ("ANTHROPIC_API_KEY", "https://api.anthropic.com:443", "https://corp.example:443", "config.yaml:2:13"):
        assert part in problem["message"]
    assert "--with-credentials" in problem["hint"]


def test_a_granted_pair_is_for_that_source_and_that_endpoint(sandbox: Sandbox) -> None:
    """The pair (credential source, endpoint) is what was granted: a key from another source does not follow."""
    sandbox.write(project=ASKS)
    assert grant(sandbox, "--with-credentials") == 0
    assert value(sandbox, "llm.api_key", CLOUD) == "********"
    other = {"MODE": "cloud", "STIGMER_LLM_API_KEY": "sk-ant-from-elsewhere"}
    assert codes(sandbox, other) == {("credential-binding", "llm.api_key")}


def test_the_backends_key_is_bound_to_the_backend(sandbox: Sandbox) -> None:
    """A project that moves backend.endpoint, redis.host or temporal.address gets neither key nor password."""
    moves = (
        "backend: {endpoint: 'evil.example:1'}\nredis: {host: evil.example}\ntemporal: {address: 'evil.example:2'}\n"
    )
    sandbox.write(project=moves)
    keys = {"STIGMER_API_KEY": "backend-key-1", "REDIS_PASSWORD": "redis-pass-1", "TEMPORAL_API_KEY": "temporal-key-1"}
    variables = {**CLOUD, **keys}
    assert grant(sandbox, variables=variables) == 0
    assert codes(sandbox, variables) == {
        ("credential-binding", "backend.api_key"),
        ("credential-binding", "redis.password"),
        ("credential-binding", "temporal.api_key"),
    }
    assert grant(sandbox, "--with-credentials", variables=variables) == 0
    assert codes(sandbox, variables) == set()


@pytest.mark.parametrize("moves", ["redis: {port: 1}\n", "redis: {host: evil.example}\n"])
def test_local_mode_has_no_redis_to_move(sandbox: Sandbox, moves: str) -> None:
    """A granted project's redis keys are no fault there, with a password that has no address."""
    sandbox.write(user="mode: local\nredis: {password: redis-pass-1}\n", project=moves)
    assert grant(sandbox) == 0
    assert codes(sandbox, {}) == set()
    assert sandbox.run("trust", "--show").returncode == 0


def test_the_variable_is_a_digest_and_never_grants_a_credential(sandbox: Sandbox) -> None:
    """STIGMER_TRUST_PROJECT=<digest> is for headless use; `1`, `true` and another digest mean nothing."""
    sandbox.write(project=ASKS)
    for word in ("1", "true", "yes", "0" * 64):
        assert ("untrusted-key", "llm.base_url") in codes(sandbox, {**CLOUD, "STIGMER_TRUST_PROJECT": word})
    trusted = {**CLOUD, "STIGMER_TRUST_PROJECT": digest(sandbox)}
    assert value(sandbox, "llm.base_url", trusted) == "https://corp.example/v1"
    assert codes(sandbox, trusted) == {("credential-binding", "llm.api_key")}


def test_a_project_cannot_grant_itself(sandbox: Sandbox) -> None:
    """Neither a key of that name nor a record inside the project is looked at."""
    sandbox.write(project=ASKS + "trust: true\n")
    state = sandbox.project / ".state" / "stigmer" / "trust"
    state.mkdir(parents=True)
    (sandbox.project / ".stigmer" / "trust.json").write_text('{"trusted": true}')
    assert ("untrusted-key", "llm.base_url") in codes(sandbox, CLOUD)


def test_a_record_that_is_broken_or_of_another_project_grants_nothing(sandbox: Sandbox) -> None:
    """A record counts only whole, and only for the real path in it."""
    sandbox.write(project=ASKS)
    assert grant(sandbox, "--with-credentials") == 0
    (record,) = (sandbox.home / ".state" / "stigmer" / "trust").iterdir()
    whole = record.read_text()
    for text in ("", "{", "[]", whole.replace(str(sandbox.project_file), "/elsewhere/.stigmer/config.yaml")):
        record.write_text(text)
        assert codes(sandbox, CLOUD) == {("untrusted-key", "llm.base_url")}


def test_above_every_grant(sandbox: Sandbox) -> None:
    """Secrets, the mode, `locked` and locked keys stay the user's, whatever was granted."""
    sandbox.write(
        user="locked: [sandbox, llm.model]\n",
        project="mode: local\nlocked: []\nllm: {api_key: sk-in-project-1, base_url: 'https://corp.example'}\n"
        "sandbox: {type: filesystem}\naliases: {fast: 'openai:gpt-4o'}\n",
    )
    grant(sandbox, "--with-credentials")
    assert {
        ("forbidden-in-project", "mode"),
        ("forbidden-in-project", "locked"),
        ("secret-in-project", "llm.api_key"),
    } | {("locked-key", "sandbox.type")} <= codes(sandbox, CLOUD)
    assert sandbox.show(variables={"ANTHROPIC_API_KEY": "sk-ant-x-12345"})["mode"] == "cloud"


@pytest.mark.parametrize(
    ("project", "refused"),
    [
        ("llm: {provider: ollama}\n", "llm.provider"),
        ("llm: {base_url: 'https://corp.example'}\n", "llm.base_url"),  # where the key does not go
    ],
)
def test_a_locked_key_stays_in_force_whatever_was_granted(sandbox: Sandbox, project: str, refused: str) -> None:
    """A trusted project may not take the credential away, neither by another provider nor by another endpoint."""
    sandbox.write(user="locked: [llm.api_key]\n", project=project)
    grant(sandbox)
    assert codes(sandbox, CLOUD) == {("locked-key", refused)}
    assert value(sandbox, "llm.api_key", CLOUD) == "********"


def test_a_granted_provider_switch_counts_for_layers_above(sandbox: Sandbox) -> None:
    """A trusted project's provider is in force above it, and an llm.api_key still belongs to whom it was given for."""
    sandbox.write(project="llm: {provider: openai}\n")
    variables = {"MODE": "cloud", "STIGMER_LLM_API_KEY": "sk-ant-given-for-anthropic"}
    assert grant(sandbox, variables=variables) == 0
    document = sandbox.show(variables=variables)
    assert document["values"]["llm.provider"]["value"] == "openai"
    assert ("missing-api-key", "llm.api_key") in codes(sandbox, variables)
    assert value(sandbox, "llm.api_key", {**variables, "OPENAI_API_KEY": "sk-oai-own"}) == "********"


def test_home_as_project_is_the_user_file(sandbox: Sandbox) -> None:
    """Working in the home folder there is no project, and nothing to trust."""
    sandbox.write(user="llm: {base_url: 'https://mine.example'}\n")
    done = sandbox.run("trust", variables=CLOUD, cwd=sandbox.home)
    assert (done.returncode, "no project file" in done.stderr) == (1, True)


def test_a_swap_between_display_and_record_prompts_again(sandbox: Sandbox) -> None:
    """When the file changes during the prompt, its new content is shown, and only that is recorded."""
    sandbox.write(project=ASKS)
    command = [str(Path(sys.executable).parent / "stigmer"), "config", "trust"]
    environment = {
        "HOME": str(sandbox.home),
        "PATH": os.environ["PATH"],
        "XDG_STATE_HOME": str(sandbox.home / ".state"),
        **CLOUD,
    }
    process = subprocess.Popen(
        command,
        cwd=sandbox.project,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stderr is not None
    asked = ""
    deadline = time.monotonic() + 30
    while "[y/N]" not in asked and time.monotonic() < deadline:
        asked += process.stderr.read(1)
    sandbox.write(project=ASKS.replace("corp.example", "swapped.example"))
    out, error = process.communicate("y\nn\n", timeout=30)
    assert "has changed in the meantime" in error
    assert "swapped.example" in out
    assert process.returncode == 1
    assert not list((sandbox.home / ".state").rglob("*.json"))


def test_a_worktree_is_a_place_of_its_own(sandbox: Sandbox) -> None:
    """`git worktree` makes another folder: the grant does not go along."""

    def run(*argv: str) -> None:
        subprocess.run(argv, cwd=sandbox.project, check=True, capture_output=True)

    (sandbox.project / ".git").rmdir()
    run("git", "init", "-q", ".")
    sandbox.write(project=ASKS)
    run("git", "add", "-A")
    run("git", "-c", "user.name=t", "-c", "user.email=t@t.example", "commit", "-qm", "x")
    assert grant(sandbox, "--with-credentials") == 0
    run("git", "worktree", "add", "-q", "../tree")
    assert sandbox.run("show", variables=CLOUD, cwd=sandbox.root / "work" / "tree").returncode == 3


def test_a_grant_counts_for_load_too(sandbox: Sandbox) -> None:
    """`load()` and the command decide by the same record."""
    sandbox.write(project="llm: {base_url: 'http://gpu-box:11434'}\n")
    local = {"MODE": "local"}
    with pytest.raises(ConfigError, match="untrusted-key"):
        sandbox.load(local)
    from stigmer_config.loading.load import read
    from stigmer_config.loading.request import request
    from stigmer_config.trust import grants

    environment = sandbox.environment(local)
    project = next(layer for layer in read(request(environment=environment)).layers if layer.name == "project")
    whole = project.refused["llm.base_url"].entry
    import msgspec

    grants.record(environment, msgspec.structs.replace(project, entries={"llm.base_url": whole}))
    assert sandbox.load(local).llm.base_url == "http://gpu-box:11434"


def test_no_value_scrolls_another_away(sandbox: Sandbox) -> None:
    """Values are quoted, cut and escaped: 8 KiB of blanks are not 8 KiB of blanks on a screen."""
    blanks = " " * 8000
    sandbox.write(project=f"sandbox: {{root_dir: 'x{blanks}\u3164'}}\nllm: {{base_url: 'https://corp.example/v1'}}\n")
    listed = sandbox.run("trust", "--show", variables=CLOUD).stdout
    (line,) = (row for row in listed.splitlines() if "sandbox.root_dir" in row)
    assert len(line) < 700
    assert "'x " in line
    assert "https://corp.example/v1 (line 2)" in listed
