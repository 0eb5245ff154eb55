"""Budgets for tests that are about something else than setting them."""

from __future__ import annotations

from typing import Any

from mlops.models import Budget
from mlops.services.budgets import create_budget
from mlops.services.history import operator


def make_budget(**fields: Any) -> Budget:
    """A budget of the installation per day unless `fields` say otherwise; `limit` in pico-dollars."""
    return create_budget(actor=operator(), **{"scope": "installation", "period": "day", "limit": 10**12, **fields})
