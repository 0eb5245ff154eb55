"""Groups of people: a program may be limited to one."""

from __future__ import annotations

from collections.abc import Iterable

from django.contrib.auth.models import Group
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from django.utils.translation import gettext as _

from mlops.errors import Conflict
from mlops.models import User
from mlops.policies import group_policy
from mlops.sanitiser import refuse_unstorable
from mlops.services.locking import locked
from mlops.services.validation import check
from mlops.verbs import verb


@verb(group_policy, "create")
def create_group(*, actor: User, name: str, members: Iterable[User] = ()) -> Group:
    """Raises `Forbidden`, `Invalid` or `Conflict` (`group_name_taken`)."""
    group_policy.check(actor, "create")
    return _saved(Group(), name, members)


@verb(group_policy, "change")
def update_group(*, actor: User, group: Group, name: str | None = None, members: Iterable[User] | None = None) -> Group:
    """Rename `group` or replace its members. Raises as `create_group`."""
    group_policy.check(actor, "change", group)
    with transaction.atomic():
        group = locked(group)
        return _saved(group, group.name if name is None else name, members)


@verb(group_policy, "delete")
def delete_group(*, actor: User, group: Group) -> None:
    """Raises `Forbidden`, or `Conflict` (`group_in_use`) while a program is limited to it."""
    group_policy.check(actor, "delete", group)
    try:
        with transaction.atomic():
            locked(group, to_delete=True).delete()
    except ProtectedError:
        raise Conflict("group_in_use", _("A program is limited to this group.")) from None


def _saved(group: Group, name: str, members: Iterable[User] | None) -> Group:
    refuse_unstorable(name, "name")
    group.name = name
    check(group)
    try:
        with transaction.atomic():
            group.save()
            if members is not None:
                group.user_set.set(members)
    except IntegrityError:
        raise Conflict("group_name_taken", _("There is a group of this name."), field="name") from None
    return group
