"""A file's layer: parsed once for the same bytes, and never taken for another file's."""

from __future__ import annotations

import os
from typing import Any

import pytest

from stigmer_config import ConfigError
from stigmer_config.sources.yaml.parser import YamlReader
from tests.support.sandbox import Sandbox


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were parsed."""
    files: list[str] = []
    read = YamlReader.read

    def recorded(reader: YamlReader) -> Any:
        files.append(reader.source)
        return read(reader)

    monkeypatch.setattr(YamlReader, "read", recorded)
    return files


def test_a_second_load_parses_only_what_has_changed(sandbox: Sandbox, parsed: list[str]) -> None:
    sandbox.write(site="llm: {max_tokens: 1}\n", user="llm: {timeout: 2}\n")
    sandbox.load({"MODE": "local"})
    assert {str(sandbox.site_file), str(sandbox.user_file)} <= set(parsed)
    parsed.clear()
    assert sandbox.load({"MODE": "local"}).llm.timeout == 2
    assert parsed == []
    sandbox.write(user="llm: {timeout: 3}\n")
    config = sandbox.load({"MODE": "local"})
    assert (config.llm.timeout, config.llm.max_tokens) == (3, 1)
    assert parsed == [str(sandbox.user_file)]


def test_a_change_counts_whatever_the_times_of_the_file_say(sandbox: Sandbox) -> None:
    sandbox.write(user="llm: {timeout: 2}\n")
    sandbox.load({"MODE": "local"})
    before = os.stat(sandbox.user_file)
    with open(sandbox.user_file, "r+", encoding="utf-8") as file:  # the same file, size and times
        file.write("llm: {timeout: 3}\n")
    os.utime(sandbox.user_file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert sandbox.load({"MODE": "local"}).llm.timeout == 3


def test_the_same_bytes_in_an_unsafe_file_are_refused(sandbox: Sandbox) -> None:
    sandbox.write(user="llm: {timeout: 2, api_key: k}\n")
    sandbox.load({"MODE": "local"})
    sandbox.user_file.chmod(0o666)
    with pytest.raises(ConfigError, match="others can write"):
        sandbox.load({"MODE": "local"})
    sandbox.user_file.chmod(0o600)
    assert sandbox.load({"MODE": "local"}).llm.timeout == 2
