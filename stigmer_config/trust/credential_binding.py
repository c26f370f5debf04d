"""Credentials other than the LLM's: each is sent only to the endpoint that the trusted layers configure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..core.problems import Problem
from ..core.provenance import Entry, Origin
from ..llm.provider_selection import CredentialGrant
from ..settings.declarations import BUILT_IN
from ..settings.schema import Schema
from ..settings.urls import is_loopback

# credential → the keys that together determine where it is sent
BOUND = {
    "backend.api_key": ("backend.endpoint",),
    "redis.password": ("redis.host", "redis.port"),
    "temporal.api_key": ("temporal.address",),
}

_ADDRESS = r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?:[^/?#@]*@)?(?P<host>[^/?#@]+)"


def bound_credentials(winners: Iterable[str], schema: Schema) -> dict[str, tuple[str, ...]]:
    """Every bound credential, including those of applications, and the keys that determine where it is sent."""
    found = dict(BOUND)
    if schema.apps:
        for key in winners:
            setting = schema.find(key) if key.startswith("apps.") else None
            if setting is not None and setting.bound_to:
                section = key.rpartition(".")[0]  # a declared key may have `<name>` where this key has a name
                found[key] = tuple(f"{section}.{part.rpartition('.')[2]}" for part in setting.bound_to)
    return found


def credential_endpoint(key: str, winners: Mapping[str, Entry], schema: Schema = BUILT_IN) -> str:
    """The endpoint of a bound credential, as `host:port`; for an address with a scheme, the scheme and the host."""
    parts = bound_credentials(winners, schema)[key]
    return _sent_to(parts, _values(winners, parts))


def _sent_to(parts: Iterable[str], values: Mapping[str, Any]) -> str:
    return ":".join(_scheme_and_host(str(values[part])) for part in parts if part in values)


def _scheme_and_host(address: str) -> str:
    found = re.match(_ADDRESS, address)
    return f"{found['scheme']}://{found['host']}".lower() if found is not None else address


def _values(winners: Mapping[str, Entry], parts: Iterable[str]) -> dict[str, Any]:
    return {part: winners[part].value for part in parts if part in winners}


def moved_credentials(
    before: Mapping[str, Any], after: Mapping[str, Any], changes: Mapping[str, Any], schema: Schema
) -> list[Problem]:
    """The credentials that an override would send to another endpoint than their own."""
    found: list[Problem] = []
    for key, parts in bound_credentials(after, schema).items():
        if not key.startswith("apps.") or after.get(key) is None or key in changes:
            continue
        here, given_for = _sent_to(parts, after), _sent_to(parts, before)
        if here != given_for:
            message = f"it was given for {given_for}, and the override sends it to {here}"
            origin = Origin("execution", f"override[{next(part for part in parts if part in changes)}]")
            hint = f"give the override a {key} of its own"
            found.append(Problem(code="credential-binding", key=key, message=message, hint=hint, origin=origin))
    return found


def passed_over_credentials(
    winners: Mapping[str, Entry],
    trusted: Mapping[str, Entry],
    granted: frozenset[CredentialGrant],
    schema: Schema = BUILT_IN,
) -> dict[str, Problem]:
    """The credentials that must not be used, because a project would send them elsewhere: key → problem."""
    found: dict[str, Problem] = {}
    for key, parts in bound_credentials(winners, schema).items():
        entry = winners.get(key)
        if entry is None or entry.value is None or all(winners.get(part) is trusted.get(part) for part in parts):
            continue
        here, given_for = _sent_to(parts, _values(winners, parts)), _sent_to(parts, _values(trusted, parts))
        if here == given_for:
            continue
        if CredentialGrant(key, entry.origin.source, here) in granted:
            continue
        mover = next(winners[part] for part in parts if part in winners and winners[part] is not trusted.get(part))
        message = f"the one from {entry.origin} was given for {given_for}, and {here} comes from {mover.origin}"
        hint = "let it go there: stigmer config trust --with-credentials"
        found[key] = Problem(code="credential-binding", key=key, message=message, hint=hint, origin=mover.origin)
    return found


def exposed_credentials(winners: Mapping[str, Entry]) -> list[Problem]:
    """The warning for a Temporal key that would be sent without TLS."""
    key, tls, address = (winners.get(f"temporal.{name}") for name in ("api_key", "tls", "address"))
    if key is None or key.value is None or tls is None or tls.value is not False or address is None:
        return []
    if is_loopback(f"http://{address.value}"):
        return []
    message = f"temporal.api_key from {key.origin} is sent unencrypted, to {address.value}"
    return [
        Problem(
            severity="warning",
            code="insecure-endpoint",
            key="temporal.address",
            message=message,
            hint=f"remove temporal.tls: false ({tls.origin})",
            origin=address.origin,
        )
    ]
