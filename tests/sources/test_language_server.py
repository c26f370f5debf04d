"""What editors make of the schema: the real yaml-language-server on the file that `init --project` writes."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator

import pytest

from tests.support import npm
from tests.support.language_client import Client
from tests.support.paths import TESTS
from tests.support.sandbox import Sandbox

FOLDER = TESTS / "language_server"
SERVER = FOLDER / "node_modules" / ".bin" / "yaml-language-server"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """A project with the starter that `init --project` writes."""
    world = Sandbox(tmp_path_factory.mktemp("editor"))
    assert world.run("init", "--project").returncode == 0
    return world


@pytest.fixture(scope="module")
def client(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    npm.install(FOLDER, tmp_path_factory.getbasetemp().parent / "language-server.lock")
    with Client(["node", str(SERVER), "--stdio"], sandbox.project) as client:
        yield client


class Document:
    """The starter with settings at its end, as a project's file of its own; `first` is the line they begin on."""

    numbers = itertools.count()

    def __init__(self, sandbox: Sandbox, settings: str) -> None:
        starter = sandbox.project_file.read_text()
        self.text = starter + settings
        self.first = starter.count("\n")
        self.path = sandbox.root / f"project-{next(self.numbers)}" / ".stigmer" / "config.yaml"
        self.path.parent.mkdir(parents=True)
        shutil.copy(sandbox.project_file.parent / "schema.json", self.path.parent)


def test_keys_are_completed(sandbox: Sandbox, client: Client) -> None:
    """Sections at the top, and a section's keys in it."""
    top = Document(sandbox, "\n")
    assert {"llm", "aliases", "providers", "logging"} <= set(client.complete(top.path, top.text, top.first, 0))
    section = Document(sandbox, "llm:\n  \n")
    offered = client.complete(section.path, section.text, section.first + 1, 2)
    assert {"provider", "model", "temperature", "base_url", "max_tokens"} <= set(offered)


def test_values_are_completed(sandbox: Sandbox, client: Client) -> None:
    """Aliases for a model, choices where there are some, keys to lock, providers in an alias."""
    for settings, place, wanted in (
        ("llm:\n  model: \n", (1, 9), {"fast", "balanced", "powerful"}),
        ("llm:\n  provider: \n", (1, 12), {"anthropic", "ollama", "openai", "auto"}),
        ("logging:\n  level: \n", (1, 9), {"debug", "info", "critical"}),
        ("locked:\n  - \n", (1, 4), {"llm.model", "sandbox"}),
        ("aliases:\n  mine:\n    \n", (2, 4), {"anthropic", "ollama", "openai"}),
        ("aliases:\n  \n", (1, 2), {"fast", "balanced", "powerful"}),
    ):
        document = Document(sandbox, settings)
        offered = client.complete(document.path, document.text, document.first + place[0], place[1])
        assert wanted <= set(offered), settings


def test_hovering_over_a_key_shows_its_documentation(sandbox: Sandbox, client: Client) -> None:
    """What it is for, who may set it, its variable, and its default."""
    document = Document(sandbox, "llm:\n  model: fast\n")
    told = client.hover(document.path, document.text, document.first + 1, 4).replace("\\", "")
    assert "an alias (fast)" in told
    assert "STIGMER_LLM_MODEL" in told
    document = Document(sandbox, "backend:\n  endpoint: localhost:1\n")
    told = client.hover(document.path, document.text, document.first + 1, 4).replace("\\", "")
    assert "only once you trust it" in told
    assert "localhost:50051 in local mode" in told


@pytest.mark.parametrize(
    ("settings", "place", "message"),
    [
        ("llm:\n  modle: fast\n", (1, 2), "modle"),
        ("llm:\n  temperature: hot\n", (1, 15), "number"),
        ("llm:\n  temperature: 3\n", (1, 15), "2"),
        ("llm:\n  provider: Gemini 3\n", (1, 12), "ollama"),
        ("llm:\n  base_url: localhost\n", (1, 12), "http://localhost:11434"),
        ("aliases:\n  mine: {Olama 1: x}\n", (1, 8), "string"),
        ("locked: [llm.modle]\n", (0, 9), "llm.model"),
    ],
)
def test_a_fault_is_marked_at_its_place(
    sandbox: Sandbox, client: Client, settings: str, place: tuple[int, int], message: str
) -> None:
    """A wrong type, value or key is underlined, and the text says what is right."""
    document = Document(sandbox, settings)
    (found,) = client.open(document.path, document.text)
    assert (found["range"]["start"]["line"] - document.first, found["range"]["start"]["character"]) == place
    assert message in found["message"]


def test_a_right_file_is_left_alone(sandbox: Sandbox, client: Client) -> None:
    """The starter, and a file with one of everything, have no mark."""
    settings = (
        "llm: {model: fast, temperature: 0.2, max_tokens: null, timeout: 60}\nlogging: {level: INFO}\nlocked: [llm]\n"
        "providers:\n  ollama: {base_url: 'http://localhost:11434', api_key: {file: ~/key}}\n"
        "aliases:\n  mine: fast\n  yours: {ollama: 'phi4:14b'}\n"
    )
    for document in (Document(sandbox, ""), Document(sandbox, settings)):
        assert client.open(document.path, document.text) == []
