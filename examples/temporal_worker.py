"""The same worker on Temporal: an activity that takes the Config of its moment, and keeps it.

    pip install temporalio
    MODE=local python examples/temporal_worker.py

Namespace, address, task queue and concurrency come from the configuration of the start: a change of them waits for a
restart (`stigmer config workers` tells). Everything under `llm` is live.
"""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from typing import Any

from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from stigmer_config import Config, ConfigError, LiveConfig


@dataclasses.dataclass
class Request:
    """What a workflow asks for: plain data, since it travels. `overrides` are of `llm.*`."""

    question: str
    overrides: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Answer:
    """What the execution ran on, and what came of it."""

    text: str
    generation: int
    model: str


class Executions:
    """The activities of one worker. `call` asks the model; without it the answer tells what it would call."""

    def __init__(self, live: LiveConfig, *, call: bool = False) -> None:
        self._live = live
        self._call = call

    @activity.defn
    async def execute(self, request: Request) -> Answer:
        """One execution, with the configuration it took: later changes are for the next one."""
        try:
            config = self._live.current.override(request.overrides)
        except ConfigError as error:
            # The request's own fault: the same again would be refused again.
            raise ApplicationError(str(error), type="ConfigError", non_retryable=True) from error
        activity.heartbeat(config.generation)
        text = await self._answer(config, request.question)
        return Answer(text, config.generation, config.llm.model_id)

    async def _answer(self, config: Config, question: str) -> str:
        llm = config.llm
        if not self._call:
            return f"would ask {llm.provider} {llm.model_id} at {llm.base_url}: {question}"
        from stigmer_config.integrations.chat import chat_model

        answer = await chat_model(llm).ainvoke(question)
        return str(answer.text)


async def serve(live: LiveConfig) -> None:
    """Serves the task queue of the configuration, until it is cancelled."""
    temporal = live.current.temporal
    client = await Client.connect(temporal.address, namespace=temporal.namespace)
    worker = Worker(
        client,
        task_queue=temporal.task_queue,
        activities=[Executions(live, call=True).execute],
        max_concurrent_activities=temporal.max_concurrency,
    )
    await worker.run()


def main() -> int:
    """The whole program; the exit status says how it went."""
    try:
        live = LiveConfig.start()
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    with live:
        try:
            asyncio.run(serve(live))
        except KeyboardInterrupt:
            return 0
        except RuntimeError as error:  # Temporal does not answer
            print(f"{live.current.temporal.address}: {error}", file=sys.stderr)
            return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
