"""What is said about the fields of a dataset."""

from __future__ import annotations

import json
from typing import Any

import pytest

from datasets.runtime.statistics import MAX_FIELDS, SHOWN_LABELS, Statistics
from datasets.types import digest_of


def described(*examples: dict[str, Any]) -> dict[str, Any]:
    statistics = Statistics()
    for data in examples:
        statistics.add(data, digest_of(data))
    result = statistics.as_json()
    json.dumps(result, allow_nan=False)
    return result


def test_nothing_is_described_as_nothing() -> None:
    assert described() == {"size": 0, "duplicates": 0, "fields": {}}


def test_types_missing_values_and_different_values_are_counted() -> None:
    rows: list[dict[str, Any]] = [
        {"a": 1},
        {"a": 1.0},
        {"a": True},
        {"a": "1"},
        {"a": None},
        {"a": [1]},
        {"a": {"x": 1}},
        {"b": "x"},
    ]
    field = described(*rows)["fields"]["a"]
    types = {"boolean": 1, "integer": 1, "list": 1, "null": 1, "number": 1, "object": 1, "string": 1}
    assert (field["types"], field["count"], field["missing"], field["distinct"]) == (types, 6, 2, 6)


def test_an_example_that_repeats_another_is_a_duplicate() -> None:
    result = described({"a": 1}, {"a": 2}, {"a": 1}, {"a": 1})
    assert (result["size"], result["duplicates"]) == (4, 2)


def test_lengths_of_texts_are_those_of_their_characters() -> None:
    lengths = described(*({"t": "ä" * length} for length in (1, 2, 3, 4, 100)))["fields"]["t"]["lengths"]
    assert (lengths["min"], lengths["median"], lengths["mean"], lengths["max"]) == (1, 3, 22, 100)
    assert lengths["p95"] == pytest.approx(80.8)
    assert sum(lengths["histogram"]["counts"]) == 5
    assert (lengths["histogram"]["counts"][0], lengths["histogram"]["counts"][-1]) == (4, 1)
    assert (lengths["histogram"]["edges"][0], lengths["histogram"]["edges"][-1]) == (1, 100)


def test_numbers_have_their_distribution() -> None:
    numbers = described(*({"n": value} for value in (1, 2, 3, 4)))["fields"]["n"]["numbers"]
    assert (numbers["min"], numbers["max"], numbers["mean"], numbers["median"]) == (1, 4, 2.5, 2.5)
    assert numbers["std"] == pytest.approx(1.118034)
    assert numbers["histogram"]["counts"] == [1, 1, 1, 1]


@pytest.mark.parametrize("value", [10**400, -(10**400), 1.7e308, 5e-324, 0])
def test_no_number_is_too_large(value: float) -> None:
    numbers = described({"n": value}, {"n": -value}, {"n": value})["fields"]["n"]["numbers"]
    assert numbers["min"] <= numbers["max"]


def test_one_value_alone_is_one_bin() -> None:
    histogram = described({"n": 0.5}, {"n": 0.5})["fields"]["n"]["numbers"]["histogram"]
    assert histogram == {"counts": [2], "edges": [0.5, 0.5]} or sum(histogram["counts"]) == 2


def test_values_that_repeat_are_labels_and_the_most_frequent_is_the_baseline() -> None:
    field = described(*({"intent": name} for name in ("pay", "card", "pay", "pay", "card", "block")), {"other": 1})
    intent = field["fields"]["intent"]
    assert intent["majority"] == {"value": "pay", "count": 3, "share": 0.5}
    assert [(row["value"], row["count"]) for row in intent["labels"]] == [("pay", 3), ("card", 2), ("block", 1)]
    assert intent["further_labels"] == 0


def test_texts_that_do_not_repeat_are_no_labels() -> None:
    field = described(*({"text": f"text {number % 60}"} for number in range(100)))["fields"]["text"]
    assert "labels" not in field
    assert "majority" not in field
    assert "labels" not in described({"text": "x" * 201}, {"text": "x" * 201})["fields"]["text"]


def test_the_most_frequent_labels_are_shown_and_the_others_counted() -> None:
    rows = [{"label": number % 60} for number in range(300)] + [{"label": 59}]
    field = described(*rows)["fields"]["label"]
    assert (len(field["labels"]), field["further_labels"], field["majority"]["value"]) == (SHOWN_LABELS, 10, 59)


def test_true_and_one_are_different_labels() -> None:
    field = described({"x": True}, {"x": 1}, {"x": True}, {"x": 1}, {"x": 1})["fields"]["x"]
    assert [(row["value"], row["count"]) for row in field["labels"]] == [(1, 3), (True, 2)]


def test_fields_are_described_up_to_a_limit_and_further_ones_named() -> None:
    result = described({f"field{number:03}": 1 for number in range(MAX_FIELDS + 2)})
    assert len(result["fields"]) == MAX_FIELDS
    assert result["further_fields"] == ["field064", "field065"]
