from __future__ import annotations

import json

import dspy
import pytest
from dspy.lm15 import (
    Config,
    Message,
    Request,
    Response,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    Usage,
)

from mlops.runtime.recorder import Recorder
from mlops.types import ModelErrorCode, ModelFailure
from optimizations.runtime.guard import CompileStopped, Guard, Spent, Stop
from optimizations.runtime.memo import (
    failure_from,
    hash_of_request,
    response_of,
    storable,
    stored_failure,
    stored_response,
)
from optimizations.types import Budget, FinishReason

REQUEST = Request("some/model", (Message.user("what?"),), system="be good", config=Config(temperature=0.5, seed=3))


@pytest.mark.parametrize(
    "response",
    [
        Response(None, "m", Message.assistant([TextPart("")]), "stop", Usage()),
        Response(
            "r-1",
            "m",
            Message.assistant(
                [ThinkingPart("hm"), TextPart("tëxt \U0001f600"), ToolCallPart("c-1", "look", {"a": [1, None, 2.5]})]
            ),
            "tool_call",
            Usage(input_tokens=3, output_tokens=0, total_tokens=3, cache_read_tokens=1, reasoning_tokens=2),
            provider_data={"x_cost": 0.25, "usage": {"prompt_tokens": 3}},
        ),
        Response("r-2", "m", Message.assistant([TextPart("cut")]), "length", Usage(output_tokens=5)),
    ],
    ids=["empty", "all", "cut"],
)
def test_a_response_is_read_back_as_it_was(response: Response) -> None:
    stored = json.loads(json.dumps(stored_response(response), allow_nan=False))
    assert response_of(stored) == response


def test_the_hash_is_of_everything_that_is_asked() -> None:
    same = Request("some/model", (Message.user("what?"),), system="be good", config=Config(seed=3, temperature=0.5))
    assert hash_of_request("m-1", REQUEST) == hash_of_request("m-1", same)
    others = [
        hash_of_request("m-2", REQUEST),
        hash_of_request("m-1", Request("other/model", REQUEST.messages, system="be good", config=REQUEST.config)),
        hash_of_request("m-1", Request("some/model", (Message.user("why?"),), system="be good", config=REQUEST.config)),
        hash_of_request("m-1", Request("some/model", REQUEST.messages, config=REQUEST.config)),
        hash_of_request("m-1", Request("some/model", REQUEST.messages, system="be good", config=Config(seed=3))),
    ]
    assert len({hash_of_request("m-1", REQUEST), *others}) == 6


def test_failures_are_read_back_as_they_were() -> None:
    failure = ModelFailure(ModelErrorCode.RATE_LIMITED, "slow down", "some/model", 2.5)
    assert failure_from(json.loads(json.dumps(stored_failure(failure)))) == failure


def test_secrets_and_what_databases_refuse_are_not_kept() -> None:
    recorder = Recorder()
    recorder.repeated_secrets.add("sk-123")
    kept = storable({"text": "the key sk-123 and \x00 and \ud800"}, recorder)
    assert "sk-123" not in kept["text"]
    assert "\x00" not in kept["text"]
    json.dumps(kept).encode()
    kept["text"].encode()


def test_without_money_goes_on_what_costs_nothing() -> None:
    guard = Guard(Budget(cost=0), lambda: None)
    for _ in range(3):
        with guard.call():
            guard.add(Spent(calls=1), is_new=True)
    with guard.call():
        guard.add(Spent(calls=1, cost=1), is_new=True)
    with pytest.raises(CompileStopped), guard.call():
        pytest.fail("nothing that costs is begun")
    assert guard.stopped == Stop(FinishReason.BUDGET)


def test_the_first_reason_stays_and_nothing_begins_after_it() -> None:
    reasons = iter([None, FinishReason.CANCELLED, FinishReason.DEADLINE])
    guard = Guard(Budget(), lambda: next(reasons))
    guard.check()
    for _ in range(3):
        with pytest.raises(CompileStopped, match="cancelled"):
            guard.check()
    with pytest.raises(CompileStopped), guard.call():
        pytest.fail("a call began")
    assert guard.stopped
    assert guard.stopped.reason is FinishReason.CANCELLED
    assert not issubclass(CompileStopped, Exception)


def test_dspy_still_asks_for_another_answer_as_this_house_expects() -> None:
    """`rollout_id` never reaches an engine: what tells answers apart is which one it is."""
    seen: list[Request] = []

    class Engine:
        supports_function_calling = supports_response_schema = supports_reasoning = False
        supported_params = frozenset({"temperature"})

        def complete(self, request: Request) -> Response:
            seen.append(request)
            return Response("r", "m", Message.assistant([TextPart("t")]), "stop", Usage())

    lm = dspy.LM("some/model", engine=Engine(), cache=False, num_retries=0)
    for number in (1, 2):
        lm.copy(rollout_id=number, temperature=1.0)("what?")
    assert hash_of_request("m", seen[0]) == hash_of_request("m", seen[1])
