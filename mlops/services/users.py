"""Accounts: made, changed, deactivated, and made anonymous, never deleted."""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from mlops.errors import Conflict, Invalid
from mlops.models import ApiToken, User
from mlops.policies import user_policy
from mlops.services.history import save_with_history
from mlops.services.locking import locked
from mlops.services.reverting import revertible
from mlops.services.token_limits import checked_rate
from mlops.services.tokens import forget_tokens_on_commit
from mlops.services.validation import apply, refusal_of
from mlops.types import Role
from mlops.verbs import verb

EDITABLE = ("role", "time_zone", "email", "first_name", "last_name", "has_hard_limit", "rate_limit")


@verb(user_policy, "create")
def create_user(*, actor: User, username: str, password: str | None = None, **fields: Any) -> User:
    """A new account (`EDITABLE` fields). Without a password it can only use tokens.

    Raises `Forbidden`, `Invalid` or `Conflict` (`username_taken`).
    """
    user_policy.check(actor, "create")
    user = User(username=User.normalize_username(username) if isinstance(username, str) else username)
    user.set_unusable_password()
    apply(user, {"username": user.username, **fields}, allowed=(*EDITABLE, "username"))
    _refuse_unknown_time_zone(user.time_zone)
    checked_rate(user.rate_limit)
    if password is not None:
        _set_password(user, password)
    if User.objects.filter(username=user.username).exists():
        raise _username_taken()
    try:
        with transaction.atomic():
            save_with_history(user, actor=actor, reason="create")
    except IntegrityError:
        raise _username_taken() from None
    return user


@verb(user_policy, "change")
def update_user(*, actor: User, user: User, fields: Mapping[str, Any]) -> User:
    """Change `EDITABLE` fields. Raises `Forbidden`, `Invalid`, or `Conflict` (`last_admin`)."""
    user_policy.check(actor, "change", user)
    with transaction.atomic():
        user = locked(user)
        was_admin = user.role == Role.ADMIN and user.is_active
        apply(user, fields, allowed=EDITABLE)
        _refuse_unknown_time_zone(user.time_zone)
        checked_rate(user.rate_limit)
        if was_admin and user.role != Role.ADMIN:
            _refuse_last_admin(user)
        save_with_history(user, actor=actor, reason="change", update_fields=fields.keys())
        forget_tokens_on_commit()
    return user


@verb(user_policy, "change")
def set_password(*, actor: User, user: User, password: str) -> User:
    """Set a password that the site's rules accept. Raises `Forbidden` or `Invalid`."""
    user_policy.check(actor, "change", user)
    with transaction.atomic():
        user = locked(user)
        _set_password(user, password)
        return save_with_history(user, actor=actor, reason="set_password", update_fields=["password"])


@verb(user_policy, "change_own_password")
def change_own_password(*, actor: User, password: str) -> User:
    """Set one's own password; whether the old one is known is for the edge to ask. Raises as `set_password`."""
    user_policy.check(actor, "change_own_password", actor)
    with transaction.atomic():
        user = locked(User(pk=actor.pk))
        _set_password(user, password)
        return save_with_history(user, actor=actor, reason="change_own_password", update_fields=["password"])


@verb(user_policy, "deactivate")
def deactivate_user(*, actor: User, user: User) -> User:
    """Close an account: no login, no token, its rows stay. Repeating it changes nothing.

    Raises `Forbidden` or `Conflict` (`last_admin`).
    """
    user_policy.check(actor, "deactivate", user)
    with transaction.atomic():
        user = locked(user)
        if user.is_active:
            if user.role == Role.ADMIN:
                _refuse_last_admin(user)
            user.is_active = False
            save_with_history(user, actor=actor, reason="deactivate", update_fields=["is_active"])
        forget_tokens_on_commit()
    return user


@verb(user_policy, "deactivate")
def anonymise_user(*, actor: User, user: User) -> User:
    """Deactivate and forget the person: names, email, password and tokens go, in the history too; the rows stay.

    Raises as `deactivate_user`.
    """
    with transaction.atomic():
        user = deactivate_user(actor=actor, user=user)
        nobody = {"username": f"anonymous-{user.pk.hex}", "email": "", "first_name": "", "last_name": ""}
        for name, value in nobody.items():
            setattr(user, name, value)
        user.set_unusable_password()
        save_with_history(user, actor=actor, reason="anonymise", update_fields=[*nobody, "password"])
        User.history.filter(id=user.pk).update(**nobody)
        ApiToken.objects.filter(user=user).delete()
    return user


def note_login(sender: object, user: User, **signal: Any) -> None:
    """Receiver of Django's `user_logged_in`: when somebody was last here is no change of the account."""
    User.objects.filter(pk=user.pk).update(last_login=timezone.now())


def _refuse_unknown_time_zone(name: str) -> None:
    if name not in zoneinfo.available_timezones():
        raise Invalid("time_zone_unknown", _("There is no such time zone."), field="time_zone")


def _refuse_last_admin(user: User) -> None:
    admins = User.objects.select_for_update().filter(role=Role.ADMIN.value, is_active=True)
    if not [row for row in admins if row.pk != user.pk]:
        raise Conflict("last_admin", _("This is the last admin of the installation."), field="role")


def _username_taken() -> Conflict:
    return Conflict("username_taken", _("This user name is taken."), field="username")


def _set_password(user: User, password: str) -> None:
    try:
        validate_password(password, user)
    except ValidationError as error:
        refusal = refusal_of(ValidationError({"password": error.error_list}))
        raise refusal from None
    user.set_password(password)


revertible(User, EDITABLE, lambda actor, row, changes: update_user(actor=actor, user=row, fields=changes))
