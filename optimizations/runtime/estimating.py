"""How much an optimizer will do, before it begins."""

from __future__ import annotations

import math
from dataclasses import dataclass

import dspy
from dspy.teleprompt.mipro_optimizer_v2 import AUTO_RUN_SETTINGS

from optimizations.runtime.params import (
    BootstrapFewShotParams,
    CoproParams,
    GepaParams,
    LabeledFewShotParams,
    MiproV2Params,
    Params,
    RandomSearchParams,
    SimbaParams,
    uses_minibatches,
    validation_size,
)

LEAST_WORDS, MOST_WORDS = 600, 9_000
"""Characters of what an optimizer tells the prompt model in its own words, beside what `Reading` counts."""

_BATCH = 10
"""Examples that MIPROv2 describes at a time, and such descriptions at most."""
_SHOWN = 3
"""Runs of the program that MIPROv2 shows the prompt model."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one call of the prompt model reads at most, beside the program's own prompts: examples, runs of the program,
    and answers that the prompt model gave before."""

    examples: int = 0
    runs: int = 0
    answers: int = 0


@dataclass(frozen=True, slots=True)
class Work:
    """Scored runs of the program and calls of the prompt model, at least and at most; candidates, where they are known.

    A call whose answer cannot be read is made once more in JSON; that is in the upper bound of the prompt model's calls
    and not in that of runs, which are counted in runs. `reads` is what each proposal reads; `written` answers of the
    prompt model may stand in the instructions of one module.
    """

    runs_low: int
    runs_high: int
    proposals_low: int = 0
    proposals_high: int = 0
    candidates: int | None = None
    reads: Reading = Reading()
    written: int = 0


def work_of(params: Params, *, n_train: int, n_val: int, modules: int) -> Work:
    """What the optimizer of these parameters will do. `modules` are those with prompts."""
    match params:
        case BootstrapFewShotParams():
            work = Work(min(params.max_bootstrapped_demos, n_train), n_train * params.max_rounds, candidates=1)
        case RandomSearchParams():
            work = _random_search(params, n_train, n_val)
        case CoproParams():
            work = _copro(params, n_train, modules)
        case MiproV2Params():
            work = _mipro(params, n_train, n_val, modules)
        case SimbaParams():
            work = _simba(params, n_train)
        case GepaParams():
            work = _gepa(params, n_train, n_val, modules)
        case _:
            assert isinstance(params, LabeledFewShotParams)
            work = Work(0, 0, candidates=1)
    return work


def _random_search(params: RandomSearchParams, n_train: int, n_val: int) -> Work:
    tried = params.num_candidate_programs
    shortest = min(params.max_bootstrapped_demos, n_train) + tried
    longest = (tried + 1) * n_train * params.max_rounds
    if params.stop_at_score is not None:
        return Work(n_val, (tried + 3) * n_val + longest, candidates=tried + 3)
    return Work((tried + 3) * n_val + shortest, (tried + 3) * n_val + longest, candidates=tried + 3)


def _copro(params: CoproParams, n_train: int, modules: int) -> Work:
    breadth, depth = params.breadth, params.depth
    # With several modules all earlier instructions are scored again at each depth.
    scored = breadth * depth if modules == 1 else modules * breadth * depth * (depth + 1) // 2
    proposals = modules * (breadth * depth - 1)
    return Work(
        scored * n_train,
        scored * n_train,
        proposals,
        2 * proposals,
        candidates=scored,
        reads=Reading(answers=breadth),
        written=1,
    )


def _mipro(params: MiproV2Params, n_train: int, n_val: int, modules: int) -> Work:
    without_demos = params.max_bootstrapped_demos == 0
    size, trials = params.num_candidates or 0, params.num_trials or 0
    instructions = size
    if params.auto is not None:
        size = AUTO_RUN_SETTINGS[params.auto]["n"]
        instructions = size if without_demos else size // 2
        variables = modules if without_demos else 2 * modules
        trials = int(max(2 * variables * math.log2(size), 1.5 * size))
    sets = max(size - 2 + (params.max_labeled_demos == 0), 0)
    summaries = min(math.ceil(n_train / 10), 10) + 1
    # With fewer than three candidates there is still the set without demos.
    proposals = modules * min(instructions, max(size, 1))
    used = validation_size(params, n_val)
    least, more, candidates = (trials + 1) * used, 0, trials + 1
    if uses_minibatches(params, n_val):
        fulls = trials // params.minibatch_full_eval_steps
        least = used + trials * params.minibatch_size + fulls * used
        more, candidates = 2 * used, 1 + trials + fulls + 1
    return Work(
        least + sets,
        least + more + sets * n_train,
        proposals + 2,
        2 * (proposals + summaries),
        candidates=candidates,
        reads=Reading(examples=_BATCH, runs=_SHOWN, answers=_BATCH),
        written=1,
    )


def _simba(params: SimbaParams, n_train: int) -> Work:
    per_step = min(params.num_candidates + 1, params.bsize)
    finalists = min(params.num_candidates, params.max_steps) + 1
    sampled = params.max_steps * params.bsize * params.num_candidates
    most = sampled + params.max_steps * per_step * params.bsize + finalists * n_train
    return Work(
        sampled + n_train,
        most,
        0,
        2 * params.max_steps * per_step,
        reads=Reading(examples=1, runs=2, answers=params.max_steps),
        written=params.max_steps,
    )


def _gepa(params: GepaParams, n_train: int, n_val: int, modules: int) -> Work:
    size = gepa_metric_calls(params, n_train=n_train, n_val=n_val, modules=modules)
    batch = params.reflection_minibatch_size
    reflections = math.ceil(max(size - n_val, 0) / batch)
    most = max(size, n_val) + n_val + 2 * batch
    return Work(
        max(size, n_val), most, 0, 2 * reflections, reads=Reading(examples=batch, runs=batch, answers=1), written=1
    )


def gepa_metric_calls(params: GepaParams, *, n_train: int, n_val: int, modules: int) -> int:
    """The size of a GEPA search in scored runs."""
    if params.max_metric_calls is not None:
        return params.max_metric_calls
    if params.max_full_evals is not None:
        return params.max_full_evals * (n_train + n_val)
    candidates = AUTO_RUN_SETTINGS[params.auto or "light"]["n"]
    calls: int = dspy.GEPA.auto_budget(None, modules, candidates, n_val)  # it asks nothing of the instance
    return calls
