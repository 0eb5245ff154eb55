"""What tests that really execute share: a provider on loopback, and this process's loop, ended after each test."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

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


def eventually(is_true: Callable[[], bool], within_s: float = 10) -> None:
    """Wait until something is so. Raises `AssertionError` when it is not in time."""
    give_up = time.monotonic() + within_s
    while not is_true():
        assert time.monotonic() < give_up, "it did not happen in time"
        time.sleep(0.02)


def state_of(execution: Execution) -> str:
    return str(Execution.objects.values_list("state", flat=True).get(pk=execution.pk))
