"""No `repr` of an object used in a load contains a secret: error reporters capture local variables."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any

import pytest

from stigmer_config import LiveConfig
from tests.support.sandbox import Sandbox

CANARY = "c4n4ry"
USER = f"""\
providers:
  anthropic: {{api_key: sk-{CANARY}-file}}
  openai: {{api_key: {{env: OTHER_KEY}}}}
backend: {{api_key: {CANARY}-backend}}
llm: {{provider: anthropic, max_tokens: much}}
nonsense: {{password: {CANARY}-nonsense}}
"""
VARIABLES = {
    "MODE": "cloud",
    "OPENAI_API_KEY": f"sk-{CANARY}-vendor",
    "OTHER_KEY": f"sk-{CANARY}-referred",
    "STIGMER_LLM_API_KEY": f"sk-{CANARY}-variable",
    "STIGMER_LLM_BASE_URL": f"https://u:{CANARY}@x",
}


def ours(value: object, depth: int = 3) -> list[object]:
    """The objects of this package in a value: those whose `repr` is ours to choose."""
    if type(value).__module__.partition(".")[0] == "stigmer_config":
        return [value]
    if depth and isinstance(value, Mapping):
        return [found for item in list(value.values()) for found in ours(item, depth - 1)]
    if depth and type(value) in (list, tuple, set, frozenset):
        return [found for item in list(value) for found in ours(item, depth - 1)]  # type: ignore[call-overload]
    return []


class Watch:
    """Looks at the local variables of each function of the package as it returns."""

    def __init__(self) -> None:
        self.leaks: set[str] = set()
        self.looked_at = 0

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event != "return" or "stigmer_config" not in frame.f_code.co_filename:
            return
        sys.setprofile(None)
        for name, value in [*frame.f_locals.items(), ("return", argument)]:
            for found in ours(value):
                self.looked_at += 1
                try:
                    text = repr(found)
                except AttributeError:  # not yet initialised
                    continue
                if CANARY in text:
                    self.leaks.add(
                        f"{frame.f_code.co_qualname if sys.version_info >= (3, 11) else ''}: {name}: {type(found)}"
                    )
        sys.setprofile(self)


@pytest.fixture
def watch() -> Watch:
    return Watch()


def test_no_local_variable_of_a_load_shows_a_secret(sandbox: Sandbox, watch: Watch) -> None:
    sandbox.write(user=USER, project="llm: {base_url: 'https://evil.example'}\n")
    flags = {"providers.ollama.api_key": f"{CANARY}-flag"}
    overrides = [{"llm.api_key": f"sk-{CANARY}-override"}]
    sys.setprofile(watch)
    try:
        loaded = sandbox.read(VARIABLES, flags=flags, overrides=overrides)
    finally:
        sys.setprofile(None)
    assert watch.looked_at > 100
    assert not watch.leaks
    assert CANARY not in repr(loaded)
    assert CANARY not in repr(sandbox.environment(VARIABLES))


def test_no_local_variable_of_a_worker_shows_a_secret(sandbox: Sandbox, watch: Watch) -> None:
    """Its start and a reload, in the thread that asks for them."""
    sandbox.write(user=USER.replace("much", "7").replace("nonsense: {password", "#"))
    variables = {name: value for name, value in VARIABLES.items() if not name.endswith("BASE_URL")}
    sys.setprofile(watch)
    try:
        with LiveConfig.start(environment=sandbox.environment(variables)) as live:
            sandbox.write(user=sandbox.user_file.read_text() + "# changed\n")
            live.reload()
    finally:
        sys.setprofile(None)
    assert watch.looked_at > 100
    assert not watch.leaks
