"""What a compile will take, before it begins: calls, tokens, cost and time, each between two bounds.

The optimizer says how many runs and proposals there will be; what one run takes, its score included, is the estimate of
an evaluation on the same examples, which measures what the program did lately or bounds it by its limits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from django.utils.translation import gettext as _

from datasets.models import Example
from executions.services.evaluations.estimating import Interval, refuse_exceeded
from executions.services.evaluations.estimating import estimate_of as estimate_of_evaluation
from executions.services.reserving import ASCII_PER_TOKEN
from optimizations import errors
from optimizations.runtime.checks import modules_with_prompts
from optimizations.runtime.estimating import estimate
from optimizations.runtime.params import Params
from optimizations.services.asking import Asked

JUDGED = 2
"""Baseline and best candidate are evaluated."""

DEMO_PARAMS = ("k", "max_labeled_demos", "max_bootstrapped_demos", "max_demos")
LOOKED_AT = 50
"""Examples whose length is taken for that of all."""


@dataclass(frozen=True, slots=True)
class OptimizationEstimate:
    """See the module. Cost in pico-dollars, None when a price is unknown. `basis` is that of the evaluation's estimate;
    `demo_tokens` are those by which demos may lengthen each prompt."""

    calls: Interval
    optimizer_calls: Interval
    judging_calls: Interval
    tokens: Interval
    cost: Interval | None
    seconds: Interval
    basis: str
    training: int
    validation: int
    demo_tokens: int
    overlaps: tuple[Mapping[str, Any], ...]
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """As the row of the optimization keeps it; intervals are pairs."""
        return {
            "calls": self.calls.as_json(),
            "optimizer_calls": self.optimizer_calls.as_json(),
            "judging_calls": self.judging_calls.as_json(),
            "tokens": self.tokens.as_json(),
            "cost": None if self.cost is None else self.cost.as_json(),
            "seconds": [round(self.seconds.low, 1), round(self.seconds.high, 1)],
            "basis": self.basis,
            "training": self.training,
            "validation": self.validation,
            "demo_tokens": self.demo_tokens,
            "overlaps": [dict(item) for item in self.overlaps],
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True)
class _PerRun:
    """What one run of the program with its score takes, and of that one call. Seconds are those of a run by itself."""

    basis: str
    calls: Interval
    tokens: Interval
    cost: Interval | None
    seconds: Interval


def estimate_of(wanted: Asked) -> OptimizationEstimate:
    """What `wanted` will take. Reads rows."""
    demo_tokens = _demo_tokens(wanted)
    run = _per_run(wanted, demo_tokens)
    judging = run.calls.times(JUDGED * wanted.n_validation)
    optimizer = _optimizer_calls(wanted, run.calls)
    calls = optimizer + judging
    at_once = min(wanted.proposal.concurrency, max(wanted.n_validation, 1))
    lasting = Interval(optimizer.low / _threads(wanted.params) + judging.low / at_once, optimizer.high + judging.high)
    return OptimizationEstimate(
        calls=calls,
        optimizer_calls=optimizer,
        judging_calls=judging,
        tokens=_of_calls(calls, run.tokens, run.calls),
        cost=None if run.cost is None else _of_calls(calls, run.cost, run.calls),
        seconds=_of_calls(lasting, run.seconds, run.calls),
        basis=run.basis,
        training=wanted.n_training,
        validation=wanted.n_validation,
        demo_tokens=demo_tokens,
        overlaps=wanted.overlaps,
        warnings=tuple(_warnings(wanted)),
    )


def refuse_too_small(wanted: Asked, estimated: OptimizationEstimate) -> None:
    """Raise `Invalid` (`budget_too_small`) with every limit that the compile is sure to exceed, and
    `InsufficientCredits` (`price_unknown`) for a limited cost that nobody can tell."""
    if wanted.budget.cost is not None and estimated.cost is None:
        raise errors.price_unknown(", ".join(model.name for model in wanted.models if model.price is None))
    refuse_exceeded(
        wanted.budget,
        {
            "calls": estimated.calls,
            "tokens": estimated.tokens,
            "cost": estimated.cost,
            "seconds": estimated.seconds,
        },
    )


def _per_run(wanted: Asked, demo_tokens: int) -> _PerRun:
    """Of the evaluation's estimate; demos make the prompts longer than those that were measured."""
    found = estimate_of_evaluation(wanted.proposal)
    one = 1 / found.items
    rounds = math.ceil(found.items / wanted.proposal.concurrency)
    tokens, cost, calls = found.tokens.times(one), found.cost and found.cost.times(one), found.calls.times(one)
    more = demo_tokens * calls.high
    dearest = max((model.price.input for model in wanted.models if model.price), default=0)
    is_known = cost is not None and all(model.price is not None for model in wanted.models)
    return _PerRun(
        basis=found.basis,
        calls=calls,
        tokens=Interval(tokens.low, tokens.high + more),
        cost=cost + Interval(0, more * dearest) if cost is not None and is_known else None,
        seconds=Interval(found.seconds.low * wanted.proposal.concurrency * one, found.seconds.high / rounds),
    )


def _of_calls(calls: Interval, per_run: Interval, calls_per_run: Interval) -> Interval:
    """What so many calls take, when a run of so many calls takes `per_run`."""
    return Interval(
        calls.low * per_run.low / max(calls_per_run.high, 1), calls.high * per_run.high / max(calls_per_run.low, 1)
    )


def _optimizer_calls(wanted: Asked, per_run: Interval) -> Interval:
    low, high = (
        estimate(
            wanted.params,
            n_train=wanted.n_training,
            n_val=wanted.n_validation,
            modules=modules_with_prompts(wanted.plan.built),
            calls_per_run=calls,
        )
        for calls in (per_run.low, per_run.high)
    )
    return Interval(low.low, high.high)


def _warnings(wanted: Asked) -> Iterable[str]:
    if wanted.parts is not None:
        yield _("No validation set was given: %(n)d of the %(all)d training examples are split off to judge by.") % {
            "n": wanted.n_validation,
            "all": wanted.training.size,
        }
    for item in wanted.overlaps:
        names = {"n": item["shared"], "one": item["dataset"], "other": item["other"]}
        if item["sealed"]:
            yield _("%(n)d examples of %(one)s stand in the test set %(other)s too: its scores will flatter.") % names
        else:
            yield _("%(n)d examples of the validation set %(one)s stand in the training set %(other)s too.") % names


def _demo_tokens(wanted: Asked) -> int:
    params = wanted.params.model_dump()
    demos = min(max(params.get(name) or 0 for name in DEMO_PARAMS), wanted.n_training)
    rows = Example.objects.filter(dataset=wanted.training).order_by("position").values_list("data", flat=True)
    length = fmean([len(str(data)) for data in rows[:LOOKED_AT]] or [0])
    return math.ceil(demos * length / ASCII_PER_TOKEN)


def _threads(params: Params) -> int:
    return int(getattr(params, "num_threads", 1))
