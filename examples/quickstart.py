"""Load the configuration once, read typed values, and override some of them for one execution.

MODE=local python examples/quickstart.py
"""

from __future__ import annotations

import sys

from stigmer_config import Config, ConfigError, load


def main() -> int:
    """Loads the configuration and shows what a worker would use. Returns the exit status."""
    try:
        config = load()
    except ConfigError as error:  # has the problems of all layers, each with its place
        print(error, file=sys.stderr)
        return 1
    show("in force", config)

    # A request with values of its own: a new frozen Config, checked like any other.
    try:
        show("for one request", config.override({"llm": {"model": "fast", "temperature": None}}))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1

    origin = config.explain("llm.model").origin
    print(f"llm.model comes from {origin}")
    return 0


def show(what: str, config: Config) -> None:
    """Prints the effective LLM. A secret prints as a mask; only `reveal()` returns its value."""
    llm = config.llm
    print(f"{what}: {llm.provider} {llm.model} (sent as {llm.model_id}) at {llm.base_url}")
    print(f"  max_tokens={llm.max_tokens} temperature={llm.temperature} api_key={llm.api_key}")


if __name__ == "__main__":
    sys.exit(main())
