"""How retrieve modules search: what their config says reaches the port and the trace."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mlops.runtime.recorder import Recorder, recording
from programs.runtime.interfaces import problems_of_module
from programs.runtime.ports import Ports
from programs.runtime.retrieval import CorpusSearch
from tests.programs.runtime.specs import module


class World:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str, int, str]] = []

    def retrieve(self, corpus: str, query: str, k: int, search: str) -> list[str]:
        self.asked.append((corpus, query, k, search))
        return [search]

    async def aretrieve(self, corpus: str, query: str, k: int, search: str) -> list[str]:
        return self.retrieve(corpus, query, k, search)


@pytest.mark.parametrize(
    ("config", "search"), [({}, "bm25"), ({"search": "vector"}, "vector"), ({"search": "hybrid"}, "hybrid")]
)
def test_the_kind_of_search_reaches_the_port_both_ways(config: dict[str, Any], search: str) -> None:
    world, recorder = World(), Recorder()
    ports = Ports(retrieve=world.retrieve, aretrieve=world.aretrieve)
    searching = CorpusSearch(ports, {"corpus": "kb", "k": 2, **config})
    with recording(recorder):
        assert searching("why") == [search]
        assert asyncio.run(searching.acall("why")) == [search]
    assert world.asked == [("kb", "why", 2, search)] * 2
    assert [span.input for span in recorder.spans] == [{"query": "why", "corpus": "kb", "k": 2, "search": search}] * 2


@pytest.mark.parametrize("search", ["grep", "", None, 1, ["vector"]])
def test_other_kinds_are_a_problem(search: Any) -> None:
    (problem,) = problems_of_module(module("search", kind="retrieve", corpus="kb", search=search))
    assert (problem.code, problem.field) == ("bad_config", "config.search")
    assert "bm25, vector, hybrid" in problem.message


@pytest.mark.parametrize("search", ["bm25", "vector", "hybrid"])
def test_known_kinds_are_none(search: str) -> None:
    assert problems_of_module(module("search", kind="retrieve", corpus="kb", search=search)) == ()
    react = module("act", "question -> answer", "react", corpus="kb", tools=[], search=search)
    assert problems_of_module(react) == ()
