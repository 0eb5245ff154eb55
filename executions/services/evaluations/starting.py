"""Asking for an evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Unpack
from uuid import UUID

from django.db import transaction

from datasets.models import Dataset
from datasets.services import freeze_dataset
from executions.models import Evaluation, EvaluationScore, EvaluationShard, Metric
from executions.policies import evaluating_policy
from executions.services.evaluations.backends import backends_of_metric
from executions.services.evaluations.estimating import Asked, EvaluationEstimate, check_budget, estimate_of
from executions.services.evaluations.proposals import Proposal, propose
from executions.services.metrics import freeze_metric
from mlops.models import User
from mlops.services.credits import MAX_AMOUNT, Subject, credits_for, reserve
from mlops.services.jobs import ring
from mlops.verbs import verb
from programs.models import Program

TASK = "executions.work_evaluations"
QUEUE = "ml_inference"

FEW = 512
SHARD_OF_FEW, SHARD_OF_MANY = 32, 64
"""Examples that a worker takes at a time: few enough to share the work, enough that taking them costs little."""


@verb(evaluating_policy, "evaluate")
def evaluate_program(
    *,
    actor: User,
    program: Program,
    dataset: Dataset,
    metrics: Sequence[Metric],
    source_kind: str = "",
    source_id: UUID | None = None,
    **asked: Unpack[Asked],
) -> Evaluation:
    """Have workers score `program` on all examples of `dataset`; returns the pending evaluation.

    Dataset and metrics are frozen: something was scored with them. Without a `prompt_set` the one of a new execution is
    taken. Raises as `propose` does, `Invalid` (`budget_too_small`, with what is needed), `Conflict` (`dataset_changed`,
    since `dataset` was read) and `InsufficientCredits` (`price_unknown`, `insufficient_credits`).
    """
    proposal = propose(actor=actor, program=program, dataset=dataset, metrics=metrics, **asked)
    estimate = estimate_of(proposal)
    check_budget(proposal.budget, estimate)
    if actor.is_stopped_by_credits:
        proposal.plan.check_price()
    evaluation = _new_evaluation(actor, proposal, estimate)
    evaluation.source_kind, evaluation.source_id = source_kind, source_id
    scores = _new_scores(evaluation, proposal)
    with transaction.atomic():
        _store(actor, evaluation, scores, proposal, estimate)
    return evaluation


def _new_evaluation(actor: User, proposal: Proposal, estimate: EvaluationEstimate) -> Evaluation:
    return Evaluation(
        user=actor,
        program=proposal.program,
        prompt_set=proposal.prompt_set,
        dataset=proposal.dataset,
        language_model=proposal.language_model,
        backends=proposal.backends,
        spec_digest=proposal.plan.built.digest,
        concurrency=proposal.concurrency,
        budget=proposal.budget.as_json(),
        estimate=estimate.as_json(),
        size=proposal.dataset.size,
    )


def _new_scores(evaluation: Evaluation, proposal: Proposal) -> list[EvaluationScore]:
    return [
        EvaluationScore(evaluation=evaluation, metric=metric, position=position, backends=backends_of_metric(metric))
        for position, metric in enumerate(proposal.metrics)
    ]


def _store(
    actor: User,
    evaluation: Evaluation,
    scores: Sequence[EvaluationScore],
    proposal: Proposal,
    estimate: EvaluationEstimate,
) -> None:
    freeze_dataset(actor=actor, dataset=proposal.dataset)
    for metric in sorted(proposal.metrics, key=lambda metric: metric.pk):  # in one order for all, as with all locks
        freeze_metric(actor=actor, metric=metric)
    reserve(
        user=actor,
        amount=min(_credits_needed(proposal, estimate), MAX_AMOUNT),
        key=f"evaluation:{evaluation.pk}",
        subject=Subject("evaluation", evaluation.pk),
    )
    evaluation.save(force_insert=True)
    EvaluationScore.objects.bulk_create(scores)
    EvaluationShard.objects.bulk_create(_shards(evaluation), batch_size=500)
    ring(TASK, QUEUE)


def _credits_needed(proposal: Proposal, estimate: EvaluationEstimate) -> int:
    """Micro-credits that it may need at most: of the upper end of the estimate, or of the budget where that is less."""
    fixed = proposal.program.credits_per_execution
    if fixed is not None:
        return int(fixed) * estimate.items
    upper = 0 if estimate.cost is None else int(estimate.cost.high)
    return credits_for(upper if proposal.budget.cost is None else min(upper, proposal.budget.cost))


def _shards(evaluation: Evaluation) -> Iterator[EvaluationShard]:
    length = SHARD_OF_FEW if evaluation.size <= FEW else SHARD_OF_MANY
    for first in range(0, evaluation.size, length):
        last = min(first + length, evaluation.size) - 1
        yield EvaluationShard(user_id=evaluation.user_id, evaluation=evaluation, first=first, last=last)
