"""The data files that ship with the package: beside the code in a wheel, at the top of a checkout."""

from __future__ import annotations

import os

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_INSTALLED = os.path.join(_HERE, "defaults")
FOLDER = _INSTALLED if os.path.isdir(_INSTALLED) else os.path.join(os.path.dirname(_HERE), "defaults")


def path(name: str) -> str:
    """The path of the packaged data file `name`."""
    return os.path.join(FOLDER, name)


def text(name: str) -> str:
    """The text of the packaged data file `name`."""
    with open(path(name), encoding="utf-8") as file:
        return file.read()
