"""How much a reload does. Work is counted in function calls, never in time."""

from __future__ import annotations

import itertools

from stigmer_config import Reloaded, load
from tests.support.live_tools import living, save, world
from tests.support.sandbox import Sandbox
from tests.support.work import calls

USER = """\
mode: local
llm: {{model: fast, max_tokens: {}}}
providers:
  openai: {{model: gpt-6.1-terra, max_retries: 4}}
  ollama: {{model: "qwen2.5-coder:7b", num_ctx: 16384}}
aliases: {{quick: fast, steady: quick, deep: steady}}
temporal: {{namespace: agents, task_queue: runner}}
"""
PROJECT = "llm: {temperature: 0.2, timeout: 30.0}\naliases: {review: deep, draft: quick}\n"


def test_a_reload_of_one_changed_file_does_little_more_than_a_load(sandbox: Sandbox) -> None:
    """It compares, logs and publishes besides; and it parses one file, and lists the effective values once."""
    sandbox.write(user=USER.format(1), project=PROJECT)
    environment, numbers = world(sandbox), itertools.count(2)

    def change() -> None:
        save(sandbox.user_file, USER.format(next(numbers)))

    def change_and_load() -> None:
        change()
        load(environment=environment)

    with living(sandbox) as live:
        live._follower._watcher.close()  # this thread reloads, and no other

        def change_and_reload() -> None:
            change()
            assert isinstance(live.reload(), Reloaded)

        reloading = calls(change_and_reload)
    assert reloading < 2.0 * calls(change_and_load)
