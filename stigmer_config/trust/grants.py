"""What a user has granted a project: which settings, by their digest, and which credentials may go where.

The record is outside any project, one file for each project's real path, in platformdirs' state folder.
A grant covers what its digest covers: every protected key, and every provider, model and alias entry that
names a provider. Editing other keys keeps it, editing one of these ends it. What it does not cover is judged as in an
untrusted project.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import functools
import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from ..core.decoding import from_json
from ..core.environment import Environment
from ..core.provenance import Entry, Layer, plain_value, targets
from ..files.paths import real_path
from ..llm.catalogue import catalogue
from ..llm.model_strings import ModelNames, is_ollama_cloud
from ..llm.provider_selection import CredentialGrant
from ..llm.providers import model_strings
from ..settings.declarations import find
from ..settings.providers import is_router, packaged_providers
from ..settings.request_fields import OPEN_PARAMETERS

VERSION = 1
_ROUTERS = frozenset(filter(is_router, packaged_providers()))


class Grant(msgspec.Struct, frozen=True):
    """One record: the project's real path, the digest, when it was granted, and the credentials.

    Records of earlier versions have (source, endpoint) pairs in `credentials`: these grant nothing.
    """

    project: str
    digest: str
    granted: datetime.datetime
    credentials: tuple[tuple[str, ...], ...] = ()

    @property
    def credential_grants(self) -> tuple[CredentialGrant, ...]:
        """The credentials that may go to the project's endpoints."""
        size = len(CredentialGrant._fields)
        return tuple(CredentialGrant(*row) for row in self.credentials if len(row) == size)


class Trust(msgspec.Struct, frozen=True):
    """What is granted to a project's file as it is now: keys, and credentials."""

    covered: frozenset[str] = frozenset()
    credentials: frozenset[CredentialGrant] = frozenset()


NONE = Trust()


@functools.lru_cache(maxsize=2)  # a worker asks at each reload, most often for the file that it asked for last
def covered(project: Layer) -> Mapping[str, Any]:
    """The entries that need a grant, by key, as plain values: decided by the file alone."""
    own = {key: entry for key, entry in project.entries.items() if key.startswith("aliases.")}
    names = ModelNames(own, catalogue())
    rows = sorted(project.entries.items())
    return MappingProxyType({key: _granted(key, entry) for key, entry in rows if _needs_grant(key, entry, names)})


def _needs_grant(key: str, entry: Entry, names: ModelNames) -> bool:
    setting = find(key)
    if setting is None or setting.access != "open":
        return setting is not None and setting.access == "protected"
    if key.endswith(".parameters"):
        return entry.value is None or not OPEN_PARAMETERS.issuperset(entry.value)
    if key.startswith("aliases."):
        is_model = names.catalogue.find(key.removeprefix("aliases.")) is not None
        return is_model or not _ROUTERS.isdisjoint(targets(entry) or ()) or _strings_name_provider(key, entry, names)
    return key == "llm.provider" or _strings_name_provider(key, entry, names)


def _granted(key: str, entry: Entry) -> Any:
    """What of an entry needs a grant."""
    value = plain_value(entry)
    if key.endswith(".parameters") and type(value) is dict:
        return {name: part for name, part in value.items() if name not in OPEN_PARAMETERS}
    return value


def _strings_name_provider(key: str, entry: Entry, names: ModelNames) -> bool:
    return any(_names_provider(target.value, names) for _, target in model_strings(key, entry))


def _names_provider(text: str, names: ModelNames) -> bool:
    if "/" in text:  # behind a router such a name is another company's model
        return True
    name = names.expand(text, None).name
    return name is not None and (names.named_by(text, gateway=False) is not None or is_ollama_cloud(name))


def digest(entries: Mapping[str, Any]) -> str:
    """The SHA-256, in hex, of canonical JSON: version, and sorted (key, value), nulls present."""
    text = msgspec.json.encode([VERSION, sorted(entries.items())], enc_hook=dict, order="deterministic")
    return hashlib.sha256(text).hexdigest()


def path_of(environment: Environment, project_file: str) -> Path:
    """Where the record of a project's file is kept. Raises `FileNotFoundError` without a state folder."""
    if environment.state_dir is None:
        raise FileNotFoundError(errno.ENOENT, "there is no home, and so no folder for what you trust")
    name = hashlib.sha256(os.fsencode(real_path(project_file))).hexdigest()[:32]
    return environment.state_dir / "trust" / f"{name}.json"


def recorded(environment: Environment, project_file: str) -> Grant | None:
    """The record of a project's file, or None."""
    try:
        grant = from_json(path_of(environment, project_file).read_bytes(), Grant)
    except (OSError, msgspec.MsgspecError):
        return None
    return grant if grant.project == real_path(project_file) else None


def decide(environment: Environment, project: Layer | None) -> Trust:
    """What counts of a project's file now: by the record, or by `STIGMER_TRUST_PROJECT` (no credentials)."""
    entries = covered(project) if project is not None and project.entries else {}
    if project is None or not entries:
        return NONE
    now = digest(entries)
    grant = recorded(environment, project.source)
    if grant is not None and grant.digest == now:
        return Trust(frozenset(entries), frozenset(grant.credential_grants))
    if environment.variable("STIGMER_TRUST_PROJECT") == now:
        return Trust(frozenset(entries))
    return NONE


def record(environment: Environment, project: Layer, credentials: Iterable[CredentialGrant] = ()) -> Path:
    """Records a grant for a project's file as it was read. Returns the record's path. Raises `OSError`."""
    grant = Grant(
        project=real_path(project.source),
        digest=digest(covered(project)),
        granted=datetime.datetime.now(datetime.UTC),
        credentials=tuple(sorted(credentials)),
    )
    path = path_of(environment, project.source)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    import tempfile  # `show` reads grants and writes none

    descriptor, new = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(grant))
            file.flush()
            os.fsync(file.fileno())
        Path(new).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(new).unlink()
        raise
    return path


def revoke(environment: Environment, project_file: str) -> bool:
    """Removes the record. Whether there was one. Raises `OSError`."""
    try:
        path_of(environment, project_file).unlink()
    except FileNotFoundError:
        return False
    return True
