"""A job whose worker is gone goes on elsewhere: the same candidates, nothing paid twice."""

from __future__ import annotations

import random
import time
from typing import Any

import dspy
import pytest
from dspy import lm15

from optimizations.runtime.ports import CompileMetric
from optimizations.runtime.stragglers import wait_for_stragglers
from optimizations.types import Budget, FinishReason, OptimizerName
from programs.runtime.build import build
from programs.runtime.ports import Ports
from tests.fakes import fields, scripted
from tests.optimizations.runtime.compiles import (
    ASKING,
    SMALL,
    TWO_STEPS,
    Killed,
    World,
    anything,
    asked,
    compiled,
    exact,
)

MOMENTS = 20


def kill_at(world: World, lm: Any, call: int) -> None:
    """The worker dies while the answer to this call is on its way to the memo."""

    def die() -> None:
        if asked(lm) >= call:
            raise Killed

    world.before_put = die


@pytest.mark.parametrize("optimizer", ASKING)
def test_killed_at_any_moment_it_arrives_at_the_same_candidates(optimizer: OptimizerName) -> None:
    whole, lm = World(), scripted(anything)
    undisturbed = compiled(optimizer, world=whole, lm=lm)
    moments = random.Random(7).sample(range(1, undisturbed.calls + 1), min(MOMENTS, undisturbed.calls))
    for moment in moments:
        world, lm = World(), scripted(anything)
        kill_at(world, lm, moment)
        with pytest.raises(Killed):
            compiled(optimizer, world=world, lm=lm)
        assert asked(lm) == moment
        assert len(world.memo) == moment - 1
        world.before_put, world.candidates = lambda: None, []
        resumed = compiled(optimizer, world=world, lm=lm)
        assert world.found() == whole.found()
        assert (resumed.finish_reason, resumed.calls, resumed.cost) == (
            FinishReason.FINISHED,
            undisturbed.calls,
            undisturbed.cost,
        )
        # only the call that was under way is repeated
        assert asked(lm) == undisturbed.calls + 1
        assert resumed.paid_now == undisturbed.calls - (moment - 1)


def test_killed_again_and_again_it_ends() -> None:
    optimizer, world, lm = OptimizerName.MIPRO_V2, World(), scripted(anything)
    whole = World()
    calls = compiled(optimizer, world=whole, built=build(TWO_STEPS, Ports())).calls
    kills = 0
    while True:
        kill_at(world, lm, asked(lm) + 5)
        world.candidates = []
        try:
            compiled(optimizer, world=world, lm=lm, built=build(TWO_STEPS, Ports()))
            break
        except Killed:
            kills += 1
    assert kills == (calls - 1) // 4
    assert world.found() == whole.found()
    assert asked(lm) == calls + kills


@pytest.mark.parametrize("optimizer", ASKING)
def test_a_resumed_job_stops_where_an_uninterrupted_one_does(optimizer: OptimizerName) -> None:
    needed = compiled(optimizer).calls
    limit = max(needed // 2, 1)
    whole = World()
    compiled(optimizer, world=whole, limits=Budget(calls=limit))
    world, lm = World(), scripted(anything)
    kill_at(world, lm, limit)
    with pytest.raises(Killed):
        compiled(optimizer, world=world, lm=lm, limits=Budget(calls=limit))
    world.before_put, world.candidates = lambda: None, []
    resumed = compiled(optimizer, world=world, lm=lm, limits=Budget(calls=limit))
    assert (resumed.finish_reason, resumed.calls, resumed.paid_now) == (FinishReason.BUDGET, limit, 1)
    assert world.found() == whole.found()


def test_what_is_finished_costs_nothing_again() -> None:
    for optimizer in ASKING:
        world = World()
        compiled(optimizer, world=world)
        first, lm = world.found(), scripted(anything)
        world.candidates = []
        again = compiled(optimizer, world=world, lm=lm)
        assert (asked(lm), again.paid_now) == (0, 0)
        assert world.found() == first


def test_more_threads_pay_for_nothing_twice() -> None:
    for optimizer in ASKING:
        params = SMALL[optimizer]
        if optimizer.value != "bootstrap_few_shot":
            params = params | {"num_threads": 4}
        world = World()
        compiled(optimizer, world=world, params=params)
        lm = scripted(anything)
        compiled(optimizer, world=world, lm=lm, params=params)
        assert asked(lm) == 0


@pytest.mark.parametrize("optimizer", ASKING)
def test_failures_are_remembered_so_that_a_resumed_job_goes_the_same_way(optimizer: OptimizerName) -> None:
    def flaky(given: dict[str, str], request: Any) -> Any:
        said = anything(given, request)
        return lm15.ServerError("busy") if "thing 3" in given.get("text", "") else said

    whole = World()
    first = compiled(optimizer, world=whole, lm=scripted(flaky))
    found = whole.found()
    whole.candidates = []
    lm = scripted(anything)
    again = compiled(optimizer, world=whole, lm=lm)
    assert (asked(lm), again.failed_calls, whole.found()) == (0, first.failed_calls, found)
    assert (again.finish_reason, again.error) == (first.finish_reason, first.error)


def test_the_same_question_asked_again_is_another_answer() -> None:
    """DSPy asks again at temperature 1 where it wants another run; each of them has its own place in the memo."""
    said: list[str] = []

    def changing(given: dict[str, str], request: Any) -> str:
        said.append(given["text"])
        return fields(label="red" if len(said) > 9 else "grey")

    params = {"max_bootstrapped_demos": 1, "max_labeled_demos": 0, "max_rounds": 3}
    world, lm = World(), scripted(changing)
    first = compiled(OptimizerName.BOOTSTRAP_FEW_SHOT, world=world, lm=lm, params=params)
    assert max(occurrence for _hash, occurrence in world.memo) == 1
    again = compiled(OptimizerName.BOOTSTRAP_FEW_SHOT, world=world, lm=lm, params=params)
    assert (again.calls, again.paid_now) == (first.calls, 0)
    assert again.best
    assert first.best
    assert again.best.digest == first.best.digest


def test_what_a_judge_was_paid_for_is_remembered_too() -> None:
    judge = scripted(lambda given, request: fields(rating="1"), name="fake/judge")

    def judged(data: Any, output: Any) -> tuple[float, str]:
        judge(f"[[ ## text ## ]]\n{data['text']} {output['label']}\n\nRespond with `[[ ## rating ## ]]`")
        return exact(data, output)

    world, lm = World(), scripted(anything)
    optimizer = OptimizerName.BOOTSTRAP_FEW_SHOT_WITH_RANDOM_SEARCH
    first = compiled(optimizer, world=world, lm=lm, metric=CompileMetric(judged))
    assert first.calls == asked(lm) + asked(judge)
    assert first.by_model.keys() == {"fake/model", "fake/judge"}
    assert asked(judge) < first.metric_calls  # the same output of the same example is judged once
    paid = asked(lm), asked(judge)
    again = compiled(optimizer, world=world, lm=lm, metric=CompileMetric(judged))
    assert (asked(lm), asked(judge)) == paid
    assert (again.calls, again.cost, again.paid_now) == (first.calls, first.cost, 0)


def test_a_judge_is_within_the_budget() -> None:
    judge = scripted(lambda given, request: fields(rating="1"), name="fake/judge")

    def judged(data: Any, output: Any) -> tuple[float, str]:
        judge("how good?")
        return exact(data, output)

    lm = scripted(anything)
    result = compiled(OptimizerName.SIMBA, lm=lm, metric=CompileMetric(judged), limits=Budget(calls=10))
    assert result.finish_reason is FinishReason.BUDGET
    assert 10 <= result.calls == asked(lm) + asked(judge) <= 11


def test_threads_ask_a_judge_once_for_the_same_output() -> None:
    judge = scripted(lambda given, request: fields(rating="1"), name="fake/judge")

    def judged(data: Any, output: Any) -> tuple[float, str]:
        time.sleep(0.01)
        judge("how good?")
        return 0.5, "half"

    lm = scripted(lambda given, request: fields(label="red"))
    params = SMALL[OptimizerName.SIMBA] | {"num_threads": 4}
    result = compiled(OptimizerName.SIMBA, world=World(), lm=lm, metric=CompileMetric(judged), params=params)
    assert result.finish_reason is FinishReason.FINISHED
    assert asked(judge) == 8


def test_a_slow_run_is_not_started_again() -> None:
    """DSPy would, and pay for both; its own limit is two minutes."""
    wait_for_stragglers()
    started: list[int] = []

    def run(module: int) -> int:
        started.append(module)
        time.sleep(1.3 if module == 2 else 0)
        return module

    parallel = dspy.Parallel(num_threads=2, timeout=0.1, disable_progress_bar=True, access_examples=False)
    assert parallel([(run, (number,)) for number in range(3)]) == [0, 1, 2]
    assert started == [0, 1, 2]
