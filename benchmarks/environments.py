"""The environments of whole processes: this package with what it runs on, and each peer alone.

In the development environment a process also imports what some other package installed: msgspec, for one, takes
`typing_extensions` where there is one. The environments are kept in `.venvs/`, and made anew when a lock changes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.paths import REPOSITORY
from tests.support.versions import made, pinned

OURS = "stigmer-config"
# What a user of each peer installs for the reference load.
PEERS = {"dynaconf": ("dynaconf",), "pydantic-settings": ("pydantic-settings", "pyyaml")}


def lock(name: str) -> str:
    """The pins of an environment."""
    if name == OURS:
        return (REPOSITORY / "requirements-runtime.lock").read_text(encoding="utf-8")
    return pinned("requirements.lock", PEERS[name])


def commands(name: str) -> Path:
    """The folder of an environment's commands. Raises `CalledProcessError` when it cannot be made."""
    python = made(f"bench-{name}", lock(name), sys.executable, with_pip=False, with_package=name == OURS)
    return Path(python).parent
