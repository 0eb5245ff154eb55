from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.utils import timezone

from mlops import secrets
from mlops.errors import Conflict, DomainError, Forbidden, Invalid, Unavailable
from mlops.models import LanguageModel, ModelPrice, User
from mlops.selectors import default_language_model, language_model_spec
from mlops.services.language_models import (
    create_language_model,
    delete_language_model,
    rotate_secrets,
    set_default,
    set_fallbacks,
    set_secret,
    update_language_model,
)
from mlops.services.prices import add_price
from mlops.types import MATCHER_NAME, LanguageModelKind, Price
from tests.factories import make_language_model, make_price

pytestmark = pytest.mark.django_db
CANARY = "sk-canary-7f3a"


def test_a_model_is_made_with_its_history(admin: User) -> None:
    model = create_language_model(
        actor=admin, name="openai/gpt-4.1-mini", api_base="https://host.example/v1", parameters={"temperature": 0.2}
    )

    model.refresh_from_db()
    assert (model.api_base, model.parameters) == ("https://host.example/v1", {"temperature": 0.2})
    assert model.history.get().history_change_reason == "create"


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"name": "gpt"}, "language_model_name_invalid", "name"),
        ({"name": "openai/a b"}, "language_model_name_invalid", "name"),
        ({"name": "openai/taken"}, "language_model_name_taken", "name"),
        ({"api_base": "ftp://host/"}, "api_base_invalid", "api_base"),
        ({"api_base": "host/v1"}, "api_base_invalid", "api_base"),
        ({"api_base": "https://"}, "api_base_invalid", "api_base"),
        ({"api_base": "http://host:99999/"}, "api_base_invalid", "api_base"),
        ({"api_base": "http://[::1"}, "api_base_invalid", "api_base"),
        ({"api_base": "https://host/?key=1"}, "api_base_invalid", "api_base"),
        ({"api_base": "https://user:pass@host/"}, "api_base_has_credentials", "api_base"),
        ({"parameters": {"api_key": CANARY}}, "parameter_unknown", "parameters.api_key"),
        ({"parameters": {"temperature": "hot"}}, "parameter_type", "parameters.temperature"),
        ({"parameters": {"temperature": True}}, "parameter_type", "parameters.temperature"),
        ({"parameters": {"temperature": float("nan")}}, "not_a_number", "parameters.temperature"),
        ({"parameters": {"stop": [1]}}, "parameter_type", "parameters.stop"),
        ({"parameters": ["temperature"]}, "parameters_invalid", "parameters"),
        ({"timeout_s": 0}, "min_value", "timeout_s"),
        ({"timeout_s": float("inf")}, "not_a_number", "timeout_s"),
        ({"timeout_s": "soon"}, "invalid", "timeout_s"),
        ({"concurrency_limit": 0}, "min_value", "concurrency_limit"),
        ({"secret": CANARY}, "unknown_field", "secret"),
        ({"is_default": True}, "unknown_field", "is_default"),
    ],
)
def test_bad_models_are_refused(admin: User, fields: dict[str, Any], code: str, field: str) -> None:
    make_language_model(name="openai/taken")

    with pytest.raises(DomainError) as refusal:
        create_language_model(actor=admin, **{"name": "openai/new", **fields})

    problem = refusal.value.problems[0]
    assert (problem.code, problem.field) == (code, field)
    assert CANARY not in problem.message
    assert LanguageModel.objects.count() == 1


def test_only_admins_write(alice: User, erin: User) -> None:
    model, other = make_language_model(), make_language_model()
    verbs: list[Any] = [
        lambda actor: create_language_model(actor=actor, name="openai/new"),
        lambda actor: update_language_model(actor=actor, model=model, fields={"api_base": "http://elsewhere"}),
        lambda actor: set_secret(actor=actor, model=model, value=CANARY),
        lambda actor: set_fallbacks(actor=actor, model=model, fallbacks=[other]),
        lambda actor: set_default(actor=actor, model=model),
        lambda actor: delete_language_model(actor=actor, model=model),
        lambda actor: rotate_secrets(actor=actor),
        lambda actor: add_price(
            actor=actor,
            model=model,
            valid_from=timezone.now(),
            input_price=1,
            cached_input_price=1,
            output_price=1,
        ),
    ]
    before = list(LanguageModel.objects.values())

    for actor in (alice, erin):
        for verb in verbs:
            with pytest.raises(Forbidden):
                verb(actor)

    assert list(LanguageModel.objects.values()) == before
    assert not ModelPrice.objects.exists()


def test_a_secret_is_encrypted_and_reaches_only_the_runtime(admin: User) -> None:
    model = set_secret(actor=admin, model=make_language_model(), value=CANARY)

    spec = language_model_spec(model)

    assert spec.api_key == CANARY
    assert CANARY not in repr(spec)
    assert CANARY not in repr(vars(model))
    assert CANARY not in repr(list(LanguageModel.objects.values()))
    assert CANARY not in repr(list(LanguageModel.history.values()))
    assert model.secret not in repr(list(LanguageModel.history.values()))


def test_a_secret_may_be_the_name_of_a_variable(admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNET_LM_TEST", CANARY)
    model = set_secret(actor=admin, model=make_language_model(), value="kept")

    model = set_secret(actor=admin, model=model, variable="SIGNET_LM_TEST")

    assert (model.secret, language_model_spec(model).api_key) == ("", CANARY)


@pytest.mark.parametrize(
    "variable", ["SECRET_KEY", "SIGNET_SECRET_KEY", "DATABASE_URL", "PATH", "_API_KEY", "x_API_KEY"]
)
def test_other_variables_are_never_read(admin: User, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, CANARY)
    model = make_language_model(secret_variable=variable)

    with pytest.raises(Invalid) as refusal:
        set_secret(actor=admin, model=model, variable=variable)

    assert refusal.value.code == "secret_variable_forbidden"
    assert language_model_spec(model).api_key is None


@pytest.mark.parametrize(
    ("value", "variable", "code"),
    [
        ("a", "SIGNET_LM_A", "secret_ambiguous"),
        ("a\nHost: evil", "", "secret_invalid"),
        ("ä", "", "secret_invalid"),
        ("a" * 10_001, "", "secret_invalid"),
        ("a\x00", "", "unstorable_text"),
    ],
)
def test_bad_secrets_are_refused(admin: User, value: str, variable: str, code: str) -> None:
    with pytest.raises(Invalid) as refusal:
        set_secret(actor=admin, model=make_language_model(), value=value, variable=variable)

    assert refusal.value.code == code


def test_secrets_survive_a_new_key(admin: User, settings: LazySettings) -> None:
    settings.SIGNET_ENCRYPTION_KEYS = ["old"]
    model = set_secret(actor=admin, model=make_language_model(), value=CANARY)
    make_language_model()

    settings.SIGNET_ENCRYPTION_KEYS = ["new", "old"]
    assert rotate_secrets(actor=admin) == 1

    settings.SIGNET_ENCRYPTION_KEYS = ["new"]
    model.refresh_from_db()
    assert secrets.decrypt(model.secret) == CANARY


def test_a_secret_of_a_lost_key_is_a_clear_refusal(admin: User, settings: LazySettings) -> None:
    model = set_secret(actor=admin, model=make_language_model(), value=CANARY)
    settings.SIGNET_ENCRYPTION_KEYS = ["another"]

    with pytest.raises(Invalid) as refusal:
        rotate_secrets(actor=admin)

    assert refusal.value.code == "secret_unreadable"
    with pytest.raises(Invalid):
        language_model_spec(model, at=timezone.now())


def test_fallbacks_are_ordered_and_flattened(admin: User) -> None:
    first, second, third, last = (make_language_model() for _ in range(4))
    set_fallbacks(actor=admin, model=second, fallbacks=[last])
    set_fallbacks(actor=admin, model=first, fallbacks=[third])
    set_fallbacks(actor=admin, model=first, fallbacks=[second, third])
    update_language_model(actor=admin, model=third, fields={"is_enabled": False})

    spec = language_model_spec(first)

    assert [stand_in.name for stand_in in spec.fallbacks] == [second.name, last.name]
    assert first.history.latest().history_change_reason == "set_fallbacks"


def test_bad_fallbacks_are_refused(admin: User) -> None:
    first, second, third = (make_language_model() for _ in range(3))
    matcher = make_language_model(name=MATCHER_NAME)
    embedder = make_language_model(kind=LanguageModelKind.EMBEDDING.value)
    set_fallbacks(actor=admin, model=second, fallbacks=[third])
    set_fallbacks(actor=admin, model=third, fallbacks=[first])

    for fallbacks, code in (
        ([first], "fallback_is_itself"),
        ([second, second], "fallback_twice"),
        ([second], "fallback_cycle"),
        ([matcher], "fallback_is_matcher"),
        ([embedder], "fallback_of_other_kind"),
    ):
        with pytest.raises(Invalid) as refusal:
            set_fallbacks(actor=admin, model=first, fallbacks=fallbacks)
        assert refusal.value.code == code

    assert not first.fallback_rows.exists()


def test_there_is_one_default_per_kind(admin: User) -> None:
    first, second = make_language_model(), make_language_model()
    with pytest.raises(Unavailable):
        default_language_model()

    set_default(actor=admin, model=first)
    set_default(actor=admin, model=second)

    assert default_language_model() == second
    assert LanguageModel.objects.filter(is_default=True).count() == 1


def test_the_default_is_neither_disabled_nor_deleted(admin: User) -> None:
    model = set_default(actor=admin, model=make_language_model())

    with pytest.raises(Conflict):
        update_language_model(actor=admin, model=model, fields={"is_enabled": False})
    with pytest.raises(Conflict):
        delete_language_model(actor=admin, model=model)

    model.refresh_from_db()
    assert model.is_enabled


def test_a_disabled_model_does_not_become_the_default(admin: User) -> None:
    with pytest.raises(Conflict) as refusal:
        set_default(actor=admin, model=make_language_model(is_enabled=False))

    assert refusal.value.code == "language_model_disabled"


def test_unused_models_go_with_their_prices_and_used_ones_stay(admin: User) -> None:
    used, unused = make_language_model(), make_language_model()
    set_fallbacks(actor=admin, model=make_language_model(), fallbacks=[used])
    make_price(used)
    make_price(unused)

    delete_language_model(actor=admin, model=unused)
    with pytest.raises(Conflict) as refusal:
        delete_language_model(actor=admin, model=used)

    assert refusal.value.code == "language_model_in_use"
    assert ModelPrice.objects.get().model == used
    for history in (LanguageModel.history, ModelPrice.history):
        gone = history.get(history_type="-")
        assert (gone.history_user, gone.history_change_reason) == (admin, "delete")


def test_the_price_is_the_one_in_force(admin: User) -> None:
    model = make_language_model()
    start = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [
        add_price(
            actor=admin,
            model=model,
            valid_from=start + timedelta(days=days),
            input_price=days + 1,
            cached_input_price=0,
            output_price=9,
        )
        for days in (0, 10)
    ]

    assert language_model_spec(model, at=start - timedelta(seconds=1)).price is None
    assert language_model_spec(model, at=start + timedelta(days=9)).price == Price(str(rows[0].pk), 1, 0, 9)
    assert language_model_spec(model, at=start + timedelta(days=10)).price == Price(str(rows[1].pk), 11, 0, 9)


def test_prices_are_bounded_and_one_per_moment(admin: User) -> None:
    model, now = make_language_model(), timezone.now()
    for price in (-1, 10**12 + 1, True):
        with pytest.raises(Invalid) as refusal:
            add_price(actor=admin, model=model, valid_from=now, input_price=price, cached_input_price=0, output_price=0)
        assert (refusal.value.code, refusal.value.field) == ("price_invalid", "input_price")

    add_price(actor=admin, model=model, valid_from=now, input_price=0, cached_input_price=0, output_price=0)
    with pytest.raises(Conflict):
        add_price(actor=admin, model=model, valid_from=now, input_price=0, cached_input_price=0, output_price=0)


def test_a_spec_is_kept_until_a_service_changes_the_model(admin: User) -> None:
    model = make_language_model(timeout_s=5)
    assert language_model_spec(model).timeout_s == 5

    changed = update_language_model(actor=admin, model=model, fields={"timeout_s": 7})

    assert language_model_spec(changed).timeout_s == 7
