"""A folder as the kubelet keeps one for a ConfigMap or a Secret, and swaps it: files in a dated folder, links to it.

    config.yaml → ..data/config.yaml
    ..data      → ..2026_11_20_12_00_00.4711
    ..2026_11_20_12_00_00.4711/config.yaml

An update writes a new dated folder, moves a new `..data` over the old one, and removes what is no longer there. What
the steps are, and that nothing is done when nothing changed, is as in Kubernetes' `pkg/volume/util/atomic_writer.go`.
"""

from __future__ import annotations

import datetime
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

DATA = "..data"


class Volume:
    """One mounted ConfigMap or Secret.

    `mode` is that of its files, `gid` their group, as with `fsGroup`. The kubelet's own folders are 0777, and mounted
    read-only.
    """

    def __init__(
        self, folder: Path, payload: Mapping[str, str], *, mode: int = 0o644, gid: int = -1, folder_mode: int = 0o755
    ) -> None:
        self.folder = folder
        self._mode = mode
        self._gid = gid
        folder.mkdir(parents=True)
        folder.chmod(folder_mode)
        self.update(payload)

    def update(self, payload: Mapping[str, str]) -> bool:
        """What the kubelet does at its next sync after an edit. Whether there was anything to do."""
        old = self._current()
        if old is not None and _contents(old) == payload:
            return False
        new = self._dated(payload)
        for name in payload:
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"{DATA}/{name}")
        (self.folder / f"{DATA}_tmp").symlink_to(new.name)
        (self.folder / f"{DATA}_tmp").replace(self.folder / DATA)
        if old is not None:
            for name in _contents(old).keys() - payload.keys():
                (self.folder / name).unlink()
            shutil.rmtree(old)
        return True

    def _current(self) -> Path | None:
        link = self.folder / DATA
        return self.folder / link.readlink() if link.is_symlink() else None

    def _dated(self, payload: Mapping[str, str]) -> Path:
        now = datetime.datetime.now(datetime.UTC)
        made = Path(tempfile.mkdtemp(prefix=now.strftime("..%Y_%m_%d_%H_%M_%S."), dir=self.folder))
        made.chmod(0o755)
        for name, text in payload.items():
            (made / name).write_text(text, encoding="utf-8")
            (made / name).chmod(self._mode)
            os.chown(made / name, -1, self._gid)
        return made


def _contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
