"""What a worker needs before its first example, and why it may not begin."""

from __future__ import annotations

from uuid import UUID

from executions.errors import program_changed
from executions.models import Evaluation
from executions.runtime.evaluate import Spending, Subject
from executions.services import planning
from executions.services.evaluations import shards
from executions.services.evaluations.backends import refuse_other_models
from executions.services.evaluations.proposals import subject_of
from executions.services.planning import Plan


def ready(evaluation_id: UUID) -> tuple[Evaluation, Subject, Plan] | None:
    """The evaluation, what it evaluates and its plan, or None when it has ended or only waits for its end.

    Raises `DomainError`: `program_changed`, `language_models_changed`, and what keeps program and metrics from being
    built.
    """
    evaluation = Evaluation.objects.filter(pk=evaluation_id).first()
    if evaluation is None or evaluation.is_terminal:
        return None
    if evaluation.finish_reason:
        shards.cancel_rest(evaluation_id)
        return None
    plan = planning.plan_by_ids(evaluation.program_id, evaluation.prompt_set_id, evaluation.language_model_id)
    if plan.built.digest != evaluation.spec_digest:
        raise program_changed()
    scores = list(evaluation.scores.select_related("metric__judge_program", "metric__language_model"))
    refuse_other_models(evaluation, plan, scores)
    return evaluation, subject_of(plan, [score.metric for score in scores]), plan


def least_of_one(evaluation: Evaluation) -> Spending:
    """What an example takes at least, as the estimate says."""
    estimate, items = evaluation.estimate, max(evaluation.size, 1)
    cost = estimate.get("cost") or [0, 0]
    return Spending(estimate["calls"][0] // items, estimate["tokens"][0] // items, cost[0] // items)
