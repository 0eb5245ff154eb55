"""Evaluations of a program that tells even numbers from odd ones, with a provider on loopback."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any

from datasets.models import Dataset
from datasets.services import create_dataset
from executions.models import Evaluation, Metric
from executions.services import create_metric, evaluate_program
from mlops.models import User
from programs.models import Program
from tests.fakes import fields
from tests.provider import Provider

_numbers = itertools.count(1)
_NUMBER = re.compile(r"number (\d+)")

TOKENS_OF_ONE = 100


def number_of(body: Mapping[str, Any]) -> int:
    """Which number a request asks about."""
    return int(_NUMBER.findall(body["messages"][-1]["content"])[-1])


def answer_of(number: int) -> str:
    """What the program says: wrong for every tenth number."""
    is_even = number % 2 == 0
    return "even" if is_even != (number % 10 == 3) else "odd"


def tell(provider: Provider) -> None:
    """Have the provider answer for every number."""
    provider.answer(lambda body: fields(answer=answer_of(number_of(body))))


def asked(provider: Provider) -> list[int]:
    """The numbers that the provider was asked about, in its order."""
    return [number_of(request.body) for request in provider.requests]


def numbers(actor: User, size: int, **options: Any) -> Dataset:
    examples = [
        {"question": f"Is number {number} even?", "answer": "odd" if number % 2 else "even"} for number in range(size)
    ]
    return create_dataset(
        actor=actor, **{"name": f"numbers{next(_numbers)}", "type": "test", "examples": examples, **options}
    )


def right_answer(actor: User, **options: Any) -> Metric:
    name = f"right{next(_numbers)}"
    return create_metric(actor=actor, **{"name": name, "kind": "exact_match", "config": {"field": "answer"}, **options})


def evaluate(actor: User, program: Program, size: int = 40, **options: Any) -> Evaluation:
    """A pending evaluation on `size` numbers."""
    if "dataset" not in options:
        options["dataset"] = numbers(actor, size)
    if "metrics" not in options:
        options["metrics"] = [right_answer(actor)]
    return evaluate_program(actor=actor, program=program, **options)
