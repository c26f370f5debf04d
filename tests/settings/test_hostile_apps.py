"""Hostile applications and values: none ends in a traceback, a lost value or the fault of another."""
# ruff: noqa: RUF012 - the defaults of an application's class are frozen

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Annotated, Any, cast

import pytest

from stigmer_config import ConfigError, Problem, Secret, app, setting
from stigmer_config.testing import Sandbox, sandbox

HUGE = 100_000


@pytest.fixture
def world() -> Iterator[Sandbox]:
    with sandbox() as made:
        yield made


def faults(world: Sandbox, cls: Any, **options: Any) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        world.load(apps=[cls], **options)
    return list(caught.value.problems)


@app("x")
class Lists:
    """Lists without an end."""

    items: list[int] = []
    names: Annotated[list[str], setting(max_length=3)] = []


def test_a_huge_list_is_taken_whole(world: Sandbox) -> None:
    """From a program; in a file there is no room for it."""
    config = world.load(apps=[Lists], flags={"apps.x.items": list(range(HUGE))})
    assert config.app(Lists).items == list(range(HUGE))
    assert hash(config) == hash(world.load(apps=[Lists], flags={"apps.x.items": list(range(HUGE))}))


def test_the_fault_at_the_end_of_a_huge_list_is_one_short_problem(world: Sandbox) -> None:
    """It names the item, and not the list."""
    (problem,) = faults(world, Lists, flags={"apps.x.items": [*range(HUGE), "end"]})
    assert (problem.code, problem.key) == ("wrong-type", "apps.x.items")
    assert problem.message.startswith(f"item {HUGE + 1} must be ")
    assert len(str(problem)) < 500


def test_a_huge_list_in_a_file_is_refused_with_the_file(world: Sandbox) -> None:
    """At 64 KiB, before it is parsed."""
    world.write_user(f"apps: {{x: {{items: {list(range(HUGE))}}}}}\n")
    assert [problem.code for problem in faults(world, Lists)] == ["too-large"]


def test_a_list_out_of_its_length_is_one_problem(world: Sandbox) -> None:
    """It is not repeated in the message."""
    (problem,) = faults(world, Lists, flags={"apps.x.names": ["a"] * HUGE})
    assert problem.message.endswith(f"must have at most 3 items, not {HUGE}")


@pytest.mark.parametrize("name", ["llm", "redis", "logging", "apps", "mode", "locked", "aliases"])
def test_an_application_named_like_a_built_in_section_is_another_section(world: Sandbox, name: str) -> None:
    """`apps.llm.model` is no `llm.model`: neither its value, nor its variable, nor its access."""

    @app(name)
    class Twin:
        model: str = "mine"
        level: Annotated[int, setting(ge=1)] = 1
        api_key: Secret | None = None

    world.write_user(f"llm: {{temperature: 0.25}}\napps: {{{name}: {{model: other, level: 7}}}}\n")
    config = world.load(apps=[Twin])
    plain = world.load()
    assert (config.app(Twin).model, config.app(Twin).level) == ("other", 7)
    assert (config.llm, config.logging, config.locked) == (plain.llm, plain.logging, plain.locked)
    world.write_project(f"apps: {{{name}: {{model: theirs}}}}\n")
    assert [problem.code for problem in faults(world, Twin)] == ["untrusted-key"]


class _Strange(BaseException):
    """No Exception, and it prints as nothing that can be shown."""

    def __str__(self) -> str:
        return "\x1b[31m\x07\u202e"


@pytest.mark.parametrize(
    "error",
    [
        _Strange(),
        BaseExceptionGroup("a group", [_Strange(), ValueError("x")]),
        asyncio.CancelledError(),
        GeneratorExit(),
        StopIteration(5),
        MemoryError(),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        ValueError("x" * 100_000),
        ValueError("\x1b[31mred\x07\u202e\n\n\x00"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_check_that_raises_something_strange_is_a_problem(world: Sandbox, error: BaseException) -> None:
    """Whatever it is, the load says whose check it was, in a line that a terminal can show."""

    @app("x")
    class X:
        size: int = 1

        def __post_init__(self) -> None:
            raise error

    (problem,) = faults(world, X)
    assert (problem.code, problem.key) == ("failed-check", "apps.x")
    assert X.__name__ in problem.hint
    assert len(problem.message) < 500
    assert not set("\x1b\x07\u202e\x00") & set(str(problem))


def test_a_check_that_is_interrupted_is_no_fault(world: Sandbox) -> None:
    """Ctrl-C belongs to whoever pressed it."""

    @app("x")
    class X:
        size: int = 1

        def __post_init__(self) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.load(apps=[X])


def test_a_check_may_import_and_may_load_a_configuration_itself(world: Sandbox) -> None:
    """It runs in the middle of a load, and no lock is held."""

    @app("x")
    class X:
        size: int = 1

        def __post_init__(self) -> None:
            import this  # noqa: F401

            world.load()

    assert world.load(apps=[X]).app(X).size == 1


def test_a_check_that_replaces_its_values_cannot(world: Sandbox) -> None:
    """Its struct is frozen while it is being made, too: the attempt is a fault of the check."""

    @app("x")
    class X:
        size: int = 1

        def __post_init__(self) -> None:
            cast("Any", self).size = 2

    assert [problem.code for problem in faults(world, X)] == ["failed-check"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("apps: {x: [1]}", "not-a-mapping"),
        ("apps: 5", "not-a-mapping"),
        ("apps: {x: {items: {a: 1}}}", "wrong-type"),
        ("apps: {x: {items: [1, [2]]}}", "wrong-type"),
        ("apps: {x: {items: [999999999999999999999999]}}", "out-of-range"),
        ("apps: {x: {items: [.nan]}}", "wrong-type"),
        ("apps: {x: {__post_init__: 1}}", "unknown-key"),
        ("apps: {x: {__class__: 1}}", "unknown-key"),
    ],
)
def test_a_value_of_another_shape_has_its_place(world: Sandbox, text: str, code: str) -> None:
    """One problem each, in the file's line."""
    world.write_user(f"{text}\n")
    (problem,) = faults(world, Lists)
    assert problem.code == code
    assert problem.origin is not None
    assert (problem.origin.layer, problem.origin.line) == ("user", 1)
