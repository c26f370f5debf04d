"""`locked` and `enforced` on an application's keys: the key itself, and whatever would change its effective value."""
# ruff: noqa: RUF012 - the defaults of an application's class are frozen

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stigmer_config import Config, ConfigError, Secret, app, setting
from stigmer_config.testing import Sandbox, live, sandbox


class Pool(msgspec.Struct, frozen=True):
    size: int = 5
    host: str = "localhost"


@app("store")
class Store:
    url: Annotated[str, setting(access="open", per_execution=True)] = "db://a/x"
    level: Annotated[int, setting(access="open", per_execution=True)] = 1
    password: Annotated[Secret | None, setting(bound_to="url")] = None
    labels: Annotated[dict[str, int], setting(access="open", per_execution=True)] = {}
    spare: Annotated[Pool | None, setting(access="open", per_execution=True)] = None
    pools: Annotated[dict[str, Pool], setting(access="open", per_execution=True)] = {}


APPS = [Store]
_SIZES = st.integers(1, 3)
_POOL = st.one_of(
    st.none(),
    st.fixed_dictionaries({}, optional={"size": _SIZES, "host": st.sampled_from(["a", "b"])}),
)
_VALUES = st.fixed_dictionaries(
    {},
    optional={
        "level": _SIZES,
        "labels": st.dictionaries(st.sampled_from(["a", "b"]), _SIZES, max_size=2),
        "spare": _POOL,
        "pools": st.dictionaries(st.sampled_from(["x", "y"]), _POOL.filter(lambda one: one is not None), max_size=2),
    },
)
_NAMES = st.lists(
    st.sampled_from(
        [
            f"apps.store{rest}"
            for rest in ("", ".level", ".labels", ".labels.a", ".spare", ".spare.size", ".pools", ".pools.x.size")
        ]
    ),
    min_size=1,
    max_size=2,
    unique=True,
)


def text(values: Any, **more: Any) -> str:
    return msgspec.json.encode({"apps": {"store": values}, **more}).decode()


def below(config: Config, names: list[str]) -> dict[str, Any]:
    """The effective values of some keys and sections."""
    return {
        key: value
        for key, value in config.effective()
        if any(key == name or key.startswith(f"{name}.") for name in names)
    }


def codes(caught: pytest.ExceptionInfo[ConfigError]) -> list[tuple[str, str]]:
    return [(problem.code, problem.key) for problem in caught.value.problems]


@given(trusted=_VALUES, project=_VALUES, names=_NAMES)
@settings(max_examples=80, deadline=None)
def test_a_project_changes_no_locked_value(trusted: Any, project: Any, names: list[str]) -> None:
    """What is refused changes nothing, and what is left changes no locked value."""
    from stigmer_config.loading.load import read
    from stigmer_config.loading.request import request

    with sandbox() as world:
        world.write_user(text(trusted, locked=names))
        before = below(world.load(apps=APPS), names)
        world.write_project(text(project))
        loaded = read(request(environment=world.environment, apps=APPS))
        assert below(loaded.config, names) == before
        assert {problem.code for problem in loaded.problems} <= {"locked-key"}


@given(site=_VALUES, above=st.lists(_VALUES, min_size=4, max_size=4), names=_NAMES)
@settings(max_examples=80, deadline=None)
def test_nothing_above_the_site_file_changes_an_enforced_value(site: Any, above: list[Any], names: list[str]) -> None:
    """Neither the user, a project, flags, nor an override."""
    with sandbox() as world:
        world.write_site(text(site, enforced=names))
        alone = world.load(apps=APPS)
        given_keys = [f"apps.store.{key}" for key in _leaves(site)]
        # A mapping without names says nothing of the names that others give it.
        kept = {key: value for key, value in below(alone, names).items() if key in given_keys and value != {}}
        world.write_user(text(above[0]))
        world.write_project(text(above[1]))
        config = world.load(apps=APPS, flags={"apps": {"store": above[2]}})
        assert {key: value for key, value in below(config, names).items() if key in kept} == kept
        try:
            config = config.override({"apps": {"store": above[3]}})
        except ConfigError as error:
            assert {problem.code for problem in error.problems} == {"enforced-key"}  # noqa: PT017
        assert {key: value for key, value in below(config, names).items() if key in kept} == kept


def _leaves(values: Any, prefix: str = "") -> list[str]:
    found = []
    for name, value in values.items():
        found += _leaves(value, f"{prefix}{name}.") if isinstance(value, dict) and value else [f"{prefix}{name}"]
    return found


@pytest.fixture
def world() -> Any:
    with sandbox() as made:
        yield made


def test_an_enforced_key_keeps_the_sites_value(world: Sandbox) -> None:
    """Each entry that would change it is a warning at its place, and `explain` says why it lost."""
    world.write_site("enforced: [apps.store.level, apps.other]\napps: {store: {level: 3}, other: {a: 1}}\n")
    world.write_user("apps:\n  store:\n    level: 2\n  other: {a: 2, b: 3}\n")
    config = world.load(apps=APPS, flags={"apps.store.level": 1})
    assert config.app(Store).level == 3
    assert (config.value("apps.other.a"), config.value("apps.other.b")) == (1, 3)
    places = [(one.code, one.key, one.origin and (one.origin.layer, one.origin.line)) for one in config.warnings]
    assert places == [
        ("enforced-key", "apps.store.level", ("user", 3)),
        ("enforced-key", "apps.other.a", ("user", 4)),
        ("enforced-key", "apps.store.level", ("flags", None)),
    ]
    losers = config.explain("apps.store.level").losers
    assert [(one.origin.layer, one.reason) for one in losers][:2] == [("flags", "enforced"), ("user", "enforced")]


def test_an_override_of_an_enforced_key_is_refused(world: Sandbox) -> None:
    """In `load(overrides=…)` and in `config.override`; the same value is none."""
    world.write_site("enforced: [apps.store]\napps: {store: {level: 3, spare: {size: 2}}}\n")
    config = world.load(apps=APPS)
    assert config.override({"apps.store.level": 3}).app(Store).level == 3
    assert config.override({"apps.store.url": "db://b/x"}).app(Store).url == "db://b/x"
    for values, key in (
        ({"apps.store.level": 1}, "apps.store.level"),
        ({"apps.store.spare": None}, "apps.store.spare"),
        ({"llm.temperature": 0.5, "apps.store.level": 1}, "apps.store.level"),
    ):
        with pytest.raises(ConfigError) as caught:
            config.override(values)
        assert codes(caught) == [("enforced-key", key)]
        with pytest.raises(ConfigError) as caught:
            world.load(apps=APPS, overrides=[values])
        assert ("enforced-key", key) in codes(caught)


def test_an_enforced_secret_goes_only_where_the_operator_sends_it(world: Sandbox) -> None:
    """Its address is final with it."""
    world.write_site("enforced: [apps.store.password]\napps: {store: {url: 'db://a/x', password: hunter2-hunter2}}\n")
    world.write_user("apps: {store: {url: 'db://evil/x'}}\n")
    config = world.load(apps=APPS)
    assert config.app(Store).url == "db://a/x"
    (warning,) = config.warnings
    assert (warning.code, warning.key) == ("enforced-key", "apps.store.url")
    with pytest.raises(ConfigError) as caught:
        config.override({"apps.store.url": "db://evil/x"})
    assert ("enforced-key", "apps.store.url") in codes(caught) or (
        "credential-binding",
        "apps.store.password",
    ) in codes(caught)


@pytest.mark.parametrize(
    ("user", "project", "lock"),
    [
        ("{spare: {size: 2}}", "{spare: null}", "apps.store.spare.size"),
        ("{spare: null}", "{spare: {host: b}}", "apps.store.spare.size"),
        ("{}", "{spare: {}}", "apps.store.spare.size"),
        ("{}", "{pools: {x: {host: b}}}", "apps.store.pools.x.size"),
        ("{pools: {x: {size: 2}}}", "{pools: {x: {size: 3}}}", "apps.store.pools"),
    ],
)
def test_what_would_change_a_locked_key_is_refused_with_the_lock(
    world: Sandbox, user: str, project: str, lock: str
) -> None:
    """Null above it, and the key that would bring its struct."""
    world.write_user(f"locked: [{lock}]\napps: {{store: {user}}}\n")
    world.write_project(f"apps: {{store: {project}}}\n")
    with pytest.raises(ConfigError) as caught:
        world.load(apps=APPS)
    assert {code for code, _ in codes(caught)} == {"locked-key"}


def test_a_neighbour_of_a_locked_key_is_free(world: Sandbox) -> None:
    """Where its struct is there already, and in another item."""
    world.write_user("locked: [apps.store.spare.size, apps.store.pools.x]\napps: {store: {spare: {size: 2}}}\n")
    world.write_project("apps: {store: {spare: {host: b}, pools: {y: {}}}}\n")
    mine = world.load(apps=APPS).app(Store)
    assert (mine.spare, mine.pools) == (Pool(2, "b"), {"y": Pool()})


@pytest.mark.parametrize("key", ["locked", "enforced"])
def test_a_name_that_does_not_exist_is_an_error_with_the_nearest(world: Sandbox, key: str) -> None:
    """Of a registered application; another's names are its own."""
    world.write_site(
        f"{key}: [apps.store.levle, apps.other.levle]\napps: {{store: {{level: 3}}, other: {{levle: 1}}}}\n"
    )
    with pytest.raises(ConfigError) as caught:
        world.load(apps=APPS)
    (problem,) = [one for one in caught.value.problems if one.severity == "error"]
    assert (problem.code, problem.key, "apps.store.level" in problem.hint) == ("unknown-key", key, True)


def test_a_worker_follows_what_is_enforced(world: Sandbox) -> None:
    """A policy that arrives takes effect, and ends when it is gone."""
    world.write_user("apps: {store: {level: 2}}\n")
    with live(world, apps=APPS) as worker:
        worker.apply("enforced: [apps.store.level]\napps: {store: {level: 3}}\n", "site")
        assert worker.current.app(Store).level == 3
        worker.apply("{}\n", "site")
        assert worker.current.app(Store).level == 2
