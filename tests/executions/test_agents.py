"""Agents end to end: rows, a scripted provider, tools from settings, programs as tools, the rights of the caller."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group

from executions.models import Execution
from executions.services import planning
from executions.services.execute import execute_program
from executions.services.process import ExecutionProcess
from executions.types import Mode
from mlops.errors import NotFound
from mlops.models import CreditEntry, User
from mlops.selectors import proven_balance
from mlops.services.credits import credits_for
from programs.models import Program
from programs.runtime.tools import ToolRefusal, tool
from programs.services import deploy_program, new_version, submit_program, update_program
from tests.conftest import api_of
from tests.executions.conftest import state_of
from tests.executions.programs import make_program, provided_model
from tests.factories import make_user
from tests.fakes import fields
from tests.installation import eventually
from tests.provider import Provider, status, text, tool_calls
from tests.provider.server import Behaviour

pytestmark = pytest.mark.django_db(transaction=True)

Call = tuple[str, dict[str, Any]]
noted: list[str] = []


@tool(description="Says where a parcel is.", repeatable=True)
async def find_parcel(number: int) -> dict[str, Any]:
    noted.append(f"find {number}")
    return {"number": number, "place": "Husum"}


@tool(description="Sends a letter.", repeatable=False)
def send_letter(to: str) -> str:
    noted.append(f"letter to {to}")
    return "sent"


@tool(description="Breaks.", repeatable=True)
def break_down(number: int) -> str:
    raise OSError(f"/var/lib/parcels/{number}.db: password 'hunter2' refused")


@tool(description="Refuses.", repeatable=True)
def refuse(number: int) -> str:
    raise ToolRefusal(f"There is no parcel {number}.")


TOOLS = {name: f"{__name__}:{name}" for name in ("find_parcel", "send_letter", "break_down", "refuse")}


@pytest.fixture(autouse=True)
def _registered(settings: Any) -> Iterator[None]:
    settings.SIGNET_TOOLS = TOOLS
    noted.clear()
    yield
    planning.forget()


def in_text(*calls: Call) -> Behaviour:
    """An answer of a model that knows no native tool calls."""
    asked = [{"name": name, "args": arguments} for name, arguments in calls]
    return text(fields(next_thought="I see.", tool_calls={"tool_calls": asked}))


def natively(*calls: Call) -> Behaviour:
    return tool_calls(*calls)


@pytest.fixture(params=["text", "native"])
def calling(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def make_agent(*tools: Any, calling: str = "text", name: str = "agent", **config: Any) -> Program:
    adapter = "json" if calling == "native" else "chat"
    return make_program(
        name=name,
        kind="react",
        module={"config": {"tools": list(tools), **config}},
        config={"adapter": adapter},
    )


def call_with(calling: str) -> Callable[..., Behaviour]:
    return natively if calling == "native" else in_text


def execute(actor: User, question: str = "Where is parcel 4711?", program: str = "agent", **options: Any) -> Execution:
    execution = execute_program(actor=actor, program=program, input={"question": question}, **options)
    return Execution.objects.get(pk=execution.pk)


def spans_of(row: Execution, kind: str) -> list[dict[str, Any]]:
    assert row.trace is not None
    return [span for span in row.trace["spans"] if span["kind"] == kind]


def told(provider: Provider) -> str:
    """Everything the provider was sent."""
    return json.dumps([request.body for request in provider.requests], ensure_ascii=False)


# Tools of the settings


def test_a_tool_is_called_and_its_answer_goes_back_to_the_model(provider: Provider, calling: str) -> None:
    call = call_with(calling)
    model = provided_model(provider, supports_tools=calling == "native")
    make_agent("find_parcel", calling=calling)
    provider.script(call(("find_parcel", {"number": 4711})), call(("submit", {"answer": "In Husum."})))
    user = make_user(credits=1000)

    row = execute(user)

    assert (row.state, row.output, row.error_message) == ("completed", {"answer": "In Husum."}, "")
    assert noted == ["find 4711"]
    (used,) = spans_of(row, "tool")
    assert (used["name"], used["module"], used["input"]) == ("find_parcel", "main", {"number": 4711})
    assert json.loads(used["output"]) == {"number": 4711, "place": "Husum"}
    assert "error" not in used
    asked = spans_of(row, "llm")
    assert len(asked) == len(provider.requests) == 2
    assert ("tools" in provider.requests[0].body) is (calling == "native")
    assert "Says where a parcel is." in json.dumps(provider.requests[0].body)
    assert "Husum" in json.dumps(provider.requests[1].body["messages"])
    assert row.token_usage["by_model"][model.name]["total"] == sum(span["usage"]["total"] for span in asked)
    assert row.cost == sum(span["cost"] for span in asked) > 0
    assert row.credits_used == credits_for(row.cost or 0)
    assert row.max_attempts == 3


@pytest.mark.parametrize(
    ("wrong", "observation"),
    [
        (("nothing", {}), "Unknown tool: nothing"),
        (("break_down", {"number": 1}), "The tool failed (OSError)."),
        (("refuse", {"number": 1}), "There is no parcel 1."),
        (("find_parcel", {"number": "one"}), "is not of type"),
        (("find_parcel", {"name": "one"}), "Arg name is not in the tool's args."),
        (("submit", {}), "Missing required final output field(s): answer"),
    ],
    ids=["unknown", "exception", "refusal", "wrong type", "wrong name", "empty submit"],
)
def test_what_goes_wrong_in_a_tool_is_survived_and_tells_nothing_of_this_machine(
    provider: Provider, calling: str, wrong: Call, observation: str
) -> None:
    call = call_with(calling)
    provided_model(provider, supports_tools=calling == "native")
    make_agent("find_parcel", "break_down", "refuse", calling=calling)
    provider.script(call(wrong), call(("submit", {"answer": "I do not know."})))

    row = execute(make_user(credits=1000))

    assert (row.state, row.output) == ("completed", {"answer": "I do not know."})
    assert observation in told(provider)
    kept = told(provider) + json.dumps(row.trace)
    assert not any(word in kept for word in ("Traceback", ".py", "/var/lib", "hunter2"))


def test_several_calls_in_one_answer_are_all_made(provider: Provider, calling: str) -> None:
    call = call_with(calling)
    provided_model(provider, supports_tools=calling == "native")
    make_agent("find_parcel", calling=calling)
    provider.script(
        call(("find_parcel", {"number": 1}), ("find_parcel", {"number": 2})), call(("submit", {"answer": "Both."}))
    )

    row = execute(make_user(credits=1000))

    assert row.state == "completed"
    assert noted == ["find 1", "find 2"]
    assert [span["input"] for span in spans_of(row, "tool")] == [{"number": 1}, {"number": 2}]


def test_after_its_iterations_an_agent_has_to_submit(provider: Provider, calling: str) -> None:
    call = call_with(calling)
    provided_model(provider, supports_tools=calling == "native")
    make_agent("find_parcel", calling=calling, max_iterations=2)
    provider.script(*[call(("find_parcel", {"number": 1}))] * 2, call(("submit", {"answer": "Enough."})))

    row = execute(make_user(credits=1000))

    assert (row.state, row.output) == ("completed", {"answer": "Enough."})
    assert len(provider.requests) == 3


def test_an_agent_that_comes_to_no_answer_fails_and_is_charged_for_what_it_used(
    provider: Provider, calling: str
) -> None:
    call = call_with(calling)
    provided_model(provider, supports_tools=calling == "native")
    make_agent("find_parcel", calling=calling, max_iterations=2)
    provider.script(*[call(("find_parcel", {"number": 1}))] * 3)
    user = make_user(credits=1000)

    row = execute(user)

    assert (row.state, row.error_code, row.error_module) == ("failed", "unparsable_output", "main")
    assert row.error_message == "The agent came to no answer."
    assert len(provider.requests) == 3
    assert noted == ["find 1", "find 1"]
    assert proven_balance(user) == 1_000_000_000 - row.credits_used < 1_000_000_000


def test_a_fault_of_the_provider_in_mid_run_ends_an_agent_with_its_reason(provider: Provider) -> None:
    provided_model(provider)
    make_agent("find_parcel")
    provider.script(in_text(("find_parcel", {"number": 1})), status(401))
    user = make_user(credits=1000)

    row = execute(user)

    assert (row.state, row.error_code, row.error_module) == ("failed", "authentication", "main")
    assert row.credits_used == credits_for(row.cost or 0) > 0
    assert noted == ["find 1"]


@pytest.mark.parametrize(("name", "attempts"), [("send_letter", 1), ("find_parcel", 3)])
def test_a_tool_that_must_not_be_repeated_allows_one_attempt(provider: Provider, name: str, attempts: int) -> None:
    provided_model(provider)
    make_agent(name, name="inner")
    make_agent({"program": "inner@1"})
    user = make_user(credits=1000)
    for program in ("inner", "agent"):
        provider.script(in_text(("submit", {"answer": "Done."})))
        assert execute(user, program=program).max_attempts == attempts


# Programs as tools


def make_chain(provider: Provider, price: Any = None, **inner: Any) -> tuple[Program, Program]:
    """`agent` uses `triage@1` as a tool; each has a language model of its own."""
    provided_model(provider)
    price = price or {"input_price": 3_000_000, "output_price": 5_000_000}
    own = provided_model(provider, name="openai/of-triage", price=price)
    triage = make_program(
        name="triage", shorthand="message: str -> intent: str", module={"language_model": own}, **inner
    )
    return make_agent({"program": "triage@1"}), triage


def ask_triage() -> tuple[Behaviour, Behaviour, Behaviour]:
    return (
        in_text(("triage", {"message": "Where is it?"})),
        text(fields(intent="tracking")),
        in_text(("submit", {"answer": "It is about tracking."})),
    )


@pytest.mark.parametrize("mode", [Mode.SYNC, Mode.ASYNC])
def test_a_program_as_a_tool_is_part_of_the_same_execution(
    provider: Provider, worker: ExecutionProcess, mode: Mode
) -> None:
    make_chain(provider)
    provider.script(*ask_triage())
    user = make_user(credits=1000)

    pending = execute(user, mode=mode)

    eventually(lambda: state_of(pending) == "completed")
    row = Execution.objects.get()
    assert row.output == {"answer": "It is about tracking."}
    assert row.trace is not None
    spans = row.trace["spans"]
    outer, _first, used, inner, asked, _last = spans
    assert [span["kind"] for span in spans] == ["module", "llm", "tool", "module", "llm", "llm"]
    assert (used["parent"], inner["parent"], asked["parent"]) == (outer["id"], used["id"], inner["id"])
    assert json.loads(used["output"]) == {"intent": "tracking"}
    assert asked["model"] == "openai/of-triage"
    assert provider.requests[1].body["model"] == "of-triage"
    llm = spans_of(row, "llm")
    assert len(row.token_usage["by_model"]) == 2
    assert row.token_usage["total"] == sum(span["usage"]["total"] for span in llm)
    assert row.cost == sum(span["cost"] for span in llm)
    assert asked["cost"] == asked["usage"]["input"] * 3_000_000 + asked["usage"]["output"] * 5_000_000
    assert set(row.language_models) == set(row.token_usage["by_model"])
    assert row.credits_reserved >= row.credits_used == credits_for(row.cost or 0)
    assert CreditEntry.objects.filter(user=user, kind="settle").count() == 1


def test_a_program_that_fails_as_a_tool_is_an_observation(provider: Provider) -> None:
    make_chain(provider)
    provider.script(
        in_text(("triage", {"message": "Where?"})), status(401), in_text(("submit", {"answer": "I could not ask."}))
    )

    row = execute(make_user(credits=1000))

    assert (row.state, row.output) == ("completed", {"answer": "I could not ask."})
    (used,) = spans_of(row, "tool")
    assert used["error"]
    assert "The tool failed" in used["output"]
    assert "Traceback" not in told(provider)


def test_who_may_not_execute_the_tool_may_not_execute_the_program(provider: Provider, admin: User) -> None:
    _agent, triage = make_chain(provider)
    group = Group.objects.create(name="insiders")
    update_program(actor=admin, program=triage, group=group)
    insider, outsider, engineer = make_user(credits=1000), make_user(credits=1000), make_user("ml_engineer")
    insider.groups.add(group)
    path, body = "/api/v1/programs/agent/execute/", {"input": {"question": "Where?"}}

    for stranger in (outsider, engineer):
        for mode in (Mode.SYNC, Mode.ASYNC):
            with pytest.raises(NotFound) as refusal:
                execute(stranger, mode=mode)
            assert refusal.value.code == "program_not_found"
        answer = api_of(stranger).post(path, body, format="json")
        assert answer.status_code == 404
    assert not Execution.objects.exists()
    assert provider.requests == []
    assert proven_balance(outsider) == 1_000_000_000

    provider.script(*ask_triage())
    assert execute(insider).state == "completed"


def test_a_new_version_of_the_tool_leaves_who_pins_the_old_one_alone(provider: Provider, admin: User) -> None:
    _agent, triage = make_chain(provider)
    newer = submit_program(actor=admin, program=new_version(actor=admin, program=triage))
    deploy_program(actor=admin, program=newer)
    assert Program.objects.get(pk=triage.pk).status == "archived"
    provider.script(*ask_triage())

    row = execute(make_user(credits=1000))

    assert (row.state, row.output) == ("completed", {"answer": "It is about tracking."})


def test_the_reservation_covers_a_call_of_the_tool_program(provider: Provider) -> None:
    make_chain(provider, price={"input_price": 10**9, "output_price": 10**9})
    provider.script(*ask_triage())

    row = execute(make_user(credits=10_000))

    assert row.state == "completed"
    assert row.credits_reserved >= row.credits_used > credits_for(10**9)


def test_a_program_in_testing_is_no_tool_for_users(provider: Provider) -> None:
    """A production program may pin what is still in testing, so that engineers can try it; users may not."""
    make_chain(provider, status="testing")

    with pytest.raises(NotFound):
        execute(make_user(credits=1000))

    assert not Execution.objects.exists()
    assert provider.requests == []
    provider.script(*ask_triage())
    assert execute(make_user("ml_engineer")).state == "completed"
