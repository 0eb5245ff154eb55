"""Subscriptions to executions and evaluations."""

from __future__ import annotations

import graphene
from django.utils.translation import gettext as _

from executions.errors import evaluation_not_found, execution_not_found
from executions.graphql.types import EvaluationType, ExecutionType
from executions.models import Evaluation, Execution
from executions.policies import evaluation_policy, execution_policy
from executions.selectors import access_evaluation, access_execution
from mlops.errors import Invalid
from mlops.graphql.subscriptions import Children, OneRow, Subject, Updates, uuid_of
from mlops.models import User
from programs.policies import program_policy
from programs.selectors import access_program


def followed_executions(*, actor: User, program_id: str | None = None, execution_id: str | None = None) -> Subject:
    """Raises `Invalid` (`subject_ambiguous`) and as `access_program` and `access_execution`."""
    if (program_id is None) == (execution_id is None):
        raise Invalid("subject_ambiguous", _("Name either a program or an execution."))
    if program_id is not None:
        program = access_program(actor=actor, ref=program_id)
        return Children(execution_policy, Execution, "program", program, program_policy)
    id = uuid_of(execution_id, execution_not_found)
    return OneRow(execution_policy, Execution, access_execution(actor=actor, execution_id=id).pk)


def followed_evaluation(*, actor: User, evaluation_id: str) -> Subject:
    """Raises as `access_evaluation`."""
    id = uuid_of(evaluation_id, evaluation_not_found)
    return OneRow(evaluation_policy, Evaluation, access_evaluation(actor=actor, evaluation_id=id).pk)


class Subscription(graphene.ObjectType):  # type: ignore[misc]  # graphene has no types
    execution_updates = Updates(
        ExecutionType,
        followed_executions,
        program_id=graphene.ID(
            description="A program's id or reference: all executions of that version, those under way and new ones."
        ),
        execution_id=graphene.ID(description="One execution, as it is and after each change until it ends."),
        description="Name either a program or an execution.",
    )
    evaluation_updates = Updates(
        EvaluationType,
        followed_evaluation,
        evaluation_id=graphene.ID(required=True),
        description="An evaluation, as it is and after each change until it ends.",
    )
