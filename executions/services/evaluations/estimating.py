"""What an evaluation will take, as intervals, before anything is paid for."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict, Unpack

from django.utils.translation import gettext as _

from datasets.models import Dataset
from executions.errors import budget_too_small, price_unknown
from executions.models import Evaluation, EvaluationItem, Execution, Metric
from executions.policies import evaluating_policy
from executions.runtime.metrics import JudgeProgram
from executions.services.evaluations.proposals import Proposal, propose
from executions.services.reserving import ASCII_PER_TOKEN, Estimate, estimates_of
from executions.services.scoring import metric_ports
from executions.types import Budget, ExecutionState, MetricKind
from mlops.errors import all_of
from mlops.models import LanguageModel, User
from mlops.money import as_decimal
from mlops.selectors import language_model_spec
from mlops.types import PICO_PER_USD, TokenUsage
from mlops.verbs import verb
from programs.models import Program, PromptSet

HISTORY = 200
"""Examples or executions that the past is read from, at most."""

FEWEST = 5
"""Fewer say too little: then what prompts and limits allow is told."""

Z = 1.96
SLACK = 0.1
"""The past was about other inputs: an interval is never narrower than this share to each side."""

CHARACTERS_PER_TOKEN_AT_MOST = 8


@dataclass(frozen=True, slots=True)
class Interval:
    """From the least to the most that is to be expected."""

    low: float
    high: float

    def __add__(self, other: Interval) -> Interval:
        return Interval(self.low + other.low, self.high + other.high)

    def times(self, factor: float) -> Interval:
        return Interval(self.low * factor, self.high * factor)

    def as_json(self) -> list[int]:
        return [math.floor(self.low), math.ceil(self.high)]


NOTHING = Interval(0, 0)


@dataclass(frozen=True, slots=True)
class EvaluationEstimate:
    """What an evaluation of `items` examples takes. `cost` in pico-dollars, None when a price is unknown.

    `basis`: `history` of `samples` examples or executions of this program on these language models, else `limits`: what
    prompts, token limits and deadlines allow.
    """

    items: int
    calls: Interval
    tokens: Interval
    cost: Interval | None
    seconds: Interval
    basis: str
    samples: int

    def as_json(self) -> dict[str, Any]:
        return {
            "items": self.items,
            "calls": self.calls.as_json(),
            "tokens": self.tokens.as_json(),
            "cost": None if self.cost is None else self.cost.as_json(),
            "seconds": [round(self.seconds.low, 1), round(self.seconds.high, 1)],
            "basis": self.basis,
            "samples": self.samples,
        }


class Asked(TypedDict, total=False):
    """What may be said of an evaluation besides program, dataset and metrics; `budget` has cost (pico-dollars), calls,
    tokens and seconds."""

    language_model: LanguageModel | None
    concurrency: int
    budget: Any
    prompt_set: PromptSet | None


@verb(evaluating_policy, "evaluate")
def estimate_evaluation(
    *, actor: User, program: Program, dataset: Dataset, metrics: Sequence[Metric], **asked: Unpack[Asked]
) -> EvaluationEstimate:
    """What `evaluate_program` with the same arguments would take. Nothing is started; raises as it does, except for
    the budget."""
    return estimate_of(propose(actor=actor, program=program, dataset=dataset, metrics=metrics, **asked))


@dataclass(frozen=True, slots=True)
class _PerItem:
    calls: Interval = NOTHING
    tokens: Interval = NOTHING
    cost: Interval | None = NOTHING
    seconds: Interval = NOTHING
    samples: int = 0

    def __add__(self, other: _PerItem) -> _PerItem:
        cost = None if self.cost is None or other.cost is None else self.cost + other.cost
        return _PerItem(
            self.calls + other.calls, self.tokens + other.tokens, cost, self.seconds + other.seconds, self.samples
        )


def estimate_of(proposal: Proposal) -> EvaluationEstimate:
    """Reads the latest items and executions of the program."""
    items = proposal.dataset.size
    past = _past(proposal, items)
    one = past or _allowed(proposal.plan.expected.estimates, proposal.characters, proposal.plan.deadline_s)
    for metric in proposal.metrics:
        one += _of_metric(metric, proposal.characters)
    rounds = math.ceil(items / proposal.concurrency)
    return EvaluationEstimate(
        items=items,
        calls=one.calls.times(items),
        tokens=one.tokens.times(items),
        cost=None if one.cost is None or proposal.plan.has_unknown_price else one.cost.times(items),
        seconds=Interval(one.seconds.low * items / proposal.concurrency, one.seconds.high * rounds),
        basis="history" if past else "limits",
        samples=one.samples,
    )


def check_budget(budget: Budget, estimate: EvaluationEstimate) -> None:
    """Raise `Invalid` (`budget_too_small`) for a limit below what is needed at least, and `InsufficientCredits`
    (`price_unknown`) for a limited cost that nobody can tell."""
    if budget.cost is not None and estimate.cost is None:
        raise price_unknown()
    refuse_exceeded(
        budget,
        {"calls": estimate.calls, "tokens": estimate.tokens, "cost": estimate.cost, "seconds": estimate.seconds},
    )


def refuse_exceeded(budget: Budget, needed: Mapping[str, Interval | None]) -> None:
    """Raise `Invalid` (`budget_too_small`) with every limit that is sure to be exceeded, and what it takes at least."""
    problems = [
        budget_too_small(name, _said(name, interval.low))
        for name, limit in budget.as_json().items()
        if (interval := needed[name]) is not None and limit < math.floor(interval.low)
    ]
    if problems:
        raise all_of(problems, code="budget_too_small", message=problems[0].message)


def _said(name: str, low: float) -> str:
    words = {
        "calls": _("%(n)s model calls"),
        "tokens": _("%(n)s tokens"),
        "cost": _("%(n)s US dollars"),
        "seconds": _("%(n)s seconds"),
    }
    number = as_decimal(math.floor(low), PICO_PER_USD) if name == "cost" else str(math.floor(low))
    return words[name] % {"n": number}


# From the past


def _past(proposal: Proposal, items: int) -> _PerItem | None:
    """Of the newest evaluation of the program on these language models, else of its latest executions."""
    found = _of_items(proposal, items)
    return found or _of_executions(proposal, items)


def _of_items(proposal: Proposal, items: int) -> _PerItem | None:
    evaluations = Evaluation.objects.filter(program=proposal.program, done__gte=FEWEST).order_by("-id")
    newest = next((row for row in evaluations.only("backends")[:10] if row.backends == proposal.backends), None)
    if newest is None:
        return None
    ended = EvaluationItem.objects.filter(evaluation=newest, duration_ms__isnull=False).order_by("position")
    columns = ("calls", "total_tokens", "cost", "duration_ms", "token_usage")
    rows = list(ended.values_list(*columns)[:HISTORY])
    if len(rows) < FEWEST:
        return None
    calls, tokens, costs, seconds = [], [], [], []
    for its_calls, its_tokens, cost, duration_ms, usage in rows:
        of_metrics = usage.get("metrics") or {"total": 0, "cost": 0}
        calls.append(its_calls)
        tokens.append(its_tokens - of_metrics["total"])
        costs.append(None if cost is None or of_metrics["cost"] is None else cost - of_metrics["cost"])
        seconds.append(duration_ms / 1e3)
    return _PerItem(
        _mean(calls, items), _mean(tokens, items), _mean_cost(costs, items), _mean(seconds, items), len(rows)
    )


def _of_executions(proposal: Proposal, items: int) -> _PerItem | None:
    requested = proposal.plan.requested_model
    ended = Execution.objects.filter(
        program=proposal.program, requested_model=requested, state=ExecutionState.COMPLETED, duration_ms__isnull=False
    )
    rows = list(ended.order_by("-id").values_list("total_tokens", "cost", "duration_ms")[:HISTORY])
    if len(rows) < FEWEST:
        return None
    estimates = proposal.plan.expected.estimates
    return _PerItem(
        Interval(len(estimates), sum(one.calls for one in estimates)),  # executions do not count their calls
        _mean([row[0] for row in rows], items),
        _mean_cost([row[1] for row in rows], items),
        _mean([row[2] / 1e3 for row in rows], items),
        len(rows),
    )


def _mean(values: Sequence[float], items: int) -> Interval:
    """Between which bounds the mean of `items` further values is expected."""
    mean = statistics.fmean(values)
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    half = max(Z * spread * math.sqrt(1 / items + 1 / len(values)), SLACK * mean)
    low = max(mean - half, min(values))
    return Interval(min(low, mean), mean + half)


def _mean_cost(values: Sequence[int | None], items: int) -> Interval | None:
    known = [value for value in values if value is not None]
    return _mean(known, items) if len(known) == len(values) else None


# From what is allowed


def _allowed(estimates: Iterable[Estimate], characters: int, deadline_s: float) -> _PerItem:
    """At least the prompts and nothing said, at most what the limits allow."""
    whole = _PerItem(seconds=Interval(0, deadline_s))
    tokens = characters // ASCII_PER_TOKEN
    for one in estimates:
        least = TokenUsage(input=(one.prompt_characters + characters) // CHARACTERS_PER_TOKEN_AT_MOST)
        cached = TokenUsage(least.input, cached=least.input)
        low_cost = min((price.of(cached) for price in one.prices), default=0)
        whole += _PerItem(
            calls=Interval(1, one.calls),
            tokens=Interval(least.total, one.usage(tokens).total),
            cost=Interval(min(low_cost, one.cost(tokens)), one.cost(tokens)),
        )
    return whole


def _of_metric(metric: Metric, characters: int) -> _PerItem:
    """What a metric asks of models, for one example."""
    judge = metric_ports(metric).judge
    if isinstance(judge, JudgeProgram):
        asked = _allowed(estimates_of(judge.program, judge.models), characters, judge.deadline_s)
        has_prices = all(model.price is not None for model in judge.models.values())
        return asked if has_prices else replace(asked, cost=None)
    if metric.kind == MetricKind.SEMANTIC_SIMILARITY and metric.language_model is not None:
        spec = language_model_spec(metric.language_model)
        usage = TokenUsage(input=2 * characters // ASCII_PER_TOKEN)
        cost = None if spec.price is None else Interval(0, spec.price.of(usage))
        return _PerItem(Interval(0, 1), Interval(0, usage.total), cost, Interval(0, spec.deadline_s))
    return _PerItem()
