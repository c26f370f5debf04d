"""What a project file may not do. It arrives with a clone and may be hostile.

Vetting takes out of the project layer whatever its key class, a lock or the provider rules refuse, so that
with an untrusted project the provider, the credential and the endpoint are those without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from .catalogue import Catalogue
from .merge import merge, targets
from .model_names import ModelNames, is_ollama_cloud
from .problems import Problem, quoted
from .provenance import Entry, Layer, Reason, Refused
from .providers import Walk
from .secret import MASK, Secret
from .settings import MODEL_FIELDS, PROVIDERS, find

_TRUST_HINT = "if you trust this project, review it with: stigmer config trust"
# What decides which model answers, and where.
_STEERING = ("llm.", "providers.", "aliases.")


class _Vetting:
    """One vetting of one project layer against the trusted layers, lowest first."""

    def __init__(self, project: Layer, layers: list[Layer], catalogue: Catalogue) -> None:
        self.project = project
        self.entries = dict(project.entries)
        self.refused: dict[str, Refused] = {}
        self.problems: list[Problem] = []
        self.layers = layers
        self.trusted = [layer for layer in layers if layer.name != "project"]
        self.catalogue = catalogue
        self.winners = merge(self.trusted)
        self.baseline = Walk(ModelNames(self.winners, catalogue), self.trusted)

    def vet(self) -> tuple[Layer, list[Problem]]:
        self._forbidden()
        self._locked()
        self._protected()
        self._aliases()
        self._provider()
        self._model()
        self._providers_own_models()
        self._locked_in_effect()
        status: Any = self.project.status
        if any(problem.code == "untrusted-key" for problem in self.problems):
            status = "untrusted"
        elif self.problems:
            status = "error"
        why = self.project.why or (self.problems[0].message if self.problems else "")
        layer = msgspec.structs.replace(
            self.project, entries=self.entries, refused=self.refused, status=status, why=why
        )
        return layer, self.problems

    def _refuse(self, key: str, code: str, message: str, hint: str, reason: Reason | None) -> None:
        entry = self.entries.pop(key)
        if reason is not None:
            self.refused[key] = Refused(entry, reason)
        self.problems.append(Problem(code=code, key=key, message=message, hint=hint, origin=entry.origin))

    def _forbidden(self) -> None:
        for key in list(self.entries):
            setting = find(key)
            if setting is None or setting.access in ("open", "protected"):
                continue
            if setting.access == "secret":
                message = f"a project's file may not hold {key}: it would be committed"
                hint = f"move it to ~/.stigmer/config.yaml, and if it was committed, replace it at {_issuer(key)}"
                self._refuse(key, "secret-in-project", message, hint, None)
            else:
                message = f"no project may set {key}, trusted or not"
                self._refuse(key, "forbidden-in-project", message, "move it to ~/.stigmer/config.yaml", None)

    def _locked(self) -> None:
        for key in list(self.entries):
            lock = next((lock for lock in self._locks if key == lock or key.startswith(f"{lock}.")), None)
            if lock is not None:
                self._refuse_locked(key, lock)

    @property
    def _locks(self) -> tuple[str, ...]:
        entry = self.winners.get("locked")
        return entry.value if entry is not None else ()

    def _refuse_locked(self, key: str, lock: str) -> None:
        origin = self.winners["locked"].origin
        message = f"it is locked ({origin})"
        if lock != key:
            message = f"{lock} is locked ({origin}), and {key} would change it"
        self._refuse(key, "locked-key", message, "remove the line from the project's file", "locked")

    def _protected(self) -> None:
        for key in list(self.entries):
            setting = find(key)
            if setting is not None and setting.access == "protected":
                self._untrusted(key, self._current(key))

    def _current(self, key: str) -> tuple[Any, object]:
        """A key's value and place without the project."""
        entry = self.winners.get(key)
        section, _, field = key.partition(".")
        if section == "llm" and field == "provider":
            named_by = self.baseline.named_by
            return self.baseline.provider, named_by.origin if named_by else "packaged"
        if section == "llm":
            entry = self.baseline.chosen[self.baseline.provider].get(field)
        return (_shown(entry), entry.origin) if entry is not None else ("none", "not set")

    def _untrusted(self, key: str, current: tuple[Any, object]) -> None:
        entry = self.entries[key]
        place = f"{entry.origin.source}:{entry.origin.line}"
        message = f"{key}: {quoted(current[0])} ({current[1]}) → {quoted(_shown(entry))} ({place})"
        self._refuse(key, "untrusted-key", f"an untrusted project may not set it: {message}", _TRUST_HINT, "untrusted")

    def _names(self) -> ModelNames:
        """All aliases as they are with what is left of the project."""
        project = msgspec.structs.replace(self.project, entries=self.entries)
        layers = [project if layer.name == "project" else layer for layer in self.layers]
        return ModelNames(merge(layers), self.catalogue)

    def _walk(self) -> Walk:
        project = msgspec.structs.replace(self.project, entries=self.entries)
        layers = [project if layer.name == "project" else layer for layer in self.layers]
        return Walk(self._names(), layers)

    def _aliases(self) -> None:
        mine = [key for key in self.entries if key.startswith("aliases.")]
        if not mine:
            return
        names = self._names()
        for key in mine:
            name = key.removeprefix("aliases.")
            if self.catalogue.find(name) is not None or self._leads_away(names, name, self.entries[key]):
                self._untrusted(key, self._current(key))

    def _leads_away(self, names: ModelNames, name: str, entry: Entry) -> bool:
        """Whether an alias ends at another provider than the trusted layers do, or at Ollama's cloud."""
        home = self.baseline.provider
        by_provider = targets(entry)
        if by_provider is not None:
            ends = {provider: names.follow(target.value, provider) for provider, target in by_provider.items()}
            return any(
                end.name is not None and (end.prefix or provider) == "ollama" and is_ollama_cloud(end.name)
                for provider, end in ends.items()
            )
        gateway = self.baseline.is_gateway(home, self.baseline.chosen[home].get("base_url"))
        named = names.named_by(name, gateway=gateway)
        if named not in (None, home):
            return True
        for provider in PROVIDERS:
            end = names.follow(name, provider)
            if end.name is not None and is_ollama_cloud(end.name) and "ollama" in (end.prefix, home, provider):
                return True
        return False

    def _provider(self) -> None:
        if "llm.provider" not in self.entries:
            return
        if self._walk().final_with_project == self.baseline.provider:
            return
        self._untrusted("llm.provider", self._current("llm.provider"))
        model = self.entries.pop("llm.model", None)
        if model is not None:  # it was meant for the refused provider
            self.refused["llm.model"] = Refused(model, "untrusted")

    def _model(self) -> None:
        entry = self.entries.get("llm.model")
        if entry is None:
            return
        walk = self._walk()
        if walk.final_with_project != self.baseline.provider or self._is_cloud(walk, entry, _own_provider(walk)):
            self._untrusted("llm.model", self._current("llm.model"))

    def _providers_own_models(self) -> None:
        """A provider's own model is a model too: the same rule against Ollama's cloud."""
        entry = self.entries.get("providers.ollama.model")
        if entry is not None and self._is_cloud(self._walk(), entry, "ollama"):
            self._untrusted("providers.ollama.model", self._current("providers.ollama.model"))

    def _is_cloud(self, walk: Walk, entry: Entry, provider: str) -> bool:
        end = walk.names.follow(entry.value, provider)
        return provider == "ollama" and end.name is not None and is_ollama_cloud(end.name)

    def _locked_in_effect(self) -> None:
        """A locked `llm` key keeps its effective value, whichever way the project tries to change it.

        Entries are let in one by one, and one that changes a locked value stays out.
        """
        watched = [field for field in ("provider", *MODEL_FIELDS) if self._is_locked(f"llm.{field}")]
        steering = [key for key in self.entries if key.startswith(_STEERING)]
        if not watched or not steering:
            return
        before = _in_effect(self.baseline, watched)
        waiting = {key: self.entries.pop(key) for key in steering}
        for key, entry in waiting.items():
            self.entries[key] = entry
            after = _in_effect(self._walk(), watched)
            changed = next((field for field in watched if after[field] != before[field]), None)
            if changed is not None:
                self._refuse_locked(key, f"llm.{changed}")

    def _is_locked(self, key: str) -> bool:
        return any(key == lock or key.startswith(f"{lock}.") for lock in self._locks)


def _in_effect(walk: Walk, fields: list[str]) -> dict[str, Any]:
    """The effective values of some `llm` fields; the model with what it stands for."""
    provider = walk.final_with_project
    values: dict[str, Any] = {}
    for field in fields:
        entry = walk.chosen[provider].get(field)
        values[field] = provider if field == "provider" else entry.value if entry is not None else None
        if field == "model" and entry is not None:
            end = walk.names.follow(entry.value, provider)
            values[field] = (provider, entry.value, end.name, end.prefix)
    return values


def _own_provider(walk: Walk) -> str:
    """The provider in force at the project's own layer."""
    return next(o for layer, o in zip(walk.layers, walk.owners, strict=True) if layer.name == "project")


def _issuer(key: str) -> str:
    return "its provider" if key.startswith(("llm.", "providers.")) else "whoever issued it"


def _shown(entry: Entry) -> Any:
    """An entry's value as a message shows it."""
    if isinstance(entry.value, Secret):
        return MASK
    by_provider: Mapping[str, Entry] | None = targets(entry)
    if by_provider is not None:
        return ", ".join(f"{provider}: {target.value}" for provider, target in by_provider.items())
    return entry.value


def vet(layers: list[Layer], catalogue: Catalogue) -> tuple[list[Layer], list[Problem]]:
    """The layers with the project's one vetted, and what was refused in it. Untrusted projects only."""
    project = next((layer for layer in layers if layer.name == "project" and layer.entries), None)
    if project is None:
        return layers, []
    vetted, problems = _Vetting(project, layers, catalogue).vet()
    return [vetted if layer is project else layer for layer in layers], problems
