"""Projects of which the user granted a part: trust is per entry, and per credential."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest

from stigmer_config.core.provenance import Layer
from stigmer_config.loading.load import read
from stigmer_config.loading.request import request
from stigmer_config.trust import grants
from tests.support.noninterference import check, example
from tests.support.sandbox import Sandbox

CLOUD = {"MODE": "cloud", "ANTHROPIC_API_KEY": "sk-ant-partly", "OPENAI_API_KEY": "sk-oai-partly"}


def whole(sandbox: Sandbox, variables: dict[str, str]) -> Layer:
    """What the project's file says, refused or not."""
    project = read(request(environment=sandbox.environment(variables))).layers.project
    assert project is not None
    refused = {key: refusal.entry for key, refusal in project.refused.items()}
    return msgspec.structs.replace(project, entries={**project.entries, **refused}, refused={})


def grant(sandbox: Sandbox, variables: dict[str, str]) -> None:
    grants.record(sandbox.environment(variables), whole(sandbox, variables))


GRANTED = "sandbox: {root_dir: ./ws}\n"


@pytest.mark.parametrize(
    ("user", "more", "key"),
    [
        # By an alias of the user's own, which the project's file alone does not know.
        (
            "llm: {model: my-tune}\naliases: {cheap: 'openai:gpt-5-mini'}\n",
            "aliases: {my-tune: cheap}\n",
            "aliases.my-tune",
        ),
        # A bare name of the user's that belongs to OpenAI.
        ("aliases: {cheap: 'openai:gpt-5-mini'}\n", "llm: {model: cheap}\n", "llm.model"),
    ],
)
def test_what_is_added_to_a_granted_project_names_no_provider(sandbox: Sandbox, user: str, more: str, key: str) -> None:
    """An entry that no grant covers is judged as an untrusted project's."""
    sandbox.write(user=user, project=GRANTED)
    grant(sandbox, CLOUD)
    assert sandbox.read(CLOUD).errors == ()
    sandbox.write(project=GRANTED + more)
    loaded = sandbox.read(CLOUD)
    assert [(problem.code, problem.key) for problem in loaded.errors] == [("untrusted-key", key)]
    assert (loaded.config.llm.provider, loaded.config.sandbox.root_dir) == ("anthropic", "./ws")


def test_an_alias_that_is_not_granted_shadows_no_model_of_the_users(sandbox: Sandbox) -> None:
    """The user's `gpt-7` is OpenAI's; an alias of that name in the project does not make it Ollama's."""
    sandbox.write(user="llm: {model: gpt-7}\n", project=GRANTED)
    grant(sandbox, CLOUD)
    sandbox.write(project=GRANTED + "aliases: {gpt-7: x}\n")
    assert sandbox.read(CLOUD).config.llm.provider == "openai"


def test_a_model_that_is_not_granted_moves_no_address_to_another_provider(sandbox: Sandbox) -> None:
    """The variable's URL stays with the provider that is in force without the project's model."""
    variables = {**CLOUD, "STIGMER_LLM_BASE_URL": "https://corp.example"}
    sandbox.write(user="aliases: {cheap: 'openai:gpt-5-mini'}\n", project=GRANTED)
    grant(sandbox, variables)
    sandbox.write(project=GRANTED + "llm: {model: cheap}\n")
    loaded = sandbox.read(variables)
    assert [(problem.code, problem.key) for problem in loaded.errors] == [("untrusted-key", "llm.model")]
    assert (loaded.config.llm.provider, loaded.config.llm.base_url) == ("anthropic", "https://corp.example")


def test_a_granted_provider_stays_in_force_beside_open_entries(sandbox: Sandbox) -> None:
    """Open entries may choose among the models of the granted provider."""
    project = "llm: {provider: openai}\n"
    sandbox.write(project=project)
    grant(sandbox, CLOUD)
    sandbox.write(project="llm: {provider: openai, model: mine, max_tokens: 7}\naliases: {mine: tuned}\n")
    config = sandbox.load(CLOUD)
    assert (config.llm.provider, config.llm.model_name, config.llm.max_tokens) == ("openai", "tuned", 7)


def test_fallbacks_that_are_not_granted_use_only_what_the_granted_entries_use(sandbox: Sandbox) -> None:
    """The fallbacks of the user's own provider are not for the granted one: no prompt may go back there."""
    user = "llm: {provider: anthropic, fallbacks: [spare]}\naliases: {spare: 'ollama:x'}\n"
    sandbox.write(user=user, project="llm: {provider: openai}\n")
    grant(sandbox, CLOUD)
    assert sandbox.load(CLOUD).llm.fallbacks == ()
    sandbox.write(project="llm: {provider: openai, fallbacks: [spare]}\n")
    loaded = sandbox.read(CLOUD)
    assert [(problem.code, problem.key) for problem in loaded.errors] == [("untrusted-key", "llm.fallbacks")]
    sandbox.write(project="llm: {provider: openai, fallbacks: [tuned]}\n")
    assert [fallback.model_name for fallback in sandbox.load(CLOUD).llm.fallbacks] == ["tuned"]


def test_a_granted_declaration_counts_for_layers_above(sandbox: Sandbox) -> None:
    """A variable may name a model of the provider that it declares, whatever else the file has."""
    declared = "providers: {lab: {kind: openai, base_url: 'http://localhost:9/v1'}}\n"
    variables = {**CLOUD, "STIGMER_LLM_MODEL": "lab:tiny"}
    sandbox.write(project=declared)
    grant(sandbox, CLOUD)
    for more in ("", "aliases: {mine: tuned}\n"):
        sandbox.write(project=declared + more)
        llm = sandbox.load(variables).llm
        assert (llm.provider, llm.model_id, llm.base_url) == ("lab", "tiny", "http://localhost:9/v1")


@pytest.mark.parametrize("seed", range(40))
def test_noninterference_of_untrusted_and_partly_granted_projects(seed: int) -> None:
    """Random configurations: `fuzz/noninterference.py` checks as many as one likes."""
    rng = random.Random(seed)
    for _ in range(5):
        check(example(rng))


TWO_KEYS = "providers: {anthropic: {base_url: 'https://corp.example'}, openai: {base_url: 'https://corp.example/v1'}}\n"


def test_each_credential_is_listed_and_granted_by_its_key(sandbox: Sandbox) -> None:
    """Two keys in one file that would go to one address: two lines, and two grants."""
    sandbox.write(
        user="providers: {anthropic: {api_key: sk-ant-mine-1}, openai: {api_key: sk-oai-mine-1}}\n", project=TWO_KEYS
    )
    shown = sandbox.run("trust", "--with-credentials", variables={"MODE": "cloud"}, stdin="y\n").stdout
    for provider in ("anthropic", "openai"):
        assert f"providers.{provider}.api_key from ~/.stigmer/config.yaml goes to https://corp.example:443" in shown
    (record,) = (sandbox.home / ".state" / "stigmer" / "trust").iterdir()
    assert json.loads(record.read_text())["credentials"] == [
        [f"providers.{provider}.api_key", str(sandbox.user_file), "https://corp.example:443"]
        for provider in ("anthropic", "openai")
    ]
    state = sandbox.run("trust", "--show", variables={"MODE": "cloud"}).stdout
    assert "providers.openai.api_key from ~/.stigmer/config.yaml may go to https://corp.example:443" in state


def _rewritten(sandbox: Sandbox, credentials: list[list[str]]) -> None:
    (record,) = (sandbox.home / ".state" / "stigmer" / "trust").iterdir()
    document: dict[str, Any] = json.loads(record.read_text())
    record.write_text(json.dumps({**document, "credentials": credentials}))


def test_a_grant_for_one_key_of_a_file_is_none_for_another(sandbox: Sandbox) -> None:
    """Only the key that was granted goes to the address, whichever provider an override chooses."""
    sandbox.write(
        user="providers: {anthropic: {api_key: sk-ant-mine-1}, openai: {api_key: sk-oai-mine-1}}\n", project=TWO_KEYS
    )
    variables = {"MODE": "cloud"}
    assert sandbox.run("trust", "--with-credentials", variables=variables, stdin="y\n").returncode == 0
    source = str(sandbox.user_file)
    _rewritten(sandbox, [["providers.anthropic.api_key", source, "https://corp.example:443"]])
    found = sandbox.show(variables=variables)
    assert (found["values"]["llm.api_key"]["value"], found["ok"]) == ("********", True)
    other = sandbox.show("--llm-provider", "openai", variables=variables)
    assert [problem["code"] for problem in other["problems"]] == ["credential-binding"]
    assert other["values"]["llm.api_key"]["value"] is None


def test_the_backends_key_is_granted_apart_from_redis_password(sandbox: Sandbox) -> None:
    """One file and one host:port, two credentials."""
    sandbox.write(
        user="backend: {api_key: backend-key-1}\nredis: {password: redis-pass-1}\n",
        project="backend: {endpoint: 'corp.example:6379'}\nredis: {host: corp.example}\n",
    )
    shown = sandbox.run("trust", "--with-credentials", variables=CLOUD, stdin="y\n").stdout
    assert "backend.api_key from ~/.stigmer/config.yaml goes to corp.example:6379" in shown
    assert "redis.password from ~/.stigmer/config.yaml goes to corp.example:6379" in shown
    _rewritten(sandbox, [["backend.api_key", str(sandbox.user_file), "corp.example:6379"]])
    found = sandbox.show(variables=CLOUD)
    assert [(problem["code"], problem["key"]) for problem in found["problems"] if problem["severity"] == "error"] == [
        ("credential-binding", "redis.password")
    ]


def test_a_record_of_an_earlier_version_grants_its_settings_and_no_credential(sandbox: Sandbox) -> None:
    """Its (source, endpoint) pairs do not say which key: they are asked for again."""
    sandbox.write(project="llm: {base_url: 'https://corp.example'}\n")
    assert sandbox.run("trust", "--with-credentials", variables=CLOUD, stdin="y\n").returncode == 0
    _rewritten(sandbox, [["ANTHROPIC_API_KEY", "https://corp.example:443"]])
    found = sandbox.show(variables=CLOUD)
    assert found["values"]["llm.base_url"]["value"] == "https://corp.example"
    assert [problem["code"] for problem in found["problems"] if problem["severity"] == "error"] == [
        "credential-binding"
    ]
