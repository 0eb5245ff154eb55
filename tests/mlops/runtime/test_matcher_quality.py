"""Accuracy on the public banking15 data, which lies beside the checkout and is not part of it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import dspy
import pytest

from mlops.runtime.matcher import ExampleMatcher
from tests.mlops.runtime.matching import ADAPTERS, request_of

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "banking15"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data/banking15 beside the checkout")


def rows(split: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (DATA / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]


def requests(signature: Any, demos: Sequence[dict[str, str]], texts: Sequence[str], adapter: Any) -> Iterator[Any]:
    """DSPy's own request with each of the texts in turn: it is far slower to write a long prompt than to read it."""
    placeholder = "A text that stands nowhere else."
    first = request_of(signature, {"text": placeholder}, demos, adapter=adapter)
    for text in texts:
        question = dspy.lm15.Message.user(first.messages[-1].text.replace(placeholder, text))
        yield replace(first, messages=(*first.messages[:-1], question))


def accuracy(annotation: Any, demos: int, adapter: Any) -> float:
    train, test = rows("train"), rows("test")
    intents = tuple(sorted({row["intent"] for row in train}))
    fields: dict[str, Any] = {
        "text": (str, dspy.InputField()),
        "intent": (annotation or Literal[intents], dspy.OutputField()),
    }
    signature = dspy.Signature(fields, "Classify the intent of a customer message.")
    chosen = random.Random(0).sample(train, demos)
    matcher = ExampleMatcher()
    replies = map(matcher.complete, requests(signature, chosen, [row["text"] for row in test], adapter))
    found: list[str] = [adapter.parse(signature, reply.message.text)["intent"] for reply in replies]
    return sum(intent == row["intent"] for intent, row in zip(found, test, strict=True)) / len(test)


@pytest.mark.parametrize(("demos", "expected"), [(0, 0.71), (64, 0.80), (300, 0.88)])
@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: type(adapter).__name__)
def test_classification(demos: int, expected: float, adapter: Any) -> None:
    assert accuracy(None, demos, adapter) >= expected


def test_labels_known_from_demos_only() -> None:
    assert accuracy(str, 64, ADAPTERS[0]) >= 0.80
