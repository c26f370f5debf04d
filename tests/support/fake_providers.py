"""A local server that speaks Ollama's, Anthropic's and OpenAI's protocols, remembers what arrived and fails on request.

The shapes are those of the providers' documentation; `test_chat.py` holds them against the real `ollama`,
`anthropic` and `openai` clients.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

GIB = 2**30


@dataclass(frozen=True)
class Arrived:
    """One request as it came over the wire. Header names are in small letters."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass
class OllamaModel:
    """A model the fake Ollama has. Sizes are in bytes, contexts in tokens."""

    name: str
    size: int = GIB
    capabilities: tuple[str, ...] | None = ("completion", "tools")
    context: int | None = 32768
    parameters: str = ""
    loaded: int | None = None


# A fault answers a request in place of the protocol.
Fault = Callable[["Handler"], None]


class FakeProviders:
    """The server, listening while it is entered. `url` is its origin; Ollama and Anthropic have it as base_url."""

    def __init__(self, models: Iterable[OllamaModel] = (), *, key: str | None = None) -> None:
        self.models = list(models)
        self.key = key  # what Ollama asks for, when it does
        self.version = "0.12.6"
        self.arrived: list[Arrived] = []
        self.faults: list[tuple[str, Fault]] = []
        self.closing = threading.Event()

    def __enter__(self) -> Self:
        server = self
        handler = type("Bound", (Handler,), {"fake": server})
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    def fail(self, fault: Fault, path: str = "") -> None:
        """Answers every request below `path` with the fault from now on."""
        self.faults.append((path, fault))

    def posted(self, path: str) -> Arrived:
        """The one request that was posted to `path`."""
        (found,) = [one for one in self.arrived if one.method == "POST" and one.path == path]
        return found

    def base_url(self, provider: str) -> str:
        """The server as that provider's base_url."""
        return f"{self.url}/v1" if provider == "openai" else self.url


class Handler(BaseHTTPRequestHandler):
    """One connection of the fake."""

    fake: FakeProviders
    protocol_version = "HTTP/1.1"
    body: Any = None

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
        """Nothing: a test's output is its own."""

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.body = json.loads(data) if data else None
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.fake.arrived.append(Arrived(self.command, self.path, headers, self.body))
        fault = next((fault for path, fault in self.fake.faults if self.path.startswith(path)), None)
        try:
            if fault is not None:
                fault(self)
            else:
                self._answer()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _answer(self) -> None:
        routes: dict[str, Callable[[], None]] = {
            "/api/version": lambda: self.json({"version": self.fake.version}),
            "/api/tags": lambda: self.json({"models": [_tag(model) for model in self.fake.models]}),
            "/api/ps": lambda: self.json({"models": [_running(m) for m in self.fake.models if m.loaded]}),
            "/api/show": self._show,
            "/api/chat": self._ollama_chat,
            "/api/pull": self._pull,
            "/v1/messages": self._messages,
            "/v1/chat/completions": self._completions,
            "/v1/responses": self._responses,
            "/v1/models": self._listing,
        }
        path = self.path.partition("?")[0]
        if (
            path.startswith("/api/")
            and self.fake.key
            and self.headers.get("Authorization") != f"Bearer {self.fake.key}"
        ):
            self.json({"error": "unauthorized"}, 401)
        elif path in routes:
            routes[path]()
        else:
            self.json({"error": f"nothing at {path}"}, 404)

    def json(self, document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """One whole answer in JSON."""
        self.whole(json.dumps(document).encode(), "application/json", status, headers)

    def whole(self, data: bytes, kind: str, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """One whole answer."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def pieces(self, parts: Iterable[bytes], kind: str) -> None:
        """An answer that comes piece by piece, and ends when they do."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in parts:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def _find(self) -> OllamaModel | None:
        return next((model for model in self.fake.models if model.name == self.body["model"]), None)

    def _show(self) -> None:
        model = self._find()
        if model is None:
            self.json({"error": f"model '{self.body['model']}' not found"}, 404)
            return
        shown: dict[str, Any] = {"details": {"family": "qwen2"}, "model_info": {"general.architecture": "qwen2"}}
        if model.context is not None:
            shown["model_info"]["qwen2.context_length"] = model.context
        if model.capabilities is not None:
            shown["capabilities"] = list(model.capabilities)
        if model.parameters:
            shown["parameters"] = model.parameters
        self.json(shown)

    def _ollama_chat(self) -> None:
        if self._find() is None:
            self.json({"error": f"model '{self.body['model']}' not found"}, 404)
        elif self.body.get("stream", True):
            self.pieces(map(_line, ollama_chunks(self.body["model"])), "application/x-ndjson")
        else:
            self.json(ollama_answer(self.body["model"]))

    def _pull(self) -> None:
        name = self.body["model"]
        if "nowhere" in name:
            self.pieces([_line({"error": "pull model manifest: file does not exist"})], "application/x-ndjson")
            return
        self.pieces(map(_line, pull_steps()), "application/x-ndjson")
        self.fake.models.append(OllamaModel(name))

    def _listing(self) -> None:
        if self.headers.get("Authorization") or self.headers.get("X-Api-Key"):
            rows = [{"id": model.name, "object": "model", "max_model_len": model.context} for model in self.fake.models]
            self.json({"data": rows, "object": "list", "has_more": False})
        else:
            self.json({"error": {"type": "authentication_error", "message": "missing key"}}, 401)

    def _messages(self) -> None:
        model = self.body["model"]
        if self.body.get("stream"):
            self.pieces(map(_event, anthropic_events(model)), "text/event-stream")
        else:
            self.json(anthropic_answer(model))

    def _completions(self) -> None:
        model = self.body["model"]
        if self.body.get("stream"):
            self.pieces([*map(_data, openai_chunks(model)), b"data: [DONE]\n\n"], "text/event-stream")
        else:
            self.json(openai_answer(model))

    def _responses(self) -> None:
        self.json(openai_response(self.body["model"]))


def text_of(model: str) -> str:
    """What the fake answers as that model."""
    return f"pong from {model}"


def _tag(model: OllamaModel) -> dict[str, Any]:
    details = {"format": "gguf", "family": "qwen2", "parameter_size": "7.6B", "quantization_level": "Q4_K_M"}
    tag = {"name": model.name, "model": model.name, "modified_at": "2026-08-01T10:00:00Z", "digest": "d" * 64}
    return {**tag, "size": model.size, "details": details}


def _running(model: OllamaModel) -> dict[str, Any]:
    return {**_tag(model), "context_length": model.loaded, "size_vram": 0}


def ollama_answer(model: str) -> dict[str, Any]:
    """`POST /api/chat`, whole."""
    counts = {"total_duration": 5, "load_duration": 1, "prompt_eval_count": 3, "eval_count": 4, "eval_duration": 2}
    message = {"role": "assistant", "content": text_of(model)}
    return {
        "model": model,
        "created_at": "2026-08-01T10:00:00Z",
        "message": message,
        "done": True,
        "done_reason": "stop",
        **counts,
    }


def ollama_chunks(model: str) -> Iterator[dict[str, Any]]:
    """`POST /api/chat`, piece by piece."""
    for word in text_of(model).split(" "):
        message = {"role": "assistant", "content": word if word == "pong" else f" {word}"}
        yield {"model": model, "created_at": "2026-08-01T10:00:00Z", "message": message, "done": False}
    yield {**ollama_answer(model), "message": {"role": "assistant", "content": ""}}


def pull_steps() -> Iterator[dict[str, Any]]:
    """`POST /api/pull`, step by step."""
    yield {"status": "pulling manifest"}
    for completed in (0, 250, 1000):
        yield {"status": "pulling dde5aa3fc5ff", "digest": "sha256:dde5", "total": 1000, "completed": completed}
    yield {"status": "verifying sha256 digest"}
    yield {"status": "success"}


def anthropic_answer(model: str) -> dict[str, Any]:
    """`POST /v1/messages`, whole."""
    usage = {"input_tokens": 3, "output_tokens": 4}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "stop_reason": "end_turn"}
    return {**message, "stop_sequence": None, "content": [{"type": "text", "text": text_of(model)}], "usage": usage}


def anthropic_events(model: str) -> Iterator[dict[str, Any]]:
    """`POST /v1/messages` with `stream`."""
    yield {"type": "message_start", "message": {**anthropic_answer(model), "content": [], "stop_reason": None}}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text_of(model)}}
    yield {"type": "content_block_stop", "index": 0}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 4},
    }
    yield {"type": "message_stop"}


def openai_answer(model: str) -> dict[str, Any]:
    """`POST /v1/chat/completions`, whole."""
    message = {"role": "assistant", "content": text_of(model), "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [choice],
        "usage": usage,
    }


def openai_chunks(model: str) -> Iterator[dict[str, Any]]:
    """`POST /v1/chat/completions` with `stream`."""
    common = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model}
    delta = {"role": "assistant", "content": text_of(model)}
    yield {**common, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {**common, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


def openai_response(model: str) -> dict[str, Any]:
    """`POST /v1/responses`."""
    content = [{"type": "output_text", "text": text_of(model), "annotations": []}]
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content}
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7, **details}
    state = {"status": "completed", "error": None, "incomplete_details": None, "parallel_tool_calls": True}
    choice: dict[str, Any] = {
        "tool_choice": "auto",
        "tools": [],
        "metadata": {},
        "instructions": None,
        "temperature": None,
        "top_p": None,
    }
    common = {"id": "resp_1", "object": "response", "created_at": 1, "model": model}
    return {**common, **state, **choice, "output": [message], "usage": usage}


def _line(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode() + b"\n"


def _data(document: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def _event(document: dict[str, Any]) -> bytes:
    return f"event: {document['type']}\n".encode() + _data(document)


# ---- faults


def refuses(status: int, document: Any = None) -> Fault:
    """Answers with that status, and with an error in each provider's form."""
    return lambda handler: handler.json({"error": f"fault {status}"} if document is None else document, status)


def redirects(target: str, status: int = 307) -> Fault:
    """Points to the same path at `target`."""
    return lambda handler: handler.json({}, status, {"Location": target + handler.path})


def hangs(handler: Handler) -> None:
    """Takes the request and never answers."""
    handler.fake.closing.wait()
    handler.close_connection = True


def drips(handler: Handler) -> None:
    """Sends one byte at a time, for ever: no single read takes long."""

    def bytes_for_ever() -> Iterator[bytes]:
        while not handler.fake.closing.wait(0.02):
            yield b" "

    handler.pieces(bytes_for_ever(), "application/json")


def floods(handler: Handler) -> None:
    """Sends as much as it can, for ever."""

    def megabytes_for_ever() -> Iterator[bytes]:
        while not handler.fake.closing.is_set():
            yield b"[" * 2**20

    handler.pieces(megabytes_for_ever(), "application/json")


def is_no_json(handler: Handler) -> None:
    """Answers well, but with JSON that breaks off."""
    handler.whole(b'{"model": "x", "content": [', "application/json")


def is_a_web_page(handler: Handler) -> None:
    """Answers well, but as a proxy's login page does."""
    handler.whole(b"<html><body>Please log in</body></html>", "text/html")


def breaks_off(handler: Handler) -> None:
    """Promises more bytes than it sends."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"model"')
    handler.wfile.flush()
    handler.close_connection = True


def fails_in_the_middle(handler: Handler) -> None:
    """Begins a streamed answer with status 200 and then sends an error in it, in each protocol's form."""
    model = handler.body["model"]
    if handler.path.startswith("/api/"):
        parts = [_line(next(ollama_chunks(model))), _line({"error": "llama runner process has terminated"})]
        handler.pieces(parts, "application/x-ndjson")
    elif handler.path == "/v1/messages":
        error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
        handler.pieces(map(_event, [next(anthropic_events(model)), error]), "text/event-stream")
    else:
        error = {"error": {"message": "The server had an error", "type": "server_error", "param": None, "code": None}}
        handler.pieces(map(_data, [next(openai_chunks(model)), error]), "text/event-stream")
