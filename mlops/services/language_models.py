"""Language models: made, changed, secured, ordered. Admins only."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from django.utils.translation import gettext as _

from mlops import secrets
from mlops.egress import addresses_of, is_address, is_disguised_address, is_usual_port, may_connect
from mlops.errors import Conflict, Invalid
from mlops.models import Fallback, LanguageModel, User
from mlops.policies import language_model_policy
from mlops.runtime.provider_list import is_offered
from mlops.sanitiser import refuse_unstorable
from mlops.selectors import fallback_chain
from mlops.services.history import delete_with_history, save_with_history
from mlops.services.locking import locked
from mlops.services.parameters import refuse_bad_parameters
from mlops.services.price_imports import price_new_model
from mlops.services.prices import forget_on_commit, have_begun
from mlops.services.reverting import reference_gone, revertible
from mlops.services.validation import apply
from mlops.types import MATCHER_NAME, LanguageModelKind
from mlops.verbs import verb

EDITABLE = (
    "api_base",
    "parameters",
    "timeout_s",
    "deadline_s",
    "max_retries",
    "concurrency_limit",
    "supports_tools",
    "supports_json_schema",
    "is_enabled",
)
NAME = re.compile(r"[a-z][a-z0-9_-]*/[^\s/][^\s]*")
MAX_SECRET = 10_000
MAX_FALLBACKS = 10

_uses: list[Callable[[LanguageModel], bool]] = []


@verb(language_model_policy, "create")
def create_language_model(
    *,
    actor: User,
    name: str,
    kind: LanguageModelKind = LanguageModelKind.CHAT,
    import_price: bool = True,
    **fields: Any,
) -> LanguageModel:
    """A model that may be called, without a secret yet (`EDITABLE` fields), and with its list price, if there is one
    and unless `import_price` says no.

    Raises `Forbidden`, `Invalid` (`language_model_provider_refused` among others) or `Conflict`
    (`language_model_name_taken`).
    """
    language_model_policy.check(actor, "create")
    _refuse_bad_address(str(fields.get("api_base") or ""))
    model = LanguageModel(kind=LanguageModelKind(kind).value)
    _apply(model, {"name": name, **fields}, allowed=(*EDITABLE, "name"))
    _refuse_other_providers(name)
    if LanguageModel.objects.filter(name=name).exists():
        raise _name_taken()
    try:
        with transaction.atomic():
            save_with_history(model, actor=actor, reason="create")
            if import_price:
                price_new_model(actor=actor, model=model)
            forget_on_commit()
    except IntegrityError:
        raise _name_taken() from None
    return model


@verb(language_model_policy, "change")
def update_language_model(*, actor: User, model: LanguageModel, fields: Mapping[str, Any]) -> LanguageModel:
    """Change `EDITABLE` fields. Raises `Forbidden`, `Invalid`, or `Conflict` (`language_model_is_default`)."""
    language_model_policy.check(actor, "change", model)
    _refuse_bad_address(str(fields.get("api_base") or ""))
    return _changed(actor, model, fields)


def _changed(actor: User, model: LanguageModel, fields: Mapping[str, Any]) -> LanguageModel:
    with transaction.atomic():
        model = locked(model)
        _apply(model, fields, allowed=EDITABLE)
        if model.is_default and not model.is_enabled:
            raise Conflict("language_model_is_default", _("The default cannot be disabled."), field="is_enabled")
        save_with_history(model, actor=actor, reason="change", update_fields=fields.keys())
        forget_on_commit()
    return model


@verb(language_model_policy, "set_secret")
def set_secret(*, actor: User, model: LanguageModel, value: str = "", variable: str = "") -> LanguageModel:
    """Keep `value` encrypted, or take the secret from the environment `variable`; neither: no secret.

    Raises `Forbidden`, or `Invalid` (`secret_ambiguous`, `secret_variable_forbidden`, `secret_invalid`).
    """
    language_model_policy.check(actor, "set_secret", model)
    _refuse_bad_secret(value, variable)
    with transaction.atomic():
        model = locked(model)
        model.secret = secrets.encrypt(value) if value else ""
        model.secret_variable = variable
        save_with_history(model, actor=actor, reason="set_secret", update_fields=["secret", "secret_variable"])
        forget_on_commit()
    return model


@verb(language_model_policy, "set_secret")
def rotate_secrets(*, actor: User) -> int:
    """Encrypt every kept secret anew with the first key; how many. Raises `Invalid` (`secret_unreadable`)."""
    language_model_policy.check(actor, "set_secret")
    with transaction.atomic():
        kept = list(LanguageModel.objects.select_for_update().exclude(secret=""))
        for model in kept:
            # No history row: nothing about the model has changed, and the history holds no secrets.
            LanguageModel.objects.filter(pk=model.pk).update(secret=secrets.rotate(model.secret))
    return len(kept)


@verb(language_model_policy, "change")
def set_fallbacks(*, actor: User, model: LanguageModel, fallbacks: Sequence[LanguageModel]) -> LanguageModel:
    """What is called when `model` fails, in this order; replaces what was set before.

    Raises `Forbidden`, or `Invalid` (`fallback_twice`, `fallback_is_itself`, `fallback_of_other_kind`,
    `fallback_is_matcher`, `fallback_cycle`, `too_many_fallbacks`).
    """
    language_model_policy.check(actor, "change", model)
    with transaction.atomic():
        # All of them: two concurrent changes could otherwise close a cycle that neither of them sees.
        list(LanguageModel.objects.select_for_update().order_by("pk").values_list("pk"))
        model = locked(model)
        _refuse_bad_fallbacks(model, fallbacks)
        Fallback.objects.filter(of=model).delete()
        Fallback.objects.bulk_create(
            Fallback(of=model, model=stand_in, position=position) for position, stand_in in enumerate(fallbacks)
        )
        save_with_history(model, actor=actor, reason="set_fallbacks", update_fields=[])
        forget_on_commit()
    return model


@verb(language_model_policy, "set_default")
def set_default(*, actor: User, model: LanguageModel) -> LanguageModel:
    """Make `model` the default of its kind. Raises `Forbidden`, or `Conflict` (`language_model_disabled`)."""
    language_model_policy.check(actor, "set_default", model)
    with transaction.atomic():
        model = locked(model)
        if not model.is_enabled:
            raise Conflict("language_model_disabled", _("A disabled model cannot be the default."))
        for former in LanguageModel.objects.select_for_update().filter(kind=model.kind, is_default=True):
            if former.pk != model.pk:
                former.is_default = False
                save_with_history(former, actor=actor, reason="set_default", update_fields=["is_default"])
        if not model.is_default:
            model.is_default = True
            save_with_history(model, actor=actor, reason="set_default", update_fields=["is_default"])
        forget_on_commit()
    return model


@verb(language_model_policy, "delete")
def delete_language_model(*, actor: User, model: LanguageModel) -> None:
    """Remove a model that nothing uses, and its prices with it.

    Raises `Forbidden`, or `Conflict` (`language_model_is_default`, `language_model_in_use`).
    """
    language_model_policy.check(actor, "delete", model)
    try:
        with transaction.atomic():
            model = locked(model, to_delete=True)
            if model.is_default:
                raise Conflict("language_model_is_default", _("The default cannot be deleted."))
            prices = list(model.prices.all())
            if have_begun(prices) and any(is_used(model) for is_used in _uses):
                raise _in_use()
            delete_with_history([*prices, model], actor=actor, reason="delete")
            forget_on_commit()
    except ProtectedError:
        raise _in_use() from None


def used_models(is_used: Callable[[LanguageModel], bool]) -> None:
    """Have `is_used` asked before a model is deleted: whether records of a higher app used it, or may be using it."""
    _uses.append(is_used)


def _apply(model: LanguageModel, fields: Mapping[str, Any], *, allowed: Sequence[str]) -> None:
    apply(model, fields, allowed=allowed)
    if not NAME.fullmatch(model.name):
        raise Invalid("language_model_name_invalid", _("Write it as provider/model."), field="name")
    refuse_bad_parameters(model.parameters)


def _refuse_other_providers(name: str) -> None:
    if not is_offered(name):
        raise Invalid(
            "language_model_provider_refused",
            _("This provider may not be called. Servers of the OpenAI protocol are openai/... with a base URL."),
            field="name",
        )


def _refuse_bad_address(address: str) -> None:
    """Raise `Invalid` unless `address` is one that may be called; asks the resolver, so not within a transaction."""
    if not address:
        return
    parts = _split(address)
    if parts is None or parts.query or parts.fragment or re.search(r"\s", address):
        raise Invalid("api_base_invalid", _("Expected an address such as https://host/v1."), field="api_base")
    if "@" in parts.netloc:
        raise Invalid("api_base_has_credentials", _("Credentials belong into the secret."), field="api_base")
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    # A name that nobody knows yet is judged when it is called.
    addresses = [host] if is_address(host) else addresses_of(host, port)
    if not all(may_connect(host, port, found) for found in addresses):
        raise _address_refused(port)


def _split(address: str) -> SplitResult | None:
    """The parts of a web address whose host is spelled as usual, else None."""
    try:
        parts = urlsplit(address)
        is_good = parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:
        return None
    host = parts.hostname or ""
    return parts if is_good and host and host.isascii() and not is_disguised_address(host) else None


def _address_refused(port: int) -> Invalid:
    if not is_usual_port(port):
        return Invalid("api_base_port", _("Expected port 80, 443, or one from 1024 on."), field="api_base")
    message = _("This address is private. SIGNET_ALLOWED_PRIVATE_HOSTS lists the private ones that may be called.")
    return Invalid("api_base_private", message, field="api_base")


def _refuse_bad_secret(value: str, variable: str) -> None:
    refuse_unstorable({"value": value, "variable": variable})
    if value and variable:
        raise Invalid("secret_ambiguous", _("Give a value or a variable, not both."), field="variable")
    if variable and not secrets.VARIABLE_NAME.fullmatch(variable):
        message = _("Only variables named SIGNET_LM_... or ..._API_KEY may be read.")
        raise Invalid("secret_variable_forbidden", message, field="variable")
    # A key ends up in a header; a line break in it would be an injection.
    if len(value) > MAX_SECRET or not value.isprintable() or not value.isascii():
        raise Invalid("secret_invalid", _("A secret is one line of ASCII characters."), field="value")


def _refuse_bad_fallbacks(model: LanguageModel, fallbacks: Sequence[LanguageModel]) -> None:
    if len(fallbacks) > MAX_FALLBACKS:
        raise Invalid("too_many_fallbacks", _("A model has at most ten fallbacks."), field="fallbacks")
    if len({stand_in.pk for stand_in in fallbacks}) != len(fallbacks):
        raise Invalid("fallback_twice", _("A fallback is named twice."), field="fallbacks")
    for index, stand_in in enumerate(fallbacks):
        _refuse_bad_fallback(model, stand_in, f"fallbacks.{index}")


def _refuse_bad_fallback(model: LanguageModel, stand_in: LanguageModel, field: str) -> None:
    if stand_in.pk == model.pk:
        raise Invalid("fallback_is_itself", _("A model cannot stand in for itself."), field=field)
    if stand_in.kind != model.kind:
        raise Invalid("fallback_of_other_kind", _("A fallback is of the same kind."), field=field)
    if stand_in.name == MATCHER_NAME:
        message = _("The example matcher is not a language model and stands in for none.")
        raise Invalid("fallback_is_matcher", message, field=field)
    if model.pk in {row.pk for row in fallback_chain(stand_in)}:
        raise Invalid("fallback_cycle", _("The fallbacks would go round in a circle."), field=field)


def _in_use() -> Conflict:
    return Conflict("language_model_in_use", _("Other records use this language model."))


def _name_taken() -> Conflict:
    return Conflict("language_model_name_taken", _("There is a language model of this name."), field="name")


def _put_back(actor: User, model: LanguageModel, changes: dict[str, Any]) -> LanguageModel:
    """Its own columns and its fallbacks, both or neither."""
    fields = {name: value for name, value in changes.items() if name != "fallbacks"}
    language_model_policy.check(actor, "change", model)
    _refuse_bad_address(str(fields.get("api_base") or ""))
    with transaction.atomic():
        if fields:
            model = _changed(actor, model, fields)
        if "fallbacks" in changes:
            model = set_fallbacks(actor=actor, model=model, fallbacks=_still_there(changes["fallbacks"]))
    return model


def _still_there(ids: Sequence[str]) -> list[LanguageModel]:
    """Raises `Conflict` (`reference_gone`)."""
    found = {str(pk): model for pk, model in LanguageModel.objects.in_bulk(ids).items()}
    if not found.keys() >= set(ids):
        raise reference_gone("fallbacks")
    return [found[one] for one in ids]


revertible(LanguageModel, (*EDITABLE, "fallbacks"), _put_back)
