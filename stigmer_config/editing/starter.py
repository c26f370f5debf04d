"""The starter file: a few comments, and the path of the schema for editors.

The schema is beside the file and referenced by a relative path: that works offline, and for a project on every machine
that has it checked out (a path into the installed package, or into a home folder, would not).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from .candidate import Scope

SCHEMA = "schema.json"

_USER = """\
# yaml-language-server: $schema=schema.json
# Your own settings, for every project on this machine. Only you should be able to read this file.
#   stigmer config show --origin    what is in force, and where it comes from
#   stigmer config set KEY VALUE    change one line here; secrets: stigmer config set KEY
#   stigmer config --help           everything else

# mode: local                     # local: Ollama on this machine; cloud (the default): Anthropic with your key

# llm:
#   model: balanced               # an alias, a model, or provider:model
#   temperature: 0.2

# providers:
#   ollama:
#     base_url: http://localhost:11434

# aliases:
#   mine: qwen2.5-coder:14b
"""

_PROJECT = """\
# yaml-language-server: $schema=schema.json
# This project's settings, for everyone who works on it. Commit it, with schema.json beside it.
# Keys, endpoints and the mode are each user's own: they belong in ~/.stigmer/config.yaml.
#   stigmer config show --origin    what is in force, and where it comes from
#   stigmer config --help           everything else

# llm:
#   model: balanced               # an alias, a model, or provider:model
#   temperature: 0.2

# aliases:
#   reviewer: powerful
"""


def starter(scope: Scope) -> str:
    """The text of a new file, which sets nothing yet."""
    return _USER if scope == "user" else _PROJECT


def with_key(text: str, names: Sequence[str]) -> str | None:
    """The text of a file with the starter's example of a key uncommented, or None if there is no such example in it.

    Only lines that are still as the starter wrote them count. All other comments are the user's own.
    """
    lines = text.splitlines(keepends=True)
    bare = [line.rstrip("\r\n") for line in lines]
    for example in (_example(_USER, names), _example(_PROJECT, names)):
        if not example or example[-1] not in bare:
            continue
        for line in example:
            if line in bare:
                at = bare.index(line)
                lines[at] = lines[at].removeprefix("# ")
        return "".join(lines)
    return None


def _example(starter_text: str, names: Sequence[str]) -> list[str]:
    """The commented lines of a key and its sections in a starter: `# llm:`, `#   model: …`."""
    found: list[tuple[str, str]] = []  # each section's name and line, down to the current one
    for line in starter_text.splitlines():
        match = re.fullmatch(r"# (?P<indent> *)(?P<name>[a-z_]+):(?: .*)?", line)
        if match is None:
            continue
        del found[len(match["indent"]) // 2 :]
        found.append((match["name"], line))
        if [name for name, _ in found] == list(names):
            return [line for _, line in found]
    return []


def schema_path(path: str) -> str:
    """The path of the schema for the configuration file at `path`."""
    return os.path.join(os.path.dirname(path), SCHEMA)
