from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client

from mlops.errors import Conflict, Forbidden, Invalid
from mlops.models import User
from mlops.selectors.history import history_of
from mlops.services.groups import create_group, delete_group, update_group
from mlops.services.reverting import revert

pytestmark = pytest.mark.django_db


def test_a_group_is_made_filled_renamed_and_deleted(admin: User, alice: User, bob: User) -> None:
    group = create_group(actor=admin, name="support", members=[alice])
    assert list(alice.groups.all()) == [group]

    update_group(actor=admin, group=group, name="sales", members=[bob])
    assert list(group.user_set.values_list("username", flat=True)) == ["bob"]

    renamed = update_group(actor=admin, group=group, name="desk")
    assert (renamed.name, renamed.user_set.count()) == ("desk", 1)

    delete_group(actor=admin, group=renamed)
    assert not Group.objects.exists()


def test_names_are_unique_and_storable(admin: User) -> None:
    create_group(actor=admin, name="support")

    with pytest.raises(Conflict) as refusal:
        create_group(actor=admin, name="support")
    assert refusal.value.code == "group_name_taken"
    for name in ("", "n" * 151, "a\x00"):
        with pytest.raises(Invalid):
            create_group(actor=admin, name=name)

    assert Group.objects.count() == 1


def test_only_admins_write_groups(erin: User, alice: User) -> None:
    group = Group.objects.create(name="support")

    for actor in (erin, alice):
        with pytest.raises(Forbidden):
            create_group(actor=actor, name="own")
        with pytest.raises(Forbidden):
            update_group(actor=actor, group=group, members=[actor])
        with pytest.raises(Forbidden):
            delete_group(actor=actor, group=group)

    assert Group.objects.get() == group
    assert not group.user_set.exists()


def told(group: Group) -> list[tuple[str, str | None, str, list[str]]]:
    """Verb, actor, name and members of each state, the oldest first."""
    states: Any = Group.history.filter(id=group.pk).order_by("history_id")  # type: ignore[attr-defined]  # registered
    names = {str(user.pk): user.username for user in User.objects.all()}
    return [
        (
            state.history_change_reason,
            state.history_user and state.history_user.username,
            state.name,
            sorted(names[pk] for pk in state.members),
        )
        for state in states
    ]


def test_the_history_tells_who_let_whom_in(admin: User, alice: User, bob: User) -> None:
    group = create_group(actor=admin, name="support", members=[alice])
    update_group(actor=admin, group=group, members=[alice, bob])
    update_group(actor=admin, group=group, name="desk", members=[bob])
    kept = Group(pk=group.pk)
    delete_group(actor=admin, group=group)

    assert told(kept) == [
        ("create", "admin", "support", []),
        ("create", "admin", "support", ["alice"]),
        ("change", "admin", "support", ["alice", "bob"]),
        ("change", "admin", "desk", ["bob"]),
        ("delete", "admin", "desk", []),
    ]


def test_a_group_is_put_back_with_its_members(admin: User, erin: User, alice: User, bob: User) -> None:
    group = create_group(actor=admin, name="support", members=[alice])
    state = history_of(group).values_list("history_id", flat=True)[0]
    update_group(actor=admin, group=group, name="desk", members=[bob])

    with pytest.raises(Forbidden):
        revert(actor=erin, row=group, state=state)
    assert set(group.user_set.all()) == {bob}

    back = revert(actor=admin, row=group, state=state)
    assert (back.name, list(back.user_set.all())) == ("support", [alice])
    assert told(group)[-1] == ("revert", "admin", "support", ["alice"])


def test_the_pages_show_members_and_put_them_back(client: Client, admin: User, alice: User, bob: User) -> None:
    group = create_group(actor=admin, name="support", members=[alice])
    state = history_of(group).values_list("history_id", flat=True)[0]
    update_group(actor=admin, group=group, members=[bob])
    client.force_login(admin)
    page = f"/admin/auth/group/{group.pk}/history/"

    assert f"{alice.pk}" in client.get(page).content.decode()
    assert "Putting it back changes: members." in client.get(f"{page}{state}/").content.decode()
    client.post(f"{page}{state}/")

    assert list(group.user_set.all()) == [alice]
