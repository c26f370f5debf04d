"""Subscriptions: who is called, with what, in which order, and who is left in peace."""

from __future__ import annotations

import threading
import time

import pytest

from stigmer_config import Change, Closed, Config, Reloaded, Unchanged
from tests.support.live_tools import DEADLINE, LOCAL, Calls, living, logged, save, takes
from tests.support.sandbox import Sandbox


def test_a_callback_gets_the_new_config_and_what_changed(sandbox: Sandbox) -> None:
    """There is no first call; each change is passed once, with old and new values and their origins."""
    with living(sandbox) as live:
        calls = Calls()
        live.subscribe(calls)
        save(sandbox.user_file, "mode: local\nllm:\n  timeout: 8\n")
        assert calls.reaches(1)
        [(new, [change])] = [(new, list(changes)) for new, changes in calls.seen]
        assert new is live.current
        assert (change.key, change.old, change.new, change.old_origin) == ("llm.timeout", None, 8.0, None)
        assert str(change.new_origin) == f"{sandbox.user_file}:3:12"


@pytest.mark.parametrize(
    ("path", "text", "keys"),
    [
        ("llm", "llm: {timeout: 1}", {"llm.timeout"}),
        ("llm.timeout", "llm: {timeout: 1, max_retries: 2}", {"llm.timeout"}),
        ("llm.model", "llm: {model: fast}", {"llm.model", "llm.alias", "llm.model_name", "llm.model_id"}),
        ("llm.model_id", "llm: {model: fast}", {"llm.model_id"}),
        ("sandbox", "llm: {timeout: 1}\nsandbox: {root_dir: x}", {"sandbox.root_dir"}),
        ("providers.ollama", "providers: {ollama: {timeout: 3}}", {"providers.ollama.timeout"}),
        ("aliases.mine", "aliases: {mine: fast, other: fast}", {"aliases.mine"}),
        ("aliases", "llm: {timeout: 1}\naliases: {mine: fast}", {"aliases.mine"}),
        ("locked", "locked: [llm.model]", {"locked"}),
    ],
)
def test_a_path_covers_the_effective_values_below_it(sandbox: Sandbox, path: str, text: str, keys: set[str]) -> None:
    """A subscription gets only the changes below its path."""
    with living(sandbox) as live:
        calls = Calls()
        live.subscribe(calls, path)
        save(sandbox.user_file, f"{LOCAL}{text}\n")
        assert calls.reaches(1)
        assert calls.keys == [keys]


def test_a_model_covers_the_target_of_its_alias(sandbox: Sandbox) -> None:
    """Redefining an alias calls who subscribed to `llm.model` and to `llm`, though the model's string is the same."""
    sandbox.write(user="mode: local\nllm: {model: mine}\naliases: {mine: 'one:1b'}\n")
    with living(sandbox) as live:
        model, section, timeout = Calls(), Calls(), Calls()
        live.subscribe(timeout, "llm.timeout")
        live.subscribe(section, "llm")
        live.subscribe(model, "llm.model")
        save(sandbox.user_file, "mode: local\nllm: {model: mine}\naliases: {mine: 'two:2b'}\n")
        assert model.reaches(1)
        assert model.keys == section.keys == [{"llm.model_name", "llm.model_id"}]
        assert not timeout.seen


def test_a_path_is_silent_when_nothing_below_it_changed_in_effect(sandbox: Sandbox) -> None:
    """A new origin, a value that loses, another provider's setting: `llm` stays silent."""
    sandbox.write(project="llm: {timeout: 5}\n", user=LOCAL)
    with living(sandbox) as live:
        llm, everything = Calls(), Calls()
        live.subscribe(llm, "llm")
        live.subscribe(everything)
        save(sandbox.user_file, "mode: local\nllm: {timeout: 9}\n")  # loses against the project's
        assert isinstance(live.reload(), Unchanged)
        save(sandbox.user_file, "mode: local\nllm: {timeout: 9}\nproviders: {openai: {timeout: 1}}\n")
        assert everything.reaches(1)
        assert everything.keys == [{"providers.openai.timeout"}]
        save(sandbox.project_file, "# the user's counts now\n")
        assert llm.reaches(1)
        assert llm.keys == [{"llm.timeout"}]


def test_callbacks_run_in_the_order_of_subscription_each_generation_whole(sandbox: Sandbox) -> None:
    """All are called for one generation before any is for the next."""
    with living(sandbox) as live:
        order: list[tuple[int, int]] = []
        last = Calls()
        for number in range(5):

            def note(new: Config, _: object, number: int = number) -> None:
                order.append((new.generation, number))

            live.subscribe(note)
        live.subscribe(last)
        for number in range(1, 4):
            save(sandbox.user_file, f"mode: local\nllm: {{timeout: {number}}}\n")
            assert last.reaches(number)
        assert order == [(generation, number) for generation in (2, 3, 4) for number in range(5)]


def test_a_thousand_subscribers_are_all_called(sandbox: Sandbox) -> None:
    """Each of a thousand is called once for a change that concerns it, and none twice."""
    with living(sandbox) as live:
        called: list[int] = []
        done = threading.Event()
        for number in range(1000):
            path = ("llm", "llm.timeout", "sandbox")[number % 3]
            live.subscribe(lambda *_, number=number: called.append(number), path)
        live.subscribe(lambda *_: done.set())
        save(sandbox.user_file, "mode: local\nllm: {timeout: 1}\n")
        assert done.wait(DEADLINE)
        assert called == [number for number in range(1000) if number % 3 != 2]


def test_bursts_coalesce_for_a_slow_callback(sandbox: Sandbox) -> None:
    """While a callback is busy swaps continue; it then gets the newest, with the difference from its last Config."""
    with living(sandbox) as live:
        begun, go_on = threading.Event(), threading.Event()
        calls = Calls()

        def slow(new: Config, changes: tuple[Change, ...]) -> None:
            begun.set()
            assert go_on.wait(DEADLINE)
            calls(new, changes)

        live.subscribe(slow)
        save(sandbox.user_file, "mode: local\nllm: {timeout: 1}\n")
        assert begun.wait(DEADLINE)
        for text in ("llm: {timeout: 2}", "llm: {timeout: 1, max_retries: 1}", "llm: {timeout: 1, max_retries: 2}"):
            save(sandbox.user_file, f"mode: local\n{text}\n")
            assert isinstance(live.reload(), (Reloaded, Unchanged))
        assert takes(live, max_retries=2).generation == 5
        go_on.set()
        assert calls.reaches(2)
        assert [new.generation for new, _ in calls.seen] == [2, 5]
        assert [(change.key, change.old, change.new) for change in calls.seen[1][1]] == [("llm.max_retries", None, 2)]


def test_a_change_that_is_undone_calls_no_subscriber(sandbox: Sandbox) -> None:
    """A → B → A while a callback is busy: who saw A is not called again, who saw B is."""
    with living(sandbox) as live:
        begun, go_on = threading.Event(), threading.Event()
        before, after = Calls(), Calls()

        def busy(*_: object) -> None:
            begun.set()
            assert go_on.wait(DEADLINE)

        live.subscribe(busy, "llm.max_retries")
        live.subscribe(before, "llm.timeout")
        save(sandbox.user_file, "mode: local\nllm: {max_retries: 1}\n")
        assert begun.wait(DEADLINE)
        for text in ("max_retries: 1, timeout: 1", "max_retries: 1"):
            save(sandbox.user_file, f"mode: local\nllm: {{{text}}}\n")
            live.reload()
        live.subscribe(after)
        assert live.current.generation == 4
        go_on.set()
        save(sandbox.user_file, "mode: local\nllm: {max_retries: 2}\n")
        assert after.reaches(1)
        assert not before.seen
        assert after.keys == [{"llm.max_retries"}]


def test_a_late_subscriber_never_gets_an_older_config(sandbox: Sandbox) -> None:
    """A subscriber that is added after a swap gets neither that generation nor an earlier one."""
    with living(sandbox) as live:
        begun, go_on = threading.Event(), threading.Event()

        def busy(*_: object) -> None:
            begun.set()
            assert go_on.wait(DEADLINE)

        live.subscribe(busy, "llm.timeout")
        save(sandbox.user_file, "mode: local\nllm: {timeout: 1}\n")
        assert begun.wait(DEADLINE)
        save(sandbox.user_file, "mode: local\nllm: {timeout: 1, max_retries: 1}\n")
        takes(live, max_retries=1)
        late = Calls()
        live.subscribe(late)  # generation 3 is current, and no subscriber has got it yet
        go_on.set()
        save(sandbox.user_file, "mode: local\nllm: {timeout: 1, max_retries: 2}\n")
        assert late.reaches(1)
        assert [(new.generation, change.old, change.new) for new, [change] in late.seen] == [(4, 1, 2)]


def test_unsubscribed_means_not_called(sandbox: Sandbox) -> None:
    """What `subscribe` returns ends it: before the next change, and within a round too. Twice does no harm."""
    with living(sandbox) as live:
        gone, other, last = Calls(), Calls(), Calls()
        leave = live.subscribe(gone)
        live.subscribe(lambda *_: leave_other())
        leave_other = live.subscribe(other)
        live.subscribe(last)
        leave()
        leave()
        save(sandbox.user_file, "mode: local\nllm: {timeout: 1}\n")
        assert last.reaches(1)
        assert not gone.seen
        assert not other.seen


def test_a_callback_that_raises_does_not_affect_others(sandbox: Sandbox) -> None:
    """It is logged, the others are called, and it is called again the next time; SystemExit ends nothing."""
    sandbox.write(user=LOCAL)
    with logged() as events, living(sandbox) as live:
        calls = Calls()

        def raises(new: Config, _: object) -> None:
            raise ValueError("of mine") if new.generation % 2 else SystemExit(3)

        live.subscribe(raises)
        live.subscribe(calls)
        for number in (1, 2):
            save(sandbox.user_file, f"mode: local\nllm: {{timeout: {number}}}\n")
            assert calls.reaches(number)
    failed = [event for event in events if event["event"] == "config.callback_failed"]
    assert ["SystemExit: 3" in failed[0]["exception"], "ValueError: of mine" in failed[1]["exception"]] == [True, True]
    assert all("raises" in event["callback"] for event in failed)


def test_a_callback_may_reload(sandbox: Sandbox) -> None:
    """`reload()` in a callback works, and all callbacks, including this one, get its changes afterwards."""
    with living(sandbox) as live:
        calls = Calls()

        def reloads(new: Config, _: object) -> None:
            if new.generation == 2:
                save(sandbox.user_file, "mode: local\nllm: {timeout: 2}\n")
                live.reload()  # or the watcher has been first
                assert live.current.generation == 3

        live.subscribe(reloads)
        live.subscribe(calls)
        save(sandbox.user_file, "mode: local\nllm: {timeout: 1}\n")
        assert calls.reaches(2)
        assert [new.generation for new, _ in calls.seen] == [2, 3]


def test_a_callback_may_subscribe_and_wait(sandbox: Sandbox) -> None:
    """A callback can subscribe (from the next change on) and wait for a later Config."""
    with living(sandbox) as live:
        late, waited = Calls(), Calls()

        def first(new: Config, changes: tuple[Change, ...]) -> None:
            if new.generation == 2:
                live.subscribe(late)
                save(sandbox.user_file, "mode: local\nllm: {timeout: 2}\n")
                waited(live.wait_for(lambda c: c.llm.timeout == 2.0, DEADLINE), changes)

        live.subscribe(first)
        save(sandbox.user_file, "mode: local\nllm: {timeout: 1}\n")
        assert late.reaches(1)
        assert [new.generation for new, _ in (*waited.seen, *late.seen)] == [3, 3]


@pytest.mark.parametrize("path", ["lllm", "llm.modle", "llm.", ".", "LLM"])
def test_a_path_that_does_not_exist_is_refused(sandbox: Sandbox, path: str) -> None:
    """A typing error in a path raises at once."""
    with living(sandbox) as live, pytest.raises(KeyError, match="there is no key or section"):
        live.subscribe(lambda *_: None, path)


def test_what_cannot_be_called_is_refused(sandbox: Sandbox) -> None:
    """A number, or what a callback returned instead of the callback."""
    with living(sandbox) as live, pytest.raises(TypeError, match="not int"):
        live.subscribe(3)  # type: ignore[arg-type]


def test_a_coroutine_is_no_callback(sandbox: Sandbox) -> None:
    """A coroutine function would never run: it is refused, with the way that works."""

    async def callback(new: Config, changes: tuple[Change, ...]) -> None: ...

    with living(sandbox) as live, pytest.raises(TypeError, match="async for config"):
        live.subscribe(callback)


def test_subscribing_after_the_end_raises(sandbox: Sandbox) -> None:
    """A closed LiveConfig takes no subscription and no reload."""
    with living(sandbox) as live:
        pass
    with pytest.raises(Closed):
        live.subscribe(lambda *_: None)
    with pytest.raises(Closed):
        live.reload()


def test_a_callback_begins_soon_after_the_swap(sandbox: Sandbox) -> None:
    """An event reports a change, not the slow poll: well under a second, even on a busy machine."""
    with living(sandbox) as live:
        calls = Calls()
        live.subscribe(calls)
        took = []
        for number in range(1, 6):
            begin = time.monotonic()
            save(sandbox.user_file, f"mode: local\nllm: {{timeout: {number}}}\n")
            assert calls.reaches(number)
            took.append(time.monotonic() - begin)
        assert min(took) < 0.3
