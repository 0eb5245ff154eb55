"""Reads of executions in the scope of an actor."""

from __future__ import annotations

from uuid import UUID

from executions.errors import execution_not_found
from executions.models import Execution
from mlops.models import User
from programs.models import Program
from programs.runtime.graph import inspected
from programs.selectors import program_spec
from programs.types import FieldSpec


def access_execution(*, actor: User, execution_id: UUID) -> Execution:
    """The execution with its program and user, if `actor` may see it.

    Raises `NotFound` (`execution_not_found`) for what is missing and for what is not theirs alike.
    """
    rows = Execution.objects.visible_to(actor).select_related("program", "user")
    execution: Execution | None = rows.filter(pk=execution_id).first()
    if execution is None:
        raise execution_not_found()
    return execution


def inputs_of(program: Program) -> tuple[FieldSpec, ...]:
    """The inputs that a program asks for; none while its graph does not hold together."""
    graph, _problems = inspected(program_spec(program))
    return () if graph is None else graph.inputs
