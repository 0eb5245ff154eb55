"""Reads of executions in the scope of an actor."""

from __future__ import annotations

from uuid import UUID

from executions.errors import execution_not_found
from executions.models import Execution
from executions.policies import execution_policy
from mlops.models import User
from programs.models import Program
from programs.runtime.graph import inspected
from programs.selectors import program_spec
from programs.types import FieldSpec


def access_execution(*, actor: User, execution_id: UUID, action: str = "view") -> Execution:
    """The execution with its program and user, if `actor` may do `action` to it.

    Raises `NotFound` (`execution_not_found`) for what is missing and for what is not theirs alike, and `Forbidden`.
    """
    rows = Execution.objects.known_to(actor).select_related("program", "user")
    execution: Execution | None = rows.filter(pk=execution_id).first()
    if execution is None:
        raise execution_not_found()
    execution_policy.check(actor, action, execution)
    return execution


def inputs_of(program: Program) -> tuple[FieldSpec, ...]:
    """The inputs that a program asks for; none while its graph does not hold together."""
    graph, _problems = inspected(program_spec(program))
    return () if graph is None else graph.inputs
