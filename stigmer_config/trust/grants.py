"""A user's grants to a project: its settings, by their digest, and which credentials may be sent to which endpoints.

Records are outside any project, one file for each project's real path, in platformdirs' state folder. A grant covers
the entries in its digest: every protected key, and every provider, model and alias entry that names a provider. Editing
one of these ends the grant, editing other keys does not. All other entries are vetted as in an untrusted project.
"""

from __future__ import annotations

import datetime
import functools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from ..core.decoding import from_json
from ..core.environment import Environment
from ..core.problems import Problem
from ..core.provenance import Entry, Layer, Origin, alias_targets, plain_value
from ..files.paths import real_path
from ..llm.catalogue import catalogue
from ..llm.declared_providers import model_strings
from ..llm.model_strings import ModelNames, is_ollama_cloud
from ..llm.provider_selection import CredentialGrant
from ..settings.declarations import find
from ..settings.packaged_providers import is_router, packaged_providers
from ..settings.request_fields import OPEN_PARAMETERS
from .records import FOLDER, UntrustworthyError, folder_of, move_record, read_record, remove_record, write_record

VERSION = 1
_ROUTERS = frozenset(filter(is_router, packaged_providers()))
_NAMING = ("llm.", "providers.")  # the sections, besides the aliases, whose entries may name a provider


class Grant(msgspec.Struct, frozen=True):
    """A record: the project's real path, the digest, when it was granted, and the credentials.

    Records of earlier versions have (source, endpoint) pairs in `credentials`, which grant nothing.
    """

    project: str
    digest: str
    granted: datetime.datetime
    credentials: tuple[tuple[str, ...], ...] = ()

    @property
    def credential_grants(self) -> tuple[CredentialGrant, ...]:
        """The credentials that may be sent to the project's endpoints."""
        size = len(CredentialGrant._fields)
        return tuple(CredentialGrant(*row) for row in self.credentials if len(row) == size)


class Trust(msgspec.Struct, frozen=True):
    """The keys and credentials that are granted to the current content of a project's file.

    `problems` say why an existing record grants nothing.
    """

    covered: frozenset[str] = frozenset()
    credentials: frozenset[CredentialGrant] = frozenset()
    problems: tuple[Problem, ...] = ()


NONE = Trust()


@functools.lru_cache(maxsize=2)  # cached: a worker needs it at each reload, usually for the same file
def covered(project: Layer) -> Mapping[str, Any]:
    """The entries that need a grant, by key, as plain values. Only the file decides."""
    own = {key: entry for key, entry in project.entries.items() if key.startswith("aliases.")}
    names = ModelNames(own, catalogue())
    found = {key: _granted(key, entry) for key, entry in project.entries.items() if _needs_grant(key, entry, names)}
    # Unchecked: whether their application is registered here must not affect the grant.
    found |= {key: entry.value for key, entry in (project.apps or {}).items()}
    return MappingProxyType(dict(sorted(found.items())))


def covers(project: Layer, entries: Mapping[str, Any]) -> frozenset[str]:
    """The keys that a grant of these entries allows."""
    return frozenset((*entries, *(key for key in project.entries if key.startswith("apps."))))


def _needs_grant(key: str, entry: Entry, names: ModelNames) -> bool:
    if key.startswith("apps."):
        return False
    setting = find(key)
    if setting is None or setting.access != "open":
        return setting is not None and setting.access == "protected"
    if key.endswith(".parameters"):
        return entry.value is None or not OPEN_PARAMETERS.issuperset(entry.value)
    if key.startswith("aliases."):
        is_model = names.catalogue.find(key.removeprefix("aliases.")) is not None
        return (
            is_model or not _ROUTERS.isdisjoint(alias_targets(entry) or ()) or _strings_name_provider(key, entry, names)
        )
    return key == "llm.provider" or (key.startswith(_NAMING) and _strings_name_provider(key, entry, names))


def _granted(key: str, entry: Entry) -> Any:
    """The part of an entry that needs a grant."""
    value = plain_value(entry)
    if key.endswith(".parameters") and type(value) is dict:
        return {name: part for name, part in value.items() if name not in OPEN_PARAMETERS}
    return value


def _strings_name_provider(key: str, entry: Entry, names: ModelNames) -> bool:
    return any(_names_provider(target.value, names) for _, target in model_strings(key, entry))


def _names_provider(text: str, names: ModelNames) -> bool:
    if "/" in text:  # on a router such a name is another company's model
        return True
    name = names.expand(text, None).name
    return name is not None and (names.named_by(text, gateway=False) is not None or is_ollama_cloud(name))


def digest(entries: Mapping[str, Any]) -> str:
    """The SHA-256, in hex, of canonical JSON: version, and sorted (key, value), nulls present."""
    text = msgspec.json.encode([VERSION, sorted(entries.items())], enc_hook=dict, order="deterministic")
    return _sha256(text)


def _sha256(data: bytes) -> str:
    import hashlib  # imported late: it loads OpenSSL, and most project files need no grant

    return hashlib.sha256(data).hexdigest()


def path_of(environment: Environment, project_file: str) -> Path:
    """The path of the record for a project's file. Raises `FileNotFoundError` without a state folder."""
    return folder_of(environment) / _name(project_file)


def _name(project_file: str, *, pending: bool = False) -> str:
    digest_of_path = _sha256(os.fsencode(real_path(project_file)))[:32]
    return f"{digest_of_path}{'.pending' if pending else ''}.json"


def recorded_grant(environment: Environment, project_file: str) -> tuple[str, Grant | None]:
    """The path of the record for a project's file, and its grant: None when there is none, or it is not trustworthy.

    The path is "" without a state folder.
    """
    name = _name(project_file)
    path = os.path.join(environment.state_dir, FOLDER, name) if environment.state_dir is not None else ""
    return path, _read(environment, project_file, [], name)


def _read(environment: Environment, project_file: str, problems: list[Problem], name: str) -> Grant | None:
    try:
        data = read_record(environment, name)
        grant = from_json(data, Grant) if data is not None else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    except (OSError, UntrustworthyError) as error:
        problems.append(_not_believed(str(folder_of(environment) / name), error))
        return None
    return grant if grant is not None and grant.project == _as_text(project_file) else None


def _not_believed(path: str, error: OSError | UntrustworthyError) -> Problem:
    """The warning about a record that is ignored: its entries count as not granted."""
    why, hint = f"it cannot be read: {getattr(error, 'strerror', None) or error}", "stigmer config trust"
    if isinstance(error, UntrustworthyError):
        why, hint = str(error), f"{error.hint}, then review the project again: stigmer config trust"
    return Problem(
        severity="warning",
        code="insecure-permissions",
        message=f"what was granted to this project does not count: {why}",
        hint=hint,
        origin=Origin("project", path),
    )


def decide(environment: Environment, project: Layer | None) -> Trust:
    """The current grants of a project's file: by the record, or by `STIGMER_TRUST_PROJECT` (without credentials)."""
    entries = covered(project) if project is not None and project.entries else {}
    if project is None or not entries:
        return NONE
    now = digest(entries)
    problems: list[Problem] = []
    for pending in (False, True):
        grant = _read(environment, project.source, problems, _name(project.source, pending=pending))
        if grant is not None and grant.digest == now:
            return Trust(covers(project, entries), frozenset(grant.credential_grants))
    if environment.variable("STIGMER_TRUST_PROJECT") == now:
        return Trust(covers(project, entries))
    return Trust(problems=tuple({problem.message: problem for problem in problems}.values()))


def record(environment: Environment, project: Layer, credentials: Iterable[CredentialGrant] = ()) -> Path:
    """Records a grant for the content of a project's file. Returns the record's path.

    Raises `OSError` and `SaveError`.
    """
    prepare(environment, project, credentials)
    confirm(environment, project.source)
    return path_of(environment, project.source)


def prepare(environment: Environment, project: Layer, credentials: Iterable[CredentialGrant] = ()) -> None:
    """Records a second grant besides the existing one: both count until `confirm` or `withdraw`.

    A file that is replaced between the two calls is trusted before and after, even if this process is killed.
    Raises `OSError` and `SaveError`.
    """
    grant = Grant(
        project=_as_text(project.source),
        digest=digest(covered(project)),
        granted=datetime.datetime.now(datetime.UTC),
        credentials=tuple(sorted(credentials)),
    )
    write_record(environment, _name(project.source, pending=True), msgspec.json.encode(grant))


def confirm(environment: Environment, project_file: str) -> None:
    """Replaces the record by the prepared one. Raises `OSError`."""
    move_record(environment, _name(project_file, pending=True), _name(project_file))


def withdraw(environment: Environment, project_file: str) -> None:
    """Removes the prepared record. Raises `OSError`."""
    remove_record(environment, _name(project_file, pending=True))


def revoke(environment: Environment, project_file: str) -> bool:
    """Removes the record. Returns whether there was one. Raises `OSError`."""
    withdraw(environment, project_file)
    return remove_record(environment, _name(project_file))


def _as_text(project_file: str) -> str:
    """A project's real path for a record: JSON cannot contain bytes that are not UTF-8."""
    return os.fsencode(real_path(project_file)).decode("utf-8", "backslashreplace")
