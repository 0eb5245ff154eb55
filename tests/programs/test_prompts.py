"""Prompt versions, and which of them an execution gets."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from mlops.errors import Conflict, Invalid
from mlops.models import User
from programs.models import Module, Program, PromptSet, PromptVersion
from programs.selectors import program_spec
from programs.services import (
    ModuleInput,
    activate_prompt_version,
    choose_prompt_set,
    create_prompt_version,
    ensure_prompt_set,
    set_prompt,
)
from programs.types import PromptSpec
from tests.factories import make_program, make_signature


@pytest.fixture
def program(erin: User) -> Program:
    return make_program(
        status="production",
        modules=[
            ModuleInput(key="classify", signature=make_signature("message -> intent", instructions="Classify.")),
            ModuleInput(key="reply", signature=make_signature("intent -> answer", instructions="Reply.")),
        ],
    )


@pytest.fixture
def module(program: Program) -> Module:
    return program.modules.get(key="classify")


def traffic(module: Module) -> dict[str, int]:
    return dict(module.prompt_versions.values_list("version", "traffic_percentage"))


def split(module: Module, **percentages: int) -> None:
    for version, percentage in percentages.items():
        module.prompt_versions.filter(version=version[1:]).update(traffic_percentage=percentage)


def test_the_first_choice_makes_versions_from_the_signatures(program: Program) -> None:
    prompt_set = choose_prompt_set(program)

    spec = program_spec(program, prompt_set)
    assert [module.prompt for module in spec.modules] == [PromptSpec("Classify."), PromptSpec("Reply.")]
    assert [(row.version, row.traffic_percentage, row.source_kind) for row in prompt_set.versions.all()] == [
        ("1", 100, "signature"),
        ("1", 100, "signature"),
    ]


def test_the_same_versions_are_the_same_set(
    program: Program, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    first = choose_prompt_set(program)

    with django_assert_num_queries(2):
        assert choose_prompt_set(program) == first
    assert PromptSet.objects.count() == 1


def test_a_new_version_waits_until_it_is_activated(erin: User, program: Program, module: Module) -> None:
    before = choose_prompt_set(program)

    created = create_prompt_version(actor=erin, module=module, prompt_template="Better.", demos=[{"message": "hi"}])
    assert choose_prompt_set(program) == before
    activate_prompt_version(actor=erin, prompt_version=created)

    assert traffic(module) == {"1": 0, "2": 100}
    assert created in choose_prompt_set(program).versions.all()


def test_the_first_version_is_always_the_signatures_own(erin: User, module: Module) -> None:
    create_prompt_version(actor=erin, module=module, prompt_template="Better.", version="mipro-7")

    assert traffic(module) == {"1": 100, "mipro-7": 0}


def test_activating_twice_changes_nothing_more(erin: User, module: Module) -> None:
    version = set_prompt(actor=erin, module=module, prompt_template="Better.")
    history = version.history.count()

    activate_prompt_version(actor=erin, prompt_version=version)

    assert version.history.count() == history
    assert traffic(module) == {"1": 0, "2": 100}


def test_a_version_name_is_taken_once_per_module(erin: User, module: Module) -> None:
    create_prompt_version(actor=erin, module=module, prompt_template="a", version="mine")

    with pytest.raises(Conflict) as refusal:
        create_prompt_version(actor=erin, module=module, prompt_template="b", version="mine")

    assert refusal.value.code == "prompt_version_exists"


@pytest.mark.parametrize(
    ("demos", "field"),
    [
        ([{"message": "hi", "lm": "x"}], "demos.0.lm"),
        ([{}], "demos.0"),
        (["hi"], "demos.0"),
        ([{"message": "hi\x00"}], "demos.0.message"),
    ],
)
def test_demos_have_the_fields_of_the_signature(erin: User, module: Module, demos: list[Any], field: str) -> None:
    with pytest.raises(Invalid) as refusal:
        create_prompt_version(actor=erin, module=module, prompt_template="a", demos=demos)

    assert refusal.value.field == field
    assert not PromptVersion.objects.exists()


def test_modules_that_ask_no_language_model_have_no_prompt(erin: User) -> None:
    program = make_program(modules=[ModuleInput(key="own", kind="custom", config={"module": "echo"})])

    with pytest.raises(Invalid) as refusal:
        set_prompt(actor=erin, module=program.modules.get(), prompt_template="a")

    assert refusal.value.code == "module_has_no_prompt"
    assert list(choose_prompt_set(program).versions.all()) == []


def test_traffic_is_shared_in_proportion_and_sticks_to_the_key(erin: User, program: Program, module: Module) -> None:
    create_prompt_version(actor=erin, module=module, prompt_template="Better.")
    split(module, v1=75, v2=25)

    def drawn(key: str) -> str:
        return str(choose_prompt_set(program, key).versions.get(module=module).version)

    keys = [f"customer-{number}" for number in range(400)]
    draws = {key: drawn(key) for key in keys}
    share = Counter(draws.values())["2"] / len(keys)
    assert 0.18 < share < 0.32
    assert all(drawn(key) == draws[key] for key in keys[:20])


def test_modules_draw_independently_of_each_other(erin: User, program: Program) -> None:
    for row in program.modules.all():
        create_prompt_version(actor=erin, module=row, prompt_template="Better.")
        split(row, v1=50, v2=50)

    sets = {choose_prompt_set(program, f"customer-{number}").pk for number in range(60)}

    assert len(sets) == 4


def test_a_prompt_set_is_made_once(program: Program) -> None:
    versions = list(choose_prompt_set(program).versions.values_list("pk", flat=True))

    assert ensure_prompt_set(program=program, versions=reversed(versions)) == PromptSet.objects.get()
