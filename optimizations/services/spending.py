"""What a compile costs the budgets of its user, its program, its models and the installation.

Its calls come from threads of DSPy, so nothing is reserved for each: they are charged once they are paid for, and once
in `ASK_S` it is asked whether anything is left. A budget can be exceeded by what a compile pays for in that time.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from executions.services import process
from executions.services.planning import Plan
from mlops.services.budgets import Exhausted, Spent
from optimizations.models import Optimization

ASK_S = 1.0


class Spending:
    """See the module. Callable from any thread."""

    def __init__(self, job: Optimization, plan: Plan) -> None:
        self._here = process.ensure_started()
        self._charged = plan.charged(job.user_id, b"")
        self._lock = threading.Lock()
        self._telling = threading.Lock()
        self._costs: dict[str, int] = defaultdict(int)
        self._unpriced: set[str] = set()
        self._asked_at = 0.0
        self._is_exhausted = False

    def paid(self, stored: Mapping[str, Any]) -> None:
        """An answer was paid for; `stored` as the memo keeps it."""
        with self._lock:
            for model in list(stored["usage"])[:1]:  # an answer is of one model
                if stored["cost"] is None:  # what an execution is expected to cost stands in for it
                    self._unpriced.add(model)
                    self._costs[model] += self._charged.by_model.get(model, 0)
                else:
                    self._costs[model] += stored["cost"]

    def is_exhausted(self) -> bool:
        """Whether a budget does not cover the next call; looked at once in `ASK_S`."""
        with self._lock:
            if self._is_exhausted or time.monotonic() - self._asked_at < ASK_S:
                return self._is_exhausted
            self._asked_at = time.monotonic()
        self.tell()
        self._is_exhausted = not self._here.submit(self._is_covered()).result()
        return self._is_exhausted

    def tell(self) -> None:
        """Charge what was paid for since the last time. What cannot be charged now is charged with the next."""
        with self._telling:
            with self._lock:
                spent = Spent(dict(self._costs), frozenset(self._unpriced))
            if spent.costs or spent.unpriced:
                self._here.submit(self._here.budgets.charge(self._charged, spent)).result()
                self._forget(spent)

    def _forget(self, told: Spent) -> None:
        with self._lock:
            for model, cost in told.costs.items():
                self._costs[model] -= cost
            self._costs = defaultdict(int, {model: cost for model, cost in self._costs.items() if cost})
            self._unpriced -= told.unpriced

    async def _is_covered(self) -> bool:
        try:
            self._here.budgets.release(await self._here.budgets.reserve(self._charged))
        except Exhausted:
            return False
        return True
