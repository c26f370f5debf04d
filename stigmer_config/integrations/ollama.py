"""Queries an Ollama server: its version, the installed models, a model's context length and capabilities.

Needs only the standard library. https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from ..core.decoding import from_json
from ..core.problems import nearest
from ..core.secret import Secret
from ..llm.catalogue import ModelFacts, catalogue
from .http import WireError, ask, at_once, lines, safe

GIB = 2**30
MOST_INSTALLED = 2000  # the most models of one server, more than any has
_SIZE = re.compile(r":(?:[a-z0-9.]*-)?e?([0-9]+(?:\.[0-9]+)?)b\b", re.ASCII | re.IGNORECASE)
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class Installed(msgspec.Struct, frozen=True):
    """A model on the server. `size` is in bytes; `capabilities` is None when the server does not report them."""

    name: str
    size: int = 0
    capabilities: tuple[str, ...] | None = None


class Facts(msgspec.Struct, frozen=True):
    """The server's facts about one installed model, in tokens; None is unknown.

    `context`: the model's maximum. `num_ctx`: the value in its Modelfile. `loaded`: the value with which it currently
    runs.
    """

    context: int | None = None
    num_ctx: int | None = None
    loaded: int | None = None
    capabilities: tuple[str, ...] | None = None


class Server(msgspec.Struct, frozen=True):
    """The state of a server. `version` is "" when it reports none; `facts` are those of the requested model."""

    version: str
    installed: tuple[Installed, ...]
    facts: Facts | None = None

    def find(self, name: str) -> Installed | None:
        """The installed model with exactly that name and tag; without a tag it is `:latest`, like in Ollama."""
        return next((model for model in self.installed if model.name == full_name(name)), None)

    def nearest(self, name: str) -> str | None:
        """The installed model most similar to `name`: first the same with another tag; None when none is similar."""
        names = [model.name for model in self.installed]
        siblings = [known for known in names if known.partition(":")[0] == name.partition(":")[0]]
        return nearest(full_name(name), siblings) or (siblings[0] if siblings else nearest(full_name(name), names))


class Progress(msgspec.Struct, frozen=True):
    """A step of a pull: Ollama's status, and for a download the completed and the total bytes."""

    status: str = ""
    completed: int | None = None
    total: int | None = None


def endpoint(base_url: str) -> str:
    """The address of Ollama's own API: without a `/v1` at the end, which is its OpenAI-compatible API."""
    return base_url.rstrip("/").removesuffix("/v1").rstrip("/")


def full_name(name: str) -> str:
    """A model's name with its tag."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def look(
    base_url: str,
    model: str | None = None,
    *,
    key: Secret | None = None,
    headers: Mapping[str, str] = {},
    timeout: float = 5.0,
) -> Server:
    """Queries the server's version and models, and its facts about `model`. Takes at most `timeout` seconds.

    `headers` are sent, `key` only if the server requires one. Raises `WireError` when the server does not answer like
    Ollama.
    """
    base = endpoint(base_url)

    def asking(path: str, shape: Any, body: dict[str, Any] | None = None) -> Callable[[], Any]:
        return lambda: ask(base + path, shape, body=body, key=key, headers=headers, timeout=timeout)

    calls = {"tags": asking("/api/tags", _Models), "version": asking("/api/version", _Version)}
    if model is not None:
        calls |= {"ps": asking("/api/ps", _Models), "show": asking("/api/show", _Show, {"model": model})}
    answers = at_once(calls, timeout)
    tags = answers["tags"]
    if isinstance(tags, WireError) and tags.status == 404:
        raise WireError("garbled", "nothing at /api/tags")
    if isinstance(tags, Exception):
        raise tags
    version = answers["version"]
    return Server(
        version=safe(version.version) if isinstance(version, _Version) else "",
        installed=tuple(model.as_installed() for model in (tags.models or ())[:MOST_INSTALLED]),
        facts=_facts(model, answers.get("show"), answers.get("ps")),
    )


def pull(
    base_url: str,
    name: str,
    progress: Callable[[Progress], None],
    *,
    key: Secret | None = None,
    timeout: float = 60.0,
) -> None:
    """Has the server download a model, and yields each step.

    `timeout`: the most seconds without data. Raises `WireError`: the download is then incomplete, and the next pull
    continues where it stopped.
    """
    body = {"model": name, "stream": True}
    for line in lines(f"{endpoint(base_url)}/api/pull", body, key=key, timeout=timeout):
        try:
            step = from_json(line, _Step)
        except msgspec.DecodeError as error:
            raise WireError("garbled", "unexpected answer to a download") from error
        if step.error:
            raise WireError("error", safe(step.error))
        progress(Progress(safe(step.status), step.completed, step.total))
        if step.status == "success":
            return
    raise WireError("cut-off", "the download is not complete")


def parameters(name: str) -> float | None:
    """The billions of parameters in a model's tag (`qwen2.5-coder:7b`: 7), or None."""
    found = _SIZE.search(name)
    return float(found[1]) if found else None


def recommended(memory: int) -> tuple[ModelFacts, ...]:
    """Known models that support tools and run well in this many bytes of memory, the largest first.

    Ollama's rule: 8 GB for 7 billion parameters, 16 for 13, 32 for 33; that is one GiB for each billion.
    """
    room = memory / GIB
    fitting = [
        (size, model)
        for model in catalogue().models
        if model.provider == "ollama" and model.tools and (size := parameters(model.id)) is not None and size <= room
    ]
    return tuple(model for _, model in sorted(fitting, key=lambda pair: -pair[0]))


def machine_memory() -> int | None:
    """The memory of this machine (or this container) in bytes, or None if unknown."""
    if sys.platform == "win32":
        return None
    try:
        known = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, OSError, ValueError):
        return None
    for path in _CGROUP_LIMITS:
        try:
            with open(path, encoding="ascii") as file:
                text = file.read(64).strip()
        except (OSError, UnicodeDecodeError):
            continue
        if text.isdigit():
            known.append(int(text))
    return min(known)


class _Version(msgspec.Struct):
    version: str


class _Model(msgspec.Struct):
    name: str = ""
    model: str = ""
    size: int = 0
    context_length: int | None = None
    capabilities: tuple[str, ...] | None = None

    def as_installed(self) -> Installed:
        return Installed(safe(self.name or self.model), self.size, self.capabilities)


class _Models(msgspec.Struct):
    models: list[_Model] | None


class _Show(msgspec.Struct):
    model_info: dict[str, msgspec.Raw] | None = None
    parameters: str | None = None
    capabilities: tuple[str, ...] | None = None


class _Step(msgspec.Struct):
    status: str = ""
    completed: int | None = None
    total: int | None = None
    error: str = ""


def _facts(name: str | None, shown: Any, running: Any) -> Facts | None:
    if name is None or not isinstance(shown, _Show):
        return None
    loaded = running.models or () if isinstance(running, _Models) else ()
    return Facts(
        context=_context(shown.model_info or {}),
        num_ctx=_modelfile_num_ctx((shown.parameters or "").splitlines()),
        loaded=next((m.context_length for m in loaded if (m.name or m.model) == full_name(name)), None),
        capabilities=shown.capabilities,
    )


def _context(model_info: dict[str, msgspec.Raw]) -> int | None:
    """`<architecture>.context_length`."""
    raw = next((value for key, value in model_info.items() if key.endswith(".context_length")), None)
    try:
        return None if raw is None else from_json(raw, int)
    except msgspec.DecodeError:
        return None


def _modelfile_num_ctx(rows: Iterable[str]) -> int | None:
    for words in map(str.split, rows):
        if len(words) == 2 and words[0] == "num_ctx" and words[1].isdecimal() and len(words[1]) < 10:
            return int(words[1])
    return None
