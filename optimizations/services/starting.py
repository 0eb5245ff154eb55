"""Asking for a compile."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NotRequired, Unpack
from uuid import UUID

from django.db import transaction

from datasets.models import Dataset
from datasets.services import freeze_dataset
from executions.models import Metric
from executions.services.evaluations.proposals import budget_of
from executions.services.metrics import freeze_metric
from mlops.models import User
from mlops.sanitiser import refuse_unstorable
from mlops.services.credits import MAX_AMOUNT, Subject, credits_for, reserve
from mlops.services.idempotency import once_ready
from mlops.services.jobs import ring
from mlops.services.locking import locked
from mlops.verbs import verb
from optimizations.models import Optimization
from optimizations.policies import compile_policy
from optimizations.services.asking import Asked, CompileOptions, asked
from optimizations.services.estimates import OptimizationEstimate, estimate_of, refuse_too_small
from optimizations.services.splits import split_off
from optimizations.types import RUNTIME_VERSION
from programs.models import Program
from programs.services import freeze

TASK = "optimizations.work"
QUEUE = "ml_training"


class StartOptions(CompileOptions):
    """Also where the compile comes from."""

    source_kind: NotRequired[str]
    source_id: NotRequired[UUID | None]


@verb(compile_policy, "compile")
def estimate_optimization(
    *,
    actor: User,
    program: Program,
    dataset: Dataset,
    metric: Metric,
    optimizer: str,
    **options: Unpack[CompileOptions],
) -> OptimizationEstimate:
    """What `compile_program` with the same arguments would take. Nothing is started; raises as it does, except for the
    size of the budget."""
    wanted = asked(actor=actor, program=program, dataset=dataset, metric=metric, optimizer=optimizer, options=options)
    return estimate_of(wanted)


@verb(compile_policy, "compile")
def compile_program(
    *,
    actor: User,
    program: Program,
    dataset: Dataset,
    metric: Metric,
    optimizer: str,
    idempotency_key: str = "",
    **options: Unpack[StartOptions],
) -> Optimization:
    """Have a worker look for better prompts of `program` on the training set `dataset`; the pending optimization.

    `options`: `params` of the optimizer, `validation_set` (without one a seeded part of `dataset` is split off),
    `budget` for everything that the job does, `seed`, `prompt_model` (proposes instructions; the program's default
    model otherwise), `source_kind` and `source_id`. An `idempotency_key` makes the request happen once. Datasets,
    metric and the program's signatures and corpora are frozen. What people should know before it begins stands in
    `warnings`.

    Raises `Forbidden`, `NotFound`, `Invalid` (`optimizer_unknown`, `optimizer_not_offered`, `optimizer_params_invalid`,
    `training_set_too_small`, `training_set_too_large`, `validation_set_missing`, `validation_set_too_large`,
    `nothing_to_optimize`, `program_not_repeatable`, `dataset_not_for_training`, `validation_set_is_training_set`,
    `prompt_model_invalid`, `seed_invalid`, `budget_too_small`, and what `evaluate_program` says to a program, dataset
    and metric), `Conflict` (`dataset_sealed`, `dataset_importing`, `dataset_changed`, `idempotency_key_reused`) and
    `InsufficientCredits` (`price_unknown`).
    """

    def prepare() -> Callable[[], Optimization]:
        return ready_compile(
            actor=actor, program=program, dataset=dataset, metric=metric, optimizer=optimizer, **options
        )

    content = [str(program.pk), str(dataset.pk), str(metric.pk), optimizer, _content(options)]
    optimization, _is_repeated = once_ready(prepare, Optimization, actor=actor, key=idempotency_key, content=content)
    return optimization


def ready_compile(
    *,
    actor: User,
    program: Program,
    dataset: Dataset,
    metric: Metric,
    optimizer: str,
    **options: Unpack[StartOptions],
) -> Callable[[], Optimization]:
    """Read and check all that `compile_program` looks at; what comes back stores the pending optimization.

    Reading the datasets takes a while, storing does not: whoever holds a lock calls this before, and the result then.
    Raises as `compile_program` does.
    """
    source_kind, source_id = options.pop("source_kind", ""), options.pop("source_id", None)
    refuse_unstorable(source_kind, "source_kind")
    wanted = asked(actor=actor, program=program, dataset=dataset, metric=metric, optimizer=optimizer, options=options)
    estimate = estimate_of(wanted)
    refuse_too_small(wanted, estimate)

    def store() -> Optimization:
        with transaction.atomic():
            optimization = _stored(actor, wanted, estimate, source_kind, source_id)
            ring(TASK, QUEUE)
        return optimization

    return store


def _stored(
    actor: User, wanted: Asked, estimate: OptimizationEstimate, source_kind: str, source_id: UUID | None
) -> Optimization:
    freeze(actor=actor, program=wanted.program)
    locked(wanted.program)  # whoever archives or deletes it is over by now, or will see this job
    training, validation = _sets(actor, wanted)
    # In the order in which evaluations lock them: first datasets, then metrics.
    for dataset in sorted({wanted.training, training, validation}, key=lambda dataset: dataset.pk):
        freeze_dataset(actor=actor, dataset=dataset)
    freeze_metric(actor=actor, metric=wanted.metric)
    optimization = Optimization(
        user=actor,
        program=wanted.program,
        prompt_set=wanted.prompt_set,
        dataset=training,
        validation_set=validation,
        metric=wanted.metric,
        optimizer=wanted.optimizer.value,
        params=wanted.params.model_dump(mode="json"),
        seed=wanted.seed,
        prompt_model=wanted.prompt_model,
        budget=wanted.budget.as_json(),
        estimate=estimate.as_json(),
        warnings=list(estimate.warnings),
        spec_digest=wanted.plan.built.digest,
        runtime_version=RUNTIME_VERSION,
        source_kind=source_kind,
        source_id=source_id,
    )
    reserve(
        user=actor,
        amount=_credits_needed(wanted, estimate),
        key=reservation_key(optimization),
        subject=Subject("optimization", optimization.pk),
    )
    optimization.save(force_insert=True)
    return optimization


def reservation_key(optimization: Optimization) -> str:
    """Under which the credits of the optimizer itself are held back; its evaluations book their own."""
    return f"optimization:{optimization.pk}"


def _sets(actor: User, wanted: Asked) -> tuple[Dataset, Dataset]:
    if wanted.validation is not None:
        return wanted.training, wanted.validation
    assert wanted.parts is not None  # one or the other, see `asked`
    return split_off(wanted.parts, actor=actor)


def _credits_needed(wanted: Asked, estimate: OptimizationEstimate) -> int:
    """Micro-credits that the optimizer may use at most: its part of the estimate, or the budget where that is less."""
    if estimate.optimizer_cost is None:
        return 0
    upper = math.ceil(estimate.optimizer_cost.high)
    limit = wanted.budget.cost
    return min(credits_for(upper if limit is None else min(upper, limit)), MAX_AMOUNT)


def _content(options: CompileOptions) -> dict[str, Any]:
    """What an idempotency key stands for beside the rows."""
    rows = {name: str(row.pk) for name in ("validation_set", "prompt_model") if (row := options.get(name))}  # type: ignore[attr-defined]
    return {
        **rows,
        "params": options.get("params") or {},
        "seed": options.get("seed", 0),
        "budget": budget_of(options.get("budget")).as_json(),
    }
