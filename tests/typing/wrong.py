"""A user's mistakes: each line must be one for mypy (an unused `type: ignore` is an error) and for pyright."""

from __future__ import annotations

from typing import Annotated

from stigmer_config import Config, LLMConfig, Secret, app, load, setting


def nothing_can_be_set(config: Config) -> None:
    config.mode = "local"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    config.llm.temperature = 0.2  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    config.aliases["fast"] = "x"  # type: ignore[index]  # pyright: ignore[reportIndexIssue]


def nothing_else_is_there(config: Config) -> None:
    _ = config.llm_provider  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]
    _ = config.llm.modle  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]


def what_may_be_none_is_asked_first(config: Config) -> None:
    _ = config.redis.host  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
    _ = config.llm.api_key.reveal()  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]


def a_secret_is_no_text(secret: Secret) -> str:
    return secret  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


def arguments_have_types() -> None:
    load(project_dir=True)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    load(flags="llm.model=fast")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    load(model="fast")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    LLMConfig.load_from_env("lokal")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def kinds_are_three(config: Config) -> bool:
    return config.llm.kind == "gemini"  # type: ignore[comparison-overlap]  # pyright: ignore[reportUnnecessaryComparison]


def a_wrong_default_is_found() -> None:
    @app("wrong")
    class _Wrong:
        interval: Annotated[float, setting(ge=0.1)] = "30"  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


@app("typed")
class Typed:
    """An application's own settings."""

    size: int = 1


def an_applications_settings_are_frozen(mine: Typed) -> None:
    mine.size = 2  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    Typed(2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Typed(sise=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
