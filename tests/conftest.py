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


# CI runs the same examples each time; a developer explores. `Sandbox.fresh` renews function-scoped sandboxes.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("dev", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)
