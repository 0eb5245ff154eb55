"""validate_program: every problem at once."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import dspy
import pytest
from pytest_django import Settings

from datasets.services import create_corpus
from datasets.types import PassageSpec
from mlops.errors import NotFound
from mlops.models import User
from programs.models import Program
from programs.runtime.tools import tool
from programs.services import ModuleInput, add_module, create_program, new_version, update_module, validate_program
from tests.factories import bring_to, make_default_language_model, make_language_model, make_program, make_signature


@tool(description="Searches.", repeatable=True)
def search(query: str) -> str:
    return query


class Picky(dspy.Module):  # type: ignore[misc]  # DSPy is untyped
    def __init__(self, size: int) -> None:
        super().__init__()
        if size < 1:
            raise ValueError("too small")


def problems(actor: User, program: Program) -> set[tuple[str, str]]:
    return {(problem.code, problem.field) for problem in validate_program(actor=actor, program=program)}


def assistant(actor: User, *tools: Any, name: str = "assistant", **fields: Any) -> Program:
    module = ModuleInput(
        key="act", kind="react", signature=make_signature("question -> answer"), config={"tools": list(tools)}
    )
    return create_program(actor=actor, name=name, modules=[module], **fields)


@pytest.fixture(autouse=True)
def _default_model(db: None) -> None:
    make_default_language_model()


def test_a_sound_program_has_no_problems(erin: User) -> None:
    assert problems(erin, make_program()) == set()


def test_all_problems_are_reported_together(erin: User, settings: Settings) -> None:
    settings.SIGNET_TOOLS = {}
    program = assistant(erin, "search", "fetch", config={"outputs": ["nothing"]})
    corpus = str(uuid4())
    add_module(actor=erin, program=program, module=ModuleInput("look", "retrieve", config={"corpus": corpus}))
    add_module(
        actor=erin,
        program=program,
        module=ModuleInput("own", "custom", make_signature(), config={"module": "missing"}),
    )

    assert problems(erin, program) == {
        ("unknown_field", "outputs.0"),
        ("unknown_tool", "modules.act.config.tools.0"),
        ("unknown_tool", "modules.act.config.tools.1"),
        ("unknown_corpus", "modules.look.config.corpus"),
        ("unknown_module", "modules.own.config.module"),
    }


def test_a_corpus_that_exists_is_no_problem(erin: User) -> None:
    corpus = create_corpus(actor=erin, name="help", passages=[PassageSpec("Refunds", "Within 30 days.")])
    module = ModuleInput("look", "retrieve", config={"corpus": str(corpus.pk)})

    assert problems(erin, make_program(modules=[module])) == set()


def test_a_language_model_must_be_enabled(erin: User) -> None:
    program = make_program()
    update_module(actor=erin, module=program.modules.get(), language_model=make_language_model(is_enabled=False))

    assert problems(erin, program) == {("language_model_disabled", "modules.classify.language_model")}


def test_a_registered_tool_and_a_submitted_program_are_tools(erin: User, settings: Settings) -> None:
    settings.SIGNET_TOOLS = {"search": f"{__name__}:search"}
    triage = make_program(name="triage", status="production")

    assert problems(erin, assistant(erin, "search", {"program": str(triage)})) == set()


def test_programs_as_tools_are_pinned_existing_visible_and_out_of_draft(erin: User, group: Any) -> None:
    draft = make_program(name="draft")
    hidden = make_program(name="hidden", status="production", group=group)

    program = assistant(erin, {"program": str(draft)}, {"program": str(hidden)}, {"program": "nothing@3"})

    assert problems(erin, program) == {
        ("tool_program_draft", "modules.act.config.tools.0"),
        ("unknown_program", "modules.act.config.tools.1"),
        ("unknown_program", "modules.act.config.tools.2"),
    }


def test_programs_do_not_use_each_other_in_a_circle(erin: User) -> None:
    first = assistant(erin, {"program": "second@1"}, name="first")
    second = assistant(erin, {"program": "first@1"}, name="second")
    itself = assistant(erin, {"program": "itself@1"}, name="itself")

    for program in (first, second, itself):
        assert problems(erin, program) == {("tool_cycle", "modules.act.config.tools.0")}


def test_programs_are_nested_three_deep_at_most(erin: User) -> None:
    inner = make_program(name="inner", status="production")
    middle = bring_to(assistant(erin, {"program": str(inner)}, name="middle"), "testing")
    outer = bring_to(assistant(erin, {"program": str(middle)}, name="outer"), "testing")

    deepest = assistant(erin, {"program": str(outer)}, name="deepest")

    assert problems(erin, deepest) == {("too_deep", "modules.act.config.tools.0")}


def test_what_settings_register_wrongly_is_a_problem_of_whoever_uses_it(erin: User, settings: Settings) -> None:
    settings.SIGNET_TOOLS = {"search": "nowhere:search"}
    settings.SIGNET_MODULES = {"picky": f"{__name__}:Picky"}
    custom = ModuleInput("own", "custom", make_signature(), {"module": "picky", "arguments": {"size": 0}})

    assert problems(erin, assistant(erin, "search")) == {("unknown_tool", "modules.act.config.tools.0")}
    assert problems(erin, make_program(modules=[custom])) == {("bad_arguments", "modules.own.config.arguments")}


def test_validating_is_for_engineers_and_changes_nothing(erin: User, charlie: User) -> None:
    program = make_program()

    with pytest.raises(NotFound):
        validate_program(actor=charlie, program=program)
    validate_program(actor=erin, program=program)

    assert program.history.count() == 1
    assert new_version(actor=erin, program=program).status == "draft"
