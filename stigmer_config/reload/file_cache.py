"""The layers of files, each cached until the file's bytes change and have settled."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import msgspec

from ..core.problems import Problem
from ..core.provenance import Layer, LayerName
from ..files.stable_read import Gone, Settled, StableReader, Unsettled
from ..settings.declarations import BUILT_IN
from ..settings.schema import Schema
from ..sources.checked_read import MAX_BYTES, Contents, check_permissions, failed, opener_of, unreadable
from ..sources.config_file import layer_of


class _CachedFile(msgspec.Struct, frozen=True):
    contents: Contents
    layer: Layer
    problems: list[Problem]
    uid: int
    named: bool


class FileCache:
    """Reads layers' files for one worker. For one thread at a time.

    `waiting`: the seconds until each unsettled file should be read again. An unsettled file is being written, or
    vanished or was emptied a moment ago. Its layer stays the same meanwhile.
    """

    def __init__(self, schema: Schema = BUILT_IN) -> None:
        self.waiting: dict[Path, float] = {}
        self._schema = schema
        self._reader = StableReader(MAX_BYTES)
        self._kept: dict[tuple[LayerName, str], _CachedFile] = {}
        self._reads: dict[str, Settled] = {}  # the newest complete one of each path

    def refresh(self, paths: Collection[Path] | None) -> bool:
        """Reads these files again (None: all that were read before). Returns whether one has changed."""
        self.waiting = {}
        changed = False
        names = None if paths is None else {os.fspath(path) for path in paths}
        for (layer, path), kept in list(self._kept.items()):
            if names is None or path in names:
                contents = self._contents(path, layer, kept.uid)
                if contents is not None and contents != kept.contents:
                    self._keep(contents, path, layer, kept.uid, named=kept.named)
                    changed = True
        return changed

    def read_layer(
        self, path: str, layer: LayerName, uid: int, *, named: bool = False, schema: Schema = BUILT_IN
    ) -> tuple[Layer, list[Problem]]:
        """The layer of a file, like `file_layer`: the cached one if there is one."""
        del schema  # the worker's schema, the same since its start
        kept = self._kept.get((layer, path))
        if kept is None:
            # A file that was never read completely must not be skipped.
            busy = failed(path, layer, "it is being written", "try again when that is done")
            kept = self._keep(self._contents(path, layer, uid) or busy, path, layer, uid, named=named)
        return kept.layer, list(kept.problems)

    def has_settled(self, path: str, layer: LayerName, uid: int) -> bool:
        """Whether a new file can be read: if so it is cached, else it is in `waiting`."""
        if (layer, path) in self._kept:
            return Path(path) not in self.waiting
        contents = self._contents(path, layer, uid)
        if contents is not None:
            self._keep(contents, path, layer, uid, named=False)
        return contents is not None

    def forget(self, layer: LayerName, path: str) -> None:
        """Drops a file that no longer counts."""
        self._kept.pop((layer, path), None)
        self._reads.pop(path, None)
        self.waiting.pop(Path(path), None)

    def same(self, one: str, other: str) -> bool:
        """Whether two paths led to the same file at their last read."""
        reads = [self._reads.get(one), self._reads.get(other)]
        identities = {(read.status.st_dev, read.status.st_ino) for read in reads if read is not None}
        return len(identities) == 1 and None not in reads

    def _keep(self, contents: Contents, path: str, layer: LayerName, uid: int, *, named: bool) -> _CachedFile:
        read, problems = layer_of(contents, path, layer, named=named, schema=self._schema)
        kept = self._kept[(layer, path)] = _CachedFile(contents, read, problems, uid, named)
        return kept

    def _contents(self, path: str, layer: LayerName, uid: int) -> Contents | None:
        """The file's contents; None while it is unsettled."""
        opener = opener_of(layer)
        try:
            open_function = opener.open if opener is not None else os.open
            result = self._reader.read(path, opener=open_function, known=self._reads.get(path))
        except (OSError, ValueError) as error:
            return unreadable(path, layer, error)
        if isinstance(result, Unsettled):
            self.waiting[Path(path)] = result.retry_in
            return None
        if isinstance(result, Gone):
            return unreadable(path, layer, FileNotFoundError())
        self._reads[path] = result
        return check_permissions(
            path, layer, uid, result.data, result.status, result.acl, opener, is_link=result.is_link
        )
