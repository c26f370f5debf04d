"""Addresses of services: what a URL and a `host:port` may be, and which two name the same place."""

from __future__ import annotations

import functools
import re
from typing import Any

from ..core.problems import quoted
from .value_types import InvalidValueError, Kind

# What a URL may hold (RFC 3986), without `@`, which would bring userinfo, and without `\`, which
# browsers and libraries read in different ways.
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\.?|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>/[A-Za-z0-9._~!$&'()*+,;=:%/-]*)?",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")


class Url(Kind, frozen=True):
    """An http(s) address of a service, with nothing secret in it."""

    @property
    def expects(self) -> str:
        return "a URL"

    def check(self, value: Any, what: str) -> str:
        if not isinstance(value, str):
            raise self.wrong_type(value, what)
        match = _URL.fullmatch(value)
        if match is None or not 0 < int(match["port"] or "80") < 65536 or not _addressable(match["host"]):
            raise self._invalid(value, what)
        return value

    def _invalid(self, value: str, what: str) -> InvalidValueError:
        if "@" in value:  # what stands before it may be a password: not shown
            return _with_password("invalid-url", what)
        if "?" in value or "#" in value:  # keys are given there, too
            message = f"{what} holds a query (?…) or a fragment (#…)"
            return InvalidValueError("invalid-url", message, "leave it out; put the key into api_key")
        hint = f"write http://{value}" if _ADDRESS.fullmatch(value) else "for example http://localhost:11434"
        return InvalidValueError("invalid-url", f"{what} must be an http:// or https:// URL, not {quoted(value)}", hint)


class Address(Kind, frozen=True):
    """`host:port`."""

    @property
    def expects(self) -> str:
        return "host:port"

    def check(self, value: Any, what: str) -> str:
        match = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
        if isinstance(value, str) and "@" in value:
            raise _with_password("wrong-type", what)
        if match is None:
            raise self.wrong_type(value, what, "for example localhost:7233")
        if not 0 < int(match["port"]) < 65536:
            raise InvalidValueError(
                "out-of-range", f"{what} must have a port from 1 to 65535, not {quoted(match['port'])}"
            )
        return str(value)


def _with_password(code: str, what: str) -> InvalidValueError:
    """The fault of an address with something before an `@`. It may be a password: the value is not shown."""
    message = f"{what} holds a user name or password"
    return InvalidValueError(code, message, "leave them out; put the key into api_key")


def _addressable(host: str) -> bool:
    """Whether a host is a name or a proper IPv6 address; `..` and empty labels are neither."""
    if not host.startswith("["):
        return ".." not in host
    import ipaddress

    try:
        ipaddress.IPv6Address(host[1:-1])
    except ValueError:
        return False
    return True


@functools.lru_cache(maxsize=64)  # each override asks for the same few
def origin_of(url: str) -> str:
    """`scheme://host:port` of a valid URL, in one spelling: what a credential is pinned to."""
    match = _URL.fullmatch(url)
    if match is None:
        return url
    scheme = match["scheme"].lower()
    port = int(match["port"] or (443 if scheme == "https" else 80))
    return f"{scheme}://{match['host'].lower().rstrip('.')}:{port}"


def same_url(one: str | None, other: str | None) -> bool:
    """Whether two URLs name the same place, whatever their spelling."""
    if one is None or other is None or one == other:
        return one == other
    return origin_of(one) == origin_of(other) and _path(one) == _path(other)


def _path(url: str) -> str:
    match = _URL.fullmatch(url)
    return (match["path"] or "").rstrip("/") if match else url


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine's loopback interface: `localhost` and names below it, 127.0.0.0/8, ::1."""
    host = origin_of(url).partition("://")[2].rpartition(":")[0].strip("[]")
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761, section 6.3
        return True
    import ipaddress

    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback  # ::ffff:127.0.0.1 counts by itself from Python 3.13 on
