"""What each kind of metric does, in words, with a config to begin with: for forms, REST and documentation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from executions.types import MetricKind


@dataclass(frozen=True, slots=True)
class About:
    """A kind of metric for people."""

    description: str
    example: Mapping[str, Any]


ABOUT: Mapping[MetricKind, About] = {
    MetricKind.EXACT_MATCH: About(
        "1 when the output field is the same JSON value as the example expects, else 0.",
        {"field": "intent", "expected": "intent"},
    ),
    MetricKind.NORMALISED_MATCH: About(
        "1 when both texts are the same without case, punctuation, articles and extra spaces (SQuAD), else 0.",
        {"field": "answer"},
    ),
    MetricKind.CONTAINS: About(
        "1 when the output contains the expected text, or all (or any) of a list of texts, else 0.",
        {"field": "reply", "expected": "must_say", "need": "all"},
    ),
    MetricKind.NUMERIC_EQUALITY: About(
        "1 when the last numbers of both are equal within a tolerance, else 0.",
        {"field": "answer", "relative": 0.01},
    ),
    MetricKind.TOKEN_F1: About(
        "F1 of the words that both texts share (SQuAD); with a threshold 1 or 0.",
        {"field": "answer"},
    ),
    MetricKind.SET_F1: About(
        "F1 of two lists as sets; objects may be compared on some of their keys.",
        {"field": "products", "keys": ["sku"]},
    ),
    MetricKind.JSON_FIELD_MATCH: About(
        "Weighted share of several fields that match, each by a kind of its own.",
        {
            "fields": [
                {"field": "total", "kind": "numeric_equality", "weight": 2},
                {"field": "vendor", "kind": "normalised_match"},
            ]
        },
    ),
    MetricKind.SEMANTIC_SIMILARITY: About(
        "Cosine of the embeddings of both texts, negative ones as 0; with a threshold 1 or 0.",
        {"field": "answer", "threshold": 0.8},
    ),
    MetricKind.JUDGE: About(
        "What a program of this installation says, mapped from its scale, truth value or labels onto 0 to 1.",
        {"rubric": "Is the reply polite and correct?", "field": "reply", "expected": "reply", "scale": [1, 5]},
    ),
    MetricKind.CODE: About(
        "What a function says that the settings register (SIGNET_METRICS), in its own range.",
        {"function": "my_metric", "arguments": {}},
    ),
}
