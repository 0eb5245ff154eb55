"""Cancelling an evaluation."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from executions.errors import evaluation_not_cancellable
from executions.models import Evaluation
from executions.policies import evaluation_policy
from executions.selectors import access_evaluation
from executions.services.evaluations.ending import finish_if_done
from executions.services.evaluations.shards import cancel_pending_shards
from mlops.models import User
from mlops.services.watching import announce
from mlops.types import JobState
from mlops.verbs import verb


@verb(evaluation_policy, "cancel")
def cancel_evaluation(*, actor: User, evaluation: Evaluation) -> Evaluation:
    """Stop an evaluation: at once while nobody works on it, else within one model call of every worker.

    What was scored until then stays and is summed up. Asking twice is no error. Raises `Forbidden`, `NotFound` and
    `Conflict` (`evaluation_not_cancellable`) when it has ended otherwise.
    """
    evaluation_policy.check(actor, "cancel", evaluation)
    with transaction.atomic():
        row: Evaluation = Evaluation.objects.select_for_update(of=("self",)).get(pk=evaluation.pk)
        if row.state == JobState.CANCELLED:
            return row
        if row.is_terminal:
            raise evaluation_not_cancellable(row.state)
        if row.cancel_requested_at is None:
            row.cancel_requested_at = timezone.now()
            row.revision += 1
            row.save(update_fields=["cancel_requested_at", "revision"])
            cancel_pending_shards(row)
            # a worker that has disappeared must not have them handed on
            running = row.shards.filter(state=JobState.RUNNING)
            running.update(cancel_requested_at=row.cancel_requested_at)
            announce(row)
    finish_if_done(row.pk)
    return access_evaluation(actor=actor, evaluation_id=row.pk)
