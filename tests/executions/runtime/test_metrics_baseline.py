"""The majority baseline: what always saying the same scores, by the metric itself."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from executions.runtime.metrics import MetricPorts, MetricSpec, RegisteredMetric, Scorer, majority_baseline, scorer
from executions.runtime.metrics.values import UNIT
from executions.types import MetricKind


def made(kind: str, **config: Any) -> Scorer:
    functions = {"free": RegisteredMetric("free", "", "", UNIT, lambda example, output: 1.0)}
    return scorer(MetricSpec("mine", MetricKind(kind), config), MetricPorts(functions=functions))


def baseline(kind: str, expected: list[Any], **config: Any) -> float | None:
    examples = [{"answer": one, "question": f"{number}?"} for number, one in enumerate(expected)]
    return majority_baseline(made(kind, field="answer", **config), lambda: examples)


@pytest.mark.parametrize(
    ("kind", "expected", "score"),
    [
        ("exact_match", ["b", "a", "b", "c"], 0.5),
        ("exact_match", [1, 1.0, 2], 2 / 3),
        ("exact_match", [["x"], ["x"], {"a": 1}, None, 1], 0.4),
        ("exact_match", [None, None, "x"], 2 / 3),
        ("normalised_match", ["Yes", "yes.", "No", "no", "the yes", "maybe"], 0.5),
        ("numeric_equality", ["1,000", "$1000", 1000, 7], 0.75),
        ("token_f1", ["red car", "red bus", "red bike"], 2 / 3),
        ("contains", ["art", "cart", "dog"], 2 / 3),
        ("contains", [["red", "car"], ["car"], ["dog"]], 2 / 3),
        ("set_f1", [["a", "b"], ["b", "a"], ["a"], ["c"]], (1 + 1 + 2 / 3 + 0) / 4),
    ],
)
def test_the_commonest_answers_are_scored_by_the_metric(kind: str, expected: list[Any], score: float) -> None:
    assert baseline(kind, expected) == pytest.approx(score)


def test_a_threshold_holds_for_the_baseline_too() -> None:
    assert baseline("token_f1", ["red car", "red bus", "red bike"], threshold=0.9) == pytest.approx(1 / 3)


def test_of_several_accepted_answers_each_may_be_the_one_to_say() -> None:
    assert baseline("exact_match", [["a", "b"], ["c", "b"], ["b"], ["d"]], any_of=True) == 0.75


def test_any_of_several_texts_is_enough() -> None:
    assert baseline("contains", [["a1", "b1"], ["c1", "b1"], ["d1"]], need="any") == pytest.approx(2 / 3)


def test_fields_are_answered_together() -> None:
    metric = made(
        "json_field_match", fields=[{"field": "intent"}, {"field": "who.name", "expected": "name", "weight": 3}]
    )
    examples = [
        {"intent": "pay", "name": "Ann"},
        {"intent": "pay", "name": "Ann"},
        {"intent": "pay", "name": "Bob"},
        {"intent": "ask", "name": "Cid"},
    ]
    assert majority_baseline(metric, lambda: examples) == pytest.approx((1 + 1 + 0.25 + 0) / 4)


def test_the_commonest_one_is_found_behind_many_that_are_seldom() -> None:
    assert baseline("exact_match", [*map(str, range(50)), "x", "x"]) == 2 / 52


def test_examples_without_the_expected_field_do_not_count() -> None:
    examples: list[Mapping[str, Any]] = [{"answer": "a"}, {}, {"answer": "b"}, {"answer": "a"}]
    assert majority_baseline(made("exact_match", field="answer"), lambda: examples) == pytest.approx(2 / 3)


def test_of_nothing_there_is_none() -> None:
    assert baseline("exact_match", []) is None
    assert baseline("exact_match", ["no list"], any_of=True) is None


def test_metrics_that_ask_or_are_code_have_none_and_read_one_example_at_most() -> None:
    read: list[int] = []

    def examples() -> Iterator[Mapping[str, Any]]:
        for number in range(5):
            read.append(number)
            yield {"answer": "a"}

    assert majority_baseline(made("code", function="free"), examples) is None
    assert read == [0]


def test_many_long_texts_are_not_kept() -> None:
    def examples() -> Iterator[Mapping[str, Any]]:
        for number in range(200):
            yield {"answer": f"{number} " + "x" * 50_000}

    tracemalloc.start()
    found = majority_baseline(made("exact_match", field="answer"), examples)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == 1 / 200
    assert peak < 3_000_000
