"""Files that mean harm: what the worst 64 KiB cost, and that nothing but a Problem ever comes of them.

Run as a program, this file is the measured process: it reads each shape in a child of its own, under the limits of
the operating system.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.paths import REPOSITORY
from tests.support.sandbox import Sandbox

SIZE = 64 * 1024
# The contract: under a second and 64 MiB for one file. Processor time, which a busy machine makes half as long again:
# the longest takes 0.27 s on one.
MAX_SECONDS, MAX_BYTES = 0.5, 64 * 1024 * 1024


def full(unit: str, start: str = "", end: str = "") -> str:
    """`unit` as often as 64 KiB hold it."""
    return start + unit * ((SIZE - len(start.encode()) - len(end.encode())) // len(unit.encode())) + end


def rows(form: str, count: int = 4000) -> str:
    """A line for each number, as many as 64 KiB hold."""
    text = "".join(form.format(n=n, next=n + 1, other=n ^ 1) + "\n" for n in range(count))
    return text[: text.rfind("\n", 0, SIZE - 100) + 1]


def words(count: int, length: int) -> list[str]:
    chosen = random.Random(1)  # the same each time
    return ["".join(chosen.choices("abcdefghijklmnopqrstuvwxyz_", k=length)) for _ in range(count)]


SHAPES: dict[str, str | bytes] = {
    "opening brackets": full("["),
    "opening brackets, as many as are parsed": "[" * 4096,
    "opening braces": full("{"),
    "opening braces, as many as are parsed": "{" * 4096,
    "braces in braces": "{a: " * 4096,
    "brackets in a comment": full("[", "# "),
    "dashes": full("- "),
    "dashes, one deeper each": "".join(" " * n + "-\n" for n in range(360)),
    "question marks": full("? "),
    "colons": full(": "),
    "keys on one line": full("a: "),
    "a quote never closed": full("x", '"'),
    "quotes": full('"a" '),
    "backslashes": full("\\", '"', '"'),
    "escapes": full("\\x41", '"', '"'),
    "line ends": full("\n"),
    "carriage returns": full("\r"),
    "unusual line ends": full("a: 1\x85"),
    "spaces": full(" "),
    "tabs": full("\t"),
    "commas": full(",", "["),
    "comments": full("#\n"),
    "one plain word": full("x"),
    "one plain text of many lines": full(" c\n", "a: b\n"),
    "one block of many lines": full(" x\n", "a: |\n"),
    "one folded block": full(" x\n\n", "a: >\n"),
    "per cent signs": full("%"),
    "directives": full("%a b\n"),
    "tag directives": rows("%TAG !a{n}! x:"),
    "documents": full("---\n"),
    "document ends": full("...\n"),
    "items": full("x,", "a: [", "]"),
    "items with a value": full("b: c,", "a: {", "}"),
    "anchors": rows("a{n}: &x 1"),
    "one long anchor": full("x", "a: &", " 1"),
    "tags": rows("a{n}: !x 1"),
    "one long tag": full("x", "a: !<", "> 1"),
    "an alias bomb": "a: &a {x: 1}\n" + rows("b{n}: {{<<: *a, y: *a}}", 2000),
    "nested alias bomb": "a0: &a0 [x, x]\n" + rows("a{next}: &a{next} [*a{n}, *a{n}]", 1500),
    "complex keys": full("? {a: 1}\n: 2\n"),
    "the same key": full("a: 1\n"),
    "the same key, with long line ends": full("a:\r\n"),
    "unknown keys": "".join(f"{name}: 1\n" for name in words(4500, 8)),
    "unknown keys of a section": "llm:\n" + "".join(f"  {name}: 1\n" for name in words(4500, 8)),
    "unknown secrets": rows("api_kee{n}: x"),
    "long unknown keys": "".join(f"{name}: 1\n" for name in words(900, 64)),
    "names that are none": "aliases:\n" + rows("  A{n}: x"),
    "providers that are none": "aliases:\n  a: {" + ",".join(f"pro{n}: x" for n in range(4000)) + "}\n",
    "unknown locks": "locked: [" + ",".join(f"llm.m{n}" for n in range(6000)) + "]\n",
    "aliases": "aliases:\n" + rows("  a{n}: x{n}:1b"),
    "wrong aliases": "aliases:\n" + rows("  a{n}: '!!'"),
    "a chain of aliases": "aliases:\n" + rows("  a{n}: a{next}"),
    "a ring of aliases": "aliases:\n" + rows("  a{n}: a{next}", 3000) + "  a3000: a0\n",
    "rings of two aliases": "aliases:\n" + rows("  a{n}: a{other}"),
    "aliases of another provider": "aliases:\n" + rows("  a{n}: {{ollama: 'openai:x'}}", 1500),
    "a chain through mappings": "aliases:\n" + rows("  a{n}: {{ollama: a{next}, openai: a{next}}}", 1100),
    "digits": "llm: {max_tokens: " + "9" * 8000 + "}",
    "digits and a fraction": "llm: {temperature: " + "1" * 4000 + "." + "1" * 4000 + "e" + "9" * 90 + "}",
    "hexadecimal digits": "llm: {max_tokens: 0x" + "f" * 8000 + "}",
    "numbers": rows("a{n}: 99999999999999999999999999999999"),
    "a broken end": rows("a{n}: 1", 3000) + "]",
    "broken among words": "llm: [\n" + " ".join(words(7000, 7)),
    "NUL": b"\0" * SIZE,
    "not UTF-8": b"\xff" * SIZE,
    "byte order marks": full("\ufeff"),
    "astral characters": full("\U0001f600", "a: '", "'"),
    "combining characters": full("\u0301", "a: '", "'"),
    "one byte too many": b"#" * (SIZE + 1),
}


def costs() -> None:
    """Reads every shape as the user's file and as a project's, and prints what each cost, as JSON."""
    sandbox = Sandbox(Path(tempfile.mkdtemp()))
    sandbox.write(user="llm: {modle: 1}\naliases: {a: b, b: a}\n", project="llm: {base_url: 'http://h'}\n")
    str(sandbox.read({"MODE": "local"}).problems)  # everything that is imported once
    found: dict[str, Any] = {}
    for name, shape in SHAPES.items():
        for layer in ("user", "project"):
            sandbox.user_file.unlink(missing_ok=True)
            sandbox.project_file.unlink(missing_ok=True)
            path = sandbox.user_file if layer == "user" else sandbox.project_file
            path.write_bytes(shape if isinstance(shape, bytes) else shape.encode())
            path.chmod(0o600)
            found[f"{name} ({layer})"] = _cost(lambda: sandbox.read({"MODE": "local"}))
    json.dump(found, sys.stdout)


def _cost(read: Callable[[], Any]) -> dict[str, Any]:
    """Seconds of processor, bytes and outcome of one reading, in a child that cannot take more than a few seconds."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    out, inside = os.pipe()
    child = os.fork()
    if child:
        os.close(inside)
        with os.fdopen(out) as answer:
            text = answer.read()
        os.waitpid(child, 0)
        return json.loads(text) if text else {"outcome": "killed at its limits"}
    try:
        os.close(out)
        resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        memory, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        try:
            told = [str(problem) for problem in read().problems]
            outcome = "problems" if told else "fine"
        except BaseException as error:  # noqa: BLE001 - it is what is looked for
            outcome = f"{type(error).__name__}: {error}"[:200]
        seconds = time.process_time() - started
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) * unit
        os.write(inside, json.dumps({"outcome": outcome, "seconds": seconds, "bytes": grown}).encode())
    finally:
        os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and resource limits")
def test_bad_input_costs_less_than_half_a_second_and_64_mib() -> None:
    """Every adversarial file of 64 KiB is read, checked and reported within the limits, in both layers."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.sources.test_hostile_input"],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=570, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    assert len(found) == 2 * len(SHAPES)
    beyond = {
        name: cost
        for name, cost in found.items()
        if cost["outcome"] not in ("problems", "fine") or cost["seconds"] >= MAX_SECONDS or cost["bytes"] >= MAX_BYTES
    }
    assert beyond == {}


KEYS = [
    *(
        "mode",
        "llm",
        "providers",
        "aliases",
        "temporal",
        "backend",
        "sandbox",
        "redis",
        "logging",
        "locked",
        "provider",
    ),
    *(
        "model",
        "base_url",
        "api_key",
        "max_tokens",
        "temperature",
        "num_ctx",
        "timeout",
        "anthropic",
        "ollama",
        "openai",
    ),
    *("namespace", "address", "endpoint", "type", "root_dir", "host", "port", "password", "level", "fast"),
    *("<<", "modle", "", "a.b", "llm.model", "é", "x" * 80, "dynaconf_merge"),
]
PLAIN = [
    *(
        "null",
        "true",
        "5",
        "1.5",
        ".inf",
        "-1",
        "017",
        "no",
        "2024-01-01",
        "x:1b",
        "fast",
        "anthropic",
        "local",
        "json",
    ),
    *(
        "http://h:1",
        "h:1",
        "'@jinja {{ 1 }}'",
        "'@format {env[HOME]}'",
        "'@int 5'",
        "'${HOME}'",
        "&a 1",
        "*a",
        "!!str x",
    ),
    *("{env: HOME}", "{file: x}", "[llm]", "[llm.model, 1]", "|\n      block", '"\\u202e"', "'http://u:p@h'"),
]


def documents() -> st.SearchStrategy[str]:
    """Texts of files in the shape of configurations: known and unknown keys, right and wrong values."""
    values: st.SearchStrategy[Any] = st.sampled_from(PLAIN)
    keys = st.sampled_from(KEYS)
    inner = st.dictionaries(keys, values, max_size=4)
    trees = st.dictionaries(keys, values | inner | st.dictionaries(keys, inner, max_size=3))
    return trees.map(lambda tree: "".join(_lines(tree, 0)))


def _lines(tree: dict[str, Any], depth: int) -> list[str]:
    lines: list[str] = []
    for name, value in tree.items():
        key = name if name.isidentifier() else json.dumps(name)
        lines.append(f"{'  ' * depth}{key}: {value if isinstance(value, str) else ''}\n")
        if isinstance(value, dict):
            lines += _lines(value, depth + 1)
    return lines


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A configuration's text with a few bytes cut out, put in, or doubled."""
    data = draw(documents()).encode()
    for _ in range(draw(st.integers(0, 4))):
        start, end = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
        put = draw(st.sampled_from([b"", data[start:end] * 2, *INSERTED]) | st.binary(max_size=4))
        data = data[:start] + put + data[end if draw(st.booleans()) else start :]
    return data[: 2 * SIZE]


INSERTED = [
    *(b"[", b"]", b"{", b"}", b"'", b'"', b"|", b">", b"&a ", b"*a", b"!x ", b"%YAML 1.1\n", b"---\n", b"...\n"),
    *(b"? ", b": ", b"#", b"\n", b"\r", b"\t", b"\0", b"\x1b", b"\xc2\x85", b"\xe2\x80\xa8", b"\xef\xbb\xbf", b"\xff"),
    b"\xf0\x9f\x98\x80",
]


def check(sandbox: Sandbox, data: bytes, layer: str) -> None:
    """Reads a file once: the result is entries or Problems, each printable and with a place in the file."""
    path = {"site": sandbox.site_file, "user": sandbox.user_file, "project": sandbox.project_file}[layer]
    path.parent.mkdir(mode=0o755, exist_ok=True)
    path.write_bytes(data)
    path.chmod(0o600)
    loaded = sandbox.read({"MODE": "local", "ANTHROPIC_API_KEY": "k", "OPENAI_API_KEY": "k"})
    path.unlink()
    assert loaded.config.fingerprint
    lines = re.split("\r\n|[\n\r\x85\u2028\u2029]", data.decode("utf-8", "replace").removeprefix("\ufeff"))
    for problem in loaded.problems:
        told = str(problem)
        told.encode()
        assert not [char for char in told if char != "\n" and (ord(char) < 32 or "\u202a" <= char <= "\u202e")]
        origin = problem.origin
        if origin is not None and origin.source == str(path) and origin.line is not None and origin.column is not None:
            assert 1 <= origin.line <= len(lines)
            assert 1 <= origin.column <= len(lines[origin.line - 1]) + 1


@given(data=st.binary(max_size=400) | st.text().map(str.encode), layer=st.sampled_from(["site", "user", "project"]))
def test_arbitrary_bytes_give_entries_or_problems(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, layer: str
) -> None:
    """Whatever bytes a file has, a load ends with a Config or with Problems, never with another exception."""
    check(Sandbox(tmp_path_factory.getbasetemp() / "bytes"), data, layer)


@given(data=mutated(), layer=st.sampled_from(["site", "user", "project"]))
def test_mutated_files_give_entries_or_problems(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, layer: str
) -> None:
    """So does a configuration that was cut, spliced or garbled anywhere."""
    check(Sandbox(tmp_path_factory.getbasetemp() / "mutated"), data, layer)


@given(text=documents(), layer=st.sampled_from(["user", "project"]))
def test_the_same_file_always_has_the_same_result(
    tmp_path_factory: pytest.TempPathFactory, text: str, layer: str
) -> None:
    """Two readings of one file give equal values and equal problems."""
    sandbox = Sandbox(tmp_path_factory.getbasetemp() / "twice")
    sandbox.user_file.unlink(missing_ok=True)
    sandbox.project_file.unlink(missing_ok=True)
    sandbox.write(**{layer: text})
    first, second = sandbox.read({"MODE": "local"}), sandbox.read({"MODE": "local"})
    assert (first.config, first.problems) == (second.config, second.problems)


if __name__ == "__main__":
    costs()
