"""Compiles for tests: a small labelled dataset, a program that answers, and a worker that works off what is pending."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.db import connection

from datasets.models import Dataset
from datasets.services import create_dataset
from executions.models import Metric
from executions.services.metrics import create_metric
from mlops.models import LanguageModel, User
from optimizations.models import Optimization
from optimizations.services import compile_program
from optimizations.services.working import work_optimizations
from optimizations.types import CompileProgress
from programs.models import Program, Signature
from programs.services import create_program, create_signature, submit_program
from programs.services.modules import ModuleInput
from tests.factories import make_language_model, make_price
from tests.fakes import fields

_numbers = itertools.count(1)
_MESSAGE = re.compile(r"\[\[ ## message ## \]\]\s+(.*?case \d+)")

TOPICS = {
    "card": ["my card is lost", "the card does not work", "where is my new card", "card declined again", "block card"],
    "transfer": [
        "send money abroad",
        "transfer is pending",
        "transfer failed",
        "money did not arrive",
        "cancel transfer",
    ],
    "login": [
        "forgot my password",
        "cannot log in",
        "login code missing",
        "reset my password",
        "log in from new phone",
    ],
}


def examples(number: int, *, offset: int = 0) -> list[dict[str, str]]:
    """Different messages with their intent, all topics in turn."""
    found = []
    for index in range(offset, offset + number):
        intent = list(TOPICS)[index % 3]
        words = TOPICS[intent][index // 3 % 5]
        found.append({"message": f"{words}, case {index}", "intent": intent})
    return found


def make_dataset(actor: User, number: int, *, type: str = "training", offset: int = 0, name: str = "") -> Dataset:
    return create_dataset(
        actor=actor, name=name or f"intents{next(_numbers)}", type=type, examples=examples(number, offset=offset)
    )


def make_metric(actor: User, **fields: Any) -> Metric:
    defaults: dict[str, Any] = {"kind": "exact_match", "config": {"field": "intent"}}
    return create_metric(actor=actor, **{"name": f"right{next(_numbers)}", **defaults, **fields})


def make_program(actor: User, *, is_submitted: bool = True, name: str = "", **fields: Any) -> Program:
    signature: Signature = create_signature(
        actor=actor,
        name=f"intent{next(_numbers)}",
        shorthand="message: str -> intent: Literal['card', 'transfer', 'login']",
        instructions="Say what the customer wants.",
    )
    program = create_program(
        actor=actor,
        name=name or f"triage{next(_numbers)}",
        modules=[ModuleInput(key="classify", signature=signature)],
        **fields,
    )
    return submit_program(actor=actor, program=program) if is_submitted else program


def matcher() -> LanguageModel:
    """The example matcher as default model, free of charge."""
    model = make_language_model(name="builtin/example-matcher-1", is_default=True)
    make_price(model, input_price=0, cached_input_price=0, output_price=0)
    return model


def provided(base_url: str, **options: Any) -> LanguageModel:
    """A priced default model whose calls go to a provider at `base_url`."""
    price = options.pop("price", {})
    defaults = {"name": f"openai/provided-{next(_numbers)}", "api_base": base_url, "max_retries": 0}
    model = make_language_model(**{**defaults, "timeout_s": 5, "deadline_s": 10, "is_default": True, **options})
    if price is not None:
        make_price(model, **price)
    return model


def knowing(share: int = 2) -> Callable[[Mapping[str, Any]], str]:
    """A provider's answer: without demos right for one message of `share`, with demos always."""

    def answer(body: Mapping[str, Any]) -> str:
        messages = body["messages"]
        message = _MESSAGE.findall(str(messages[-1]["content"]))[-1]
        right = next(name for name, texts in TOPICS.items() if any(text in message for text in texts))
        wrong = "login" if right != "login" else "card"
        has_demos = len(messages) > 2
        return fields(intent=right if has_demos or int(message.rpartition(" ")[2]) % share == 0 else wrong)

    return answer


def progress(**used: Any) -> CompileProgress:
    """What an optimizer tells when it begins."""
    nothing: dict[str, Any] = {"done": 0, "total": 9, "candidates": 0, "candidates_total": None, "best_score": None}
    return CompileProgress(phase="starting", **{**nothing, "seconds": 0.0, "seconds_left": None, **used})


def start(actor: User, **options: Any) -> Optimization:
    """A pending compile; whatever is not given is made."""
    return compile_program(
        actor=actor,
        **{
            "program": options.pop("program", None) or make_program(actor),
            "dataset": options.pop("dataset", None) or make_dataset(actor, 12),
            "metric": options.pop("metric", None) or make_metric(actor),
            "optimizer": "labeled_few_shot",
            **options,
        },
    )


def worked(optimization: Optimization) -> Optimization:
    """The optimization after a worker has worked off what is pending."""
    work_optimizations()
    return Optimization.objects.get(pk=optimization.pk)


@contextmanager
def working() -> Iterator[None]:
    """A worker beside the test; ended when nothing is pending."""

    def work() -> None:
        try:
            work_optimizations()
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join(60)
        assert not thread.is_alive()
