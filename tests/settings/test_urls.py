"""What counts as this machine."""

from __future__ import annotations

import pytest

from stigmer_config.settings.urls import is_loopback

LOOPBACK = (
    "http://localhost:11434",
    "https://LOCALHOST",
    "http://localhost.:1/v1",
    "http://ollama.localhost",
    "http://127.0.0.1:1",
    "http://127.255.1.9",
    "http://[::1]:11434",
    "http://[0:0:0:0:0:0:0:1]",
    "http://[::ffff:127.0.0.1]:1",
)
ELSEWHERE = (
    "http://127.0.0.999",
    "http://127.0.0.1.example.com",
    "http://127.example.com",
    "http://localhost.example.com",
    "http://notlocalhost",
    "http://128.0.0.1",
    "http://[::2]",
    "http://[::ffff:128.0.0.1]",
    "https://api.anthropic.com",
    "",
)


@pytest.mark.parametrize("url", LOOPBACK)
def test_loopback(url: str) -> None:
    """Every spelling of the loopback interface, and no other host, is this machine."""
    assert is_loopback(url)


@pytest.mark.parametrize("url", ELSEWHERE)
def test_elsewhere(url: str) -> None:
    """A name that only looks like one of the loopback interface may lead anywhere."""
    assert not is_loopback(url)
