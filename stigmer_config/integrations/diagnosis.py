"""Diagnoses a failed request: the setting that causes it, what was observed, and the fix."""

from __future__ import annotations

import functools
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec

from ..config.sections import LLMConfig
from ..core.problems import ConfigError
from ..secrets.references import Unread
from ..settings.packaged_providers import key_variables
from ..settings.urls import is_loopback
from .http import WireError, redirect_target, safe, said

CheckState = Literal["ok", "warning", "failed"]


class Check(msgspec.Struct, frozen=True):
    """The result of one check.

    `name` says what was checked, `seen` the finding, `fix` what to do about it ("" when it is `ok`), `key` the setting
    that decides it ("" for none). None of them contains a secret.
    """

    name: str
    state: CheckState
    seen: str
    fix: str = ""
    key: str = ""


def diagnose(error: BaseException, llm: LLMConfig) -> Check:
    """Explains an exception of a model call, or of a check of the provider, as a `failed` Check.

    It recognises the exceptions of this package and, without importing them, those of the LangChain classes and of the
    `anthropic`, `openai` and `ollama` packages.
    """
    if isinstance(error, ConfigError):
        first = error.problems[0]
        return Check("configuration", "failed", first.summary, first.hint, first.key)
    if isinstance(error, ImportError):
        what, _, fix = str(error).partition(": ")
        return Check("client", "failed", what, fix)
    happened = _happened(error)
    if happened.status is None:
        return _no_answer(happened, llm)
    return _refusal(happened, llm)


def not_in_force(check: Check, provider: str) -> Check:
    """The same check for a provider that is not in force: its settings are in its own section, not under `llm`."""
    own = functools.partial(_OWN_SETTING.sub, rf"providers.{provider}.\1")
    return msgspec.structs.replace(check, fix=own(check.fix), key=own(check.key))


class _Happened(msgspec.Struct, frozen=True):
    """The kind of a failure (`WireError.trouble`, or `error` for one reported in the middle of an answer)."""

    trouble: str
    detail: str
    status: int | None = None


def _happened(error: BaseException) -> _Happened:
    ours = next((one for one in _chain(error) if isinstance(one, WireError)), None)
    if ours is not None:
        return _Happened(ours.trouble, ours.detail, ours.status)
    told = next((one for one in _chain(error) if isinstance(getattr(one, "status_code", None), int)), None)
    status: int = getattr(told, "status_code", 0)
    if told is not None and status >= 400:
        return _Happened("status", _told(told), status)
    if told is not None and status >= 300:
        headers: Mapping[str, str] = getattr(getattr(told, "response", None), "headers", {})
        target = headers.get("location", "")
        return _Happened("redirect", redirect_target(target) if target else "", status)
    names = {name for one in _chain(error) for name in _names(one)}
    trouble = next((word for kinds, word in _KINDS if names & kinds), "")
    if isinstance(error, ValueError) and str(error).startswith(_EMPTY_ANSWERS):
        trouble = "garbled"
    if not trouble and (told is not None or "APIError" in _names(error)):
        return _Happened("error", _told(told or error))
    return _Happened(trouble or "unknown", "" if trouble else type(error).__name__)


def _names(error: BaseException) -> set[str]:
    return {cls.__name__ for cls in type(error).__mro__}


# Names of exception classes, the more specific ones first: httpx's, the SDKs', pydantic's, and Python's own.
_KINDS: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"TimeoutException", "APITimeoutError", "TimeoutError"}), "timeout"),
    (frozenset({"ConnectionRefusedError"}), "refused"),
    (frozenset({"gaierror"}), "unresolved"),
    (frozenset({"SSLError"}), "tls"),
    (frozenset({"RemoteProtocolError", "ReadError", "ConnectionResetError", "IncompleteRead"}), "cut-off"),
    # The clients' exceptions for an answer of another form.
    (frozenset({"JSONDecodeError", "ValidationError", "APIResponseValidationError", "DecodingError"}), "garbled"),
    (frozenset({"AttributeError", "KeyError", "IndexError", "TypeError"}), "garbled"),
    (frozenset({"OSError"}), "unreachable"),
)
# The messages of LangChain's classes for an answer without content, or a web page.
_EMPTY_ANSWERS = ("No generation chunks were returned", "Unexpected response type")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and its causes, the deepest last; suppressed contexts too."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__


def _told(error: BaseException) -> str:
    """The provider's message in an exception, safe to print; "" when there is none that can be shown."""
    body = getattr(error, "body", None)
    if isinstance(body, dict):
        return said(json.dumps({"error": body} if "message" in body else body, default=str))
    text = getattr(error, "error", None) or (body if isinstance(body, str) else getattr(error, "message", ""))
    return safe(text) if isinstance(text, str) else ""


def _no_answer(happened: _Happened, llm: LLMConfig) -> Check:
    """The check for no HTTP answer, or an unusable one."""
    url = llm.base_url
    is_ollama = llm.kind == "ollama"
    serve = f"{_start_ollama(llm)}, or " if is_ollama else ""
    again = "see the log of the Ollama server" if is_ollama else "try again"
    rows = {
        "refused": (f"nothing listens at {url}", f"{serve}check llm.base_url"),
        "unresolved": (f"the host in {url} is unknown", "check llm.base_url and the network"),
        "tls": (
            f"the certificate of {url} is not trusted",
            "check llm.base_url; SSL_CERT_FILE can name further authorities",
        ),
        "unreachable": (f"{url} cannot be reached", f"{serve}check llm.base_url and the network"),
        "timeout": (f"{url} did not answer in time", _patience(llm)),
        "cut-off": (f"{url} closed the connection in the middle of an answer", again),
        "too-large": (f"{url} sent more than a model's answer can be", "check llm.base_url"),
        "garbled": (f"{url} does not answer as {llm.provider} does", "check llm.base_url"),
        "error": (f"{url} reported an error in the middle of an answer", again),
    }
    seen, fix = rows.get(happened.trouble, (f"a call to {url} failed", "see the log for the exception"))
    key = "llm.timeout" if happened.trouble == "timeout" else "llm.base_url"
    return Check("provider", "failed", _with(seen, happened.detail), fix, key)


def _start_ollama(llm: LLMConfig) -> str:
    if not is_loopback(llm.base_url or ""):
        return "start it on that machine with  ollama serve"
    if shutil.which("ollama") is None:
        return "install Ollama (https://ollama.com/download) and start it with  ollama serve"
    return "start it with  ollama serve"


def _patience(llm: LLMConfig) -> str:
    if llm.kind == "ollama":
        return "loading a model takes time: raise llm.timeout, or use a smaller model"
    return "check the network, or raise llm.timeout"


def _refusal(happened: _Happened, llm: LLMConfig) -> Check:
    """The check for an HTTP error status."""
    url, status, detail = llm.base_url, happened.status or 0, happened.detail
    if status < 400:
        seen = f"{url} answers {status}, a redirect" + (f" ({detail})" if detail else "")
        fix = "redirects are not followed: set llm.base_url to the final address"
        return Check("provider", "failed", seen, fix, "llm.base_url")
    if status in (401, 403):
        return _unauthorized(llm, status)
    if status == 404:
        return _not_found(llm, detail)
    if status == 429:
        fix = "wait; check the account's limits and credit; llm.max_retries tries again by itself"
        return Check(
            "limit", "failed", _with(f"{url} limits the rate of calls with this key (429)", detail), fix, "llm.api_key"
        )
    if status >= 500:
        fix = "try again later" if llm.kind != "ollama" else "see the log of the Ollama server"
        return Check(
            "provider", "failed", _with(f"{url} has an error of its own ({status})", detail), fix, "llm.base_url"
        )
    key = _blamed(detail)
    seen = _with(f"{url} refuses the request ({status})", detail)
    return Check("request", "failed", seen, f"stigmer config explain {key} shows where the value comes from", key)


def _unauthorized(llm: LLMConfig, status: int) -> Check:
    # The message may quote the key.
    if isinstance(llm.api_key, Unread):
        seen, fix = "asks for the key, whose command was not run", "stigmer config doctor --probe runs it"
    else:
        seen, fix = "refuses the key" if llm.api_key is not None else "asks for a key", _key_fix(llm)
    return Check("key", "failed", f"{llm.base_url} {seen} ({status})", fix, "llm.api_key")


def _not_found(llm: LLMConfig, detail: str) -> Check:
    seen = _with(f"{llm.base_url} has no model {llm.model_id} (404)", detail)
    if llm.kind == "ollama":
        return Check("model", "failed", seen, f"ollama pull {llm.model_id}", "llm.model")
    if detail and "model" not in detail.lower() and llm.model_id not in detail:
        return Check("provider", "failed", _with(f"{llm.base_url} has nothing at this path (404)", detail), *_PATH)
    return Check("model", "failed", seen, "stigmer config models lists the known ones", "llm.model")


_PATH = ("check the path of llm.base_url", "llm.base_url")
_BLAMED = ("temperature", "max_tokens", "num_ctx", "reasoning_effort")
_OWN_SETTING = re.compile(rf"\bllm\.(base_url|api_key|{'|'.join(_BLAMED)})\b")


def _blamed(detail: str) -> str:
    """The setting that a refusal is about."""
    words = detail.replace("max_completion_tokens", "max_tokens").replace("num_predict", "max_tokens").lower()
    words = words.replace("thinking", "reasoning_effort").replace("effort", "reasoning_effort")
    return next((f"llm.{name}" for name in _BLAMED if name in words), "llm.model")


def _key_fix(llm: LLMConfig) -> str:
    variable = " or ".join(key_variables(llm.provider))
    where = f"providers.{llm.provider}.api_key in ~/.stigmer/config.yaml"
    return f"check {variable}, or {where}" if variable else f"set {where}"


def _with(seen: str, detail: str) -> str:
    return f"{seen}: {detail}" if detail else seen
