"""Records that are put back: of each collection one that was changed, so that there is a state to go back to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from datasets.services import update_dataset
from executions.services import update_metric
from mlops.services.budgets import create_budget, update_budget
from mlops.services.language_models import update_language_model
from mlops.services.users import update_user
from mlops.types import PICO_PER_USD
from optimizations.services.schedules import change_schedule
from programs.services import update_module, update_program, update_signature
from tests.factories import make_language_model
from tests.policies.case import Case, case
from tests.policies.cases.datasets import dataset
from tests.policies.cases.executions import metric
from tests.policies.cases.optimizations import schedule
from tests.policies.cases.programs import module_of, signature_of
from tests.policies.people import World


def back(row: Any, change: Callable[..., object], **changes: Any) -> Case:
    """`row` as it was before `change`."""
    state = row.history.latest().history_id
    change(**changes)
    return Case({"row": row, "state": state}, row, address={"state": state})


def of(collection: str) -> str:
    return f"POST /api/v1/{collection}/{{pk}}/history/{{state}}/revert/"


@case("revert")
@case(of("programs"))
def program(world: World) -> Case:
    return back(world.draft, update_program, actor=world.admin, program=world.draft, description="changed")


@case(of("modules"))
def module(world: World) -> Case:
    row = module_of(world.draft)
    return back(row, update_module, actor=world.admin, module=row, kind="chain_of_thought")


@case(of("signatures"))
def signature(world: World) -> Case:
    row = signature_of(world.draft)
    return back(row, update_signature, actor=world.admin, signature=row, instructions="Sort it.")


@case(of("datasets"))
def of_dataset(world: World) -> Case:
    row = dataset(world)
    return back(row, update_dataset, actor=world.admin, dataset=row, description="changed")


@case(of("metrics"))
def of_metric(world: World) -> Case:
    row = metric(world)
    return back(row, update_metric, actor=world.admin, metric=row, description="changed")


@case(of("schedules"))
def of_schedule(world: World) -> Case:
    row = schedule(world)
    return back(row, change_schedule, actor=world.admin, schedule=row, crontab="0 7 * * mon")


@case(of("language-models"))
def language_model(world: World) -> Case:
    row = make_language_model()
    return back(row, update_language_model, actor=world.admin, model=row, fields={"timeout_s": 7.0})


@case(of("budgets"))
def budget(world: World) -> Case:
    row = create_budget(actor=world.admin, scope="installation", period="day", limit=PICO_PER_USD)
    return back(row, update_budget, actor=world.admin, budget=row, fields={"limit": 2 * PICO_PER_USD})


@case(of("users"))
def user(world: World) -> Case:
    row = world.engineer
    update_user(actor=world.admin, user=row, fields={"first_name": "Grace"})
    return back(row, update_user, actor=world.admin, user=row, fields={"first_name": "Ada"})
