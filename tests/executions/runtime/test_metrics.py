"""Metrics that compare: values, the words of their feedback, and what they refuse to score."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from executions.runtime.metrics import UNIT, MetricFailed, MetricPorts, MetricSpec, Score, Scorer, scorer
from executions.types import MetricKind
from mlops.errors import Invalid

PORTS = MetricPorts()


def made(kind: str, **config: Any) -> Scorer:
    return scorer(MetricSpec("mine", MetricKind(kind), config), PORTS)


def scored(metric: Scorer, expected: Any, given: Any) -> Score:
    return metric.score({"question": "why", "answer": expected}, {"answer": given})


def value(kind: str, expected: Any, given: Any, **config: Any) -> float:
    return scored(made(kind, field="answer", **config), expected, given).value


@pytest.mark.parametrize(
    ("expected", "given", "score"),
    [
        ("refund_status", "refund_status", 1),
        ("refund_status", "Refund_status", 0),
        ("a", " a", 0),
        (1, 1.0, 1),
        (1, True, 0),
        (True, True, 1),
        ("1", 1, 0),
        (None, None, 1),
        (["a", {"b": 1}], ["a", {"b": 1.0}], 1),
        (["a", "b"], ["b", "a"], 0),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, 1),
        ({"a": 1}, {"a": 1, "b": None}, 0),
        ("x", None, 0),
    ],
)
def test_exact_match(expected: Any, given: Any, score: float) -> None:
    assert value("exact_match", expected, given) == score


def test_feedback_names_what_was_expected_and_what_came() -> None:
    metric = made("exact_match", field="intent", expected="label")
    example = {"message": "Where is my money?", "label": "refund_status"}
    wrong = metric.score(example, {"intent": "return_request", "reasoning": "..."})
    assert wrong == Score(0.0, "Expected intent 'refund_status', got 'return_request'.")
    right = metric.score(example, {"intent": "refund_status"})
    assert right == Score(1.0, "Correct: expected intent 'refund_status', got 'refund_status'.")
    assert metric.score(example, {"intent": None}).feedback == "Expected intent 'refund_status', got nothing."
    assert (metric.range, metric.expected_field) == (UNIT, "label")


@pytest.mark.parametrize(
    ("expected", "given", "score"),
    [
        ("The Eiffel Tower", "eiffel tower!", 1),
        ("an  apple", "Apple.", 1),
        (
            "\N{FULLWIDTH LATIN CAPITAL LETTER A}BC \N{LEFT DOUBLE QUOTATION MARK}x\N{RIGHT DOUBLE QUOTATION MARK}",
            "abc x",
            1,
        ),
        ("Stra\N{LATIN SMALL LETTER SHARP S}e", "STRASSE", 1),
        ("theatre", "atre", 0),
        ("U.S.A.", "usa", 1),
        ("5%", "5", 1),
        (5, "5", 1),
        (True, "true", 1),
        ("the", "a", 1),
        ("yes", None, 0),
        ("the", None, 0),
    ],
)
def test_normalised_match_is_the_form_of_squad_after_nfkc(expected: Any, given: Any, score: float) -> None:
    assert value("normalised_match", expected, given) == score


def test_articles_may_be_kept() -> None:
    assert value("normalised_match", "die Hard", "the die hard", keep_articles=True) == 0
    assert value("normalised_match", "die Hard", "the die hard") == 1


@pytest.mark.parametrize(
    ("expected", "given", "config", "score"),
    [
        ("refund", "Your REFUND is on its way", {}, 1),
        ("refund", "Your REFUND is on its way", {"case_sensitive": True}, 0),
        ("on  its way", "on its\nway", {}, 1),
        (["refund", "Monday"], "Your refund comes on Monday", {}, 1),
        (["refund", "Monday"], "Your refund comes on Tuesday", {}, 0),
        (["refund", "Monday"], "Your refund comes on Tuesday", {"need": "any"}, 1),
        (42, "It is 42.", {}, 1),
        ("x", None, {}, 0),
    ],
)
def test_contains(expected: Any, given: Any, config: dict[str, Any], score: float) -> None:
    assert value("contains", expected, given, **config) == score


def test_contains_says_what_is_missing() -> None:
    said = scored(made("contains", field="answer"), ["refund", "Monday"], "a refund").feedback
    assert said == "Expected answer to contain all of [\"refund\", \"Monday\"], got 'a refund'. Missing: 'Monday'."


@pytest.mark.parametrize(
    ("expected", "given", "config", "score"),
    [
        ("#### 1,234", "So she has 1,234 apples.", {}, 1),
        (1234, "First 7, then 1,234", {}, 1),
        (42, "The answer is 42.", {}, 1),
        (42, "gpt-4 says 41 or 42", {}, 1),
        (4, "3-4", {}, 1),
        (-4, "minus: -4", {}, 1),
        (-4, "\N{MINUS SIGN}4", {}, 1),
        (0.5, ".5", {}, 1),
        (18, "$18.00", {}, 1),
        (1e21, "1000000000000000000000", {}, 1),
        (3, 3.0000001, {}, 0),
        (3, 3.01, {"absolute": 0.02}, 1),
        (1000, 1009, {"relative": 0.01}, 1),
        (1000, 1011, {"relative": 0.01}, 0),
        ("1.234,5", "1.234,5 Euro", {"decimal_comma": True}, 1),
        (1234.5, "1.234,5 Euro", {"decimal_comma": True}, 1),
        (42, "no idea", {}, 0),
        (42, None, {}, 0),
        (1, True, {}, 0),
        (10**40, 10**40 + 1, {"absolute": 0, "relative": 0}, 0),
        (1, "9" * 5000, {}, 0),
    ],
)
def test_numeric_equality(expected: Any, given: Any, config: dict[str, Any], score: float) -> None:
    assert value("numeric_equality", expected, given, **config) == score


def test_numbers_in_feedback() -> None:
    metric = made("numeric_equality", field="answer")
    assert scored(metric, "#### 42", "It is 41").feedback == "Expected answer 42, got 41."
    assert scored(metric, 42, "no idea").feedback == "Expected answer 42, got no number in 'no idea'."
    with pytest.raises(MetricFailed, match="has no number in 'answer': 'none'"):
        scored(metric, "none", "1")


@pytest.mark.parametrize(
    ("expected", "given", "f1"),
    [
        ("the cat sat", "cat sat", 1.0),
        ("cat sat down", "the cat", 2 * 1 * (1 / 3) / (1 + 1 / 3)),
        ("a a b b", "b b b", 2 * (2 / 3) * 1 / (2 / 3 + 1)),
        ("x", "y", 0.0),
        ("the", "a", 1.0),
        ("the", "word", 0.0),
        ("word", None, 0.0),
    ],
)
def test_token_f1_counts_as_squad_does(expected: str, given: Any, f1: float) -> None:
    assert value("token_f1", expected, given) == pytest.approx(f1)


def test_token_f1_at_a_threshold_is_right_or_wrong() -> None:
    assert value("token_f1", "cat sat down", "the cat", threshold=0.5) == 1
    assert value("token_f1", "cat sat down", "the cat", threshold=0.51) == 0
    said = scored(made("token_f1", field="answer"), "cat sat down", "the cat").feedback
    assert said == "Expected answer 'cat sat down', got 'the cat'. Token F1 0.50 (precision 1.00, recall 0.33)."


@pytest.mark.parametrize(
    ("expected", "given", "config", "f1"),
    [
        (["a", "b"], ["b", "a", "a"], {}, 1.0),
        (["a", "b"], ["a", "c", "d"], {}, 2 * 1 / 5),
        ([], [], {}, 1.0),
        ([], ["a"], {}, 0.0),
        (["a"], [], {}, 0.0),
        (["a"], None, {}, 0.0),
        ([], None, {}, 1.0),
        (["The Cat"], ["cat"], {"normalise": True}, 1.0),
        ([1, 2], [1.0, 2.0], {}, 1.0),
        ([1], [True], {}, 0.0),
        ([{"id": 1, "note": "x"}], [{"id": 1, "note": "y"}], {"keys": ["id"]}, 1.0),
        ([{"id": 1, "note": "x"}], [{"id": 1, "note": "y"}], {}, 0.0),
        (["a", "b"], ["a"], {"threshold": 0.6}, 1.0),
    ],
)
def test_set_f1(expected: Any, given: Any, config: dict[str, Any], f1: float) -> None:
    assert value("set_f1", expected, given, **config) == pytest.approx(f1)


def test_set_f1_names_what_is_missing_and_what_is_too_much() -> None:
    said = scored(made("set_f1", field="answer"), ["a", "b"], ["a", "c"]).feedback
    assert said == 'Expected answer ["a", "b"], got ["a", "c"]. Missing: ["b"]. Not expected: ["c"]. F1 0.50.'
    with pytest.raises(MetricFailed, match="The output has no list in 'answer': 'a, b'"):
        scored(made("set_f1", field="answer"), ["a"], "a, b")


def test_fields_of_json_are_weighed() -> None:
    metric = made(
        "json_field_match",
        fields=[
            {"field": "invoice.total", "expected": "total", "kind": "numeric_equality", "weight": 3},
            {"field": "invoice.vendor", "expected": "vendor", "kind": "normalised_match"},
            {"field": "tags", "kind": "set_f1"},
        ],
    )
    example = {"total": 12.5, "vendor": "ACME, Inc.", "tags": ["a", "b"]}
    right = {"invoice": {"total": "12.50", "vendor": "acme inc"}, "tags": ["b", "a"]}
    assert metric.score(example, right).value == 1
    wrong = {"invoice": {"total": 12, "vendor": "acme inc"}, "tags": ["a"]}
    score = metric.score(example, wrong)
    assert score.value == pytest.approx((3 * 0 + 1 + 2 / 3) / 5)
    assert "1 of 3 fields are correct" in score.feedback
    assert "Expected invoice.total 12.5, got 12." in score.feedback
    assert 'Missing: ["b"]' in score.feedback
    assert "ACME" not in score.feedback
    assert metric.score(example, {"invoice": None, "tags": None}).value == 0


def test_of_several_accepted_answers_the_best_counts() -> None:
    metric = made("token_f1", field="answer", any_of=True)
    score = scored(metric, ["Paris", "the city of Paris"], "city of paris")
    assert score.value == 1
    assert scored(metric, ["Rome", "Milan"], "Paris").feedback == (
        'Expected answer one of ["Rome", "Milan"], got \'Paris\'.'
    )
    assert metric.expected_field is None
    broken: Any
    for broken in ([], "Paris"):
        with pytest.raises(MetricFailed, match="no list of accepted answers"):
            scored(metric, broken, "Paris")


@pytest.mark.parametrize(
    "kind", ["exact_match", "normalised_match", "contains", "numeric_equality", "token_f1", "set_f1"]
)
def test_what_cannot_be_scored_is_said_and_never_zero(kind: str) -> None:
    metric = made(kind, field="answer")
    with pytest.raises(MetricFailed, match=r"The example has no field 'answer'; it has question\."):
        metric.score({"question": "why"}, {"answer": "x"})
    with pytest.raises(MetricFailed, match=r"The output has no field 'answer'; it has intent, reasoning\."):
        metric.score({"answer": 1 if kind == "numeric_equality" else ["x"]}, {"reasoning": "", "intent": "x"})
    if kind != "exact_match":
        with pytest.raises(MetricFailed, match=r"The example has no value in 'answer'\."):
            metric.score({"answer": None}, {"answer": "x"})


def test_an_empty_expectation_is_contained_in_everything_and_therefore_refused() -> None:
    for empty in ("", " ", [], ["a", ""]):
        with pytest.raises(MetricFailed, match="empty text in 'answer'"):
            scored(made("contains", field="answer"), empty, "x")


def test_the_asynchronous_form_says_the_same() -> None:
    metric = made("exact_match", field="answer")
    assert asyncio.run(metric.ascore({"answer": "x"}, {"answer": "y"})) == scored(metric, "x", "y")


def test_feedback_is_bounded_and_can_be_stored() -> None:
    score = scored(made("exact_match", field="answer"), "x" * 50_000, "y\x00\ud800" * 20_000)
    assert len(score.feedback) <= 10_000
    assert "\x00" not in score.feedback
    json.dumps(score.feedback).encode()


@pytest.mark.parametrize(
    ("kind", "config", "fields"),
    [
        ("exact_match", {}, ["config.field"]),
        ("exact_match", {"field": "a", "colour": 1}, ["config.colour"]),
        ("exact_match", {"field": ""}, ["config.field"]),
        ("exact_match", {"field": "a."}, ["config.field"]),
        ("exact_match", {"field": 1, "any_of": "yes"}, ["config.field", "config.any_of"]),
        ("contains", {"field": "a", "need": "most"}, ["config.need"]),
        ("numeric_equality", {"field": "a", "absolute": -1}, ["config.absolute"]),
        ("numeric_equality", {"field": "a", "relative": float("nan")}, ["config.relative"]),
        ("token_f1", {"field": "a", "threshold": 2}, ["config.threshold"]),
        ("set_f1", {"field": "a", "keys": [1]}, ["config.keys.0"]),
        ("json_field_match", {"fields": []}, ["config.fields"]),
        ("json_field_match", {"fields": [{"field": "a", "weight": 0}, {"kind": "x"}]},
         ["config.fields.0.weight", "config.fields.1.field", "config.fields.1.kind"]),
        ("json_field_match", {"fields": [{"field": "a", "weight": float("inf")}]}, ["config.fields.0.weight"]),
        ("semantic_similarity", {"field": "a"}, ["language_model"]),
        ("judge", {}, ["judge_program"]),
        ("judge", {"scale": [5, 1]}, ["config.scale"]),
        ("judge", {"scale": [1]}, ["config.scale"]),
        ("code", {"function": "mine"}, ["config.function"]),
        ("code", {"function": "mine", "arguments": {"x": "\x00"}}, ["config.arguments.x"]),
    ],
)  # fmt: skip
def test_a_broken_config_is_refused_with_every_problem(kind: str, config: dict[str, Any], fields: list[str]) -> None:
    with pytest.raises(Invalid) as refusal:
        made(kind, **config)
    assert refusal.value.code == "metric_invalid"
    assert [problem.field for problem in refusal.value.problems] == fields
