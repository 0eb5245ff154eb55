"""Reads of evaluations in the scope of an actor."""

from __future__ import annotations

from uuid import UUID

from executions.errors import evaluation_not_found
from executions.models import Evaluation, EvaluationItem
from executions.policies import evaluation_policy
from mlops.querysets import Viewer
from mlops.selectors import access


def access_evaluation(*, actor: Viewer, evaluation_id: UUID, action: str | None = "view") -> Evaluation:
    """The evaluation with what it names and its scores, if `actor` may do `action` to it (None: they have done it).

    Raises `NotFound` (`evaluation_not_found`) for what is missing and for what is not theirs alike, and `Forbidden`.
    """
    rows = Evaluation.objects.known_to(actor).select_related("program", "dataset", "language_model", "user")
    evaluation: Evaluation | None = rows.prefetch_related("scores__metric").filter(pk=evaluation_id).first()
    if evaluation is None:
        raise evaluation_not_found()
    if action is not None:
        evaluation_policy.check(actor, action, evaluation)
    return evaluation


def access_item(*, actor: Viewer, item_id: UUID) -> EvaluationItem:
    """The item with its example, if `actor` may see its evaluation. Raises `NotFound`
    (`evaluation_item_not_found`)."""
    item = access(EvaluationItem, actor=actor, id=item_id)
    evaluation_policy.check(actor, "view", item.evaluation)
    return item
