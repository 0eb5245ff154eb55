"""Programs of several modules, and the prompts they are executed with, end to end against a provider on loopback."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import dspy
import pytest

from datasets.services import create_corpus
from datasets.types import PassageSpec
from executions.models import Execution
from executions.services import process
from executions.services.execute import execute_program
from executions.services.process import ExecutionProcess
from executions.types import Mode
from mlops.models import User
from mlops.services.history import operator
from programs.models import Program, PromptVersion
from programs.services import (
    ModuleInput,
    activate_prompt_version,
    create_program,
    create_prompt_version,
    deploy_program,
    submit_program,
)
from programs.types import ConnectionSpec
from tests.executions.conftest import state_of
from tests.executions.programs import make_program, provided_model
from tests.factories import make_signature, make_user
from tests.fakes import fields
from tests.installation import eventually
from tests.provider import Provider, status, text
from tests.provider.server import Behaviour, Exchange

pytestmark = pytest.mark.django_db(transaction=True)


def deployed(name: str, modules: list[ModuleInput], *connections: ConnectionSpec, **more: Any) -> Program:
    program = create_program(actor=operator(), name=name, modules=modules, connections=connections, **more)
    return deploy_program(actor=operator(), program=submit_program(actor=operator(), program=program))


def execute(actor: User, program: str, values: dict[str, Any], **options: Any) -> Execution:
    execution = execute_program(actor=actor, program=program, input=values, **options)
    return Execution.objects.get(pk=execution.pk)


def spans_of(row: Execution) -> list[dict[str, Any]]:
    assert row.trace is not None
    spans: list[dict[str, Any]] = row.trace["spans"]
    return spans


# Retrieval


def make_answering_with_sources() -> Program:
    passages = [
        PassageSpec("Returns", "Send goods back within thirty days."),
        PassageSpec("Opening hours", "The shop in Husum opens at nine."),
        PassageSpec("Payment", "We take cards and invoices."),
    ]
    corpus = create_corpus(actor=operator(), name="handbook", passages=passages)
    search = ModuleInput(
        "search", "retrieve", None, {"corpus": str(corpus.pk), "k": 1, "input": "question", "output": "passages"}
    )
    signature = make_signature("question: str, passages: list[str] -> answer: str")
    return deployed("sourced", [search, ModuleInput("answer", "chain_of_thought", signature)])


@pytest.mark.parametrize("mode", [Mode.SYNC, Mode.ASYNC])
def test_passages_of_a_corpus_reach_the_model_that_thinks_about_them(
    provider: Provider, worker: ExecutionProcess, mode: Mode
) -> None:
    provided_model(provider)
    make_answering_with_sources()
    provider.script(text(fields(reasoning="The handbook says it.", answer="At nine.")))

    pending = execute(make_user(credits=10), "sourced", {"question": "When does the shop in Husum open?"}, mode=mode)

    eventually(lambda: state_of(pending) == "completed")
    row = Execution.objects.get(pk=pending.pk)
    assert row.output is not None
    assert row.output["answer"] == "At nine."
    retrieve, search, think, asked = spans_of(row)
    assert [span["kind"] for span in (retrieve, search, think, asked)] == ["module", "retriever", "module", "llm"]
    assert (search["parent"], asked["parent"]) == (retrieve["id"], think["id"])
    assert search["output"] == ["Opening hours: The shop in Husum opens at nine."]
    assert think["input"]["passages"] == search["output"]
    (request,) = provider.requests
    assert "opens at nine" in json.dumps(request.body)
    assert "thirty days" not in json.dumps(request.body)


# Custom modules


class Shouting(dspy.Module):  # type: ignore[misc]  # DSPy is untyped
    """Asks the model, then shouts what it said; `marks` comes from the row."""

    def __init__(self, signature: type[dspy.Signature], marks: int) -> None:
        super().__init__()
        self.ask = dspy.Predict(signature)
        self.marks = marks

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        said = await self.ask.acall(**inputs)
        return dspy.Prediction(answer=said.answer.upper() + "!" * self.marks)


class Breaking(dspy.Module):  # type: ignore[misc]  # DSPy is untyped
    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        raise LookupError(f"/srv/models/{inputs['question']}.bin: token 'hunter2'")


def make_custom(settings: Any, name: str, **arguments: Any) -> Program:
    settings.SIGNET_MODULES = {"shouting": f"{__name__}:Shouting", "breaking": f"{__name__}:Breaking"}
    config = {"module": name, "arguments": arguments}
    return deployed("own", [ModuleInput("own", "custom", make_signature("question: str -> answer: str"), config)])


def test_a_module_that_settings_register_is_executed(provider: Provider, settings: Any) -> None:
    provided_model(provider)
    make_custom(settings, "shouting", marks=3)
    provider.script(text(fields(answer="hello")))

    row = execute(make_user(credits=10), "own", {"question": "Say hello"})

    assert (row.state, row.output) == ("completed", {"answer": "HELLO!!!"})
    assert [(span["kind"], span["module"]) for span in spans_of(row)] == [("module", "own"), ("llm", "own")]
    assert row.credits_used > 0


def test_a_registered_module_that_raises_ends_the_execution_without_its_words(
    provider: Provider, settings: Any
) -> None:
    provided_model(provider)
    make_custom(settings, "breaking")

    row = execute(make_user(credits=10), "own", {"question": "secret"})

    assert (row.state, row.error_code, row.error_module) == ("failed", "unknown", "own")
    assert "LookupError" in row.error_message
    assert not any(word in f"{row.error_message} {row.trace}" for word in ("hunter2", "/srv", "Traceback"))


# Branches


def make_branches() -> Program:
    modules = [
        ModuleInput("mood", "predict", make_signature("message: str -> mood: str")),
        ModuleInput("topic", "predict", make_signature("message: str -> topic: str")),
        ModuleInput("reply", "predict", make_signature("mood: str, topic: str -> answer: str")),
    ]
    connections = (ConnectionSpec("mood", "mood", "reply", "mood"), ConnectionSpec("topic", "topic", "reply", "topic"))
    return deployed("branching", modules, *connections)


def together(count: int, answers: dict[str, str]) -> Behaviour:
    """Answers once `count` requests are in flight at the same time."""

    async def behave(exchange: Exchange) -> None:
        while exchange.provider.max_in_flight < count:
            await asyncio.sleep(0.01)
        wanted = next(name for name in answers if f"`[[ ## {name} ## ]]`" in json.dumps(exchange.body))
        exchange.complete({"content": fields(**{wanted: answers[wanted]})}, "stop")

    return behave


def test_independent_branches_ask_at_the_same_time(provider: Provider) -> None:
    provided_model(provider)
    make_branches()
    provider.script(*[together(2, {"mood": "cross", "topic": "parcel"})] * 2)

    row = execute(make_user(credits=10), "branching", {"message": "Where is it?!"})

    assert (row.state, row.output) == ("completed", {"answer": "some answer"})
    assert provider.max_in_flight == 2
    assert len(provider.requests) == 3
    last = json.dumps(provider.requests[-1].body)
    assert "cross" in last
    assert "parcel" in last
    asked = [span for span in spans_of(row) if span["kind"] == "llm"]
    assert {span["module"] for span in asked} == {"mood", "topic", "reply"}
    assert row.token_usage["total"] == sum(span["usage"]["total"] for span in asked)


def test_a_branch_that_fails_ends_the_other_one(provider: Provider) -> None:
    provided_model(provider)
    make_branches()

    async def refuse_when_both_ask(exchange: Exchange) -> None:
        while exchange.provider.max_in_flight < 2:
            await asyncio.sleep(0.01)
        await status(401)(exchange)

    async def never(exchange: Exchange) -> None:
        await asyncio.Event().wait()

    provider.script(never, refuse_when_both_ask)

    row = execute(make_user(credits=10), "branching", {"message": "Where is it?!"})

    assert (row.state, row.error_code) == ("failed", "authentication")
    assert row.error_module in ("mood", "topic")
    eventually(lambda: provider.in_flight == 0)
    assert len(provider.requests) == 2


# Prompt versions


def test_an_execution_uses_the_active_prompt_version_and_says_which(provider: Provider) -> None:
    provided_model(provider)
    module, user = make_program().modules.get(), make_user(credits=100)
    demos = [{"question": "How tall is the lighthouse?", "answer": "Forty metres."}]
    admin = make_user("admin")
    answers = []
    for template, examples in (("Answer in one word.", demos), ("Answer like a captain.", [])):
        version = create_prompt_version(actor=admin, module=module, prompt_template=template, demos=examples)
        before = execute(user, "answering", {"question": "Why?"})
        activate_prompt_version(actor=admin, prompt_version=version)
        after = execute(user, "answering", {"question": "Why?"})
        assert list(after.prompt_set.versions.all()) == [version]
        assert before.prompt_set_id != after.prompt_set_id
        answers += [before, after]

    first, second, third, fourth = (json.dumps(request.body["messages"]) for request in provider.requests)
    assert not any("one word" in sent or "lighthouse" in sent for sent in (first, fourth))
    assert second == third
    for expected in ("Answer in one word.", "How tall is the lighthouse?", "Forty metres."):
        assert expected in second
    assert "Answer like a captain." in fourth
    assert answers[1].prompt_set_id == answers[2].prompt_set_id
    assert answers[1].token_usage["input"] > answers[0].token_usage["input"]


def test_what_was_admitted_before_an_activation_runs_with_its_own_prompt(provider: Provider) -> None:
    provided_model(provider)
    module, user, admin = make_program().modules.get(), make_user(credits=100), make_user("admin")
    waiting = execute(user, "answering", {"question": "Why?"}, mode=Mode.ASYNC)
    version = create_prompt_version(actor=admin, module=module, prompt_template="Answer like a captain.")
    activate_prompt_version(actor=admin, prompt_version=version)
    first = PromptVersion.objects.exclude(pk=version.pk).get()

    execute(user, "answering", {"question": "Why?"})
    here = process.ensure_started()
    here.submit(here.begin_claiming()).result()
    eventually(lambda: state_of(waiting) == "completed")

    assert list(waiting.prompt_set.versions.all()) == [first]
    now, later = (json.dumps(request.body["messages"]) for request in provider.requests)
    assert "Answer like a captain." in now
    assert "captain" not in later
