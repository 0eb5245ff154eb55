"""What references mean, who gets what, and how many queries it takes."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser, Group
from pytest_django import DjangoAssertNumQueries

from mlops.errors import Forbidden, NotFound
from mlops.models import User
from programs.models import Program, Signature
from programs.selectors import (
    access_program,
    access_signature,
    language_models_of,
    program_spec,
    resolve_reference,
    sub_programs_of,
)
from programs.services import ModuleInput, choose_prompt_set, create_program, new_signature_version, new_version
from programs.types import ConnectionSpec
from tests.factories import (
    bring_to,
    make_default_language_model,
    make_language_model,
    make_program,
    make_signature,
)


@pytest.fixture
def versions(erin: User) -> list[Program]:
    """archived, production, testing, draft."""
    first = make_program(name="triage", status="production")
    second = bring_to(new_version(actor=erin, program=first), "production")
    third = bring_to(new_version(actor=erin, program=second), "testing")
    return [first, second, third, new_version(actor=erin, program=third)]


@pytest.mark.parametrize(
    ("ref", "version"),
    [
        ("triage", 2),
        ("triage@production", 2),
        ("triage@testing", 3),
        ("triage@latest", 4),
        ("triage@1", 1),
    ],
)
def test_a_reference_means_one_version(versions: list[Program], ref: str, version: int) -> None:
    assert resolve_reference(ref) == versions[version - 1]


def test_an_id_is_a_reference(versions: list[Program]) -> None:
    assert resolve_reference(versions[0].pk) == resolve_reference(str(versions[0].pk)) == versions[0]


@pytest.mark.parametrize(
    "ref",
    ["", "@", "triage@", "@production", "triage@0", "triage@01", "triage@9", "triage@99999999999", "triage@staging",
     "triage@-1", "triage@٣", "Triage", "nothing", "triage\x00", "0198f2c4-7b1e-7c3a-9d55-3f1f6f4f9a10"],
)  # fmt: skip
def test_what_points_at_nothing_is_not_found(versions: list[Program], ref: str) -> None:
    with pytest.raises(NotFound) as refusal:
        resolve_reference(ref)
    assert refusal.value.code == "program_not_found"


def test_a_label_never_falls_back(erin: User) -> None:
    make_program(name="triage", status="testing")

    for ref in ("triage", "triage@production"):
        with pytest.raises(NotFound):
            resolve_reference(ref)


def test_an_ml_user_sees_what_is_in_production(versions: list[Program], charlie: User) -> None:
    assert access_program(actor=charlie, ref="triage", action="execute") == versions[1]
    # What `latest` means does not depend on who asks, so it is nothing for them rather than an older version.
    for ref in ("triage@latest", "triage@testing", "triage@1", versions[3].pk):
        with pytest.raises(NotFound):
            access_program(actor=charlie, ref=ref)
    with pytest.raises(Forbidden) as refusal:
        access_program(actor=charlie, ref="triage", action="deploy")
    assert refusal.value.code == "program_deploy_forbidden"


def test_nobody_sees_without_an_account(versions: list[Program]) -> None:
    with pytest.raises(NotFound):
        access_program(actor=AnonymousUser(), ref="triage")


def test_a_group_hides_the_signatures_of_its_programs_too(erin: User, admin: User, group: Group) -> None:
    used = make_program(name="payroll", status="production", group=group).modules.get().signature
    unused = make_signature(name="spare")

    assert set(Signature.objects.visible_to(erin)) == {unused}
    assert set(Signature.objects.visible_to(admin)) == {used, unused}
    erin.groups.add(group)
    assert set(Signature.objects.visible_to(erin)) == {used, unused}


def test_a_group_hides_a_program_from_all_but_members_and_admins(
    erin: User, charlie: User, admin: User, group: Group
) -> None:
    program = make_program(name="payroll", status="production", group=group)

    for actor in (erin, charlie):
        with pytest.raises(NotFound):
            access_program(actor=actor, ref="payroll")
        actor.groups.add(group)
        assert access_program(actor=actor, ref="payroll", action="execute") == program
    assert access_program(actor=admin, ref="payroll", action="deploy") == program


def test_signatures_are_found_by_name_and_version(erin: User, charlie: User) -> None:
    first = make_signature(name="triage")
    second = new_signature_version(actor=erin, signature=first)

    assert access_signature(actor=erin, ref="triage@1") == first
    assert access_signature(actor=erin, ref="triage") == second
    assert access_signature(actor=erin, ref=str(first.pk), action="change") == first
    for ref in ("triage@3", "triage@x", "nothing"):
        with pytest.raises(NotFound):
            access_signature(actor=erin, ref=ref)
    with pytest.raises(NotFound):
        access_signature(actor=charlie, ref="triage")
    make_program(status="production", modules=[ModuleInput(key="one", signature=second)])
    assert access_signature(actor=charlie, ref="triage@2") == second


def wide(erin: User, modules: int) -> Program:
    return create_program(
        actor=erin,
        name=f"wide{modules}",
        config={"parameters": {"temperature": 0.2, "max_tokens": 50}},
        modules=[
            ModuleInput(
                key=f"step{number}",
                signature=make_signature(f"in{number} -> out{number}"),
                config={"parameters": {"max_tokens": 99}},
                language_model=make_language_model(),
            )
            for number in range(modules)
        ],
        connections=[ConnectionSpec("step0", "out0", "step1", "in1")],
    )


@pytest.mark.parametrize("modules", [2, 12])
def test_reading_a_program_takes_the_same_queries_whatever_its_size(
    erin: User, modules: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    program = wide(erin, modules)
    prompt_set = choose_prompt_set(program)

    with django_assert_num_queries(4):
        spec = program_spec(program, prompt_set)
    with django_assert_num_queries(2):
        choose_prompt_set(program)
    with django_assert_num_queries(5):
        models = list(language_models_of(program))

    assert len(spec.modules) == modules
    assert len(models) == modules
    # Parameters of the program stand under those of the module.
    assert spec.modules[0].config == {"parameters": {"temperature": 0.2, "max_tokens": 99}}


def test_finding_a_program_takes_one_query(
    versions: list[Program], erin: User, admin: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for actor in (erin, admin):
        with django_assert_num_queries(1):
            access_program(actor=actor, ref="triage@production", action="execute")


def test_language_models_are_those_of_modules_and_tools_and_the_default(erin: User) -> None:
    inner, default, other = make_language_model(), make_default_language_model(), make_language_model()
    tool = make_program(
        name="tool",
        status="production",
        modules=[ModuleInput(key="one", signature=make_signature(), language_model=inner)],
    )
    program = create_program(
        actor=erin,
        name="assistant",
        modules=[ModuleInput("act", "react", make_signature("a -> b"), {"tools": [{"program": str(tool)}]})],
    )

    assert sub_programs_of(program) == [tool]
    assert set(language_models_of(program)) == {inner, default}
    assert other not in language_models_of(program)
