"""Typed decoders: built once, under one lock, and nowhere else in the package."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import stigmer_config
from stigmer_config.core import decoding
from stigmer_config.core.decoding import from_builtins, from_json, json_decoder
from tests.support.sandbox import Sandbox

PACKAGE = Path(stigmer_config.__file__).parent
PROCESSES = int(os.environ.get("STIGMER_FIRST_USE_PROCESSES", "5"))  # `make fuzz` starts 300


class Part(msgspec.Struct):
    size: int


class Whole(msgspec.Struct):
    part: Part


# -- no decoder that is built elsewhere ------------------------------------------------------------------------------


def typed_decoders(code: str) -> Iterator[str]:
    """What in this module has msgspec build a typed decoder, by its full name."""
    names: dict[str, str] = {}
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                top = one.name.split(".")[0]
                names[one.asname or top] = one.name if one.asname else top
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            head, _, rest = ast.unparse(node.func).partition(".")
            called = f"{names.get(head, head)}.{rest}".rstrip(".")
            builds = called.startswith("msgspec.") and called.rpartition(".")[2] in ("Decoder", "convert", "decode")
            if builds:
                yield called


@pytest.mark.parametrize(
    "code",
    [
        "import msgspec\nmsgspec.json.decode(data, type=int)",
        "import msgspec as m\nm.convert(value, int)",
        "from msgspec import convert as as_type\nas_type(value, int)",
        "from msgspec import json\ndef f():\n    return json.Decoder(int).decode(data)",
        "import msgspec.msgpack\nmsgspec.msgpack.decode(data, type=int)",
        "from msgspec.json import decode\ndecode(data, type=int)",
    ],
)
def test_the_search_finds_every_spelling(code: str) -> None:
    assert list(typed_decoders(code))


def test_the_search_passes_over_what_builds_none() -> None:
    code = "import json, msgspec\njson.decode(x)\nmsgspec.json.encode(x)\nfrom_json(x, int)\ndata.decode('utf-8')"
    assert list(typed_decoders(code)) == []


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_other_module_builds_a_typed_decoder(path: Path) -> None:
    """Two threads that build one at once crash the interpreter: `core.decoding` does it under its lock."""
    found = list(typed_decoders(path.read_text(encoding="utf-8")))
    assert path == PACKAGE / "core" / "decoding.py" or not found


# -- the lock --------------------------------------------------------------------------------------------------------


def test_a_decoder_is_built_once_and_under_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one thread builds a decoder no other can; whoever comes later gets the same one."""
    others: list[bool] = []

    def build(kind: type[Whole], *, strict: bool) -> msgspec.json.Decoder[Whole]:
        thread = threading.Thread(target=lambda: others.append(decoding._building.acquire(blocking=False)))
        thread.start()
        thread.join()
        return real(kind, strict=strict)

    real = msgspec.json.Decoder
    monkeypatch.setattr(decoding, "_decoders", {})
    monkeypatch.setattr(msgspec.json, "Decoder", build)
    assert from_json(b'{"part": {"size": 1}}', Whole) == Whole(Part(1))
    assert from_builtins({"part": {"size": 2}}, Whole) == Whole(Part(2))
    assert json_decoder(Whole) is json_decoder(Whole)
    assert others == [False]


def test_strict_and_lax_are_two_decoders() -> None:
    assert from_json(b'{"size": "1"}', Part, strict=False) == Part(1)
    with pytest.raises(msgspec.ValidationError):
        from_json(b'{"size": "1"}', Part)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_waits_for_a_decoder_that_is_being_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child gets complete types, and an unlocked lock."""
    begun, may_end = threading.Event(), threading.Event()

    def build(kind: type[Whole], *, strict: bool) -> msgspec.json.Decoder[Whole]:
        begun.set()
        may_end.wait()
        return real(kind, strict=strict)

    real = msgspec.json.Decoder
    monkeypatch.setattr(decoding, "_decoders", {})
    monkeypatch.setattr(msgspec.json, "Decoder", build)
    builder = threading.Thread(target=json_decoder, args=(Whole,))
    builder.start()
    assert begun.wait(10)
    threading.Timer(0.1, may_end.set).start()
    child = os.fork()
    if child == 0:
        known = decoding._decoders.keys() == {(Whole, True)}
        os._exit(0 if known and json_decoder(Part) else 1)
    builder.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# -- the whole package -----------------------------------------------------------------------------------------------

# What decodes into a type: each is first used by 16 threads at once.
FIRST_USE = """
import sys, threading
sys.setswitchinterval(1e-6)
from stigmer_config import load
def main():
    load()
    from stigmer_config.core.environment import Environment
    from stigmer_config.integrations import ollama
    from stigmer_config.sources.etcd import messages
    from stigmer_config.workers import fleet, local_workers
    for kind in (messages.Line, messages.Range, messages.Transaction, messages.LeaseLine):
        messages.decoded(b"{}", kind)
    fleet.decoded(b"{}")
    ollama._context({"x.context_length": b"1"})
    local_workers.running(Environment.capture())
faults = []
barrier = threading.Barrier(16)
def use():
    barrier.wait()
    try:
        main()
    except BaseException as error:
        faults.append(repr(error))
threads = [threading.Thread(target=use) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
sys.exit(faults[0] if faults else 0)
"""


def test_sixteen_threads_may_be_the_first(sandbox: Sandbox) -> None:
    """No crash and no exception, whichever thread comes first, in many processes."""
    (sandbox.home / "run" / "stigmer" / "workers").mkdir(parents=True)
    (sandbox.home / "run" / "stigmer" / "workers" / "1-1.json").write_text("{}")
    environment = {"HOME": str(sandbox.home), "PATH": os.defpath, "MODE": "local"}
    environment["XDG_RUNTIME_DIR"] = str(sandbox.home / "run")
    for _ in range(PROCESSES):
        done = subprocess.run(
            [sys.executable, "-c", FIRST_USE],
            cwd=sandbox.project,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
