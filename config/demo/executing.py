"""The first half of the main job: a stored program is executed, and what was stored is shown."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any
from uuid import UUID

from config.demo.output import DemoFailed, Page, in_credits, in_usd, pairs, short
from config.sample import texts
from config.sample.loading import USER
from config.sample.programs import ANSWER, INTENTS, TRIAGE, URGENCIES
from config.sample.texts import Message, Question
from datasets.types import DatasetType
from executions.models import Execution
from executions.services.execute import execute_program
from executions.services.process import ExecutionProcess
from executions.types import ExecutionState, Mode
from mlops.models import CreditEntry, User
from mlops.runtime.matcher import DISCLAIMER
from mlops.selectors import default_language_model, unproven_balances
from mlops.services.installation import choose_default_model
from mlops.types import MATCHER_NAME

ASYNCHRONOUS = 20
WAIT_S = 240.0
"""How long the asynchronous executions may take together before the demonstration gives up."""

SHOWN_MESSAGE = 2
QUESTION = "Who does the credit check for instalments?"


@dataclass(frozen=True, slots=True)
class Executing:
    """Steps 1 to 5, on the loop of `here`."""

    page: Page
    here: ExecutionProcess

    def show(self) -> None:
        """Write each step as it is done. Raises `DemoFailed` and what the verbs refuse."""
        self._language_model()
        user = _sample_user()
        messages = texts.messages(DatasetType.TEST)
        done = [self._synchronous(user, messages[SHOWN_MESSAGE])]
        done += self._asynchronous(user, _spread(messages, ASYNCHRONOUS))
        done.append(self._answer(user, _question()))
        self._ledger(user, done)

    def _language_model(self) -> None:
        model, choice = default_language_model(), choose_default_model()
        reason = choice.reason if choice.name == model.name else "it is set as the default"
        self.page.title(f"1. Language model: {model}, because {reason}")
        if model.name == MATCHER_NAME:
            self.page.line(DISCLAIMER)

    def _synchronous(self, user: User, message: Message) -> Execution:
        reference = f"{TRIAGE}@production"
        self.page.title(f"2. One message, synchronously: {reference}")
        began = time.perf_counter()
        started = execute_program(actor=user, program=reference, input={"message": message.message})
        took_ms = (time.perf_counter() - began) * 1e3
        execution = _completed(started.pk, Mode.SYNC)
        _check_triage(execution)
        self.page.line(f"message: {short(message.message)}")
        self.page.line(f"output:  {pairs(execution.output)} (a person said: {message.intent}, {message.urgency})")
        self.page.line(
            f"stored:  execution {execution.pk}, {took_ms:.0f} ms with everything, building the program included"
        )
        self._trace(execution)
        self._usage(execution)
        return execution

    def _asynchronous(self, user: User, messages: Sequence[Message]) -> list[Execution]:
        self.page.title(f"3. {len(messages)} test messages, asynchronously: stored, taken from the queue, executed")
        began = time.perf_counter()
        ids = [
            execute_program(
                actor=user, program=f"{TRIAGE}@production", input={"message": message.message}, mode=Mode.ASYNC
            ).pk
            for message in messages
        ]
        if not self.here.submit(_ended(self.here, ids)).result():
            raise DemoFailed(f"Not all of {len(ids)} asynchronous executions ended within {WAIT_S:.0f} s.")
        took_s = time.perf_counter() - began
        executions = [_completed(key, Mode.ASYNC) for key in ids]
        for execution in executions:
            _check_triage(execution)
        self._figures(executions, took_s)
        self._accuracy(executions, messages)
        return executions

    def _answer(self, user: User, question: Question) -> Execution:
        self.page.title(f"4. A question to {ANSWER}@production: retrieve, then reason")
        started = execute_program(actor=user, program=f"{ANSWER}@production", input={"question": question.question})
        execution = _completed(started.pk, Mode.SYNC)
        output = execution.output or {}
        if not output.get("answer") or len(output.get("passages") or []) != 3:
            raise DemoFailed(f"Execution {execution.pk} has not an answer and three passages: {short(str(output))}")
        self.page.line(f"question: {question.question}")
        self.page.line(f"answer:   {short(output['answer'])} (the sample says: {question.answer})")
        for passage in output["passages"]:
            self.page.line(f"source:   {short(passage)}")
        self._trace(execution)
        self._usage(execution)
        return execution

    def _ledger(self, user: User, executions: Sequence[Execution]) -> None:
        used = sum(execution.credits_used for execution in executions)
        lines = CreditEntry.objects.filter(subject_id__in=[execution.pk for execution in executions])
        booked = -sum(lines.values_list("amount", flat=True))
        if booked != used:
            raise DemoFailed(
                f"The ledger has {in_credits(booked)} credits for executions that used {in_credits(used)}."
            )
        if any(row == user for row, _balance in unproven_balances()):
            raise DemoFailed(f"The balance of {user} is not the sum of the ledger.")
        user.refresh_from_db(fields=["ml_credits"])
        self.page.title(f"5. Ledger: {user} paid {in_credits(used)} credits for {len(executions)} executions")
        self.page.line(f"balance: {in_credits(user.ml_credits)} credits, the sum of the ledger's lines")

    def _trace(self, execution: Execution) -> None:
        spans = (execution.trace or {}).get("spans", [])
        if not any(span["kind"] == "llm" for span in spans):
            raise DemoFailed(f"The trace of execution {execution.pk} shows no call of a language model.")
        self.page.line(f"trace:   {len(spans)} spans, {execution.duration_ms:.1f} ms")
        for span in spans:
            indent = "  " * _depth(span, spans)
            self.page.line(f"         {indent}{span['kind']} {span['name']}: {span['duration_ms']:.1f} ms")

    def _usage(self, execution: Execution) -> None:
        usage = execution.token_usage
        if not usage.get("total"):
            raise DemoFailed(f"Execution {execution.pk} counted no tokens.")
        self.page.line(f"tokens:  {usage['total']} ({usage['input']} in, {usage['output']} out)")
        charged = f"{in_credits(execution.credits_used)} credits to {execution.user}"
        self.page.line(f"cost:    {in_usd(execution.cost)} to the provider, {charged}")

    def _figures(self, executions: Sequence[Execution], took_s: float) -> None:
        durations = [execution.duration_ms or 0.0 for execution in executions]
        places = sorted({execution.leased_by for execution in executions})
        self.page.line(f"completed: {len(executions)} of {len(executions)} in {took_s:.2f} s, by {', '.join(places)}")
        self.page.line(f"duration:  {median(durations):.1f} ms median, {max(durations):.1f} ms at most")

    def _accuracy(self, executions: Sequence[Execution], messages: Sequence[Message]) -> None:
        pairs = list(zip(executions, messages, strict=True))
        right = sum((execution.output or {})["intent"] == message.intent for execution, message in pairs)
        training = Counter(message.intent for message in texts.messages(DatasetType.TRAINING))
        usual = training.most_common(1)[0][0]
        by_chance = sum(message.intent == usual for message in messages)
        self.page.line(f"intent:    right in {_share(right, len(messages))}")
        self.page.line(f"           always saying {usual!r} would be right in {_share(by_chance, len(messages))}")


async def _ended(here: ExecutionProcess, ids: Sequence[UUID]) -> bool:
    return all(await asyncio.gather(*(here.watchers.ended(key, WAIT_S) for key in ids)))


def _completed(key: UUID, mode: Mode) -> Execution:
    """The row as it was stored, which has to be completed."""
    execution: Execution = Execution.objects.select_related("user").get(pk=key)
    if execution.state != ExecutionState.COMPLETED:
        reason = f"{execution.error_code} {execution.error_message}".strip()
        raise DemoFailed(f"Execution {key} is {execution.state}, not completed. {reason}".rstrip())
    if execution.mode != mode or execution.attempt != 1 or execution.finished_at is None:
        raise DemoFailed(f"Execution {key} was stored in mode {execution.mode} after {execution.attempt} attempts.")
    return execution


def _check_triage(execution: Execution) -> None:
    output = execution.output or {}
    if output.get("intent") not in INTENTS or output.get("urgency") not in URGENCIES:
        raise DemoFailed(f"Execution {execution.pk} has no intent and urgency of the signature: {short(str(output))}")


def _sample_user() -> User:
    user: User | None = User.objects.filter(username=USER).first()
    if user is None:
        raise DemoFailed(f"There is no user {USER}. Load the sample first: manage.py load_sample")
    return user


def _question() -> Question:
    return next(question for question in texts.questions() if question.question == QUESTION)


def _spread(messages: Sequence[Message], count: int) -> Sequence[Message]:
    """`count` of the messages at equal distances, so that nobody has picked them."""
    return messages[:: len(messages) // count][:count]


def _depth(span: dict[str, Any], spans: Sequence[dict[str, Any]]) -> int:
    parents = {other["id"]: other["parent"] for other in spans}
    depth, parent = 0, span["parent"]
    while parent is not None:
        depth, parent = depth + 1, parents.get(parent)
    return depth


def _share(count: int, total: int) -> str:
    return f"{count} of {total} ({100 * count / total:.0f} %)"
