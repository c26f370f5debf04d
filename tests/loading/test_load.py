"""The path of a value: nothing is built twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest

from stigmer_config.llm import combined_layers
from stigmer_config.trust import grants
from tests.support.sandbox import Sandbox


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often merge, aliases and provider selection are built."""
    counts: Counter[str] = Counter()

    def counted(name: str) -> None:
        built = getattr(combined_layers, name)

        def build(*arguments: Any) -> Any:
            counts[name] += 1
            return built(*arguments)

        monkeypatch.setattr(combined_layers, name, build)

    for name in ("merge", "ModelNames", "select"):
        counted(name)
    return counts


def test_a_load_without_a_project_builds_once(sandbox: Sandbox, builds: Counter[str]) -> None:
    sandbox.write(user="aliases: {mine: fast}\n")
    sandbox.load({"MODE": "local"})
    assert builds == {"merge": 1, "ModelNames": 1, "select": 1}


@pytest.mark.parametrize(
    "project",
    ["llm: {temperature: 0.5}", "llm: {model: fast}\naliases: {mine: 'x:1b', other: fast}", "sandbox: {root_dir: /x}"],
)
def test_a_project_is_built_once_with_and_once_without(sandbox: Sandbox, builds: Counter[str], project: str) -> None:
    """A refusal of a key that has no say in the model costs nothing more."""
    sandbox.write(user="locked: [backend]\n", project=project)
    sandbox.read({"MODE": "local"})
    assert builds == {"merge": 2, "ModelNames": 2, "select": 2}


def test_a_granted_project_is_built_as_often(sandbox: Sandbox, builds: Counter[str]) -> None:
    sandbox.write(project="llm: {provider: openai, model: gpt-4o}\naliases: {mine: 'openai:gpt-4o'}\n")
    environment = sandbox.environment({"MODE": "local", "OPENAI_API_KEY": "k"})
    project = sandbox.read({"MODE": "local"}).layers.project
    assert project is not None
    refused = {key: refusal.entry for key, refusal in project.refused.items()}
    grants.record(environment, msgspec.structs.replace(project, entries={**project.entries, **refused}))
    builds.clear()
    assert sandbox.load({"MODE": "local", "OPENAI_API_KEY": "k"}).llm.provider == "openai"
    assert builds == {"merge": 2, "ModelNames": 2, "select": 2}
