"""A small client of a language server: just enough of the protocol to ask what an editor asks."""

from __future__ import annotations

import itertools
import json
import os
import queue
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

PATIENCE = 60.0  # seconds to wait for an answer

_SETTINGS = {"validate": True, "hover": True, "completion": True, "schemaStore": {"enable": False}}


class Client:
    """A running server. `open` gives a document's diagnostics; `complete` and `hover` ask about a place in it."""

    def __init__(self, command: Sequence[str], root: Path) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.numbers = itertools.count(1)
        self.inbox: queue.Queue[dict[str, Any]] = queue.Queue()
        assert self.process.stdout is not None
        threading.Thread(target=self._listen, args=(self.process.stdout,), daemon=True).start()
        abilities = {"textDocument": {"hover": {"contentFormat": ["markdown"]}}, "workspace": {"configuration": True}}
        self._ask("initialize", {"processId": os.getpid(), "rootUri": root.as_uri(), "capabilities": abilities})
        self._tell("initialized", {})
        self._tell("workspace/didChangeConfiguration", {"settings": {"yaml": _SETTINGS}})

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.process.kill()
        self.process.communicate()

    def open(self, path: Path, text: str) -> list[dict[str, Any]]:
        """The diagnostics of a document. Each has a path of its own: answers about an older one may still come."""
        document = {"uri": path.as_uri(), "languageId": "yaml", "version": next(self.numbers), "text": text}
        self._tell("textDocument/didOpen", {"textDocument": document})

        def is_answer(message: dict[str, Any]) -> bool:
            found = message.get("method") == "textDocument/publishDiagnostics"
            return found and message["params"]["uri"] == path.as_uri()

        found: list[dict[str, Any]] = self._until(is_answer)["params"]["diagnostics"]
        return found

    def complete(self, path: Path, text: str, line: int, character: int) -> list[str]:
        """What is offered at a place (0-based)."""
        self.open(path, text)
        answer = self._ask("textDocument/completion", _place(path, line, character))
        return [item["label"] for item in answer["items"]]

    def hover(self, path: Path, text: str, line: int, character: int) -> str:
        """The hover text at a place (0-based)."""
        self.open(path, text)
        told: str = self._ask("textDocument/hover", _place(path, line, character))["contents"]["value"]
        return told

    def _listen(self, stream: BinaryIO) -> None:
        while True:
            length = 0
            while (line := stream.readline().strip()) or not length:
                if not line:
                    return
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            self.inbox.put(json.loads(stream.read(length)))

    def _send(self, message: dict[str, Any]) -> None:
        data = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(data) + data)
        self.process.stdin.flush()

    def _tell(self, method: str, params: dict[str, Any]) -> None:
        self._send({"method": method, "params": params})

    def _ask(self, method: str, params: dict[str, Any]) -> Any:
        number = next(self.numbers)
        self._send({"id": number, "method": method, "params": params})
        return self._until(lambda message: message.get("id") == number and "method" not in message)["result"]

    def _until(self, is_wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while True:
            message = self.inbox.get(timeout=PATIENCE)
            if "method" in message and "id" in message:  # a question of the server's
                asked = message["params"].get("items", []) if message["method"] == "workspace/configuration" else None
                result = None if asked is None else [_SETTINGS if i.get("section") == "yaml" else None for i in asked]
                self._send({"id": message["id"], "result": result})
            elif is_wanted(message):
                return message


def _place(path: Path, line: int, character: int) -> dict[str, Any]:
    return {"textDocument": {"uri": path.as_uri()}, "position": {"line": line, "character": character}}
