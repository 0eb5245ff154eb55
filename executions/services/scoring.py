"""What metrics need from this installation to score: judge programs, embedding models, registered code."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from executions.models import Metric
from executions.runtime.metrics import (
    ABOUT,
    UNIT,
    EmbeddingModel,
    JudgeProgram,
    MetricPorts,
    Range,
    RegisteredMetric,
    Scorer,
    json_schema_of,
    load_metrics,
    scorer,
)
from executions.runtime.run import LanguageModelOf
from executions.selectors.metrics import metric_spec
from executions.services import planning
from executions.types import MetricKind
from mlops.errors import Problem, all_of
from mlops.models import User
from mlops.runtime.engines import language_model
from mlops.selectors import language_model_spec
from programs.models import PromptSet
from programs.policies import program_policy
from programs.runtime.tools import NotRegistrable

PROMPT_SET = "prompt_set"
"""The key in a judge's config that pins its prompts: a version of a metric always asks the same question."""

_loaded_once = lru_cache(maxsize=64)(lambda items: load_metrics(dict(items)))


def scorer_of(metric: Metric, *, language_model_of: LanguageModelOf = language_model) -> Scorer:
    """The metric, ready to score. Reads rows; scoring itself reads none.

    `language_model_of` makes the language models of a judge: an optimizer brings one whose engines it guards. Raises
    `Invalid` (`metric_invalid`), for instance for code that is no longer registered.
    """
    return scorer(metric_spec(metric), metric_ports(metric, language_model_of=language_model_of))


def metric_ports(metric: Metric, *, language_model_of: LanguageModelOf = language_model) -> MetricPorts:
    """What the metric reaches outside of itself. Reads rows. Raises `Invalid` (`metric_invalid`, `program_invalid`)."""
    model = metric.language_model
    return MetricPorts(
        judge=_judge(metric, language_model_of),
        embedder=None if model is None else EmbeddingModel(language_model_spec(model)),
        functions=_usable_functions(metric.config),
    )


def refuse_unusable(*, actor: User, metric: Metric) -> None:
    """Raise `NotFound` or `Forbidden` unless `actor` may have the metric's judge asked."""
    if metric.judge_program is not None:
        program_policy.check(actor, "execute_as_tool", metric.judge_program)


def registered_metrics() -> Mapping[str, RegisteredMetric]:
    """The metrics of the settings by name. Raises `NotRegistrable`."""
    found: Mapping[str, RegisteredMetric] = _loaded_once(tuple(settings.SIGNET_METRICS.items()))
    return found


def judge_plan(metric: Metric) -> planning.Plan | None:
    """The plan of the metric's judge with its pinned prompts. Reads rows. Raises `Invalid` (`metric_invalid`)."""
    if metric.judge_program is None:
        return None
    return planning.plan_of(metric.judge_program, _pinned_prompts(metric), None)


def range_of(metric: Metric) -> Range | None:
    """Between which numbers the metric's scores lie; None when its code is not registered any more."""
    if metric.kind != MetricKind.CODE:
        return UNIT
    function = _usable_functions(metric.config).get(metric.config.get("function", ""))
    return None if function is None else function.range


def kinds_of_metrics() -> list[dict[str, Any]]:
    """Every kind for people and forms: what it does, a config to begin with, and the JSON Schema of its config."""
    return [
        {
            "kind": kind.value,
            "description": about.description,
            "example": dict(about.example),
            "config_schema": json_schema_of(kind),
        }
        for kind, about in ABOUT.items()
    ]


def _judge(metric: Metric, language_model_of: LanguageModelOf) -> JudgeProgram | None:
    plan = judge_plan(metric)
    return None if plan is None else JudgeProgram(plan.built, plan.models, plan.deadline_s, language_model_of)


def _pinned_prompts(metric: Metric) -> PromptSet:
    prompt_sets = PromptSet.objects.filter(program=metric.judge_program)
    pinned: PromptSet | None = prompt_sets.filter(pk=metric.config.get(PROMPT_SET)).first()
    if pinned is None:
        problem = Problem("unknown_prompt_set", _("The judge has no such prompt set."), f"config.{PROMPT_SET}")
        raise all_of([problem], code="metric_invalid", message=problem.message)
    return pinned


def _usable_functions(config: Mapping[str, Any]) -> Mapping[str, RegisteredMetric]:
    """The function that the config names, if it is registered and can be loaded."""
    name = config.get("function")
    path = settings.SIGNET_METRICS.get(name) if isinstance(name, str) else None
    if path is None:
        return {}
    try:
        found: Mapping[str, RegisteredMetric] = _loaded_once(((name, path),))
    except NotRegistrable:
        return {}
    return found
