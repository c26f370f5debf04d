"""Checks everything that can keep a configuration from working: files, trust, model, key, provider.

It reports the problems of loading unchanged, and queries the provider; it judges nothing a second time.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.util
import shlex
import time
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ..config.sections import LLMConfig
from ..core.problems import ConfigError, Problem, nearest, printable
from ..core.provenance import Origin
from ..core.secret import Secret
from ..llm.catalogue import OLD_FACTS, Catalogue, catalogue, replaced
from ..loading.load import Loaded
from ..settings.declarations import find
from ..sources.stigmer_cli import counterparts
from .bounded_answers import bounded_answers
from .diagnosis import Check, CheckState, diagnose, not_in_force
from .health import Health, check_provider
from .http import at_once, safe
from .listing import listed_models
from .protocols import PROTOCOLS

# The problems of each check; all others belong to the check of the configuration.
_GROUPS = {
    "files": "yaml-syntax yaml-forbidden duplicate-key too-large not-a-mapping bad-encoding unreadable-file",
    "permissions": "insecure-permissions",
    "trust": "untrusted-key secret-in-project forbidden-in-project locked-key",
    "fleet": "etcd-unavailable secret-in-etcd",
    "key": "missing-api-key credential-binding secret-unavailable unused-credential insecure-endpoint",
    "retirement": "model-retiring model-retired",
}
_GROUP_OF = {code: group for group, codes in _GROUPS.items() for code in codes.split()}
_PROBE_TOKENS = 64
_PROBE_BYTES = 1 << 20  # of one answer: many times what so few tokens take


class Finding(msgspec.Struct, frozen=True):
    """A check, and the place of the value that decides it, if there is one."""

    check: Check
    origin: Origin | None = None


def examine(loaded: Loaded, today: datetime.date, *, timeout: float = 5.0, probe: bool = False) -> tuple[Finding, ...]:
    """Runs every check of a load. The provider gets `timeout` seconds; all checks together take little longer.

    `probe`: makes a small call to the model with the configured key, which may cost a fraction of a cent.
    """
    llm = loaded.config.llm
    calls: dict[str, Any] = {"health": lambda: check_provider(llm, timeout)}
    for number, one in enumerate(llm.fallbacks):
        calls[f"fallback {number}"] = lambda one=one: check_provider(one, timeout)
    if probe and not loaded.errors:
        calls["probe"] = lambda: probe_model(llm, timeout)
        if llm.kind == "openai":
            calls["listing"] = lambda: listed_models(llm, timeout)
        calls |= {f"probe {n}": lambda one=one: probe_model(one, timeout) for n, one in enumerate(llm.fallbacks)}
        for one in (llm, *llm.fallbacks):
            _import(one)
    answers = at_once(calls, timeout + 1)  # each has its own time limit
    health = answers["health"] if isinstance(answers["health"], Health) else Health((diagnose(answers["health"], llm),))
    findings = list(_loading(loaded))
    told = {finding.check.name for finding in findings if finding.check.state != "ok"}
    asked = [check for check in health.checks if not (check.name == "key" and "key" in told)]
    clients = dict.fromkeys(_client(one) for one in (llm, *llm.fallbacks))
    findings.extend(_placed(check, loaded) for check in (*asked, *_model(llm, today), *clients))
    findings.extend(_placed(check, loaded) for check in _fallbacks(loaded, answers))
    if "listing" in answers:
        findings.append(_placed(_listed(answers["listing"], llm), loaded))
    if probe:
        findings.append(_placed(_probed(answers.get("probe"), llm), loaded))
    return tuple(findings)


def probe_model(llm: LLMConfig, timeout: float) -> Check:
    """Makes a small real call, like a worker. Raises the client's exception, or `WireError` when it hangs."""
    from .chat import chat_model

    llm = msgspec.structs.replace(llm, fallbacks=())  # a fallback would answer instead
    small = min(llm.max_tokens or _PROBE_TOKENS, _PROBE_TOKENS)
    with bounded_answers(_PROBE_BYTES):
        model = chat_model(llm, max_tokens=small, timeout=timeout, max_retries=0)
    started = time.monotonic()
    answer = at_once({"probe": lambda: model.invoke("Answer with the word: pong")}, timeout)["probe"]
    if isinstance(answer, Exception):
        raise answer
    usage: Mapping[str, int] = answer.usage_metadata or {}
    tokens = f", {usage['input_tokens']} tokens in and {usage['output_tokens']} out" if usage else ""
    return Check(
        "probe", "ok", f"{llm.model_id} answered in {time.monotonic() - started:.1f} s{tokens}", key="llm.model"
    )


def _import(llm: LLMConfig) -> None:
    """Imports the client before the time limit starts: it takes seconds, independent of the network."""
    from .chat import client_class

    with contextlib.suppress(ImportError):  # the probe reports it
        client_class(llm.kind)


def _listed(answer: Any, llm: LLMConfig) -> Check:
    """Whether the endpoint lists the model."""
    if isinstance(answer, Exception):
        fault = diagnose(answer, llm)
        return Check("model", "warning", f"the models are not listed: {fault.seen}", fault.fix, fault.key)
    ids = [model.id for model in answer]
    if llm.model_id in ids:
        return Check("model", "ok", f"{llm.base_url} lists {llm.model_id}", key="llm.model")
    near = nearest(llm.model_id, ids)
    fix = f"stigmer config models --provider {llm.provider} lists them"
    fix += f"; the nearest is {printable(near)}" if near else ""
    return Check("model", "warning", f"{llm.base_url} does not list {llm.model_id}", fix, "llm.model")


def _fallbacks(loaded: Loaded, answers: Mapping[str, Any]) -> Iterable[Check]:
    """Each fallback's model, address, key and state. One that does not answer is a warning: the main model may."""
    keys = loaded.config.fallback_keys()
    for number, (llm, key) in enumerate(zip(loaded.config.llm.fallbacks, keys, strict=True)):
        about = (
            f"{printable(llm.model_steps)} at {llm.base_url}, {f'key from {printable(str(key))}' if key else 'no key'}"
        )
        health = answers[f"fallback {number}"]
        fault = health.fault if isinstance(health, Health) else diagnose(health, llm)
        if fault is None and f"probe {number}" in answers:
            probed = _probed(answers[f"probe {number}"], llm)
            fault = probed if probed.state != "ok" else None
            about += f"; {probed.seen}" if fault is None else ""
        if fault is None:
            yield Check("fallback", "ok", about, key="llm.fallbacks")
        else:
            fault = not_in_force(fault, llm.provider) if llm.provider != loaded.config.llm.provider else fault
            fix = fault.fix.replace("set llm.model to", "set the fallback to")
            yield Check("fallback", "warning", f"{about}: {fault.seen}", fix, "llm.fallbacks")


def _probed(answer: Any, llm: LLMConfig) -> Check:
    if isinstance(answer, Check):
        return answer
    if answer is None:
        return Check("probe", "warning", "the model was not called: the configuration has errors", "fix them first")
    return msgspec.structs.replace(diagnose(answer, llm), name="probe")


def _placed(check: Check, loaded: Loaded) -> Finding:
    known = check.key and (find(check.key) is not None)
    return Finding(check, loaded.config.explain(check.key).origin if known else None)


def _loading(loaded: Loaded) -> Iterable[Finding]:
    """The problems of loading, by group; a group without problems is `ok`."""
    groups: dict[str, list[Problem]] = {}
    for problem in loaded.problems:
        groups.setdefault(_GROUP_OF.get(problem.code, "configuration"), []).append(problem)
    good = {"files": _files(loaded), "permissions": _permissions(loaded), "trust": _trust(loaded)}
    llm = loaded.config.llm
    model = replaced(llm.provider, llm.model_name, llm.model_id) or llm.model_steps
    good["configuration"] = f"{loaded.config.mode} mode, {llm.provider}, {printable(model) or 'no model'}"
    store = loaded.layers.find("etcd")
    if store is not None:
        good["fleet"] = f"{printable(store.source)} answers, and sets {len(store.entries)} keys"
    for group in (*good, *(group for group in _GROUPS if group not in good)):
        for problem in groups.get(group, ()):
            is_failure = problem.severity == "error" or problem.code == "model-retired"
            state: CheckState = "failed" if is_failure else "warning"
            message, hint = printable(problem.summary), printable(problem.hint)
            yield Finding(Check(group, state, message, hint, problem.key), problem.origin)
        if group in good and group not in groups:
            yield Finding(Check(group, "ok", good[group]))
    yield from _of_the_stigmer_cli(loaded)


def _of_the_stigmer_cli(loaded: Loaded) -> Iterable[Finding]:
    """The Stigmer CLI's own keys in the user's file, and the command that sets the same for workers."""
    for layer in loaded.layers:
        for theirs, ours, value, line, column in counterparts(layer):
            message = f"{theirs} in your file is the Stigmer CLI's and is not read here"
            fix = f"stigmer config set {ours}{'' if value is None else f' {shlex.quote(printable(value))}'}"
            place = Origin(layer.name, layer.source, line, column)
            yield Finding(Check("cli", "warning", message, fix, ours), place)


def _files(loaded: Loaded) -> str:
    files = [layer for layer in loaded.layers if layer.name in ("site", "user", "project")]
    read = [f"{layer.name} {printable(layer.source)}" for layer in files if layer.status in ("loaded", "empty")]
    absent = [layer.name for layer in files if layer.status == "absent"]
    texts = [f"read: {', '.join(read)}" if read else "", f"absent: {', '.join(absent)}" if absent else ""]
    return "; ".join(text for text in texts if text)


def _permissions(loaded: Loaded) -> str:
    if any(layer.name in ("site", "user") and layer.status in ("loaded", "empty") for layer in loaded.layers):
        return "no other user can change the files or read a secret in them"
    return "there is no user file to check"


def _trust(loaded: Loaded) -> str:
    project = loaded.layers.project
    if project is None or project.status == "absent":
        return "there is no project file"
    return "the project's file sets only what it may"


def _model(llm: LLMConfig, today: datetime.date) -> Iterable[Check]:
    """The catalogue's facts about the model: its retirement and its limits."""
    known = catalogue()
    facts = known.find(llm.model_id, llm.provider)
    if llm.kind != "ollama":
        left = facts.days_left(today) if facts is not None else None
        if facts is None:
            yield Check(
                "retirement",
                "ok",
                f"no retirement date is known for {llm.model_id}, which is not in the catalogue",
                key="llm.model",
            )
        elif left is None:
            yield Check("retirement", "ok", f"no retirement date is announced for {facts.name}", key="llm.model")
        elif left > 60:
            yield Check("retirement", "ok", f"{facts.name} is available until {facts.retires}", key="llm.model")
    if facts is not None and facts.output is not None:
        yield _limit(llm, facts.output, facts.context)
    yield from _age(known, today)


def _limit(llm: LLMConfig, output: int, context: int | None) -> Check:
    if llm.max_tokens is not None and llm.max_tokens > output:
        seen = f"max_tokens is {llm.max_tokens}, but {llm.model_id} allows {output} at most and refuses more"
        return Check("context", "warning", seen, f"stigmer config set llm.max_tokens {output}", "llm.max_tokens")
    takes = f"{context} tokens of context and " if context else ""
    return Check("context", "ok", f"{llm.model_id} has {takes}{output} tokens of output at most", key="llm.max_tokens")


def _age(known: Catalogue, today: datetime.date) -> Iterable[Check]:
    days = (today - known.as_of).days
    if days > OLD_FACTS:
        seen = f"the model catalogue is {days} days old ({known.as_of})"
        yield Check("catalogue", "warning", seen, "pip install --upgrade stigmer-config")


def _client(llm: LLMConfig) -> Check:
    """Whether the client library is installed, and whether a worker's client can be built here."""
    protocol = PROTOCOLS[llm.kind]
    name = protocol.distribution
    if importlib.util.find_spec(protocol.module) is None:
        fix = f"pip install 'stigmer-config[{llm.kind}]'"
        return Check("client", "warning", f"{name} is not installed: chat_model() needs it", fix)
    if not llm.model_id or not llm.base_url:
        return Check("client", "ok", f"{name} is installed")  # a missing value is reported already
    from .chat import chat_model

    try:
        # Another check reports a missing key, and this one runs no command.
        chat_model(msgspec.structs.replace(llm, api_key=Secret("a-placeholder"), fallbacks=()))
    except ConfigError as error:
        problem = error.problems[0]
        return Check("client", "failed", printable(problem.summary), printable(problem.hint), problem.key)
    except Exception as error:  # noqa: BLE001 - whatever a library comes up with
        fix = f"pip install --upgrade {name}"
        return Check(
            "client", "failed", f"{name} cannot build a client: {type(error).__name__}: {safe(str(error))}", fix
        )
    return Check("client", "ok", f"{name} is installed, and builds its client")
