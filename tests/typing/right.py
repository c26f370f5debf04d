"""A user's program, with the type that each expression has: mypy and pyright agree on all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, assert_type

from stigmer_config import (
    Change,
    Config,
    ConfigError,
    Environment,
    Explanation,
    LiveConfig,
    LLMConfig,
    Origin,
    Problem,
    Rejected,
    Reloaded,
    Secret,
    Unchanged,
    app,
    load,
    setting,
)


def loading() -> Config:
    assert_type(load(), Config)
    assert_type(load(mode="local", project_dir=False), Config)
    assert_type(load(project_dir=Path(), flags={"llm.model": "fast"}, overrides=[{"llm": {}}]), Config)
    assert_type(load(require=("backend.api_key",), environment=Environment.capture()), Config)
    assert_type(Config.load_from_env(), Config)
    assert_type(LLMConfig.load_from_env("local"), LLMConfig)
    try:
        return load(project_dir=".")
    except ConfigError as error:
        assert_type(error.problems, tuple[Problem, ...])
        raise


def the_llm(config: Config) -> None:
    llm = config.llm
    assert_type(llm, LLMConfig)
    assert_type(llm.provider, str)
    assert_type(llm.kind, Literal["anthropic", "ollama", "openai"])
    assert_type(llm.model, str)
    assert_type(llm.model_name, str)
    assert_type(llm.model_id, str)
    assert_type(llm.alias, str | None)
    assert_type(llm.base_url, str | None)
    assert_type(llm.api_key, Secret | None)
    assert_type(llm.max_tokens, int | None)
    assert_type(llm.temperature, float | None)
    assert_type(llm.num_ctx, int | None)
    assert_type(llm.reasoning_effort, Literal["none", "minimal", "low", "medium", "high"] | None)
    assert_type(llm.timeout, float | None)
    assert_type(llm.max_retries, int | None)
    if llm.api_key is not None:
        assert_type(llm.api_key.reveal(), str)


def every_kind_is_known(config: Config) -> str:
    match config.llm.kind:
        case "anthropic":
            return "a"
        case "ollama":
            return "b"
        case "openai":  # all three: nothing is left to return from
            return "c"


def the_sections(config: Config) -> None:
    assert_type(config.mode, Literal["local", "cloud"])
    assert_type(config.aliases, Mapping[str, str | Mapping[str, str]])
    assert_type(config.providers["ollama"].num_ctx, int | None)
    assert_type(config.temporal.address, str)
    assert_type(config.temporal.max_concurrency, int)
    assert_type(config.backend.api_key, Secret | None)
    assert_type(config.sandbox.type, Literal["filesystem", "daytona"])
    assert_type(config.sandbox.root_dir, str | None)
    if config.redis is not None:
        assert_type(config.redis.port, int)
    assert_type(config.logging.level, Literal["debug", "info", "warning", "error", "critical"])
    assert_type(config.locked, tuple[str, ...])
    assert_type(config.generation, int)
    assert_type(config.fingerprint, str)
    assert_type(config.warnings, tuple[Problem, ...])
    assert_type(config.is_local_mode(), bool)
    assert_type(config.get_sandbox_config(), dict[str, str])


def asking(config: Config) -> None:
    derived = config.override({"llm": {"model": "fast", "temperature": 0.2}})
    assert_type(derived, Config)
    assert_type(config.override({"llm.model": "fast"}), Config)
    assert_type(config.diff(derived), tuple[Change, ...])
    assert_type(config.diff(derived)[0].restart_required, bool)
    why = config.explain("llm.model")
    assert_type(why, Explanation)
    assert_type(why.origin, Origin | None)
    assert_type(why.losers[0].origin.line, int | None)
    assert_type(why.hops[0].target, str)
    assert_type(config.meaning("fast"), dict[str, str | None])
    assert_type({config: 1, derived: 2}, dict[Config, int])


def a_problem(problem: Problem) -> None:
    assert_type(problem.severity, Literal["error", "warning"])
    assert_type(problem.code, str)
    assert_type(problem.origin, Origin | None)
    assert_type(str(problem), str)


def living() -> None:
    def told(new: Config, changes: tuple[Change, ...]) -> None:
        assert_type((new, changes), tuple[Config, tuple[Change, ...]])

    with LiveConfig.start(mode="local") as live:
        assert_type(live, LiveConfig)
        assert_type(live.current, Config)
        assert_type(live.subscribe(told, "llm"), Callable[[], None])
        assert_type(live.reload(), Reloaded | Unchanged | Rejected)
        assert_type(live.wait_for(lambda config: config.llm.alias == "fast", timeout=1), Config)


async def living_async(live: LiveConfig) -> None:
    async for config in live.changes():
        assert_type(config, Config)
    assert_type(await live.wait_for_async(lambda config: config.generation > 1), Config)


def values_of_any_key(config: Config) -> Any:
    return config.value("llm.model")


@app("typed")
class Typed:
    """An application's own settings."""

    interval: Annotated[float, setting(ge=0.1)] = 30.0
    token: Secret | None = None
    labels: dict[str, int] = {}  # noqa: RUF012 - frozen by @app


def an_application(config: Config) -> None:
    mine = load(apps=[Typed]).app(Typed)
    assert_type(mine, Typed)
    assert_type(mine.interval, float)
    assert_type(mine.token, Secret | None)
    assert_type(config.app(Typed).labels, dict[str, int])
    assert_type(Typed(interval=1.0), Typed)
