"""How a file is opened: what `os.open` gets beside reading or writing. Where a system has no such flag it is 0."""

from __future__ import annotations

import os
from typing import Final

# Never waiting for a FIFO's other end, for no child process, no terminal of ours, byte for byte.
SAFE: Final = (
    getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
)
NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0)
