"""DSPy's optimizers, each with the hooks that show its candidates."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import dspy
from dspy.utils.callback import BaseCallback

from optimizations.runtime.candidates import Candidates, Found
from optimizations.runtime.examples import Examples
from optimizations.runtime.params import (
    BootstrapFewShotParams,
    CoproParams,
    GepaParams,
    LabeledFewShotParams,
    MiproV2Params,
    Params,
    RandomSearchParams,
    SimbaParams,
    validation_size,
)
from optimizations.runtime.scoring import Scoring
from optimizations.runtime.subject import Subject
from optimizations.types import CandidateState, ScoredOn

StateOf = Callable[[Subject], CandidateState]


@dataclass(frozen=True, slots=True)
class Bench:
    """What an optimizer works with."""

    subject: Subject
    trainset: Examples
    valset: Examples
    scoring: Scoring
    prompt_model: dspy.LM
    seed: int
    candidates: Candidates
    state_of: StateOf


Optimize = Callable[[Any, Bench], Subject]


def optimize(params: Params, bench: Bench) -> Subject:
    """The program that the optimizer returns. Within DSPy's context of the compile: some ask it when constructed."""
    return _OPTIMIZERS[type(params)](params, bench)


def _labeled_few_shot(params: LabeledFewShotParams, bench: Bench) -> Subject:
    optimizer = dspy.LabeledFewShot(k=params.k)
    compiled: Subject = optimizer.compile(bench.subject, trainset=_shuffled(bench), sample=params.sample)
    return compiled


def _bootstrap_few_shot(params: BootstrapFewShotParams, bench: Bench) -> Subject:
    optimizer = dspy.BootstrapFewShot(metric=bench.scoring.value, **params.model_dump())
    compiled: Subject = optimizer.compile(bench.subject, trainset=list(_shuffled(bench)))
    return compiled


def _random_search(params: RandomSearchParams, bench: Bench) -> Subject:
    options = params.model_dump()
    if params.stop_at_score is not None:
        options["stop_at_score"] = 100 * params.stop_at_score
    optimizer = dspy.BootstrapFewShotWithRandomSearch(metric=bench.scoring.value, **options)
    names = ["no demos", "labeled demos", "bootstrapped demos"]
    names += [f"bootstrapped demos, shuffle {number}" for number in range(params.num_candidate_programs)]
    with _evaluations(bench, ScoredOn.VALIDATION, len(bench.valset), names):
        compiled: Subject = optimizer.compile(bench.subject, trainset=list(_shuffled(bench)), valset=list(bench.valset))
    return compiled


def _copro(params: CoproParams, bench: Bench) -> Subject:
    optimizer = dspy.COPRO(
        metric=bench.scoring.value,
        prompt_model=bench.prompt_model,
        breadth=params.breadth,
        depth=params.depth,
        init_temperature=params.init_temperature,
    )
    with _evaluations(bench, ScoredOn.TRAINING, len(bench.trainset), ["proposed instructions"]):
        compiled: Subject = optimizer.compile(
            bench.subject,
            trainset=list(bench.trainset),
            eval_kwargs={"num_threads": params.num_threads, "display_progress": False, "display_table": False},
        )
    return compiled


class _MiproV2(dspy.MIPROv2):  # type: ignore[misc]  # DSPy ships no types
    """DSPy's own fails when every combination that it has tried was scored in full already."""

    def _perform_full_evaluation(self, *arguments: Any) -> tuple[float, Any, int]:
        tried, scored_in_full = arguments[2], arguments[3]
        if tried.keys() <= scored_in_full.keys():
            best_score, best_program, calls = arguments[9], arguments[10], arguments[7]
            return best_score, best_program, calls
        found: tuple[float, Any, int] = super()._perform_full_evaluation(*arguments)
        return found


def _mipro_v2(params: MiproV2Params, bench: Bench) -> Subject:
    optimizer = _MiproV2(
        metric=bench.scoring.value,
        prompt_model=bench.prompt_model,
        task_model=dspy.settings.lm,
        max_bootstrapped_demos=params.max_bootstrapped_demos,
        max_labeled_demos=params.max_labeled_demos,
        auto=params.auto,
        num_candidates=params.num_candidates,
        num_threads=params.num_threads,
        max_errors=dspy.settings.max_errors,
        seed=bench.seed,
        init_temperature=params.init_temperature,
        track_stats=False,
        metric_threshold=params.metric_threshold,
    )
    used = validation_size(params, len(bench.valset))
    with _evaluations(bench, ScoredOn.VALIDATION, used, ["proposed instructions and demos"]):
        compiled: Subject = optimizer.compile(
            bench.subject,
            trainset=list(bench.trainset),
            valset=list(bench.valset),
            num_trials=params.num_trials,
            minibatch=params.minibatch,
            minibatch_size=params.minibatch_size,
            minibatch_full_eval_steps=params.minibatch_full_eval_steps,
            program_aware_proposer=False,  # it would show the prompt model this module's source, not the program
        )
    return compiled


def _simba(params: SimbaParams, bench: Bench) -> Subject:
    optimizer = dspy.SIMBA(
        metric=bench.scoring.with_feedback,
        bsize=params.bsize,
        num_candidates=params.num_candidates,
        max_steps=params.max_steps,
        max_demos=params.max_demos,
        prompt_model=bench.prompt_model,
        num_threads=params.num_threads,
    )
    bench.scoring.listeners.append(_SimbaBoard(bench, params.bsize).heard)
    compiled: Subject = optimizer.compile(bench.subject, trainset=list(bench.trainset), seed=bench.seed)
    return compiled


def _gepa(params: GepaParams, bench: Bench) -> Subject:
    sizes = (params.auto, params.max_full_evals, params.max_metric_calls)
    optimizer = dspy.GEPA(
        metric=bench.scoring.with_feedback,
        auto="light" if sizes == (None, None, None) else params.auto,
        max_full_evals=params.max_full_evals,
        max_metric_calls=params.max_metric_calls,
        reflection_minibatch_size=params.reflection_minibatch_size,
        candidate_selection_strategy=params.candidate_selection_strategy,
        reflection_lm=bench.prompt_model,
        skip_perfect_score=params.skip_perfect_score,
        use_merge=params.use_merge,
        max_merge_invocations=params.max_merge_invocations,
        num_threads=params.num_threads,
        warn_on_score_mismatch=False,
        seed=bench.seed,
        gepa_kwargs={"callbacks": [_GepaCallback(bench)]},
    )
    compiled: Subject = optimizer.compile(bench.subject, trainset=list(bench.trainset), valset=list(bench.valset))
    return compiled


_OPTIMIZERS: Mapping[type[Params], Optimize] = {
    LabeledFewShotParams: _labeled_few_shot,
    BootstrapFewShotParams: _bootstrap_few_shot,
    RandomSearchParams: _random_search,
    CoproParams: _copro,
    MiproV2Params: _mipro_v2,
    SimbaParams: _simba,
    GepaParams: _gepa,
}


def _shuffled(bench: Bench) -> Examples:
    """The training set for optimizers that know no seed: 0 leaves it in order."""
    return bench.trainset if bench.seed == 0 else bench.trainset.shuffled(bench.seed)


def _evaluations(bench: Bench, scored_on: ScoredOn, full: int, labels: Sequence[str]) -> AbstractContextManager[None]:
    """Within this context each evaluation of a program is a candidate.

    `full` is the size of the whole set; `labels` name the candidates in order, the last one all further ones.
    """
    callback = _EvaluationCallback(bench, scored_on, full, labels)
    watching: AbstractContextManager[None] = dspy.context(callbacks=[callback])
    return watching


class _EvaluationCallback(BaseCallback):  # type: ignore[misc]  # DSPy ships no types
    def __init__(self, bench: Bench, scored_on: ScoredOn, full: int, labels: Sequence[str]) -> None:
        self._bench, self._scored_on, self._full = bench, scored_on, full
        self._labels = list(labels)
        self._evaluated: dict[str, Subject] = {}

    def on_evaluate_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        self._evaluated[call_id] = inputs["program"]

    def on_evaluate_end(self, call_id: str, outputs: Any | None, exception: BaseException | None = None) -> None:
        subject = self._evaluated.pop(call_id)
        if exception is not None or outputs is None:
            return
        scores = [float(score) for *_, score in outputs.results]
        label = self._labels.pop(0) if len(self._labels) > 1 else self._labels[0]
        self._bench.candidates.add(
            Found(
                self._bench.state_of(subject),
                label,
                sum(scores) / len(scores),
                len(scores),
                self._scored_on,
                is_partial=len(scores) < self._full,
            )
        )


class _GepaCallback:
    """GEPA tells of each candidate that was scored on the whole validation set."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def on_valset_evaluated(self, event: Mapping[str, Any]) -> None:
        subject = self._bench.subject.deepcopy()
        for name, predictor in subject.named_predictors():
            if name in event["candidate"]:
                predictor.signature = predictor.signature.with_instructions(event["candidate"][name])
        parents = ", ".join(str(parent) for parent in event["parent_ids"] if parent is not None)
        self._bench.candidates.add(
            Found(
                self._bench.state_of(subject),
                f"reflection on {parents}" if parents else "the program as it came",
                event["average_score"],
                event["num_examples_evaluated"],
                ScoredOn.VALIDATION,
                is_partial=event["num_examples_evaluated"] < event["total_valset_size"],
            )
        )


class _SimbaBoard:
    """SIMBA tells of nothing, so its candidates are known by their runs.

    Samples of runs are made with a model set on the predictors, candidates are scored without. A new candidate is
    scored on one batch, the finalists on the whole training set.
    """

    def __init__(self, bench: Bench, batch: int) -> None:
        self._bench, self._batch = bench, batch
        self._scores: dict[int, tuple[Subject, list[float]]] = {}
        self._lock = threading.Lock()

    def heard(self, value: float) -> None:
        """The run that this thread made last was scored."""
        subject = self._bench.subject.watch.last_ran
        if subject is None or any(predictor.lm is not None for predictor in subject.predictors()):
            return
        with self._lock:
            scores = self._scores.setdefault(id(subject), (subject, []))[1]
            scores.append(value)
            n, mean = len(scores), sum(scores) / len(scores)
        full = len(self._bench.trainset)
        if n in (self._batch, full):
            self._found(subject, n, mean, is_partial=n < full)

    def _found(self, subject: Subject, n: int, mean: float, *, is_partial: bool) -> None:
        state = self._bench.state_of(subject)
        if is_partial and state.digest() in self._bench.candidates:
            return  # a finalist on its way through the whole set
        label = "demo or rule added" if is_partial else "finalist"
        self._bench.candidates.add(Found(state, label, mean, n, ScoredOn.TRAINING, is_partial))
