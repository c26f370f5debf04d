"""Random configuration files against `load`: Problems or a Config, never another exception, each quick and small.

    python fuzz/load.py --inputs 100000 --seed 1

It mutates real configuration texts (bytes flipped, cut, repeated, spliced, keys and values swapped in) and puts the
result in place of the user, site or project file. An input that raises, takes over a second, or makes the process
grow by over 64 MiB is printed with its seed, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path

from stigmer_config import Environment
from stigmer_config.loading.load import read
from stigmer_config.loading.request import request
from stigmer_config.settings.declarations import SETTINGS

SECONDS = 1.0
GROWTH = 64 * 1024 * 1024
MOST = 70 * 1024  # bytes of an input: more than a file may have
TEXTS = (
    "llm:\n  provider: anthropic\n  model: fast\n  temperature: 0.2\n  base_url: https://x.example/v1\n",
    "aliases:\n  a: b\n  b: {ollama: 'x:1b', anthropic: claude-opus-4.5}\nlocked: [llm.model, sandbox]\n",
    "providers:\n  openai: {api_key: sk-canary-1, model: gpt-4o}\nredis: {host: h, port: 1}\nmode: local\n",
    "llm: {model: qwen3:4b, base_url: http://h:1/x}\naliases: {a: {ollama: x:1b}}\n",
    "llm: {api_key: {file: /nope}, num_ctx: 4096, max_tokens: null}\nlogging: {level: debug}\n",
)
PIECES = (
    *(
        b"&a ",
        b"*a",
        b"<<: ",
        b"!!python/object:x ",
        b"%YAML 1.3\n",
        b"---\n",
        b"...\n",
        b"? ",
        b"- ",
        b"[",
        b"]",
        b"{",
        b"}",
    ),
    *(
        b"\x00",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\xe2\x80\xae",
        b"\xc2\x85",
        b"\t",
        b"\r",
        b"'",
        b'"',
        b"|\n",
        b">-\n",
        b"#",
        b": ",
    ),
    *(
        b"null",
        b"~",
        b".inf",
        b".nan",
        b"1e999",
        b"9" * 400,
        b"0x" + b"f" * 300,
        b"2020-13-45",
        b"@jinja {{1}}",
        b"dynaconf_merge",
    ),
    *(key.encode() for key in SETTINGS),
)


def mutated(chance: random.Random) -> bytes:
    """One input: a real text with some things done to it."""
    data = bytearray(chance.choice(TEXTS).encode())
    for _ in range(chance.randint(0, 12)):
        where = chance.randint(0, len(data))
        match chance.randint(0, 6):
            case 0:
                data[where:where] = chance.choice(PIECES)
            case 1:
                data[where : where + chance.randint(1, 9)] = b""
            case 2:
                data[where:where] = bytes(chance.randbytes(chance.randint(1, 4)))
            case 3:
                end = chance.randint(where, len(data))
                data[end:end] = data[where:end] * chance.randint(1, 50)
            case 4:
                data[where:where] = chance.choice(TEXTS).encode()
            case 5:
                data[where:where] = chance.choice(PIECES) * chance.randint(1, 3000)
            case _ if data:
                data[min(where, len(data) - 1)] = chance.randrange(256)
        del data[MOST:]  # or it doubles and doubles
    return bytes(data)


def fault(path: Path, data: bytes, environment: Environment) -> str | None:
    """What is wrong with loading this input, or None."""
    path.write_bytes(data)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    try:
        loaded = read(request(environment=environment))
        # Elsewhere the canary is a value like any other: the mutations put it there.
        shown = "\n".join(str(problem) for problem in loaded.problems if problem.key.endswith("api_key"))
    except Exception:
        return traceback.format_exc()
    took = time.perf_counter() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    if "sk-canary-1" in shown:
        return "a secret stands in a problem:\n" + shown
    return f"it took {took:.2f} s" if took > SECONDS else f"it grew by {grown} bytes" if grown > GROWTH else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    began, found = time.perf_counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        home, project = Path(folder) / "home", Path(folder) / "project"
        paths = [
            home / ".stigmer" / "config.yaml",
            Path(folder) / "site" / "config.yaml",
            project / ".stigmer" / "config.yaml",
        ]
        (project / ".git").mkdir(parents=True)
        for path in paths:
            path.parent.mkdir(mode=0o700, parents=True)
        environment = Environment.capture(
            {"MODE": "local"}, cwd=project, home=home, site_dir=Path(folder) / "site", state_dir=home / "state"
        )
        for number in range(options.inputs):
            path, data = chance.choice(paths), mutated(chance)
            problem = fault(path, data, environment)
            path.unlink()
            if problem is not None:
                found += 1
                print(f"input {number} of seed {options.seed}, as {path.name} of {path.parent}: {data!r}\n{problem}")
    print(f"{options.inputs} inputs in {time.perf_counter() - began:.0f} s, {found} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
