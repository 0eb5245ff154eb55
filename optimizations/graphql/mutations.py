"""Mutations of optimizations, candidates and schedules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import graphene

from datasets.models import Dataset
from executions.graphql.inputs import BUDGET_NAMES, ONCE, WorkBudgetInput, budget_of
from executions.selectors import access_metric
from mlops.errors import named_as_in
from mlops.graphql.scalars import JSON, JSONObject
from mlops.graphql.verbs import Reference, VerbMutation, by_id
from optimizations import services
from optimizations.graphql.types import OptimizationType, ScheduleType
from optimizations.models import Candidate, Optimization, Schedule
from optimizations.representation import estimate_as_json
from optimizations.services import running_schedules, schedules
from programs.graphql.types import ProgramType
from programs.selectors import access_language_model, access_program

SCHEDULE = by_id(Schedule)
COMPILED = {
    "program": Reference(access_program),
    "dataset": by_id(Dataset),
    "metric": Reference(access_metric),
    "optimizer": graphene.String(required=True, description="See listOptimizers."),
    "params": JSONObject(),
    "validation_set": by_id(Dataset, required=False),
    "budget": graphene.InputField(WorkBudgetInput),
    "seed": graphene.Int(),
    "prompt_model": Reference(access_language_model, required=False, description="An id or a name."),
}
SCHEDULED = {
    "name": graphene.String(),
    "verb": graphene.String(description="compile or evaluate."),
    "arguments": JSONObject(),
    "crontab": graphene.String(description="Five fields, such as: 0 6 * * mon"),
    "time_zone": graphene.String(),
    "is_enabled": graphene.Boolean(),
    "deploy_if_better": graphene.Boolean(),
}


def _budgeted(service: Callable[..., Any]) -> Callable[..., Any]:
    def perform(**given: Any) -> Any:
        if "budget" in given:
            given["budget"] = budget_of(given["budget"])
        with named_as_in(BUDGET_NAMES):
            return service(**given)

    return perform


def _estimate(**given: Any) -> dict[str, Any]:
    return {"estimate": estimate_as_json(_budgeted(services.estimate_optimization)(**given))}


class Mutation(graphene.ObjectType):  # type: ignore[misc]  # graphene has no types
    compile_program = VerbMutation(
        services.compile_program,
        gives={"optimization": OptimizationType},
        takes={**COMPILED, "idempotency_key": ONCE},
        perform=_budgeted(services.compile_program),
    )
    estimate_optimization = VerbMutation(
        services.estimate_optimization,
        gives={"estimate": JSON(description="Calls, tokens, cost_usd and seconds as intervals.")},
        takes=COMPILED,
        perform=_estimate,
    )
    cancel_optimization = VerbMutation(
        services.cancel_optimization,
        gives={"optimization": OptimizationType},
        takes={"optimization": by_id(Optimization)},
    )
    adopt_candidate = VerbMutation(
        services.adopt_candidate, gives={"program": ProgramType}, takes={"candidate": by_id(Candidate)}
    )
    create_schedule = VerbMutation(
        schedules.create_schedule,
        gives={"schedule": ScheduleType},
        takes={
            **SCHEDULED,
            "name": graphene.String(required=True),
            "verb": graphene.String(required=True),
            "arguments": JSONObject(required=True),
            "crontab": graphene.String(required=True),
        },
    )
    change_schedule = VerbMutation(
        schedules.change_schedule, gives={"schedule": ScheduleType}, takes={"schedule": SCHEDULE, **SCHEDULED}
    )
    delete_schedule = VerbMutation(schedules.delete_schedule, gives={}, takes={"schedule": SCHEDULE})
    run_schedule_now = VerbMutation(
        running_schedules.run_schedule_now, gives={"schedule": ScheduleType}, takes={"schedule": SCHEDULE}
    )
