"""The environment's proxies and certificates for a model's HTTP client.

Connections to this machine ignore them. For others `HTTPS_PROXY`, `NO_PROXY`, `SSL_CERT_FILE` and similar variables
work as in other programs; a Problem names one that cannot be used.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import os
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

from ..core.problems import ConfigError, Problem, quoted
from ..core.provenance import Origin
from ..settings.urls import is_loopback

_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")


def client_options(library: str, url: str) -> dict[str, Any]:
    """The arguments `trust_env` and `verify` of an HTTP client for `url`.

    `library` is `httpx` or `httpx2`. Raises `ConfigError` for variables that keep a client from being built.
    """
    if is_loopback(url):
        return {"trust_env": False, "verify": _tls_context(library, "", "")}
    certificates = os.environ.get("SSL_CERT_FILE", ""), os.environ.get("SSL_CERT_DIR", "")
    problems = [*_certificate_problems(library, *certificates), *_proxy_problems(library)]
    if problems:
        raise ConfigError(problems)
    return {"trust_env": True, "verify": _tls_context(library, *certificates)}


@functools.cache
def _tls_context(library: str, file: str, folder: str) -> Any:
    """The certificates that a library trusts, cached because reading them takes longest."""
    return importlib.import_module(library).create_ssl_context(trust_env=bool(file or folder))


def _problem(code: str, variable: str, message: str, hint: str) -> Problem:
    return Problem(code=code, message=message, hint=hint, origin=Origin("env", variable))


def _certificate_problems(library: str, file: str, folder: str) -> Iterator[Problem]:
    if folder and not file and not any(map(os.path.isdir, folder.split(os.pathsep))):
        message = f"SSL_CERT_DIR names {quoted(folder, 200)}, which is not a folder"
        yield _problem("unreadable-file", "SSL_CERT_DIR", message, "fix its path, or unset SSL_CERT_DIR")
    if not file:
        return
    try:
        _tls_context(library, file, folder)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = getattr(error, "strerror", None) or type(error).__name__
        message = f"SSL_CERT_FILE names {quoted(file, 200)}, from which no certificates can be read: {reason}"
        yield _problem("unreadable-file", "SSL_CERT_FILE", message, "fix its path, or unset SSL_CERT_FILE")


def _proxy_problems(library: str) -> Iterator[Problem]:
    """The proxy variables that the library cannot use. A proxy's address may contain a password."""
    proxies = urllib.request.getproxies()
    faulty = False
    for scheme in ("http", "https", "all"):
        address = proxies.get(scheme)
        variable = next((name for name in (f"{scheme}_proxy", f"{scheme.upper()}_PROXY") if os.environ.get(name)), None)
        fault = _proxy_fault(library, address, variable) if address and variable else None
        if fault is not None:
            faulty = True
            yield fault
    if not faulty and proxies.get("no") and not _takes_no_proxy(library):
        variable = "no_proxy" if os.environ.get("no_proxy") else "NO_PROXY"
        message = f"{variable} is {quoted(proxies['no'], 200)}, which the client cannot read"
        hint = f"write host names and addresses without brackets, ::1 for [::1], or unset {variable}"
        yield _problem("invalid-url", variable, message, hint)


def _proxy_fault(library: str, address: str, variable: str) -> Problem | None:
    scheme = address.partition("://")[0].lower() if "://" in address else "http"
    if scheme not in _PROXY_SCHEMES:
        message = f"{variable} names a proxy of an unknown kind ({quoted(scheme, 40)})"
        return _problem("invalid-url", variable, message, f"write http://HOST:PORT, or unset {variable}")
    if scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        message = f"{variable} names a SOCKS proxy, and the package it needs is not installed"
        hint = f"pip install socksio, or name an http:// proxy, or unset {variable}"
        return _problem("invalid-url", variable, message, hint)
    try:
        importlib.import_module(library).Proxy(address if "://" in address else f"http://{address}")
    except Exception:  # noqa: BLE001 - each library has exceptions of its own for an address that it cannot read
        message = f"{variable} is not the address of a proxy"
        return _problem("invalid-url", variable, message, f"write http://HOST:PORT, or unset {variable}")
    return None


def _takes_no_proxy(library: str) -> bool:
    """Whether a client can be built with the hosts in NO_PROXY. Call it once the proxies are known to be valid."""
    try:
        importlib.import_module(library).Client(verify=_tls_context(library, "", "")).close()
    except Exception:  # noqa: BLE001 - as above
        return False
    return True


@contextlib.contextmanager
def clients_without_environment() -> Iterator[None]:
    """In this block, and only in this thread, an httpx client by default takes nothing from the environment.

    `import ollama` builds an unused client, and would fail at a proxy or a certificate file that it cannot use.
    """
    try:
        import httpx
    except ImportError:  # then ollama is not installed, either
        yield
        return
    thread = threading.get_ident()

    def build_without(self: httpx.Client, *arguments: Any, **options: Any) -> None:
        if threading.get_ident() == thread:
            options.setdefault("trust_env", False)
        build(self, *arguments, **options)

    with _importing:
        build = httpx.Client.__init__
        httpx.Client.__init__ = build_without  # type: ignore[method-assign]
        host = os.environ.pop("OLLAMA_HOST", None)  # only that client reads it: the configuration has its own settings
        try:
            yield
        finally:
            httpx.Client.__init__ = build  # type: ignore[method-assign]
            if host is not None:
                os.environ["OLLAMA_HOST"] = host


_importing = threading.Lock()
