import pytest
from django.contrib.auth.models import Group

from mlops.errors import Conflict, Forbidden, Invalid
from mlops.models import User
from mlops.services.groups import create_group, delete_group, update_group

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
