"""What a compile is said to take, before it begins: proposals at the price of the model that makes them."""

from __future__ import annotations

from typing import Any

import pytest

from datasets.models import Dataset
from mlops.errors import InsufficientCredits, Invalid
from mlops.models import CreditEntry, LanguageModel, User
from mlops.services.credits import credits_for
from optimizations.models import Optimization
from optimizations.services import estimate_optimization
from optimizations.types import Budget
from tests.factories import make_language_model, make_price
from tests.fakes import fields
from tests.optimizations import compiling
from tests.optimizations.compiling import make_dataset, make_metric, make_program, start, worked
from tests.provider import Provider

pytestmark = pytest.mark.django_db(transaction=True)

COPRO: dict[str, Any] = {"optimizer": "copro", "params": {"breadth": 3, "depth": 2}}
"""Five proposals: two besides the program's own instructions, then three."""


def prompt_model(base_url: str, **options: Any) -> LanguageModel:
    """A priced model that proposes instructions; the program's own model is the example matcher, free of charge."""
    made = make_language_model(name="openai/proposer", api_base=base_url, max_retries=0, **options)
    make_price(made, input_price=2_000_000, cached_input_price=1_000_000, output_price=8_000_000)
    return made


def wanted(actor: User, model: LanguageModel) -> dict[str, Any]:
    return {
        "program": make_program(actor),
        "dataset": make_dataset(actor, 12),
        "validation_set": make_dataset(actor, 6, type="validation", offset=100),
        "metric": make_metric(actor),
        "prompt_model": model,
        **COPRO,
    }


def test_proposals_cost_what_the_prompt_model_costs(erin: User, provider: Provider) -> None:
    compiling.matcher()
    given = wanted(erin, prompt_model(provider.base_url, parameters={"max_tokens": 500}))
    estimate = estimate_optimization(actor=erin, **given)
    assert estimate.cost is not None
    assert estimate.cost == estimate.optimizer_cost  # judging is the matcher's alone
    assert estimate.cost.low >= 5 * 75 * 1_000_000  # what COPRO says at least, all of it cached
    assert estimate.cost.high >= 10 * (500 * 8_000_000 + 3 * 500 * 2_000_000)  # answers, and those that it shows again
    job = start(erin, **given)
    reserved = CreditEntry.objects.get(subject_id=job.pk, kind="reserve")
    assert -reserved.amount == credits_for(round(estimate.cost.high)) > 0


def test_what_the_prompt_model_used_is_within_the_estimate(erin: User, provider: Provider) -> None:
    compiling.matcher()
    provider.answer(lambda body: fields(proposed_instruction="Say it.", proposed_prefix_for_output_field="Intent:"))
    job = worked(start(erin, **wanted(erin, prompt_model(provider.base_url))))
    assert (job.state, job.finish_reason) == ("completed", "finished")
    assert len(provider.requests) == 5
    assert job.baseline_evaluation is not None
    assert job.best_evaluation is not None
    judging = [job.baseline_evaluation, job.best_evaluation]
    cost, tokens = job.cost or 0, job.total_tokens + sum(row.total_tokens for row in judging)
    assert [row.cost for row in judging] == [0, 0]
    assert job.estimate["cost"][0] < cost < job.estimate["cost"][1]
    assert job.estimate["tokens"][0] < tokens < job.estimate["tokens"][1]


@pytest.mark.parametrize("limit", ["cost", "tokens", "calls"])
def test_a_budget_below_what_proposals_need_is_refused(erin: User, provider: Provider, limit: str) -> None:
    compiling.matcher()
    given = wanted(erin, prompt_model(provider.base_url))
    estimate = estimate_optimization(actor=erin, **given)
    needed = getattr(estimate, limit)
    with pytest.raises(Invalid) as caught:
        start(erin, **given, budget=Budget(**{limit: int(needed.low) - 1}))
    assert (caught.value.code, caught.value.field) == ("budget_too_small", f"budget.{limit}")
    assert not Optimization.objects.exists()
    assert not CreditEntry.objects.filter(kind="reserve").exists()
    assert not Dataset.objects.exclude(frozen_at=None).exists()
    assert provider.requests == []
    assert start(erin, **given, budget=Budget(**{limit: int(needed.low)})).state == "pending"


def test_a_prompt_model_without_price_makes_the_cost_unknown(erin: User, provider: Provider) -> None:
    compiling.matcher()
    model = make_language_model(name="openai/unpriced", api_base=provider.base_url)
    given = wanted(erin, model)
    assert estimate_optimization(actor=erin, **given).cost is None
    with pytest.raises(InsufficientCredits) as caught:
        start(erin, **given, budget=Budget(cost=10**12))
    assert caught.value.code == "price_unknown"
    assert "openai/unpriced" in caught.value.message
    assert not Optimization.objects.exists()


def test_without_proposals_the_prompt_model_costs_nothing(erin: User, provider: Provider) -> None:
    compiling.matcher()
    given = {**wanted(erin, prompt_model(provider.base_url)), "optimizer": "labeled_few_shot", "params": {}}
    estimate = estimate_optimization(actor=erin, **given)
    assert estimate.cost is not None
    assert estimate.cost.as_json() == [0, 0]
    assert estimate.calls.as_json() == [12, 12]
