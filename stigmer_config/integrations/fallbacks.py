"""Chat models that are called in order: the next one when one does not answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig

# The exceptions of the SDKs and their HTTP libraries for no answer, by class name: httpx and httpx2 have the same
# names.
_NO_ANSWER = frozenset({"APIConnectionError", "NetworkError", "TimeoutException", "RemoteProtocolError", "ProxyError"})
_TRY_LATER = frozenset({408, 429})


def is_outage(error: BaseException) -> bool:
    """Whether an error means that a provider does not answer now: no connection, a timeout, 408, 429 or 5xx.

    A refusal does not: a rejected key, for example, is no reason to spend money on another provider.
    """
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and status > 0:
        return status in _TRY_LATER or status >= 500
    if isinstance(error, (ConnectionError, TimeoutError)):
        return True
    return not _NO_ANSWER.isdisjoint(kind.__name__ for kind in type(error).__mro__)


class ModelWithFallbacks(Runnable[Any, Any]):
    """A chat model and its fallbacks, as one Runnable.

    Methods that make another Runnable of a chat model (`bind_tools`, `with_structured_output`, …) apply to each model.
    A stream that has begun is not repeated with the next model.
    """

    def __init__(self, models: tuple[Runnable[Any, Any], ...]) -> None:
        self.models = models

    def __repr__(self) -> str:
        return f"ModelWithFallbacks({', '.join(type(model).__name__ for model in self.models)})"

    def __getattr__(self, name: str) -> Any:
        first = getattr(self.__dict__["models"][0], name)
        if not callable(first):
            return first

        def each(*args: Any, **kwargs: Any) -> Any:
            made = first(*args, **kwargs)
            if not isinstance(made, Runnable):
                return made
            return ModelWithFallbacks((made, *(getattr(m, name)(*args, **kwargs) for m in self.models[1:])))

        return each

    def bind(self, **kwargs: Any) -> Runnable[Any, Any]:
        return ModelWithFallbacks(tuple(model.bind(**kwargs) for model in self.models))

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        for model in self.models[:-1]:
            try:
                return model.invoke(input, config, **kwargs)
            except Exception as error:
                if not is_outage(error):
                    raise
        return self.models[-1].invoke(input, config, **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        for model in self.models[:-1]:
            try:
                return await model.ainvoke(input, config, **kwargs)
            except Exception as error:
                if not is_outage(error):
                    raise
        return await self.models[-1].ainvoke(input, config, **kwargs)

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:  # noqa: A002
        for model in self.models[:-1]:
            chunks = model.stream(input, config, **kwargs)
            try:
                first = next(chunks)
            except StopIteration:
                return
            except Exception as error:
                if not is_outage(error):
                    raise
                continue
            yield first
            yield from chunks
            return
        yield from self.models[-1].stream(input, config, **kwargs)

    async def astream(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        for model in self.models[:-1]:
            chunks = model.astream(input, config, **kwargs)
            try:
                first = await anext(chunks)
            except StopAsyncIteration:
                return
            except Exception as error:
                if not is_outage(error):
                    raise
                continue
            yield first
            async for chunk in chunks:
                yield chunk
            return
        async for chunk in self.models[-1].astream(input, config, **kwargs):
            yield chunk
