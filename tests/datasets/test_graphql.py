"""Datasets, corpora and imports over GraphQL."""

from __future__ import annotations

import pytest

from datasets.models import Corpus, Dataset, Example
from datasets.services import create_corpus, create_dataset
from datasets.types import PassageSpec
from mlops.models import User
from tests.graphql import asked, codes_of, data_of, nodes, queries_for

pytestmark = pytest.mark.django_db

NESTED = """{ listDatasets { edges { node { name size schema examples(first: 2) { edges { node {
    position data dataset { name } } } } } } } }"""


def make(actor: User, number: int) -> Dataset:
    rows = [{"message": f"{number}-{row}"} for row in range(3)]
    return create_dataset(actor=actor, name=f"set{number}", type="training", examples=rows)


def test_datasets_with_their_first_examples_take_as_many_queries_for_six_as_for_two(erin: User) -> None:
    for number in range(2):
        make(erin, number)
    few = queries_for(erin, NESTED)
    for number in range(2, 6):
        make(erin, number)

    assert queries_for(erin, NESTED) == few
    found = nodes(data_of(erin, NESTED)["listDatasets"])
    assert [row["name"] for row in found] == [f"set{number}" for number in (5, 4, 3, 2, 1, 0)]
    assert nodes(found[0]["examples"]) == [
        {"position": row, "data": {"message": f"5-{row}"}, "dataset": {"name": "set5"}} for row in range(2)
    ]


CREATE = """mutation C($rows: [JSONObject!]!) { createDataset(input: {name: "letters", type: "test", examples: $rows}) {
    dataset { name version size schema } errors { code field } } }"""


def test_a_dataset_is_made_of_its_examples(erin: User) -> None:
    told = data_of(erin, CREATE, rows=[{"a": 1}, {"a": 2}])["createDataset"]
    assert told["errors"] == []
    assert told["dataset"]["size"] == 2
    assert told["dataset"]["schema"]["properties"] == {"a": {"type": "integer"}}
    assert list(Example.objects.order_by("position").values_list("data", flat=True)) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("rows", [[3], ["text"], [[1]], None, [None], {"a": 1, "b": [2]}, [{"a": "\x00"}]])
def test_examples_that_are_no_objects_are_refused_and_nothing_is_made(erin: User, rows: object) -> None:
    answer = asked(erin, CREATE, rows=rows)
    if rows != {"a": 1, "b": [2]}:  # GraphQL takes one value for a list of one
        assert answer.get("errors") or answer["code"] == "unstorable_text"
        assert not Dataset.objects.exists()


def test_nobody_but_engineers_reads_or_writes_datasets(alice: User, erin: User) -> None:
    row = make(erin, 1)
    assert nodes(data_of(alice, "{ listDatasets { edges { node { id } } } }")["listDatasets"]) == []
    assert codes_of(asked(alice, "query D($id: ID!) { getDataset(id: $id) { id } }", id=str(row.pk))) == [
        "dataset_not_found"
    ]
    told = data_of(alice, CREATE, rows=[{"a": 1}])["createDataset"]
    assert told == {"dataset": None, "errors": [{"code": "dataset_create_forbidden", "field": ""}]}
    assert Dataset.objects.count() == 1


def test_passages_are_searched_and_their_vectors_are_never_read(erin: User) -> None:
    passages = [PassageSpec("Cards", "A lost card is blocked."), PassageSpec("Loans", "A loan is paid back.")]
    corpus: Corpus = create_corpus(actor=erin, name="manual", passages=passages)
    search = """mutation S($corpus: ID!, $search: String) { searchPassages(input: {
        corpus: $corpus, query: "lost card", k: 1, search: $search}) {
            passages { title score } errors { code field } } }"""

    told = data_of(erin, search, corpus=str(corpus.pk))["searchPassages"]
    assert [passage["title"] for passage in told["passages"]] == ["Cards"]
    wrong = data_of(erin, search, corpus=str(corpus.pk), search="magic")["searchPassages"]
    assert [error["code"] for error in wrong["errors"]] == ["invalid_choice"]
    found = nodes(data_of(erin, "{ listPassages { edges { node { title text corpus { name } } } } }")["listPassages"])
    assert [passage["text"] for passage in found] == [spec.text for spec in passages]
