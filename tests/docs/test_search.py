"""A search of the site for the words of a question finds the page that answers it."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.paths import REPOSITORY

# The words of a question, and the pages that answer it.
QUESTIONS = {
    "gateway": {"providers"},
    "LM Studio": {"providers"},
    "vLLM": {"providers"},
    "OpenRouter": {"providers"},
    "Azure OpenAI": {"providers"},
    "Bedrock": {"providers"},
    "Vertex": {"providers"},
    "model per agent": {"agents"},
    "model per task": {"agents"},
    "alias per role": {"agents", "aliases"},
    "top_p": {"providers"},
    "headers": {"providers"},
    "parameters": {"providers"},
    "add a provider": {"providers"},
    "rotate key": {"rotation"},
    "Python API": {"api"},
    "LiveConfig.subscribe": {"api"},
    "prefork": {"prefork"},
    "gunicorn preload": {"prefork"},
    "Celery": {"prefork"},
    "password manager": {"secrets"},
    "1Password": {"secrets"},
    "systemd credentials": {"secrets", "containers"},
    ".env direnv": {"secrets"},
    "execution_config.model_name": {"agents"},
    "secrets in CI": {"ci"},
    "GitHub Actions": {"ci"},
    "Docker Compose": {"containers"},
    "pytest fixture": {"testing"},
    "dynaconf": {"dynaconf"},
    "pydantic": {"pydantic"},
    "unknown-key": {"errors"},
    "variables of other tools": {"reference"},
    "reload rejected": {"reload", "kubernetes"},
}


class Section(NamedTuple):
    """One section of the site's search index."""

    page: str
    title: Counter[str]
    text: Counter[str]


def words(text: str) -> list[str]:
    """Lower-case words as a search takes them, without a plural's s."""
    plain = re.sub(r"<[^>]+>", " ", text).lower()
    return [word if len(word) < 4 else word.removesuffix("s") for word in re.findall(r"\w\w+", plain)]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> list[Section]:
    """What the built site's search knows."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(REPOSITORY / "docs", folder / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "mkdocs.yml", folder)
    command = [str(Path(sys.executable).parent / "zensical"), "build"]
    subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=True)
    items = json.loads((folder / "site" / "search.json").read_text(encoding="utf-8"))["items"]
    return [
        Section(item["location"].partition("/")[0], Counter(words(item["title"])), Counter(words(item["text"])))
        for item in items
    ]


def search(index: list[Section], question: str) -> list[str]:
    """The pages with a section that has every word, the best first: rare words and those in headings count more."""
    asked = words(question)
    rarity = {
        word: math.log(len(index) / (1 + sum(word in s.title or word in s.text for s in index))) for word in asked
    }
    scores: dict[str, float] = {}
    for section in index:
        if all(word in section.title or word in section.text for word in asked):
            score = sum(rarity[word] * (8 * (word in section.title) + math.log1p(section.text[word])) for word in asked)
            scores[section.page] = max(score, scores.get(section.page, 0.0))
    return sorted(scores, key=lambda page: -scores[page])


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_search_finds_the_page_that_answers(index: list[Section], question: str) -> None:
    """It is among the first three pages, the home page aside."""
    found = [page for page in search(index, question) if page]
    assert QUESTIONS[question] & set(found[:3]), found


def test_a_search_for_what_is_on_no_page_finds_none(index: list[Section]) -> None:
    """Otherwise the other tests could not fail."""
    assert search(index, "zookeeper") == []
