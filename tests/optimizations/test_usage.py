"""Compile jobs in the usage per day: told as uncounted until they are counted, and never kept waiting by executions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from executions.models import Execution, UsageDay
from executions.selectors.usage import counted_until
from executions.services.usage import count_usage, counting
from mlops.models import User
from optimizations.models import Optimization
from tests.executions.rows import make_prompt_set, new_execution
from tests.optimizations import compiling

pytestmark = pytest.mark.django_db

LATELY = datetime.now(UTC) - timedelta(days=2)


def ended_compile(actor: User) -> Optimization:
    compiling.matcher()
    job = compiling.start(actor)
    Optimization.objects.filter(pk=job.pk).update(state="completed", finished_at=LATELY, cost=5, seconds=1)
    return job


def ended_executions(user: User, number: int, **fields: Any) -> None:
    prompt_set = make_prompt_set("busy")
    ended = {"state": "completed", "finished_at": LATELY, "cost": 1, "duration_ms": 1.0, **fields}
    Execution.objects.bulk_create(new_execution(user, prompt_set, **ended) for _ in range(number))


def test_reports_say_that_a_compile_is_not_counted_yet(erin: User) -> None:
    ended_compile(erin)
    assert counted_until() == LATELY
    assert count_usage() == 1
    assert counted_until() > LATELY
    assert UsageDay.objects.get(kind="optimization", user=None, language_model="").cost == 5


def test_a_backlog_of_executions_keeps_no_compile_waiting(
    erin: User, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However short the time is, each source has its turn."""
    monkeypatch.setitem(counting.BATCHES, connection.vendor, 2)
    ended_compile(erin)
    ended_executions(alice, 5)
    assert count_usage(limit_s=0) == 3
    assert not Optimization.objects.filter(is_counted=False).exists()
    assert Execution.objects.filter(is_counted=False).count() == 3
    assert count_usage() == 3
    assert counted_until() > LATELY
