"""What an evaluation is asked for, checked: the same for its estimate and for its start."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from datasets.errors import dataset_importing
from datasets.models import Dataset
from datasets.policies import dataset_policy
from datasets.types import VersionState
from executions.errors import budget_invalid, dataset_does_not_fit, dataset_empty, evaluation_invalid
from executions.models import Metric
from executions.policies import evaluating_policy, metric_policy
from executions.runtime.evaluate import Subject
from executions.services import planning
from executions.services.evaluations.backends import backends_of
from executions.services.planning import Plan
from executions.services.reserving import DEFAULT
from executions.services.scoring import refuse_unusable, scorer_of
from executions.types import Budget
from mlops.errors import Invalid, Problem
from mlops.models import LanguageModel, User
from mlops.policies import language_model_policy
from programs.errors import program_not_found
from programs.models import Program, PromptSet
from programs.policies import program_policy
from programs.services import choose_prompt_set

MAX_METRICS = 8
MAX_CONCURRENCY = 256
SAMPLE = 100
"""Examples that are looked at before the start, spread over the dataset."""

MAX_LIMIT = 10**18


@dataclass(frozen=True, slots=True)
class Proposal:
    """An evaluation that may be made. `characters` is what an example's input has on average."""

    program: Program
    prompt_set: PromptSet
    dataset: Dataset
    metrics: tuple[Metric, ...]
    language_model: LanguageModel | None
    concurrency: int
    budget: Budget
    plan: Plan
    characters: int

    @property
    def backends(self) -> list[str]:
        return backends_of(self.plan)


def propose(
    *,
    actor: User,
    program: Program,
    dataset: Dataset,
    metrics: Sequence[Metric],
    language_model: LanguageModel | None = None,
    concurrency: int = 32,
    budget: Budget | Mapping[str, Any] | None = None,
    prompt_set: PromptSet | None = None,
) -> Proposal:
    """Check what is asked for. Reads rows, writes at most the first prompt set of a program.

    Raises `Forbidden`, `NotFound`, `Invalid` (`evaluation_invalid`, `budget_invalid`, `metric_invalid`,
    `program_invalid`, `dataset_does_not_fit`) and `Conflict` (`dataset_importing`, `dataset_empty`).
    """
    program_policy.check(actor, "view", program)
    evaluating_policy.check(actor, "evaluate", program)
    dataset_policy.check(actor, "view", dataset)
    if language_model is not None:
        language_model_policy.check(actor, "view", language_model)
    _check_metrics(actor, metrics)
    _check_concurrency(concurrency)
    limits = budget_of(budget)
    if dataset.state == VersionState.IMPORTING:
        raise dataset_importing()
    if not dataset.size:
        raise dataset_empty()
    chosen = prompt_set or choose_prompt_set(program)
    if chosen.program_id != program.pk:
        raise evaluation_invalid("prompt_set", _("This prompt set belongs to another program."))
    plan = planning.plan_by_ids(program.pk, chosen.pk, None if language_model is None else language_model.pk)
    if not all(program_policy.can(actor, "execute_as_tool", used) for used in plan.used_programs):
        raise program_not_found()
    characters = _check_examples(dataset, subject_of(plan, metrics))
    return Proposal(
        program, chosen, dataset, tuple(metrics), language_model, concurrency, limits, plan, characters
    )  # fmt: skip


def subject_of(plan: Plan, metrics: Sequence[Metric]) -> Subject:
    """What the runtime evaluates. Reads rows. Raises `Invalid` (`metric_invalid`)."""
    models = dict(plan.models)
    if DEFAULT not in models and models:  # every module names its own, so that no other one is asked
        models[DEFAULT] = next(iter(models.values()))
    return Subject(
        program=plan.built,
        models=models,
        deadline_s=plan.deadline_s,
        scorers={metric.name: scorer_of(metric) for metric in metrics},
        capture=plan.capture,
    )


def budget_of(given: Budget | Mapping[str, Any] | None) -> Budget:
    """`given` as a budget. Raises `Invalid` (`budget_invalid`)."""
    if isinstance(given, Budget):
        values = given.as_json()
    else:
        values = {name: value for name, value in (given or {}).items() if value is not None}
    for name, value in values.items():
        if name not in ("cost", "calls", "tokens", "seconds") or not _is_limit(name, value):
            raise budget_invalid(str(name))
    return Budget.from_json(values)


def _is_limit(name: str, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float) if name == "seconds" else int):
        return False
    return 0 <= value <= MAX_LIMIT  # neither NaN nor an infinity is


def _check_metrics(actor: User, metrics: Sequence[Metric]) -> None:
    if not 1 <= len(metrics) <= MAX_METRICS:
        raise evaluation_invalid("metrics", _("Name 1 to %(n)d metrics.") % {"n": MAX_METRICS})
    if len({metric.name for metric in metrics}) < len(metrics):
        raise evaluation_invalid("metrics", _("Each metric once, in one version."))
    for metric in metrics:
        metric_policy.check(actor, "view", metric)
        refuse_unusable(actor=actor, metric=metric)


def _check_concurrency(concurrency: Any) -> None:
    is_number = isinstance(concurrency, int) and not isinstance(concurrency, bool)
    if not (is_number and 1 <= concurrency <= MAX_CONCURRENCY):
        raise evaluation_invalid("concurrency", _("From 1 to %(n)d.") % {"n": MAX_CONCURRENCY})


def _check_examples(dataset: Dataset, subject: Subject) -> int:
    """Whether the program can be given the examples, as far as a sample tells; the mean length of its inputs.

    Single examples that do not fit are left to become errors of their items. Raises `Invalid`
    (`dataset_does_not_fit`) when none fits, or when none has what a metric expects.
    """
    positions = range(0, dataset.size, math.ceil(dataset.size / SAMPLE))
    sample = list(dataset.examples.filter(position__in=positions).order_by("position").values_list("data", flat=True))
    fitting, refusal = [], None
    for data in sample:
        try:
            fitting.append(subject.input_of(data))
        except Invalid as error:
            refusal = refusal or error
    if not fitting and refusal is not None:
        raise dataset_does_not_fit([Problem(one.code, one.message, f"dataset.{one.field}") for one in refusal.problems])
    if problems := list(_unexpected(sample, subject)):
        raise dataset_does_not_fit(problems)
    return sum(len(str(values)) for values in fitting) // max(len(fitting), 1)


def _unexpected(sample: Sequence[Mapping[str, Any]], subject: Subject) -> list[Problem]:
    expected = {name: scorer.expected_field for name, scorer in subject.scorers.items()}
    return [
        Problem("required", _("No example has the field %(name)s that a metric expects.") % {"name": field}, "metrics")
        for field in expected.values()
        if field is not None and not any(field.partition(".")[0] in data or field in data for data in sample)
    ]
