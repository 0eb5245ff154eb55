"""Minimal rows for tests that are about storing executions, not about running them."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from django.utils import timezone

from executions.models import Execution
from executions.types import RunResult
from mlops.models import User
from mlops.types import TokenUsage
from programs.models import Program, PromptSet


def make_prompt_set(name: str = "stored") -> PromptSet:
    program = Program.objects.create(name=name)
    return PromptSet.objects.create(program=program, digest=uuid.uuid4().hex)


def new_execution(user: User, prompt_set: PromptSet, **fields: Any) -> Execution:
    """An execution that is in no table yet."""
    return Execution(
        user=user,
        program=prompt_set.program,
        prompt_set=prompt_set,
        **{"mode": "sync", "source": "rest", "input": {"question": "why?"}, **fields},
    )


def started(execution: Execution, lease_s: float = 30) -> Execution:
    execution.start(
        lease_token=uuid.uuid4(),
        lease_expires_at=timezone.now() + timedelta(seconds=lease_s),
        leased_by="test",
    )
    return execution


def result(output: dict[str, Any] | None = None, cost: int | None = 1_000_000, **fields: Any) -> RunResult:
    usage = TokenUsage(input=10, output=5)
    return RunResult(
        **{
            "output": output or {"answer": "because"},
            "error": None,
            "trace": {"spans": [], "dropped": 0},
            "usage": usage,
            "by_model": {"openai/test": usage},
            "cost": cost,
            "prices": (),
            "models": {},
            "duration_ms": 12.5,
            "waited_ms": 10.0,
            **fields,
        }
    )
