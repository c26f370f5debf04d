"""The JSON Schema: it says what the loader says, and everything that is shipped fits it."""

from __future__ import annotations

import functools
import io
import json
import re
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from stigmer_config import Problem
from stigmer_config.settings.declarations import CHILDREN, CORE_PROVIDERS, SETTINGS
from tests.support.edit_styles import Made, files
from tests.support.paths import REPOSITORY
from tests.support.sandbox import Sandbox

ROOT = REPOSITORY
# The faults of a single file that a schema can detect.
CODES = {
    "unknown-key",
    "unknown-alias-provider",
    "wrong-type",
    "out-of-range",
    "invalid-choice",
    "invalid-url",
    "invalid-credential",
    "invalid-model",
    "empty-model",
    "not-a-mapping",
}


@functools.cache
def schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "docs" / "schema.json").read_text("utf-8"))
    return found


@functools.cache
def validator() -> Any:
    return jsonschema.Draft202012Validator(schema())


def accepts(document: Any) -> bool:
    return bool(validator().is_valid(document))


def plain(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(io.StringIO(text))


def faults(sandbox: Sandbox, document: Any) -> list[Problem]:
    """The loader's problems for the document as a user file, limited to codes that a schema can detect."""
    # JSON is YAML.
    sandbox.write(user=json.dumps(document))
    problems = sandbox.problems({"MODE": "local"})
    # That anthropic's temperature ends at 1 depends on the provider in force: no schema of one key knows it.
    return [p for p in problems if p.code in CODES and not p.message.endswith("for anthropic, not 2")]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    return Sandbox(tmp_path_factory.mktemp("schema"))


def test_the_committed_schema_is_what_the_command_prints(sandbox: Sandbox) -> None:
    """docs/schema.json is generated: stigmer config schema > docs/schema.json."""
    done = sandbox.run("schema")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (ROOT / "docs" / "schema.json").read_text("utf-8")


def test_it_is_a_schema_of_its_dialect() -> None:
    """JSON Schema 2020-12, by its own meta-schema."""
    assert schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema())


SHIPPED = [ROOT / "defaults" / "local.yaml", ROOT / "defaults" / "cloud.yaml", *ROOT.glob("examples/**/config.yaml")]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_everything_shipped_fits(path: Path) -> None:
    """Packaged defaults and examples validate."""
    assert list(validator().iter_errors(plain(path.read_text("utf-8")))) == []


@pytest.mark.parametrize("path", sorted((ROOT / "tests/cases/edit").glob("*/after.yaml")), ids=lambda p: p.parent.name)
def test_every_file_that_we_write_fits(path: Path) -> None:
    """What the corpus of edits comes to validates."""
    text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n").replace("\t#", " #")
    assert list(validator().iter_errors(plain(text))) == []


@pytest.mark.parametrize("key", SETTINGS)
def test_a_key_has_what_its_declaration_says(key: str) -> None:
    """Documentation, class, variable and reload are where an editor shows them."""
    setting = SETTINGS[key]
    node = functools.reduce(lambda below, name: below["properties"][name], key.split("."), schema())
    assert node["description"].startswith(setting.doc)
    assert (node["x-class"], node["x-reload"]) == (setting.access, setting.reload)
    assert node.get("x-variable") == setting.variable
    if setting.variable is not None:
        assert setting.variable in node["description"]
    assert accepts(_nested(key, None)) == setting.nullable


def _nested(key: str, value: Any) -> Any:
    for name in reversed(key.split(".")):
        value = {name: value}
    return value


def test_defaults_are_included_and_secrets_are_not() -> None:
    """The default of the default mode, and in words where the modes differ."""
    properties = schema()["properties"]
    assert properties["temporal"]["properties"]["address"]["default"] == "localhost:7233"
    endpoint = properties["backend"]["properties"]["endpoint"]
    assert endpoint["default"] == "localhost:8080"
    assert "localhost:50051 in local mode" in endpoint["description"]
    assert "dummy-local-key" not in json.dumps(schema())


@given(files())
def test_what_a_file_may_hold_is_accepted(made: Made) -> None:
    """Every valid file fits, whatever its style."""
    text = made.text.replace("\r\n", "\n").replace("\t#", " #")
    assert accepts(plain(text))


_URLS = """
http://x https://x:0 http://x:65536 http://x:000080 http://x:00080/p?q http://u@x ftp://x http://a..b http://[::1]
HTTP://X./ http://[::1:2:3:4:5:6:7:8] http://[1::2:3:4:5:6:7] http://[:::] http://[::ffff:1.2.3.4]:1
http://[1:2:3:4:5:6:7:8] http://- http://[12345::] http://[::] http://[1::8]:1/x http://[fe80::1%25lo] x:1 x:65535
x:65536 x:0 x :1 [::1]:1 x:1x
""".split()  # noqa: SIM905 - read by people
_WORDS_AND_TEXTS = """
fast auto ollama ollama: OpenAI:x a..b a//b INFO json Json local low daytona llm.model llm llm.modle aliases.x aliases
~/x é
""".split()  # noqa: SIM905 - read by people
_ODD = ["", "x" * 257, "http://x\n", "x:1\n", "fast\n", "a\u2028b", "a b", "\x07", " "]
_TEXTS = st.sampled_from([*_WORDS_AND_TEXTS, *_URLS, *_ODD])
_NUMBERS = st.one_of(
    st.integers(-2, 3),
    st.sampled_from([65535, 65536, 10_000_000, 10_000_001, 2**63 - 1, 2**63, -(10**30)]),
    # A whole number written as 5.0 is one to JSON Schema; and it knows no 1e25 that is not also the whole number.
    st.floats(-1, 3).filter(lambda value: not value.is_integer()),
    st.sampled_from([1e-9, 1.5e300]),
)
_WORDS = st.sampled_from(
    ["anthropic", "ollama", "olama", "env", "file", "command", "", "fast", "a.b", "A", "9", "x" * 65]
)
_LEAVES = st.one_of(st.none(), st.booleans(), _NUMBERS, _TEXTS)
_VALUES = st.one_of(
    _LEAVES,
    st.lists(_TEXTS, max_size=3),
    st.dictionaries(_WORDS, st.one_of(_TEXTS, _LEAVES, st.lists(_TEXTS, max_size=2)), max_size=2),
)


@st.composite
def documents(draw: Any) -> Any:
    """A document of keys that exist, nearly exist or do not, with values of every shape."""
    document: dict[str, Any] = {}
    for _ in range(draw(st.integers(1, 3))):
        key = draw(
            st.sampled_from([*SETTINGS, *filter(None, CHILDREN), "aliases.x", "aliases.fast", "llm.modle", "LLM", "x"])
        )
        below = document
        *sections, name = key.split(".")
        for section in sections:
            below = below.setdefault(section, {})
            if not isinstance(below, dict):
                break
        else:
            below[name] = draw(_VALUES)
    return draw(st.sampled_from([document] * 20 + [None, [], "text", 5, {}]))


@settings(max_examples=400)
@example({"llm": {"provider": "ollama:"}})
@example({"llm": {"parameters": {"seed": 1.5e300}}})
@example({"llm": {"parameters": {"stop": [{"x": 2**63}]}}})
@given(documents())
def test_what_the_schema_accepts_the_loader_accepts(world: Sandbox, document: Any) -> None:
    """Keys, types and ranges: neither says less than the other. Which providers are declared no schema can know."""
    undeclared = re.compile(r"Invalid provider '[a-z][a-z0-9_-]{0,63}'\.")
    found = [one for one in faults(world, document) if not undeclared.match(one.message)]
    assert accepts(document) == (found == []), (found, [e.message for e in validator().iter_errors(document)])


@given(st.sampled_from(sorted(CHILDREN)), st.from_regex(r"[A-Za-z_.]{1,12}", fullmatch=True))
def test_an_unknown_key_is_one_to_both(world: Sandbox, section: str, name: str) -> None:
    """A name that no section has is refused by the schema and by the loader."""
    document = _nested(f"{section}.{name}".removeprefix("."), "fast") if "." not in name else {name: "fast"}
    unknown = any(problem.code == "unknown-key" for problem in faults(world, document))
    assert accepts(document) or unknown or any(faults(world, document))
    if unknown:
        assert not accepts(document)


@pytest.mark.parametrize("provider", CORE_PROVIDERS)
def test_a_secret_may_be_a_reference(world: Sandbox, provider: str) -> None:
    """References are accepted where secrets are, and only in their three forms."""
    key = f"providers.{provider}.api_key"
    good: list[Any] = [{"env": "X"}, {"file": "~/key"}, {"command": ["/usr/bin/pass", "x"]}]
    bad: list[Any] = [{}, {"env": ""}, {"env": 1}, {"file": "x", "env": "y"}, {"command": []}, {"command": ["pass"]}]
    for value in good:
        assert (accepts(_nested(key, value)), faults(world, _nested(key, value))) == (True, [])
    for value in bad:
        assert not accepts(_nested(key, value))
        assert faults(world, _nested(key, value))
