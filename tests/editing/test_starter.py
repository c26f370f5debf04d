"""Setting a key in a file from `init` uncomments the starter's example of it."""

from __future__ import annotations

import pytest

from stigmer_config.editing.keys import with_value
from stigmer_config.editing.starter import starter
from tests.support.sandbox import Sandbox


@pytest.mark.parametrize(
    ("key", "value", "before", "after"),
    [
        ("mode", "cloud", ["# mode: local "], ["mode: cloud "]),
        ("llm.model", "fast", ["# llm:", "#   model: balanced "], ["llm:", "  model: fast "]),
        ("llm.temperature", 0.5, ["# llm:", "#   temperature: 0.2"], ["llm:", "  temperature: 0.5"]),
        (
            "providers.ollama.base_url",
            "http://gpu-box:11434",
            ["# providers:", "#   ollama:", "#     base_url: http://localhost:11434"],
            ["providers:", "  ollama:", "    base_url: http://gpu-box:11434"],
        ),
    ],
)
def test_an_example_is_uncommented(key: str, value: object, before: list[str], after: list[str]) -> None:
    """The lines of the key and its sections change, and no line is added; other examples stay comments."""
    old = starter("user").splitlines()
    new = with_value(starter("user").encode(), key, value).decode().splitlines()
    changed = [(was, now) for was, now in zip(old, new, strict=True) if was != now]
    assert len(changed) == len(before)
    for (was, now), was_start, now_start in zip(changed, before, after, strict=True):
        assert was.startswith(was_start)
        assert now.startswith(now_start)


def test_the_examples_of_a_section_are_uncommented_one_by_one() -> None:
    """The second key of a section goes where its example is, below a section that is in use by now."""
    data = with_value(starter("user").encode(), "llm.temperature", 0.5)
    text = with_value(data, "llm.model", "fast").decode()
    assert len(text.splitlines()) == len(starter("user").splitlines())
    assert "llm:\n  model: fast " in text
    assert "\n  temperature: 0.5\n" in text


def test_a_comment_of_the_user_stays() -> None:
    """A comment that only looks like the example is not touched; the key is added below."""
    text = "# mode: local\n\nllm:\n  timeout: 5\n"
    assert with_value(text.encode(), "mode", "cloud").decode() == f"{text}\nmode: cloud\n"


def test_init_and_set_leave_one_line_for_the_mode(sandbox: Sandbox) -> None:
    """The first commands of the README."""
    assert sandbox.run("init").returncode == 0
    assert sandbox.run("set", "mode", "local").returncode == 0
    written = (sandbox.home / ".stigmer" / "config.yaml").read_text(encoding="utf-8")
    assert [line.split()[:2] for line in written.splitlines() if "mode:" in line] == [["mode:", "local"]]
