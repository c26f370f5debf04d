"""The folders in which workers of one user publish their state."""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from pathlib import Path

from ..core.environment import Environment


def folders(environment: Environment) -> tuple[Path, ...]:
    """Every folder in which a worker of this user may publish; first the one for a worker that starts now.

    Before a login, and for a service, there is no XDG_RUNTIME_DIR and often no /run/user/UID: such workers use the
    temporary folder. An environment that was passed in uses only its own XDG_RUNTIME_DIR.
    """
    given = environment.variable("XDG_RUNTIME_DIR")
    if given is not None and given != os.environ.get("XDG_RUNTIME_DIR"):  # which is what platformdirs reads
        return (_below(Path(given)),)
    found = [_chosen_by_platformdirs()]
    if sys.platform == "linux":
        found.append(Path(f"/run/user/{environment.uid}"))
    if sys.platform not in ("win32", "darwin"):
        found.append(Path(tempfile.gettempdir(), f"runtime-{environment.uid}"))
    return tuple(dict.fromkeys(map(_below, found)))


def _below(runtime_folder: Path) -> Path:
    return runtime_folder / "stigmer" / "workers"


def _chosen_by_platformdirs() -> Path:
    import platformdirs

    with warnings.catch_warnings():
        # It warns about an XDG_RUNTIME_DIR that others can enter, and ignores it.
        warnings.simplefilter("ignore")
        return platformdirs.user_runtime_path("stigmer").parent
