"""Where a change comes from, as its history row tells."""

from __future__ import annotations

import threading

import pytest
from celery import shared_task
from django.test import Client
from rest_framework.test import APIClient

from mlops.models import LanguageModel, User
from mlops.origin import Edge, Origin, acting, current_origin
from mlops.services.history import save_with_history
from tests.factories import make_language_model

pytestmark = pytest.mark.django_db


@shared_task(name="tests.seen_by_a_task")
def seen_by_a_task() -> tuple[str, str]:
    origin = current_origin()
    return origin.source.value, origin.request_id


def test_a_call_from_python_is_the_default(admin: User) -> None:
    latest = save_with_history(make_language_model(), actor=admin, reason="change").history.latest()
    assert (latest.history_source, latest.history_request_id) == ("python", "")


def test_the_origin_ends_with_its_block_and_stays_in_its_thread() -> None:
    seen: list[Origin] = []
    with acting(Origin(Edge.REST, "one")):
        thread = threading.Thread(target=lambda: seen.append(current_origin()))
        thread.start()
        thread.join()
        assert current_origin() == Origin(Edge.REST, "one")
    assert [*seen, current_origin()] == [Origin(), Origin()]


def test_rest_keeps_the_id_that_the_client_gave(admin: User) -> None:
    model = make_language_model()
    client = APIClient()
    client.force_authenticate(admin)
    answer = client.patch(
        f"/api/v1/language-models/{model.pk}/", {"timeout_s": 7}, headers={"X-Request-Id": "order-66.b"}
    )
    assert answer.status_code == 200, answer.content
    latest = LanguageModel.objects.get(pk=model.pk).history.latest()
    assert (latest.history_source, latest.history_request_id, latest.history_user) == ("rest", "order-66.b", admin)
    assert answer.headers["X-Request-Id"] == "order-66.b"


@pytest.mark.parametrize("told", ["", "x" * 65, "two words", 'quote"', "new\tline", "<b>"])
def test_an_id_that_may_not_stand_in_a_header_is_replaced(told: str) -> None:
    answer = Client().get("/healthz", headers={"X-Request-Id": told})
    assert answer.headers["X-Request-Id"] != told
    assert len(answer.headers["X-Request-Id"]) == 32


def test_what_an_admin_page_changes_says_so(admin: User, alice: User, client: Client) -> None:
    client.force_login(admin)
    answer = client.post(f"/admin/mlops/user/{alice.pk}/change/", {"role": "ml_user", "time_zone": "Asia/Tokyo"})
    latest = alice.history.latest()
    assert latest.time_zone == "Asia/Tokyo"
    assert (latest.history_source, latest.history_request_id) == ("admin", answer.headers["X-Request-Id"])


def test_a_task_is_an_origin() -> None:
    result = seen_by_a_task.apply(task_id="task-7")
    assert result.get() == ("task", "task-7")
    assert current_origin() == Origin()
