"""Waiting: wait_for, wait_for_async, changes()."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from stigmer_config import Closed, Config, LiveConfig
from tests.support.live_tools import DEADLINE, living, save, takes, until
from tests.support.sandbox import Sandbox


def timeout_is(value: float | None) -> Callable[[Config], bool]:
    return lambda config: config.llm.timeout == value


def write(sandbox: Sandbox, number: int) -> None:
    save(sandbox.user_file, f"mode: local\nllm: {{timeout: {number}}}\n")


def waits(live: LiveConfig, number: int = 1) -> bool:
    """Waits until so many wait for this LiveConfig."""
    return until(lambda: len(live._waiters._signals) == number)


def test_wait_for_looks_at_once(sandbox: Sandbox) -> None:
    """What holds already is returned without a wait, with a timeout of 0 and from asyncio too."""
    with living(sandbox) as live:
        assert live.wait_for(timeout_is(None)) is live.current
        assert live.wait_for(timeout_is(None), timeout=0) is live.current
        assert asyncio.run(live.wait_for_async(timeout_is(None), timeout=0)) is live.current


def test_wait_for_returns_the_config_for_which_it_holds(sandbox: Sandbox) -> None:
    """A waiter comes back with the Config that matched, however many changes come before it."""
    with living(sandbox) as live, ThreadPoolExecutor() as pool:
        waiting = pool.submit(live.wait_for, timeout_is(3.0), DEADLINE)
        for number in (1, 2, 3):
            assert waits(live)
            assert not waiting.done()
            write(sandbox, number)
            takes(live, timeout=float(number))
        assert waiting.result(DEADLINE).llm.timeout == 3.0


def test_wait_for_ends_with_its_timeout(sandbox: Sandbox) -> None:
    """`TimeoutError` after the time, not before; the same for asyncio; no waiter is left over."""
    with living(sandbox) as live:
        for wait in (live.wait_for, lambda *a, **k: asyncio.run(live.wait_for_async(*a, **k))):
            for seconds in (0.05, 0, -1):
                begin = time.monotonic()
                with pytest.raises(TimeoutError):
                    wait(timeout_is(7.0), timeout=seconds)
                assert time.monotonic() - begin >= seconds
        assert waits(live, 0)


def test_what_the_predicate_raises_comes_out(sandbox: Sandbox) -> None:
    """A fault of the predicate is its caller's; a TimeoutError of its own is not taken for ours."""

    def fail(_: Config) -> bool:
        raise TimeoutError("of the predicate")

    with living(sandbox) as live:
        with pytest.raises(TimeoutError, match="of the predicate"):
            live.wait_for(fail, timeout=1)
        with pytest.raises(TimeoutError, match="of the predicate"):
            asyncio.run(live.wait_for_async(fail, timeout=1))
        assert waits(live, 0)


def test_closing_ends_every_wait(sandbox: Sandbox) -> None:
    """Waiters get `Closed` when it is closed, in threads and in event loops; later ones, too."""
    with living(sandbox) as live, ThreadPoolExecutor() as pool:
        waiting = [
            pool.submit(live.wait_for, timeout_is(7.0)),
            pool.submit(live.wait_for, timeout_is(7.0), DEADLINE),
            pool.submit(lambda: asyncio.run(live.wait_for_async(timeout_is(7.0)))),
        ]
        assert waits(live, 3)
        live.close()
        for future in waiting:
            with pytest.raises(Closed):
                future.result(DEADLINE)
        with pytest.raises(Closed):
            live.wait_for(timeout_is(None), timeout=0)
        with pytest.raises(Closed):
            asyncio.run(live.wait_for_async(timeout_is(None), timeout=0))


def test_the_event_loop_goes_on_while_it_waits(sandbox: Sandbox) -> None:
    """Others of the loop run meanwhile, and the wait ends in the loop's own thread."""

    async def main(live: LiveConfig) -> Config:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                if ticks == 5:
                    write(sandbox, 1)
                await asyncio.sleep(0.001)

        ticking = asyncio.create_task(tick())
        config = await live.wait_for_async(timeout_is(1.0), timeout=DEADLINE)
        ticking.cancel()
        assert ticks >= 5
        return config

    with living(sandbox) as live:
        assert asyncio.run(main(live)) is live.current


def test_a_cancelled_wait_leaves_nothing(sandbox: Sandbox) -> None:
    """A task that waits can be cancelled."""

    async def main(live: LiveConfig) -> None:
        task = asyncio.create_task(live.wait_for_async(timeout_is(7.0)))
        assert await asyncio.to_thread(waits, live)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with living(sandbox) as live:
        asyncio.run(main(live))
        assert waits(live, 0)


def test_changes_yields_the_current_then_each_newest_and_ends(sandbox: Sandbox) -> None:
    """The current Config first, then a newer one after each change; `close()` ends the loop."""

    async def main(live: LiveConfig) -> list[float | None]:
        seen = []
        async for config in live.changes():
            seen.append(config.llm.timeout)
            if len(seen) < 4:
                write(sandbox, len(seen))
            else:
                threading.Thread(target=live.close).start()
        return seen

    with living(sandbox) as live:
        assert asyncio.run(asyncio.wait_for(main(live), DEADLINE)) == [None, 1.0, 2.0, 3.0]
        assert waits(live, 0)


def test_one_change_waits_at_most(sandbox: Sandbox) -> None:
    """A consumer that is slow gets the newest when it comes back, not all that passed meanwhile."""

    async def main(live: LiveConfig) -> list[float | None]:
        seen = []
        async for config in live.changes():
            seen.append(config.llm.timeout)
            if len(seen) == 1:
                for number in (1, 2, 3):
                    write(sandbox, number)
                    await asyncio.to_thread(takes, live, timeout=float(number))
            else:
                break
        return seen

    with living(sandbox) as live:
        assert asyncio.run(asyncio.wait_for(main(live), DEADLINE)) == [None, 3.0]


def test_changes_is_silent_about_what_is_effectively_the_same(sandbox: Sandbox) -> None:
    """A rewrite with the same values, and a change that was taken back meanwhile, yield nothing."""

    async def main(live: LiveConfig) -> list[float | None]:
        seen = []
        async for config in live.changes():
            seen.append(config.llm.timeout)
            if len(seen) == 1:
                for text in ("# other words\nmode: local\n", "mode: local\nllm: {timeout: 5}\n", "mode: local\n"):
                    save(sandbox.user_file, text)
                    await asyncio.to_thread(live.reload)
                threading.Timer(0.1, write, (sandbox, 1)).start()
            else:
                break
        return seen

    with living(sandbox) as live:
        assert asyncio.run(asyncio.wait_for(main(live), DEADLINE)) == [None, 1.0]


def test_changes_of_a_closed_one_ends_at_once(sandbox: Sandbox) -> None:
    """The loop's body does not run any more, and nothing raises."""

    async def main(live: LiveConfig) -> list[Config]:
        return [config async for config in live.changes()]

    with living(sandbox) as live:
        pass
    assert asyncio.run(main(live)) == []


def test_many_may_wait_at_once(sandbox: Sandbox) -> None:
    """Threads and tasks wait concurrently, each for its own condition; a closed loop does not affect others."""

    async def tasks(live: LiveConfig) -> list[Config]:
        return await asyncio.gather(*(live.wait_for_async(timeout_is(float(n)), DEADLINE) for n in (1, 1, 1)))

    async def leaves(live: LiveConfig) -> None:
        async for _ in live.changes():
            return

    with living(sandbox) as live, ThreadPoolExecutor() as pool:
        asyncio.run(leaves(live))
        waiting = [pool.submit(live.wait_for, timeout_is(1.0), DEADLINE) for _ in range(3)]
        loops = pool.submit(lambda: asyncio.run(tasks(live)))
        assert waits(live, 6)
        write(sandbox, 1)
        assert {id(future.result(DEADLINE)) for future in waiting} == {id(live.current)}
        assert [config.llm.timeout for config in loops.result(DEADLINE)] == [1.0] * 3
