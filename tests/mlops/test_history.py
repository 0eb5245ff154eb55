import pytest

from mlops.models import User
from mlops.services.history import operator, save_with_history, saved_or_none
from tests.factories import make_language_model

pytestmark = pytest.mark.django_db


def test_history_row_names_the_actor_and_the_verb(admin: User) -> None:
    model = make_language_model()
    model.timeout_s = 5

    save_with_history(model, actor=admin, reason="change", update_fields=["timeout_s"])

    latest = model.history.latest()
    assert (latest.history_user, latest.history_change_reason, latest.timeout_s) == (admin, "change", 5)


def test_named_columns_are_written_alone_with_the_time_of_the_change(admin: User) -> None:
    model = make_language_model()
    before = model.updated_at
    model.timeout_s, model.api_base = 5, "http://elsewhere"

    save_with_history(model, actor=admin, reason="change", update_fields=["timeout_s"])

    model.refresh_from_db()
    assert (model.timeout_s, model.api_base) == (5, "")
    assert model.updated_at > before


def test_the_operator_is_an_admin_without_a_row() -> None:
    model = make_language_model()

    save_with_history(model, actor=operator(), reason="load")

    assert model.history.latest().history_user is None
    assert saved_or_none(operator()) is None
    assert operator().is_staff
