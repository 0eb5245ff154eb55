"""The policy table of programs, row by row."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser, Group

from mlops.errors import Forbidden, NotFound
from mlops.models import User
from programs.models import Program, Signature
from programs.policies import program_policy, prompt_version_policy, signature_policy
from programs.types import ProgramStatus
from tests.factories import make_program

STATUSES = [status.value for status in ProgramStatus]
WRITES = ("change", "new_version", "validate", "submit", "deploy", "archive", "roll_back", "delete")
READS = ("view", "execute")


@pytest.mark.parametrize("status", STATUSES)
def test_admins_and_engineers_may_everything_with_any_program(erin: User, admin: User, status: str) -> None:
    program = make_program(status=status)

    for actor in (erin, admin):
        assert all(program_policy.can(actor, action, program) for action in program_policy.rules)


@pytest.mark.parametrize("status", STATUSES)
def test_ml_users_read_and_execute_what_is_in_production(charlie: User, status: str) -> None:
    program = make_program(status=status)

    assert {program_policy.can(charlie, action, program) for action in READS} == {status == "production"}
    assert not any(program_policy.can(charlie, action, program) for action in (*WRITES, "create"))


def test_reads_and_writes_are_all_there_is() -> None:
    assert program_policy.rules.keys() == {*READS, *WRITES, "create", "execute_as_tool"}


@pytest.mark.parametrize("status", STATUSES)
def test_what_was_in_production_goes_on_serving_those_that_pin_it(charlie: User, group: Group, status: str) -> None:
    open_to_all, limited = make_program(status=status), make_program(status=status, group=group)

    is_allowed = status in ("production", "archived")
    assert program_policy.can(charlie, "execute_as_tool", open_to_all) is is_allowed
    assert not program_policy.can(charlie, "execute_as_tool", limited)
    charlie.groups.add(group)
    assert program_policy.can(charlie, "execute_as_tool", limited) is is_allowed


def test_a_group_is_for_its_members_and_admins(erin: User, charlie: User, admin: User, group: Group) -> None:
    program = make_program(status="production", group=group)

    for actor in (erin, charlie):
        assert not any(program_policy.can(actor, action, program) for action in (*READS, *WRITES))
        assert not Program.objects.visible_to(actor).exists()
        with pytest.raises(NotFound):
            program_policy.check(actor, "execute", program)
        actor.groups.add(group)
        assert program_policy.can(actor, "execute", program)
        assert Program.objects.visible_to(actor).exists()
    assert program_policy.can(admin, "deploy", program)
    assert not program_policy.can(charlie, "deploy", program)


@pytest.mark.parametrize("status", STATUSES)
def test_the_policy_and_the_queryset_agree_on_who_sees(
    erin: User, charlie: User, admin: User, group: Group, status: str
) -> None:
    programs = [make_program(status=status), make_program(status=status, group=group)]

    for actor in (erin, charlie, admin, AnonymousUser()):
        visible = set(Program.objects.visible_to(actor))
        assert visible == {program for program in programs if program_policy.can(actor, "view", program)}


def test_strangers_and_deactivated_accounts_may_nothing(erin: User) -> None:
    program = make_program(status="production")
    erin.is_active = False

    for actor in (erin, AnonymousUser()):
        assert not any(program_policy.can(actor, action, program) for action in program_policy.rules)


def test_parts_follow_their_program(charlie: User, erin: User) -> None:
    version = make_program(status="production").modules.get().prompt_versions.create(version="1")

    assert prompt_version_policy.can(charlie, "view", version)
    with pytest.raises(Forbidden):
        prompt_version_policy.check(charlie, "activate", version)
    prompt_version_policy.check(erin, "activate", version)


def test_signatures_are_written_by_engineers(charlie: User, erin: User) -> None:
    signature = Signature.objects.create(name="triage")

    for action in ("create", "change", "new_version", "delete"):
        assert signature_policy.can(erin, action, signature)
        assert not signature_policy.can(charlie, action, signature)
