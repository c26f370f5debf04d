"""Credentials beside the LLM's: each goes only to the endpoint that the trusted layers gave it for."""

from __future__ import annotations

from collections.abc import Mapping

from ..core.problems import Problem
from ..core.provenance import Entry
from ..llm.provider_selection import CredentialGrant
from ..settings.urls import is_loopback

# credential → the keys that together say where it is sent
BOUND = {
    "backend.api_key": ("backend.endpoint",),
    "redis.password": ("redis.host", "redis.port"),
    "temporal.api_key": ("temporal.address",),
}


def endpoint(key: str, winners: Mapping[str, Entry]) -> str:
    """Where a bound credential is sent, as `host:port`."""
    return ":".join(str(winners[part].value) for part in BOUND[key] if part in winners)


def passed_over(
    winners: Mapping[str, Entry], trusted: Mapping[str, Entry], granted: frozenset[CredentialGrant]
) -> dict[str, Problem]:
    """The credentials that must not be used, because a project sends them elsewhere: key → problem."""
    found: dict[str, Problem] = {}
    for key, parts in BOUND.items():
        entry = winners.get(key)
        here, given_for = endpoint(key, winners), endpoint(key, trusted)
        if entry is None or entry.value is None or here == given_for:
            continue
        if CredentialGrant(key, entry.origin.source, here) in granted:
            continue
        mover = next(winners[part] for part in parts if winners[part] is not trusted.get(part))
        message = f"{key} from {entry.origin} was given for {given_for}, and {here} comes from {mover.origin}"
        hint = "let it go there: stigmer config trust --with-credentials"
        found[key] = Problem(code="credential-binding", key=key, message=message, hint=hint, origin=mover.origin)
    return found


def exposed(winners: Mapping[str, Entry]) -> list[Problem]:
    """The warning for a Temporal key that would cross the network in the clear."""
    key, tls, address = (winners.get(f"temporal.{name}") for name in ("api_key", "tls", "address"))
    if key is None or key.value is None or tls is None or tls.value is not False or address is None:
        return []
    if is_loopback(f"http://{address.value}"):
        return []
    message = f"temporal.api_key from {key.origin} crosses the network in the clear, to {address.value}"
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
