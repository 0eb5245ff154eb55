"""What a document may ask, whatever the schema: here that of the project."""

from __future__ import annotations

import time

import pytest
from django.db import connection
from graphql import get_introspection_query, print_ast

from config.graphql import schema
from mlops.errors import Invalid
from mlops.graphql import executing
from mlops.graphql.introspection import WHOLE
from mlops.graphql.limits import MAX_ALIASES, GraphQLErrors, admitted
from mlops.graphql.types import UserType
from mlops.models import User
from tests.graphql import asked, codes_of, data_of

LIST = "listPrograms { edges { node { %s } } }"


def refusal_of(source: str, **variables: object) -> str:
    with pytest.raises(Invalid) as refusal:
        admitted(schema.graphql_schema, source, variables)
    return refusal.value.code


def invalid(source: str, **variables: object) -> list[str]:
    with pytest.raises(GraphQLErrors) as refusal:
        admitted(schema.graphql_schema, source, variables)
    return [error.message for error in refusal.value.errors]


def deep(levels: int) -> str:
    return (
        "{ node(id: 1) { id "
        + "... on Module { program { modules { edges { node { id " * levels
        + "} } } } } " * levels
        + "} }"
    )


def test_an_ordinary_document_is_admitted() -> None:
    source = "{ " + LIST % "name modules(first: 5) { edges { node { key } } }" + " }"
    assert print_ast(admitted(schema.graphql_schema, source, {}))


def test_depth_is_limited() -> None:
    assert refusal_of(deep(4).replace("modules {", "modules(first: 1) {")) == "graphql_too_deep"


@pytest.mark.parametrize("levels", [50, 200])
def test_what_is_nested_ever_deeper_is_not_even_read(levels: int) -> None:
    (message,) = invalid(deep(levels))
    assert "nested too deeply" in message


def test_aliases_are_limited() -> None:
    aliases = " ".join(f"a{number}: node(id: 1) {{ id }}" for number in range(MAX_ALIASES + 1))
    assert refusal_of("{ " + aliases + " }") == "graphql_too_many_aliases"


def test_a_thousand_aliases_are_refused_as_soon_as_they_are_read() -> None:
    (message,) = invalid("{ " + " ".join(f"a{number}: node(id: 1) {{ id }}" for number in range(1000)) + " }")
    assert "more than" in message


def test_a_list_costs_its_page_at_every_level() -> None:
    modules = "modules(first: %s) { edges { node { key signature { fields { name } } } } }"
    assert (
        refusal_of("{ listPrograms(first: 200) { edges { node { " + modules % 200 + " } } } }") == "graphql_too_costly"
    )
    admitted(schema.graphql_schema, "{ listPrograms(first: 10) { edges { node { " + modules % 5 + " } } } }", {})


def test_a_page_that_a_variable_sizes_costs_as_much() -> None:
    source = """query Q($n: Int) {
        listPrograms(first: $n) { edges { node { modules(first: $n) { edges { node { key } } } } } } }"""
    assert refusal_of(source, n=200) == "graphql_too_costly"
    admitted(schema.graphql_schema, source, {"n": 20})


def test_the_default_of_a_variable_sizes_a_page() -> None:
    source = """query Q($n: Int = 200) {
        listPrograms(first: $n) { edges { node { modules(first: $n) { edges { node { key } } } } } } }"""
    assert refusal_of(source) == refusal_of(source, n=200.0) == "graphql_too_costly"
    admitted(schema.graphql_schema, source, {"n": 20})
    admitted(schema.graphql_schema, source, {"n": None})


def test_each_operation_has_its_own_defaults() -> None:
    source = """query Many($n: Int = 200) { ...L } query Few($n: Int = 2) { ...L } fragment L on Query {
        listPrograms(first: $n) { edges { node { modules(first: $n) { edges { node { key } } } } } } }"""
    admitted(schema.graphql_schema, source, {}, "Few")
    with pytest.raises(Invalid, match="may resolve"):
        admitted(schema.graphql_schema, source, {}, "Many")


def test_variables_of_another_type_are_refused_before_anything_is_weighed() -> None:
    (message,) = invalid("query Q($n: Int) { listPrograms(first: $n) { edges { node { id } } } }", n="200")
    assert "$n" in message


def test_fragments_count_wherever_they_are_spread_named_or_inline() -> None:
    named = """query { listPrograms(first: 200) { edges { node { ...All } } } }
        fragment All on Program { modules(first: 200) { edges { node { key } } } }"""
    inline = """query { listPrograms(first: 200) { edges { node { ... on Program {
        ... { modules(first: 200) { edges { node { key } } } } } } } } }"""
    assert refusal_of(named) == refusal_of(inline) == "graphql_too_costly"


@pytest.mark.timeout(20)  # one by one they would take centuries
def test_fragments_that_double_each_other_take_no_time() -> None:
    doubling = " ".join(
        f"fragment F{number} on Program {{ ...F{number + 1} ...F{number + 1} }}" for number in range(60)
    )
    source = "{ " + LIST % "...F0" + " } " + doubling + " fragment F60 on Program { id name }"
    assert refusal_of(source) == "graphql_too_costly"


def test_fragments_that_contain_themselves_are_refused() -> None:
    messages = invalid("{ " + LIST % "...F" + " } fragment F on Program { ...G } fragment G on Program { ...F }")
    assert "Cannot spread fragment" in messages[0]


def test_introspection_does_not_flood() -> None:
    flood = "{ __schema { types { fields { type { fields { type { fields { type { fields { name } } } } } } } } } }"
    (message,) = invalid(flood)
    assert "introspection depth" in message


@pytest.mark.parametrize("source", [WHOLE, get_introspection_query(), WHOLE.replace("subscriptionType", "queryType")])
def test_the_schema_may_be_asked_for(source: str) -> None:
    assert print_ast(admitted(schema.graphql_schema, source, {}))


@pytest.mark.django_db
def test_the_whole_schema_is_answered(alice: User) -> None:
    told = data_of(alice, WHOLE)["__schema"]
    assert {one["name"] for one in told["types"]} == set(schema.graphql_schema.type_map)


TYPES = "types { fields { name type { name fields { name } } args { name type { ofType { name } } } } }"

CHAINS = " ".join(f"a{number}: type {{ {'ofType { ' * 30} name {'}' * 31}" for number in range(5))
FRAGMENTS = "fragment T on __Type { fields { name type { ...U } } } fragment U on __Type { name kind description }"


@pytest.mark.parametrize(
    "source",
    [
        WHOLE.replace("__schema {", "again: __schema { types { ...FullType } } __schema {"),
        "{ " + " ".join(f"a{number}: __schema {{ {TYPES} }}" for number in range(20)) + " }",
        "{ __schema { " + " ".join(f"a{number}: {TYPES}" for number in range(20)) + " } }",
        "{ __schema { types { fields { " + CHAINS + " } } } }",
        "{ __schema { " + " ".join(f"a{number}: types {{ ...T }}" for number in range(30)) + " } } " + FRAGMENTS,
    ],
)
def test_the_schema_is_not_told_over_and_over(source: str) -> None:
    assert refusal_of(source) == "graphql_too_costly"


@pytest.mark.parametrize(
    "source",
    ["", "{", "{ nothing }", "query A { node(id: 1) { id } } query A { node(id: 1) { id } }", "\x00", "#" * 9_000],
)
def test_what_is_no_document_is_said_to_be_none(source: str) -> None:
    assert invalid(source)


FOLLOW = 'executionUpdates(programId: "triage") %s { id }'


@pytest.mark.parametrize("directive", ['@skip(if: "x")', "@skip", "@skip(if: null)", "@include(if: [])"])
def test_a_subscription_with_a_directive_of_no_meaning_is_no_document(directive: str) -> None:
    for message in invalid("subscription { " + FOLLOW % directive + " }"):
        assert "\n" not in message


@pytest.mark.parametrize(
    "selection",
    [
        FOLLOW % "@skip(if: $s)",
        "...A @include(if: $s) ...A",
        "... on Subscription @skip(if: $s) { " + FOLLOW % "" + " }",
    ],
)
def test_a_subscription_may_be_left_out_by_a_variable(selection: str) -> None:
    source = f"subscription($s: Boolean!) {{ {selection} }}"
    if "...A" in source:
        source += f" fragment A on Subscription {{ {FOLLOW % ''} }}"
    assert print_ast(admitted(schema.graphql_schema, source, {"s": True}))


@pytest.mark.parametrize(
    "selection",
    [
        f"a: {FOLLOW % ''} b: {FOLLOW % '@skip(if: true)'}",
        "executionUpdates { id } ...A",
        "...A ... { ... { other: executionUpdates { id } } }",
        "__typename",
    ],
)
def test_a_subscription_asks_for_one_field(selection: str) -> None:
    fragment = " fragment A on Subscription { ...A a: executionUpdates { id } }" if "...A" in selection else ""
    assert "A subscription asks for one field of the schema's." in invalid(f"subscription {{ {selection} }}{fragment}")


COUNTING = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000000) SELECT count(*) FROM n"
"""Takes seconds."""


@pytest.mark.django_db
def test_an_operation_asks_the_database_nothing_after_its_time(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(info: object, key: object) -> None:
        begun.append(key)
        time.sleep(0.1)
        User.objects.count()
        done.append(key)

    begun: list[object] = []
    done: list[object] = []
    monkeypatch.setattr(UserType, "get_node", look)
    monkeypatch.setattr(executing, "TIME_LIMIT_S", 0.05)
    assert codes_of(asked(alice, "{ me { username } }")) == ["graphql_timeout"]
    assert (begun, done) == ([alice.pk], [])


@pytest.mark.django_db
def test_what_resolves_more_than_it_was_weighed_at_is_stopped(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    heavy = '{ __type(name: "Query") { fields { args { name } } } }'
    assert len(data_of(alice, heavy)["__type"]["fields"]) > 50
    monkeypatch.setattr(executing, "MAX_RESOLVED", 100)
    stopped = asked(alice, heavy)
    assert (codes_of(stopped), "data" in stopped) == (["graphql_too_costly"], False)


@pytest.mark.django_db(transaction=True)
def test_a_statement_that_is_under_way_then_is_cancelled(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def count(info: object, key: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(COUNTING)

    with monkeypatch.context() as patched:
        patched.setattr(UserType, "get_node", count)
        patched.setattr(executing, "TIME_LIMIT_S", 0.1)
        assert codes_of(asked(alice, "{ me { username } }")) == ["graphql_timeout"]
    assert data_of(alice, "{ me { username } }") == {"me": {"username": "alice"}}
