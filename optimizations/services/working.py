"""What a worker does with a compile: judge the baseline, search, make a version of the best, judge that.

Each step notes on the job what it made in the transaction that makes it, so that a worker that takes over goes on
behind it: the evaluations and the result are there or not. Only the search is begun anew; the memo gives it every
answer that was paid for.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from django.utils.translation import gettext as _

from executions.models import Evaluation
from executions.runtime.run import LanguageModelOf
from executions.services.planning import Plan
from executions.services.scoring import scorer_of
from mlops.errors import DomainError
from mlops.selectors import language_model_spec
from mlops.services.jobs import Held, ring, sweep, work_through
from optimizations.models import Optimization
from optimizations.runtime.compiling import run_optimizer
from optimizations.runtime.ports import CompileMetric
from optimizations.services.asking import models_of
from optimizations.services.budgets import Used, left_of, set_aside, used_by_evaluation, used_by_search
from optimizations.services.examples import StoredExamples
from optimizations.services.judging import compared, judged
from optimizations.services.records import Records
from optimizations.services.results import (
    best_of,
    refuse_changed,
    store_search,
    version_of,
)
from optimizations.services.spending import Spending
from optimizations.services.starting import QUEUE, TASK
from optimizations.types import RUNTIME_VERSION, Budget, CompileResult, FinishReason, OptimizerName

BASELINE, BEST = "baseline_evaluation", "best_evaluation"


def work_optimizations() -> int:
    """Work on what is pending, one compile after the other; how many ended here. Jobs of newer code are left alone."""
    return work_through(Optimization.objects.filter(runtime_version__lte=RUNTIME_VERSION), _work)


def sweep_optimizations() -> None:
    """Hand back or end what lost workers held, and ring for what is pending."""
    if sweep(Optimization):
        ring(TASK, QUEUE)


def _work(held: Held[Optimization]) -> None:
    plan = _taken(held)
    job = held.job
    budget = Budget.from_json(job.budget)
    baseline = judged(held, BASELINE, program=job.program, prompt_set=job.prompt_set, budget=budget)
    if not job.finish_reason:
        _search(held, plan, baseline, budget)
    if not held.has_ended:
        _judge(held, baseline, left_of(budget, used_by_evaluation(baseline) + used_by_search(held.job)))


def _taken(held: Held[Optimization]) -> Plan:
    """The job's program as it was asked for. Raises `Conflict` (`program_changed`)."""
    with held.guard() as row:
        row.runtime_version = RUNTIME_VERSION
        row.save(update_fields=["runtime_version"])
    _reload(held)
    return refuse_changed(held.job)


def _search(held: Held[Optimization], plan: Plan, baseline: Evaluation, budget: Budget) -> None:
    """Let the optimizer work on what is left of the budget, and store what came of it."""
    job = held.job
    before = Used(seconds=job.seconds)  # calls that were paid for earlier are counted again, from the memo
    limits = left_of(budget, used_by_evaluation(baseline) + set_aside(baseline) + before)
    with Records(held, Spending(job, plan)) as records:
        found = run_optimizer(
            plan.built,
            optimizer=OptimizerName(job.optimizer),
            params=job.params,
            trainset=StoredExamples(job.dataset),
            valset=StoredExamples(job.validation_set) if job.validation_set else (),
            metric_of=partial(_metric, job),
            models=models_of(plan),
            prompt_model=None if job.prompt_model is None else language_model_spec(job.prompt_model),
            seed=job.seed,
            limits=limits,
            ports=records.ports(),
        )
    _store(held, found, before.seconds)


def _store(held: Held[Optimization], found: CompileResult, seconds_before: float) -> None:
    """What was found; a search that failed or was cancelled ends the job, any other makes a version of its best."""

    def stop(row: Optimization) -> None:
        store_search(row, found, seconds_before=seconds_before)
        if found.finish_reason is FinishReason.CANCELLED:
            row.cancel()
        else:
            row.fail(found.error_code, found.error)

    if found.finish_reason in (FinishReason.CANCELLED, FinishReason.FAILED):
        held.end(stop)
        return
    held.check()
    with held.guard() as row:
        store_search(row, found, seconds_before=seconds_before)
        best = best_of(row)
        if best is not None:
            row.result_program = version_of(best, actor=row.user)
        row.save()
    held.get_on()
    _reload(held)


def _judge(held: Held[Optimization], baseline: Evaluation, left: Budget) -> None:
    """Evaluate the result as it was stored, compare, and end the job."""
    job = held.job
    if job.result_program is None:
        return _end_without_result(held)
    comparison: dict[str, Any] = {}
    warnings: list[str] = []
    try:
        best = judged(held, BEST, program=job.result_program, prompt_set=None, budget=left)
        comparison = compared(job, baseline, best)
    except DomainError as error:
        warnings.append(_("The result could not be judged: %(why)s") % {"why": error.message})

    def end(row: Optimization) -> None:
        row.comparison = comparison
        row.is_better = comparison.get("is_better")
        row.warnings = [*row.warnings, *warnings]
        row.complete()

    held.end(end)


def _end_without_result(held: Held[Optimization]) -> None:
    def end(row: Optimization) -> None:
        row.is_better = False
        row.warnings = [*row.warnings, _("Nothing was found that differs from the program as it was.")]
        row.complete()

    held.end(end)


def _metric(job: Optimization, language_model_of: LanguageModelOf) -> CompileMetric:
    scorer = scorer_of(job.metric, language_model_of=language_model_of)

    def score(example: Mapping[str, Any], output: Mapping[str, Any]) -> tuple[float, str]:
        found = scorer.score(example, output)
        return found.value, found.feedback

    return CompileMetric(score, scorer.range.low, scorer.range.high)


def _reload(held: Held[Optimization]) -> None:
    held.job = Optimization.objects.select_related(
        "program", "prompt_set", "dataset", "validation_set", "metric", "prompt_model", "user", "result_program"
    ).get(pk=held.job.pk)
