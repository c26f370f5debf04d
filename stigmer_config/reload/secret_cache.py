"""Caches the secrets behind references: reads a file once it has settled, and runs a command once."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from pathlib import Path

from ..core.environment import Environment
from ..core.provenance import Layer
from ..core.secret import Secret
from ..files.stable_read import FIRST_PAUSE, Settled, Signature, StableReader, Unsettled, signature
from ..secrets.references import MAX_BYTES, Reference, SecretResolver, Unavailable, references_in

Found = Secret | Unavailable  # a secret, or why there is none
Fetch = Callable[[Reference], Found]


class SecretCache:
    """Reads references for one worker. For one thread at a time, but for `command`.

    Each load has its own `opener`: overrides of a Config use the secrets of that Config. `files` are those that the
    newest load refers to, used or not; `waiting` is like that of `FileCache`.
    """

    def __init__(self, environment: Environment, *, runs: bool, commands: dict[Reference, Found] | None = None) -> None:
        self.environment = environment
        self.runs = runs
        self.waiting: dict[Path, float] = {}
        self.files: dict[Path, Reference] = {}
        self._reader = StableReader(MAX_BYTES)
        self._found: dict[Reference, Found] = {}
        self._unused: dict[Path, Signature | None] = {}  # files that no load has opened, with their signatures
        self._commands = dict(commands or {})
        self.renew_lock()
        _all.add(self)

    def renew_lock(self) -> None:
        """In a forked child: replaces the lock, which a thread of the parent may hold."""
        self._running = threading.Lock()

    def for_child(self) -> SecretCache:
        """A cache for a forked child, which runs no command again."""
        return SecretCache(self.environment, runs=self.runs, commands=self._commands)

    def opener(self) -> CachingResolver:
        """The opener for the next load."""
        return CachingResolver(self)

    def keep(self, opener: CachingResolver, layers: Iterable[Layer], *, good: bool) -> None:
        """To be called after a load of these layers. A good load drops the secrets without a reference."""
        opener.is_loading = False
        named = [one for layer in layers for one in _references(layer)]
        self.files = {Path(one.words[0]): one for one in named if one.kind == "file"}
        if good:
            self._found = {one: found for one, found in self._found.items() if one in named}
            self._commands = {one: found for one, found in self._commands.items() if one in named}
        self._unused = {path: _signature(path) for path, one in self.files.items() if one not in self._found}

    def refresh(self, paths: Collection[Path] | None) -> bool:
        """Reads these files again (None: all, and runs failed commands). Returns whether any secret has changed."""
        self.waiting = {}
        changed = paths is None and self._forget_failures()
        opener = CachingResolver(self)
        for path, reference in self.files.items():
            if paths is not None and path not in paths:
                continue
            if path in self._unused:
                changed = changed or _signature(path) != self._unused[path]
            else:
                before = self._found.get(reference)
                changed = opener.fetch(reference) != before or changed
        return changed

    def file(self, reference: Reference, fetch: Fetch) -> Found:
        """A file's secret, if the file has settled; until then the earlier one."""
        path = Path(reference.words[0])
        pause, seen = self._look(path)
        if not pause:
            found = fetch(reference)
            if seen is None or _signature(path) == seen:
                self._found[reference] = found
                return found
            pause = FIRST_PAUSE
        self.waiting[path] = pause
        return self._found.get(reference, Unavailable("it is being written"))

    def _look(self, path: Path) -> tuple[float, Signature | None]:
        """The seconds until the file may have settled, and its signature if it has and exists."""
        try:
            result = self._reader.read(path)
        except (OSError, ValueError):
            return 0.0, None
        if isinstance(result, Unsettled):
            return result.retry_in, None
        return 0.0, result.signature if isinstance(result, Settled) else None

    def command(self, reference: Reference, fetch: Fetch) -> Found:
        """The output of a command, which is run once. From any thread."""
        with self._running:
            if reference not in self._commands:
                self._commands[reference] = fetch(reference)
            return self._commands[reference]

    def _forget_failures(self) -> bool:
        failed = [one for one, found in self._commands.items() if not isinstance(found, Secret)]
        for one in failed:
            del self._commands[one]
        return bool(failed)


_all: weakref.WeakSet[SecretCache] = weakref.WeakSet()


def _after_fork() -> None:
    for kept in list(_all):
        kept.renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class CachingResolver(SecretResolver):
    """Opens references for one load, and later, in any thread, for the overrides of its Config."""

    def __init__(self, kept: SecretCache) -> None:
        super().__init__(kept.environment, runs=kept.runs)
        self._kept = kept
        self.is_loading = True

    def fetch(self, reference: Reference) -> Found:
        """The secret behind a reference, read now."""
        return self._fetch(reference)

    def _fetch(self, reference: Reference) -> Found:
        if reference.kind == "command":
            return self._kept.command(reference, super()._fetch)
        if reference.kind == "file" and self.is_loading:
            return self._kept.file(reference, super()._fetch)
        return super()._fetch(reference)


@lru_cache(maxsize=16)  # a reload has the same layers but for the one that has changed
def _references(layer: Layer) -> tuple[Reference, ...]:
    return tuple(one for entry in layer.entries.values() for one in references_in(entry.value))


def _signature(path: Path) -> Signature | None:
    try:
        return signature(os.stat(path))
    except (OSError, ValueError):
        return None
