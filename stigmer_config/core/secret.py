"""`Secret`: a credential that is masked unless `reveal()` is called."""

from __future__ import annotations

import os
import re
import weakref
from typing import Any, NoReturn

MASK = "********"

# Random in each process and never written anywhere: digests made with it mean nothing outside the process.
_PROCESS_KEY = os.urandom(32)
# Every live Secret, by identity: the log processor searches for their values.
_alive: weakref.WeakValueDictionary[int, Secret] = weakref.WeakValueDictionary()


# The password of an address: `scheme://user:password@host`.
_USERINFO = r"(?<=://)([^/?#\s@:]*):([^/?#\s@]+)@"


def without_password(text: str) -> str:
    """`text` with the password in each address masked."""
    return re.sub(_USERINFO, rf"\1:{MASK}@", text) if "@" in text else text


def password_in(text: str) -> str | None:
    """The password in an address."""
    found = re.search(_USERINFO, text) if "@" in text else None
    return found.group(2) if found is not None else None


def registered() -> set[str]:
    """The values of all live Secrets of this process, for removing them from logs."""
    alive = (reference() for reference in _alive.valuerefs())  # a copy: other threads create Secrets meanwhile
    return {secret.reveal() for secret in alive if type(secret) is Secret}  # one that was not read has no value


class Secret:
    """A secret string. `repr`, `str` and `format` give a mask; only `reveal()` returns the string.

    Equal secrets compare equal (in constant time) and have equal hashes, so a client cached by `config.llm` follows
    a rotated key. Pickling and JSON encoding raise `TypeError`.

    Raises `TypeError` when `value` is not a `str`.
    """

    __slots__ = ("__weakref__", "_digest", "_value")

    def __init__(self, value: str) -> None:
        if not isinstance(value, str):
            raise TypeError("a Secret holds a str")
        object.__setattr__(self, "_value", value)
        _alive[id(self)] = self

    _value: str
    _digest: bytes

    def reveal(self) -> str:
        """The secret itself, as `str`. Keep it out of logs, messages and command lines."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret('{MASK}')"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        import hmac  # imported late: it loads OpenSSL, and most commands compare no secrets

        return hmac.compare_digest(self._keyed_digest(), other._keyed_digest())

    def __hash__(self) -> int:
        return hash(self._keyed_digest())

    def _keyed_digest(self) -> bytes:
        """The value's digest, made on first need: most secrets of a load are never compared."""
        try:
            return self._digest
        except AttributeError:
            import hmac

            digest = hmac.digest(_PROCESS_KEY, self._value.encode("utf-8", "surrogatepass"), "sha256")
            object.__setattr__(self, "_digest", digest)
            return digest

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Secret is immutable")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a Secret is immutable")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled: call load() in the other process instead")


class Masked(Secret):
    """A string that is masked like a secret but is not a credential: logs are not searched for it."""

    __slots__ = ()
