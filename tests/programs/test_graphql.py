"""Programs over GraphQL."""

from __future__ import annotations

import uuid

import pytest
from django.contrib.auth.models import Group
from rest_framework.test import APIClient

from mlops.models import User
from programs.models import Deployment, Program
from programs.types import ProgramStatus
from tests.factories import make_program
from tests.graphql import asked, codes_of, data_of, nodes, queries_for

pytestmark = pytest.mark.django_db

NESTED = """
query Programs($first: Int) {
  listPrograms(first: $first, orderBy: "name") {
    edges { node {
      name config metrics
      modules(first: 5) { edges { node {
        key program { name } signature { name instructions fields { name isInput } }
      } } }
    } }
    pageInfo { hasNextPage endCursor }
  }
}
"""


def test_a_list_with_what_belongs_to_its_rows_takes_as_many_queries_for_ten_as_for_two(erin: User) -> None:
    for _ in range(2):
        make_program()
    few = queries_for(erin, NESTED)
    for _ in range(8):
        make_program()

    found = data_of(erin, NESTED)
    assert queries_for(erin, NESTED) == few
    programs = nodes(found["listPrograms"])
    assert len(programs) == 10
    assert [program["name"] for program in programs] == sorted(program["name"] for program in programs)
    for program in programs:
        (module,) = nodes(program["modules"])
        assert module["program"] == {"name": program["name"]}
        assert [field["name"] for field in module["signature"]["fields"]] == ["message", "intent"]


def test_an_ml_user_reads_what_is_in_production_and_nothing_else_wherever_they_ask(alice: User) -> None:
    draft = make_program()
    live = make_program(status=ProgramStatus.PRODUCTION.value)
    query = "query P($id: ID!) { node(id: $id) { id ... on Program { name } } }"

    assert nodes(data_of(alice, "{ listPrograms { edges { node { name } } } }")["listPrograms"]) == [
        {"name": live.name}
    ]
    assert data_of(alice, query, id=str(live.pk))["node"] == {"id": str(live.pk), "name": live.name}
    assert data_of(alice, query, id=str(draft.pk))["node"] is None
    module = draft.modules.get()
    assert data_of(alice, query, id=str(module.pk))["node"] is None
    assert codes_of(asked(alice, "query P($id: ID!) { getProgram(id: $id) { name } }", id=str(draft.pk))) == [
        "program_not_found"
    ]
    assert nodes(data_of(alice, "{ listModules { edges { node { key } } } }")["listModules"]) == [{"key": "classify"}]


def test_a_program_of_another_group_is_hidden_from_an_engineer(erin: User) -> None:
    group = Group.objects.create(name="closed")
    hidden = make_program(group=group)

    assert nodes(data_of(erin, "{ listPrograms { edges { node { name } } } }")["listPrograms"]) == []
    assert data_of(erin, "query P($id: ID!) { node(id: $id) { id } }", id=str(hidden.pk))["node"] is None


def test_pages_follow_each_other_until_the_last(erin: User) -> None:
    names = sorted(make_program().name for _ in range(5))
    query = """query P($after: String) { listPrograms(first: 2, after: $after, orderBy: "name") {
        edges { node { name } } pageInfo { hasNextPage endCursor } } }"""
    read, after = [], None
    for more in (True, True, False):
        page = data_of(erin, query, after=after)["listPrograms"]
        read += [node["name"] for node in nodes(page)]
        assert page["pageInfo"]["hasNextPage"] is more
        after = page["pageInfo"]["endCursor"]
    assert read == names


def test_filters_and_searches_are_those_of_rest(erin: User) -> None:
    first, second = make_program(description="sorts letters"), make_program(description="reads invoices")
    by_name = "query P($name: String) { listPrograms(name: $name) { edges { node { name } } } }"

    assert nodes(data_of(erin, by_name, name=first.name)["listPrograms"]) == [{"name": first.name}]
    found = data_of(erin, '{ listPrograms(search: "invoices") { edges { node { name } } } }')
    assert nodes(found["listPrograms"]) == [{"name": second.name}]
    assert codes_of(asked(erin, '{ listPrograms(status: "nonsense") { edges { node { name } } } }')) == [
        "invalid_choice"
    ]
    assert codes_of(asked(erin, '{ listPrograms(orderBy: "version") { edges { node { name } } } }')) == [
        "ordering_unknown"
    ]
    assert codes_of(asked(erin, "{ listPrograms(first: -1) { edges { node { name } } } }")) == ["page_size_invalid"]
    assert codes_of(asked(erin, '{ listPrograms(after: "nonsense") { edges { node { name } } } }')) == [
        "cursor_invalid"
    ]


DEPLOY = """mutation D($program: ID!) { deployProgram(input: {program: $program, reason: "tested"}) {
    program { name status } errors { code message field } } }"""


def test_deploying_returns_the_program_and_says_what_did_not_work(erin: User) -> None:
    program = make_program(status=ProgramStatus.TESTING.value)

    told = data_of(erin, DEPLOY, program=f"{program.name}@testing")["deployProgram"]
    assert told == {"program": {"name": program.name, "status": "production"}, "errors": []}
    again = data_of(erin, DEPLOY, program=str(program.pk))["deployProgram"]
    assert again["program"] is None
    assert [(error["code"], error["field"]) for error in again["errors"]] == [("program_not_deployable", "status")]
    assert Deployment.objects.get(program=program).reason == "tested"


def test_who_may_not_deploy_hears_that_first_and_nothing_happens(alice: User) -> None:
    program = make_program(status=ProgramStatus.TESTING.value)

    for named in (str(program.pk), "nothing", str(uuid.uuid4())):
        told = data_of(alice, DEPLOY, program=named)["deployProgram"]
        assert [error["code"] for error in told["errors"]] == ["program_deploy_forbidden"]
    assert Program.objects.get(pk=program.pk).status == ProgramStatus.TESTING.value
    assert not Deployment.objects.filter(program=program).exists()


def test_a_reference_to_nothing_is_named(erin: User) -> None:
    told = data_of(erin, DEPLOY, program="nothing@3")["deployProgram"]
    assert [(error["code"], error["field"]) for error in told["errors"]] == [("program_not_found", "program")]


@pytest.mark.usefixtures("db")
def test_nobody_asks_without_logging_in(api: APIClient) -> None:
    answer = api.post("/graphql/", {"query": "{ __schema { types { name } } }"}, format="json")
    assert answer.status_code == 401
    assert answer.json()["code"] == "not_authenticated"
