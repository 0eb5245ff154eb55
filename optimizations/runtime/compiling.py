"""One compile: an optimizer of DSPy at work on a copy of a program, under a guard that it cannot get past."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dspy

from executions.runtime.failures import error_of
from mlops.errors import all_of
from mlops.runtime.adapters import adapter
from mlops.runtime.context import execution_context
from mlops.runtime.engines import language_model
from mlops.sanitiser import replace_unstorable
from mlops.types import LanguageModelSpec, ModelErrorCode
from optimizations.runtime.candidates import Candidates
from optimizations.runtime.checks import modules_with_prompts, problems_of_compile
from optimizations.runtime.engines import guarded
from optimizations.runtime.estimating import work_of
from optimizations.runtime.examples import ExampleData, Examples
from optimizations.runtime.guard import CompileStopped, Guard, Stop
from optimizations.runtime.memo import Memo
from optimizations.runtime.optimizers import Bench, optimize
from optimizations.runtime.origins import Origins
from optimizations.runtime.params import Params, checked_params
from optimizations.runtime.ports import CompileMetric, CompilePorts, MetricOf
from optimizations.runtime.scoring import Scoring
from optimizations.runtime.silence import silenced
from optimizations.runtime.stragglers import wait_for_stragglers
from optimizations.runtime.subject import Subject, state_of, subject_of, watch_of
from optimizations.types import Budget, CandidateState, CompileResult, FinishReason, OptimizerName
from programs.runtime.built import BuiltProgram
from programs.runtime.modules import using_language_models

DEFAULT_MODEL = ""
_NO_LIMITS = Budget()
_NOBODY = CompilePorts()
_ANY_NUMBER = 10**9
_MAX_MESSAGE = 300


def run_optimizer(
    program: BuiltProgram,
    *,
    optimizer: OptimizerName,
    params: Mapping[str, Any],
    trainset: Sequence[ExampleData],
    valset: Sequence[ExampleData],
    metric_of: MetricOf,
    models: Mapping[str, LanguageModelSpec],
    prompt_model: LanguageModelSpec | None = None,
    seed: int = 0,
    limits: Budget = _NO_LIMITS,
    ports: CompilePorts = _NOBODY,
    language_model_of: Callable[[LanguageModelSpec], dspy.LM] = language_model,
) -> CompileResult:
    """Look for better prompts of `program`. Blocks until the optimizer is done or stopped; never changes `program`.

    `models` holds the default under "" and every id of `program.language_models`; `prompt_model` proposes instructions
    (None: the default). Raises `Invalid` (`compile_invalid`, `params_invalid`) for what cannot begin, and what a port
    raises; everything else that goes wrong is in the result.
    """
    checked = checked_params(optimizer, params)
    prompter = prompt_model or models[DEFAULT_MODEL]
    problems = problems_of_compile(
        program,
        optimizer,
        checked,
        n_train=len(trainset),
        n_val=len(valset),
        models=[*models.values(), prompter],
        limits=limits,
    )
    if problems:
        raise all_of(problems, code="compile_invalid", message="The compile cannot begin.")
    wait_for_stragglers()
    guard = Guard(limits, ports.should_stop)
    memo = Memo(ports, guard)

    def guarded_model_of(spec: LanguageModelSpec) -> dspy.LM:
        return guarded(language_model_of(spec), spec.id, guard, memo)

    work = _Work(
        program,
        checked,
        guard=guard,
        memo=memo,
        ports=ports,
        metric=metric_of(guarded_model_of),
        trainset=trainset,
        valset=valset,
    )
    try:
        with work.context({name: guarded_model_of(spec) for name, spec in models.items()}):
            work.carry_out(guarded_model_of(prompter), seed)
    finally:
        guard.close()
    if guard.broken is not None:
        raise guard.broken
    return work.result()


class _Work:
    """One run of an optimizer, from the copy of the program to the result."""

    def __init__(
        self,
        program: BuiltProgram,
        params: Params,
        *,
        guard: Guard,
        memo: Memo,
        ports: CompilePorts,
        metric: CompileMetric,
        trainset: Sequence[ExampleData],
        valset: Sequence[ExampleData],
    ) -> None:
        self._program, self._params, self._guard = program, params, guard
        self._inputs = tuple(field.name for field in program.inputs.fields)
        self._origins = Origins(program.spec, self._inputs)
        self._subject = subject_of(program, watch_of(program, self._origins))
        self._trainset = Examples(trainset, self._example)
        self._valset = Examples(valset, self._example)
        expected = work_of(params, n_train=len(trainset), n_val=len(valset), modules=modules_with_prompts(program))
        self._candidates = Candidates(
            self._state_of(self._subject), guard, ports, total=expected.candidates, scores_total=expected.runs_high
        )
        self._scoring = Scoring(metric, guard, memo)
        self._scoring.listeners.append(lambda value: self._candidates.scored())

    @contextmanager
    def context(self, lms: Mapping[str, dspy.LM]) -> Iterator[None]:
        """DSPy for this compile. Errors of examples are counted by us, so that DSPy's own limit does not end it."""
        own = {name: lm for name, lm in lms.items() if name != DEFAULT_MODEL}
        with (
            silenced(),
            execution_context(lms[DEFAULT_MODEL], adapter(self._program.spec.adapter)),
            using_language_models(own),
            dspy.context(max_errors=_ANY_NUMBER, num_threads=1),
        ):
            self._subject.watch.nobodys_trace = dspy.settings.trace
            yield

    def carry_out(self, prompt_model: dspy.LM, seed: int) -> None:
        """Let the optimizer work until it is done, stopped, or broken."""
        bench = Bench(
            subject=self._subject,
            trainset=self._trainset,
            valset=self._valset,
            scoring=self._scoring,
            prompt_model=prompt_model,
            seed=seed,
            candidates=self._candidates,
            state_of=self._state_of,
        )
        try:
            self._guard.check()
            self._candidates.tell("starting", at_once=True)
            returned = optimize(self._params, bench)
            if self._guard.stopped is None:
                self._candidates.returned(self._state_of(returned))
                self._candidates.tell("done", at_once=True)
        except CompileStopped:
            pass
        except Exception as error:
            self._guard.stop(_failure_of(error))
        except BaseException:
            self._guard.stop(Stop(FinishReason.FAILED, "interrupted", "The compile was interrupted."))
            raise

    def result(self) -> CompileResult:
        """What came of it. An optimizer that was stopped, or that nothing succeeded for, has not finished."""
        stop = self._guard.stopped or self._all_failed() or Stop(FinishReason.FINISHED)
        spent, scoring = self._guard.spent, self._scoring
        return CompileResult(
            finish_reason=stop.reason,
            best=self._candidates.best,
            candidates=self._candidates.count,
            calls=spent.calls,
            paid_now=self._guard.paid_now,
            usage=spent.usage,
            by_model=spent.by_model,
            cost=spent.cost,
            seconds=self._guard.seconds,
            metric_calls=scoring.calls,
            metric_failures=scoring.failures,
            failed_calls=self._guard.failed_calls,
            error_code=stop.code,
            error=stop.message,
        )

    def _all_failed(self) -> Stop | None:
        scoring, guard = self._scoring, self._guard
        if scoring.asked and scoring.failures == scoring.asked:
            return Stop(FinishReason.FAILED, "metric_failed", f"The metric failed every time. {scoring.last_failure}")
        if guard.failed_calls and guard.failed_calls == guard.spent.calls:
            return Stop(FinishReason.FAILED, *guard.last_failure)
        return None

    def _state_of(self, subject: Subject) -> CandidateState:
        return state_of(self._program.spec, subject, self._origins)

    def _example(self, key: str, data: Mapping[str, Any]) -> dspy.Example:
        self._origins.taken(key, data)
        return dspy.Example(dict(data)).with_inputs(*self._inputs)


def _failure_of(error: Exception) -> Stop:
    """What ended the optimizer, in words that may be shown."""
    known = error_of(error)
    if known.code != ModelErrorCode.UNKNOWN.value:
        return Stop(FinishReason.FAILED, known.code, known.message)
    words, _is_changed = replace_unstorable(" ".join(str(error).split())[:_MAX_MESSAGE])
    return Stop(FinishReason.FAILED, "optimizer_failed", f"The optimizer failed: {type(error).__name__}: {words}")
