"""Taking pending executions off the queue: what makes a process a worker."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import InterfaceError, OperationalError

from executions.models import Execution
from executions.services import leases
from executions.services.ledger import charge_without_answer
from executions.services.planning import Plan, kept_plan, plan_by_ids
from executions.services.running import Running
from executions.services.writer import Finish
from mlops.errors import DomainError
from mlops.policies import language_model_policy
from programs.policies import program_policy

if TYPE_CHECKING:
    from executions.services.process import ExecutionProcess

logger = logging.getLogger(__name__)

DOORBELL_S = 1.0
"""How long a lost doorbell can delay a pending execution while this process has room."""

WORTHWHILE = 16
"""Places that must be free before the queue is asked again: one query per ended execution would cost more than it."""


class Claims:
    """The claims of one process. Lives on its loop, except for `wake`."""

    def __init__(self, process: ExecutionProcess) -> None:
        self._process = process
        self._doorbell = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._may_hold_more = False

    @property
    def is_on(self) -> bool:
        return self._task is not None

    def begin(self) -> None:
        """Take pending executions from now on."""
        if self._task is None:
            self._task = asyncio.create_task(self._claim(), name="claims")

    async def end(self) -> None:
        """Take no more; what runs goes on."""
        task, self._task = self._task, None
        if task is not None:
            self._doorbell.set()
            await task

    def wake(self) -> None:
        """The doorbell: something may be pending."""
        self._doorbell.set()

    def room_was_made(self) -> None:
        """An execution has ended here."""
        if self._may_hold_more and self._room() >= self._worthwhile():
            self._doorbell.set()

    def _room(self) -> int:
        return int(settings.SIGNET_CONCURRENCY) - len(self._process.running)

    def _worthwhile(self) -> int:
        return max(1, min(WORTHWHILE, settings.SIGNET_CONCURRENCY // 4))

    async def _claim(self) -> None:
        """Claim while there is room, woken by the doorbell, by room where the queue held more, or by a slow poll."""
        while self._task is not None:
            self._doorbell.clear()
            wanted = min(self._room(), leases.CLAIM_BATCH)
            claimed = await self._claimed(wanted) if wanted > 0 else []
            self._may_hold_more = len(claimed) == wanted
            for execution in claimed:
                await self._run(execution)
            if claimed and self._room() >= self._worthwhile():
                continue
            try:
                await asyncio.wait_for(self._doorbell.wait(), DOORBELL_S)
            except TimeoutError:
                continue

    async def _claimed(self, room: int) -> list[Execution]:
        lease = self._process.lease()
        try:
            return await self._process.database.run(lambda: leases.claim(room, **lease))
        except (OperationalError, InterfaceError):
            logger.warning("The database does not answer; no executions are claimed")
            return []

    async def _run(self, execution: Execution) -> None:
        try:
            plan = await self._plan(execution)
            is_allowed = await self._is_allowed(execution, plan)
        except (OperationalError, InterfaceError):
            logger.warning("The database does not answer; execution %s waits for its lease to expire", execution.pk)
        except Exception as error:
            await self._fail_before_run(execution, error)
        else:
            if is_allowed:
                self._process.run(Running(execution, plan))
            else:
                Running(execution, plan).refuse(leases.right_taken_away())
                await self._record(execution)

    async def _plan(self, execution: Execution) -> Plan:
        ids = (execution.program_id, execution.prompt_set_id, execution.requested_model)
        if kept := kept_plan(*ids):
            return kept
        return await self._process.once(("plan", *ids), lambda: plan_by_ids(*ids))

    async def _is_allowed(self, execution: Execution, plan: Plan) -> bool:
        if plan.program.group_id is None and not plan.used_programs:
            return _may_still_execute(execution, plan)
        return await self._process.database.run(lambda: _may_still_execute(execution, plan))

    async def _fail_before_run(self, execution: Execution, error: Exception) -> None:
        """The program cannot be built (any more): the execution ends with that reason."""
        if not isinstance(error, DomainError):
            logger.error("Execution %s cannot be prepared", execution.pk, exc_info=error)
        execution.fail(leases.refusal(error))
        try:
            await self._process.database.run(lambda: charge_without_answer(execution))
        except (OperationalError, InterfaceError):
            logger.warning("The database does not answer; execution %s waits for its lease to expire", execution.pk)
        else:
            await self._record(execution)

    async def _record(self, execution: Execution) -> None:
        try:
            await self._process.record(Finish(execution))
        except DomainError:
            logger.exception("The end of execution %s could not be stored; its lease will expire", execution.pk)


def _may_still_execute(execution: Execution, plan: Plan) -> bool:
    """Whether its owner may have it executed as they are now: the account, its role and its groups.

    That the program was replaced meanwhile takes no right away: what is in the queue was promised its version.
    """
    owner = execution.user
    if plan.requested_model is not None and not language_model_policy.can(owner, "view"):
        return False
    return all(program_policy.can(owner, "execute_as_tool", program) for program in (plan.program, *plan.used_programs))
