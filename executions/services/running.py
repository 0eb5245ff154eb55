"""One execution while it runs in this process, and how it ends."""

from __future__ import annotations

import asyncio
from enum import Enum

from django.utils.translation import gettext as _

from executions.models import Execution
from executions.runtime.run import partial_result, run
from executions.services.planning import Plan
from executions.types import ExecutionState, RunError, RunResult
from mlops.runtime.listening import Listener
from mlops.runtime.recorder import Recorder
from mlops.services.budgets import Hold, Spent
from mlops.services.credits import credits_owed
from programs.types import Capture


class Ending(Enum):
    """Why a run is ended from outside."""

    CANCEL = "cancel"
    HAND_BACK = "hand_back"
    LOST = "lost"


class Running:
    """Runs one execution and makes the transition that its result calls for; storing it is somebody else's."""

    def __init__(
        self, execution: Execution, plan: Plan, hold: Hold | None = None, listener: Listener | None = None
    ) -> None:
        """`hold`: what was reserved of budgets; None when that is still to be done. `listener` hears it run."""
        self.execution = execution
        self.plan = plan
        self.hold = hold
        self._listener = listener
        self.recorder = Recorder()
        self.recorder.go_on_from(execution.token_usage, execution.prices)
        self._earlier_costs = dict(self.recorder.known_costs)
        self._earlier_unpriced = dict(self.recorder.unpriced)
        self.ending: Ending | None = None
        self.task: asyncio.Task[Execution] | None = None
        self.balance: int | None = None
        self.failure: Exception | None = None
        self._is_interruptible = False

    def end(self, ending: Ending) -> None:
        """Stop the run within one model call, or before it begins. Without effect once its result is there."""
        if self.ending is None:
            self.ending = ending
        if self._is_interruptible and self.task is not None:
            self.task.cancel()

    def _is_ending(self) -> bool:
        return self.ending is not None

    @property
    def is_underway(self) -> bool:
        """Whether its result is still to come."""
        return self._is_interruptible

    @property
    def spent(self) -> Spent:
        """What this attempt has cost so far."""
        costs, unpriced = self.recorder.known_costs.items(), self.recorder.unpriced.items()
        return Spent(
            {model: cost - self._earlier_costs.get(model, 0) for model, cost in costs},
            frozenset(model for model, requests in unpriced if requests > self._earlier_unpriced.get(model, 0)),
        )

    @property
    def ended(self) -> asyncio.Task[Execution]:
        """The task that runs and stores it."""
        assert self.task is not None  # set by whoever created it
        return self.task

    async def work(self) -> None:
        """Run to an end. Afterwards the execution is terminal, or still `running` when it is to be handed back."""
        result = await self._result()
        if result is not None:
            self._conclude(result)

    def refuse(self, error: RunError) -> None:
        """It fails before it has begun. What an earlier attempt used is kept."""
        self._conclude(partial_result(self.recorder, error))

    async def _result(self) -> RunResult | None:
        if self._is_ending():
            return self._interrupted()
        self._is_interruptible = True
        try:
            return await run(
                self.plan.built,
                self.execution.input,
                models=self.plan.models,
                deadline_s=self.plan.deadline_s,
                recorder=self.recorder,
                listener=self._listener,
            )
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not self._is_ending():
                raise
            task.uncancel()
            return self._interrupted()
        finally:
            self._is_interruptible = False

    def _interrupted(self) -> RunResult | None:
        result = partial_result(self.recorder, RunError("cancelled", _("It was cancelled.")))
        if self.ending is Ending.CANCEL:
            return result
        self.execution.note_usage(result)
        return None

    def _conclude(self, result: RunResult) -> None:
        execution = self.execution
        if result.error is not None and result.error.code == "cancelled":
            execution.cancel(result)
        elif result.error is not None:
            execution.fail(result.error, result)
        else:
            execution.complete(result)
        execution.credits_used = self._charge(result)
        self._keep_what_may_be_kept()

    def _charge(self, result: RunResult) -> int:
        """Micro-credits: the program's own price for an answer, else what the models cost as far as that is known, and
        where it is not, what was reserved if that is more."""
        fixed = self.plan.program.credits_per_execution
        if fixed is not None:
            return int(fixed) if self._is_answered else 0
        return credits_owed(
            known_cost=result.known_cost,
            is_unpriced=result.cost is None,
            reserved=self.execution.credits_reserved,
        )

    @property
    def _is_answered(self) -> bool:
        """Whoever read the answer while it came and left before its end has had it, too."""
        state = self.execution.state
        return state == ExecutionState.COMPLETED or (state == ExecutionState.CANCELLED and self.recorder.has_told)

    def _keep_what_may_be_kept(self) -> None:
        """Personal data: a program says which of its executions keep input, output and trace."""
        capture, execution = self.plan.capture, self.execution
        if capture is Capture.ALL or (capture is Capture.ERRORS and execution.state == ExecutionState.FAILED):
            return
        execution.input, execution.trace = {}, {"spans": [], "dropped": 0, "captured": False}
        execution.output = None
