"""Retrieve modules: a search in a corpus through a port."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import dspy

from mlops.runtime.recorder import Span, current_recorder, span
from mlops.types import SpanKind
from programs.runtime.interfaces import DEFAULT_K, DEFAULT_SEARCH, retrieve_names
from programs.runtime.ports import Ports
from programs.types import ModuleSpec


class CorpusSearch:
    """The search in one corpus, with a span for each query. Shared by copies of a module."""

    def __init__(self, ports: Ports, config: Mapping[str, Any]) -> None:
        self._ports = ports
        self._corpus = config["corpus"]
        self._k = config.get("k", DEFAULT_K)
        self._search = config.get("search", DEFAULT_SEARCH)

    def __deepcopy__(self, memo: dict[int, Any]) -> CorpusSearch:
        return self

    def __call__(self, query: str) -> list[str]:
        """The passages that answer `query` best. Blocks."""
        with self._span(query) as opened:
            return _kept(opened, self._retrieved(query))

    async def acall(self, query: str) -> list[str]:
        """The same on the event loop."""
        with self._span(query) as opened:
            if self._ports.aretrieve:
                return _kept(opened, await self._ports.aretrieve(self._corpus, query, self._k, self._search))
            return _kept(opened, await asyncio.to_thread(self._retrieved, query))

    def _retrieved(self, query: str) -> list[str]:
        if self._ports.retrieve is None:
            raise LookupError("This process cannot search a corpus.")
        return self._ports.retrieve(self._corpus, query, self._k, self._search)

    def _span(self, query: str) -> Any:
        asked = {"query": query, "corpus": self._corpus, "k": self._k, "search": self._search}
        return span(SpanKind.RETRIEVER, "search", input=asked)


def _kept(opened: Span, passages: list[str]) -> list[str]:
    if recorder := current_recorder():
        recorder.keep(opened, "output", passages)
    return passages


class RetrieveModule(dspy.Module):  # type: ignore[misc]  # DSPy is untyped
    """Gives the passages of a corpus for a query. Has no predictor, so optimizers leave it alone."""

    def __init__(self, module: ModuleSpec, ports: Ports) -> None:
        super().__init__()
        self.search = CorpusSearch(ports, module.config)
        self.query_name, self.passages_name = retrieve_names(module)

    def forward(self, **inputs: Any) -> dspy.Prediction:
        return dspy.Prediction(**{self.passages_name: self.search(inputs[self.query_name])})

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        return dspy.Prediction(**{self.passages_name: await self.search.acall(inputs[self.query_name])})
