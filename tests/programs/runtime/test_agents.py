from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from executions.runtime.tools import delivery_date, search_knowledge_base
from mlops.runtime.adapters import adapter
from mlops.runtime.context import execution_context
from mlops.runtime.recorder import Recorder, Span, recording
from programs.runtime.agents import MAX_OBSERVATION
from programs.runtime.build import build, problems_of_program
from programs.runtime.built import BuiltProgram
from programs.runtime.modules import ModuleFailed
from programs.runtime.ports import Ports
from programs.runtime.prompts import prompts_of
from programs.runtime.tools import RegisteredTool, load_registered, tool
from programs.types import PromptSpec, ToolSpec
from tests.fakes import Answer, fields, scripted
from tests.programs.runtime.specs import module, program


async def broken(text: str) -> str:
    raise OSError(f"/etc/secret/{text} cannot be read")


def shout(text: str) -> str:
    return text.upper()


def long(text: str) -> list[str]:
    return [text * 100_000]


def registered(name: str, function: Any, repeatable: bool = True) -> RegisteredTool:
    return RegisteredTool(ToolSpec(name, f"Does {name}.", repeatable), function)


TOOLS = {
    "broken": registered("broken", broken),
    "shout": registered("shout", shout),
    "long": registered("long", long),
    "order": registered("order", shout, repeatable=False),
}


def steps(*calls: tuple[str, dict[str, Any]]) -> Answer:
    """A model that makes these tool calls, one after the other."""
    left = iter(calls)

    def answer(given: dict[str, str], request: Any) -> str:
        name, arguments = next(left)
        return fields(next_thought="I see.", tool_calls={"tool_calls": [{"name": name, "args": arguments}]})

    return answer


def run(made: BuiltProgram, answer: Answer, *, sync: bool, **values: Any) -> tuple[dict[str, Any], list[Span], Any]:
    recorder, lm = Recorder(), scripted(answer)

    async def inner() -> Any:
        return await made.module.acall(**values)

    with recording(recorder), execution_context(lm, adapter("chat")):
        prediction = made.module(**values) if sync else asyncio.run(inner())
    return prediction.toDict(), [span for span in recorder.spans if span.kind.value != "llm"], lm.engine.requests


both_ways = pytest.mark.parametrize("sync", [True, False])


@both_ways
def test_calls_tools_and_submits(sync: bool) -> None:
    made = build(
        program(module("agent", "question -> answer, count: int", "react", tools=["shout"])), Ports(tools=TOOLS)
    )
    answer = steps(("shout", {"text": "hi"}), ("submit", {"answer": "HI!", "count": 2}))
    output, spans, requests = run(made, answer, sync=sync, question="Say hi")
    assert output == {"answer": "HI!", "count": 2}
    assert [(span.kind.value, span.name, span.module) for span in spans] == [
        ("module", "agent", "agent"),
        ("tool", "shout", "agent"),
    ]
    assert (spans[1].input, spans[1].output) == ({"text": "hi"}, "HI")
    assert len(requests) == 2
    assert "Does shout." in str(requests[0].messages[-1].text)


@both_ways
@pytest.mark.parametrize(
    ("call", "observation"),
    [
        (("broken", {"text": "x"}), "The tool failed (OSError)."),
        (("shout", {"text": 3}), "Arg text is invalid: 3 is not of type 'string'"),
        (("shout", {"words": "x"}), "Arg words is not in the tool's args."),
        (("shout", {}), "The tool failed (TypeError)."),
        (("nothing", {}), "Unknown tool: nothing"),
        (("submit", {"count": 1}), "Missing required final output field(s): answer"),
    ],
)
def test_failures_become_short_observations(sync: bool, call: tuple[str, dict[str, Any]], observation: str) -> None:
    spec = program(module("agent", "question -> answer, count: int", "react", tools=["shout", "broken"]))
    answer = steps(call, ("submit", {"answer": "x", "count": 1}))
    output, spans, requests = run(build(spec, Ports(tools=TOOLS)), answer, sync=sync, question="?")
    assert output == {"answer": "x", "count": 1}
    told = json.dumps([message.text for message in requests[-1].messages], ensure_ascii=False)
    assert observation in told.replace("\\\\", "").replace('\\"', '"')
    assert "Traceback" not in told
    assert ".py" not in told
    assert "/etc/secret" not in told
    assert [bool(span.error) for span in spans if span.kind.value == "tool"] in ([], [True])


@both_ways
def test_long_answers_of_tools_are_cut(sync: bool) -> None:
    made = build(program(module("agent", "question -> answer", "react", tools=["long"])), Ports(tools=TOOLS))
    answer = steps(("long", {"text": "x"}), ("submit", {"answer": "x"}))
    _, spans, requests = run(made, answer, sync=sync, question="?")
    assert len(spans[1].output) == MAX_OBSERVATION + len(" [cut]")
    assert sum(len(message.text or "") for message in requests[-1].messages) < 2 * MAX_OBSERVATION


@both_ways
def test_an_agent_without_an_answer_fails_without_showing_what_went_on(sync: bool) -> None:
    spec = program(module("agent", "question -> answer", "react", tools=["shout"], max_iterations=2))
    answer = steps(*[("shout", {"text": "secret"})] * 3)
    with pytest.raises(ModuleFailed) as failure:
        run(build(spec, Ports(tools=TOOLS)), answer, sync=sync, question="?")
    assert str(failure.value.__cause__) == "The agent came to no answer."


@both_ways
def test_a_program_serves_as_a_tool_in_the_same_trace(sync: bool) -> None:
    inner = build(program(module("count", "text -> size: int"), name="counter"), Ports())
    ports = Ports(programs={"counter@3": inner})
    outer = build(program(module("agent", "question -> answer", "react", tools=[{"program": "counter@3"}])), ports)
    thoughts = steps(("counter", {"text": "abc"}), ("counter", {"words": 1}), ("submit", {"answer": "3"}))

    def answer(given: dict[str, str], request: Any) -> Any:
        return fields(size="3") if set(given) == {"text"} else thoughts(given, request)

    output, spans, requests = run(outer, answer, sync=sync, question="How long is abc?")
    assert output == {"answer": "3"}
    assert [(span.kind.value, span.name, span.module) for span in spans] == [
        ("module", "agent", "agent"),
        ("tool", "counter", "agent"),
        ("module", "count", "count"),
        ("tool", "counter", "agent"),
    ]
    assert spans[2].parent == spans[1].id
    assert [span.output for span in spans[1:]] == [
        '{"size": 3}',
        {"size": 3},
        "The arguments do not fit: text: This field is required.; words: There is no such field.",
    ]
    assert len(requests) == 4


def test_depth_repeatability_and_models_of_programs_within_programs() -> None:
    def using(reference: str, *tools: str, **options: Any) -> BuiltProgram:
        called = [*tools, *([{"program": reference}] if reference else [])]
        spec = program(module("agent", "question -> answer", "react", tools=called, **options))
        return build(spec, Ports(tools=TOOLS, programs=known))

    known: dict[str, BuiltProgram] = {}
    known["one@1"] = using("", "order", language_model="m-1")
    known["two@1"] = using("one@1")
    known["three@1"] = using("two@1", "shout", language_model="m-3")
    assert [made.depth for made in known.values()] == [1, 2, 3]
    assert [made.repeatable for made in known.values()] == [False, False, False]
    assert using("", "shout").repeatable
    assert known["three@1"].language_models == {"m-1", "m-3"}
    four = program(module("agent", "question -> answer", "react", tools=[{"program": "three@1"}]))
    problems = problems_of_program(four, Ports(programs=known))
    assert [(problem.code, problem.field) for problem in problems] == [("too_deep", "modules.agent.config.tools.0")]


def test_tools_of_one_name_clash() -> None:
    spec = program(module("agent", "question -> answer", "react", tools=["shout", "shout"]))
    problems = problems_of_program(spec, Ports(tools=TOOLS))
    assert [(problem.code, problem.field) for problem in problems] == [
        ("duplicate_tool", "modules.agent.config.tools.1")
    ]


def test_learned_instructions_keep_the_rules_for_agents() -> None:
    spec = program(
        module("agent", "question -> answer", "react", tools=["shout"], prompt=PromptSpec("Be brief.", ())),
    )
    made = build(spec, Ports(tools=TOOLS))
    instructions = made.module.child("agent").react.signature.instructions
    assert instructions.startswith("Be brief.\nYou are an Agent.")
    assert instructions.count("You are an Agent.") == 1
    assert prompts_of(spec, made.module) == {"agent": PromptSpec("Be brief.", ())}


@both_ways
def test_the_tools_of_the_sample_workspace(sync: bool) -> None:
    found: list[tuple[str, str, int]] = []

    def retrieve(corpus: str, query: str, k: int, search: str) -> list[str]:
        found.append((corpus, query, k))
        return ["Open Monday.", "Closed Sunday."]

    paths = {
        "search_knowledge_base": "executions.runtime.tools:search_knowledge_base",
        "delivery_date": "executions.runtime.tools:delivery_date",
    }
    ports = Ports(retrieve=retrieve, tools=load_registered(paths))
    spec = program(module("agent", "question -> answer", "react", tools=list(paths), corpus="kb", k=2))
    answer = steps(
        ("search_knowledge_base", {"query": "hours"}),
        ("delivery_date", {"order_day": "2026-11-26", "express": True}),
        ("delivery_date", {"order_day": "tomorrow"}),
        ("submit", {"answer": "x"}),
    )
    _, spans, _ = run(build(spec, ports), answer, sync=sync, question="?")
    assert found == [("kb", "hours", 2)]
    assert [(span.kind.value, span.parent) for span in spans][1:3] == [("tool", 0), ("retriever", spans[1].id)]
    assert [span.output for span in spans if span.kind.value == "tool"] == [
        "Open Monday.\n\nClosed Sunday.",
        "2026-11-27",
        "order_day is a day in the form YYYY-MM-DD.",
    ]


def test_a_copy_for_an_optimizer_runs_and_shares_what_is_outside() -> None:
    class World:
        def __init__(self) -> None:
            self.queries: list[str] = []

        def retrieve(self, corpus: str, query: str, k: int, search: str) -> list[str]:
            self.queries.append(query)
            return []

    world = World()
    ports = Ports(
        retrieve=world.retrieve, tools=load_registered({"s": "executions.runtime.tools:search_knowledge_base"})
    )
    spec = program(
        module("search", kind="retrieve", corpus="kb", input="question"),
        module("agent", "question, passages: list[str] -> answer", "react", tools=["s"], corpus="kb"),
    )
    made = build(spec, ports)
    twin = made.module.deepcopy()
    assert [name for name, _ in twin.named_predictors()] == ["m_agent.react"]
    assert twin.child("agent").react is not made.module.child("agent").react
    answer = steps(("s", {"query": "tool"}), ("submit", {"answer": "x"}))
    with execution_context(scripted(answer), adapter("chat")):
        assert twin(question="module").answer == "x"
    assert world.queries == ["module", "tool"]


def test_a_tool_that_searches_needs_a_corpus() -> None:
    ports = Ports(tools=load_registered({"s": "executions.runtime.tools:search_knowledge_base"}))
    problems = problems_of_program(program(module("agent", "question -> answer", "react", tools=["s"])), ports)
    assert [(problem.code, problem.field) for problem in problems] == [
        ("missing_corpus", "modules.agent.config.tools.0")
    ]
    assert search_knowledge_base(lambda query: [])("x") == "Nothing was found."


def test_declared_tools_stay_functions() -> None:
    @tool(description="Adds.", repeatable=True)
    def add(a: int, b: int) -> int:
        return a + b

    assert add(1, 2) == 3
    assert delivery_date("2026-11-23") == "2026-11-30"
