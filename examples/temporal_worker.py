"""The same worker on Temporal: an activity that takes the Config of its moment, and keeps it to its end.

    pip install temporalio 'stigmer-config[ollama]'
    MODE=local python examples/temporal_worker.py

Address, namespace, API key, TLS, task queue and concurrency come from the configuration at the start: a change of them
waits for a restart, and `stigmer config workers` shows that. Everything under `llm` is live.
SIGTERM and Ctrl-C stop the polling; the running activities have `DRAIN` to end.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import functools
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.service import TLSConfig
from temporalio.worker import Worker

from stigmer_config import Config, ConfigError, LiveConfig, LLMConfig

DRAIN = datetime.timedelta(minutes=5)  # less than the pod's terminationGracePeriodSeconds


@dataclasses.dataclass
class Request:
    """What a workflow asks for: plain data, since it travels. `overrides` are of `llm.*`."""

    question: str
    overrides: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Answer:
    """The model's answer, and the configuration that the execution ran on."""

    text: str
    generation: int
    model: str


@functools.lru_cache(maxsize=8)
def chat_model(llm: LLMConfig) -> Any:
    """The client for a configuration, built once: a changed model, address or rotated key gets another."""
    from stigmer_config.integrations.chat import chat_model as build

    return build(llm)


class Executions:
    """The activities of one worker."""

    def __init__(self, live: LiveConfig) -> None:
        self._live = live

    @activity.defn
    async def execute(self, request: Request) -> Answer:
        """One execution, with the configuration it took: later changes are for the next one."""
        try:
            config = self._live.current.override(request.overrides)
        except ConfigError as error:
            # The request is at fault: trying it again would fail again.
            raise ApplicationError(str(error), type="ConfigError", non_retryable=True) from error
        async with heartbeats(config.generation):
            text = await self._ask(config, request.question)
        return Answer(text, config.generation, config.llm.model_id)

    async def _ask(self, config: Config, question: str) -> str:
        # Off the event loop: the first call imports LangChain, which takes seconds.
        model = await asyncio.to_thread(chat_model, config.llm)
        answer = await model.ainvoke(question)
        return str(answer.text)


@contextlib.asynccontextmanager
async def heartbeats(*details: Any) -> AsyncIterator[None]:
    """Heartbeats at once and then three times in each heartbeat timeout, as long as the block runs."""
    timeout = activity.info().heartbeat_timeout or datetime.timedelta(seconds=30)

    async def beat() -> None:
        while True:
            activity.heartbeat(*details)
            await asyncio.sleep(timeout.total_seconds() / 3)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()


def tls(config: Config) -> TLSConfig | bool:
    """The client's TLS settings. False: unencrypted."""
    temporal = config.temporal
    if not temporal.is_encrypted:
        return False
    return TLSConfig(
        server_root_ca_cert=_content(temporal.tls_ca_file),
        domain=temporal.tls_server_name,
        client_cert=_content(temporal.tls_cert_file),
        client_private_key=_content(temporal.tls_key_file),
    )


def _content(path: str | None) -> bytes | None:
    return Path(path).expanduser().read_bytes() if path else None


async def connect(config: Config) -> Client:
    """The client by the settings under `temporal`. Raises `OSError` for a TLS file, `RuntimeError` for no answer."""
    temporal = config.temporal
    return await Client.connect(
        temporal.address,
        namespace=temporal.namespace,
        api_key=temporal.api_key.reveal() if temporal.api_key is not None else None,
        tls=tls(config),
    )


async def serve(live: LiveConfig) -> None:
    """Serves the task queue of the configuration until SIGTERM or Ctrl-C, and lets what runs end."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    temporal = live.current.temporal
    worker = Worker(
        await connect(live.current),
        task_queue=temporal.task_queue,
        activities=[Executions(live).execute],
        max_concurrent_activities=temporal.max_concurrency,
        graceful_shutdown_timeout=DRAIN,
    )
    async with worker:
        print(f"serving {temporal.task_queue} at {temporal.address}", flush=True)
        await stop.wait()
        print("draining", flush=True)
    print("stopped", flush=True)


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
        except (RuntimeError, OSError) as error:  # Temporal does not answer, or a TLS file cannot be read
            print(f"{live.current.temporal.address}: {error}", file=sys.stderr)
            return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
