"""What a project file may not do. It arrives with a clone and may be hostile.

Vetting takes out of the project layer whatever its key class, a lock or the provider rules refuse, so that
with an untrusted project the provider, the credential and the endpoint are those without it. What the user
has granted counts; secrets, the mode and locks stand above every grant.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from ..core.merge import merge
from ..core.problems import Problem, worded
from ..core.provenance import Entry, Layer, Reason, Refused, items, targets, value_of
from ..core.secret import MASK, Secret
from ..llm.catalogue import Catalogue
from ..llm.model_strings import ModelNames, is_ollama_cloud
from ..llm.provider_selection import Walk
from ..llm.providers import provider_of
from ..settings.declarations import find
from ..settings.providers import PROVIDERS, is_router
from ..settings.request_fields import OPEN_PARAMETERS
from .grants import NONE, Trust
from .locked_keys import Locks, in_effect


class Terms(NamedTuple):
    """What a message calls the layer that is vetted, and its remedies."""

    who: str
    remedy: str
    removal: str


_PROJECT = Terms(
    "an untrusted project",
    "if you trust this project, review it with: stigmer config trust",
    "remove the line from the project's file",
)
# What decides which model answers, and where.
_STEERING = ("llm.", "providers.", "aliases.")


class _NoValue:
    """Stands for a value that no layer may give the key: it is not shown."""

    def __str__(self) -> str:
        return "no valid value"


_NO_VALUE = _NoValue()


class Vetting:
    """One vetting of one project layer against the trusted layers, lowest first.

    A fleet's store that may be forged is vetted as a project, too, and `terms` say so.
    """

    def __init__(
        self,
        project: Layer,
        layers: list[Layer],
        catalogue: Catalogue,
        today: datetime.date,
        trust: Trust = NONE,
        terms: Terms = _PROJECT,
    ) -> None:
        self.project = project
        self.terms = terms
        self.today = today
        self.granted = trust.covered
        self.credentials = trust.credentials
        self.entries = dict(project.entries)
        self.refused: dict[str, Refused] = {}
        self.problems: list[Problem] = []
        self.layers = layers
        self.trusted = [layer for layer in layers if layer.name != "project"]
        self.catalogue = catalogue
        self.locks = Locks(self.trusted)
        self.baseline = Walk(ModelNames.of(self.trusted, catalogue), self.trusted)
        # The provider that what is not granted must not change.
        self.home = self.baseline.provider
        self._known_names: tuple[frozenset[str], ModelNames] = (frozenset(), self.baseline.names)

    def vet(self) -> tuple[Layer, list[Problem]]:
        # Presence counts: a value that no layer may have is an attempt like any other.
        self.entries |= {key: Entry(_NO_VALUE, origin) for key, origin in self.project.faulty.items()}
        self._forbidden()
        self._locked()
        self._protected()
        self.entries = {key: entry for key, entry in self.entries.items() if key not in self.project.faulty}
        self.home = self._final(self._walk(self.granted)) if self.granted else self.home
        self._parameters()
        self._aliases()
        self._provider()
        self._model()
        self._fallbacks()
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
        if reason is not None and key not in self.project.faulty:
            self.refused[key] = Refused(entry, reason)
        self.problems.append(Problem(code=code, key=key, message=message, hint=hint, origin=entry.origin))
        if key == "llm.provider" and reason is not None and "llm.model" in self.entries:
            # It was meant for the refused provider.
            self.refused["llm.model"] = Refused(self.entries.pop("llm.model"), reason)

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
        for key in sorted(self.entries):  # llm.model before llm.provider, with which it falls
            lock = self.locks.on(key)
            if lock is not None:
                self._refuse_locked(key, lock)

    def _refuse_locked(self, key: str, lock: str) -> None:
        message = f"it is locked ({self.locks.origin})"
        if lock != key:
            message = f"{lock} is locked ({self.locks.origin}), and {key} would change it"
        self._refuse(key, "locked-key", message, self.terms.removal, "locked")

    def _protected(self) -> None:
        for key in list(self.entries):
            setting = find(key)
            if setting is None or setting.access != "protected" or key in self.granted:
                continue
            if key not in self.project.faulty:
                self._untrusted(key, self._current(key))
            elif not self.granted:  # nothing to grant before it is mended
                self._untrusted(key, self._current(key), f"mend or remove it; {self.terms.remedy}")

    def _parameters(self) -> None:
        """Of a mapping of parameters a project may set some, and none away."""
        for key in [key for key in self.entries if key.endswith(".parameters") and key not in self.granted]:
            entry = self.entries[key]
            parts = entry.value if type(entry.value) is dict else {}
            kept = {name: part for name, part in parts.items() if name in OPEN_PARAMETERS}
            lost = {name: part for name, part in parts.items() if name not in OPEN_PARAMETERS}
            if lost or entry.value is None:
                origin = next(iter(lost.values())).origin if lost else entry.origin
                self.entries[key] = Entry(lost or None, origin)
                self._untrusted(key, self._current(key))
                if kept:
                    self.entries[key] = Entry(kept, entry.origin)

    def _current(self, key: str) -> tuple[Any, object]:
        """A key's value and place without the project."""
        entry = merge(self.trusted, key).get(key)
        section, _, field = key.partition(".")
        if section == "llm" and field == "provider":
            named_by = self.baseline.named_by
            return self.baseline.provider, named_by.origin if named_by else "packaged"
        if section == "llm":
            entry = self.baseline.of(self.baseline.provider).get(field)
        return (_shown(entry), entry.origin) if entry is not None else ("none", "not set")

    def _untrusted(self, key: str, current: tuple[Any, object], remedy: str = "") -> None:
        entry = self.entries[key]
        place = f"{entry.origin.source}:{entry.origin.line}" if entry.origin.line else entry.origin.source
        message = f"{key}: {worded(current[0])} ({current[1]}) → {worded(_shown(entry))} ({place})"
        message = f"{self.terms.who} may not set it: {message}"
        self._refuse(key, "untrusted-key", message, remedy or self.terms.remedy, "untrusted")

    def _names(self) -> ModelNames:
        """All aliases as they are with what is left of the project."""
        mine = frozenset(key for key in self.entries if key.startswith(("aliases.", "providers.")))
        if mine != self._known_names[0]:
            project = msgspec.structs.replace(self.project, entries=self.entries)
            layers = [project if layer.name == "project" else layer for layer in self.layers]
            self._known_names = mine, ModelNames.of(layers, self.catalogue)
        return self._known_names[1]

    def _walk(self, only: frozenset[str] | None = None) -> Walk:
        """The walk with what is left of the project, or with some of its entries."""
        entries = {key: entry for key, entry in self.entries.items() if only is None or key in only}
        project = msgspec.structs.replace(self.project, entries=entries)
        layers = [project if layer.name == "project" else layer for layer in self.layers]
        baseline = self.baseline if self.granted else None
        trusted_names = self.baseline.trusted_names or self.baseline.names
        return Walk(self._names(), layers, baseline, self.credentials, trusted_names=trusted_names)

    def _final(self, walk: Walk) -> str:
        """The provider that a walk ends with, the project's word included."""
        return walk.provider if self.granted else walk.final_with_project

    def _aliases(self) -> None:
        mine = [key for key in self.entries if key.startswith("aliases.") and key not in self.granted]
        refused = [key for key in mine if self.catalogue.find(key.removeprefix("aliases.")) is not None]
        while mine:
            for key in refused:
                self._untrusted(key, self._current(key))
                mine.remove(key)
            names = self._names()  # without a refused one, another may end elsewhere
            refused = [key for key in mine if self._leads_away(names, self.entries[key])]
            if not refused:
                return

    def _leads_away(self, names: ModelNames, entry: Entry) -> bool:
        """Whether an alias's target ends at another provider than the trusted layers do, or at Ollama's cloud."""
        by_provider = targets(entry)
        if by_provider is None:
            gateway = self.baseline.is_gateway(self.home, self.baseline.of(self.home).get("base_url"))
            if names.named_by(entry.value, gateway=gateway) not in (None, self.home):
                return True
            by_provider = dict.fromkeys((*PROVIDERS, self.home), entry)
        walk = self.baseline
        return any(
            is_router(provider) or _leads_to_cloud(names, target, provider, walk.kind(provider))
            for provider, target in by_provider.items()
        )

    def _provider(self) -> None:
        if "llm.provider" not in self.entries or "llm.provider" in self.granted:
            return
        if self._final(self._walk()) == self.home:
            return
        self._untrusted("llm.provider", self._current("llm.provider"))

    def _model(self) -> None:
        entry = self.entries.get("llm.model")
        if entry is None or "llm.model" in self.granted:
            return
        walk = self._walk()
        is_away = self._final(walk) != self.home
        lock = self.locks.on("llm.provider")
        if is_away and lock is not None:
            self._refuse_locked("llm.model", lock)
        elif is_away or self._is_elsewhere(walk, entry, _own_provider(walk)):
            self._untrusted("llm.model", self._current("llm.model"))

    def _is_elsewhere(self, walk: Walk, entry: Entry, provider: str) -> bool:
        """Whether a model string lets others than the provider's own machines read the prompt, or may."""
        return is_router(provider) or _is_cloud(walk, entry, provider)

    def _fallbacks(self) -> None:
        entry = self.entries.get("llm.fallbacks")
        if entry is None or not entry.value or "llm.fallbacks" in self.granted:
            return
        walk = self._walk()
        own = self.baseline.of(self.baseline.provider).get("fallbacks") or Entry((), entry.origin)
        allowed = {self.home, *(_with_model(self.baseline, item).provider for item in items(own))}
        for item in items(entry):
            provider = _with_model(walk, item).provider
            if provider not in allowed or self._is_elsewhere(walk, item, provider):
                self._untrusted("llm.fallbacks", self._current("llm.fallbacks"))
                return

    def _providers_own_models(self) -> None:
        """A provider's own model is a model too: the same rule against Ollama's cloud, and behind a router."""
        walk = self._walk()
        for key in [key for key in self.entries if key.startswith("providers.") and key not in self.granted]:
            provider, field = provider_of(key)
            if field == "model" and self._is_elsewhere(walk, self.entries[key], provider):
                self._untrusted(key, self._current(key))

    def _locked_in_effect(self) -> None:
        """A locked `llm` key keeps its effective value, whichever way the project tries to change it.

        Entries are let in together where they change nothing, else by halves; one that changes a locked value
        by itself stays out.
        """
        watched = self.locks.fields()
        steering = [key for key in self.entries if key.startswith(_STEERING)]
        if watched and steering:
            waiting = {key: self.entries.pop(key) for key in steering}
            self._let_in(waiting, watched, in_effect(self.baseline, watched, self.today))

    def _let_in(self, waiting: dict[str, Entry], watched: list[str], before: dict[str, Any]) -> None:
        if "llm.provider" in self.refused:
            waiting = {key: entry for key, entry in waiting.items() if key != "llm.model"}  # it falls with it
        self.entries |= waiting
        after = in_effect(self._walk(), watched, self.today)
        changed = next((field for field in watched if after[field] != before[field]), None)
        if changed is None:
            return
        if len(waiting) == 1:
            self._refuse_locked(next(iter(waiting)), f"llm.{changed}")
            return
        for key in waiting:
            del self.entries[key]
        rows = list(waiting.items())
        half = len(rows) // 2
        self._let_in(dict(rows[:half]), watched, before)
        self._let_in(dict(rows[half:]), watched, before)


def _is_cloud(walk: Walk, entry: Entry, provider: str) -> bool:
    """Whether a model string of `provider` leads to one of Ollama's cloud models."""
    return _leads_to_cloud(walk.names, entry, provider, walk.kind(provider))


def _leads_to_cloud(names: ModelNames, entry: Entry, provider: str, kind: str) -> bool:
    end = names.end_of(entry.value, provider)
    is_ollama = end.prefix == "ollama" or (kind == "ollama" and end.prefix in (None, provider))
    return is_ollama and end.name is not None and is_ollama_cloud(end.name)


def _with_model(walk: Walk, model: Entry) -> Walk:
    """The walk with an override of the model."""
    return walk.over(Layer("execution", "override", "loaded", {"llm.model": model}))


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
    return value_of(entry)


def vet(
    layers: list[Layer], catalogue: Catalogue, today: datetime.date, trust: Trust = NONE
) -> tuple[list[Layer], list[Problem]]:
    """The layers with the project's one vetted, and what was refused in it; `trust` is what counts of it."""
    project = next((layer for layer in layers if layer.name == "project" and (layer.entries or layer.faulty)), None)
    if project is None:
        return layers, []
    vetted, problems = Vetting(project, layers, catalogue, today, trust).vet()
    return [vetted if layer is project else layer for layer in layers], problems
