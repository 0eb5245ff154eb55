"""Groups of people: a program may be limited to one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.models import Group
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from django.utils.translation import gettext as _

from mlops.errors import Conflict
from mlops.models import User
from mlops.policies import group_policy
from mlops.sanitiser import refuse_unstorable
from mlops.services.history import delete_with_history, save_with_history
from mlops.services.locking import locked
from mlops.services.reverting import revertible
from mlops.services.validation import check
from mlops.verbs import verb


@verb(group_policy, "create")
def create_group(*, actor: User, name: str, members: Iterable[User] = ()) -> Group:
    """Raises `Forbidden`, `Invalid` or `Conflict` (`group_name_taken`)."""
    group_policy.check(actor, "create")
    _name(group := Group(), name)
    with transaction.atomic():
        _save(group, actor, "create")
        if members := list(members):
            group.user_set.set(members)
            _save(group, actor, "create")
    return group


@verb(group_policy, "change")
def update_group(*, actor: User, group: Group, name: str | None = None, members: Iterable[User] | None = None) -> Group:
    """Rename `group` or replace its members. Raises as `create_group`."""
    group_policy.check(actor, "change", group)
    with transaction.atomic():
        group = locked(group)
        _name(group, group.name if name is None else name)
        if members is not None:
            group.user_set.set(members)
        _save(group, actor, "change")
    return group


@verb(group_policy, "delete")
def delete_group(*, actor: User, group: Group) -> None:
    """Raises `Forbidden`, or `Conflict` (`group_in_use`) while a program is limited to it."""
    group_policy.check(actor, "delete", group)
    try:
        with transaction.atomic():
            delete_with_history([locked(group, to_delete=True)], actor=actor, reason="delete")
    except ProtectedError:
        raise Conflict("group_in_use", _("A program is limited to this group.")) from None


def _name(group: Group, name: str) -> None:
    refuse_unstorable(name, "name")
    group.name = name
    check(group)


def _save(group: Group, actor: User, reason: str) -> None:
    """The history takes the members down as they are when the group is saved."""
    try:
        with transaction.atomic():
            save_with_history(group, actor=actor, reason=reason)
    except IntegrityError:
        raise Conflict("group_name_taken", _("There is a group of this name."), field="name") from None


def _put_back(actor: User, group: Group, changes: dict[str, Any]) -> Group:
    ids = changes.get("members")
    members = None if ids is None else User.objects.filter(pk__in=ids)
    return update_group(actor=actor, group=group, name=changes.get("name"), members=members)


revertible(Group, ("name", "members"), _put_back)
