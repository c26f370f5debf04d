"""What a worker does in its own process. Run as a program it prints its figures as JSON.

`warm.py work ROUNDS` compares with the peers, `warm.py kept COUNT` counts bytes, `warm.py growth ROUNDS SIZE=HOME…`
loads ever more aliases.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import sys
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from timing import interleaved, repeated

from stigmer_config import Config, Environment, load

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
    """What `override` is measured against: the same mapping into the same frozen structs, by msgspec, unchecked."""
    return replace(config, llm=replace(config.llm, **values["llm"]))


def _names(config: Config) -> dict[str, Any]:
    values = {"plain": PLAIN, "alias": ALIAS, "provider": PROVIDER}
    return {"config": config, "replace": replace, "derive": derive, **values}


def _dynaconf() -> Callable[[], object]:
    sys.path.insert(0, str(Path.cwd()))
    from settings import make  # written by reference.World

    def once() -> object:
        return make().LLM.MODEL  # the first read loads

    if once() != "steady" or make().LLM.MAX_TOKENS != 6000:
        raise RuntimeError("dynaconf does not load what it should")
    return once


def work(rounds: int) -> dict[str, Any]:
    """Seconds of each, interleaved: loads, overrides, reads."""
    config = load()
    _check(config)
    peer = _dynaconf()
    loads = {"load": repeated("load()", {"load": load}, 1), "dynaconf": repeated("peer()", {"peer": peer}, 1)}
    overrides = {name: repeated(statement, _names(config), 50) for name, statement in OVERRIDES.items()}
    frozen = _Frozen(_Frozen(None))
    reads = {
        "read": repeated(READ, {"config": config}, 20_000),
        "slots": repeated(READ, {"config": frozen}, 20_000),
    }
    return {
        "load": interleaved(loads, rounds),
        "override": interleaved(overrides, rounds * 5),
        "read": interleaved(reads, rounds),
    }


def _check(config: Config) -> None:
    """What is measured does what it says."""
    plain, alias, provider = (config.override(values).llm for values in (PLAIN, ALIAS, PROVIDER))
    found = (plain.temperature, plain.max_tokens, alias.model_name, provider.model_name, provider.max_tokens)
    if found != (0.25, 99, "claude-haiku-4.5", "gpt-6.1-terra", 99):
        raise RuntimeError(f"the overrides do not give what they should: {found}")


def kept(count: int) -> dict[str, float]:
    """Bytes of one derived snapshot that is kept, its values included; each has values of its own."""
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
    """Load, override, read and kept bytes by the number of aliases; `homes` has a STIGMER_HOME for each."""
    loads: dict[str, Callable[[], float]] = {}
    overrides: dict[str, Callable[[], float]] = {}
    reads: dict[str, Callable[[], float]] = {}
    bytes_each: dict[str, float] = {}
    for size, home in homes.items():
        environment = Environment.capture({**os.environ, "STIGMER_HOME": home})
        config = load(environment=environment)
        loads[size] = repeated("load(environment=environment)", {"load": load, "environment": environment}, 1)
        overrides[size] = repeated("config.override(alias)", _names(config), 50)
        reads[size] = repeated(READ, {"config": config}, 20_000)
        bytes_each[size] = _bytes_each(
            config.override, ({"llm": {"model": "draft", "max_tokens": n + 999}} for n in range(500))
        )
    return {
        "load": interleaved(loads, rounds),
        "override": interleaved(overrides, rounds),
        "read": interleaved(reads, rounds),
        "kept": bytes_each,
    }


def main() -> None:
    task, rounds, *homes = sys.argv[1:]
    figures: dict[str, Any]
    if task == "work":
        figures = work(int(rounds))
    elif task == "kept":
        figures = kept(int(rounds))
    else:
        figures = growth(dict(pair.split("=", 1) for pair in homes), int(rounds))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
