"""The keys that `enforced` lists: their effective values are fixed by an operator's layer.

Only the site file and a trusted store may enforce. An entry of a higher layer that would change an enforced effective
value is refused: the key itself, a provider's own setting, an alias of the model, or an entry that names another
provider.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from ..core.layer_stack import LayerStack
from ..core.problems import Problem
from ..core.provenance import STARTING_MODE, Entry, Layer, Origin, RefusedEntry, plain_value
from ..llm.catalogue import Catalogue
from ..llm.combined_layers import CombinedLayers, combine
from ..llm.provider_selection import ProviderSelection
from ..settings.declarations import BUILT_IN
from ..settings.schema import Schema
from .credential_binding import bound_credentials
from .vetting import Vetted

if TYPE_CHECKING:
    from .app_keys import FixedValues
    from .enforced_effects import Effect

KEY = "enforced"
_ENFORCING = frozenset({"site", "etcd"})
# The sections that decide which model is used, and where: their entries are judged by their effect.
_STEERING = ("llm.", "providers.", "aliases.")


class Policy:
    """What the layers so far enforce: keys with their values, and the effects that must stay."""

    def __init__(self, today: datetime.date, schema: Schema = BUILT_IN) -> None:
        self._today = today
        self._schema = schema
        self._values: dict[str, Any] = {}  # of the keys that are judged by their own value
        self._effects: dict[Effect, Any] = {}
        self._places: dict[str, tuple[str, Origin]] = {}  # a key that must stay → the enforced key and its list

    def __bool__(self) -> bool:
        return bool(self._places)

    @functools.cached_property
    def _fixed(self) -> FixedValues:
        """The enforced values of applications' keys."""
        from .app_keys import FixedValues  # imported late, as the effects: most layers enforce nothing

        return FixedValues()

    def add(self, layer: Layer, names: Entry, combined: CombinedLayers) -> list[Problem]:
        """Enforces the keys of a layer's list, with the values of the stack up to that layer."""
        problems: list[Problem] = []
        for name in names.value:
            keys = [key for key in layer.entries if (key == name or key.startswith(f"{name}.")) and key != KEY]
            if layer.name == "etcd":
                keys = [key for key in keys if key != "mode"]  # only the site file's
            if not keys:
                message = f"{name} is listed, and {layer.source} gives it no value: nothing is enforced"
                hint = f"give {name} a value beside the list, or take it out of the list"
                problems.append(_warning(KEY, message, hint, names.origin))
            for key in keys:
                self._add_key(key, names.origin, combined)
        return problems

    def _add_key(self, key: str, place: Origin, combined: CombinedLayers) -> None:
        from .enforced_effects import effects_of, measured

        sent_to = bound_credentials((key,), self._schema).get(key, ())
        for part in (key, *sent_to):
            if part.startswith("llm.") or part in self._values:
                continue
            winner = combined.winners.get(part)  # an address may have no value yet
            self._values[part] = plain_value(winner) if winner is not None else None
            self._places.setdefault(part, (key, place))
            if part.startswith("apps."):
                self._fixed.add(part, self._values[part])
        for effect, value in measured(effects_of(key), combined.selection, self._today).items():
            self._effects.setdefault(effect, value)
            self._places.setdefault(effect.name, (key, place))

    def changed_by(self, selection: ProviderSelection) -> str | None:
        """What a stack changes of the enforced effects, the first; None when all are as they must be."""
        return next((effect.name for effect in self._changed(selection)), None)

    def _changed(self, selection: ProviderSelection) -> Iterator[Effect]:
        from .enforced_effects import changed, measured

        return changed(self._effects, measured(self._effects, selection, self._today))

    def changed_directly(self, key: str, value: Any) -> str | None:
        """The enforced key that a value for `key` changes. Keys below `llm` are judged by effect instead."""
        from .enforced_effects import leaves

        if key.startswith("apps."):
            return self._fixed.changed_by(key, value)
        return key if key in self._values and not leaves(self._values[key], value) else None

    def overridden(self, selection: ProviderSelection, pairs: Iterable[tuple[str, Any]]) -> list[Problem]:
        """The errors of overrides that change an enforced value."""
        given = dict(pairs)
        keys = list(given) or ["llm"]
        rows = [(effect.name, effect.name if effect.name in given else keys[-1]) for effect in self._changed(selection)]
        rows += [(what, key) for key, value in given.items() if (what := self.changed_directly(key, value)) is not None]
        problems = []
        for what, key in rows[:1]:
            message, hint = self._reason(what, key), "leave it out of the override"
            origin = Origin("execution", f"override[{key}]")
            problems.append(Problem(code="enforced-key", key=key, message=message, hint=hint, origin=origin))
        return problems

    def refusal(self, what: str, key: str, entry: Entry) -> Problem:
        """The warning for an entry that would change an enforced value."""
        return _warning(key, f"{self._reason(what, key)}: it is not used", _removal(entry.origin), entry.origin)

    def _reason(self, what: str, key: str) -> str:
        enforced, place = self._places[what]
        if enforced == key:
            return f"is enforced ({place})"
        return f"{enforced} is enforced ({place}), and this would change it"


def enforce(
    layers: LayerStack, catalogue: Catalogue, today: datetime.date, schema: Schema = BUILT_IN
) -> tuple[LayerStack, Policy, list[Problem]]:
    """The layers without entries that the site file or a trusted store forbids, except for the project's layer.

    `restrict_project` does the same to the project's layer after vetting.
    """
    policy = Policy(today, schema)
    problems: list[Problem] = []
    if not any(KEY in layer.entries for layer in layers):
        return layers, policy, problems
    kept: list[Layer] = []
    for layer in layers:
        if layer.name == "project":
            kept.append(layer)
            continue
        may_enforce = layer.name in _ENFORCING and layer.is_trusted
        new = layer if may_enforce else _without_list(layer, problems)
        stack = [other for other in kept if other.name != "project"]
        if policy:
            new = _Admission(policy, new, catalogue, lambda one, below=tuple(stack): (*below, one)).admit(problems)
        names = new.entries.get(KEY) if may_enforce else None
        if names is not None:
            problems += policy.add(new, names, combine(LayerStack([*stack, new]), catalogue))
        kept.append(new)
    return LayerStack(kept), policy, problems


def restrict_project(policy: Policy, vetted: Vetted, catalogue: Catalogue) -> Vetted:
    """The vetted layers without the project's entries that enforcement forbids."""
    project = vetted.combined.layers.project
    if not policy or project is None or not project.entries:
        return vetted
    problems: list[Problem] = []
    layers, granted = vetted.combined.layers, vetted.combined.selection.inputs.granted
    admission = _Admission(
        policy, project, catalogue, lambda one: layers.replace(project, one), vetted.baseline, granted
    )
    new = admission.admit(problems)
    if new is project:
        return vetted
    combined = combine(layers.replace(project, new), catalogue, vetted.baseline, granted)
    return Vetted(combined, vetted.baseline, [*vetted.problems, *problems])


def enforced_mode(site: Layer | None) -> str | None:
    """The mode that the site file enforces, or None."""
    names = site.entries.get(KEY) if site is not None else None
    mode = site.entries.get("mode") if site is not None else None
    return str(mode.value) if names is not None and mode is not None and "mode" in names.value else None


class _Admission:
    """Checks one layer's entries by their effect on the enforced values."""

    def __init__(
        self,
        policy: Policy,
        layer: Layer,
        catalogue: Catalogue,
        stack_with: Any,
        baseline: CombinedLayers | None = None,
        granted: frozenset[Any] = frozenset(),
    ) -> None:
        self.policy = policy
        self.layer = layer
        self.catalogue = catalogue
        self.stack_with = stack_with
        self.baseline = baseline
        self.granted = granted
        self.refused: dict[str, RefusedEntry] = {}
        self.problems: list[Problem] = []

    def admit(self, problems: list[Problem]) -> Layer:
        """The layer without its forbidden entries. Adds warnings to `problems`."""
        rest: dict[str, Entry] = {}
        steering: dict[str, Entry] = {}
        for key, entry in self.layer.entries.items():
            what = self.policy.changed_directly(key, plain_value(entry))
            if entry.origin is not STARTING_MODE and what is not None:
                self._refuse(key, entry, what)
            elif key.startswith(_STEERING):
                steering[key] = entry
            else:
                rest[key] = entry
        kept = self._admitted(rest, steering) if steering else rest
        implied = self.layer.implied_provider
        if implied is not None and self._changed(kept, implied) is not None:
            what = self._changed(kept, implied) or ""
            self.problems.append(self.policy.refusal(what, "llm.provider", implied))
            implied = None
        problems += self.problems
        if not self.refused and implied is self.layer.implied_provider:
            return self.layer
        ordered = {key: entry for key, entry in self.layer.entries.items() if key in kept}
        return self._with(ordered, implied, {**self.layer.refused, **self.refused})

    def _admitted(self, kept: dict[str, Entry], waiting: dict[str, Entry]) -> dict[str, Entry]:
        """Adds to `kept` the waiting entries that change nothing enforced: all at once if possible, else by halves."""
        together = {**kept, **waiting}
        what = self._changed(together, None)
        if what is None:
            return together
        if len(waiting) == 1:
            ((key, entry),) = waiting.items()
            self._refuse(key, entry, what)
            return kept
        rows = list(waiting.items())
        half = len(rows) // 2
        kept = self._admitted(kept, dict(rows[:half]))
        return self._admitted(kept, dict(rows[half:]))

    def _changed(self, entries: dict[str, Entry], implied: Entry | None) -> str | None:
        stack = LayerStack(self.stack_with(self._with(entries, implied, self.layer.refused)))
        return self.policy.changed_by(combine(stack, self.catalogue, self.baseline, self.granted).selection)

    def _with(self, entries: dict[str, Entry], implied: Entry | None, refused: Mapping[str, RefusedEntry]) -> Layer:
        granted = self.layer.granted & entries.keys()
        return msgspec.structs.replace(
            self.layer, entries=entries, implied_provider=implied, refused=refused, granted=granted
        )

    def _refuse(self, key: str, entry: Entry, what: str) -> None:
        self.refused[key] = RefusedEntry(entry, "enforced")
        self.problems.append(self.policy.refusal(what, key, entry))


def _without_list(layer: Layer, problems: list[Problem]) -> Layer:
    """The layer without its `enforced` list, which is an error in a layer that may not enforce."""
    entry = layer.entries.get(KEY)
    origin = entry.origin if entry is not None else layer.faulty.get(KEY)
    if origin is None:
        return layer
    message = "only the site file and a trusted store may enforce"
    hint = "move it to the site file: stigmer config path lists where that is"
    problems.append(Problem(code="forbidden-here", key=KEY, message=message, hint=hint, origin=origin))
    entries = {key: one for key, one in layer.entries.items() if key != KEY}
    return msgspec.structs.replace(layer, entries=entries, status="error", why=layer.why or message)


def _removal(origin: Origin) -> str:
    if origin.layer == "env":
        return f"unset {origin.source}"
    if origin.layer == "flags":
        return f"leave out {origin.source}"
    return "remove it, or ask the administrator of the site file"


def _warning(key: str, message: str, hint: str, origin: Origin) -> Problem:
    return Problem(severity="warning", code="enforced-key", key=key, message=message, hint=hint, origin=origin)
