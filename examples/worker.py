"""A worker that follows its configuration without a restart and runs many executions at once.

    MODE=local python examples/worker.py
    python examples/worker.py --llm-model fast --at-once 4
    echo "$KEY" | python examples/worker.py --llm-provider anthropic --anthropic-key -

Edit ~/.stigmer/config.yaml while it runs. The next execution uses the new values, running executions keep theirs, and a
file with a mistake changes nothing. Ctrl-C waits for the running executions; a second Ctrl-C does not.
With `--call` each execution calls the model. Without it, it only prints what it would call.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import getpass
import itertools
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from stigmer_config import Change, Config, ConfigError, LiveConfig, LLMConfig, app, setting


@app("example")
class Example:
    """This worker's own settings: `apps: {example: {question: …}}` in the same files."""

    question: Annotated[str, setting(doc="What each execution asks the model.", min_length=1)] = (
        "Say hello in one short sentence."
    )


# What requests may bring along: each is one more layer on top, for one execution.
REQUESTS: tuple[Mapping[str, Any], ...] = ({}, {"llm": {"model": "fast"}}, {"llm.max_tokens": 256, "llm.timeout": 30})


class Worker:
    """Starts executions until it is stopped, or until `--executions` of them have started."""

    def __init__(self, live: LiveConfig, options: argparse.Namespace) -> None:
        self.live = live
        self.options = options
        self.stopping = asyncio.Event()

    async def run(self) -> None:
        """Starts an execution whenever a slot is free, and every other one in a thread."""
        slots = asyncio.Semaphore(self.options.at_once or self.live.current.temporal.max_concurrency)
        async with asyncio.TaskGroup() as executions:
            for number in itertools.count(1):
                await slots.acquire()
                if self.stopping.is_set() or number > (self.options.executions or number):
                    break
                begun = self.execute(number) if number % 2 else asyncio.to_thread(self.execute_in_thread, number)
                executions.create_task(begun).add_done_callback(lambda _: slots.release())

    async def execute(self, number: int) -> None:
        """One execution in the event loop."""
        config = self.take(number)
        if config is None:
            return
        try:
            if self.options.call:
                self.end(number, config, (await client(config.llm).ainvoke(config.app(Example).question)).text)
            else:
                await asyncio.sleep(self.options.seconds)
                self.end(number, config)
        except Exception as error:  # noqa: BLE001 - each client raises its own
            failed(number, config, error)

    def execute_in_thread(self, number: int) -> None:
        """One execution in a separate thread."""
        config = self.take(number)
        if config is None:
            return
        try:
            if self.options.call:
                self.end(number, config, client(config.llm).invoke(config.app(Example).question).text)
            else:
                time.sleep(self.options.seconds)
                self.end(number, config)
        except Exception as error:  # noqa: BLE001
            failed(number, config, error)

    def take(self, number: int) -> Config | None:
        """The Config of an execution, read once and used until it ends. None if its request is invalid."""
        config = self.live.current
        try:
            config = config.override(REQUESTS[number % len(REQUESTS)])
        except ConfigError as error:  # only this request fails
            print(f"#{number} refused: {error}", flush=True)
            return None
        print(f"#{number} begins on generation {config.generation}: {described(config.llm)}", flush=True)
        return config

    def end(self, number: int, config: Config, answer: str = "") -> None:
        """Prints that an execution ended, and with which configuration."""
        now = self.live.current.generation
        newer = f" (generation {now} is current)" if now != config.generation else ""
        model = config.llm.model_id
        print(f"#{number} ended on generation {config.generation}: {model}{newer} {answer}".rstrip(), flush=True)


@functools.lru_cache(maxsize=16)
def client(llm: LLMConfig) -> Any:
    """One client per configuration: a new model, endpoint or key creates a new client."""
    from stigmer_config.integrations.chat import chat_model

    return chat_model(llm)


def failed(number: int, config: Config, error: Exception) -> None:
    """Prints what went wrong and how to fix it. The other executions continue."""
    from stigmer_config.integrations.diagnosis import diagnose

    fault = diagnose(error, config.llm)
    print(f"#{number} failed on generation {config.generation}: {fault.seen}; fix: {fault.fix}", flush=True)


def described(llm: LLMConfig) -> str:
    """The model that would be called, and how."""
    return f"{llm.provider} {llm.model_id} at {llm.base_url}, max_tokens={llm.max_tokens}, api_key={llm.api_key}"


def changed(new: Config, changes: Sequence[Change]) -> None:
    """Called after each change of `llm`. A worker could drop here what it built from the old values."""
    keys = ", ".join(change.key for change in changes)
    print(f"== generation {new.generation}: {keys} changed; now {described(new.llm)}", flush=True)


def question_changed(new: Config, changes: Sequence[Change]) -> None:
    """Called after each change of this worker's own settings."""
    del changes
    print(f"== generation {new.generation}: asks {new.app(Example).question!r}", flush=True)


def flags(options: argparse.Namespace) -> dict[str, Any]:
    """The flags layer of `LiveConfig.start`."""
    given = {"llm.provider": options.llm_provider, "llm.model": options.llm_model}
    if options.anthropic_key is not None:
        # Not as an argument, which `ps` would show to other users.
        key = getpass.getpass("Anthropic key: ") if sys.stdin.isatty() else sys.stdin.readline()
        given["providers.anthropic.api_key"] = key.strip()
        given["llm.provider"] = options.llm_provider or "anthropic"
    return {key: value for key, value in given.items() if value is not None}


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="A worker that follows its configuration.")
    parser.add_argument("--llm-provider", help="anthropic, ollama, openai or auto")
    parser.add_argument("--llm-model", help="an alias, a name, an id, or provider:model")
    parser.add_argument("--anthropic-key", choices=["-"], help="read Anthropic's key from standard input")
    parser.add_argument("--at-once", type=int, help="executions at a time (default: temporal.max_concurrency)")
    parser.add_argument("--executions", type=int, help="stop after this many (default: run until Ctrl-C)")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long an execution without --call takes")
    parser.add_argument(
        "--call", action="store_true", help="call the model; needs the provider's extra, such as [ollama]"
    )
    return parser.parse_args(argv)


async def work(live: LiveConfig, options: argparse.Namespace) -> None:
    """Runs the worker until Ctrl-C or SIGTERM. A second signal ends it immediately."""
    worker = Worker(live, options)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, worker, loop)
    await worker.run()


def stop(worker: Worker, loop: asyncio.AbstractEventLoop) -> None:
    """Starts no more executions, and restores the default handling of signals."""
    print("== stopping; waiting for the running executions", flush=True)
    worker.stopping.set()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.remove_signal_handler(number)


def main(argv: Sequence[str] | None = None) -> int:
    """The whole program. Returns the exit status."""
    options = parsed(argv)
    try:
        live = LiveConfig.start(flags=flags(options), apps=[Example])
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    with live:
        live.subscribe(changed, "llm")
        live.subscribe(question_changed, "apps.example")
        try:
            asyncio.run(work(live, options))
        except KeyboardInterrupt:
            return 130
    print(f"== ended on generation {live.current.generation}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
