"""Accuracy on the public banking15 data, which lies beside the checkout and is not part of it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any, Literal

import dspy
import pytest

from tests.mlops.runtime.matching import ADAPTERS, matching, predictor

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "banking15"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data/banking15 beside the checkout")


def rows(split: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (DATA / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]


def accuracy(annotation: Any, demos: int, adapter: Any) -> float:
    train, test = rows("train"), rows("test")
    intents = tuple(sorted({row["intent"] for row in train}))
    fields: dict[str, Any] = {
        "text": (str, dspy.InputField()),
        "intent": (annotation or Literal[intents], dspy.OutputField()),
    }
    signature = dspy.Signature(fields, "Classify the intent of a customer message.")
    program = predictor(signature, random.Random(0).sample(train, demos))  # noqa: S311  # repeatable on purpose
    with matching(adapter):
        return sum(program(text=row["text"]).intent == row["intent"] for row in test) / len(test)


@pytest.mark.parametrize(("demos", "expected"), [(0, 0.71), (64, 0.80), (300, 0.88)])
@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: type(adapter).__name__)
def test_classification(demos: int, expected: float, adapter: Any) -> None:
    assert accuracy(None, demos, adapter) >= expected


def test_labels_known_from_demos_only() -> None:
    assert accuracy(str, 64, ADAPTERS[0]) >= 0.80
