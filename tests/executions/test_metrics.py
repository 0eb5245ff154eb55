"""Verbs and REST of metrics: versions, freezing, judges of this installation, who may."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection, connections
from rest_framework.test import APIClient

from executions.models import Metric
from executions.runtime.metrics import MetricFailed, Score, metric
from executions.selectors import access_metric
from executions.services import (
    create_metric,
    delete_metric,
    freeze_metric,
    new_metric_version,
    try_metric,
    update_metric,
)
from executions.services.planning import forget
from executions.services.process import ensure_started
from executions.services.scoring import range_of, scorer_of
from mlops.errors import Conflict, DomainError, Forbidden, Invalid, NotFound
from mlops.models import CreditEntry, LanguageModel, User
from programs.models import Program, PromptSet
from programs.services import activate_prompt_version, create_prompt_version
from tests.conftest import api_of
from tests.executions.programs import make_program, provided_model
from tests.factories import make_language_model
from tests.fakes import fields
from tests.provider import Provider, text

METRICS = "/api/v1/metrics/"
EXAMPLE = {"question": "Capital of France?", "answer": "Paris"}


def accuracy(actor: User, **options: Any) -> Metric:
    return create_metric(
        actor=actor, **{"name": "accuracy", "kind": "exact_match", "config": {"field": "answer"}, **options}
    )


def refused(error: type[DomainError], code: str, call: Any, **arguments: Any) -> DomainError:
    with pytest.raises(error) as refusal:
        call(**arguments)
    assert refusal.value.code == code
    return refusal.value


def test_a_metric_has_versions_and_a_history(erin: User) -> None:
    first = accuracy(erin, description="Right or wrong")
    second = new_metric_version(actor=erin, metric=first, config={"field": "answer", "any_of": True})
    assert (str(first), str(second), second.description) == ("accuracy@1", "accuracy@2", "Right or wrong")
    first.refresh_from_db()
    assert first.config == {"field": "answer"}
    assert [row.history_change_reason for row in first.history.all()] == ["create"]
    assert second.history.get().history_user == erin
    refused(Conflict, "metric_exists", accuracy, actor=erin)
    assert Metric.objects.count() == 2


def test_a_frozen_metric_keeps_what_it_measures(erin: User) -> None:
    row = accuracy(erin)
    assert update_metric(actor=erin, metric=row, config={"field": "reply"}).config == {"field": "reply"}
    frozen = freeze_metric(actor=erin, metric=row)
    assert freeze_metric(actor=erin, metric=row).frozen_at == frozen.frozen_at
    assert row.history.filter(history_change_reason="freeze").count() == 1
    refused(Conflict, "metric_frozen", update_metric, actor=erin, metric=row, config={"field": "answer"})
    refused(Conflict, "metric_in_use", delete_metric, actor=erin, metric=row)
    assert update_metric(actor=erin, metric=row, description="for replies").description == "for replies"
    row.refresh_from_db()
    assert (row.config, row.description) == ({"field": "reply"}, "for replies")
    assert new_metric_version(actor=erin, metric=row).frozen_at is None


def test_an_unused_metric_can_be_deleted(erin: User) -> None:
    row = accuracy(erin)
    delete_metric(actor=erin, metric=row)
    assert not Metric.objects.exists()
    assert Metric.history.get(history_type="-").history_user == erin
    with pytest.raises(NotFound):
        new_metric_version(actor=erin, metric=row)


def test_references(erin: User, alice: User) -> None:
    first = accuracy(erin)
    second = new_metric_version(actor=erin, metric=first)
    for ref, meant in (
        (first.pk, first),
        (str(first.pk), first),
        ("accuracy", second),
        ("accuracy@latest", second),
        ("accuracy@1", first),
    ):
        assert access_metric(actor=erin, ref=ref) == meant
    for missing in ("accuracy@3", "accuracy@0", "accuracy@", "@1", "none", "", "a\x00b", "accuracy@9999999999", "A"):
        refused(NotFound, "metric_not_found", access_metric, actor=erin, ref=missing)
    refused(NotFound, "metric_not_found", access_metric, actor=alice, ref="accuracy")


def test_only_engineers_write_metrics(erin: User, alice: User) -> None:
    row = accuracy(erin)
    refused(Forbidden, "metric_create_forbidden", accuracy, actor=alice, name="mine")
    for call, action in ((update_metric, "change"), (new_metric_version, "new_version"), (freeze_metric, "freeze")):
        refused(Forbidden, f"metric_{action}_forbidden", call, actor=alice, metric=row)
    refused(Forbidden, "metric_delete_forbidden", delete_metric, actor=alice, metric=row)
    refused(Forbidden, "metric_try_forbidden", try_metric, actor=alice, metric=row, example={}, output={})
    assert Metric.history.count() == 1


@pytest.mark.parametrize(
    ("options", "problems"),
    [
        ({"kind": "vibes"}, [("unknown_kind", "kind")]),
        ({"config": {}}, [("required", "config.field")]),
        ({"config": {"field": "a", "b": "c"}}, [("unknown_field", "config.b")]),
        ({"config": []}, [("wrong_type", "config")]),
        ({"config": {"field": "\x00"}}, [("unstorable_text", "config.field")]),
        (
            {"kind": "judge", "config": {"colour": 1}},
            [("unknown_field", "config.colour"), ("required", "judge_program")],
        ),
        ({"kind": "semantic_similarity"}, [("required", "language_model")]),
        ({"kind": "code", "config": {"function": "lost"}}, [("unknown_metric", "config.function")]),
    ],
)
def test_what_is_wrong_with_a_metric_is_said_at_once(
    erin: User, options: dict[str, Any], problems: list[tuple[str, str]]
) -> None:
    refusal = refused(Invalid, "metric_invalid", accuracy, actor=erin, **options)
    assert [(problem.code, problem.field) for problem in refusal.problems] == problems
    assert not Metric.objects.exists()


def test_a_name_is_a_name(erin: User) -> None:
    refused(Invalid, "name_invalid", accuracy, actor=erin, name="My Metric")


def test_language_models_and_judges_are_for_the_kinds_that_ask_them(erin: User) -> None:
    chat = make_language_model(is_default=True)
    embedding = make_language_model(kind="embedding")
    refusal = refused(Invalid, "metric_invalid", accuracy, actor=erin, language_model=chat)
    assert [(problem.code, problem.field) for problem in refusal.problems] == [("not_used", "language_model")]
    refusal = refused(Invalid, "metric_invalid", accuracy, actor=erin, kind="semantic_similarity", language_model=chat)
    assert [(problem.code, problem.field) for problem in refusal.problems] == [("wrong_kind", "language_model")]
    row = accuracy(erin, kind="semantic_similarity", language_model=embedding)
    assert row.language_model == embedding
    draft = make_program(status="draft", shorthand="output -> score: float")
    refusal = refused(Invalid, "metric_invalid", accuracy, actor=erin, kind="judge", config={}, judge_program=draft)
    assert [(problem.code, problem.field) for problem in refusal.problems] == [("program_not_frozen", "judge_program")]


RATING = "question, output, rubric -> score: float, feedback"


def rating(erin: User, provider: Provider, **config: Any) -> Metric:
    """A judge on the loopback provider."""
    if not LanguageModel.objects.exists():
        provided_model(provider)
    judge = make_program(name="rating", shorthand=RATING)
    config = {"rubric": "Is it right?", "field": "answer", "scale": [1, 5], **config}
    return create_metric(actor=erin, name="rated", kind="judge", config=config, judge_program=judge)


@pytest.mark.django_db(transaction=True)
def test_a_judge_of_this_installation_scores_and_is_charged(erin: User, provider: Provider) -> None:
    row = rating(erin, provider)
    provider.script(text(fields(score=4, feedback="Right, but curt.")))
    score = try_metric(actor=erin, metric=row, example=EXAMPLE, output={"answer": "Paris"})
    assert score == Score(0.75, "The judge gave 4.0 on a scale from 1 to 5. Right, but curt.")
    lines = CreditEntry.objects.filter(user=erin, subject_kind="metric", subject_id=row.pk)
    assert sum(line.amount for line in lines) < 0
    row.refresh_from_db()
    assert row.frozen_at is None


@pytest.mark.django_db(transaction=True)
def test_a_judge_answers_the_same_on_an_event_loop(erin: User, provider: Provider) -> None:
    ready = scorer_of(rating(erin, provider))
    provider.script(text(fields(score=2, feedback="No.")), text(fields(score=2, feedback="No.")))
    now = ready.score(EXAMPLE, {"answer": "Rome"})
    process = ensure_started()
    assert process.submit(ready.ascore(EXAMPLE, {"answer": "Rome"})).result() == now
    assert now.value == 0.25


@pytest.mark.django_db(transaction=True)
def test_a_judge_that_answers_garbage_is_charged_and_no_score(erin: User, provider: Provider) -> None:
    row = rating(erin, provider)
    provider.script(text(fields(score=17, feedback="Splendid.")))
    refusal = refused(
        Invalid, "metric_failed", try_metric, actor=erin, metric=row, example=EXAMPLE, output={"answer": "Paris"}
    )
    assert refusal.message == "The judge gave 17, outside of its scale from 1 to 5."
    assert sum(line.amount for line in CreditEntry.objects.filter(user=erin)) < 0


@pytest.mark.django_db(transaction=True)
def test_the_prompts_of_a_judge_are_pinned(erin: User, provider: Provider) -> None:
    """Whatever becomes of the judge's prompts, this version of the metric asks what it has asked."""
    row = rating(erin, provider)
    module = row.judge_program.modules.get()  # type: ignore[union-attr]  # it has one
    changed = create_prompt_version(actor=erin, module=module, prompt_template="Be merciless.")
    activate_prompt_version(actor=erin, prompt_version=changed)
    forget()
    provider.script(text(fields(score=4, feedback="")))
    try_metric(actor=erin, metric=row, example=EXAMPLE, output={"answer": "Paris"})
    assert "Be merciless." not in str(provider.requests[-1].body)
    again = new_metric_version(actor=erin, metric=row, config={**row.config, "prompt_set": None})
    assert again.config["prompt_set"] != row.config["prompt_set"]
    provider.script(text(fields(score=4, feedback="")))
    try_metric(actor=erin, metric=again, example=EXAMPLE, output={"answer": "Paris"})
    assert "Be merciless." in str(provider.requests[-1].body)


def test_prompts_of_another_program_are_refused(erin: User, provider: Provider) -> None:
    other = make_program(name="other", status="draft")
    foreign = PromptSet.objects.create(program=other, digest="1")
    with pytest.raises(Invalid) as refusal:
        rating(erin, provider, prompt_set=str(foreign.pk))
    assert [problem.field for problem in refusal.value.problems] == ["config.prompt_set"]


def test_a_judge_that_names_its_own_model_needs_no_default_one(erin: User, provider: Provider) -> None:
    own = provided_model(provider, is_default=False)
    judge = make_program(name="rating", shorthand=RATING, module={"language_model": own})
    row = create_metric(actor=erin, name="rated", kind="judge", config={"rubric": "?"}, judge_program=judge)
    provider.script(text(fields(score=1, feedback="")))
    assert try_metric(actor=erin, metric=row, example=EXAMPLE, output={"answer": "Paris"}).value == 1
    assert provider.requests[-1].body["model"] == own.name.partition("/")[2]


def test_a_judge_limited_to_a_group_is_not_asked_by_others(erin: User, admin: User, provider: Provider) -> None:
    row = rating(erin, provider)
    Program.objects.filter(name="rating").update(group=Group.objects.create(name="inner circle"))
    row = access_metric(actor=erin, ref=row.pk)
    refused(NotFound, "program_not_found", try_metric, actor=erin, metric=row, example=EXAMPLE, output={"answer": ""})
    assert provider.requests == []


def test_an_embedding_model_of_this_installation_compares(erin: User, provider: Provider) -> None:
    model = provided_model(provider, kind="embedding", is_default=False)
    row = accuracy(erin, kind="semantic_similarity", language_model=model)
    same = try_metric(actor=erin, metric=row, example=EXAMPLE, output={"answer": "paris"})
    assert same.value == pytest.approx(1)
    other = try_metric(actor=erin, metric=row, example=EXAMPLE, output={"answer": "the weather"})
    assert other.value < 0.9
    assert sum(line.amount for line in CreditEntry.objects.filter(user=erin)) < 0


@metric(description="Half right.", low=0, high=2)
def half(example: Mapping[str, Any], output: Mapping[str, Any]) -> Any:
    if "say" in output:
        raise MetricFailed(output["say"])
    return 1


def test_registered_code_is_found_by_name(erin: User, settings: Any) -> None:
    settings.SIGNET_METRICS = {"half": f"{__name__}:half", "lost": "nowhere:at_all"}
    row = accuracy(erin, kind="code", config={"function": "half"})
    assert str(range_of(row)) == "0 to 2"
    assert try_metric(actor=erin, metric=row, example={}, output={}).value == 1
    refusal = refused(
        Invalid, "metric_failed", try_metric, actor=erin, metric=row, example={}, output={"say": "not today"}
    )
    assert refusal.message == "not today"
    refused(Invalid, "metric_invalid", accuracy, actor=erin, name="b", kind="code", config={"function": "lost"})
    settings.SIGNET_METRICS = {}
    assert range_of(row) is None
    refused(Invalid, "metric_invalid", try_metric, actor=erin, metric=row, example={}, output={})


@pytest.mark.django_db(transaction=True)
def test_two_new_versions_at_once_get_different_numbers(erin: User) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("writers of SQLite take turns")
    row = accuracy(erin)
    both = threading.Barrier(2)

    def make() -> None:
        both.wait()
        new_metric_version(actor=erin, metric=row)
        connections.close_all()

    threads = [threading.Thread(target=make) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(Metric.objects.values_list("version", flat=True)) == [1, 2, 3]


# REST


def test_a_metric_over_rest(erin: User) -> None:
    api = api_of(erin)
    made = api.post(METRICS, {"name": "accuracy", "kind": "exact_match", "config": {"field": "answer"}}, format="json")
    assert made.status_code == 201, made.data
    body = made.json()
    assert made["Location"].endswith(f"{METRICS}{body['id']}/")
    assert (body["version"], body["range"], body["frozen_at"]) == (1, {"low": 0.0, "high": 1.0}, None)
    assert api.get(f"{METRICS}accuracy/").json() == body
    assert api.get(f"{METRICS}accuracy@1/").json() == body
    (listed,) = api.get(METRICS).json()["results"]
    assert listed["name"] == "accuracy"
    assert "config" not in listed
    assert api.get(METRICS, {"kind": "judge"}).json()["results"] == []
    changed = api.patch(
        f"{METRICS}accuracy/", {"config": {"field": "reply"}}, format="json", HTTP_IF_MATCH=made["ETag"]
    )
    assert changed.json()["config"] == {"field": "reply"}
    stale = api.patch(f"{METRICS}accuracy/", {"description": "x"}, format="json", HTTP_IF_MATCH=made["ETag"])
    assert (stale.status_code, stale.json()["code"]) == (412, "row_changed")
    again = api.post(f"{METRICS}accuracy/new_version/", {"config": {"field": "text"}}, format="json")
    assert (again.status_code, again.json()["version"], again.json()["config"]) == (201, 2, {"field": "text"})
    freeze_metric(actor=erin, metric=Metric.objects.get(version=1))
    assert api.patch(f"{METRICS}accuracy@1/", {"kind": "contains"}, format="json").json()["code"] == "metric_frozen"
    assert api.delete(f"{METRICS}accuracy@1/").json()["code"] == "metric_in_use"
    assert api.delete(f"{METRICS}accuracy@2/").status_code == 204
    assert api.get(f"{METRICS}accuracy@2/").json()["code"] == "metric_not_found"


def test_feedback_can_be_seen_over_rest(erin: User) -> None:
    accuracy(erin)
    api = api_of(erin)
    tried = api.post(f"{METRICS}accuracy/try/", {"example": EXAMPLE, "output": {"answer": "Rome"}}, format="json")
    assert tried.json() == {"value": 0.0, "feedback": "Expected answer 'Paris', got 'Rome'."}
    failed = api.post(f"{METRICS}accuracy/try/", {"example": {}, "output": {"answer": "Rome"}}, format="json")
    assert (failed.status_code, failed.json()["code"]) == (400, "metric_failed")
    assert failed.json()["detail"] == "The example has no field 'answer'; it has none."


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "a"},
        {"name": "a", "kind": "vibes"},
        {"name": "a", "kind": "exact_match"},
        {"name": "a", "kind": "exact_match", "config": {"field": "a"}, "version": 3},
        {"name": "a", "kind": "exact_match", "config": "field"},
        {"name": "a\x00", "kind": "exact_match", "config": {"field": "a"}},
        {"name": "a", "kind": "exact_match", "config": {"field": "a\x00"}},
        {"name": "a", "kind": "judge", "config": {}, "judge_program": "nobody"},
        {"name": "a", "kind": "judge", "config": {"prompt_set": "x"}},
        {"name": "a", "kind": "semantic_similarity", "config": {"field": "a"}, "language_model": "\x00"},
        [],
    ],
)
def test_bad_bodies_are_refused(erin: User, body: Any) -> None:
    answer = api_of(erin).post(METRICS, body, format="json")
    assert (answer.status_code, Metric.objects.count()) == (400, 0)
    assert answer.json()["code"]


def test_kinds_are_described(erin: User, alice: User) -> None:
    assert api_of(alice).get(f"{METRICS}kinds/").status_code == 403
    kinds = {kind["kind"]: kind for kind in api_of(erin).get(f"{METRICS}kinds/").json()}
    assert len(kinds) == 10
    assert "field" in kinds["exact_match"]["config_schema"]["properties"]
    config = kinds["json_field_match"]["example"]
    assert accuracy(erin, kind="json_field_match", config=config).config == config


def test_a_user_sees_no_metric(erin: User, alice: User, api: APIClient) -> None:
    accuracy(erin)
    assert api_of(alice).get(METRICS).json()["results"] == []
    assert api_of(alice).get(f"{METRICS}accuracy/").status_code == 404
    body = {"name": "b", "kind": "exact_match", "config": {"field": "a"}}
    assert api_of(alice).post(METRICS, body, format="json").status_code == 403
    assert api.get(METRICS).status_code == 401


def test_a_metric_is_frozen_over_rest(erin: User, alice: User) -> None:
    row = accuracy(erin)
    assert api_of(alice).post(f"{METRICS}{row.pk}/freeze/").status_code == 404

    first, again = (api_of(erin).post(f"{METRICS}accuracy/freeze/") for _ in range(2))

    assert (first.status_code, first.json()) == (200, again.json())
    assert first.json()["frozen_at"] is not None
    row.refresh_from_db()
    assert row.frozen_at is not None
