"""Workers that can be killed at once and started at once: this process imports everything, then forks.

Each line that it reads is a JSON array: `["start"]` has a worker work on what is pending, `["kill"]` kills it,
`["join"]` waits for its end; `["call", name, arguments]` calls a function of this module. Each is answered by a line
of JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import django

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()

from django.utils import timezone

from datasets.models import Dataset
from executions.models import Metric
from executions.services.evaluations import sweep_evaluations
from mlops.models import CreditEntry, LanguageModel, User
from mlops.types import TERMINAL_STATES, JobState, Role
from optimizations.models import Optimization
from optimizations.services.working import sweep_optimizations, work_optimizations
from programs.models import Program
from tests.optimizations import compiling
from tests.optimizations.compiling import make_dataset, make_metric, make_program

TRAINING, VALIDATION = 8, 6


def prepare(base_url: str) -> None:
    """An engineer, a priced model of the provider, and what is to be compiled."""
    erin = User.objects.create_user("erin", "erin@example.org", None, role=Role.ML_ENGINEER.value)
    LanguageModel.objects.filter(is_default=True).update(is_default=False)
    compiling.provided(base_url, name="openai/provided")
    make_dataset(erin, TRAINING, name="intents")
    make_dataset(erin, VALIDATION, type="validation", offset=100, name="intents")
    make_metric(erin, name="right")
    make_program(erin, name="triage")


def ask() -> str:
    """A pending compile."""
    job = compiling.start(
        User.objects.get(username="erin"),
        program=Program.objects.get(name="triage", version=1),
        dataset=Dataset.objects.get(type="training"),
        validation_set=Dataset.objects.get(type="validation"),
        metric=Metric.objects.get(),
        optimizer="bootstrap_few_shot_with_random_search",
        params={"num_candidate_programs": 9, "max_bootstrapped_demos": 2, "max_labeled_demos": 2},
        seed=5,
    )
    return str(job.pk)


def told(job: str) -> dict[str, Any]:
    """What the rows say of a compile."""
    row = Optimization.objects.get(pk=job)
    candidates = row.candidates.order_by("number").values_list("number", "label", "digest", "score", "n", "is_best")
    settled = CreditEntry.objects.filter(subject_id=row.pk).order_by("id").values_list("kind", "used")
    return {
        "state": row.state,
        "phase": row.progress.get("phase", ""),
        "error": row.error_message,
        "error_code": row.error_code,
        "finish_reason": row.finish_reason,
        "attempt": row.attempt,
        "calls": row.calls,
        "cost": row.cost,
        "tokens": row.total_tokens,
        "memo": row.memo_entries.count(),
        "candidates": [list(item) for item in candidates],
        "is_better": row.is_better,
        "comparison": {name: row.comparison.get(name) for name in ("n", "wins", "losses", "difference")},
        "versions": list(Program.objects.filter(name="triage").values_list("version", flat=True)),
        "result": None if row.result_program is None else str(row.result_program),
        "ledger": [list(item) for item in settled],
    }


def lose(job: str) -> None:
    """Have the sweeper find that the worker of a compile has gone."""
    Optimization.objects.filter(pk=job, state=JobState.RUNNING).update(lease_expires_at=timezone.now())
    sweep_optimizations()


def work() -> None:
    """Work until nothing is left to do, as a worker with its sweeper does."""
    while Optimization.objects.exclude(state__in=TERMINAL_STATES).exists():
        sweep_evaluations()
        sweep_optimizations()
        work_optimizations()
        time.sleep(0.02)


def _forked(do: Callable[[], Any]) -> tuple[int, Any]:
    """Start `do` in a process of its own; its id, and where it tells what it returned."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, os.fdopen(reading)
    os.close(reading)
    code = 1
    try:
        result = do()
        with os.fdopen(writing, "w") as answer:
            answer.write(json.dumps(result))
        code = 0
    finally:
        os._exit(code)


class Server:
    """Answers commands; has at most one worker at a time."""

    def __init__(self) -> None:
        self._worker = 0

    def answer(self, command: list[Any]) -> Any:
        name, *arguments = command
        known: dict[str, Callable[..., Any]] = {
            "call": self._call,
            "start": self._start,
            "kill": self._kill,
            "join": self._join,
        }
        return known[name](*arguments)

    def _call(self, name: str, arguments: list[Any]) -> Any:
        child, answer = _forked(lambda: globals()[name](*arguments))
        with answer:
            said = answer.read()
        os.waitpid(child, 0)
        return json.loads(said)

    def _start(self) -> None:
        self._worker, self._told = _forked(work)

    def _kill(self) -> str:
        if os.waitpid(self._worker, os.WNOHANG)[0]:
            return "ended"
        os.kill(self._worker, signal.SIGKILL)
        self._told.close()
        os.waitpid(self._worker, 0)
        return "killed"

    def _join(self) -> int:
        with self._told:
            self._told.read()
        return os.waitpid(self._worker, 0)[1]


def main() -> None:
    server = Server()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(server.answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
