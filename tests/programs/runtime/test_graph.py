from __future__ import annotations

from typing import Any

import pytest

from mlops.errors import Invalid
from programs.runtime.graph import Source, inspected, resolve_graph
from programs.runtime.shorthand import parse
from programs.types import FieldSpec, FieldType, ModuleKind, ModuleSpec, ProgramSpec, PromptSpec, SignatureSpec
from tests.programs.runtime.specs import module, program


def bindings(spec: ProgramSpec) -> dict[str, dict[str, str]]:
    return {
        node.key: {name: f"{source.module}.{source.field}" for name, source in node.bindings.items()}
        for node in resolve_graph(spec).nodes
    }


def found(spec: ProgramSpec) -> list[tuple[str, str]]:
    return [(problem.code, problem.field) for problem in inspected(spec)[1]]


def names(fields: Any) -> list[str]:
    return [item.name for item in fields]


def test_joins_by_name_in_the_order_of_position() -> None:
    spec = program(
        module("search", kind="retrieve", corpus="kb", input="question"),
        module("answer", "question, passages: list[str], tone: enum[dry, warm] -> answer", "chain_of_thought"),
    )
    graph = resolve_graph(spec)
    assert bindings(spec) == {
        "search": {"question": ".question"},
        "answer": {"question": ".question", "passages": "search.passages", "tone": ".tone"},
    }
    assert names(graph.inputs) == ["question", "tone"]
    assert names(graph.output_fields) == ["answer"]
    assert graph.is_chain


def test_the_nearest_earlier_output_of_a_fitting_type_wins() -> None:
    spec = program(module("a", "x -> y"), module("b", "x -> y"), module("c", "x -> y: int"), module("d", "y -> z"))
    assert bindings(spec)["d"] == {"y": "b.y"}
    assert not resolve_graph(spec).is_chain


def test_an_output_of_another_type_leaves_the_input_to_the_program() -> None:
    spec = program(module("a", "x -> y: list[str]"), module("b", "y -> z"))
    assert bindings(spec)["b"] == {"y": ".y"}


def test_a_module_does_not_feed_an_earlier_one_by_name() -> None:
    assert bindings(program(module("a", "x -> y"), module("b", "y -> x")))["a"] == {"x": ".x"}


def test_connections_override_names_and_positions() -> None:
    spec = program(
        module("last", "draft, style -> text"),
        module("first", "topic -> draft, text"),
        connect=("first.text > last.draft", ".tone > last.style"),
        outputs=("last.text", "draft"),
    )
    assert bindings(spec) == {
        "first": {"topic": ".topic"},
        "last": {"draft": "first.text", "style": ".tone"},
    }
    graph = resolve_graph(spec)
    assert names(graph.inputs) == ["tone", "topic"]
    assert [(output.field.name, output.source) for output in graph.outputs] == [
        ("text", Source("last", "text")),
        ("draft", Source("first", "draft")),
    ]


def test_connections_to_the_boundary_name_outputs() -> None:
    spec = program(module("a", "x -> y, z", "chain_of_thought"), connect=("a.reasoning > .why", "a.z > .answer"))
    assert [(output.field.name, output.source.field) for output in resolve_graph(spec).outputs] == [
        ("why", "reasoning"),
        ("answer", "z"),
    ]


def test_wider_types_take_narrower_ones() -> None:
    spec = program(
        module("a", "x -> n: int, e: enum[p, q], d: date, l: list[int]"),
        module("b", "n: float, e: enum[p, q, r], d: str, l: list[float] -> z"),
    )
    assert bindings(spec)["b"] == {"n": "a.n", "e": "a.e", "d": "a.d", "l": "a.l"}


def test_an_input_of_two_modules_is_one_input_of_the_program() -> None:
    one, two = FieldSpec("x", constraints={"max_length": 9}), FieldSpec("x", required=False, description="Words")
    out = FieldSpec("y", is_input=False), FieldSpec("z", is_input=False)
    spec = program(
        ModuleSpec("a", ModuleKind.PREDICT, SignatureSpec("a", "", (one, out[0]))),
        ModuleSpec("b", ModuleKind.PREDICT, SignatureSpec("b", "", (two, out[1]))),
    )
    assert resolve_graph(spec).inputs == (FieldSpec("x", description="Words", constraints={"max_length": 9}),)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (program(), [("bad_modules", "modules")]),
        (program(module("a", "x -> y"), module("a", "x -> y")), [("duplicate_module", "modules.a")]),
        (program(module("A", "x -> y")), [("bad_field_name", "modules.A")]),
        (program(module("a")), [("missing_signature", "modules.a.signature")]),
        (program(module("r", kind="retrieve")), [("missing_corpus", "modules.r.config.corpus")]),
        (program(module("r", kind="retrieve", corpus="")), [("missing_corpus", "modules.r.config.corpus")]),
        (program(module("r", kind="retrieve", corpus="c", k=0)), [("bad_config", "modules.r.config.k")]),
        (program(module("r", kind="retrieve", corpus="c", k=True)), [("bad_config", "modules.r.config.k")]),
        (
            program(module("r", kind="retrieve", corpus="c", output="items")),
            [("reserved_field_name", "modules.r.config.output")],
        ),
        (program(module("a", "x -> y", colour="red")), [("unknown_config", "modules.a.config.colour")]),
        (
            program(module("a", "x -> y", parameters={"api_base": "http://x", "temperature": 1})),
            [("unknown_parameter", "modules.a.config.parameters.api_base")],
        ),
        (
            program(module("a", "x -> y", "react", tools=[{"program": 3}, ""])),
            [("bad_config", "modules.a.config.tools.0"), ("bad_config", "modules.a.config.tools.1")],
        ),
        (
            program(module("a", "x -> y", "react", max_iterations=10**6)),
            [("bad_config", "modules.a.config.max_iterations")],
        ),
        (
            program(module("a", "x -> y", "custom", arguments=[])),
            [("bad_config", "modules.a.config.module"), ("bad_config", "modules.a.config.arguments")],
        ),
        (
            program(module("r", kind="retrieve", corpus="c", prompt=PromptSpec("Hi"))),
            [("unexpected_prompt", "modules.r.prompt")],
        ),
        (
            program(module("a", "x -> y", prompt=PromptSpec("", ({"x": "\x00"},)))),
            [("unstorable_text", "modules.a.prompt.demos.0.x")],
        ),
        (program(module("a", "x -> y"), module("b", "y -> x"), connect=("b.x > a.x",)), [("cycle", "modules.a")]),
        (program(module("a", "x -> y"), connect=("a.y > a.x",)), [("cycle", "modules.a")]),
        (program(module("a", "x -> y"), connect=("n.y > a.x",)), [("unknown_module", "connections.0")]),
        (program(module("a", "x -> y"), connect=(".x > n.x",)), [("unknown_module", "connections.0")]),
        (
            program(module("a", "x -> y"), module("b", "z -> w"), connect=("a.q > b.z",)),
            [("unknown_field", "connections.0")],
        ),
        (program(module("a", "x -> y"), connect=(".x > a.q",)), [("unknown_field", "connections.0")]),
        (program(module("a", "x -> y"), connect=(". > .",)), [("bad_connection", "connections.0")]),
        (program(module("a", "x -> y"), connect=(".config > a.x",)), [("reserved_field_name", "connections.0")]),
        (
            program(module("a", "x -> y: int"), module("b", "z: str -> w"), connect=("a.y > b.z",)),
            [("type_mismatch", "connections.0")],
        ),
        (
            program(module("a", "x -> y: str?"), module("b", "z -> w"), connect=("a.y > b.z",)),
            [("type_mismatch", "connections.0")],
        ),
        (
            program(module("a", "x -> y"), module("b", "z -> w"), connect=(".x > b.z", "a.y > b.z")),
            [("two_sources", "connections.1")],
        ),
        (program(module("a", "x: int -> y"), module("b", "x: str -> z")), [("type_mismatch", "modules.b.x")]),
        (
            program(module("a", "x -> y"), outputs=("q", "a.q", "n.y")),
            [("unknown_field", "outputs.0"), ("unknown_field", "outputs.1"), ("unknown_module", "outputs.2")],
        ),
        (
            program(module("a", "x -> y"), module("b", "x -> y"), outputs=("a.y", "b.y")),
            [("output_clash", "outputs.1")],
        ),
    ],
)
def test_refuses_with_the_path(spec: ProgramSpec, expected: list[tuple[str, str]]) -> None:
    assert found(spec) == expected


def test_reports_every_problem_at_once() -> None:
    bad = SignatureSpec("s", "", (FieldSpec("lm"), FieldSpec("e", FieldType.ENUM, is_input=False)))
    spec = program(
        module("r", kind="retrieve"),
        ModuleSpec("a", ModuleKind.PREDICT, bad),
        ModuleSpec("b", ModuleKind.PREDICT, SignatureSpec("s", "", parse("x -> y"))),
        connect=("b.q > a.lm", "z.y > b.x"),
        outputs=("z.y",),
    )
    with pytest.raises(Invalid) as refusal:
        resolve_graph(spec)
    assert refusal.value.code == "program_invalid"
    assert [(problem.code, problem.field) for problem in refusal.value.problems] == [
        ("missing_corpus", "modules.r.config.corpus"),
        ("reserved_field_name", "modules.a.lm"),
        ("missing_choices", "modules.a.e.choices"),
        ("unknown_field", "connections.0"),
        ("unknown_module", "connections.1"),
        ("unknown_module", "outputs.0"),
    ]
