"""An application's own settings: declared, loaded, reloaded, refused."""
# ruff: noqa: RUF012 - the defaults of an application's class are frozen

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal, cast

import msgspec
import pytest

from stigmer_config import ConfigError, Problem, Secret, app, setting
from stigmer_config.settings.apps import schema_of
from stigmer_config.testing import Sandbox, live, make_config, sandbox


class Pool(msgspec.Struct, frozen=True):
    """Connections."""

    size: Annotated[int, setting(doc="How many.", ge=1)] = 5
    host: str = "localhost"


class Cache(msgspec.Struct, frozen=True):
    pool: Pool = Pool(size=3)


@app("nested")
class Nested:
    cache: Cache | None = None


@app("checkpointer")
class Checkpointer:
    """Where runs are kept."""

    url: Annotated[
        str, setting(doc="The address.", variable="CHECKPOINTER_URL", access="protected", reload="restart")
    ] = "sqlite:///runs.db"
    interval: Annotated[float, setting(doc="Seconds between two saves.", ge=0.1, per_execution=True)] = 30.0
    password: Annotated[Secret | None, setting(doc="The password.", bound_to="url")] = None
    level: Annotated[Literal["low", "high"], setting(access="open")] = "low"
    tools: list[str] = []
    labels: dict[str, int] = {"a": 1}
    pool: Pool = Pool(size=3)
    spare: Pool | None = None
    pools: dict[str, Pool] = {}
    keys: dict[str, Secret] = {}

    def twice(self) -> float:
        """A method stays one."""
        return self.interval * 2

    def __post_init__(self) -> None:
        if self.level == "high" and self.interval > 100:
            raise ValueError("level high saves every 100 seconds at least")


APPS = [Checkpointer]


@pytest.fixture
def world() -> Iterator[Sandbox]:
    with sandbox() as made:
        yield made


def faults(world: Sandbox, apps: Any = APPS) -> dict[str, Problem]:
    """The problems of a load that fails, by key."""
    with pytest.raises(ConfigError) as caught:
        world.load(apps=apps)
    return {problem.key: problem for problem in caught.value.problems}


def place(problem: Problem) -> tuple[int | None, int | None]:
    assert problem.origin is not None
    return problem.origin.line, problem.origin.column


def test_without_a_word_the_defaults_count() -> None:
    """They are those of the class, and their origin names it."""
    config = make_config(apps=APPS)
    mine = config.app(Checkpointer)
    assert (mine.url, mine.interval, mine.pool, mine.spare, mine.labels) == (
        "sqlite:///runs.db",
        30.0,
        Pool(size=3),
        None,
        {"a": 1},
    )
    assert mine.twice() == 60
    origin = config.explain("apps.checkpointer.interval").origin
    assert origin is not None
    assert (origin.layer, origin.source) == ("defaults", f"{__name__}:Checkpointer")


@pytest.mark.parametrize("given", [{}, {"pool": {}}, {"pool": None}, {"pool": {"size": 7}}])
def test_a_section_without_values_makes_its_optional_section_exist(world: Sandbox, given: dict[str, Any]) -> None:
    """However deep it is: `cache: {pool: {}}` gives a cache as `cache: {}` does."""

    world.write_user(json.dumps({"apps": {"nested": {"cache": given}}}))
    read = world.load(apps=[Nested]).app(Nested)
    passed = world.load(apps=[Nested], flags={"apps": {"nested": {"cache": given}}}).app(Nested)
    for settings in (read, passed):
        assert settings.cache is not None
        assert settings.cache.pool == Pool(size=7 if (given.get("pool") or {}) else 3)


def test_layers_merge_leaf_by_leaf_and_each_leaf_knows_its_origin(world: Sandbox) -> None:
    """Mappings merge key by key, lists replace, a variable and a flag are above."""
    world.write_site("apps: {checkpointer: {tools: [a, b], labels: {b: 2}, pools: {x: {size: 7}}}}")
    world.write_user("apps:\n  checkpointer:\n    tools: [c]\n    labels: {c: 3}\n    pools: {x: {host: far}, y: {}}\n")
    world.variables["CHECKPOINTER_URL"] = "sqlite:///other.db"
    config = world.load(apps=APPS, flags={"apps": {"checkpointer": {"interval": 5}}})
    mine = config.app(Checkpointer)
    assert mine.tools == ["c"]
    assert mine.labels == {"a": 1, "b": 2, "c": 3}
    assert mine.pools == {"x": Pool(size=7, host="far"), "y": Pool()}
    assert (mine.url, mine.interval) == ("sqlite:///other.db", 5.0)
    layers = {
        key: origin.layer
        for key, _ in config.effective()
        if key.startswith("apps.") and (origin := config.explain(key).origin) is not None
    }
    assert layers == {
        "apps.checkpointer.url": "env",
        "apps.checkpointer.interval": "flags",
        "apps.checkpointer.password": "defaults",
        "apps.checkpointer.level": "defaults",
        "apps.checkpointer.tools": "user",
        "apps.checkpointer.labels.a": "defaults",
        "apps.checkpointer.labels.b": "site",
        "apps.checkpointer.labels.c": "user",
        "apps.checkpointer.pool.size": "defaults",
        "apps.checkpointer.pool.host": "defaults",
        "apps.checkpointer.spare": "defaults",
        "apps.checkpointer.pools.x.size": "site",
        "apps.checkpointer.pools.x.host": "user",
        "apps.checkpointer.keys": "defaults",
        "apps.checkpointer.pools.y.size": "defaults",
        "apps.checkpointer.pools.y.host": "defaults",
    }


def test_null_sets_a_struct_to_none_and_a_key_below_it_brings_it_back(world: Sandbox) -> None:
    """Of a mapping and null at one key, the higher layer's counts."""
    world.write_site("apps: {checkpointer: {spare: {size: 9}}}")
    assert world.load(apps=APPS).app(Checkpointer).spare == Pool(size=9)
    world.write_user("apps: {checkpointer: {spare: null}}")
    assert world.load(apps=APPS).app(Checkpointer).spare is None
    again = world.load(apps=APPS, flags={"apps.checkpointer.spare.host": "here"})
    assert again.app(Checkpointer).spare == Pool(host="here")


def test_every_fault_has_its_place(world: Sandbox) -> None:
    """In nested structs, lists and mappings, all at once."""
    world.write_user(
        "apps:\n"
        "  checkpointer:\n"
        "    interval: 0.01\n"
        "    labels: {b: x}\n"
        "    spare: {sizes: 7}\n"
        "    pools: {x: {size: 0}}\n"
        "    level: hihg\n"
        "    tools: [a, 1]\n"
        "    pool: 5\n"
        "    url: null\n"
    )
    found = faults(world)
    assert {key: (problem.code, place(problem)) for key, problem in found.items()} == {
        "apps.checkpointer.interval": ("out-of-range", (3, 15)),
        "apps.checkpointer.labels.b": ("wrong-type", (4, 17)),
        "apps.checkpointer.spare.sizes": ("unknown-key", (5, 13)),
        "apps.checkpointer.pools.x.size": ("out-of-range", (6, 23)),
        "apps.checkpointer.level": ("invalid-choice", (7, 12)),
        "apps.checkpointer.tools": ("wrong-type", (8, 16)),
        "apps.checkpointer.pool": ("not-a-mapping", (9, 11)),
        "apps.checkpointer.url": ("wrong-type", (10, 10)),
    }
    assert found["apps.checkpointer.level"].hint == "did you mean high?"
    assert found["apps.checkpointer.spare.sizes"].hint == "did you mean apps.checkpointer.spare.size?"


def test_a_check_across_fields_is_one_problem_at_the_section(world: Sandbox) -> None:
    """At the highest value in it; and none where a value is at fault anyway."""
    world.write_user("apps: {checkpointer: {level: high, interval: 200}}")
    (problem,) = faults(world).values()
    assert (problem.code, problem.key, problem.message) == (
        "failed-check",
        "apps.checkpointer",
        "level high saves every 100 seconds at least",
    )
    assert problem.origin is not None
    assert problem.origin.layer == "user"
    world.write_user("apps: {checkpointer: {level: high, interval: 200, tools: 5}}")
    assert list(faults(world)) == ["apps.checkpointer.tools"]


def test_two_loads_with_different_applications_do_not_interfere(world: Sandbox) -> None:
    """What one load registers, another does not know."""

    @app("checkpointer")
    class Other:
        size: int = 1

    world.write_user("apps: {checkpointer: {size: 2}}")
    assert world.load(apps=[Other]).app(Other).size == 2
    assert "apps.checkpointer.size" in faults(world)
    assert world.load().warnings == ()
    with pytest.raises(KeyError, match="apps=\\[Checkpointer\\]"):
        world.load(apps=[Other]).app(Checkpointer)
    with pytest.raises(TypeError, match="two applications are named checkpointer"):
        world.load(apps=[Other, Checkpointer])


def test_what_a_config_has_never_changes() -> None:
    """Structs, lists and mappings; they can be hashed, copied and compared."""
    values = {"apps.checkpointer.tools": ["a"], "apps.checkpointer.pools": {"x": {}}}
    config = make_config(values, apps=APPS)
    mine = config.app(Checkpointer)
    for change in (
        lambda: setattr(mine, "interval", 5.0),
        lambda: mine.tools.append("b"),
        lambda: cast(Any, mine.labels).update(b=2),
        mine.pools.clear,
    ):
        with pytest.raises((AttributeError, TypeError)):
            change()
    assert (hash(config), config) == (hash(make_config(values, apps=APPS)), make_config(values, apps=APPS))
    assert mine.pools == {"x": Pool()}
    assert copy.deepcopy(mine) is mine
    assert isinstance(mine.tools, list)
    assert isinstance(mine.labels, dict)


def test_overrides_take_what_is_declared_per_execution(world: Sandbox) -> None:
    """And nothing else of an application."""
    config = world.load(apps=APPS)
    changed = config.override({"apps": {"checkpointer": {"interval": 5}}, "llm": {"temperature": 0.5}})
    assert (changed.app(Checkpointer).interval, changed.llm.temperature) == (5.0, 0.5)
    assert config.app(Checkpointer).interval == 30.0
    explanation = changed.explain("apps.checkpointer.interval")
    assert explanation.origin is not None
    assert (explanation.value, explanation.origin.layer) == (5.0, "execution")
    assert [loser.value for loser in explanation.losers] == [30.0]
    with pytest.raises(ConfigError, match="per_execution"):
        config.override({"apps.checkpointer.url": "x"})
    with pytest.raises(ConfigError, match="level high"):
        world.load(apps=APPS, flags={"apps.checkpointer.level": "high"}).override({"apps.checkpointer.interval": 500})


def test_a_running_worker_takes_a_change(world: Sandbox) -> None:
    """Subscriptions by path; what needs a restart says so."""
    world.write_user("apps: {checkpointer: {interval: 20}}")
    seen: list[list[tuple[str, Any, Any, bool]]] = []
    with live(world, apps=APPS) as worker:
        worker.config.subscribe(
            lambda _new, changes: seen.append([(c.key, c.old, c.new, c.restart_required) for c in changes]),
            "apps.checkpointer",
        )
        worker.apply("apps: {checkpointer: {interval: 30.0, url: 'sqlite:///y', labels: {z: 1}}}")
        assert seen == [
            [
                ("apps.checkpointer.url", "sqlite:///runs.db", "sqlite:///y", True),
                ("apps.checkpointer.interval", 20.0, 30.0, False),
                ("apps.checkpointer.labels.z", None, 1, False),
            ]
        ]
        assert worker.config.status.restart_required == ("apps.checkpointer.url",)
        with pytest.raises(KeyError):
            worker.config.subscribe(print, "apps.checkpointer.intervall")


def test_an_unregistered_application_is_left_alone(world: Sandbox) -> None:
    """No problem; its values are kept, masked by their names, and not part of equality or the fingerprint."""
    world.write_user("apps: {other: {url: x, nested: {a: [1, 2]}, api_key: hunter2-hunter2, pin: {token: 1234}}}")
    config = world.load(apps=APPS)
    assert config.warnings == ()
    assert {key: str(config.value(key)) for key in config.unregistered} == {
        "apps.other.url": "x",
        "apps.other.nested.a": "[1, 2]",
        "apps.other.api_key": "********",
        "apps.other.pin.token": "********",
    }
    before = config.fingerprint
    world.write_user("{}")
    after = world.load(apps=APPS)
    assert (after.fingerprint, after) == (before, config)


def test_a_name_that_is_nearly_a_registered_one_is_reported(world: Sandbox) -> None:
    """As a warning: it may be another application's."""
    world.write_user("apps: {checkpoint: {url: x}, other: {}}")
    (warning,) = world.load(apps=APPS).warnings
    assert (warning.severity, warning.code, warning.hint) == (
        "warning",
        "unknown-key",
        "did you mean apps.checkpointer?",
    )


class TestTrust:
    """A project's file is a stranger's word here, too."""

    def test_a_protected_key_is_refused_and_an_open_one_counts(self, world: Sandbox) -> None:
        world.write_project("apps: {checkpointer: {level: high, interval: 3}, other: {a: 1}}")
        (problem,) = faults(world).values()
        assert (problem.code, problem.key) == ("untrusted-key", "apps.checkpointer.interval")
        world.write_project("apps: {checkpointer: {level: high}}")
        assert world.load(apps=APPS).app(Checkpointer).level == "high"

    def test_a_secret_is_refused_trusted_or_not(self, world: Sandbox) -> None:
        world.write_project("apps: {checkpointer: {password: hunter2-hunter2, keys: {a: x-hunter2}}}")
        assert {problem.code for problem in faults(world).values()} == {"secret-in-project"}

    def test_a_grant_is_the_same_whatever_is_registered(self, world: Sandbox) -> None:
        from stigmer_config.loading.load import read
        from stigmer_config.loading.request import request
        from stigmer_config.trust import grants

        world.write_project("apps: {checkpointer: {interval: 3}, other: {a: 1}}")
        digests = set()
        for apps in ((), APPS):
            layer = read(request(environment=world.environment, apps=apps)).layers.project
            assert layer is not None
            refused = {key: one.entry for key, one in layer.refused.items()}
            whole = msgspec.structs.replace(layer, entries={**layer.entries, **refused})
            digests.add(grants.digest(grants.covered(whole)))
        (digest,) = digests
        world.variables["STIGMER_TRUST_PROJECT"] = digest
        assert world.load(apps=APPS).app(Checkpointer).interval == 3.0
        world.write_project("apps: {checkpointer: {interval: 3}, other: {a: 2}}")
        assert "apps.checkpointer.interval" in faults(world)

    @pytest.mark.parametrize("lock", ["apps", "apps.checkpointer", "apps.checkpointer.level"])
    def test_a_locked_key_keeps_its_value(self, world: Sandbox, lock: str) -> None:
        world.write_user(f"locked: [{lock}]")
        world.write_project("apps: {checkpointer: {level: high}}")
        assert faults(world)["apps.checkpointer.level"].code == "locked-key"

    def test_an_unregistered_application_can_be_locked(self, world: Sandbox) -> None:
        world.write_user("locked: [apps.other]")
        world.write_project("apps: {other: {a: 1}}")
        assert faults(world)["apps.other.a"].code == "locked-key"

    def test_a_bound_secret_does_not_follow_its_address(self, world: Sandbox) -> None:
        from stigmer_config.loading.load import read
        from stigmer_config.loading.request import request
        from stigmer_config.trust import grants

        world.write_user("apps: {checkpointer: {url: 'postgres://db/x', password: hunter2-hunter2}}")
        assert world.load(apps=APPS).app(Checkpointer).password == Secret("hunter2-hunter2")
        world.write_project("apps: {checkpointer: {url: 'postgres://evil/x'}}")
        layer = read(request(environment=world.environment)).layers.project
        assert layer is not None
        world.variables["STIGMER_TRUST_PROJECT"] = grants.digest(grants.covered(layer))
        assert faults(world)["apps.checkpointer.password"].code == "credential-binding"


def test_a_password_in_an_address_is_masked_everywhere(world: Sandbox) -> None:
    """In a problem, a change, the dictionary, the struct's repr and the fingerprint."""
    secret = "hunter2-hunter2"
    world.write_user(f"apps: {{checkpointer: {{url: 'postgres://u:{secret}@db/x'}}}}")
    config = world.load(apps=APPS)
    assert config.app(Checkpointer).url == f"postgres://u:{secret}@db/x"
    assert secret not in repr(config.app(Checkpointer)) + str(config.to_dict())
    world.write_user("apps: {checkpointer: {url: 'postgres://u:another-one@db/x'}}")
    assert world.load(apps=APPS).fingerprint == config.fingerprint


def test_secret_references_are_read(world: Sandbox) -> None:
    """As those of the built-in secrets are."""
    world.variables["DB_PASSWORD"] = "hunter2-hunter2"
    world.write_user("apps: {checkpointer: {password: {env: DB_PASSWORD}, keys: {a: {env: DB_PASSWORD}}}}")
    mine = world.load(apps=APPS).app(Checkpointer)
    assert mine.password == mine.keys["a"] == Secret("hunter2-hunter2")
    world.write_user("apps: {checkpointer: {password: {env: MISSING}}}")
    assert faults(world)["apps.checkpointer.password"].code == "secret-unavailable"


def test_references_in_a_list_are_read(world: Sandbox) -> None:
    """Item by item; one that is unavailable is named; a file's rotation is taken by a running worker."""

    @app("x")
    class X:
        tokens: list[Secret] = []

    rotated = world.home / "token"
    rotated.write_text("first-from-a-file")
    rotated.chmod(0o600)
    world.variables["TOKEN"] = "hunter2-hunter2"
    world.write_user(f"apps: {{x: {{tokens: [plain-hunter2, {{env: TOKEN}}, {{file: '{rotated}'}}]}}}}")
    with live(world, apps=[X]) as worker:
        assert [token.reveal() for token in worker.current.app(X).tokens] == [
            "plain-hunter2",
            "hunter2-hunter2",
            "first-from-a-file",
        ]
        rotated.write_text("second-from-a-file")
        taken = worker.config.wait_for(lambda config: config.app(X).tokens[2].reveal().startswith("second"), 60)
        assert taken.app(X).tokens[1] == Secret("hunter2-hunter2")
    world.write_user("apps: {x: {tokens: [{env: TOKEN}, {env: MISSING}]}}")
    (problem,) = faults(world, [X]).values()
    assert (problem.code, problem.key) == ("secret-unavailable", "apps.x.tokens")
    assert problem.message.startswith("item 2 cannot be read")
    world.write_user("apps: {x: {tokens: {env: TOKEN}}}")
    assert faults(world, [X])["apps.x.tokens"].code == "wrong-type"


def declare(**fields: Any) -> Any:
    """An application with these fields: (type, default)."""
    space = {"__annotations__": {name: field[0] for name, field in fields.items()}}
    return app("x")(type("X", (), {**space, **{name: field[1] for name, field in fields.items() if len(field) > 1}}))


class Node(msgspec.Struct, frozen=True):
    """It holds itself."""

    below: Node | None = None


class Loose(msgspec.Struct):
    """It can be changed."""

    size: int = 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"a": (int,)}, "it has no default"),
        ({"a": (object, None)}, "cannot hold object"),
        ({"a": (int | str, 1)}, "a union"),
        ({"a": (list[list[int]], [])}, "a list holds"),
        ({"a": (list[Pool], [])}, "a list holds"),
        ({"a": (dict[int, int], {})}, "names are str"),
        ({"a": (Node, Node())}, "contains itself"),
        ({"a": (Loose, None)}, "can be changed"),
        ({"a": (int, "x")}, "the default of"),
        ({"a": (Annotated[int, setting(ge=5)], 1)}, "at least 5"),
        ({"a": (Annotated[str, setting(ge=5)], "")}, "no constraint of"),
        ({"a": (Annotated[str, setting(pattern="(")], "")}, "a: "),
        ({"a": (Annotated[str, setting(variable="MODE")], "")}, "MODE is the variable of mode"),
        (
            {"a": (Annotated[str, setting(variable="A")], ""), "b": (Annotated[str, setting(variable="A")], "")},
            "x.b: A is the variable of apps.x.a",
        ),
        ({"a": (Annotated[str, setting(bound_to="b")], "")}, "only a Secret"),
        ({"a": (Annotated[Secret | None, setting(bound_to="b")], None)}, "no field beside it"),
        ({"a": (Annotated[str, setting(access="secret")], "")}, "its type is Secret"),
        ({"_a": (int, 1)}, "a field's name"),
        ({"a": (dict[str, int], {"a b": 1})}, "a mapping's names"),
        ({"a": (Literal[1, 2], 1)}, "choices are strings"),
    ],
)
def test_what_a_configuration_cannot_hold_is_a_type_error_at_the_class(fields: Any, message: str) -> None:
    """When the module is imported, not when a file first says something."""
    with pytest.raises(TypeError, match=message):
        declare(**fields)


@pytest.mark.parametrize("name", ["", "X", "a.b", "a b", "1a", "a" * 65, "ä", None])
def test_an_applications_name_is_one(name: Any) -> None:
    """It is a key of a file."""
    with pytest.raises(TypeError, match="an application's name"):
        app(name)


def _raising(error: BaseException) -> Any:
    class X:
        size: int = 1

        def __post_init__(self) -> None:
            raise error

    return app("x")(X)


class _UnprintableError(ValueError):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "error", [ValueError("no"), KeyError("x"), RecursionError(), SystemExit(3), _UnprintableError(), ImportError("y")]
)
def test_a_check_that_raises_anything_is_a_problem(world: Sandbox, error: BaseException) -> None:
    """Never a traceback, and never the end of the process."""
    assert [problem.code for problem in faults(world, [_raising(error)]).values()] == ["failed-check"]


def test_no_secret_is_part_of_a_checks_message(world: Sandbox) -> None:
    """Whatever an application's own exception quotes."""

    @app("x")
    class X:
        token: Secret | None = None

        def __post_init__(self) -> None:
            if self.token is not None:
                raise ValueError(f"{self.token.reveal()} is no token, nor is postgres://u:pass-word@h")

    world.write_user("apps: {x: {token: hunter2-hunter2}}")
    (problem,) = faults(world, [X]).values()
    assert problem.message == "******** is no token, nor is postgres://u:********@h"


def test_the_schema_of_no_application_is_the_built_in_one() -> None:
    """A load without one costs what it did."""
    from stigmer_config.settings.declarations import BUILT_IN

    assert schema_of() is BUILT_IN
    assert schema_of(APPS) is schema_of(list(APPS))
