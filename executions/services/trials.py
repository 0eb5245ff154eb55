"""What trying a metric may cost, before a model is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from executions.errors import price_of_metric_unknown
from executions.models import Metric
from executions.services.planning import Plan
from executions.services.reserving import most_tokens
from executions.services.scoring import judge_plan
from mlops.encoding import encoded
from mlops.models import LanguageModel, User
from mlops.selectors import language_model_spec
from mlops.services.budgets import Charged
from mlops.types import TokenUsage


def charged_for(*, user: User, metric: Metric, example: Mapping[str, Any], output: Mapping[str, Any]) -> Charged:
    """To which budgets a score of `output` for `example` counts, and the most that is expected of it.

    Raises `InsufficientCredits` (`price_unknown`) where `user` is stopped by credits and nobody can tell.
    """
    content = encoded([metric.config, example, output], default=str)
    if (plan := judge_plan(metric)) is not None:
        return _of_judge(user, plan, content * len(plan.built.inputs.fields))
    if metric.language_model is not None:
        return _of_embedding(user, metric.language_model, content)
    return Charged(user.pk, "", 0, {})


def _of_judge(user: User, plan: Plan, content: bytes) -> Charged:
    """`content` once for each input, since an input may be all of it."""
    if user.is_stopped_by_credits and (plan.has_unknown_price or plan.expected.is_beyond_prices(content)):
        raise price_of_metric_unknown()
    return plan.charged(user.pk, content)


def _of_embedding(user: User, model: LanguageModel, content: bytes) -> Charged:
    spec = language_model_spec(model)
    if spec.price is None:
        if user.is_stopped_by_credits:
            raise price_of_metric_unknown()
        return Charged(user.pk, "", 0, {spec.name: 0})
    usage = TokenUsage(input=most_tokens(content), requests=1)
    cost = max(spec.price.at_most(usage), int(not spec.price.is_free))
    return Charged(user.pk, "", cost, {spec.name: cost})
