"""What a worker takes, stores and gives back. Each function is one short transaction.

Whoever changes an evaluation locks its row first and its shards after it, so that workers, cancellations and ends never
wait for each other in a circle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from datasets.models import Example
from executions.models import Evaluation, EvaluationItem, EvaluationShard
from executions.runtime.evaluate import ItemResult, Spending
from executions.services import bulk
from executions.services.evaluations.allowance import Total
from executions.types import FinishReason, RunError
from mlops.errors import DomainError
from mlops.services import jobs
from mlops.services.watching import announce
from mlops.types import JobState, TokenUsage

WORKED_UNTIL = "worked_until"
"""The key in an evaluation's progress: until when its working time is counted, in seconds since 1970."""

COUNTERS = (
    "done", "errors", "calls", "total_tokens", "token_usage", "cost", "unpriced", "seconds", "progress", "revision",
)  # fmt: skip


class Ending(Enum):
    """Why a worker stops before all of an evaluation is done."""

    WIND_DOWN = "wind_down"
    """Nothing more is started; what is under way is finished."""
    CANCEL = "cancel"
    HAND_BACK = "hand_back"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Task:
    """One example to be scored."""

    shard: UUID
    position: int
    example: UUID
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Taken:
    """A shard whose lease this process holds, and those of its examples that have no item yet."""

    shard: EvaluationShard
    tasks: Sequence[Task]


@dataclass(frozen=True, slots=True)
class Done:
    """A scored example that is to be stored."""

    task: Task
    result: ItemResult
    at: datetime


@dataclass(frozen=True, slots=True)
class Batch:
    """What one worker stores at a time. `cut` was used by what did not get to an end; `whole` are the shards of which
    nothing is left; `ending` says how the worker leaves the other ones, if it does, and `reason` why it winds down."""

    evaluation: UUID
    tokens: Mapping[UUID, UUID | None]
    done: Sequence[Done]
    cut: Spending
    whole: frozenset[UUID]
    worked_s: float
    ending: Ending | None = None
    reason: FinishReason = FinishReason.BUDGET


@dataclass(frozen=True, slots=True)
class Standing:
    """How an evaluation stands: which shards are still held, what all workers have stored, why to stop."""

    held: frozenset[UUID]
    total: Total
    ending: Ending | None


def take(evaluation: Evaluation) -> Taken | None:
    """The next pending shard of `evaluation` as it was read, or None. It runs from the first one on."""
    shard = jobs.claim(EvaluationShard.objects.filter(evaluation_id=evaluation.pk))
    if shard is None:
        return None
    if evaluation.state == JobState.PENDING:
        _begin(evaluation)
    within = (shard.first, shard.last)
    scored: set[int] = set()
    if shard.attempt > 1:
        items = EvaluationItem.objects.filter(evaluation_id=evaluation.pk, position__range=within)
        scored.update(items.values_list("position", flat=True))
    examples = Example.objects.filter(dataset_id=evaluation.dataset_id, position__range=within).order_by("position")
    rows = examples.values_list("position", "pk", "data")
    return Taken(shard, [Task(shard.pk, *row) for row in rows if row[0] not in scored])


def _begin(evaluation: Evaluation) -> None:
    """Start it, unless another worker has."""
    with transaction.atomic():
        row: Evaluation = Evaluation.objects.select_for_update(of=("self",)).get(pk=evaluation.pk)
        if row.state == JobState.PENDING:
            row.start()
            row.save(update_fields=["state", "started_at", "revision"])
            announce(row)


def store(batch: Batch) -> Standing:
    """Store what is done of the shards that are still held; counters move with it. Repeating it changes nothing."""
    with transaction.atomic():
        evaluation = Evaluation.objects.select_for_update(of=("self",)).get(pk=batch.evaluation)
        if evaluation.is_terminal:
            return Standing(frozenset(), total_of(evaluation), Ending.LOST)
        shards = _held(batch.tokens, is_locked=True)
        fresh, vain = _told_apart(batch, shards)
        bulk.insert([_item(batch.evaluation, done) for done in fresh], "position", "")
        _leave(batch, shards)
        if batch.ending is Ending.WIND_DOWN:
            _start_no_more(evaluation, batch.reason)
        used = sum((done.result.spent for done in (*fresh, *vain)), batch.cut)
        _count(evaluation, fresh, used, batch.worked_s)
        evaluation.token_usage = _with_usage(evaluation.token_usage, fresh)
        evaluation.save(update_fields=COUNTERS)
        announce(evaluation)
    gone = batch.whole if batch.ending is None else frozenset(shards)
    return Standing(frozenset(shards) - gone, total_of(evaluation), _ending_of(evaluation))


def look(evaluation_id: UUID, tokens: Mapping[UUID, UUID | None], *, is_renewed: bool) -> Standing:
    """How the evaluation stands; leases that are still held are renewed if they are to be."""
    evaluation = Evaluation.objects.get(pk=evaluation_id)
    held = frozenset(_held(tokens))
    if is_renewed and held:
        until = timezone.now() + timedelta(seconds=settings.SIGNET_LEASE_SECONDS)
        mine = EvaluationShard.objects.filter(pk__in=held, state=JobState.RUNNING, lease_token__in=tokens.values())
        mine.update(lease_expires_at=until)
    return Standing(held, total_of(evaluation), _ending_of(evaluation))


def give_up(evaluation_id: UUID, error: DomainError | RunError) -> None:
    """The evaluation cannot be done: nothing more of it is started, by whatever worker, and it fails in the end."""
    with transaction.atomic():
        row = Evaluation.objects.select_for_update(of=("self",)).get(pk=evaluation_id)
        if row.is_terminal:
            return
        row.error_code, row.error_message = error.code, error.message
        row.save(update_fields=["error_code", "error_message"])
        _start_no_more(row, FinishReason.FAILED)


def cancel_rest(evaluation_id: UUID) -> None:
    """The end of the evaluation has begun: what lost workers gave back since is not started again."""
    with transaction.atomic():
        cancel_pending_shards(Evaluation.objects.select_for_update(of=("self",)).get(pk=evaluation_id))


def _start_no_more(evaluation: Evaluation, reason: FinishReason) -> None:
    """By whatever worker; the first reason stands."""
    if not evaluation.finish_reason:
        evaluation.finish_reason = reason.value
        evaluation.save(update_fields=["finish_reason"])
    cancel_pending_shards(evaluation)


def cancel_pending_shards(evaluation: Evaluation) -> None:
    """In the caller's transaction, which holds the evaluation's lock."""
    for shard in evaluation.shards.select_for_update(of=("self",)).filter(state=JobState.PENDING).order_by("id"):
        shard.cancel()
        shard.save(update_fields=["state", "finished_at", "revision"])


def _held(tokens: Mapping[UUID, UUID | None], *, is_locked: bool = False) -> dict[UUID, EvaluationShard]:
    rows = EvaluationShard.objects.filter(pk__in=list(tokens), state=JobState.RUNNING).order_by("id")
    if is_locked:
        rows = rows.select_for_update(of=("self",))
    return {row.pk: row for row in rows if row.lease_token == tokens[row.pk]}


def _told_apart(batch: Batch, shards: Mapping[UUID, EvaluationShard]) -> tuple[list[Done], list[Done]]:
    """What is to be stored, and what was done in vain since its shard was lost. What a commit has stored whose answer
    got lost is neither."""
    positions = [done.task.position for done in batch.done]
    items = EvaluationItem.objects.filter(evaluation_id=batch.evaluation, position__in=positions)
    known = set(items.values_list("position", flat=True)) if positions else set()
    new = [done for done in batch.done if done.task.position not in known]
    return [done for done in new if done.task.shard in shards], [done for done in new if done.task.shard not in shards]


def _item(evaluation_id: UUID, done: Done) -> EvaluationItem:
    task, result = done.task, done.result
    error = result.error
    return EvaluationItem(
        evaluation_id=evaluation_id,
        example_id=task.example,
        position=task.position,
        output=None if result.output is None else dict(result.output),
        scores=dict(result.scores),
        feedback=dict(result.feedback),
        error_code="" if error is None else error.code[:64],
        error_message="" if error is None else error.message,
        error_module="" if error is None else error.module,
        calls=result.spent.calls,
        token_usage=dict(result.token_usage),
        total_tokens=result.spent.tokens,
        cost=result.cost,
        duration_ms=result.duration_ms,
        trace=None if result.trace is None else dict(result.trace),
        created_at=done.at,
    )


def _leave(batch: Batch, shards: Mapping[UUID, EvaluationShard]) -> None:
    """End the shards that are done, leave the others as the worker's ending wants it, and say that all get on."""
    for key, row in shards.items():
        if key in batch.whole or batch.ending is Ending.WIND_DOWN:
            row.complete()
        elif batch.ending is Ending.CANCEL:
            row.cancel()
        elif batch.ending is Ending.HAND_BACK:
            row.hand_back()
        elif not batch.done or row.idle_attempts == 0:
            continue
        row.idle_attempts = 0
        row.save()


def _count(evaluation: Evaluation, fresh: Sequence[Done], used: Spending, worked_s: float) -> None:
    """Move the counters of a locked evaluation."""
    evaluation.done += len(fresh)
    evaluation.errors += sum(done.result.error is not None for done in fresh)
    evaluation.calls += used.calls
    evaluation.total_tokens += used.tokens
    evaluation.cost += used.cost
    evaluation.unpriced += used.unpriced
    evaluation.seconds += _worked(evaluation, worked_s)
    evaluation.revision += 1


def _with_usage(known: Mapping[str, Any], fresh: Sequence[Done]) -> dict[str, Any]:
    """Tokens by model, those of `fresh` added."""
    by_model = {name: TokenUsage.from_json(lines) for name, lines in known.get("by_model", {}).items()}
    for done in fresh:
        for name, lines in done.result.token_usage.get("by_model", {}).items():
            by_model[name] = by_model.get(name, TokenUsage()) + TokenUsage.from_json(lines)
    whole = sum(by_model.values(), TokenUsage())
    return {**whole.as_json(), "by_model": {name: used.as_json() for name, used in by_model.items()}}


def _worked(evaluation: Evaluation, worked_s: float) -> float:
    """How much longer it was worked on: time in which several workers did counts once."""
    now = timezone.now().timestamp()
    since = evaluation.progress.get(WORKED_UNTIL)
    evaluation.progress = {**evaluation.progress, WORKED_UNTIL: now}
    return worked_s if since is None else max(min(worked_s, now - since), 0.0)


def total_of(evaluation: Evaluation) -> Total:
    spending = Spending(evaluation.calls, evaluation.total_tokens, evaluation.cost, evaluation.unpriced)
    return Total(spending, evaluation.seconds)


def _ending_of(evaluation: Evaluation) -> Ending | None:
    if evaluation.is_terminal:
        return Ending.LOST
    if evaluation.cancel_requested_at is not None:
        return Ending.CANCEL
    return Ending.WIND_DOWN if evaluation.finish_reason else None
