"""One chat request, understood: which program is to be executed with what, and in which form it is to answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from executions.api.openai.forms import Meaning, meaning_of
from executions.api.openai.requests import ChatRequest, model_not_found
from executions.services.execute import Request
from executions.services.interfaces import interface_of
from executions.types import Source
from mlops.errors import Invalid, NotFound
from mlops.models import User
from programs.models import Program


@dataclass(frozen=True, slots=True)
class Turn:
    """`program` is the version that the model's id meant when it was asked; `began` is of `time.perf_counter`."""

    actor: User
    program: Program
    meaning: Meaning
    request: Request
    has_usage: bool
    began: float


async def turn_of(actor: User, asked: ChatRequest, idempotency_key: str, began: float) -> Turn:
    """Runs on the process's event loop. Raises `DomainError`: who may not execute it, what it cannot be asked."""
    try:
        program = await interface_of(actor, asked.program)
    except NotFound:
        raise model_not_found() from None
    meaning = meaning_of(asked, program)
    request = Request(asked.program, meaning.input, source=Source.REST, idempotency_key=idempotency_key)
    return Turn(actor, program.program, meaning, request, asked.has_usage, began)


@contextmanager
def named_as_sent(meaning: Meaning) -> Iterator[None]:
    """Let what is refused of the program's input name the place in the chat request that it came from."""
    try:
        yield
    except NotFound:
        raise model_not_found() from None  # it went out of production since it was looked up
    except Invalid as error:
        if error.code == "invalid_input":
            error.problems = tuple(replace(one, field=meaning.told_as_sent(one.field)) for one in error.problems)
        raise
