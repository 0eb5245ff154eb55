"""Executing a program: admission, then the run itself or the doorbell."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypedDict, Unpack
from uuid import UUID

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from executions.errors import execution_not_found, invalid_option, key_reused, program_not_executable
from executions.models import Execution
from executions.services import doorbell, planning, process
from executions.services.planning import Plan
from executions.services.process import ExecutionProcess
from executions.services.running import Running
from executions.services.writer import Start
from executions.types import Mode, Source
from mlops.encoding import encoded
from mlops.models import IdempotencyRecord, User
from mlops.policies import language_model_policy
from mlops.runtime.listening import Listener
from mlops.sanitiser import refuse_unstorable
from mlops.selectors import enabled_language_model
from mlops.services.budgets import Exhausted
from mlops.verbs import verb
from programs.errors import program_not_found
from programs.models import Program
from programs.policies import program_policy
from programs.types import ProgramStatus

KEY_LIFETIME = timedelta(hours=24)
MAX_KEY = 255
MAX_WAIT_S = 300.0
EXECUTABLE = frozenset({ProgramStatus.DRAFT, ProgramStatus.TESTING, ProgramStatus.PRODUCTION})


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller asks for. `wait_s`: how long a synchronous caller waits before it gets the row as it is."""

    program: str
    input: Mapping[str, Any]
    mode: Mode = Mode.SYNC
    source: Source = Source.PYTHON
    assignment_key: str = ""
    language_model: str = ""
    idempotency_key: str = ""
    wait_s: float = MAX_WAIT_S
    replay_of: UUID | None = None

    def digest(self) -> str:
        """What an idempotency key stands for: program, input and options, not how the caller waits."""
        content = [self.program, dict(self.input), self.mode, self.assignment_key, self.language_model]
        return hashlib.sha256(encoded(content, is_sorted=True)).hexdigest()


@dataclass(frozen=True, slots=True)
class Answer:
    """The execution, as far as it got within the wait.

    `is_repeated`: an earlier request with the same key made it. `balance`: the actor's micro-credits after it, if
    known.
    """

    execution: Execution
    is_repeated: bool = False
    balance: int | None = None


@dataclass(frozen=True, slots=True)
class Repeated:
    """The request was made before, with the same key, and has its execution."""

    execution_id: UUID


class Options(TypedDict, total=False):
    """What a caller may say besides program and input; see `Request`. Modes may be given as text."""

    mode: Mode
    source: Source
    assignment_key: str
    language_model: str
    idempotency_key: str
    wait_s: float


@verb(program_policy, "execute")
def execute_program(
    *, actor: User, program: str | Program, input: Mapping[str, Any], **options: Unpack[Options]
) -> Execution:
    """Run a program for `actor` and return its execution. Not to be called from an event loop.

    `program` is a program or a reference such as `triage@production`. In mode `async` the execution is pending and any
    worker may take it. Raises `DomainError`: what is wrong with the input, the right to execute, missing credits; a run
    that fails is no exception but an execution in state `failed`.
    """
    request = request_for(program, input, options)
    return process.ensure_started().submit(answer(actor, request)).result().execution


@verb(program_policy, "execute")
async def aexecute_program(
    *, actor: User, program: str | Program, input: Mapping[str, Any], **options: Unpack[Options]
) -> Execution:
    """`execute_program` for callers on an event loop; it holds no thread while the model thinks."""
    request = request_for(program, input, options)
    here = await process.aensure_started()
    return (await here.awaited(answer(actor, request))).execution


def request_for(program: str | Program, input: Mapping[str, Any], options: Options) -> Request:
    """The request of a caller in Python."""
    reference = str(program.pk) if isinstance(program, Program) else program
    arguments: dict[str, Any] = {**options}
    arguments["mode"] = Mode(options.get("mode", Mode.SYNC))
    arguments["wait_s"] = min(options.get("wait_s", MAX_WAIT_S), MAX_WAIT_S)
    return Request(reference, input, **arguments)


async def answer(actor: User, request: Request) -> Answer:
    """Admit, run or queue, and wait as long as the caller does. Runs on the process's event loop."""
    admitted = await admit(actor, request)
    if isinstance(admitted, Execution):
        return Answer(admitted)
    if isinstance(admitted, Repeated):
        return await answer_again(admitted, request)
    await asyncio.wait({admitted.ended}, timeout=request.wait_s)
    return answer_of(admitted)


async def admit(actor: User, request: Request, listener: Listener | None = None) -> Running | Execution | Repeated:
    """Check and store a new execution, and run it here, where `listener` hears it, or leave it to a worker.

    Runs on the process's event loop. Raises `DomainError`: then nothing was stored. Who is cancelled while it is stored
    undoes nothing, but what a `listener` was to hear is nobody's then, and is cancelled.
    """
    here = process.present()
    assert here is not None  # whoever got here went through it
    _check_request(request)
    plan = await allowed_plan(here, actor, request)
    values = plan.built.inputs.validate(request.input)
    if actor.is_stopped_by_credits:
        plan.check_length(encoded(values))
    execution = _new_execution(actor, request, plan, values)
    if request.mode is Mode.SYNC:
        execution.start(**here.lease())
    here.refuse_if_stopping()  # what is reserved of a budget from then on nobody would give back
    try:
        hold = await here.hold_for(execution, plan)
    except Exhausted as refusal:
        if request.idempotency_key and (earlier := await _earlier(here, actor, request)):
            return earlier  # a repetition is answered as the first request was
        raise refusal.told_to(actor) from None
    running = Running(execution, plan, hold, listener)
    admitting = here.go_on(_admitted(here, actor, request, running))
    try:
        return await asyncio.shield(admitting)
    except asyncio.CancelledError:
        if listener is not None:
            here.abandon(running)
        raise


async def _admitted(
    here: ExecutionProcess, actor: User, request: Request, running: Running
) -> Running | Execution | Repeated:
    """Store what is to be run, and run it here or leave it to a worker; or what an earlier request has made."""
    try:
        earlier = await _stored(here, actor, request, running.execution)
        if earlier is None and request.mode is Mode.SYNC:
            here.run(running)
            return running
    finally:
        if running.task is None and running.hold is not None:
            here.budgets.release(running.hold)  # whoever runs it reserves for it
    if earlier:
        return earlier
    if here.is_claiming or not settings.SIGNET_IS_EMBEDDED:
        doorbell.ring()
    return running.execution


def answer_of(running: Running) -> Answer:
    """The execution as far as it has got here. Raises what kept its end from being stored."""
    if running.failure is not None:
        raise running.failure  # the answer is not durable: whoever asks must not take it for stored
    return Answer(running.execution, balance=running.balance)


async def answer_again(repeated: Repeated, request: Request) -> Answer:
    """The execution of an earlier request, waited for as if it were this caller's own."""
    here = process.present()
    assert here is not None
    if request.mode is Mode.SYNC:
        await here.watchers.ended(repeated.execution_id, request.wait_s)
    rows = Execution.objects.select_related("program").filter(pk=repeated.execution_id)
    execution = await here.database.run(rows.first)
    if execution is None:
        raise execution_not_found()
    return Answer(execution, is_repeated=True)


async def _stored(here: ExecutionProcess, actor: User, request: Request, execution: Execution) -> Repeated | None:
    """None once the execution is stored; the earlier request that had spent its idempotency key otherwise."""
    is_limited = actor.is_stopped_by_credits
    while not await here.admit(Start(execution, is_limited, _idempotency(actor, request, execution))):
        if earlier := await _earlier(here, actor, request):
            return earlier
    return None


def _check_request(request: Request) -> None:
    refuse_unstorable(request.idempotency_key, "Idempotency-Key")
    refuse_unstorable(request.assignment_key, "options.assignment_key")
    if len(request.idempotency_key) > MAX_KEY:
        raise invalid_option("idempotency_key", _("At most 255 characters."))
    if len(request.assignment_key) > 200:
        raise invalid_option("assignment_key", _("At most 200 characters."))


async def allowed_plan(here: ExecutionProcess, actor: User, request: Request) -> Plan:
    """The plan, if `actor` may execute it now."""
    if request.language_model:
        language_model_policy.check(actor, "view")  # here, since many actors may share the reading below
    plan = None if request.language_model else planning.cached_plan(request.program)
    if plan is None:
        key = ("plan", request.program, request.assignment_key, request.language_model)
        plan = await here.once(key, partial(_read_plan, request))
    if plan.program.group_id is None and not plan.used_programs:
        _check_right(actor, plan)
    else:
        await here.database.run(partial(_check_right, actor, plan))
    return plan


def _read_plan(request: Request) -> Plan:
    requested = enabled_language_model(request.language_model) if request.language_model else None
    return planning.plan(request.program, request.assignment_key, requested)


def _check_right(actor: User, plan: Plan) -> None:
    program = plan.program
    if not program_policy.sees(actor, program):
        raise program_not_found()  # in the words of a reference to nothing
    program_policy.check(actor, "execute", program)
    if not all(program_policy.can(actor, "execute_as_tool", used) for used in plan.used_programs):
        raise program_not_found()
    if program.status not in EXECUTABLE:
        raise program_not_executable(program.status)
    if actor.is_stopped_by_credits:
        plan.check_price()


def _new_execution(actor: User, request: Request, plan: Plan, values: Mapping[str, Any]) -> Execution:
    return Execution(
        user_id=actor.pk,
        program=plan.program,
        prompt_set=plan.prompt_set,
        mode=request.mode.value,
        source=request.source.value,
        assignment_key=request.assignment_key,
        requested_model=plan.requested_model,
        replay_of_id=request.replay_of,
        input=dict(values),
        max_attempts=plan.max_attempts,
        credits_reserved=plan.reservation_for(encoded(values)),
        created_at=timezone.now(),
    )


def _idempotency(actor: User, request: Request, execution: Execution) -> IdempotencyRecord | None:
    if not request.idempotency_key:
        return None
    now = timezone.now()
    return IdempotencyRecord(
        user_id=actor.pk,
        key=request.idempotency_key,
        digest=request.digest(),
        created_at=now,
        expires_at=now + KEY_LIFETIME,
        **execution.subject,
    )


async def _earlier(here: ExecutionProcess, actor: User, request: Request) -> Repeated | None:
    """What the spent key stands for; None once it has become free. Raises `Conflict` for the key of another request."""
    spent = IdempotencyRecord.objects.live().filter(user_id=actor.pk, key=request.idempotency_key)
    record = await here.database.run(spent.first)
    if record is None:
        return None
    if record.digest != request.digest():
        raise key_reused()
    return Repeated(record.subject_id)
