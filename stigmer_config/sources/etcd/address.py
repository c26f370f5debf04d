"""The address of the fleet's store, which `STIGMER_ETCD` names, and its credentials. Nothing here connects to it.

`STIGMER_ETCD=https://host:2379[,host:2379…]/prefix`; beside it `STIGMER_ETCD_CACERT`, `STIGMER_ETCD_CERT`,
`STIGMER_ETCD_KEY` (absolute paths) and `STIGMER_ETCD_USER`, `STIGMER_ETCD_PASSWORD`.
"""

from __future__ import annotations

import os
import re
from typing import Final

import msgspec

from ...core.environment import Environment
from ...core.problems import Problem, quoted
from ...core.provenance import Origin
from ...core.secret import Secret
from ...settings.urls import Address
from ...settings.value_types import InvalidValueError
from ..variables import ETCD, ETCD_FILES, ETCD_PASSWORD, ETCD_USER

_PORT: Final = 2379
_URL = re.compile(r"(?P<scheme>https?)://(?P<hosts>[^/?#]*)(?P<prefix>(?:/[A-Za-z0-9._-]+)+)/?")
# The first has no effect without the second.
_BESIDE = ((ETCD_FILES[2], ETCD_FILES[1]), (ETCD_PASSWORD, ETCD_USER))
_FORM = "for example https://etcd.example:2379/stigmer"


class Fleet(msgspec.Struct, frozen=True):
    """The store's address: `endpoints` as `https://host:port`, `prefix` as `/stigmer`; the rest as configured."""

    endpoints: tuple[str, ...]
    prefix: str
    cacert: str | None = None
    certificate: str | None = None
    key: str | None = None
    user: str | None = None
    password: Secret | None = None

    @property
    def is_trusted(self) -> bool:
        """Whether its content is trusted like the operator's: only over verified TLS (contract, section 11)."""
        return self.endpoints[0].startswith("https://")

    @property
    def source(self) -> str:
        """The store's name for the source of its layer."""
        scheme, _, _ = self.endpoints[0].partition("://")
        hosts = ",".join(endpoint.partition("://")[2] for endpoint in self.endpoints)
        return f"{scheme}://{hosts}{self.prefix}"


def fleet_of(environment: Environment) -> tuple[Fleet | None, list[Problem]]:
    """The store that the variables name, or their faults."""
    text = environment.variable(ETCD)
    if text is None:
        return None, []
    at, files = ETCD, []
    try:
        endpoints, prefix = _read_url(text)
        for at in ETCD_FILES:
            files.append(_absolute(at, environment.variable(at)))
    except InvalidValueError as fault:
        return None, [fault.problem("", Origin("etcd", at))]
    for given, beside in _BESIDE:
        if environment.variable(given) is not None and environment.variable(beside) is None:
            message, hint = f"{given} is set, and {beside} is not", f"set {beside}, or unset {given}"
            origin = Origin("etcd", given)
            return None, [Problem(code="missing-value", message=message, hint=hint, origin=origin)]
    cacert, certificate, key = files
    password = environment.variable(ETCD_PASSWORD)
    fleet = Fleet(
        endpoints,
        prefix,
        cacert,
        certificate,
        key,
        environment.variable(ETCD_USER),
        Secret(password) if password is not None else None,
    )
    if fleet.password is not None and not fleet.is_trusted:
        message = f"{ETCD_PASSWORD} would be sent unencrypted, so it is not sent"
        warning = Problem(
            severity="warning",
            code="insecure-endpoint",
            message=message,
            hint="use https",
            origin=Origin("etcd", ETCD),
        )
        return msgspec.structs.replace(fleet, user=None, password=None), [warning]
    return fleet, []


def _read_url(text: str) -> tuple[tuple[str, ...], str]:
    """The endpoints and the prefix. Raises `InvalidValueError`, which contains no password."""
    found = _URL.fullmatch(text)
    if "@" in text:
        raise InvalidValueError(
            "invalid-url", f"{ETCD} contains a user name or password", f"use {ETCD_USER} and {ETCD_PASSWORD}"
        )
    if found is None:
        raise InvalidValueError("invalid-url", f"{ETCD} must be URL/PREFIX, not {quoted(text)}", _FORM)
    scheme = found["scheme"]
    return tuple(f"{scheme}://{_host(part)}" for part in found["hosts"].split(",")), found["prefix"]


def _host(part: str) -> str:
    with_port = part if re.search(r":[0-9]+$", part) else f"{part}:{_PORT}"
    try:
        host: str = Address().check(with_port, ETCD)
    except InvalidValueError:
        message = f"{ETCD} must name host:port, or several with commas, not {quoted(part)}"
        raise InvalidValueError("invalid-url", message, _FORM) from None
    return host


def _absolute(name: str, path: str | None) -> str | None:
    if path is not None and not os.path.isabs(path):
        raise InvalidValueError(
            "invalid-url", f"{name} must be an absolute path, not {quoted(path)}", "write the full path"
        )
    return path
