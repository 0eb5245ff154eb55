"""What attempts used that ended after their lease was lost: their answers are discarded, what they were billed is not.

It is added to the execution once that has ended, since until then whoever runs it counts on from what it knew when it
began. Credits stay as they were settled: the row is charged once, by the attempt that ended it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import InterfaceError, OperationalError

from executions.models import Execution
from executions.runtime.run import partial_result
from executions.services.usage import corrected_usage
from executions.types import RunError
from mlops.runtime.recorder import Recorder
from mlops.types import TokenUsage

if TYPE_CHECKING:
    from executions.services.process import ExecutionProcess

logger = logging.getLogger(__name__)

LOOK_S = 60.0
AGAIN_S = 1.0
AWAY = (OperationalError, InterfaceError)

COUNTED = "late_attempts"
"""The key in an execution's token usage: numbers of the late attempts whose usage is in it."""


@dataclass(frozen=True, slots=True)
class Late:
    """What attempt number `attempt` of an execution used, and nobody else knows of."""

    execution: UUID
    attempt: int
    used: Recorder


def late_of(execution: Execution, recorder: Recorder, before: Mapping[str, Any]) -> Late | None:
    """What an attempt itself used; None when that is nothing.

    `before`: the token usage of the row when the attempt began, on top of which `recorder` counted.
    """
    earlier, own = Recorder(), Recorder()
    earlier.go_on_from(before, ())
    for model, usage in recorder.by_model.items():
        used = usage - earlier.by_model.get(model, TokenUsage())
        if used.requests or used.total:
            own.by_model[model] = used
            own.known_costs[model] = recorder.known_costs.get(model, 0) - earlier.known_costs.get(model, 0)
            unpriced = recorder.unpriced.get(model, 0) - earlier.unpriced.get(model, 0)
            own.unpriced.update({model: unpriced} if unpriced else {})
    own.prices.update(recorder.prices)
    return Late(execution.pk, execution.attempt, own) if own.by_model else None


def count_late(late: Late) -> bool:
    """Add it to its execution, and to the usage of the day on which that ended; False while that has not ended.

    Repeating it adds nothing.
    """
    with corrected_usage(Execution, [late.execution]):
        row = Execution.objects.filter(pk=late.execution).first()
        if row is None:
            return True
        if not row.is_terminal:
            return False
        counted = row.token_usage.get(COUNTED, [])
        if late.attempt not in counted:
            _add(row, late.used)
            row.token_usage[COUNTED] = sorted([*counted, late.attempt])
            row.save(update_fields=["token_usage", "total_tokens", "cost", "prices"])
    return True


def _add(row: Execution, used: Recorder) -> None:
    whole = Recorder()
    whole.go_on_from(row.token_usage, row.prices)
    for model, usage in used.by_model.items():
        whole.by_model[model] = whole.by_model.get(model, TokenUsage()) + usage
        whole.known_costs[model] = whole.known_costs.get(model, 0) + used.known_costs[model]
        if model in used.unpriced:
            whole.unpriced[model] = whole.unpriced.get(model, 0) + used.unpriced[model]
    whole.prices.update(used.prices)
    row.note_usage(partial_result(whole, RunError("lease_lost", "")))


class LateAttempts:
    """Those of one process, each until its execution has ended. Lives on the process's loop."""

    def __init__(self, process: ExecutionProcess) -> None:
        self._process = process
        self._waiting: dict[asyncio.Task[None], Late] = {}

    def add(self, late: Late) -> None:
        task = asyncio.create_task(self._count(late), name=f"late-{late.execution}")
        self._waiting[task] = late
        task.add_done_callback(self._waiting.pop)

    async def stop(self) -> None:
        """What is not counted by now nobody knows afterwards."""
        waiting = list(self._waiting.values())
        for task in list(self._waiting):
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)
        for late in waiting:
            if not await self._is_counted(late):
                logger.warning("A lost attempt of execution %s used %s: not counted", late.execution, late.used.usage)

    async def _count(self, late: Late) -> None:
        while not await self._is_counted(late):
            try:
                await self._process.watchers.ended(late.execution, LOOK_S)
            except AWAY:
                await asyncio.sleep(AGAIN_S)

    async def _is_counted(self, late: Late) -> bool:
        try:
            return await self._process.database.run(partial(count_late, late))
        except AWAY:
            logger.warning("The database does not answer; what a lost attempt used is counted later")
            return False
