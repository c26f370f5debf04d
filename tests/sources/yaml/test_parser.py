"""The YAML that is accepted, the place of each fault, and the values of plain scalars."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.sandbox import Sandbox

Place = tuple[str, str, int | None, int | None]


def faults(sandbox: Sandbox, text: str | bytes) -> list[Place]:
    """Code, key, line and column of each fault of a user file."""
    data = text if isinstance(text, bytes) else text.encode()
    sandbox.user_file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    sandbox.user_file.write_bytes(data)
    sandbox.user_file.chmod(0o600)
    found = sandbox.problems({"MODE": "local"})
    assert all(problem.origin is not None for problem in found)
    return [(p.code, p.key, p.origin.line, p.origin.column) for p in found if p.origin is not None]


FORBIDDEN = {
    "an anchor on a value": ("llm:\n  model: &m x:1b\n", (2, 10)),
    "an anchor on a section": ("llm: &all\n  model: x:1b\n", (1, 6)),
    "an anchor on a key": ("llm:\n  &k model: x:1b\n", (2, 3)),
    "an anchor on the root": ("--- &root\nllm: {}\n", (1, 5)),
    "an alias as a value": ("llm:\n  model: *m\n", (2, 10)),
    "an alias as a key": ("llm:\n  *m : x:1b\n", (2, 3)),
    "an alias in a list": ("locked: [llm, *m]\n", (1, 15)),
    "an alias as the root": ("--- *m\n", (1, 5)),
    "a merge key": ("llm:\n  <<: {model: x}\n", (2, 3)),
    "a merge key in quotes": ('llm:\n  "<<": {model: x}\n', (2, 3)),
    "a core tag": ("llm:\n  max_tokens: !!int 5\n", (2, 15)),
    "a Python tag": ("llm:\n  model: !!python/name:os.system x\n", (2, 10)),
    "a local tag": ("llm:\n  model: !env HOME\n", (2, 10)),
    "the non-specific tag": ("llm:\n  model: ! x:1b\n", (2, 10)),
    "a verbatim tag": ("llm:\n  model: !<tag:yaml.org,2002:str> x\n", (2, 10)),
    "a tag on a key": ("llm:\n  !!str model: x:1b\n", (2, 3)),
    "a tag on the root": ("--- !!map\nllm: {}\n", (1, 5)),
    "an unknown tag handle": ("llm:\n  model: !x!y z\n", (2, 10)),
    "a key that is a list": ("llm:\n  ? [a, b]\n  : 1\n", (2, 5)),
    "a key that is a mapping": ("llm:\n  ? {a: b}\n  : 1\n", (2, 5)),
    "braces of a template": ("llm: {model: {{ model }}}\n", (1, 15)),
    "the directive of YAML 1.1": ("%YAML 1.1\n---\nllm: {}\n", (1, 1)),
    "the directive of YAML 1.2": ("%YAML 1.2\n---\nllm: {}\n", (1, 1)),
    "the directive of a YAML to come": ("%YAML 2.0\n---\nllm: {}\n", (1, 1)),
    "a tag directive": ("%TAG ! tag:example.com,2000:\n---\nllm: {}\n", (1, 1)),
    "a directive nobody knows": ("%FOO bar\n---\nllm: {}\n", (1, 5)),
    "a directive without a document": ("%YAML 1.2\nllm: {}\n", (2, 1)),
    "a second document": ("llm: {}\n---\nllm: {}\n", (2, 1)),
    "an empty second document": ("llm: {}\n---\n", (2, 1)),
    "a second document after the end of the first": ("llm: {}\n...\n---\nllm: {}\n", (3, 1)),
    "a bare second document": ("llm: {}\n...\nllm: {}\n", (3, 1)),
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_yaml_could_do_beyond_plain_settings_is_forbidden(sandbox: Sandbox, name: str) -> None:
    """Anchors, aliases, tags, directives, merge keys and second documents are refused at their place."""
    text, (line, column) = FORBIDDEN[name]
    assert ("yaml-forbidden", "", line, column) in faults(sandbox, text)


@pytest.mark.parametrize("name", FORBIDDEN)
def test_nothing_of_a_file_with_forbidden_yaml_counts(sandbox: Sandbox, name: str) -> None:
    """Forbidden YAML refuses the whole file: the other keys are not used either."""
    sandbox.write(user=FORBIDDEN[name][0])
    loaded = sandbox.read({"MODE": "local"})
    user = next(layer for layer in loaded.layers if layer.name == "user")
    assert user.status == "error"
    assert not user.entries


SYNTAX = {
    "a list never closed": ("llm:\n  model: [unclosed\n", (2, 10)),
    "a mapping never closed": ("llm: {model: x\n", (1, 6)),
    "a list never begun": ("llm:\n  model: [\n\n", (2, 10)),
    "a mapping never begun": ("llm: {", (1, 6)),
    "a key without a colon at the end": ("llm:\n  model: x\n  timeout", (3, 10)),
    "a quote never closed": ('llm:\n  model: "x:1b\n', (2, 10)),
    "a tab as indentation": ("llm:\n\tmodel: x:1b\n", (2, 1)),
    "a key too deep": ("llm:\n  model: x:1b\n    temperature: 1\n", (3, 16)),
    "a key not deep enough": ("llm:\n  model: x:1b\n temperature: 1\n", (3, 2)),
    "a colon in a plain value": ("llm:\n  model: a: b\n", (2, 11)),
    "a value that starts with @": ("llm:\n  model: @x\n", (2, 10)),
    "a value that starts with a backtick": ("llm:\n  model: `x`\n", (2, 10)),
    "a value that starts with %": ("llm:\n  model: %x\n", (2, 10)),
    "a bracket too many": ("llm: {}\n]\n", (2, 1)),
    "words after a quote": ("llm:\n  model: 'x' y\n", (2, 14)),
    "two values and no key": ('"a" "b"\n', (1, 5)),
    "bold text": ("llm:\n  model: **x**\n", (2, 11)),
    "an escape nobody knows": ('llm:\n  model: "\\q"\n', (2, 11)),
    "half a character": ('llm:\n  model: "\\ud800"\n', (2, 13)),
    "a character beyond Unicode": ('llm:\n  model: "\\UFFFFFFFF"\n', (2, 13)),
    "a document mark inside a quote": ('llm:\n  model: "a\n---\nb"\n', (3, 1)),
    "a control character": ("llm:\n  model: a\x1bb\n", (2, 11)),
    "a NUL": ("llm:\n  model: a\0b\n", (2, 11)),
    "a C1 control character": ("llm:\n  model: a\x9bb\n", (2, 11)),
    "a non-character": ("llm:\n  model: a\uffffb\n", (2, 11)),
}


@pytest.mark.parametrize("name", SYNTAX)
def test_invalid_yaml_is_reported_with_its_place(sandbox: Sandbox, name: str) -> None:
    """Broken YAML is one `yaml-syntax` error where a person must look, and nothing beside it."""
    text, (line, column) = SYNTAX[name]
    assert faults(sandbox, text) == [("yaml-syntax", "", line, column)]


BYTES: dict[str, tuple[bytes, list[Place]]] = {
    "UTF-16 with a byte order mark": ("\ufeffllm: {}\n".encode("utf-16-le"), [("bad-encoding", "", 1, 1)]),
    "UTF-16, big end first": ("\ufeffllm: {}\n".encode("utf-16-be"), [("bad-encoding", "", 1, 1)]),
    "UTF-16 without a mark": ("llm: {}\n".encode("utf-16-le"), [("bad-encoding", "", 1, 1)]),
    "UTF-16, big end first, without a mark": ("llm: {}\n".encode("utf-16-be"), [("bad-encoding", "", 1, 1)]),
    "UTF-32": ("llm: {}\n".encode("utf-32"), [("bad-encoding", "", 1, 1)]),
    "Latin-1": ("llm: {}\n# é\n".encode("latin-1"), [("bad-encoding", "", 2, 3)]),
    "Latin-1 after wide characters": ("# éé".encode() + b"\xe9\n", [("bad-encoding", "", 1, 5)]),
    "Latin-1 after a byte order mark": (b"\xef\xbb\xbf# \xe9\n", [("bad-encoding", "", 1, 3)]),
    "half a surrogate pair": (b"a: \xed\xa0\x80\n", [("bad-encoding", "", 1, 4)]),
    "an overlong NUL": (b"a: \xc0\x80\n", [("bad-encoding", "", 1, 4)]),
    "a cut character": ("llm: {}\n# é".encode()[:-1], [("bad-encoding", "", 2, 3)]),
    "a UTF-8 byte order mark": (b"\xef\xbb\xbfllm:\n  max_tokens: 5\n", []),
    "a byte order mark does not move the column": (b"\xef\xbb\xbflmm: 1\n", [("unknown-key", "lmm", 1, 1)]),
    "only a byte order mark": (b"\xef\xbb\xbf", []),
}


@pytest.mark.parametrize("name", BYTES)
def test_a_file_is_utf_8_and_one_byte_order_mark_is_no_part_of_it(sandbox: Sandbox, name: str) -> None:
    """Anything but UTF-8 is `bad-encoding` at its first wrong byte; a leading UTF-8 mark does not count."""
    data, expected = BYTES[name]
    assert faults(sandbox, data) == expected


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\x85", "\u2028", "\u2029"], ids=ascii)
def test_every_line_end_of_the_parser_counts_one_line(sandbox: Sandbox, end: str) -> None:
    """Line, column and excerpt agree whichever of YAML's breaks a file has."""
    text = end.join(["# a comment", "llm:", "  temperature: hot", ""])
    assert faults(sandbox, text) == [("wrong-type", "llm.temperature", 3, 16)]
    (problem,) = sandbox.problems({"MODE": "local"})
    assert problem.excerpt == "      temperature: hot\n                   ^"


BREAKS = ["\n", "\r\n", "\r", "\x85", "\u2028", "\u2029"]
# Everything YAML allows inside double quotes on one line, but the two that end or escape it.
INSIDE = st.text(
    st.characters(codec="utf-8", exclude_characters='"\\@?' + "".join(BREAKS), exclude_categories=("Cc", "Cs"))
)


@given(before=st.lists(st.tuples(st.text("abc #é\U0001f600e\u0301", max_size=6), st.sampled_from(BREAKS))), name=INSIDE)
def test_places_are_counted_in_characters(tmp_path_factory: pytest.TempPathFactory, before: Any, name: str) -> None:
    """Astral and combining characters are one column each, and every break before them is one line."""
    comments = "".join(f"#{text}{end}" for text, end in before)
    name = name.replace("\ufffe", "").replace("\uffff", "").replace("\ufeff", "")
    last = f'temporal: {{task_queue: "x{name}", address: nowhere}}'
    sandbox = Sandbox(tmp_path_factory.mktemp("w"))
    assert faults(sandbox, comments + last + "\n") == [
        ("wrong-type", "temporal.address", len(before) + 1, last.index("nowhere") + 1)
    ]


DUPLICATES = {
    "at the top": ("mode: local\nmode: local\n", "mode", (2, 1)),
    "a section": ("llm:\n  model: x:1b\nllm:\n  model: y:1b\n", "llm", (3, 1)),
    "in a section": ("llm:\n  model: x:1b\n  timeout: 5\n  model: x:1b\n", "llm.model", (4, 3)),
    "three deep": ("providers:\n  ollama:\n    model: x\n    model: x\n", "providers.ollama.model", (4, 5)),
    "an alias": ("aliases:\n  fast: x:1b\n  fast: x:1b\n", "aliases.fast", (3, 3)),
    "in an alias": ("aliases:\n  fast: {ollama: x, ollama: x}\n", "aliases.fast.ollama", (2, 21)),
    "in quotes": ("llm:\n  model: x:1b\n  'model': x:1b\n", "llm.model", (3, 3)),
    "by an escape": ('llm:\n  model: x:1b\n  "mode\\x6c": x:1b\n', "llm.model", (3, 3)),
    "by a question mark": ("llm:\n  model: x:1b\n  ? model\n  : x:1b\n", "llm.model", (3, 5)),
    "an unknown one": ("lmm:\n  a: {b: 1, b: 2}\n", "lmm.a.b", (2, 13)),
    "an empty one": ("llm: {'': 1, '': 1}\n", "llm", (1, 14)),
}


@pytest.mark.parametrize("name", DUPLICATES)
def test_a_key_given_twice_is_an_error_at_any_depth(sandbox: Sandbox, name: str) -> None:
    """The second of two equal keys is reported at its own place, even if both have the same value."""
    text, key, (line, column) = DUPLICATES[name]
    assert ("duplicate-key", key, line, column) in faults(sandbox, text)


def test_each_repetition_of_a_key_is_reported(sandbox: Sandbox) -> None:
    """A key given three times is two faults, and names the line of the first."""
    sandbox.write(user="llm:\n  model: x:1b\n  model: y:1b\n  model: z:1b\n")
    problems = sandbox.problems({"MODE": "local"})
    assert [(p.code, p.origin and p.origin.line) for p in problems] == [("duplicate-key", 3), ("duplicate-key", 4)]
    assert all("line 2" in problem.hint for problem in problems)


def nested(depth: int) -> str:
    """A text whose collections are `depth` deep."""
    return "x: " + "[" * (depth - 1) + "]" * (depth - 1) + "\n"


LIMITS: dict[str, tuple[str, str]] = {
    "depth 16": (nested(16), nested(17)),
    "8192 characters in a text": (f"x: '{'y' * 8192}'\n", f"x: '{'y' * 8193}'\n"),
    "8192 characters in a key": (f"? {'y' * 8192}\n: 1\n", f"? {'y' * 8193}\n: 1\n"),
    "8192 characters in a block": (f"x: |-\n  {'y' * 8192}\n", f"x: |-\n  {'y' * 8193}\n"),
    "8192 events": (f"x: [{'y,' * 8180}]\n", f"x: [{'y,' * 8192}]\n"),
    "64 KiB": ("#" * (64 * 1024 - 1) + "\n", "#" * (64 * 1024) + "\n"),
    "64 KiB of wide characters": ("#" + "é" * (32 * 1024 - 1) + "\n", "#" + "é" * (32 * 1024) + "\n"),
}


@pytest.mark.parametrize("name", LIMITS)
def test_each_limit_lets_in_what_is_at_it_and_refuses_one_more(sandbox: Sandbox, name: str) -> None:
    """Size, depth, events and length of a string have limits that no hand-written file reaches."""
    within, beyond = LIMITS[name]
    code = "yaml-forbidden" if name.startswith("depth") else "too-large"
    assert code not in {code for code, *_ in faults(sandbox, within)}
    assert code in {code for code, *_ in faults(sandbox, beyond)}


@pytest.mark.parametrize(
    ("text", "code", "line", "column"),
    [
        ("llm:\n  model: " + "[" * 20 + "]" * 20 + "\n", "yaml-forbidden", 2, 24),
        ("llm:\n  model: " + "[" * 60000 + "\n", "yaml-forbidden", 2, 24),
        ("llm:\n  model: 'x" + "y" * 8192 + "'\n", "too-large", 2, 10),
        ("llm: {}\n# [" + "[" * 4096 + "\n", "too-large", 2, 4098),
        ("llm: &a {}\nlocked: [" + "[]," * 5000 + "]\n", "yaml-forbidden", 1, 6),
    ],
    ids=["depth", "a bomb of brackets", "scalar", "brackets", "an anchor before too many brackets"],
)
def test_an_exceeded_limit_is_reported_at_its_place(
    sandbox: Sandbox, text: str, code: str, line: int, column: int
) -> None:
    """What is too deep, too long or too much has its place; what follows is not parsed."""
    assert (code, "", line, column) in faults(sandbox, text)


def test_a_flood_of_faults_ends_after_a_hundred(sandbox: Sandbox) -> None:
    """Up to a hundred faults of a file are reported; then the whole file is refused."""
    ninety = "llm:\n" + "".join(f"  wrong_{n}: 1\n" for n in range(90))
    assert [code for code, *_ in faults(sandbox, ninety)] == ["unknown-key"] * 90
    many = faults(sandbox, "llm:\n" + "".join(f"  wrong_{n}: 1\n" for n in range(4000)))
    assert [code for code, *_ in many] == ["unknown-key"] * 100 + ["too-large"]
    same = faults(sandbox, "llm:\n" + "  model: x:1b\n" * 4000)
    assert [code for code, *_ in same] == ["duplicate-key"] * 100 + ["too-large"]


# What YAML 1.2's core schema makes of a plain scalar (https://yaml.org/spec/1.2.2/#103-core-schema).
TEXTS = [
    *("no", "yes", "on", "off", "y", "n", "No", "YES", "tRue", "nULL", "None", "nil"),
    *("2024-01-01", "2024-01-01T10:00:00Z", "12:30:45", "1:30", "190:20:30"),
    *("1_000", "0b101", "0o18", "0xfg", "-0x10", "+0o7", "1.2.3", "1e", "e5", ".", "+", "..", "-.", "1.10.0"),
    *("+.nan", "-.NaN", "inf", "nan", "Infinity", ".infinity", "=", "<<", "0x", "0o", "\uff11\uff12"),
    *("@jinja {{ 1 }}", "${HOME}", "sk-ant"),
]
NUMBERS: dict[str, float] = {
    "017": 17, "08": 8, "-017": -17, "+17": 17, "0": 0, "-0": 0, "0o17": 15, "0o0": 0, "0x1F": 31, "0xff": 255,
    "1.10": 1.1, "1.": 1.0, ".5": 0.5, "-.5": -0.5, "1e3": 1000.0, "1E-3": 0.001, "12e03": 12000.0, "+1.5": 1.5,
    "1.5e+2": 150.0,
    "9223372036854775807": 9223372036854775807,
}  # fmt: skip
CORE: dict[str, object] = {
    **{text: text for text in TEXTS if not text.startswith(("@", "="))},
    **NUMBERS,
    "null": None, "Null": None, "NULL": None, "~": None, "": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


def described(value: object) -> str | None:
    """A message's name for a value that is not a string; None for a string."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return None if isinstance(value, str) else f"the number {value!r}"


@pytest.mark.parametrize("plain", CORE)
def test_a_plain_scalar_means_what_yaml_1_2_says(sandbox: Sandbox, plain: str) -> None:
    """`no`, `017`, `1.10` and dates are read by YAML 1.2's core schema, never by YAML 1.1's."""
    value = CORE[plain]
    sandbox.write(user=f"temporal:\n  task_queue: {plain}\n")
    loaded = sandbox.read({"MODE": "local"})
    if isinstance(value, str):
        assert not loaded.errors
        assert loaded.config.temporal.task_queue == value
    else:
        (problem,) = loaded.problems
        assert (problem.code, problem.key) == ("wrong-type", "temporal.task_queue")
        assert problem.message == f"must be text, not {described(value)}"


@pytest.mark.parametrize("plain", NUMBERS)
def test_a_plain_number_has_its_value_and_its_type(sandbox: Sandbox, plain: str) -> None:
    """A number's written form decides between int and float, and its value is exact."""
    value = NUMBERS[plain]
    sandbox.write(user=f"llm:\n  num_ctx: {plain}\n")
    loaded = sandbox.read({"MODE": "local"})
    codes = {problem.code for problem in loaded.problems}
    if isinstance(value, int) and value >= 1:
        assert (codes, loaded.config.llm.num_ctx) == (set(), value)
    else:
        assert codes == {"out-of-range" if isinstance(value, int) else "wrong-type"}


@pytest.mark.parametrize("special", [".inf", "-.inf", "+.INF", ".Inf", ".nan", ".NaN", ".NAN", "1e999", "-1e999"])
def test_what_is_not_finite_is_out_of_every_range(sandbox: Sandbox, special: str) -> None:
    """Infinities and not-a-number are numbers to YAML and values of no setting."""
    assert faults(sandbox, f"llm:\n  timeout: {special}\n") == [("out-of-range", "llm.timeout", 2, 12)]


BRACKETS = {
    "llm: {model: qwen3:4b}": ("llm.model", "qwen3:4b", (1, 14)),
    "aliases: {a: {ollama: qwen3:4b}, b: 'x:1b'}": ("aliases.b", "x:1b", (1, 37)),
    "llm: {\n  base_url: http://h:1/v1, # where\n  model: x:1b }": ("llm.base_url", "http://h:1/v1", (2, 13)),
    '{"llm": {"model": "x:1b"}, "temporal": {address: h:1}}': ("temporal.address", "h:1", (1, 50)),
    "llm:\n  model: a:b\nlogging: {level: debug, format: json}\nsandbox: {root_dir: c:/x}": (
        "sandbox.root_dir",
        "c:/x",
        (4, 21),
    ),
}


@pytest.mark.parametrize("text", BRACKETS)
def test_between_brackets_a_text_with_a_colon_needs_no_quotes(sandbox: Sandbox, text: str) -> None:
    """As YAML 1.2 and editors have it (https://yaml.org/spec/1.2.2/#733-plain-style)."""
    key, value, place = BRACKETS[text]
    config = sandbox.write(user=f"{text}\n").load({"MODE": "local"})
    origin = config.explain(key).origin
    assert config.value(key) == value
    assert origin is not None
    assert (origin.line, origin.column) == place


@pytest.mark.parametrize("first", [0xE000, 0xF0000])
def test_such_a_file_may_hold_every_private_character(sandbox: Sandbox, first: int) -> None:
    """The placeholder for the colon is never one of the text's own characters."""
    many = "".join(map(chr, range(first, first + 6400)))
    sandbox.write(user=f"llm: {{model: qwen3:4b}}\n# {many}\nlogging: {{level: debug}}\n")
    config = sandbox.load({"MODE": "local"})
    assert (config.llm.model, config.logging.level) == ("qwen3:4b", "debug")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("llm: {model: a:1b, model: b:1b}", ("duplicate-key", "llm.model", 1, 20)),
        ("llm: {model: &m a:1b}", ("yaml-forbidden", "", 1, 14)),
        ("llm: {model: a:1b, provider: *p}", ("yaml-forbidden", "", 1, 30)),
        ("llm: {model: a:1b}\n---\nllm: {}", ("yaml-forbidden", "", 2, 1)),
        ("llm: {model: a:1b, modle: x}", ("unknown-key", "llm.modle", 1, 20)),
        ("a: " + "[" * 17 + "x:1" + "]" * 17, ("yaml-forbidden", "", 1, 19)),
        ("llm: {model: a:1b, provider: b c: d}", ("yaml-syntax", "", 1, 6)),
        ("llm: {model: a:1b, provider:}", ("yaml-syntax", "", 1, 28)),
        ("llm: {model: a:1b", ("yaml-syntax", "", 1, 6)),
        ('llm: {model: a:1b, base_url: "\\UFFFFFFFF"}', ("yaml-syntax", "", 1, 33)),
        ("llm: {model: a:1b, timeout: 1:0}", ("wrong-type", "llm.timeout", 1, 29)),
        ("llm: {model: a:1b, base_url: \ue000}", ("invalid-url", "llm.base_url", 1, 30)),
    ],
)
def test_such_a_file_is_held_to_every_rule(sandbox: Sandbox, text: str, fault: Place) -> None:
    """What is refused elsewhere is refused there, at its place."""
    assert faults(sandbox, f"{text}\n") == [fault]


@pytest.mark.parametrize(
    "quotes", ["'{}'", '"{}"', "|-\n    {}", ">-\n    {}"], ids=["single", "double", "block", "folded"]
)
@pytest.mark.parametrize("text", ["17", "1.5", "true", "null", "no", "2024-01-01", ".inf"])
def test_what_is_quoted_is_text(sandbox: Sandbox, quotes: str, text: str) -> None:
    """Quotes and blocks make a string of anything, number-like or not."""
    config = sandbox.write(user=f"temporal:\n  task_queue: {quotes.format(text)}\n").load({"MODE": "local"})
    assert config.temporal.task_queue == text


@pytest.mark.parametrize("name", ["1", "true", "null", "1.5", "on"])
def test_a_key_is_what_was_written(sandbox: Sandbox, name: str) -> None:
    """Keys are names: `1`, `true` and `null` are reported as written, and equal only to themselves."""
    assert faults(sandbox, f"llm:\n  {name}: x\n") == [("unknown-key", f"llm.{name}", 2, 3)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "# only a comment\n",
        "---\n",
        "--- # nothing\n...\n",
        "{}\n",
        "null\n",
        "~\n",
        "llm:\n",
        "llm: {}\n",
        "\ufeff\n",
    ],
)
def test_a_file_with_nothing_in_it_is_an_empty_layer(sandbox: Sandbox, text: str) -> None:
    """Nothing, comments, or sections that hold nothing: no fault and no value."""
    sandbox.write(user=text)
    loaded = sandbox.read({"MODE": "local"})
    assert not loaded.problems
    assert next(layer for layer in loaded.layers if layer.name == "user").status == "empty"


@pytest.mark.parametrize("text", ["- llm\n", "[]\n", "llm\n", "42\n", "''\n", "true\n", "|\n  llm: {}\n"])
def test_a_file_that_holds_no_keys_is_not_a_mapping(sandbox: Sandbox, text: str) -> None:
    """A list, a string or a number in place of the keys is reported at its place."""
    assert faults(sandbox, text) == [("not-a-mapping", "", 1, 1)]
