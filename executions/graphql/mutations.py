"""Mutations of executions, metrics, evaluations and repricings."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import graphene

from datasets.graphql.types import DatasetType
from datasets.models import Dataset
from executions import services
from executions.evaluation_representation import comparison
from executions.graphql.inputs import BUDGET_NAMES, ONCE, WorkBudgetInput, budget_of
from executions.graphql.types import EvaluationType, ExecutionType, FeedbackType, MetricType, RepricingType
from executions.models import Evaluation, Execution, Repricing
from executions.representation import with_usd
from executions.selectors import access_metric
from executions.services.cancel import cancel_execution
from executions.services.collecting import collect_examples
from executions.services.evaluations import (
    cancel_evaluation,
    compare_evaluations,
    estimate_evaluation,
    evaluate_program,
)
from executions.services.execute import execute_program
from executions.services.feedback import rate_execution
from executions.services.refund import refund_execution
from executions.services.replay import replay_execution
from executions.services.repricing import apply_repricing, cancel_repricing, reprice
from executions.types import Mode, Source
from mlops.errors import Invalid, named_as_in
from mlops.graphql.scalars import JSON, Decimal, JSONObject, units_of
from mlops.graphql.types import CreditEntryType
from mlops.graphql.verbs import Reference, VerbMutation, by_id
from mlops.models import LanguageModel
from mlops.services.credits import line_key
from mlops.services.idempotency import once
from mlops.types import MICRO_PER_CREDIT
from programs.models import PromptSet
from programs.selectors import access_language_model, access_program

MAX_WAIT_S = 2.0
"""A request of GraphQL holds a thread."""

PROGRAM, DATASET, METRIC = Reference(access_program), by_id(Dataset), Reference(access_metric)
KNOWN_METRIC = Reference(partial(access_metric, action=None))
MODEL = Reference(access_language_model, required=False, description="An id or a name.")
EXECUTION, EVALUATION, REPRICING = by_id(Execution), by_id(Evaluation), by_id(Repricing)

EVALUATED = {
    "program": PROGRAM,
    "dataset": DATASET,
    "metrics": Reference(access_metric, many=True),
    "language_model": MODEL,
    "prompt_set": by_id(PromptSet, required=False),
    "concurrency": graphene.Int(description="Examples at once per worker."),
    "budget": graphene.InputField(WorkBudgetInput),
}
METRIC_FIELDS = {
    "description": graphene.String(),
    "kind": graphene.String(),
    "config": JSONObject(),
    "judge_program": Reference(access_program, required=False),
    "language_model": MODEL,
}
METRIC_ROWS = ("judge_program", "language_model")


class ScoreType(graphene.ObjectType):  # type: ignore[misc]  # graphene has no types
    """What a metric says of one output."""

    class Meta:
        name = "MetricScore"

    value = graphene.Float(required=True)
    feedback = graphene.String(required=True)


def _execute(*, actor: Any, wait_seconds: float = 0.0, **given: Any) -> Execution:
    """In the queue; with `wait_seconds` in this process, and as far as it got within that time."""
    if not 0 <= wait_seconds <= MAX_WAIT_S:
        raise Invalid("out_of_range", f"0 to {MAX_WAIT_S:g} seconds.", field="wait_seconds")
    mode = Mode.SYNC if wait_seconds else Mode.ASYNC
    return execute_program(actor=actor, mode=mode, source=Source.GRAPHQL, wait_s=wait_seconds, **given)


def _replay(*, actor: Any, **given: Any) -> Execution:
    return replay_execution(actor=actor, source=Source.GRAPHQL, **given)


def _refund(
    *, actor: Any, execution: Execution, credits: str | None = None, note: str = "", idempotency_key: str | None = None
) -> Any:
    amount = units_of(credits, MICRO_PER_CREDIT, "credits")
    key = line_key("refund", actor, idempotency_key)
    return refund_execution(actor=actor, execution=execution, amount=amount, key=key, note=note)


def _evaluate(*, idempotency_key: str = "", **given: Any) -> Evaluation:
    asked = _evaluated(given)
    with named_as_in(BUDGET_NAMES):
        row, _is_repeated = once(
            lambda: evaluate_program(**asked),
            Evaluation,
            actor=given["actor"],
            key=idempotency_key,
            content=["evaluate", _content(given)],
        )
    return row


def _estimate(**given: Any) -> dict[str, Any]:
    with named_as_in(BUDGET_NAMES):
        return {"estimate": with_usd(estimate_evaluation(**_evaluated(given)).as_json())}


def _evaluated(given: Mapping[str, Any]) -> dict[str, Any]:
    budget = {"budget": budget_of(given["budget"])} if "budget" in given else {}
    return {**given, **budget}


def _content(given: Mapping[str, Any]) -> dict[str, Any]:
    """What an idempotency key stands for: rows by their ids."""
    return {name: _named(value) for name, value in given.items() if name != "actor"}


def _named(value: Any) -> Any:
    return [_named(one) for one in value] if isinstance(value, list) else str(getattr(value, "pk", value))


def _compare(**given: Any) -> dict[str, Any]:
    return {"comparison": comparison(compare_evaluations(**given))}


def _try(**given: Any) -> dict[str, Any]:
    return {"score": services.try_metric(**given)}


class Mutation(graphene.ObjectType):  # type: ignore[misc]  # graphene has no types
    execute_program = VerbMutation(
        execute_program,
        gives={"execution": ExecutionType},
        takes={
            "program": graphene.ID(required=True, description="An id, or a reference such as triage@production."),
            "input": JSONObject(required=True, description="The program's inputs by name."),
            "wait_seconds": graphene.Float(description="How long to wait for its end, at most 2."),
            "assignment_key": graphene.String(description="Keeps one user on one prompt version."),
            "language_model": graphene.String(description="Name or id, in place of the program's own."),
            "idempotency_key": ONCE,
        },
        perform=_execute,
    )
    cancel_execution = VerbMutation(
        cancel_execution, gives={"execution": ExecutionType}, takes={"execution": EXECUTION}
    )
    replay_execution = VerbMutation(
        replay_execution,
        gives={"execution": ExecutionType},
        takes={
            "execution": EXECUTION,
            "program": graphene.String(description="Reference of another version; else the same one."),
            "idempotency_key": ONCE,
        },
        perform=_replay,
    )
    rate_execution = VerbMutation(
        rate_execution,
        gives={"feedback": FeedbackType},
        takes={
            "execution": EXECUTION,
            "name": graphene.String(required=True),
            "score": graphene.Float(required=True, description="0 to 1."),
            "comment": graphene.String(),
            "expected": JSON(),
        },
    )
    refund_execution = VerbMutation(
        refund_execution,
        gives={"line": CreditEntryType},
        takes={
            "execution": EXECUTION,
            "credits": Decimal(description="All that is left of what it charged, if not given."),
            "note": graphene.String(),
            "idempotency_key": ONCE,
        },
        perform=_refund,
    )
    collect_examples = VerbMutation(
        collect_examples,
        gives={"dataset": DatasetType},
        takes={
            "name": graphene.String(required=True),
            "type": graphene.String(required=True),
            "program": graphene.String(),
            "feedback_name": graphene.String(),
            "min_score": graphene.Float(),
            "max_score": graphene.Float(),
            "since": graphene.DateTime(),
            "until": graphene.DateTime(),
            "executions": graphene.List(graphene.NonNull(graphene.UUID)),
            "limit": graphene.Int(),
            "description": graphene.String(),
        },
    )
    create_metric = VerbMutation(
        services.create_metric,
        gives={"metric": MetricType},
        takes={"name": graphene.String(required=True), **METRIC_FIELDS, "kind": graphene.String(required=True)},
    )
    update_metric = VerbMutation(
        services.update_metric,
        gives={"metric": MetricType},
        takes={"metric": KNOWN_METRIC, **METRIC_FIELDS},
        clears=METRIC_ROWS,
    )
    new_metric_version = VerbMutation(
        services.new_metric_version,
        gives={"metric": MetricType},
        takes={"metric": KNOWN_METRIC, **METRIC_FIELDS},
        clears=METRIC_ROWS,
    )
    freeze_metric = VerbMutation(services.freeze_metric, gives={"metric": MetricType}, takes={"metric": KNOWN_METRIC})
    delete_metric = VerbMutation(services.delete_metric, gives={}, takes={"metric": KNOWN_METRIC})
    try_metric = VerbMutation(
        services.try_metric,
        gives={"score": ScoreType},
        takes={"metric": METRIC, "example": JSONObject(required=True), "output": JSONObject(required=True)},
        perform=_try,
    )
    evaluate_program = VerbMutation(
        evaluate_program,
        gives={"evaluation": EvaluationType},
        takes={**EVALUATED, "idempotency_key": ONCE},
        perform=_evaluate,
    )
    estimate_evaluation = VerbMutation(
        estimate_evaluation,
        gives={"estimate": JSON(description="Items, and calls, tokens, cost_usd and seconds as intervals.")},
        takes=EVALUATED,
        perform=_estimate,
    )
    cancel_evaluation = VerbMutation(
        cancel_evaluation, gives={"evaluation": EvaluationType}, takes={"evaluation": EVALUATION}
    )
    compare_evaluations = VerbMutation(
        compare_evaluations,
        gives={"comparison": JSON(description="As over REST.")},
        takes={
            "baseline": EVALUATION,
            "candidate": EVALUATION,
            "metric": graphene.String(description="By id, name or name@version; where there are several."),
        },
        perform=_compare,
    )
    reprice = VerbMutation(
        reprice,
        gives={"repricing": RepricingType},
        takes={
            "since": graphene.DateTime(required=True),
            "until": graphene.DateTime(required=True, description="Exclusive."),
            "language_model": by_id(LanguageModel, required=False),
            "program": graphene.String(description="A name: all its versions."),
            "refunds_credits": graphene.Boolean(description="Whether applying it gives back what was too much."),
            "idempotency_key": ONCE,
        },
    )
    apply_repricing = VerbMutation(
        apply_repricing,
        gives={"repricing": RepricingType},
        takes={"repricing": REPRICING, "idempotency_key": ONCE},
    )
    cancel_repricing = VerbMutation(
        cancel_repricing, gives={"repricing": RepricingType}, takes={"repricing": REPRICING}
    )
