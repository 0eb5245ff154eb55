"""Beat and workers as they really run: what is due is started once, by the embedded server and by its own processes."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from celery.app import app_or_default
from django.conf import settings
from django.db import connections
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler

from mlops.models import User
from optimizations.models import Optimization, Schedule
from optimizations.services.running_schedules import run_due
from optimizations.services.schedules import change_schedule, create_schedule, delete_schedule
from tests.installation import Installation, production
from tests.optimizations.compiling import make_dataset, make_metric, make_program, matcher

YEARLY = "0 * 1 1 *"

MAKE_SCHEDULE = f"""
from mlops.models import User
from optimizations.services.schedules import create_schedule
arguments = {{
    "program": "triage", "dataset": "support_messages", "metric": "intent_match",
    "optimizer": {{"name": "labeled_few_shot", "params": {{"k": 8}}}},
}}
owner = User.objects.get(username="sample-engineer")
create_schedule(actor=owner, name="yearly", verb="compile", arguments=arguments, crontab="{YEARLY}")
"""

MAKE_DUE = """
from datetime import timedelta
from django.utils import timezone
from optimizations.models import Schedule
last_year = timezone.now() - timedelta(days=370)
Schedule.objects.update(due_after=last_year)
task = Schedule.objects.get().periodic_task
task.last_run_at = last_year
task.save()
"""

LOOK = """
import json, time
from optimizations.models import Optimization, Schedule
give_up = time.monotonic() + 90
while not Schedule.objects.exclude(last_result="").exists() and time.monotonic() < give_up:
    time.sleep(0.2)
row = Schedule.objects.get()
jobs = list(Optimization.objects.values_list("state", "source_kind", "user__username"))
print(json.dumps({"jobs": jobs, "result": row.last_result, "error": row.last_error}))
"""


@pytest.fixture
def schedule(db: None, erin: User) -> Schedule:
    matcher()
    make_program(erin, name="triage")
    make_dataset(erin, 12, name="intents")
    make_metric(erin, name="right")
    arguments: dict[str, Any] = {
        "program": "triage@testing",
        "dataset": "intents",
        "metric": "right",
        "optimizer": {"name": "labeled_few_shot"},
    }
    return create_schedule(actor=erin, name="yearly", verb="compile", arguments=arguments, crontab=YEARLY)


@pytest.fixture
def scheduler() -> DatabaseScheduler:
    current_app.loader.import_default_modules()  # as a worker does: every task is known
    return DatabaseScheduler(app=app_or_default(), lazy=False)


def entry_of(scheduler: DatabaseScheduler, schedule: Schedule) -> Any:
    return scheduler.schedule.get(f"schedule {schedule.pk}")


@pytest.mark.django_db(transaction=True)
class TestScheduler:
    def test_it_rings_for_everything_in_the_settings(self, scheduler: DatabaseScheduler) -> None:
        assert set(settings.CELERY_BEAT_SCHEDULE) == set(scheduler.schedule)
        for name, entry in scheduler.schedule.items():
            assert entry.options["expires"] == settings.CELERY_BEAT_SCHEDULE[name]["schedule"]  # when it rings again
            assert entry.task in current_app.tasks

    def test_it_has_a_schedule_and_hears_of_changes(
        self, erin: User, schedule: Schedule, scheduler: DatabaseScheduler
    ) -> None:
        entry = entry_of(scheduler, schedule)
        assert (entry.task, entry.kwargs) == ("optimizations.run_schedule", {"schedule": str(schedule.pk)})
        assert entry.task in current_app.tasks
        assert not entry.is_due().is_due

        change_schedule(actor=erin, schedule=schedule, crontab="30 * * * *")
        assert entry_of(scheduler, schedule).schedule.minute == {30}

        change_schedule(actor=erin, schedule=schedule, is_enabled=False)
        assert entry_of(scheduler, schedule) is None

        change_schedule(actor=erin, schedule=schedule, is_enabled=True)
        assert entry_of(scheduler, schedule) is not None

        delete_schedule(actor=erin, schedule=schedule)
        assert entry_of(scheduler, schedule) is None

    def test_a_new_time_does_not_fire_for_the_hours_before(
        self, erin: User, schedule: Schedule, scheduler: DatabaseScheduler
    ) -> None:
        PeriodicTask.objects.filter(task="optimizations.run_schedule").update(
            last_run_at=timezone.now() - timedelta(days=400)
        )
        change_schedule(actor=erin, schedule=schedule, crontab="0 * 2 1 *")

        assert not entry_of(scheduler, schedule).is_due().is_due

    def test_of_messages_that_come_at_once_one_starts_it(self, erin: User, schedule: Schedule) -> None:
        Schedule.objects.update(due_after=timezone.now() - timedelta(days=370))
        gate = threading.Barrier(6)

        def deliver(_: int) -> None:
            try:
                gate.wait(30)
                run_due(schedule.pk)
            finally:
                connections.close_all()

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(deliver, range(6)))

        assert Optimization.objects.count() == 1
        assert Schedule.objects.get().last_error == ""


def becomes_due(here: Installation) -> None:
    """A schedule is there, becomes due, and what it starts is done and noted."""
    here.python(MAKE_SCHEDULE + MAKE_DUE)
    found = json.loads(here.python(LOOK).splitlines()[-1])  # one process that waits: many would take the cores
    assert found["jobs"] == [["completed", "schedule", "sample-engineer"]], here.logs()
    assert "proven better" in found["result"]
    assert found["error"] == ""


@pytest.mark.timeout(300)
def test_the_embedded_server_starts_what_is_due(tmp_path: Path) -> None:
    here = Installation(tmp_path)
    here.migrate()
    here.manage("load_sample")
    try:
        server = here.start("web", "manage", "serve", "--port", str(here.web_port))
        here.await_ready(server)
        becomes_due(here)
        server.send_signal(signal.SIGTERM)
        assert server.wait(40) == 0, here.logs()
    finally:
        here.stop()
    for trouble in ("WARNING", "ERROR", "Traceback"):
        assert trouble not in here.logs()


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with production(tmp_path) as here:
        here.manage("load_sample")
        yield here


@pytest.mark.postgresql
@pytest.mark.redis
@pytest.mark.timeout(300)
def test_two_beats_and_workers_of_their_own_start_what_is_due_once(installation: Installation) -> None:
    installation.start_worker()
    installation.start(
        "training",
        "celery",
        "-A",
        "config",
        "worker",
        "-Q",
        "ml_training",
        "--pool",
        "prefork",
        "-c",
        "1",
        "-n",
        "t@%h",
    )
    for number in range(2):
        installation.start(f"beat{number}", "celery", "-A", "config", "beat", "--max-interval", "1")

    becomes_due(installation)
