"""People, tokens, credits, budgets, language models and prices."""

from __future__ import annotations

from datetime import timedelta

from axes.models import AccessAttempt
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group
from django.utils import timezone

from mlops.models import LanguageModel, ModelPrice, User
from mlops.models.base import new_id
from mlops.services.budgets import create_budget
from mlops.services.language_models import set_secret
from mlops.types import MICRO_PER_CREDIT, PICO_PER_USD
from tests.factories import make_language_model, make_price, make_token
from tests.policies.case import Case, case
from tests.policies.people import World

SECRET = "sk-of-a-test"
OLD_PASSWORD = "a-long-password-6"


def once() -> dict[str, str]:
    """The key of a dialog that pays."""
    return {"once": str(new_id())}


@case("create_user")
def create_user(world: World) -> Case:
    body = {"username": "newcomer", "role": "ml_user"}
    return Case(body, body=body, form={**body, "time_zone": "UTC"})


@case("update_user")
def update_user(world: World) -> Case:
    fields = {"first_name": "Ada"}
    return Case({"user": world.owner, "fields": fields}, world.owner, body=fields, form=fields)


@case("set_password")
def set_password(world: World) -> Case:
    form = {"password": "a-long-password-7"}
    return Case({"user": world.owner, **form}, world.owner, form=form)


@case("change_own_password")
def change_own_password(world: World) -> Case:
    old, new = make_password(OLD_PASSWORD), "a-long-password-7"
    User.objects.update(password=old)
    for person, user in world.users.items():
        user.password = old
        world.browsers[person].force_login(user)
    return Case({"password": new}, form={"old_password": OLD_PASSWORD, "new_password1": new, "new_password2": new})


@case("deactivate_user")
def deactivate_user(world: World) -> Case:
    return Case({"user": world.owner}, world.owner)


@case("anonymise_user")
def anonymise_user(world: World) -> Case:
    return Case({"user": world.owner}, world.owner)


@case("grant_credits")
def grant_credits(world: World) -> Case:
    arguments = {"user": world.owner, "amount": MICRO_PER_CREDIT, "key": f"matrix:{new_id()}"}
    return Case(arguments, world.owner, body={"credits": "1"}, form={"amount": "1", **once()})


@case("refund_credits")
def refund_credits(world: World) -> Case:
    arguments = {"user": world.owner, "amount": MICRO_PER_CREDIT, "key": f"matrix:{new_id()}"}
    return Case(
        arguments, world.owner, body={"credits": "1", "note": "wrong"}, form={"amount": "1", "note": "wrong", **once()}
    )


@case("repair_balance")
def repair_balance(world: World) -> Case:
    User.objects.filter(pk=world.owner.pk).update(ml_credits=1)
    return Case({"user": world.owner})


@case("unlock_login")
def unlock_login(world: World) -> Case:
    attempt = AccessAttempt.objects.create(
        username="somebody", ip_address="127.0.0.1", user_agent="test", failures_since_start=5, get_data="",
        post_data="", http_accept="", path_info="/admin/login/",
    )  # fmt: skip
    return Case({"attempt": attempt}, attempt)


@case("create_group")
def create_group(world: World) -> Case:
    return Case({"name": "new"}, form={"name": "new"})


@case("update_group")
def update_group(world: World) -> Case:
    form = {"name": "renamed"}
    return Case({"group": world.group, **form}, world.group, form=form)


@case("delete_group")
def delete_group(world: World) -> Case:
    group = Group.objects.create(name="unused")
    return Case({"group": group}, group)


@case("create_token")
def create_token(world: World) -> Case:
    return Case({"user": world.owner, "name": "new"}, body={"name": "new"}, form={"name": "new"})


@case("rotate_token")
def rotate_token(world: World) -> Case:
    token = make_token(world.owner)[0]
    return Case({"token": token}, token, form={"overlap_hours": "1"})


@case("revoke_token")
def revoke_token(world: World) -> Case:
    token = make_token(world.owner)[0]
    return Case({"token": token}, token)


@case("create_budget")
def new_budget(world: World) -> Case:
    body = {"scope": "installation", "period": "day", "limit": "1"}
    return Case({**body, "limit": PICO_PER_USD}, body=body, form={**body, "warn_percent": "80"})


@case("update_budget")
def update_budget(world: World) -> Case:
    budget = create_budget(actor=world.admin, scope="installation", period="day", limit=PICO_PER_USD)
    changes = {"limit": "2"}
    return Case({"budget": budget, "fields": {"limit": 2 * PICO_PER_USD}}, budget, body=changes, form=changes)


@case("delete_budget")
def delete_budget(world: World) -> Case:
    budget = create_budget(actor=world.admin, scope="installation", period="day", limit=PICO_PER_USD)
    return Case({"budget": budget}, budget)


@case("create_language_model")
def create_language_model(world: World) -> Case:
    body = {"name": "openai/new"}
    return Case(body, body=body, form={**body, "kind": "chat", "parameters": "{}"})


@case("update_language_model")
def change_language_model(world: World) -> Case:
    model, fields = make_language_model(), {"timeout_s": 7.0}
    return Case({"model": model, "fields": fields}, model, body=fields, form={"timeout_s": "7.0"})


@case("delete_language_model")
def delete_language_model(world: World) -> Case:
    model = make_language_model()
    return Case({"model": model}, model)


@case("set_fallbacks")
def set_fallbacks(world: World) -> Case:
    model, other = make_language_model(), make_language_model()
    arguments = {"model": model, "fallbacks": [other]}
    return Case(arguments, model, body={"fallbacks": [str(other.pk)]}, form={"fallbacks": other.name})


@case("set_default")
def set_default(world: World) -> Case:
    model = make_language_model()
    return Case({"model": model}, model)


@case("ensure_default_model")
def ensure_default_model(world: World) -> Case:
    assert not LanguageModel.objects.exists()
    return Case({})


@case("set_secret")
def keep_secret(world: World) -> Case:
    model = make_language_model()
    return Case({"model": model, "value": SECRET}, model, body={"value": SECRET}, form={"value": SECRET})


@case("rotate_secrets")
def rotate_secrets(world: World) -> Case:
    set_secret(actor=world.admin, model=make_language_model(), value=SECRET)
    return Case({})


@case("add_price")
def add_price(world: World) -> Case:
    model, begins = make_language_model(), timezone.now()
    prices = {"input_price": 1_000_000, "cached_input_price": 500_000, "output_price": 2_000_000}
    shown = {"input_price": "1", "cached_input_price": "0.5", "output_price": "2"}
    form = {**shown, "model": str(model.pk), "valid_from_0": f"{begins:%Y-%m-%d}", "valid_from_1": f"{begins:%H:%M:%S}"}
    body = {**shown, "language_model": str(model.pk), "valid_from": begins.isoformat()}
    return Case({"model": model, "valid_from": begins, **prices}, body=body, form=form)


@case("delete_price")
def delete_price(world: World) -> Case:
    price: ModelPrice = make_price(make_language_model(), valid_from=timezone.now() + timedelta(days=30))
    return Case({"price": price}, price)


@case("import_prices")
def import_prices(world: World) -> Case:
    model = make_language_model(name="openai/gpt-4o-mini")
    body = {"language_models": [str(model.pk)]}
    return Case({"models": [model]}, model, body=body, form={"models": str(model.pk)})
