"""The verbs of datasets and corpora."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from datasets import services
from datasets.models import Corpus, Dataset, Example, Passage
from datasets.types import DatasetType, PassageSpec
from mlops.errors import Conflict, Forbidden, Invalid, NotFound
from mlops.models import User

EXAMPLES: list[dict[str, Any]] = [
    {"message": "Where is my parcel?", "intent": "delivery"},
    {"message": "I want my money back", "intent": "return"},
]
PASSAGES = [PassageSpec("Returns", "Within thirty days."), PassageSpec("Hours", "Nine to five.")]


def make_dataset(actor: User, **changes: Any) -> Dataset:
    given: dict[str, Any] = {"actor": actor, "name": "triage", "type": DatasetType.TEST, "examples": EXAMPLES}
    return services.create_dataset(**{**given, **changes})


def make_corpus(actor: User, **changes: Any) -> Corpus:
    return services.create_corpus(**{"actor": actor, "name": "support", "passages": PASSAGES, **changes})


def test_examples_become_rows_in_their_order(erin: User) -> None:
    dataset = make_dataset(erin)
    assert [example.data for example in dataset.examples.all()] == EXAMPLES
    assert (dataset.version, dataset.size, dataset.frozen_at) == (1, 2, None)


def test_the_schema_is_what_the_examples_fulfil_unless_one_is_given(erin: User) -> None:
    text = {"type": "string"}
    dataset = make_dataset(erin, examples=[*EXAMPLES, {"message": "Hello"}])
    assert dataset.schema == {
        "type": "object",
        "properties": {"message": text, "intent": text},
        "required": ["message"],
    }
    given = {"properties": {"intent": {"enum": ["delivery", "return"]}}}
    assert make_dataset(erin, schema=given).schema == given


def test_examples_that_break_a_given_schema_are_refused(erin: User) -> None:
    with pytest.raises(Invalid) as refusal:
        make_dataset(erin, schema={"properties": {"intent": {"const": "return"}}})
    (problem,) = refusal.value.problems
    assert (problem.code, problem.field) == ("schema_const", "examples.0.intent")
    assert not Dataset.objects.exists()


def test_replacing_the_examples_replaces_all_that_follows_from_them(erin: User) -> None:
    dataset = make_dataset(erin)
    changed = services.update_dataset(actor=erin, dataset=dataset, examples=[{"a": 1}])
    other = make_dataset(erin, examples=[{"a": 1}])
    assert (changed.size, changed.content_hash, changed.schema) == (1, other.content_hash, other.schema)
    assert [example.data for example in changed.examples.all()] == [{"a": 1}]
    assert changed.version == dataset.version
    assert changed.history.first().history_change_reason == "update_dataset"


def test_a_schema_is_not_set_on_examples_that_it_was_not_checked_with(erin: User) -> None:
    seen = make_dataset(erin)
    before = services.update_dataset(actor=erin, dataset=seen, examples=[{"a": 1}]).schema
    with pytest.raises(Conflict) as refusal:
        services.update_dataset(actor=erin, dataset=seen, schema={"required": ["a"]})
    assert refusal.value.code == "dataset_changed"
    assert Dataset.objects.get().schema == before


def test_the_same_name_and_type_again_is_the_next_version(erin: User) -> None:
    first, other, second = make_dataset(erin), make_dataset(erin, type="training"), make_dataset(erin)
    assert (first.version, other.version, second.version) == (1, 1, 2)


def test_equal_content_has_an_equal_hash_whatever_the_order_of_keys(erin: User) -> None:
    turned = [dict(reversed(data.items())) for data in EXAMPLES]
    assert make_dataset(erin).content_hash == make_dataset(erin, examples=turned).content_hash
    assert make_dataset(erin, examples=EXAMPLES[::-1]).content_hash != make_dataset(erin).content_hash


def test_the_history_says_who_did_what(erin: User) -> None:
    dataset = services.freeze_dataset(actor=erin, dataset=make_dataset(erin))
    lines = dataset.history.order_by("history_id").values_list("history_change_reason", "history_user__username")
    assert list(lines) == [("create_dataset", "erin"), ("freeze_dataset", "erin")]


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"name": "Triage"}, "name_invalid", "name"),
        ({"name": "triage\n"}, "name_invalid", "name"),
        ({"type": "holdout"}, "dataset_type_unknown", "type"),
        ({"examples": []}, "empty", "examples"),
        ({"examples": [{"a": 1}, {"a": float("nan")}]}, "dataset_invalid", "examples.1.a"),
        ({"examples": [{"a": "\x00"}]}, "dataset_invalid", "examples.0.a"),
        ({"examples": ["text"]}, "dataset_invalid", "examples.0"),
        ({"description": "\ud800"}, "unstorable_text", "description"),
        ({"schema": {"x": "\x00"}}, "unstorable_text", "schema.x"),
    ],
)
def test_what_cannot_be_stored_is_refused_and_named(erin: User, changes: dict[str, Any], code: str, field: str) -> None:
    with pytest.raises(Invalid) as refusal:
        make_dataset(erin, **changes)
    assert (refusal.value.code, refusal.value.field) == (code, field)
    assert not Dataset.objects.exists()


def test_every_broken_example_is_reported_at_once(erin: User) -> None:
    with pytest.raises(Invalid) as refusal:
        make_dataset(erin, examples=[{"a": "\x00"}, {"a": "fine"}, {}])
    assert [problem.field for problem in refusal.value.problems] == ["examples.0.a", "examples.2"]


def test_an_ml_user_may_write_nothing(erin: User, charlie: User) -> None:
    dataset, corpus = make_dataset(erin), make_corpus(erin)
    verbs: list[Callable[[], object]] = [
        lambda: make_dataset(charlie),
        lambda: make_corpus(charlie),
        lambda: services.freeze_dataset(actor=charlie, dataset=dataset),
        lambda: services.freeze_corpus(actor=charlie, corpus=corpus),
        lambda: services.delete_dataset(actor=charlie, dataset=dataset),
        lambda: services.delete_corpus(actor=charlie, corpus=corpus),
    ]
    for verb in verbs:
        with pytest.raises(Forbidden):
            verb()
    assert (Dataset.objects.get().frozen_at, Corpus.objects.get().frozen_at) == (None, None)


def test_an_ml_user_sees_nothing_and_an_engineer_everything(erin: User, charlie: User) -> None:
    make_dataset(erin)
    make_corpus(erin)
    for model in (Dataset, Example, Corpus, Passage):
        assert not model.objects.visible_to(charlie).exists()
        assert model.objects.visible_to(erin).exists()


def test_freezing_twice_keeps_the_first_moment(erin: User) -> None:
    first = services.freeze_dataset(actor=erin, dataset=make_dataset(erin))
    assert services.freeze_dataset(actor=erin, dataset=first).frozen_at == first.frozen_at
    assert first.history.count() == 2


def test_a_used_dataset_stays(erin: User) -> None:
    frozen = services.freeze_dataset(actor=erin, dataset=make_dataset(erin))
    with pytest.raises(Conflict) as refusal:
        services.delete_dataset(actor=erin, dataset=frozen)
    assert refusal.value.code == "dataset_in_use"
    assert Example.objects.count() == 2


def test_an_unused_dataset_goes_with_its_examples(erin: User) -> None:
    services.delete_dataset(actor=erin, dataset=make_dataset(erin))
    assert not Dataset.objects.exists()
    assert not Example.objects.exists()


def test_passages_become_rows_in_their_order(erin: User) -> None:
    corpus = make_corpus(erin)
    assert [(row.position, row.title, row.text) for row in corpus.passages.all()] == [
        (0, "Returns", "Within thirty days."),
        (1, "Hours", "Nine to five."),
    ]
    assert (corpus.version, corpus.size, make_corpus(erin).version) == (1, 2, 2)


@pytest.mark.parametrize(
    ("passages", "code", "field"),
    [
        ([], "empty", "passages"),
        ([PassageSpec("Title", "  ")], "corpus_invalid", "passages.0.text"),
        ([PassageSpec("Title", "a\x00b")], "corpus_invalid", "passages.0.text"),
        ([PassageSpec("t" * 301, "text")], "corpus_invalid", "passages.0.title"),
    ],
)
def test_a_broken_passage_is_refused_and_named(erin: User, passages: list[PassageSpec], code: str, field: str) -> None:
    with pytest.raises(Invalid) as refusal:
        make_corpus(erin, passages=passages)
    assert (refusal.value.code, refusal.value.field) == (code, field)
    assert not Corpus.objects.exists()


def test_a_used_corpus_stays_and_an_unused_one_goes(erin: User) -> None:
    frozen, unused = services.freeze_corpus(actor=erin, corpus=make_corpus(erin)), make_corpus(erin)
    services.delete_corpus(actor=erin, corpus=unused)
    with pytest.raises(Conflict) as refusal:
        services.delete_corpus(actor=erin, corpus=frozen)
    assert refusal.value.code == "corpus_in_use"
    assert Corpus.objects.get() == frozen


def test_the_database_refuses_a_type_that_the_code_does_not_know(erin: User) -> None:
    dataset = make_dataset(erin)
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE datasets_dataset SET type = 'holdout' WHERE version = %s", [dataset.version])


@pytest.mark.parametrize("verb", [services.delete_dataset, services.freeze_dataset])
def test_a_dataset_that_somebody_has_deleted_meanwhile_is_not_found(erin: User, verb: Callable[..., object]) -> None:
    dataset = make_dataset(erin)
    services.delete_dataset(actor=erin, dataset=Dataset.objects.get(pk=dataset.pk))

    with pytest.raises(NotFound) as refusal:
        verb(actor=erin, dataset=dataset)

    assert refusal.value.code == "dataset_not_found"
