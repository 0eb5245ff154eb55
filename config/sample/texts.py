"""The texts of the sample workspace, read from the files beside this module."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datasets.types import DatasetType, PassageSpec

FOLDER = Path(__file__).parent

FILES = {
    DatasetType.TRAINING: "messages_train",
    DatasetType.VALIDATION: "messages_validation",
    DatasetType.TEST: "messages_test",
}


@dataclass(frozen=True, slots=True)
class Message:
    """What a customer wrote, with the intent and the urgency that a person gave it."""

    message: str
    intent: str
    urgency: str

    def as_example(self) -> dict[str, str]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Question:
    """A question that the knowledge base answers, with the answer and the title of the passage that holds it."""

    question: str
    answer: str
    title: str


def messages(split: DatasetType) -> list[Message]:
    """The messages of one split, in the order of the file."""
    return [Message(**row) for row in _rows(FILES[split])]


def passages() -> list[PassageSpec]:
    """The knowledge base."""
    return [PassageSpec(**row) for row in _rows("knowledge_base")]


def questions() -> list[Question]:
    """Questions about the knowledge base."""
    return [Question(**row) for row in _rows("questions")]


def _rows(name: str) -> Iterator[dict[str, Any]]:
    with (FOLDER / f"{name}.jsonl").open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)
