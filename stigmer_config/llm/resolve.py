"""Resolves a provider selection to the effective LLM: the model, the credential, and the checks."""

from __future__ import annotations

import datetime
from typing import Any

import msgspec

from ..config.sections import LLMConfig
from ..core.frozen_map import EMPTY, FrozenMap
from ..core.problems import Problem, Severity
from ..core.provenance import Entry, Origin, Reason, alias_targets
from ..core.secret import Secret
from ..secrets.references import SecretResolver
from ..settings.declarations import MERGED_FIELDS, MODEL_FIELDS
from ..settings.packaged_providers import key_variables, packaged_providers
from ..settings.request_fields import is_credential
from ..settings.urls import is_loopback, origin_of
from .catalogue import WARN_DAYS, ModelFacts
from .model_strings import Expansion, provider_mismatch
from .provider_selection import CredentialGrant, Pinned, ProviderSelection

_PLAIN_FIELDS = frozenset(MODEL_FIELDS) - MERGED_FIELDS - {"model", "base_url", "api_key"}


class Resolved(msgspec.Struct, frozen=True):
    """The effective LLM, the entry behind each of its fields, and the problems.

    `reasons` gives, by an entry's id, why an entry that would have won is not used. `withheld` are the grants that
    would allow credentials that are bound to another endpoint. `fallback_keys` are the places of the fallbacks' keys,
    None for one without a key.
    """

    llm: LLMConfig
    entries: dict[str, Entry]
    facts: ModelFacts | None
    expansion: Expansion
    reasons: dict[int, Reason]
    problems: tuple[Problem, ...]
    withheld: tuple[CredentialGrant, ...]
    fallback_keys: tuple[Origin | None, ...] = ()


class _Resolution:
    """One resolution of one selection, which collects `problems`, `entries` and `reasons`."""

    __slots__ = ("entries", "kind", "opener", "problems", "provider", "reasons", "selection", "today", "withheld")

    def __init__(self, selection: ProviderSelection, today: datetime.date, opener: SecretResolver | None) -> None:
        self.selection = selection
        self.opener = opener
        self.today = today
        self.provider = selection.provider
        self.kind: Any = selection.kind(selection.provider)
        self.entries = dict(selection.of(selection.provider))
        self.reasons: dict[int, Reason] = dict.fromkeys(selection.left_out, "unsupported")
        self.problems: list[Problem] = []
        self.withheld: tuple[CredentialGrant, ...] = ()

    def problem(
        self, code: str, field: str, message: str, hint: str, entry: Entry | None, severity: Severity = "error"
    ) -> None:
        origin = entry.origin if entry is not None else None
        fault = Problem(severity=severity, code=code, key=f"llm.{field}", message=message, hint=hint, origin=origin)
        self.problems.append(fault)

    def resolve(self) -> Resolved:
        model = self.entries.get("model")
        if model is None:
            self._no_model()
        end = Expansion(None)
        if model is not None:
            end = self.selection.names.expand_with_hops(model.value, self.provider)
        facts, model_id = self._model(model, end)
        for field in ("temperature", "num_ctx", "reasoning_effort"):
            entry = self.entries.get(field)
            if entry is not None and entry.value is not None:
                self._parameter(field, entry, facts, model)
        self._temperature()
        base_url = self._base_url()
        values = {field: entry.value for field, entry in self.entries.items() if field in _PLAIN_FIELDS}
        values["provider"] = self.provider
        values["kind"] = self.kind
        values["model"] = model.value if model is not None else ""
        values["model_name"] = end.name or ""
        values["model_id"] = model_id
        values["alias"] = model.value if model is not None and end.hops else None
        values["base_url"] = base_url
        values["api_key"] = self._credential(base_url)
        values["headers"] = self._headers(base_url)
        values["parameters"] = self._parameters()
        return Resolved(
            LLMConfig(**values), self.entries, facts, end, self.reasons, tuple(self.problems), self.withheld
        )

    def _no_model(self) -> None:
        page = packaged_providers()[self.provider].models if self.provider in packaged_providers() else ""
        message = f"there is no model for {self.provider}"
        hint = f"export STIGMER_LLM_MODEL={self.provider}:…, or set providers.{self.provider}.model"
        named_by = self.selection.named_by
        self.problem("missing-value", "model", message, f"{hint}{f'; {page}' if page else ''}", named_by)

    def _parameters(self) -> FrozenMap:
        """The parameters without those that are set to None."""
        entry = self.entries.get("parameters")
        if entry is None or not entry.value:
            return EMPTY
        return FrozenMap({name: part.value for name, part in entry.value.items() if part.value is not None})

    def _headers(self, url: str | None) -> FrozenMap:
        """The provider's headers, if they belong to the endpoint in force."""
        entry = self.entries.get("headers")
        if entry is None or not entry.value:
            return EMPTY
        given_for = self.selection.pin(self.provider)
        if not (url and given_for and origin_of(given_for) == origin_of(url)):
            self.reasons |= {id(part): "bound-elsewhere" for part in (entry, *entry.value.values())}
            return EMPTY
        found: dict[str, Secret] = {}
        for name, part in entry.value.items():
            key = f"providers.{self.provider}.headers"
            has_key = (own := self.entries.get("api_key")) is not None and own.value is not None
            if part.value is None:
                continue
            if name in ("authorization", "x-api-key") and has_key:
                message = f"the header {name} is beside an api_key, which is sent in its place"
                hint = f"remove the header, or set providers.{self.provider}.api_key to null"
                self.problems.append(
                    Problem(code="invalid-credential", key=key, message=message, hint=hint, origin=part.origin)
                )
            elif self.opener is not None:
                secret, unavailable = self.opener.open(key, part)
                self.problems += (unavailable,) if unavailable is not None else ()
                found |= {name: secret} if secret is not None else {}
        if any(is_credential(name) for name in found):
            self._insecure(entry, url)
        return FrozenMap(found) if found else EMPTY

    def _model(self, model: Entry | None, end: Expansion) -> tuple[ModelFacts | None, str]:
        """The facts about the final model, and the id to send."""
        if end.missing is not None:
            shown = f"the alias '{end.missing}' has no entry for {self.provider}; it has: {', '.join(end.has)}"
            hint = f"add {self.provider} to aliases.{end.missing}, or name another model"
            self.problem("alias-unavailable", "model", shown, hint, model)
        if model is not None and end.prefix not in (None, self.provider):
            self._foreign(model, end)
        if end.name is None or end.prefix not in (None, self.provider):
            return None, ""  # a cycle is reported at its alias already
        facts = self.selection.names.catalogue.find(end.name, self.provider)
        if facts is None:
            if self.selection.names.catalogue.find(end.name) is None:
                self._doubtful(model, end.name)
            return None, end.name
        left = facts.days_left(self.today)
        if left is None or left > WARN_DAYS:
            return facts, facts.id
        return self._retiring(facts, left, model, end)

    def _doubtful(self, model: Entry | None, name: str) -> None:
        """Warns about a name that the company's own API does not have, as far as is known."""
        if model is not None and any(problem.origin == model.origin for problem in self.selection.problems):
            return  # its layer contradicts itself, which is reported
        if not name:
            hint = "write a model after the colon"
            self.problem("empty-model", "model", f"'{self.provider}:' names no model", hint, model)
        elif self.selection.is_at_home(self.provider, self.selection.endpoint(self.provider)) and (
            self.selection.names.form_of(name) != self.provider
        ):
            near = self.selection.names.nearest(name, self.provider)
            hint = f"did you mean {near}?" if near else "stigmer config models lists the known ones"
            message = f"{name} does not look like a model of {self.provider}, and the catalogue does not know it"
            self.problem("doubtful-model", "model", message, hint, model, "warning")

    def _foreign(self, model: Entry, end: Expansion) -> None:
        """`provider-mismatch`, unless one of the entries that lead to the model was reported already."""
        way = {model.origin, *(hop.origin for hop in end.hops)}
        reported = (*self.selection.names.problems(), *self.selection.problems)
        if not any(problem.code == "provider-mismatch" and problem.origin in way for problem in reported):
            self.problems.append(
                provider_mismatch("llm.model", end, self.provider, model, f"the provider is {self.provider}")
            )

    def _retiring(self, facts: ModelFacts, left: int, model: Entry | None, end: Expansion) -> tuple[ModelFacts, str]:
        """The model that is called instead of a retiring or retired one.

        A model from the packaged defaults is replaced automatically and keeps its name; one that a person chose must be
        changed by that person.
        """
        standing = self.selection.names.catalogue.successor(facts, self.today)
        decider = end.hops[-1].origin if end.hops else model.origin if model is not None else None
        if decider is None or decider.layer == "defaults":
            if left > 0:
                return facts, facts.id
            if standing is not None:
                return standing, standing.id
        hint = self._change(standing, model, end) if standing else "stigmer config models lists the current models"
        if left > 0:
            message = f"{end.name} retires on {facts.retires}, in {left} days"
            self.problem("model-retiring", "model", message, hint, model, "warning")
        else:
            message = f"{end.name} was RETIRED on {facts.retires}: its provider no longer answers for it"
            self.problem("model-retired", "model", message, hint, model, "warning")
        return facts, facts.id

    def _change(self, standing: ModelFacts, model: Entry | None, end: Expansion) -> str:
        """The hint: how to change the model in the place where the old one was chosen."""
        origin = end.hops[-1].origin if end.hops else model.origin if model is not None else None
        key = f"aliases.{end.hops[-1].name}" if end.hops else "llm.model"
        own = f"providers.{self.provider}.model"
        if not end.hops and any(layer.entries.get(own) is model for layer in self.selection.layers):
            key = own
        name = standing.name
        if origin is None or origin.layer in ("flags", "execution"):
            return f"change to {name}"
        if origin.layer == "env":
            return f"export {origin.source}={name}"
        if origin.layer in ("user", "project"):
            if end.hops and alias_targets(self.selection.names.aliases[end.hops[-1].name]) is not None:
                key += f".{self.provider}"
            return f"stigmer config set {'--project ' if origin.layer == 'project' else ''}{key} {name}"
        return f"set {key} to {name} in {origin.source}"

    def _parameter(self, field: str, entry: Entry, facts: ModelFacts | None, model: Entry | None) -> None:
        effort = self.entries.get("reasoning_effort")
        refusal = why_unsupported(field, entry.value, self.provider, self.kind, facts, effort.value if effort else None)
        if refusal is None:
            return
        if model is not None and self.selection.rank(entry) == self.selection.rank(model):
            self.problem("unsupported-parameter", field, refusal, f"remove llm.{field}, or change the model", entry)
            return
        message = f"{refusal}: the value from {entry.origin} is left out"
        self.problem("unsupported-parameter", field, message, f"set llm.{field} to null", entry, "warning")
        self.reasons[id(entry)] = "unsupported"
        del self.entries[field]

    def _temperature(self) -> None:
        """Checks the range of Anthropic's protocol, which a provider's own section or a later `kind` may not fit."""
        entry = self.entries.get("temperature")
        if self.kind != "anthropic" or entry is None or (entry.value or 0) <= 1:
            return
        if all(problem.origin is not entry.origin for problem in self.selection.problems):
            message = f"must be at least 0 and at most 1 for {self.provider}, not {entry.value:g}"
            self.problem("out-of-range", "temperature", message, "", entry)

    def _base_url(self) -> str | None:
        url = self.selection.endpoint(self.provider)
        if url is None:
            message = f"base_url is required for {self.provider} provider. Set STIGMER_LLM_BASE_URL"
            if self.provider == "ollama":
                message = (
                    "base_url is required for Ollama provider. "
                    "Set STIGMER_LLM_BASE_URL (default: http://localhost:11434)"
                )
            self.problem("missing-base-url", "base_url", message, "remove the null", self.entries.get("base_url"))
        return url

    def _credential(self, url: str | None) -> Secret | None:
        """The highest credential that belongs to the endpoint in force."""
        if self.kind == "ollama":
            self._unused()
        self.entries.pop("api_key", None)
        passed: list[tuple[Entry, str]] = []
        for pinned in reversed(self.selection.credentials(self.provider)):
            entry = pinned.entry
            given_for = pinned.endpoint or self.selection.pin(self.provider)
            fits = bool(url and given_for and origin_of(given_for) == origin_of(url))
            if entry.value is None or fits or self._is_granted(pinned, url):
                self.entries["api_key"] = entry
                break
            passed.append((entry, given_for or "no endpoint"))
            self.withheld += (CredentialGrant(pinned.key, entry.origin.source, origin_of(url)),) if url else ()
            self.reasons[id(entry)] = "bound-elsewhere"
        winner = self.entries.get("api_key")
        if winner is not None and winner.value is not None:
            self._insecure(winner, url)
            if self.opener is None:
                return None
            secret, unavailable = self.opener.open("llm.api_key", winner)
            if unavailable is not None:
                self.problems.append(unavailable)
            return secret
        # If a higher key was passed over, the user did not mean a null below it to apply here.
        is_written = winner is not None and not passed and not self.selection.is_at_home(self.provider, url)
        if url is not None and self.selection.needs_key(self.provider, url) and not is_written:
            self._missing(winner, passed, url)
        return None

    def _is_granted(self, pinned: Pinned, url: str | None) -> bool:
        """Whether the user allows this credential for this endpoint (`trust --with-credentials`)."""
        if url is None:
            return False
        wanted = CredentialGrant(pinned.key, pinned.entry.origin.source, origin_of(url))
        return wanted in self.selection.inputs.granted

    def _missing(self, none: Entry | None, passed: list[tuple[Entry, str]], url: str | None) -> None:
        if not passed:
            variables = key_variables(self.provider)
            others = f" or {' or '.join(variables)}" if variables else f" or providers.{self.provider}.api_key"
            message = f"api_key is required for {self.provider} provider. Set STIGMER_LLM_API_KEY{others}"
            export = f"export {variables[0]}=…, or " if variables else ""
            hint = f"{export}put providers.{self.provider}.api_key into ~/.stigmer/config.yaml"
            if not self.selection.is_at_home(self.provider, url):
                hint += " (null: no key is sent)"
            self.problem("missing-api-key", "api_key", message, hint, none)
            return
        entry, given_for = passed[0]
        base_url = self.entries.get("base_url")
        message = (
            f"the key from {entry.origin} was given for {origin_of(given_for)}, "
            f"and {origin_of(url or '')} comes from {base_url.origin if base_url else 'the defaults'}"
        )
        hint = "give the new endpoint its own api_key, in the same place as its base_url"
        if base_url is not None and base_url.origin.layer == "project":
            hint = "let the key go there: stigmer config trust --with-credentials"
        self.problem("credential-binding", "api_key", message, hint, base_url)

    def _unused(self) -> None:
        """Warns about a key under `llm` for Ollama, which takes none from there."""
        for layer, owners in self.selection.rows():
            entry, owner = layer.entries.get("llm.api_key"), owners.of(layer, "llm.api_key")
            if entry is not None and owner == self.provider and entry.value is not None:
                who = "Ollama" if owner == "ollama" else f"{owner}, which speaks Ollama's protocol,"
                message = f"{who} takes no key from this setting: it is not used"
                hint = f"remove it, or put it under providers.{owner}.api_key"
                self.problem("unused-credential", "api_key", message, hint, entry, "warning")
                self.reasons[id(entry)] = "unused"
                return

    def _insecure(self, entry: Entry, url: str | None) -> None:
        origin = origin_of(url or "")
        if not origin.startswith("http://") or is_loopback(origin):
            return
        message = f"the key from {entry.origin} is sent unencrypted, to {origin}"
        self.problem("insecure-endpoint", "base_url", message, "use https", self.entries.get("base_url"), "warning")


def resolve(selection: ProviderSelection, today: datetime.date, opener: SecretResolver | None) -> Resolved:
    """Resolves the effective LLM of a selection. `opener` reads its key; without one the key is None.

    Faults are in `problems`; the values are then those that could be determined.
    """
    return _Resolution(selection, today, opener).resolve()


def why_unsupported(
    field: str, value: Any, provider: str, kind: str, facts: ModelFacts | None, effort: str | None
) -> str | None:
    """Why a provider of that kind or the model does not accept a parameter; None if it does, or if this is unknown."""
    if field == "num_ctx" and kind != "ollama":
        return f"num_ctx is for Ollama only, and the provider is {provider}"
    if facts is None:
        return None
    if field == "temperature" and facts.temperature is False:
        return f"{facts.name} takes no temperature"
    if field == "temperature" and facts.temperature == "without-reasoning" and effort != "none":
        return f"{facts.name} takes a temperature only with reasoning_effort none"
    if field == "reasoning_effort" and facts.reasoning is False and value != "none":
        return f"{facts.name} takes no reasoning effort"
    return None
