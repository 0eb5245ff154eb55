"""What tests that really execute share: a provider on loopback, and this process's loop, ended after each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from executions.models import Execution
from executions.services import planning, process
from executions.services.process import ExecutionProcess
from tests.provider import Provider


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture(autouse=True)
def _fresh_plans() -> Iterator[None]:
    planning.forget()
    yield
    process.stop_thread()
    planning.forget()


@pytest.fixture
def worker(transactional_db: None) -> ExecutionProcess:
    """This process, claiming pending executions as a Celery worker does."""
    here = process.ensure_started()
    here.submit(here.begin_claiming()).result()
    return here


def state_of(execution: Execution) -> str:
    return str(Execution.objects.values_list("state", flat=True).get(pk=execution.pk))
