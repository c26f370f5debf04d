"""Checks whether the provider in force can answer: once, within a time limit, without the key and without cost."""

from __future__ import annotations

import time
from collections.abc import Iterable

import msgspec

from ..config.sections import LLMConfig
from ..llm.catalogue import catalogue
from ..secrets.references import Unread
from ..settings.packaged_providers import COMPANIES, key_variables
from ..settings.urls import is_loopback, same_url
from ..sources.defaults import packaged_url
from . import ollama
from .diagnosis import Check, diagnose
from .http import at_once, status_of
from .protocols import PROTOCOLS, base_address, listing_url

# Ollama's own default on a machine without much graphics memory.
SMALL_CONTEXT = 4096


class Health(msgspec.Struct, frozen=True):
    """The results of one check of the provider, reachability first."""

    checks: tuple[Check, ...]

    @property
    def ready(self) -> bool:
        """Whether no check failed."""
        return self.fault is None

    @property
    def fault(self) -> Check | None:
        """The first check that failed, with `key`, `seen` and `fix`."""
        return next((check for check in self.checks if check.state == "failed"), None)


def check_provider(llm: LLMConfig, timeout: float = 5.0) -> Health:
    """Checks the provider of `llm`, in at most `timeout` seconds. Never raises.

    It calls no model and costs nothing. The key is not sent, except to an Ollama server that requires it.
    """
    if not llm.base_url:
        return Health((Check("provider", "failed", "no base_url is set", "set llm.base_url", "llm.base_url"),))
    if llm.kind == "ollama":
        return Health(tuple(_ollama(llm, llm.base_url, timeout)))
    return Health((_hosted(llm, timeout), _api_key(llm)))


def _hosted(llm: LLMConfig, timeout: float) -> Check:
    """Checks whether Anthropic, OpenAI or a gateway answers at its base_url."""
    started = time.monotonic()
    base_url, url = base_address(llm), listing_url(llm)
    status = at_once({"provider": lambda: status_of(url, timeout=timeout)}, timeout)["provider"]
    if isinstance(status, Exception):
        return diagnose(status, llm)
    if status == 404:
        path = "without /v1 at its end" if llm.kind == "anthropic" else "with /v1 at its end, as a rule"
        seen = f"{base_url} answers, but has nothing at {PROTOCOLS[llm.kind].listing}"
        return Check("provider", "warning", seen, f"check the path of llm.base_url: {path}", "llm.base_url")
    if status >= 500:
        return Check("provider", "warning", f"{base_url} answers {status}: an error of its own", "try again later")
    milliseconds = (time.monotonic() - started) * 1000
    return Check("provider", "ok", f"{llm.provider} answers at {base_url} ({milliseconds:.0f} ms)", key="llm.base_url")


def _api_key(llm: LLMConfig) -> Check:
    if isinstance(llm.api_key, Unread):
        return Check("key", "ok", f"the API key is {llm.api_key!s}; --probe runs its command", key="llm.api_key")
    if llm.api_key is not None:
        return Check("key", "ok", "an API key is set (not tried; --probe does)", key="llm.api_key")
    packaged = packaged_url(llm.provider) if llm.provider in COMPANIES else None
    if not same_url(llm.base_url, packaged):
        return Check("key", "ok", f"{llm.provider} gets no API key, as it is configured", key="llm.api_key")
    export = "".join(f"export {variable}=…, or " for variable in key_variables(llm.provider)[:1])
    fix = f"{export}put providers.{llm.provider}.api_key into ~/.stigmer/config.yaml"
    return Check("key", "failed", f"there is no API key for {llm.provider}", fix, "llm.api_key")


def _ollama(llm: LLMConfig, base_url: str, timeout: float) -> Iterable[Check]:
    key = None if isinstance(llm.api_key, Unread) else llm.api_key
    headers = {name: value.reveal() for name, value in llm.headers.items() if not isinstance(value, Unread)}
    try:
        server = ollama.look(base_url, llm.model_id or None, key=key, headers=headers, timeout=timeout)
    except Exception as error:  # noqa: BLE001 - whatever the server does, the check says it
        yield diagnose(error, llm)
        return
    version = f"Ollama {server.version}" if server.version else "Ollama"
    yield Check("provider", "ok", f"{version} answers at {base_url}", key="llm.base_url")
    installed = server.find(llm.model_id)
    if installed is None:
        yield not_installed(llm.model_id, server)
        return
    yield Check("model", "ok", f"{installed.name} is installed", key="llm.model")
    facts = server.facts or ollama.Facts()
    yield _context(llm, facts)
    told = facts.capabilities if facts.capabilities is not None else installed.capabilities
    yield _tools(llm.model_id, told)
    if is_loopback(base_url):
        yield from _memory(installed)


def not_installed(model: str, server: ollama.Server) -> Check:
    """The failed check for a model that the server does not have."""
    near = server.nearest(model)
    others = ", ".join(one.name for one in server.installed[:6]) or "no model at all"
    seen = f"{model} is not installed; the server has {others}"
    if len(server.installed) > 6:
        seen += f" and {len(server.installed) - 6} more"
    fix = f"ollama pull {model}"
    if near:
        fix += f"; or set llm.model to the nearest that is installed: {near}"
    return Check("model", "failed", seen, fix, "llm.model")


def _context(llm: LLMConfig, facts: ollama.Facts) -> Check:
    key = "llm.num_ctx"
    longest = facts.context
    takes = f"the model takes {longest}" if longest else "the model's context length is unknown"
    in_force = llm.num_ctx or facts.num_ctx
    if in_force is None:
        now = f"it runs with {facts.loaded} tokens now" if facts.loaded else f"a small machine gets {SMALL_CONTEXT}"
        seen = f"num_ctx is not set: Ollama chooses ({now}) and silently cuts longer prompts; {takes}"
        return Check("context", "warning", seen, f"stigmer config set llm.num_ctx {_suggested(longest)}", key)
    if longest is not None and in_force > longest:
        seen = f"num_ctx is {in_force}, and {takes}"
        return Check("context", "warning", seen, f"lower llm.num_ctx to {longest}", key)
    if llm.max_tokens is not None and llm.max_tokens >= in_force:
        seen = f"max_tokens is {llm.max_tokens}, and num_ctx ({in_force}) holds prompt and answer together"
        return Check("context", "warning", seen, "raise llm.num_ctx, or lower llm.max_tokens", key)
    source = "" if llm.num_ctx else " (its Modelfile's)"
    return Check("context", "ok", f"num_ctx is {in_force}{source}; {takes}", key=key)


def _suggested(longest: int | None) -> int:
    return min(longest or 16384, 16384)


def _tools(model: str, capabilities: tuple[str, ...] | None) -> Check:
    facts = catalogue().find(model, "ollama")
    can = "tools" in capabilities if capabilities is not None else facts.tools if facts is not None else None
    if can:
        return Check("tools", "ok", f"{model} can call tools", key="llm.model")
    example = next((m.id for m in catalogue().models if m.provider == "ollama" and m.tools and m.id != model), "")
    fix = f"agents need tools: use a model that can call them, for example {example}"
    if can is None:
        return Check("tools", "warning", f"whether {model} can call tools is unknown", fix, "llm.model")
    return Check("tools", "warning", f"{model} cannot call tools", fix, "llm.model")


def _memory(installed: ollama.Installed) -> Iterable[Check]:
    memory = ollama.machine_memory()
    if memory is None or not installed.size:
        return
    has = f"this machine has {memory / ollama.GIB:.0f} GiB of memory"
    # The weights, and about a fifth for the context and the server.
    if installed.size * 1.2 <= memory:
        yield Check(
            "memory", "ok", f"{installed.name} is {installed.size / ollama.GIB:.1f} GiB; {has}", key="llm.model"
        )
        return
    fitting = [model.id for model in ollama.recommended(memory)[:3]]
    fix = (
        f"for this machine: {', '.join(fitting)}"
        if fitting
        else "use a smaller model, or serve it from another machine"
    )
    seen = f"{installed.name} is {installed.size / ollama.GIB:.1f} GiB, and {has}: it will be slow or fail"
    yield Check("memory", "warning", seen, fix, "llm.model")
