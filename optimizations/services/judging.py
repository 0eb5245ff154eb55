"""How good a program version is on the validation set: an evaluation that the job makes once and works on itself."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import Any

from django.utils.translation import gettext as _

from executions.models import Evaluation
from executions.services.evaluations import compare_evaluations, evaluate_program, run_evaluation_here
from executions.services.evaluations.comparing import Side
from mlops.errors import Conflict
from mlops.services.jobs import Held, Stopped, StopReason
from mlops.types import JobState
from optimizations.models import Optimization
from optimizations.services.ending import stop_evaluation
from optimizations.types import Budget, FinishReason
from programs.models import Program, PromptSet

SOURCE = "optimization"
"""`source_kind` of the evaluations of a job."""

PHASES = {"baseline_evaluation": "baseline", "best_evaluation": "judging"}


def judged(
    held: Held[Optimization], column: str, *, program: Program, prompt_set: PromptSet | None, budget: Budget
) -> Evaluation:
    """The ended evaluation that stands in `column` of the job; it is made if there is none yet.

    Raises what `evaluate_program` raises, `Conflict` (`judgement_failed`) for one that did not complete, and `Stopped`.
    """
    held.check()
    evaluation: Evaluation | None = getattr(held.job, column)
    if evaluation is None:
        evaluation = _asked(held, column, program, prompt_set, budget)
    if not evaluation.is_terminal:
        _report(held, PHASES[column], evaluation, force=True)
        evaluation = run_evaluation_here(
            evaluation,
            should_stop=partial(_should_stop, held, evaluation),
            on_progress=partial(_tell, held, PHASES[column]),
        )
    held.check()
    if not evaluation.is_terminal:
        raise Stopped(StopReason.HANDED_BACK)
    if evaluation.state != JobState.COMPLETED:
        raise _failed(evaluation)
    return evaluation


def _asked(
    held: Held[Optimization], column: str, program: Program, prompt_set: PromptSet | None, budget: Budget
) -> Evaluation:
    """A new evaluation, noted on the job in the transaction that makes it."""
    validation_set = held.job.validation_set
    assert validation_set is not None  # every job has one from its start
    with held.guard() as row:
        evaluation = evaluate_program(
            actor=row.user,
            program=program,
            dataset=validation_set,
            metrics=[row.metric],
            prompt_set=prompt_set,
            budget=budget,
            source_kind=SOURCE,
            source_id=row.pk,
        )
        setattr(row, column, evaluation)
        row.save(update_fields=[column])
    setattr(held.job, column, evaluation)
    return evaluation


def _tell(held: Held[Optimization], phase: str, evaluation: Evaluation) -> None:
    with suppress(Stopped):  # `should_stop` says it again, and what was done is stored first
        _report(held, phase, evaluation)


def _report(held: Held[Optimization], phase: str, evaluation: Evaluation, *, force: bool = False) -> None:
    """Tell how far it is. The job gets on with each example that is done, whoever did it; not by looking again."""
    before = held.job.progress
    done_before = before["done"] if before.get("evaluation") == str(evaluation.pk) else 0
    if evaluation.done > done_before:
        held.get_on()
    told = {"phase": phase, "done": evaluation.done, "total": evaluation.size, "evaluation": str(evaluation.pk)}
    held.report(told, force=force, lasting=False)


def _should_stop(held: Held[Optimization], evaluation: Evaluation) -> bool:
    """Whether this worker has to leave the evaluation to others. With the job it is cancelled for all of them, and
    comes to its end here."""
    if held.stop_reason is StopReason.CANCELLED:
        stop_evaluation(evaluation)
        return False
    return held.stop_reason is not None


def _failed(evaluation: Evaluation) -> Conflict:
    why = evaluation.error_message or evaluation.get_state_display()
    return Conflict("judgement_failed", _("The evaluation did not complete: %(why)s") % {"why": why})


def compared(job: Optimization, baseline: Evaluation, best: Evaluation) -> dict[str, Any]:
    """The paired comparison as the job keeps it.

    `is_better` is None where one of the two was stopped by the budget: what it scored says nothing about the rest.
    """
    found = compare_evaluations(actor=job.user, baseline=baseline, candidate=best, metric=job.metric)
    is_whole = {baseline.finish_reason, best.finish_reason} == {FinishReason.FINISHED.value}
    pairs = found.pairs
    return {
        **asdict(pairs),
        "test": pairs.test.value,
        "size": found.size,
        "dropped": found.dropped,
        "baseline": _side(found.baseline),
        "candidate": _side(found.candidate),
        "is_better": pairs.is_better if is_whole else None,
    }


def _side(side: Side) -> dict[str, Any]:
    return {
        "evaluation": str(side.evaluation),
        "mean": side.mean,
        "scored": side.scored,
        "cost": side.cost.mean,
        "duration_ms": side.duration_ms.p50,
    }
