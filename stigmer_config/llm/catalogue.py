"""The catalogue of known models, from the packaged `defaults/models.yaml`."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Mapping
from typing import Literal

import msgspec

from ..core import data_files as packaged
from ..core.decoding import from_json

OLD_FACTS = 90  # days after which the catalogue's facts are stale
WARN_DAYS = 60


class ModelFacts(msgspec.Struct, frozen=True):
    """The facts about one model. A field that is None is unknown and not checked.

    `context` and `output` are limits in tokens; `temperature` and `reasoning` say whether the model accepts a
    temperature (`without-reasoning`: only while the reasoning effort is none) and a reasoning effort.
    """

    provider: str = ""
    id: str = ""
    names: tuple[str, ...] = ()
    context: int | None = None
    output: int | None = None
    temperature: bool | Literal["without-reasoning"] | None = None
    tools: bool | None = None
    reasoning: bool | None = None
    retires: datetime.date | None = None
    replacement: str | None = None

    @property
    def name(self) -> str:
        """The friendly name if there is one, else the id."""
        return self.names[0] if self.names else self.id

    def days_left(self, today: datetime.date) -> int | None:
        """Days until the provider retires the model; 0 or less when it has. None: not announced."""
        return None if self.retires is None else (self.retires - today).days


class _File(msgspec.Struct, frozen=True):
    as_of: datetime.date
    models: dict[str, dict[str, ModelFacts]]
    foreign_prefixes: dict[str, str | None]


class Catalogue:
    """The known models, found by id or by any of their names.

    `foreign_prefixes` are other tools' names for providers, each with the provider here that it means, or None.
    """

    def __init__(
        self, as_of: datetime.date, models: tuple[ModelFacts, ...], foreign_prefixes: Mapping[str, str | None] = {}
    ) -> None:
        self.as_of = as_of
        self.models = models
        self.foreign_prefixes = foreign_prefixes
        self._by_name = {name: model for model in models for name in (model.id, *model.names)}

    def find(self, name: str, provider: str | None = None) -> ModelFacts | None:
        """The model with that id or name; with `provider`, only if it is that provider's."""
        model = self._by_name.get(name)
        return model if model is not None and (provider is None or provider == model.provider) else None

    def successor(self, model: ModelFacts, today: datetime.date) -> ModelFacts | None:
        """The first model in the chain of replacements that is not retired, or None."""
        seen = {model.id}
        while model.replacement and model.replacement not in seen:
            seen.add(model.replacement)
            model = self._by_name[model.replacement]
            left = model.days_left(today)
            if left is None or left > 0:
                return model
        return None


def replaced(provider: str, model_name: str, model_id: str) -> str | None:
    """The note for a model that is replaced by another at each call; None for one that is called itself."""
    known = catalogue()
    old, new = known.find(model_name, provider), known.find(model_id, provider)
    if old is None or new is None or old is new:
        return None
    return f"{model_name} → {new.id}, for {old.id}, retired {old.retires}"


@functools.cache
def catalogue() -> Catalogue:
    """The packaged catalogue, read once per process."""
    text = packaged.text("models.yaml")
    # After its comment lines the file is JSON, which is read 20 times faster than YAML.
    json = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    file = from_json(json, _File)
    replace = msgspec.structs.replace
    models = tuple(
        replace(model, provider=provider, id=model_id)
        for provider, group in file.models.items()
        for model_id, model in group.items()
    )
    return Catalogue(file.as_of, models, file.foreign_prefixes)
