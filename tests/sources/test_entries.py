"""The values that each key accepts, from every source, and the message of each fault."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.paths import TESTS
from tests.support.sandbox import Sandbox

CASES = sorted((TESTS / "cases" / "invalid").glob("*.yaml"))
HEADER = re.compile(r"# (user|project): (.+)")
EXPECTED = re.compile(r"(\d+):(\d+) ([a-z-]+) (\S+)")

Place = tuple[str, str, int | None, int | None]


def told(path: Path) -> tuple[str, list[Place]]:
    """The layer and the expected problems in a case's first line."""
    header = HEADER.fullmatch(path.read_text(encoding="utf-8").splitlines()[0])
    assert header is not None
    parts = [EXPECTED.fullmatch(part) for part in header[2].split("; ")]
    return header[1], [(part[3], part[4], int(part[1]), int(part[2])) for part in parts if part is not None]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_an_invalid_file_has_the_problems_in_its_first_line(sandbox: Sandbox, path: Path) -> None:
    """Each three-line file of `cases/invalid` gives exactly the problems it announces, and is named for the first."""
    layer, expected = told(path)
    code, key, *_ = expected[0]
    assert path.name.startswith(f"{key}.{code}")
    sandbox.write(**{layer: path.read_text(encoding="utf-8")})
    found = sandbox.problems({"MODE": "local", "OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"})
    assert sorted((p.code, p.key, p.origin and p.origin.line, p.origin and p.origin.column) for p in found) == sorted(
        expected
    )
    assert {(p.severity, p.origin and p.origin.layer) for p in found} == {("error", layer)}
    assert "c4n4ry" not in "\n".join(map(str, found))


def test_validate_reports_the_same_for_a_file_alone(sandbox: Sandbox) -> None:
    """`stigmer config validate FILE…` finds in each invalid file what a load of it finds."""
    cases = {str(path): told(path)[1] for path in CASES if told(path)[0] == "user"}
    done = sandbox.run("validate", "--format", "json", "--mode", "local", *cases)
    assert done.returncode == 1
    found: dict[str, list[Place]] = {path: [] for path in cases}
    for problem in json.loads(done.stdout)["problems"]:
        origin = problem["origin"]
        found[origin["source"]].append((problem["code"], problem["key"], origin["line"], origin["column"]))
    assert {path: sorted(places) for path, places in found.items()} == {
        path: sorted(places) for path, places in cases.items()
    }


HUGE = 10**5000
TEXTS: list[Any] = [5, 5.5, True, [], {}, ["a"], {"a": 1}]
# By key: accepted values, and refused ones with their code. The values are at the limits of the contract's ranges.
EDGES: dict[str, tuple[list[Any], dict[str, list[Any]]]] = {
    "llm.model": (
        ["a", "a" * 256, "Z9._:/@+-", "org/model:7b@sha256", "a.b", "a/b"],
        {
            "wrong-type": [*TEXTS, None],
            "empty-model": ["anthropic:", "OLLAMA:"],
            "invalid-model": [
                "a" * 257,
                "a..b",
                "a//b",
                "../a",
                "a b",
                "a\n",
                "\ta",
                "ä",
                "a\\b",
                "a?b",
                "{a}",
                "$(a)",
            ],
        },
    ),
    "llm.base_url": (
        [
            *(
                "http://localhost:11434",
                "https://a.b.example/v1/",
                "http://a",
                "http://a.b",
                "http://h:1",
                "http://h:65535",
            ),
            *("http://127.0.0.1", "http://[::1]:11434", "http://[::ffff:1.2.3.4]/x", "http://a_b/~%20;x=1"),
        ],
        {
            "wrong-type": TEXTS,
            "invalid-url": [
                *("localhost", "localhost:11434", "ftp://a", "http:/a", "http://", "http:///a", "//a", "a b"),
                *("http://h:0", "http://h:65536", "http://h:-1", "http://h:", "http://h:x", "http://.a", "http://a..b"),
                *(
                    "http://-a",
                    "http://[::1",
                    "http://[1.2]",
                    "http://[::g]",
                    "http://u@h",
                    "http://u:p@h",
                    "http://@h",
                ),
                *(
                    "http://h\n",
                    " http://h",
                    "http://h/\x00",
                    "http://h/\u202e",
                    "http://h?q",
                    "http://h/?q=1",
                    "http://h#f",
                ),
                *("http://h\\@x", "http://h/a b", "http://é", "javascript:alert(1)", "file:///etc/passwd"),
            ],
        },
    ),
    "llm.api_key": (
        ["k", "sk-" + "x" * 4000],
        {
            "wrong-type": [5, 5.5, True, [], ["a"]],
            "invalid-credential": ["a b", "a\nb", " ", "\t", "a\x00", "clé", "a\x7f", "\u202ea"],
        },
    ),
    "llm.max_tokens": (
        [1, 10_000_000, None],
        {
            "wrong-type": [1.0, 8192.0, True, False, "1", [], {}],
            "out-of-range": [0, -1, 10_000_001, 2**63, -(2**63), HUGE, -HUGE],
        },
    ),
    "llm.temperature": (
        [0, 0.0, -0.0, 2, 2.0, 0.7, 1, None],
        {
            "wrong-type": [True, "0.5", [], {}],
            "out-of-range": [-0.01, 2.01, 3, -1, float("inf"), float("-inf"), float("nan"), HUGE],
        },
    ),
    "llm.num_ctx": ([1, 2**63 - 1, None], {"wrong-type": [1.5, True, "1"], "out-of-range": [0, -5, 2**63, HUGE]}),
    "llm.reasoning_effort": (
        ["none", "minimal", "low", "medium", "high", None],
        {"wrong-type": [1, True, []], "invalid-choice": ["High", "max", " high"]},
    ),
    "llm.timeout": (
        [0.001, 1, 86400.5, 5e-324, None],
        {
            "wrong-type": [True, "10", "10s", []],
            "out-of-range": [0, 0.0, -1, float("inf"), float("nan"), HUGE],
        },
    ),
    "llm.max_retries": (
        [0, 100, None],
        {"wrong-type": [0.0, True, "3"], "out-of-range": [-1, 101, HUGE]},
    ),
    "providers.anthropic.temperature": (
        [0, 1, 1.0, None],
        {"wrong-type": [True], "out-of-range": [1.01, 2, -0.1]},
    ),
    "providers.openai.temperature": ([0, 2, None], {"out-of-range": [2.01]}),
    "aliases.mine": (
        ["a:1b", {"ollama": "a:1b"}, {"ollama": "a", "anthropic": "b", "openai": "c"}],
        {
            "wrong-type": [*TEXTS[:4], None, {}],
            "unknown-alias-provider": [{"olama": "a"}, {"gemini": "a"}, {"auto": "a"}, {"Ollama": "a"}],
        },
    ),
    "temporal.namespace": (["a", "@jinja {{ 1 }}"], {"wrong-type": [*TEXTS, None]}),
    "temporal.address": (
        ["localhost:7233", "a.b.c:1", "h:65535", "[::1]:7233"],
        {
            "wrong-type": [
                *TEXTS,
                None,
                "localhost",
                ":7233",
                "h:",
                "h:x",
                "http://h:1",
                "u@h:1",
                "a b:1",
                "h:1/x",
                "h:1\n",
            ],
            "out-of-range": ["h:0", "h:65536", "h:99999"],
        },
    ),
    "temporal.task_queue": (["q"], {"wrong-type": [*TEXTS, None]}),
    "temporal.max_concurrency": (
        [1, 10_000],
        {"wrong-type": [1.0, True, "1", None], "out-of-range": [0, -1, 2**63]},
    ),
    "backend.endpoint": (["h:1"], {"wrong-type": [None, 5, "h"], "out-of-range": ["h:0"]}),
    "backend.api_key": (["k", None], {"wrong-type": [5, []]}),
    "sandbox.type": (["filesystem", "daytona"], {"wrong-type": [None, 1], "invalid-choice": ["docker", "Daytona"]}),
    "sandbox.root_dir": (["./x", "/", "~", "a b", "é", None], {"wrong-type": [5, True, []]}),
    "sandbox.snapshot_id": (["s", None], {"wrong-type": [5, 1.5]}),
    "sandbox.api_key": (["k", None], {"wrong-type": [5]}),
    "redis.host": (["h", "10.0.0.1"], {"wrong-type": [None, 5]}),
    "redis.port": ([1, 65535], {"wrong-type": ["6379", 1.0, True, None], "out-of-range": [0, 65536, -1]}),
    "redis.password": (["p", None], {"wrong-type": [5]}),
    "logging.level": (
        ["debug", "info", "warning", "error", "critical", "DEBUG", "Info"],
        {"wrong-type": [None, 60], "invalid-choice": ["verbose", "warned"]},
    ),
    "logging.format": (["auto", "console", "json"], {"wrong-type": [None], "invalid-choice": ["xml"]}),
    "mode": (["local", "cloud"], {"wrong-type": [None, 1, True], "invalid-choice": ["LOCAL", "prod", "auto"]}),
    "llm.provider": (
        ["anthropic", "ollama", "openai", "auto"],
        {"wrong-type": [None, 1], "invalid-choice": ["gemini", "OLLAMA", "ollama "]},
    ),
    "locked": (
        [[], ["llm.model"], ["llm", "aliases", "aliases.fast"], ["sandbox.root_dir", "providers.ollama"]],
        {"wrong-type": ["llm", None, 5, True, [1], [None], {"llm": 1}]},
    ),
}
GOOD = [(key, value) for key, (good, _) in EDGES.items() for value in good]
BAD = [(key, value, code) for key, (_, bad) in EDGES.items() for code, values in bad.items() for value in values]
KEYS = {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}


def named(value: object) -> str:
    return "HUGE" if value in (HUGE, -HUGE) else ascii(value)[:40]


def yaml(value: Any) -> str:
    """A value as YAML: JSON, but for what JSON has no form of."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}[str(value)]
    return "9" * 5000 if value == HUGE else "-" + "9" * 5000 if value == -HUGE else json.dumps(value)


def world(key: str) -> dict[str, str]:
    """Variables under which a key's value is in force: Ollama, unless only another provider or mode has it."""
    mode = "cloud" if key.startswith("redis.") or key == "llm.api_key" else "local"
    unknown = {"STIGMER_LLM_MODEL": "unknown:1b"} if key == "llm.reasoning_effort" else {}  # it takes any parameter
    return {**KEYS, **unknown, **({} if key == "mode" else {"MODE": mode})}


def revealed(value: Any) -> Any:
    """An effective value as it was given."""
    if hasattr(value, "reveal"):
        return value.reveal()
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if hasattr(value, "items") else value


@pytest.mark.parametrize(("key", "value"), GOOD, ids=named)
@pytest.mark.parametrize("way", ["file", "flags"])
def test_a_key_takes_what_its_range_holds(sandbox: Sandbox, key: str, value: Any, way: str) -> None:
    """Every value within a key's type and range, its edges included, is taken as it is."""
    if way == "file":
        sandbox.write(user=f"{key.replace('.', ': {', 9)}: {yaml(value)}{'}' * key.count('.')}\n")
        loaded = sandbox.read(world(key))
    else:
        loaded = sandbox.read(world(key), flags={key: value})
    assert [problem for problem in loaded.problems if problem.key == key and problem.severity == "error"] == []
    explained = loaded.config.explain(key)
    expected = "anthropic" if (key, value) == ("llm.provider", "auto") else value  # there is a key for it
    assert revealed(explained.value) == (expected.lower() if key == "logging.level" else expected)
    assert type(explained.value) is not bool
    assert explained.origin is not None
    assert explained.origin.layer == ("user" if way == "file" else "flags")


@pytest.mark.parametrize(("key", "value", "code"), BAD, ids=named)
@pytest.mark.parametrize("way", ["file", "flags"])
def test_a_key_refuses_what_is_beyond(sandbox: Sandbox, key: str, value: Any, code: str, way: str) -> None:
    """What a key's type or range does not hold is one error with its code, and the value is not used."""
    before = sandbox.read(world(key)).config.value(key)
    if way == "file":
        sandbox.write(user=f"{key.replace('.', ': {', 9)}: {yaml(value)}{'}' * key.count('.')}\n")
        loaded = sandbox.read(world(key))
    else:
        loaded = sandbox.read(world(key), flags={key: value})
    errors = [problem for problem in loaded.problems if problem.key == key or problem.key.startswith(f"{key}.")]
    assert [problem.code for problem in errors] == [code]
    assert errors[0].origin is not None
    assert loaded.config.value(key) == before


@pytest.mark.parametrize("value", [1.5, 2])
def test_anthropic_takes_a_temperature_up_to_one(sandbox: Sandbox, value: float) -> None:
    """`llm.temperature` reaches to 2, but not where it is Anthropic's."""
    sandbox.write(user=f"llm: {{provider: anthropic, temperature: {value}}}\n")
    (problem,) = sandbox.problems({"MODE": "local", **KEYS})
    assert (problem.code, problem.key) == ("out-of-range", "llm.temperature")


@pytest.mark.parametrize("name", ["a", "a" * 64, "a.b-c_d", "fast2"])
def test_an_alias_name_is_small_letters_digits_and_three_signs(sandbox: Sandbox, name: str) -> None:
    """Names of aliases hold up to 64 small letters, digits and `_.-`, a letter first."""
    assert sandbox.write(user=f"aliases: {{{name}: 'x:1b'}}\n").load({"MODE": "local"}).aliases[name] == "x:1b"


@pytest.mark.parametrize("name", ["A", "1a", "_a", "a" * 65, "a b", "é", "''", "-a", "a:b", "a@b", "dynaconf_merge "])
def test_another_name_is_no_alias(sandbox: Sandbox, name: str) -> None:
    """An invalid name is reported as an unknown key at its place, and has no effect."""
    sandbox.write(user=f"aliases:\n  ? {name if name == repr('') else json.dumps(name)}\n  : x:1b\n")
    (problem,) = sandbox.problems({"MODE": "local"})
    assert (problem.code, problem.origin and (problem.origin.line, problem.origin.column)) == ("unknown-key", (2, 5))


@pytest.mark.parametrize(
    ("given", "suggested"),
    [
        ("llm: {modle: x}", "llm.model"),
        ("llm: {max_token: 1}", "llm.max_tokens"),
        ("llm: {baseurl: x}", "llm.base_url"),
        ("temprature: 1", "llm.temperature"),
        ("lmm: {}", "llm"),
        ("alias: {}", "aliases"),
        ("temporal: {adress: x}", "temporal.address"),
        ("sandbox: {root: x}", "sandbox.root_dir"),
        ("providers: {ollma: {}}", "providers.ollama"),
        ("locked: [llm.modle]", "llm.model"),
        ("llm.model: x", "llm: {model: …}"),
        ("llm: {provider: olama}", "ollama"),
        ("llm: {reasoning_effort: hihg}", "high"),
        ("mode: locl", "local"),
        ("aliases: {fast: {antropic: x}}", "anthropic"),
        ("llm: {api_key: {evn: NAME}}", "env"),
        ("llm: {timeout:1}", "space"),
        ("aliases: {slow:gpt-5}", "space"),
        ("aliases: {fast: {ollama:x}}", "space"),
        ("llm:model: x", "llm: {model: …}"),
    ],
)
def test_a_typing_error_is_reported_with_a_suggestion(sandbox: Sandbox, given: str, suggested: str) -> None:
    """Unknown keys, choices and aliases' providers suggest the nearest."""
    (problem,) = sandbox.write(user=f"{given}\n").problems({"MODE": "local"})
    assert suggested in problem.hint


@pytest.mark.parametrize(("text", "column"), [("locked: 5", 9), ("locked: [llm, 5]", 15), ("locked: [llm, [x]]", 15)])
def test_a_fault_of_a_list_is_at_its_item(sandbox: Sandbox, text: str, column: int) -> None:
    """The item that is no name is what has to be changed."""
    (problem,) = sandbox.write(user=f"{text}\n").problems({"MODE": "local"})
    assert (problem.code, problem.origin and problem.origin.column) == ("wrong-type", column)


def test_a_section_beside_a_fault_keeps_what_is_right(sandbox: Sandbox) -> None:
    """A fault takes out its own key and nothing else of the file."""
    sandbox.write(user="llm: {max_tokens: hot, temperature: 0.3}\nlogging: {level: loud, format: json}\n")
    loaded = sandbox.read({"MODE": "local"})
    assert {problem.key for problem in loaded.problems} == {"llm.max_tokens", "logging.level"}
    assert (loaded.config.llm.temperature, loaded.config.logging.format) == (0.3, "json")


def test_flags_may_be_dotted_or_nested(sandbox: Sandbox) -> None:
    """`{"llm.model": …}` and `{"llm": {"model": …}}` are the same."""
    dotted = sandbox.load({"MODE": "local"}, flags={"llm.model": "x:1b", "sandbox.root_dir": "/x"})
    nested = sandbox.load({"MODE": "local"}, flags={"llm": {"model": "x:1b"}, "sandbox": {"root_dir": "/x"}})
    assert dotted == nested
    assert dotted.explain("llm.model") == nested.explain("llm.model")


NOT_MAPPINGS: list[dict[Any, Any]] = [
    *({"llm": 5}, {"llm": "fast"}, {"llm": ["model"]}, {"aliases": "x"}, {"providers": {"ollama": 1}}),
]
NO_KEYS: list[dict[Any, Any]] = [
    {1: 2},
    {"llm": {1: 2}},
    {"": 1},
    {"llm.": 1},
    {None: 1},
    {"lmm": {"model": "x"}},
    {("a",): 1},
]


@pytest.mark.parametrize("flags", NOT_MAPPINGS, ids=str)
def test_a_value_in_place_of_a_section_is_reported(sandbox: Sandbox, flags: dict[Any, Any]) -> None:
    """A section given as a value holds no keys."""
    assert [problem.code for problem in sandbox.problems({"MODE": "local"}, flags=flags)] == ["not-a-mapping"]


@pytest.mark.parametrize("flags", NO_KEYS, ids=str)
def test_a_key_that_is_none_is_unknown_whatever_it_is(sandbox: Sandbox, flags: dict[Any, Any]) -> None:
    """Keys of any Python type that name no setting: `unknown-key` in an override, a `KeyError` in flags."""
    assert [problem.code for problem in sandbox.problems({"MODE": "local"}, overrides=[flags])] == ["unknown-key"]
    with pytest.raises(KeyError, match="there is no key"):
        sandbox.load({"MODE": "local"}, flags=flags)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner),
    max_leaves=6,
)


@given(key=st.sampled_from([*EDGES, "llm", "aliases", "aliases.x"]), value=VALUES)
def test_any_value_for_any_key_is_accepted_or_reported(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: Any
) -> None:
    """Whatever Python value a flag or an override has: a Config, or a ConfigError with its problems.

    A flag whose value has names that do not exist is a `KeyError`.
    """
    sandbox = Sandbox(tmp_path_factory.getbasetemp() / "any-value")
    for arguments in ({"flags": {key: value}}, {"overrides": [{key: value}]}):
        try:
            loaded = sandbox.read({**KEYS, "MODE": "local"}, **arguments)
        except KeyError:  # see above
            assert "flags" in arguments
            continue
        assert all(str(problem) for problem in loaded.problems)
        assert loaded.config.fingerprint
