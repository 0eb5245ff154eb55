"""What a compile will take, before it begins: calls, tokens, cost and time, each between two bounds.

The optimizer says how many runs and proposals there will be. What one run takes, its score included, is the estimate of
an evaluation on the same examples, which measures what the program did lately or bounds it by its limits. What one
proposal takes is bounded by the limits and the price of the prompt model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from django.utils.translation import gettext as _

from datasets.models import Example
from executions.services.evaluations.estimating import (
    CHARACTERS_PER_TOKEN_AT_MOST,
    EvaluationEstimate,
    Interval,
    refuse_exceeded,
)
from executions.services.evaluations.estimating import estimate_of as estimate_of_evaluation
from executions.services.reserving import ASCII_PER_TOKEN, DEFAULT, estimate_of_call
from mlops.types import LanguageModelSpec, TokenUsage
from optimizations import errors
from optimizations.runtime.checks import modules_with_prompts
from optimizations.runtime.estimating import LEAST_WORDS, MOST_WORDS, Work, work_of
from optimizations.runtime.params import NEEDS_VALIDATION, Params
from optimizations.services.asking import Asked, models_of

JUDGED = 2
"""Baseline and best candidate are evaluated."""

DEMO_PARAMS = ("k", "max_labeled_demos", "max_bootstrapped_demos", "max_demos")
LOOKED_AT = 50
"""Examples whose length is taken for that of all."""


@dataclass(frozen=True, slots=True)
class OptimizationEstimate:
    """See the module. Cost in pico-dollars, None when a price is unknown; `optimizer_cost` is that without judging.
    `basis` is that of the evaluation's estimate; `demo_tokens` are those by which demos may lengthen each prompt."""

    calls: Interval
    optimizer_calls: Interval
    judging_calls: Interval
    tokens: Interval
    cost: Interval | None
    optimizer_cost: Interval | None
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
class _Taken:
    """What something takes; cost is None where a price is unknown."""

    calls: Interval
    tokens: Interval
    cost: Interval | None
    seconds: Interval

    def __add__(self, other: _Taken) -> _Taken:
        cost = None if self.cost is None or other.cost is None else self.cost + other.cost
        return _Taken(self.calls + other.calls, self.tokens + other.tokens, cost, self.seconds + other.seconds)

    def of(self, least: int, most: int) -> _Taken:
        """So many times what this takes."""

        def times(one: Interval) -> Interval:
            return Interval(least * one.low, most * one.high)

        cost = None if self.cost is None else times(self.cost)
        return _Taken(times(self.calls), times(self.tokens), cost, times(self.seconds))


def estimate_of(wanted: Asked) -> OptimizationEstimate:
    """What `wanted` will take. Reads rows."""
    found = estimate_of_evaluation(wanted.proposal)
    work = work_of(
        wanted.params,
        n_train=wanted.n_training,
        n_val=wanted.n_validation,
        modules=modules_with_prompts(wanted.plan.built),
    )
    demo_tokens = _demo_tokens(wanted)
    run = _per_run(wanted, found, demo_tokens + work.written * estimate_of_call(_prompt_model(wanted)).max_tokens)
    proposals = _per_proposal(wanted, work, run).of(work.proposals_low, work.proposals_high)
    optimizer = run.of(work.runs_low, work.runs_high) + proposals
    judged = JUDGED * wanted.n_validation
    judging = run.of(judged, judged)
    whole = optimizer + judging
    at_once = min(wanted.proposal.concurrency, max(wanted.n_validation, 1))
    soonest = optimizer.seconds.low / _threads(wanted.params) + judging.seconds.low / at_once
    return OptimizationEstimate(
        calls=whole.calls,
        optimizer_calls=optimizer.calls,
        judging_calls=judging.calls,
        tokens=whole.tokens,
        cost=whole.cost,
        optimizer_cost=optimizer.cost,
        seconds=Interval(soonest, whole.seconds.high),
        basis=found.basis,
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


def _per_run(wanted: Asked, found: EvaluationEstimate, longer: int) -> _Taken:
    """A run of the program with its score, as the evaluation's estimate has it; demos and new instructions make prompts
    `longer` by so many tokens than those that were measured. Seconds are those of a run by itself."""
    one = 1 / found.items
    rounds = math.ceil(found.items / wanted.proposal.concurrency)
    tokens, cost, calls = found.tokens.times(one), found.cost and found.cost.times(one), found.calls.times(one)
    more = longer * calls.high
    dearest = max((model.price.input for model in wanted.plan.models.values() if model.price), default=0)
    return _Taken(
        calls=calls,
        tokens=Interval(tokens.low, tokens.high + more),
        cost=None if cost is None else cost + Interval(0, more * dearest),
        seconds=Interval(found.seconds.low * wanted.proposal.concurrency * one, found.seconds.high / rounds),
    )


def _per_proposal(wanted: Asked, work: Work, run: _Taken) -> _Taken:
    """A call of the prompt model at its own price: at least the optimizer's own words and nothing said, at most all
    that it may read and the longest answer."""
    model = _prompt_model(wanted)
    asked = estimate_of_call(model)
    least = TokenUsage(input=LEAST_WORDS // CHARACTERS_PER_TOKEN_AT_MOST, requests=1)
    cached = replace(least, cached=least.input)
    read = math.ceil(
        MOST_WORDS / ASCII_PER_TOKEN
        + sum(module.prompt_tokens for module in wanted.plan.expected.estimates)
        + work.reads.examples * _example_tokens(wanted)
        + work.reads.runs * run.tokens.high
        + work.reads.answers * asked.max_tokens
    )
    cost = Interval(min((price.of(cached) for price in asked.prices), default=0), asked.cost(read))
    return _Taken(
        calls=Interval(1, 1),
        tokens=Interval(least.total, asked.usage(read).total),
        cost=None if model.price is None else cost,
        seconds=Interval(0, model.deadline_s),
    )


def _prompt_model(wanted: Asked) -> LanguageModelSpec:
    return wanted.prompt_spec or models_of(wanted.plan)[DEFAULT]


def _warnings(wanted: Asked) -> Iterable[str]:
    if wanted.parts is not None:
        yield _("No validation set was given: %(n)d of the %(all)d training examples are split off to judge by.") % {
            "n": wanted.n_validation,
            "all": wanted.training.size,
        }
    if wanted.optimizer in NEEDS_VALIDATION:
        yield _(
            "%(optimizer)s chooses its best candidate by the validation set that the result is judged on, so that the "
            "comparison flatters the result: evaluate both on a test set before you rely on it."
        ) % {"optimizer": wanted.optimizer.value}
    for item in wanted.overlaps:
        names = {"n": item["shared"], "one": item["dataset"], "other": item["other"]}
        if item["sealed"]:
            yield _("%(n)d examples of %(one)s stand in the test set %(other)s too: its scores will flatter.") % names
        else:
            yield _("%(n)d examples of the validation set %(one)s stand in the training set %(other)s too.") % names


def _demo_tokens(wanted: Asked) -> int:
    params = wanted.params.model_dump()
    demos = min(max(params.get(name) or 0 for name in DEMO_PARAMS), wanted.n_training)
    return math.ceil(demos * _example_tokens(wanted))


def _example_tokens(wanted: Asked) -> float:
    rows = Example.objects.filter(dataset=wanted.training).order_by("position").values_list("data", flat=True)
    return fmean([len(str(data)) for data in rows[:LOOKED_AT]] or [0]) / ASCII_PER_TOKEN


def _threads(params: Params) -> int:
    return int(getattr(params, "num_threads", 1))
