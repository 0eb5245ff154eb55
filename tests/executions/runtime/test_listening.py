"""What a listener hears of a run: modules, and the texts of their outputs while the provider says them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from executions.runtime.run import HELD_BACK, run
from executions.types import RunResult
from mlops.runtime.engines import aclose_language_models
from mlops.runtime.matcher import MODEL
from mlops.runtime.recorder import Recorder
from mlops.types import LanguageModelSpec
from programs.runtime.build import build
from programs.runtime.built import BuiltProgram
from programs.runtime.ports import Ports
from programs.types import AdapterName, PromptSpec
from tests.fakes import fields
from tests.mlops.runtime.calling import SECRET, spec_of
from tests.programs.runtime.specs import module, program
from tests.provider import Behaviour, Dictation, Provider, status, text

ECHO = build(program(module("main", "question -> answer", "chain_of_thought")), Ports())
IN_JSON = build(program(module("main", "question -> answer", "chain_of_thought"), adapter=AdapterName.JSON), Ports())

QUIET = "%-0123456789"
"""A secret that no word of these answers may be the beginning of."""

Heard = list[tuple[str, ...]]


class Notes:
    """A listener that writes down what it hears, and can be waited for."""

    def __init__(self) -> None:
        self.heard: Heard = []
        self._more = asyncio.Event()

    def started(self, module: str) -> None:
        self._note(module, "started")

    def told(self, module: str, field: str, text: str) -> None:
        self._note(module, field, text)

    def completed(self, module: str) -> None:
        self._note(module, "completed")

    def _note(self, *words: str) -> None:
        self.heard.append(words)
        self._more.set()

    async def until(self, count: int) -> Heard:
        while len(self.heard) < count:
            self._more.clear()
            await self._more.wait()
        return self.heard

    def text(self, module: str, field: str) -> str:
        return "".join(words[2] for words in self.heard if words[:2] == (module, field))


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


def listened(
    program: BuiltProgram, spec: LanguageModelSpec, recorder: Recorder | None = None, **values: str
) -> tuple[RunResult, Notes]:
    """One run to its end."""

    async def once() -> tuple[RunResult, Notes]:
        notes = Notes()
        try:
            return await ran(program, spec, notes, recorder, **values), notes
        finally:
            await aclose_language_models()

    return asyncio.run(once())


async def ran(
    program: BuiltProgram, spec: LanguageModelSpec, notes: Notes, recorder: Recorder | None = None, **values: str
) -> RunResult:
    given = values or {"question": "why?"}
    return await run(program, given, models={"": spec}, deadline_s=20, recorder=recorder, listener=notes)


@pytest.mark.parametrize(("program", "said"), [
    (ECHO, ["[[ ## reasoning ## ]]\nIt", " is", ".\n\n[[ ## answer ##", " ]]\nso", "\n\n[[ ## completed ## ]]"]),
    (IN_JSON, ['{"reasoning": "It', " is", '.", "answer"', ': "so', '"}']),
], ids=["chat", "json"])  # fmt: skip
def test_each_chunk_is_told_before_the_next_one_is_said(
    provider: Provider, program: BuiltProgram, said: Sequence[str]
) -> None:
    dictation = Dictation()
    provider.script(dictation)
    expected: Heard = [
        ("main", "started"),
        ("main", "reasoning", "It"),
        ("main", "reasoning", " is"),
        ("main", "reasoning", "."),
        ("main", "answer", "so"),
        ("main", "completed"),
    ]

    async def dictated() -> tuple[RunResult, Notes]:
        notes = Notes()
        running = asyncio.create_task(ran(program, spec_of(provider, api_key=QUIET), notes))
        for number, part in enumerate(said):
            dictation.say(part)
            assert await notes.until(number + 2 if number < 3 else 5) == expected[: len(notes.heard)]
        assert not running.done()
        dictation.end()
        try:
            return await running, notes
        finally:
            await aclose_language_models()

    result, notes = asyncio.run(asyncio.wait_for(dictated(), 20))
    assert result.error is None
    assert result.output == {"answer": "so"}
    assert notes.heard == expected
    assert len(provider.requests) == 1


def test_usage_cost_and_trace_are_those_of_any_run(provider: Provider) -> None:
    told, _ = listened(ECHO, spec_of(provider))
    silent = asyncio.run(_unheard(provider))
    assert (told.output, told.usage, told.cost, told.prices) == (
        silent.output,
        silent.usage,
        silent.cost,
        silent.prices,
    )
    shapes = [
        [{name: span[name] for name in span if not name.endswith("_ms")} for span in result.trace["spans"]]
        for result in (told, silent)
    ]
    assert shapes[0] == shapes[1]


async def _unheard(provider: Provider) -> RunResult:
    try:
        return await run(ECHO, {"question": "why?"}, models={"": spec_of(provider)}, deadline_s=20)
    finally:
        await aclose_language_models()


@pytest.mark.parametrize("cut", [0, 3, len("[hidden]") + 5, len(SECRET) - 1])
def test_a_secret_that_the_provider_repeats_is_told_to_nobody(provider: Provider, cut: int) -> None:
    dictation = Dictation()
    provider.script(dictation)
    dictation.say("[[ ## reasoning ## ]]\nr\n\n[[ ## answer ## ]]\nyou sent " + SECRET[:cut])
    dictation.say(SECRET[cut:] + " and sk")
    dictation.end()
    result, notes = listened(ECHO, spec_of(provider))
    assert notes.text("main", "answer") == "you sent [hidden] and sk" == (result.output or {})["answer"]
    assert result.flags == (HELD_BACK,)


def test_a_secret_that_travels_on_to_another_model_is_told_to_nobody(provider: Provider) -> None:
    """The second model has another key, and repeats what the first one had let slip."""
    two = build(
        program(
            module("first", "question -> draft"),
            module("second", "draft -> answer", language_model="other"),
            connect=("first.draft > second.draft",),
        ),
        Ports(),
    )
    provider.script(text(fields(draft=f"it is {SECRET}")), text(fields(answer=f"it was {SECRET}")))
    other = spec_of(provider, "openai/other", api_key="sk-of-the-other-one")
    notes = Notes()

    async def once() -> RunResult:
        models = {"": spec_of(provider), "other": other}
        try:
            return await run(two, {"question": "?"}, models=models, deadline_s=20, listener=notes)
        finally:
            await aclose_language_models()

    result = asyncio.run(once())
    assert result.output == {"answer": "it was [hidden]"}
    assert notes.text("second", "answer") == "it was [hidden]"


def test_before_the_first_chunk_it_is_tried_again_and_handed_on(provider: Provider) -> None:
    empty = Dictation()
    empty.break_off()
    provider.script(status(500), empty)
    with Provider() as backup:
        spec = spec_of(provider, max_retries=1, fallbacks=(spec_of(backup, "openai/spare"),))
        result, notes = listened(ECHO, spec)
        assert (len(provider.requests), len(backup.requests)) == (2, 1)
    assert result.error is None
    assert notes.text("main", "answer") == "some answer"
    (llm,) = [span for span in result.trace["spans"] if span["kind"] == "llm"]
    assert (llm["retries"], llm["fallback"]) == (1, "openai/spare")


def test_after_a_chunk_nothing_is_tried_again_and_the_cost_is_unknown(provider: Provider) -> None:
    """Nobody knows what was used: the provider would have told it at the end."""
    dictation = Dictation()
    provider.script(dictation)
    dictation.say("[[ ## reasoning ## ]]\nIt is")
    dictation.break_off()
    with Provider() as backup:
        spare = spec_of(backup, "openai/spare", api_key=QUIET)
        spec = spec_of(provider, api_key=QUIET, max_retries=3, fallbacks=(spare,))
        result, notes = listened(ECHO, spec)
        assert (len(provider.requests), len(backup.requests)) == (1, 0)
    assert result.error
    assert (result.error.code, result.error.module) == ("provider_unavailable", "main")
    assert notes.heard == [("main", "started"), ("main", "reasoning", "It is")]
    assert (result.usage.requests, result.usage.unpriced, result.cost, result.known_cost) == (1, 1, None, 0)
    (llm,) = [span for span in result.trace["spans"] if span["kind"] == "llm"]
    assert (llm["output"], llm["unpriced"]) == ("[[ ## reasoning ## ]]\nIt is", "no usage told")


def test_what_is_no_answer_is_asked_for_again_only_if_nothing_was_told(provider: Provider) -> None:
    provider.script(text("it is so"), text('{"reasoning": "r", "answer": "so"}'))
    spec = spec_of(provider, api_key=QUIET)
    result, notes = listened(ECHO, spec)
    assert (result.output, len(provider.requests)) == ({"answer": "so"}, 2)
    assert notes.heard == [
        ("main", "started"),
        ("main", "reasoning", "r"),
        ("main", "answer", "so"),
        ("main", "completed"),
    ]
    provider.script(text("[[ ## reasoning ## ]]\nonly this"))
    result, notes = listened(ECHO, spec)
    assert result.error
    assert (result.error.code, len(provider.requests)) == ("unparsable_output", 3)
    assert notes.text("main", "reasoning") == "only this"
    assert notes.text("main", "answer") == ""


def test_whoever_leaves_closes_the_connection_at_the_provider(provider: Provider) -> None:
    dictation = Dictation()
    provider.script(dictation)
    dictation.say("[[ ## reasoning ## ]]\nIt is")
    recorder = Recorder()

    async def left() -> None:
        notes = Notes()
        running = asyncio.create_task(ran(ECHO, spec_of(provider), notes, recorder))
        await notes.until(2)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await asyncio.to_thread(dictation.left.wait, 10)
        await aclose_language_models()

    asyncio.run(left())
    assert (recorder.usage.requests, recorder.cost) == (1, None)


def test_the_example_matcher_is_heard_too() -> None:
    lost = {"message": "My card is lost.", "intent": "lost_card"}
    demos = [lost, {"message": "Where is my money?", "intent": "transfer"}] * 4
    sorting = module("main", "message -> intent", "chain_of_thought", prompt=PromptSpec("Sort.", tuple(demos)))
    matching = build(program(sorting), Ports())
    result, notes = listened(matching, LanguageModelSpec(id="m", name=MODEL), message="My card is lost.")
    assert result.error is None
    assert notes.text("main", "intent") == (result.output or {})["intent"]
    assert notes.heard[0] == ("main", "started")
    assert notes.heard[-1] == ("main", "completed")
    assert len([words for words in notes.heard if words[1] == "reasoning"]) > 1


def test_of_an_agent_its_answer_is_told_and_nothing_of_its_calls(provider: Provider) -> None:
    """The program that it uses as a tool has a module of the same name and a field of the same name."""
    inner = build(program(module("main", "question -> answer")), Ports())
    agent = module("main", "question -> answer", "react", tools=[{"program": "helper@1"}])
    made = build(program(agent), Ports(programs={"helper@1": inner}))

    def asks(name: str, question: dict[str, str]) -> Behaviour:
        calls = {"tool_calls": [{"name": name, "args": question}]}
        return text(fields(next_thought="I see.", tool_calls=calls))

    provider.script(
        asks("helper", {"question": "?"}), text(fields(answer="inner")), asks("submit", {"answer": "outer"})
    )
    result, notes = listened(made, spec_of(provider))
    assert result.output == {"answer": "outer"}
    assert notes.heard == [("main", "started"), ("main", "answer", "outer"), ("main", "completed")]
