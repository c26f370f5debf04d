"""References to secrets that are stored elsewhere: `{env: NAME}`, `{file: PATH}`, `{command: [argv…]}`.

A reference is read when its credential is used, never to decide anything. Workers run a command once, and again
when the reference changes; `show` and similar commands never run one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..core.environment import Environment
from ..core.problems import Problem, did_you_mean, quoted
from ..core.provenance import Entry
from ..core.secret import Secret
from ..files.paths import SAFE, expanded
from ..settings.frozen import FrozenList
from ..settings.interpolation import uninterpolated_credential
from ..settings.value_types import Credential, InvalidValueError

MAX_BYTES = 8 * 1024
KINDS = ("env", "file", "command")
_REMEDIES = {"env": "set the variable", "file": "check the path and the file", "command": "run the command yourself"}


class Reference(msgspec.Struct, frozen=True):
    """Where a secret is stored: a variable's name, a file's absolute path, or a command's words."""

    kind: Literal["env", "file", "command"]
    words: tuple[str, ...]

    def __str__(self) -> str:
        shown = self.words[0] if self.kind != "command" else f"[{', '.join(self.words)}]"
        return f"{{{self.kind}: {shown}}}"


class Unavailable(msgspec.Struct, frozen=True):
    """Why a reference gives no secret: the code, message and hint of a problem, without the secret."""

    reason: str
    code: str = "secret-unavailable"
    hint: str = ""


class Unread(Secret):
    """A secret that is set but was not read, because nothing needed it. `reveal()` raises `LookupError`."""

    __slots__ = ("_label",)

    def __init__(self, reference: Reference) -> None:
        super().__init__(str(reference))
        object.__setattr__(self, "_label", "set (not run)" if reference.kind == "command" else "set (not read)")

    _label: str

    def reveal(self) -> str:
        raise LookupError(f"the secret is {self._label}")

    def __str__(self) -> str:
        return self._label


def parse(value: object, folder: str, *, commands: bool) -> Reference:
    """Parses a mapping in a configuration file in `folder` as a reference. Raises `InvalidValueError`.

    `commands`: whether this file may name a command (only the user's file may).
    """
    kind, argument = next(iter(value.items())) if isinstance(value, dict) and len(value) == 1 else ("", None)
    if kind not in KINDS:
        message = "a secret is a string, or one of {env: NAME} {file: PATH} {command: [argv…]}"
        raise InvalidValueError("wrong-type", message, did_you_mean(kind, KINDS, "") if kind else "")
    if kind == "command":
        return Reference("command", _argv(argument, allowed=commands))
    if not isinstance(argument, str) or not argument or "\0" in argument:
        raise InvalidValueError("wrong-type", f"{{{kind}: …}} takes one string")
    if kind == "env":
        return Reference("env", (argument,))
    return Reference("file", (os.path.join(folder, expanded(argument)),))


def _argv(argument: object, *, allowed: bool) -> tuple[str, ...]:
    if not allowed:
        raise InvalidValueError(
            "wrong-type", "only the user file may name a command", "move it to ~/.stigmer/config.yaml"
        )
    if (
        not isinstance(argument, list)
        or not argument
        or not all(isinstance(word, str) and "\0" not in word for word in argument)
    ):
        raise InvalidValueError(
            "wrong-type", "{command: …} takes a list of words", "for example [/usr/bin/pass, show, key]"
        )
    if not os.path.isabs(argument[0]):
        raise InvalidValueError(
            "wrong-type", f"the command {quoted(argument[0])} must be an absolute path", "PATH is not searched"
        )
    return tuple(argument)


def references_in(value: Any) -> Iterator[Reference]:
    """The references in an entry's value: the value itself, the items of a list, the parts of a mapping."""
    if isinstance(value, Reference):
        yield value
    elif isinstance(value, FrozenList):
        yield from (item for item in value if isinstance(item, Reference))
    elif type(value) is dict:
        yield from (part.value for part in value.values() if isinstance(part.value, Reference))


def glance(value: Any, results: Mapping[Reference, Secret | Unavailable]) -> Any:
    """A value for showing, without reading anything: a reference gives the secret that was read, or an `Unread`."""
    if isinstance(value, FrozenList):
        return FrozenList(glance(item, results) for item in value)
    if not isinstance(value, Reference):
        return value
    found = results.get(value)
    return found if isinstance(found, Secret) else Unread(value)


class SecretResolver:
    """Reads references in one environment, each once. With `runs`, commands are run."""

    def __init__(self, environment: Environment, *, runs: bool) -> None:
        self._environment = environment
        self._runs = runs
        self._read: dict[Reference, Secret | Unavailable] = {}

    def open(self, key: str, entry: Entry) -> tuple[Secret | None, Problem | None]:
        """The secret of an entry, literal or referenced; and why it is unavailable, or a warning."""
        value = entry.value
        if not isinstance(value, Reference):
            return value, None
        found = self._read.get(value)
        if found is None:
            found = self._read[value] = self._fetch(value)
        if isinstance(found, Unread):
            return found, None
        if isinstance(found, Secret):
            return found, uninterpolated_credential(found.reveal(), entry.origin, key)
        source = value if value.kind != "command" else "its command"
        message = f"cannot be read from {source}: {found.reason}"
        hint = found.hint or _REMEDIES[value.kind]
        return None, Problem(code=found.code, key=key, message=message, hint=hint, origin=entry.origin)

    def open_all(self, key: str, entry: Entry) -> tuple[Any, list[Problem]]:
        """Like `open`, for a list of secrets item by item, and for any other entry its value."""
        if not isinstance(entry.value, FrozenList):
            value, problem = self.open(key, entry)
            return value, [problem] if problem is not None else []
        found = [(number, *self.open(key, Entry(item, entry.origin))) for number, item in enumerate(entry.value, 1)]
        problems = [
            msgspec.structs.replace(problem, message=f"item {number} {problem.message}")
            for number, _, problem in found
            if problem is not None
        ]
        return FrozenList(value for _, value, _ in found if value is not None), problems

    @property
    def results(self) -> Mapping[Reference, Secret | Unavailable]:
        """What was read so far."""
        return self._read

    def refresh(self) -> bool:
        """Reads every file again. Returns whether any secret has changed."""
        changed = False
        for reference, before in list(self._read.items()):
            if reference.kind == "file":
                self._read[reference] = now = self._fetch(reference)
                changed = changed or now != before
        return changed

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that secrets were read from, which a worker has to watch."""
        return tuple(Path(reference.words[0]) for reference in self._read if reference.kind == "file")

    def _fetch(self, reference: Reference) -> Secret | Unavailable:
        """The secret, or why there is none."""
        fetchers: dict[str, Callable[[], bytes | str]] = {
            "env": lambda: _variable(self._environment, reference.words[0]),
            "file": lambda: _file(reference.words[0]),
            "command": lambda: _command(reference.words, self._environment),
        }
        if reference.kind == "command" and not self._runs:
            return Unread(reference)
        data = fetchers[reference.kind]()
        return Unavailable(data) if isinstance(data, str) else _credential(data)


def _credential(data: bytes) -> Secret | Unavailable:
    """The credential in the text that was read, by the same rules as a literal one."""
    if len(data) > MAX_BYTES:
        return Unavailable(f"it is larger than {MAX_BYTES // 1024} KiB")
    if not data.strip():
        return Unavailable("it is empty")
    try:
        return Credential().check(data.decode("utf-8"), "it")
    except UnicodeDecodeError:
        return Unavailable("it is not UTF-8 text")
    except InvalidValueError as fault:
        return Unavailable(fault.message, fault.code, fault.hint)


class Unopened(SecretResolver):
    """Reads nothing: for secrets of another process or another machine, which this one may be unable to read."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment, runs=False)

    def open(self, key: str, entry: Entry) -> tuple[Secret | None, Problem | None]:
        if isinstance(entry.value, Reference):
            return Unread(entry.value), None
        return super().open(key, entry)


def _command(argv: tuple[str, ...], environment: Environment) -> bytes | str:
    from .command import run  # imported late: most configurations name no command

    return run(argv, environment, MAX_BYTES)


def _variable(environment: Environment, name: str) -> bytes | str:
    value = environment.variable(name)
    return "the variable is not set" if value is None else value.encode("utf-8", "surrogateescape")


def _file(path: str) -> bytes | str:
    try:
        descriptor = os.open(path, os.O_RDONLY | SAFE)
    except OSError as error:
        return error.strerror or "it cannot be opened"
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return "it is not a regular file"
        return os.read(descriptor, MAX_BYTES + 1)
    except OSError as error:
        return error.strerror or "it cannot be read"
    finally:
        os.close(descriptor)
