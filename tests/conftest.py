"""A world of its own for each test: home, project and variables, with nothing of this machine in it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.sandbox import Sandbox

# A job that a shell started in the background ignores Ctrl-C, and so would every command that is started here.
signal.signal(signal.SIGINT, signal.default_int_handler)


# CI runs the same examples each time; a developer explores, and `make fuzz` (`--hypothesis-profile=fuzz`) goes far.
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=60)
settings.register_profile("dev", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fuzz", settings.get_profile("dev"), max_examples=1000)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)
