"""Beat inside of the server."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from celery.app import app_or_default
from django.db import OperationalError
from django_celery_beat.schedulers import DatabaseScheduler

from config import embedded
from config.embedded import EmbeddedBeat

ticked = threading.Semaphore(0)
failures: list[Exception] = []


class FailingScheduler(DatabaseScheduler):  # type: ignore[misc]  # it has no types
    """The scheduler of the product, whose database can be away; it sends nothing."""

    def tick(self) -> float:
        if failures:
            raise failures.pop()
        ticked.release()
        return 0.05


@pytest.fixture
def beat(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedBeat]:
    monkeypatch.setattr(embedded, "BEAT_AGAIN_S", 0.1)
    here = EmbeddedBeat(app_or_default(), FailingScheduler)
    here.start()
    yield here
    here.stop()


def is_ticking() -> bool:
    while ticked.acquire(blocking=False):
        pass
    return ticked.acquire(timeout=10)


@pytest.mark.django_db(transaction=True)
def test_beat_goes_on_when_the_database_was_away(beat: EmbeddedBeat, caplog: pytest.LogCaptureFixture) -> None:
    assert is_ticking()

    failures.append(OperationalError("server closed the connection"))

    assert is_ticking()
    assert is_ticking()
    assert "beat begins anew" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_beat_stops_when_asked(beat: EmbeddedBeat) -> None:
    assert is_ticking()

    beat.stop()

    while ticked.acquire(blocking=False):
        pass
    assert not ticked.acquire(timeout=0.5)
