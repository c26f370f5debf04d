"""Addresses of services: the rules for a URL and a `host:port`, and their normal form.

The normal form is what is checked, pinned, shown and called: scheme and host in lowercase, no dot at the host's end,
IPv6 addresses compressed, no leading zeros in a port. A name that is not ASCII is refused, and its punycode suggested.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from ..core.problems import quoted
from .value_types import InvalidValueError, ValueType

_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\.?|\[[0-9A-Fa-f:.]+\]"
_ADDRESS = re.compile(rf"(?P<host>{_HOST})(?::(?P<port>[0-9]{{1,5}}))?")
# The characters of a URL's path (RFC 3986), without `@`, and without `\\`, which browsers and libraries interpret
# differently.
_PATH = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._~!$&'()*+,;=:%/-")
_NUMERIC = r"0x[0-9a-f]*|[0-9]+"  # the end of an IPv4 address, in any of its old spellings
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_IMPLIED = {"http": 80, "https": 443}


class Url(ValueType, frozen=True):
    """An http(s) address of a service, without secrets."""

    @property
    def expects(self) -> str:
        return "a URL"

    def check(self, value: Any, what: str) -> str:
        if not isinstance(value, str):
            raise self.wrong_type(value, what)
        if (parts := _parts(value)) is not None:
            scheme, written, port, path = parts
            host = _normal_host(written)
            if host is not None and 0 < int(port or _IMPLIED[scheme]) < 65536:
                return f"{scheme}://{host}{f':{int(port)}' if port else ''}{path}"
        raise self._invalid(value, what)

    def _invalid(self, value: str, what: str) -> InvalidValueError:
        if "@" in value:  # the part before it may be a password: not shown
            return _with_password("invalid-url", what)
        if "?" in value or "#" in value:  # a query may contain a key
            message = f"{what} holds a query (?…) or a fragment (#…)"
            return InvalidValueError("invalid-url", message, "leave it out; put the key into api_key")
        ascii_form = _punycode(value)
        if ascii_form is not None:
            message = f"{what} must have an ASCII host, not {quoted(value)}"
            return InvalidValueError("invalid-url", message, f"if that is what you mean, write {ascii_form}")
        hint = f"write http://{value}" if _address(value) else "for example http://localhost:11434"
        return InvalidValueError("invalid-url", f"{what} must be an http:// or https:// URL, not {quoted(value)}", hint)


class Address(ValueType, frozen=True):
    """`host:port`."""

    @property
    def expects(self) -> str:
        return "host:port"

    def check(self, value: Any, what: str) -> str:
        parts = _address(value) if isinstance(value, str) else None
        if isinstance(value, str) and "@" in value:
            raise _with_password("wrong-type", what)
        if parts is None:
            raise self.wrong_type(value, what, _address_hint(value))
        written, port = parts
        if not 0 < int(port) < 65536:
            raise InvalidValueError("out-of-range", f"{what} must have a port from 1 to 65535, not {quoted(port)}")
        host = _normal_host(written)
        if host is None:
            raise self.wrong_type(value, what, "for example localhost:7233")
        return f"{host}:{int(port)}"


def _parts(url: str) -> tuple[str, str, str, str] | None:
    """A URL's scheme, in lowercase, host, port and path, the last two perhaps empty; None for any other string."""
    scheme, _, rest = url.partition("://")
    address, slash, path = rest.partition("/")
    match = _ADDRESS.fullmatch(address)
    if match is None or scheme.lower() not in _IMPLIED or not _PATH.issuperset(path):
        return None
    return scheme.lower(), match["host"], match["port"] or "", slash + path


def _address(text: str) -> tuple[str, str] | None:
    """The host and the port of `host:port`; None for any other string."""
    match = _ADDRESS.fullmatch(text)
    return (match["host"], match["port"]) if match and match["port"] else None


def _address_hint(value: Any) -> str:
    """The hint for an address that is nearly right: without a scheme and a path, with a port."""
    bare = re.sub(r"^[a-z][a-z0-9+.-]*://", "", value).partition("/")[0] if isinstance(value, str) else ""
    if bare != value and _address(bare):
        return f"write {bare}"
    return f"add the port: {bare}:PORT" if _address(f"{bare}:1") else "for example localhost:7233"


def _with_password(code: str, what: str) -> InvalidValueError:
    """The fault of an address with something before an `@`, which may be a password: the value is not shown."""
    message = f"{what} contains a user name or password"
    return InvalidValueError(code, message, "leave them out; put the key into api_key")


def _normal_host(host: str) -> str | None:
    """The normal form of a host; None for one that no resolver or HTTP client accepts."""
    host = host.lower()
    if host.startswith("["):
        return _normal_ipv6(host)
    host = host.removesuffix(".")
    labels = host.split(".")
    if len(host) > 253 or any(not 0 < len(label) < 64 for label in labels):
        return None
    if re.fullmatch(_NUMERIC, labels[-1], re.ASCII) and not re.fullmatch(_IPV4, host, re.ASCII):
        return None  # resolvers read `127.1` and `0x7f000001` as 127.0.0.1, HTTP clients do not
    return host


def _normal_ipv6(host: str) -> str | None:
    import ipaddress

    try:
        address = ipaddress.IPv6Address(host[1:-1])
    except ValueError:
        return None
    mapped = address.ipv4_mapped  # before 3.13 Python writes these in hexadecimal
    return f"[::ffff:{mapped}]" if mapped is not None else f"[{address.compressed}]"


def _punycode(url: str) -> str | None:
    """A URL with its non-ASCII host as punycode; None for any other string."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    if host.isascii() or not path.isascii():
        return None
    try:
        found = f"{scheme}://{host.encode('idna').decode('ascii')}{slash}{path}"
    except UnicodeError:
        return None
    return found if _parts(found) else None


@functools.lru_cache(maxsize=64)  # cached: each override needs the same few
def origin_of(url: str) -> str:
    """`scheme://host:port` of a URL in normal form, to which a credential is pinned."""
    parts = _parts(url)
    if parts is None:
        return url
    scheme, host, port, _ = parts
    return f"{scheme}://{_normal_host(host)}:{int(port or _IMPLIED[scheme])}"


def same_url(one: str | None, other: str | None) -> bool:
    """Whether two URLs have the same normal form."""
    if one is None or other is None or one == other:
        return one == other
    return origin_of(one) == origin_of(other) and _path(one) == _path(other)


def _path(url: str) -> str:
    parts = _parts(url)
    return parts[3].rstrip("/") if parts else url


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
    return (mapped or address).is_loopback  # ::ffff:127.0.0.1, which `ipaddress` recognises only from Python 3.13 on
