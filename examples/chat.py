"""Asks the configured model one question and prints the answer as it arrives.

    pip install 'stigmer-config[ollama]'      # or [anthropic], [openai]
    python examples/chat.py "Why is the sky blue?"
    MODE=local STIGMER_LLM_MODEL=fast python examples/chat.py "Why is the sky blue?"

A worker does the same for each execution: it takes the configuration once, creates its client from it, and uses both
until the execution ends, even if the configuration changes meanwhile.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

from stigmer_config import Config, ConfigError, LLMConfig, load
from stigmer_config.integrations.chat import chat_model
from stigmer_config.integrations.diagnosis import diagnose


@functools.lru_cache(maxsize=8)
def client(llm: LLMConfig) -> Any:
    """One client per configuration: a new model, endpoint or key creates a new client."""
    return chat_model(llm)


def ask(config: Config, question: str) -> None:
    """One execution, with one configuration."""
    llm = config.llm
    print(f"{llm.provider}: {llm.model_name} ({llm.model_id}) at {llm.base_url}", file=sys.stderr)
    for chunk in client(llm).stream(question):
        print(chunk.text, end="", flush=True)
    print()


def main() -> int:
    """The whole program. Returns the exit status."""
    question = " ".join(sys.argv[1:]) or "Say hello in one short sentence."
    try:
        config = load()
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    try:
        ask(config, question)
    except Exception as error:  # noqa: BLE001 - each client raises its own
        fault = diagnose(error, config.llm)
        origin = config.explain(fault.key).origin if fault.key else None
        place = f" ({fault.key}, {origin})" if origin else ""
        print(f"\n{fault.seen}{place}\nfix: {fault.fix}", file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
