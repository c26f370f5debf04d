"""Secrets behind references as a worker reads them: a file when it has settled, a command once."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from ..core.environment import Environment
from ..core.provenance import Layer
from ..core.secret import Secret
from ..files.stable_read import FIRST_PAUSE, Reader, Settled, Signature, Unsettled, signature
from ..secrets.references import MAX_BYTES, Opener, Reference, Unavailable

Found = Secret | Unavailable  # a secret, or why there is none
Fetch = Callable[[Reference], Found]


class KeptSecrets:
    """Reads references for one worker. For one thread at a time, but for `command`.

    Each load gets an `opener` of its own: what an execution derives from the Config it took has the secrets of
    that Config. `files` are those that the newest load refers to, used or not; `waiting` is as `KeptFiles` has it.
    """

    def __init__(self, environment: Environment, *, runs: bool, commands: dict[Reference, Found] | None = None) -> None:
        self.environment = environment
        self.runs = runs
        self.waiting: dict[Path, float] = {}
        self.files: dict[Path, Reference] = {}
        self._reader = Reader(MAX_BYTES)
        self._found: dict[Reference, Found] = {}
        self._unused: dict[Path, Signature | None] = {}  # files that no load has opened: as they were
        self._commands = dict(commands or {})
        self.renew_lock()
        _all.add(self)

    def renew_lock(self) -> None:
        """In a forked child: the lock may be held by a thread that is not here."""
        self._running = threading.Lock()

    def anew(self) -> KeptSecrets:
        """The same for a forked child: its commands were run."""
        return KeptSecrets(self.environment, runs=self.runs, commands=self._commands)

    def opener(self) -> LoadsOpener:
        """What the next load opens references with."""
        return LoadsOpener(self)

    def keep(self, opener: LoadsOpener, layers: Iterable[Layer], *, good: bool) -> None:
        """After a load of these layers. What a good one does not refer to is forgotten, and read anew one day."""
        opener.is_loading = False
        named = [
            entry.value for layer in layers for entry in layer.entries.values() if isinstance(entry.value, Reference)
        ]
        self.files = {Path(one.words[0]): one for one in named if one.kind == "file"}
        if good:
            self._found = {one: found for one, found in self._found.items() if one in named}
            self._commands = {one: found for one, found in self._commands.items() if one in named}
        self._unused = {path: _signature(path) for path, one in self.files.items() if one not in self._found}

    def refresh(self, told: Collection[Path] | None) -> bool:
        """Reads the `told` files again, with None all, and runs what failed. Whether anything says something else."""
        self.waiting = {}
        changed = told is None and self._forget_failures()
        opener = LoadsOpener(self)
        for path, reference in self.files.items():
            if told is not None and path not in told:
                continue
            if path in self._unused:
                changed = changed or _signature(path) != self._unused[path]
            else:
                before = self._found.get(reference)
                changed = opener.fetch(reference) != before or changed
        return changed

    def file(self, reference: Reference, fetch: Fetch) -> Found:
        """A file's secret once nobody is in the middle of writing it; until then the earlier one."""
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
        """In how many seconds the file may have settled, and what it looks like when it has and is there."""
        try:
            result = self._reader.read(path)
        except (OSError, ValueError):
            return 0.0, None
        if isinstance(result, Unsettled):
            return result.retry_in, None
        return 0.0, result.signature if isinstance(result, Settled) else None

    def command(self, reference: Reference, fetch: Fetch) -> Found:
        """What a command printed: it is run once, whoever asks. From any thread."""
        with self._running:
            if reference not in self._commands:
                self._commands[reference] = fetch(reference)
            return self._commands[reference]

    def _forget_failures(self) -> bool:
        failed = [one for one, found in self._commands.items() if not isinstance(found, Secret)]
        for one in failed:
            del self._commands[one]
        return bool(failed)


_all: weakref.WeakSet[KeptSecrets] = weakref.WeakSet()


def _after_fork() -> None:
    for kept in list(_all):
        kept.renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class LoadsOpener(Opener):
    """Opens references for one load, and then, in any thread, for what is derived from its Config."""

    def __init__(self, kept: KeptSecrets) -> None:
        super().__init__(kept.environment, runs=kept.runs)
        self._kept = kept
        self.is_loading = True

    def fetch(self, reference: Reference) -> Found:
        """What a reference says now."""
        return self._fetch(reference)

    def _fetch(self, reference: Reference) -> Found:
        if reference.kind == "command":
            return self._kept.command(reference, super()._fetch)
        if reference.kind == "file" and self.is_loading:
            return self._kept.file(reference, super()._fetch)
        return super()._fetch(reference)


def _signature(path: Path) -> Signature | None:
    try:
        return signature(os.stat(path))
    except (OSError, ValueError):
        return None
