"""The sections of a Config. They are frozen and hashable, and Configs share them."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, Sequence, ValuesView
from typing import Any, Literal, cast

from ..core.frozen_map import EMPTY, FrozenMapping
from ..core.secret import Secret, without_password
from ..secrets.references import Reference, Unread
from ..settings.declarations import SECTIONS, Mode
from ..settings.frozen import Frozen
from ..settings.packaged_providers import ProviderKind
from .structs import made

Effort = Literal["none", "minimal", "low", "medium", "high"]


class LLMConfig(Frozen, frozen=True, kw_only=True):
    """The effective LLM: the provider, the model, the endpoint, the key and the parameters.

    `model` is the configured model string, `alias` the alias in it (or None), `model_name` the name of the model and
    `model_id` the id that is sent to the provider. `kind` is the provider's protocol. `timeout` is in seconds,
    `num_ctx` and `max_tokens` are in tokens. `headers` are sent with every request, `parameters` in its body.
    `fallbacks` are the models to call next, in this order, when a model is not available.
    """

    provider: str
    kind: ProviderKind
    model: str
    model_name: str
    model_id: str
    alias: str | None = None
    base_url: str | None = None
    api_key: Secret | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    num_ctx: int | None = None
    reasoning_effort: Effort | None = None
    timeout: float | None = None
    max_retries: int | None = None
    parameters: Mapping[str, Any] = EMPTY
    headers: Mapping[str, Secret] = EMPTY
    fallbacks: tuple[LLMConfig, ...] = ()

    @property
    def model_steps(self) -> str:
        """The configured string, the model's name and its id, each once: `fast → NAME → ID`."""
        return " → ".join(dict.fromkeys(step for step in (self.model, self.model_name, self.model_id) if step))

    @classmethod
    def load_from_env(cls, mode: Mode | None = None) -> LLMConfig:
        """`load(mode=mode).llm`, under the seed worker's name. Raises `ConfigError`."""
        from .. import load

        return load(mode=mode).llm


class ProviderConfig(Frozen, frozen=True, kw_only=True):
    """The settings under `providers.<name>`. The fields are those of `LLMConfig`."""

    kind: ProviderKind
    model: str | None = None
    base_url: str | None = None
    api_key: Secret | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    num_ctx: int | None = None
    reasoning_effort: Effort | None = None
    timeout: float | None = None
    max_retries: int | None = None
    parameters: Mapping[str, Any] | None = None
    headers: Mapping[str, Secret] | None = None


def plain(value: Any, *, reveal: bool = False) -> Any:
    """A value in the types of JSON: secrets masked unless `reveal`, tuples as lists."""
    if value is None or type(value) is str:  # the usual case
        return value if reveal or value is None else without_password(value)
    if isinstance(value, (Secret, Reference)):
        return value.reveal() if reveal and isinstance(value, Secret) and not isinstance(value, Unread) else str(value)
    if isinstance(value, Mapping):
        return {name: plain(part, reveal=reveal) for name, part in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, (tuple, list)):
        return [plain(part, reveal=reveal) for part in cast("Sequence[Any]", value)]
    return value


def section(name: str, values: Mapping[str, Any]) -> Any:
    """The struct of a built-in section, from the merged values of all keys."""
    node = SECTIONS[name]
    return made(node, name, {field: values.get(f"{name}.{field}") for field, _ in node.fields})


class Providers(FrozenMapping):
    """The settings of each provider, built when they are first read, because most providers are not in use.

    `values` returns the effective values of a provider by field. Immutable, except for a cache.
    """

    __slots__ = ("_found", "_is_whole", "_names", "_values")

    def __init__(self, names: Iterable[str], values: Callable[[str], Mapping[str, Any]]) -> None:
        self._names = dict.fromkeys(names)
        self._values = values
        self._found: dict[str, ProviderConfig] = {}
        self._is_whole = False

    def __getitem__(self, name: str) -> ProviderConfig:
        found = self._found.get(name)
        if found is None:
            if name not in self._names:
                raise KeyError(name)
            found = self._found[name] = ProviderConfig(**self._values(name))
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    # As fast as a dict's: a reload compares and lists all providers several times.
    def items(self) -> ItemsView[str, ProviderConfig]:
        return self._whole().items()

    def values(self) -> ValuesView[ProviderConfig]:
        return self._whole().values()

    def __eq__(self, other: object) -> bool:
        return self._whole() == other._whole() if isinstance(other, Providers) else super().__eq__(other)

    __hash__ = FrozenMapping.__hash__

    def _whole(self) -> dict[str, ProviderConfig]:
        """The settings of all providers, in the order of the names."""
        if not self._is_whole:
            self._found, self._is_whole = {name: self[name] for name in self._names}, True
        return self._found
