"""Which language models may answer, and which did: scores of other ones say nothing about the program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from executions.errors import language_models_changed
from executions.models import Evaluation, EvaluationScore, Metric
from executions.services.planning import Plan
from executions.services.scoring import judge_plan
from mlops.selectors import language_model_spec
from mlops.types import LanguageModelSpec

THEN = " > "
"""Between a model and the fallbacks that answer where it fails."""


def backends_of(plan: Plan) -> list[str]:
    """The language models of a program, each with its fallbacks in their order: `openai/large > openai/small`."""
    return _named(plan.models.values())


def backends_of_metric(metric: Metric) -> list[str]:
    """The same of a metric: of its judge, or its embedding model. Reads rows. Raises `Invalid` (`metric_invalid`)."""
    plan = judge_plan(metric)
    models = [] if plan is None else list(plan.models.values())
    if metric.language_model is not None:
        models.append(language_model_spec(metric.language_model))
    return _named(models)


def refuse_other_models(evaluation: Evaluation, plan: Plan, scores: Iterable[EvaluationScore]) -> None:
    """Raise `Conflict` (`language_models_changed`) unless those would answer that were to when it was asked for."""
    if backends_of(plan) != evaluation.backends:
        raise language_models_changed()
    if any(score.backends not in (None, backends_of_metric(score.metric)) for score in scores):
        raise language_models_changed()


def stand_ins(backends: Iterable[str] | None) -> frozenset[str]:
    """Names of the models that answer only where another one fails."""
    chains = [backend.split(THEN) for backend in backends or ()]
    return frozenset(name for chain in chains for name in chain[1:]) - {chain[0] for chain in chains}


def answered_by(usage: Mapping[str, Any], names: frozenset[str]) -> frozenset[str]:
    """Those of `names` that answered, as the usage of an item tells it."""
    return names.intersection(usage.get("by_model", ()))


def _named(models: Iterable[LanguageModelSpec]) -> list[str]:
    return sorted({THEN.join((model.name, *(fallback.name for fallback in model.fallbacks))) for model in models})
