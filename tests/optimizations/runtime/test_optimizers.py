"""Every optimizer on a small task: what it finds, what it leaves alone, and how it is stopped."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import dspy
import pytest
from dspy import lm15

from mlops.errors import Invalid
from mlops.types import LanguageModelSpec
from optimizations.runtime.estimating import work_of
from optimizations.runtime.params import checked_params
from optimizations.runtime.ports import CompileMetric
from optimizations.types import Budget, CandidateState, FinishReason, OptimizerName, ScoredOn
from programs.runtime.build import build
from programs.runtime.modules import ProgramModule
from programs.runtime.ports import Ports
from programs.runtime.prompts import apply_prompts, prompts_of
from programs.types import ProgramSpec
from tests.fakes import PRICE, scripted
from tests.optimizations.runtime.compiles import (
    ASKING,
    CLASSIFY,
    SMALL,
    SPEC,
    TWO_STEPS,
    World,
    anything,
    asked,
    compiled,
    exact,
    examples,
    wanted,
)
from tests.programs.runtime.specs import module, program

COST_OF_A_CALL = 10 * PRICE.input + 5 * PRICE.output
UNPRICED = LanguageModelSpec("m", "fake/model")
THREADED = [
    OptimizerName.BOOTSTRAP_FEW_SHOT_WITH_RANDOM_SEARCH,
    OptimizerName.COPRO,
    OptimizerName.MIPRO_V2,
    OptimizerName.SIMBA,
    OptimizerName.GEPA,
]


def content_of(module: ProgramModule) -> list[Any]:
    """Everything of a module that optimizers change."""
    return [
        (
            name,
            id(predictor),
            id(predictor.signature),
            predictor.signature.instructions,
            str(predictor.signature.fields),
            [dict(demo) for demo in predictor.demos],
            predictor.lm,
            predictor.traces,
            sorted(vars(predictor)),
        )
        for name, predictor in module.named_predictors()
    ] + [sorted(vars(module)), module._compiled]


@pytest.mark.parametrize("spec", [CLASSIFY, TWO_STEPS], ids=["one", "two"])
@pytest.mark.parametrize("optimizer", OptimizerName)
def test_finishes_and_leaves_the_program_alone(
    optimizer: OptimizerName, spec: ProgramSpec, capfd: pytest.CaptureFixture[str]
) -> None:
    world, lm, built = World(), scripted(anything), build(spec, Ports())
    before = content_of(built.module)
    result = compiled(optimizer, world=world, lm=lm, built=built)
    assert (result.finish_reason, result.error, result.error_code) == (FinishReason.FINISHED, "", "")
    assert content_of(built.module) == before
    assert result.calls == result.paid_now == asked(lm) == len(world.memo)
    assert (result.usage.input, result.usage.output) == (10 * result.calls, 5 * result.calls)
    assert result.cost == COST_OF_A_CALL * result.calls
    assert (result.metric_failures, result.failed_calls) == (0, 0)
    assert [one.number for one in world.candidates] == list(range(result.candidates))
    assert result.best in world.candidates
    assert sum(one.calls for one in world.candidates) <= result.calls
    assert world.progress[0].phase == "starting"
    assert world.progress[-1].phase == "done"
    assert [one.calls for one in world.progress] == sorted(one.calls for one in world.progress)
    told = capfd.readouterr()
    assert (told.out, told.err) == ("", "")


@pytest.mark.parametrize("optimizer", OptimizerName)
@pytest.mark.parametrize("spec", [CLASSIFY, TWO_STEPS], ids=["one", "two"])
def test_a_state_survives_storing(optimizer: OptimizerName, spec: ProgramSpec) -> None:
    world = World()
    compiled(optimizer, world=world, built=build(spec, Ports()))
    for candidate in world.candidates:
        stored = json.loads(json.dumps(candidate.state.as_json(), allow_nan=False))
        state = CandidateState.from_json(stored)
        assert state == candidate.state
        assert state.digest() == candidate.digest
        fresh = build(spec, Ports()).module
        apply_prompts(fresh, state.prompts)
        assert CandidateState(prompts_of(spec, fresh)).digest() == candidate.digest
        assert not any("_example" in demo for predictor in fresh.predictors() for demo in predictor.demos)


@pytest.mark.parametrize("optimizer", OptimizerName)
def test_the_best_candidate_asks_as_it_did_while_compiling(optimizer: OptimizerName) -> None:
    """Its stored state, applied to a new program, makes prompts that the model has answered before."""
    world, lm = World(), scripted(anything)
    best = compiled(optimizer, world=world, lm=lm).best
    assert best is not None
    seen = {_prompt(request) for request in lm.engine.requests}
    fresh = build(CLASSIFY, Ports()).module
    apply_prompts(fresh, best.state.prompts)
    known = 0
    with dspy.context(lm=lm, adapter=dspy.ChatAdapter(), disable_history=True):
        for _id, data in [*examples(8), *examples(6, first=8)]:
            fresh(text=data["text"])
            known += _prompt(lm.engine.requests[-1]) in seen
    assert known >= best.n
    assert best.n > 0 or optimizer in (OptimizerName.LABELED_FEW_SHOT, OptimizerName.BOOTSTRAP_FEW_SHOT)


def _prompt(request: Any) -> str:
    return f"{request.system}{[(message.role, message.text) for message in request.messages]}"


@pytest.mark.parametrize("optimizer", OptimizerName)
def test_demos_name_their_example(optimizer: OptimizerName) -> None:
    world = World()
    compiled(optimizer, world=world, built=build(TWO_STEPS, Ports()), params=SMALL[optimizer])
    texts = {data["text"]: example for example, data in examples(14)}
    demos = [demo for one in world.candidates for prompt in one.state.prompts.values() for demo in prompt.demos]
    for demo in demos:
        assert demo["_example"] == texts[demo["text"]]
    few_shot = optimizer not in (OptimizerName.COPRO, OptimizerName.GEPA)
    assert bool(demos) == few_shot


def test_demos_of_inner_modules_name_their_example_too() -> None:
    best = compiled(OptimizerName.BOOTSTRAP_FEW_SHOT, built=build(TWO_STEPS, Ports())).best
    assert best is not None
    for key, names in (("think", {"text", "reasoning", "notes"}), ("decide", {"notes", "text", "label"})):
        demo = best.state.prompts[key].demos[0]
        assert demo.keys() == {"augmented", "_example", *names}
        assert demo["text"] == f"thing {demo['_example'].partition('-')[2]}"


@pytest.mark.parametrize("calls", [0, 1, 2, 7])
@pytest.mark.parametrize("optimizer", ASKING)
def test_a_budget_of_calls_is_exact(optimizer: OptimizerName, calls: int) -> None:
    world, lm = World(), scripted(anything)
    needed = compiled(optimizer).calls
    result = compiled(optimizer, world=world, lm=lm, limits=Budget(calls=calls))
    stopped = needed > calls
    assert result.finish_reason is (FinishReason.BUDGET if stopped else FinishReason.FINISHED)
    assert result.calls == asked(lm) == min(calls, needed)
    if stopped:
        assert all(one.phase != "done" for one in world.progress)
        scored = [one for one in world.candidates if one.score is not None]
        assert (result.best is None) == (not scored)


@pytest.mark.parametrize("optimizer", ASKING)
@pytest.mark.parametrize(
    "limits",
    [
        Budget(cost=0),
        Budget(cost=1),
        Budget(cost=COST_OF_A_CALL + 1),
        Budget(tokens=0),
        Budget(tokens=16),
    ],
    ids=str,
)
def test_cost_and_tokens_are_exact_to_one_call(optimizer: OptimizerName, limits: Budget) -> None:
    lm = scripted(anything)
    result = compiled(optimizer, lm=lm, limits=limits)
    a_call, limit = (COST_OF_A_CALL, limits.cost) if limits.cost is not None else (15, limits.tokens or 0)
    assert limit is not None
    assert asked(lm) == result.calls == max(-(-limit // a_call), 0 if limits.cost is None else 1)
    needs_no_more = optimizer is OptimizerName.BOOTSTRAP_FEW_SHOT and result.calls == 2
    assert result.finish_reason is (FinishReason.FINISHED if needs_no_more else FinishReason.BUDGET)


@pytest.mark.parametrize("optimizer", OptimizerName)
def test_no_time_at_all(optimizer: OptimizerName) -> None:
    lm = scripted(anything)
    result = compiled(optimizer, lm=lm, limits=Budget(seconds=0))
    assert (result.finish_reason, result.best, asked(lm)) == (FinishReason.DEADLINE, None, 0)


@pytest.mark.parametrize("optimizer", THREADED)
@pytest.mark.parametrize("threads", [1, 4])
def test_time_runs_out_within_one_call(optimizer: OptimizerName, threads: int) -> None:
    lm = scripted(slow(0.03))
    params = SMALL[optimizer] | {"num_threads": threads}
    result = compiled(optimizer, lm=lm, params=params, limits=Budget(seconds=0.1))
    assert result.finish_reason is FinishReason.DEADLINE
    assert 1 <= asked(lm) == result.calls <= 4 * threads
    assert result.seconds >= 0.1


@pytest.mark.parametrize("optimizer", ASKING)
@pytest.mark.parametrize("reason", [FinishReason.CANCELLED, FinishReason.DEADLINE])
def test_is_cancelled_within_one_call(optimizer: OptimizerName, reason: FinishReason) -> None:
    world, lm = World(), scripted(anything)
    needed = compiled(optimizer).calls
    at = min(9, needed - 1)
    world.stop = lambda: reason if asked(lm) >= at else None
    result = compiled(optimizer, world=world, lm=lm)
    assert (result.finish_reason, asked(lm)) == (reason, at)


@pytest.mark.parametrize("optimizer", THREADED)
def test_concurrent_runs_stay_within_the_limits(optimizer: OptimizerName) -> None:
    lm, threads = scripted(slow(0.005)), 4
    params = SMALL[optimizer] | {"num_threads": threads}
    result = compiled(optimizer, lm=lm, params=params, limits=Budget(calls=20))
    assert (result.finish_reason, result.calls, asked(lm)) == (FinishReason.BUDGET, 20, 20)
    lm = scripted(slow(0.005))
    result = compiled(optimizer, lm=lm, params=params, limits=Budget(cost=20 * COST_OF_A_CALL))
    assert result.finish_reason is FinishReason.BUDGET
    assert 20 <= result.calls == asked(lm) < 20 + threads
    asked_then = asked(lm)
    time.sleep(0.05)
    assert asked(lm) == asked_then


@pytest.mark.parametrize("optimizer", THREADED)
def test_threads_find_what_one_thread_finds(optimizer: OptimizerName) -> None:
    alone, together = World(), World()
    first = compiled(optimizer, world=alone)
    second = compiled(optimizer, world=together, params=SMALL[optimizer] | {"num_threads": 4})
    assert (first.calls, first.cost) == (second.calls, second.cost)
    assert first.best
    assert second.best
    assert (first.best.digest, first.best.score) == (second.best.digest, second.best.score)
    assert {one[2:6] for one in alone.found()} == {one[2:6] for one in together.found()}


def slow(seconds: float) -> Callable[[Any, Any], str]:
    def answer(given: dict[str, str], request: Any) -> str:
        time.sleep(seconds)
        return anything(given, request)

    return answer


@pytest.mark.parametrize("optimizer", ASKING)
def test_a_model_that_always_fails_is_no_success(optimizer: OptimizerName) -> None:
    lm = scripted(lambda given, request: lm15.ServerError("the provider is down"))
    result = compiled(optimizer, lm=lm)
    assert (result.finish_reason, result.error_code) == (FinishReason.FAILED, "provider_unavailable")
    assert result.failed_calls == result.calls == asked(lm) <= 26
    assert "Traceback" not in result.error


@pytest.mark.parametrize("optimizer", ASKING)
def test_answers_that_nobody_can_read_end_well(
    optimizer: OptimizerName, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    result = compiled(optimizer, lm=scripted(lambda given, request: "garbage"))
    told = capfd.readouterr()
    assert "thing" not in f"{told}{caplog.text}"
    assert "garbage" not in f"{told}{caplog.text}"
    assert result.finish_reason in (FinishReason.FAILED, FinishReason.FINISHED)
    assert result.best is None or not result.best.score
    assert "garbage" not in result.error


@pytest.mark.parametrize("optimizer", ASKING)
def test_a_metric_that_always_fails_is_no_success(optimizer: OptimizerName) -> None:
    def broken(data: Any, output: Any) -> tuple[float, str]:
        raise ZeroDivisionError("no denominator")

    result = compiled(optimizer, score=broken)
    assert (result.finish_reason, result.error_code) == (FinishReason.FAILED, "metric_failed")
    assert "ZeroDivisionError: no denominator" in result.error
    assert result.metric_failures > 0


@pytest.mark.parametrize("value", [None, "1", float("nan"), float("inf")])
def test_what_is_no_score_counts_as_the_bottom(value: Any) -> None:
    def odd(data: Any, output: Any) -> tuple[Any, str]:
        return (value, "") if data["text"] == "thing 8" else exact(data, output)

    optimizer, world = OptimizerName.BOOTSTRAP_FEW_SHOT_WITH_RANDOM_SEARCH, World()
    result = compiled(optimizer, world=world, score=odd)
    assert result.finish_reason is FinishReason.FINISHED
    assert 0 < result.metric_failures <= result.candidates
    assert all(one.score is not None and one.score <= 5 / 6 for one in world.candidates)


def test_scores_are_scaled_to_the_range_of_the_metric() -> None:
    optimizer, plain, wide = OptimizerName.BOOTSTRAP_FEW_SHOT_WITH_RANDOM_SEARCH, World(), World()
    compiled(optimizer, world=plain)

    def from_minus_one(data: Any, output: Any) -> tuple[float, str]:
        value, feedback = exact(data, output)
        return 6 * value - 1, feedback

    compiled(optimizer, world=wide, metric=CompileMetric(from_minus_one, low=-1, high=5))
    assert wide.found() == plain.found()


def test_an_optimizer_that_breaks_keeps_its_best_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    evaluated = dspy.Evaluate.__call__

    def breaking(self: Any, *arguments: Any, **options: Any) -> Any:
        if len(world.candidates) == 2:
            raise RuntimeError("a bug of\nthe optimizer")
        return evaluated(self, *arguments, **options)

    monkeypatch.setattr(dspy.Evaluate, "__call__", breaking)
    result = compiled(OptimizerName.BOOTSTRAP_FEW_SHOT_WITH_RANDOM_SEARCH, world=world)
    assert (result.finish_reason, result.error_code) == (FinishReason.FAILED, "optimizer_failed")
    assert result.error == "The optimizer failed: RuntimeError: a bug of the optimizer"
    assert result.best == max(world.candidates, key=lambda one: one.score or 0)


@pytest.mark.parametrize("port", ["memo_get", "memo_put", "should_stop", "on_candidate", "on_progress"])
@pytest.mark.parametrize("optimizer", ASKING)
def test_an_exception_of_a_port_comes_out(optimizer: OptimizerName, port: str) -> None:
    world = World()
    ports = world.ports()

    def lost(*arguments: Any) -> Any:
        raise ConnectionError(port)

    object.__setattr__(ports, port, lost)
    with pytest.raises(ConnectionError, match=port):
        compiled(optimizer, ports=ports)


def test_a_partial_score_never_beats_a_full_one() -> None:
    world = World()
    result = compiled(OptimizerName.MIPRO_V2, world=world, limits=Budget(calls=17))
    assert result.finish_reason is FinishReason.BUDGET
    assert [one.is_partial for one in world.candidates] == [False, True]
    assert result.best == world.candidates[0]
    assert result.best.n == 6
    assert result.best.scored_on is ScoredOn.VALIDATION


@pytest.mark.parametrize("optimizer", OptimizerName)
@pytest.mark.parametrize("spec", [CLASSIFY, TWO_STEPS], ids=["one", "two"])
def test_the_estimate_holds(optimizer: OptimizerName, spec: ProgramSpec) -> None:
    params, modules = checked_params(optimizer, SMALL[optimizer]), len(spec.modules)
    work = work_of(params, n_train=8, n_val=6, modules=modules)
    calls = compiled(optimizer, built=build(spec, Ports())).calls
    most = work.runs_high * modules + work.proposals_high
    assert work.runs_low * modules + work.proposals_low <= calls <= most <= 3 * max(calls, 8)


def test_modules_with_a_model_of_their_own_keep_it_while_samples_are_drawn() -> None:
    spec = program(
        module("think", "text -> notes", language_model="m-2"),
        module("decide", "notes, text -> label"),
        outputs=("label",),
    )
    lms = {"fake/model": scripted(anything), "other/model": scripted(anything, name="other/model")}
    result = compiled(
        OptimizerName.SIMBA,
        built=build(spec, Ports()),
        models={"": SPEC, "m-2": LanguageModelSpec("m-2", "other/model", price=PRICE)},
        language_model_of=lambda wanted: lms[wanted.name],
    )
    assert result.finish_reason is FinishReason.FINISHED
    assert result.by_model.keys() == {"fake/model", "other/model"}
    assert not any("notes" in wanted(request) for request in lms["fake/model"].engine.requests)
    assert all(wanted(request) == ["notes"] for request in lms["other/model"].engine.requests)


def test_two_compiles_at_once_do_not_meet() -> None:
    results: dict[OptimizerName, Any] = {}
    names = (OptimizerName.GEPA, OptimizerName.SIMBA)
    threads = [
        threading.Thread(target=lambda name=name: results.update({name: compiled(name, lm=scripted(slow(0.001)))}))
        for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in names:
        alone = compiled(name)
        assert (results[name].calls, results[name].best.digest) == (alone.calls, alone.best and alone.best.digest)


@pytest.mark.parametrize(
    ("options", "code", "field"),
    [
        ({"trainset": []}, "training_set_too_small", "dataset"),
        ({"valset": []}, "validation_set_missing", "validation_set"),
        (
            {"models": {"": UNPRICED}, "limits": Budget(cost=5)},
            "model_without_price",
            "budget.cost",
        ),
    ],
)
def test_what_cannot_begin_is_refused(options: dict[str, Any], code: str, field: str) -> None:
    lm = scripted(anything)
    with pytest.raises(Invalid) as refusal:
        compiled(OptimizerName.GEPA, lm=lm, **options)
    assert refusal.value.code == "compile_invalid"
    assert (code, field) in [(problem.code, problem.field) for problem in refusal.value.problems]
    assert asked(lm) == 0
