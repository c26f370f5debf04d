"""Every message of the package in one file, tests/snapshots/messages.txt, to be read as a whole."""

from __future__ import annotations

import os

from tests.support.message_catalogue import catalogue, messages_of
from tests.support.paths import REPOSITORY, TESTS

SNAPSHOT = TESTS / "snapshots" / "messages.txt"


def test_the_catalogue_has_every_message_as_it_is_now() -> None:
    """A new or changed message shows in the snapshot, where it is read beside all the others."""
    found = catalogue(REPOSITORY / "stigmer_config")
    if os.environ.get("STIGMER_SNAPSHOTS") == "write":
        SNAPSHOT.write_text(found, encoding="utf-8")
    assert found == SNAPSHOT.read_text(encoding="utf-8"), "STIGMER_SNAPSHOTS=write writes it"


def test_what_counts_as_a_message() -> None:
    """Literals and f-strings with a space in them, and the help of commands; no docstrings and no patterns."""
    source = '''
"""A module of one thing."""
import click
PATTERN = re.compile(r"a \\s+ b")
KEY = "llm.model"
@click.command()
def show():
    """Show it.

    All of it."""
    say(f"there is no {what} here", "hint: " + KEY)
def helper():
    """Not a message."""
    return "a plain message"
'''
    expected = ["Show it. ⏎  ⏎ All of it.".replace(" ⏎  ⏎ ", " ⏎ "), "there is no {what} here", "a plain message"]
    assert [message for message in messages_of(source) if message != "hint:"] == expected
