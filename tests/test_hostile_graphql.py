"""What strangers may send to any mutation: it is refused in words, and nothing happens."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from graphene.utils.str_converters import to_camel_case
from graphql import GraphQLInputObjectType, GraphQLList, GraphQLNonNull, get_named_type
from rest_framework.test import APIClient

from config.graphql import Mutation, schema
from mlops.graphql.verbs import Reference, VerbMutation
from mlops.models import User
from tests.conftest import api_of
from tests.factories import make_language_model
from tests.policies.observing import Writes

pytestmark = pytest.mark.django_db

MUTATIONS: dict[str, VerbMutation] = dict(Mutation._meta.fields)
HARMLESS = {"importPrices", "createToken"}
"""They need no more than a name, or nothing."""


def input_type(name: str) -> GraphQLInputObjectType:
    root = schema.graphql_schema.mutation_type
    assert root is not None
    found = get_named_type(root.fields[to_camel_case(name)].args["input"].type)
    assert isinstance(found, GraphQLInputObjectType)
    return found


def sample(kind: Any) -> Any:
    """A value of the right type that means nothing."""
    if isinstance(kind, GraphQLNonNull):
        return sample(kind.of_type)
    if isinstance(kind, GraphQLList):
        return [sample(kind.of_type)]
    if isinstance(kind, GraphQLInputObjectType):
        return {name: sample(field.type) for name, field in kind.fields.items()}
    return {
        "ID": str(uuid.uuid4()), "String": "\x01 ' ; --", "Int": -(2**31), "Float": -1e300, "Boolean": True,
        "Decimal": "1e9", "JSON": [{"a": None}], "JSONObject": {"a": [None]}, "Long": -(2**63),
        "DateTime": "0001-01-01T00:00:00-12:00", "UUID": str(uuid.uuid4()),
    }[kind.name]  # fmt: skip


def written(value: Any) -> str:
    """A value as a literal."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {written(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return json.dumps(value)


def told(api: APIClient, name: str, input: dict[str, Any], *, in_the_document: bool = False) -> list[str]:
    """The codes of the refusal, from wherever they stand."""
    kind, field = input_type(name).name, to_camel_case(name)
    if in_the_document:
        body: dict[str, Any] = {"query": f"mutation {{ {field}(input: {written(input)}) {{ errors {{ code }} }} }}"}
    else:
        document = f"mutation M($input: {kind}!) {{ {field}(input: $input) {{ errors {{ code }} }} }}"
        body = {"query": document, "variables": {"input": input}}
    answer = api.post("/graphql/", body, format="json").json()
    if "code" in answer:
        return [answer["code"]]
    if "errors" in answer:
        return [error["extensions"]["code"] for error in answer["errors"]]
    return [error["code"] for error in answer["data"][field]["errors"]]


def _like(value: Any, id: str) -> Any:
    return [id] if isinstance(value, list) else id


@pytest.mark.parametrize("name", MUTATIONS)
def test_no_input_breaks_a_mutation(name: str, admin: User) -> None:
    fields = input_type(name).fields
    meaningless = {field: sample(one.type) for field, one in fields.items()}
    required = {field: value for field, value in meaningless.items() if isinstance(fields[field].type, GraphQLNonNull)}
    other = str(make_language_model().pk)
    references = {to_camel_case(field) for field, one in MUTATIONS[name].takes.items() if isinstance(one, Reference)}
    of_another_kind = {
        field: _like(value, other if field == "user" else str(admin.pk)) if field in references else value
        for field, value in required.items()
    }
    nulls = {**required, **dict.fromkeys(fields.keys() - required.keys())}
    api = api_of(admin)
    for input in (meaningless, required, of_another_kind, nulls, {**required, "noSuchField": 1}, {}):
        with Writes() as writes:
            codes = told(api, name, input)
        assert "internal_error" not in codes, input
        if not (to_camel_case(name) in HARMLESS or (input == {} and not required)):
            assert codes, f"{input} was accepted"
            assert not writes, f"{input} was refused after {writes}"
    assert "internal_error" not in told(api, name, meaningless, in_the_document=True)


def kinds_of_input() -> dict[str, str]:
    """A document per scalar that anything takes, with %s where a literal of it stands."""
    graphql = schema.graphql_schema
    assert graphql.query_type is not None
    places = {
        get_named_type(one.type).name: f"{{ {field}({name}: %s) {{ __typename }} }}"
        for field, of in graphql.query_type.fields.items()
        for name, one in of.args.items()
    }
    for verb in MUTATIONS:
        for name, one in input_type(verb).fields.items():
            document = f"mutation {{ {to_camel_case(verb)}(input: {{{name}: %s}}) {{ errors {{ code }} }} }}"
            places.setdefault(get_named_type(one.type).name, document)
    return places


NINES = "9" * 5000
"""More digits than Python reads."""

LITERALS = [
    '"x"', '""', '"\\u0000"', '"""a\nb"""', NINES, f"-{NINES[1000:]}", "1e999", "0.5", "true", "null", "WORD", "[[]]",
    "{}", f"{{a: {NINES}}}", f"[{NINES}]", '"0001-01-01T00:00:00+14:00"', '"2024-99-99"',
]  # fmt: skip


@pytest.mark.parametrize("kind", kinds_of_input())
def test_no_literal_breaks_a_scalar(kind: str, admin: User) -> None:
    api, document = api_of(admin), kinds_of_input()[kind]
    for literal in LITERALS:
        with Writes() as writes:
            answer = api.post("/graphql/", {"query": document % literal}, format="json")
        assert answer.status_code in (200, 400)
        assert not writes
        for error in answer.json().get("errors", []):
            assert error["extensions"]["code"] != "internal_error", literal
            assert error["locations"], literal
            assert len(error["message"]) <= 400, literal


@pytest.mark.parametrize(
    ("document", "column"),
    [
        ('{ listExecutions(dataset: "x") { edges { node { id } } } }', 27),
        ('query($of: UUID = "x") { listExecutions(dataset: $of) { edges { node { id } } } }', 19),
        (f"{{ listExecutions(first: {NINES}) {{ edges {{ node {{ id }} }} }} }}", 25),
        (f"mutation {{ executeProgram(input: {{program: 7, input: {{a: {NINES}}}}}) {{ errors {{ code }} }} }}", 54),
    ],
)
def test_what_a_literal_cannot_be_read_as_is_said_at_its_place(alice: User, document: str, column: int) -> None:
    answer = api_of(alice).post("/graphql/", {"query": document}, format="json")
    (error,) = answer.json()["errors"]
    assert answer.status_code == 400
    assert (error["extensions"]["code"], error["locations"]) == ("graphql_invalid", [{"line": 1, "column": column}])
    assert error["message"].startswith("Expected value of type")
    assert len(error["message"]) <= 300


def test_samples_cover_every_type_of_input() -> None:
    def kinds(of: GraphQLInputObjectType) -> set[str]:
        named = [get_named_type(field.type) for field in of.fields.values()]
        inner = [kinds(one) for one in named if isinstance(one, GraphQLInputObjectType)]
        return {one.name for one in named if not isinstance(one, GraphQLInputObjectType)}.union(*inner)

    found = set().union(*(kinds(input_type(name)) for name in MUTATIONS))
    assert found <= {
        "ID",
        "String",
        "Int",
        "Float",
        "Boolean",
        "Decimal",
        "JSON",
        "JSONObject",
        "Long",
        "DateTime",
        "UUID",
    }
