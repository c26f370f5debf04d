"""The operations within a worker's process. Run as a program it prints its figures as JSON.

`warm.py work ROUNDS FILE…` compares with the peers, `warm.py kept COUNT` counts bytes,
`warm.py growth ROUNDS SIZE=HOME…` loads ever more aliases.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import itertools
import json
import os
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import peers
from msgspec.structs import replace
from reference import MERGED
from timing import interleaved, repeated

from stigmer_config import Config, Environment, LiveConfig, Secret, load

PLAIN = {"llm": {"temperature": 0.25, "max_tokens": 99}}
ALIAS = {"llm": {"model": "draft", "temperature": 0.25}}
PROVIDER = {"llm": {"provider": "openai", "max_tokens": 99}}

OVERRIDES = {
    "structs.replace": "derive(config, plain)",
    "structs.replace, bare": "replace(config, llm=replace(config.llm, temperature=0.25, max_tokens=99))",
    "override": "config.override(plain)",
    "override, alias": "config.override(alias)",
    "override, provider": "config.override(provider)",
}
READ = "config.llm.model_name"


@dataclasses.dataclass(frozen=True, slots=True)
class _Frozen:
    """A frozen slots attribute, as deep as ours."""

    llm: Any
    model_name: str = "claude-sonnet-4.6"


def derive(config: Config, values: dict[str, Any]) -> Config:
    """The baseline of `override`: msgspec converts the same mapping to the same frozen structs, unchecked."""
    return replace(config, llm=replace(config.llm, **values["llm"]))


def _names(config: Config) -> dict[str, Any]:
    values = {"plain": PLAIN, "alias": ALIAS, "provider": PROVIDER}
    return {"config": config, "replace": replace, "derive": derive, **values}


def work(rounds: int, files: list[str]) -> dict[str, Any]:
    """Seconds of loads, overrides and reads, interleaved."""
    config = load()
    _check(config)
    loads = {"load": repeated("load()", {"load": load}, 1), "load, changed files": _changed_loads(files)}
    loads |= {name: repeated("peer()", {"peer": peer}, 1) for name, peer in peers.loads(files).items()}
    overrides = {name: repeated(statement, _names(config), 50) for name, statement in OVERRIDES.items()}
    frozen = _Frozen(_Frozen(None))
    reads = {
        "read": repeated(READ, {"config": config}, 20_000),
        "slots": repeated(READ, {"config": frozen}, 20_000),
    }
    return {
        "load": interleaved(loads, rounds),
        "override": interleaved(overrides, rounds * 5),
        "first override": _firsts(rounds * 5),
        "read": interleaved(reads, rounds),
    }


def _changed_loads(files: list[str], environment: Environment | None = None) -> Callable[[], float]:
    """CPU seconds of a load after these files have changed, so that each is parsed again.

    Those of this thread: a worker that follows the files reloads meanwhile.
    """
    texts = {Path(file): Path(file).read_text(encoding="utf-8") for file in files}
    numbers = itertools.count()

    def once() -> float:
        seconds = 0.0
        for _ in range(10):
            for file, text in texts.items():
                file.write_text(f"{text}# {next(numbers)}\n", encoding="utf-8")
            start = time.thread_time()
            load(environment=environment)
            seconds += time.thread_time() - start
        return seconds / 10

    return once


def _firsts(rounds: int) -> dict[str, list[float]]:
    """Seconds of the first override of a new Config, and of the next one."""
    took: dict[str, list[float]] = {"first": [], "next": []}
    for _ in range(rounds):
        config = load()
        for seconds in took.values():
            start = time.perf_counter()
            config.override(ALIAS)
            seconds.append(time.perf_counter() - start)
    return took


def _check(config: Config) -> None:
    """Checks that the measured operations do what they should."""
    loaded = {key: _plain(config.explain(key).value) for key in MERGED}
    peers.check("load()", loaded)
    plain, alias, provider = (config.override(values).llm for values in (PLAIN, ALIAS, PROVIDER))
    found = (plain.temperature, plain.max_tokens, alias.model_name, provider.model_name, provider.max_tokens)
    if found != (0.25, 99, "claude-haiku-4.5", "gpt-6.1-terra", 99):
        raise RuntimeError(f"the overrides do not give what they should: {found}")


def _plain(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    return list(value) if isinstance(value, tuple) else value


def kept(count: int) -> dict[str, float]:
    """Bytes of one retained derived Config, including its values; each has its own values."""
    config = load()
    return {
        "structs.replace": _bytes_each(
            lambda values: derive(config, values),
            ({"llm": {"temperature": number / count, "max_tokens": number + 999}} for number in range(count)),
        ),
        "override": _bytes_each(
            config.override,
            ({"llm": {"temperature": number / count, "max_tokens": number + 999}} for number in range(count)),
        ),
        "override, alias": _bytes_each(
            config.override, ({"llm": {"model": "draft", "temperature": number / count}} for number in range(count))
        ),
        "override, provider": _bytes_each(
            config.override, ({"llm": {"provider": "openai", "max_tokens": number + 999}} for number in range(count))
        ),
    }


def _bytes_each(make: Callable[[Any], object], given: Iterable[Any]) -> float:
    """The values that were made new for it are part of a snapshot; the list that holds them all is not."""
    values = iter(given)
    made: list[object] = [make(next(values))]
    gc.collect()
    tracemalloc.start()
    made += [make(value) for value in values]
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    count = len(made) - 1
    return (size - sys.getsizeof(made)) / count


def growth(homes: dict[str, str], rounds: int) -> dict[str, Any]:
    """Load, reload, override, read, subscribe and retained bytes by the number of aliases: a STIGMER_HOME for each."""
    work: dict[str, dict[str, Callable[[], float]]] = {
        "load": {},
        "reload": {},
        "override": {},
        "read": {},
        "subscribe": {},
    }
    bytes_each: dict[str, float] = {}
    environments = {size: Environment.capture({**os.environ, "STIGMER_HOME": home}) for size, home in homes.items()}
    for size, environment in environments.items():  # before other threads start to allocate, too
        bytes_each[size] = _bytes_each(
            load(environment=environment).override,
            ({"llm": {"model": "draft", "max_tokens": n + 999}} for n in range(500)),
        )
    with contextlib.ExitStack() as open_ones:
        for size, environment in environments.items():
            live = open_ones.enter_context(LiveConfig.start(environment=environment))
            config = live.current
            work["load"][size] = _changed_loads([f"{homes[size]}/config.yaml"], environment)
            work["reload"][size] = _reloads(live, Path(homes[size]) / "config.yaml")
            work["override"][size] = repeated("config.override(alias)", _names(config), 50)
            work["read"][size] = repeated(READ, {"config": config}, 20_000)
            work["subscribe"][size] = repeated("live.subscribe(print, 'llm')()", {"live": live}, 200)
        return {what: interleaved(sizes, rounds) for what, sizes in work.items()} | {"kept": bytes_each}


def _reloads(live: LiveConfig, file: Path) -> Callable[[], float]:
    """CPU seconds, in all threads, from just before a changed file is in place until it is applied."""
    text = file.read_text(encoding="utf-8")
    spare = file.parent.parent / "spare.yaml"  # elsewhere: its writing wakes nobody
    limits = itertools.count(1000)

    def once() -> float:
        limit = next(limits)
        spare.write_text(text.replace("reasoning_effort: low", f"max_tokens: {limit}"), encoding="utf-8")
        spare.chmod(0o600)
        time.sleep(0.03)  # longer than a worker's spacing of two reads
        start = time.process_time()
        os.rename(spare, file)
        live.reload()
        seconds = time.process_time() - start
        if live.current.providers["openai"].max_tokens != limit:
            raise RuntimeError("the change was not taken")
        return seconds

    return once


def main() -> None:
    task, rounds, *others = sys.argv[1:]
    figures: dict[str, Any]
    if task == "work":
        figures = work(int(rounds), others)
    elif task == "kept":
        figures = kept(int(rounds))
    else:
        figures = growth(dict(pair.split("=", 1) for pair in others), int(rounds))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
