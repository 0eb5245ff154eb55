"""Running the input of an execution again."""

from __future__ import annotations

from executions.errors import input_not_kept
from executions.models import Execution
from executions.policies import execution_policy
from executions.services import process
from executions.services.execute import Request, answer
from executions.types import Mode, Source
from mlops.models import User
from mlops.verbs import verb


@verb(execution_policy, "replay")
def replay_execution(
    *,
    actor: User,
    execution: Execution,
    program: str | None = None,
    source: Source = Source.PYTHON,
    idempotency_key: str = "",
) -> Execution:
    """Execute the same input asynchronously, on the same program version or on what `program` refers to.

    It counts as an execution of the actor. Raises what `execute_program` raises, and `Conflict` (`input_not_kept`) when
    the program does not keep inputs.
    """
    execution_policy.check(actor, "replay", execution)
    if not execution.input:
        raise input_not_kept()
    request = Request(
        program=program or str(execution.program_id),
        input=execution.input,
        mode=Mode.ASYNC,
        source=source,
        idempotency_key=idempotency_key,
        replay_of=execution.pk,
    )
    return process.ensure_started().submit(answer(actor, request)).result().execution
