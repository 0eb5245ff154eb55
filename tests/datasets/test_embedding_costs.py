"""What embeddings of imports and of searches cost: counted to budgets, refused when they are used up, never free."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from pytest_django import Settings

from datasets import services
from datasets.models import Corpus, Import, Passage
from datasets.services.imports import work_imports
from mlops.errors import DomainError
from mlops.models import Budget, BudgetPeriod, BudgetSlice, CreditEntry, LanguageModel, User
from mlops.runtime.embeddings import MAX_TEXTS
from mlops.selectors import forget_language_models, proven_balance
from mlops.services.budgets import update_budget
from mlops.services.credits import credits_for, grant_credits
from mlops.services.history import operator
from mlops.types import Role
from tests.factories import make_language_model, make_price, make_user
from tests.mlops.budgets.making import make_budget
from tests.provider import Provider, vectors

pytestmark = pytest.mark.django_db

PRICE = 4_000_000
"""Pico-dollars per token."""


@pytest.fixture(autouse=True)
def _own_world(settings: Settings, tmp_path: Path) -> Iterator[None]:
    settings.MEDIA_ROOT = tmp_path
    forget_language_models()
    yield
    forget_language_models()


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture
def model(provider: Provider) -> LanguageModel:
    found = make_language_model(
        name="openai/vectors", kind="embedding", api_base=provider.base_url, timeout_s=5, deadline_s=5, max_retries=0
    )
    make_price(found, input_price=PRICE, cached_input_price=0, output_price=0)
    return found


def imported(actor: User, model: LanguageModel, texts: int = 4) -> Import:
    content = "\f".join(f"The text of number {number}" for number in range(texts)).encode()
    job = services.import_corpus(
        actor=actor, name="support", file=ContentFile(content, "support.md"), embedding_model=model
    )
    assert work_imports() == 1
    return Import.objects.get(pk=job.pk)


def searched(actor: User, corpus: Corpus, query: str = "number") -> str:
    """The code of the refusal, if it is refused."""
    try:
        services.search_passages(actor=actor, corpus=corpus, query=query, search="vector")
    except DomainError as refusal:
        return refusal.code
    return ""


def budgets(user: User, model: LanguageModel, limit: int = 10**12) -> list[Budget]:
    return [
        make_budget(limit=limit),
        make_budget(scope="language_model", language_model=model, limit=limit),
        make_budget(scope="user", user=user, limit=limit),
    ]


def spent() -> int:
    """What every budget says that was spent, and nothing else is held."""
    ((amount, allocated, in_doubt),) = set(BudgetPeriod.objects.values_list("spent", "allocated", "in_doubt"))
    assert (allocated, in_doubt) == (amount, 0)
    assert not BudgetSlice.objects.exists()
    return int(amount)


def limited(credits: int) -> User:
    """An engineer whom so many micro-credits stop."""
    engineer = make_user(Role.ML_ENGINEER.value, has_hard_limit=True)
    grant_credits(actor=operator(), user=engineer, amount=credits, key=f"test:{engineer.pk}")
    engineer.refresh_from_db()
    return engineer


def test_imports_and_searches_count_to_every_budget_to_the_pico_dollar(erin: User, model: LanguageModel) -> None:
    budgets(erin, model)
    job = imported(erin, model, MAX_TEXTS + 4)
    tokens = job.report["embedding"]["input_tokens"]
    assert (job.state, spent()) == ("completed", tokens * PRICE)

    assert searched(erin, Corpus.objects.get(), "lost card") == ""
    assert spent() == (tokens + 3) * PRICE
    assert BudgetPeriod.objects.count() == 3
    assert proven_balance(erin) == -credits_for(tokens * PRICE) - credits_for(3 * PRICE)


@pytest.mark.parametrize("used_up", [0, 1, 2], ids=["installation", "language_model", "user"])
def test_a_used_up_budget_ends_searches_and_imports_before_anything_is_asked(
    erin: User, provider: Provider, model: LanguageModel, used_up: int
) -> None:
    corpus = imported(erin, model).corpus
    assert corpus is not None
    asked, balance = len(provider.requests), proven_balance(erin)
    update_budget(actor=operator(), budget=budgets(erin, model)[used_up], fields={"limit": 0})

    assert searched(erin, corpus) == "budget_exhausted"
    job = imported(erin, model)

    assert (job.state, job.error_code) == ("failed", "budget_exhausted")
    assert len(provider.requests) == asked
    assert proven_balance(erin) == balance
    assert spent() == 0
    assert services.search_passages(actor=erin, corpus=corpus, query="number", search="bm25")


def test_an_import_that_uses_up_a_budget_stops_there_and_is_charged_what_it_used(
    erin: User, provider: Provider, model: LanguageModel
) -> None:
    expected = sum(len(f"The text of number {number}") for number in range(MAX_TEXTS)) // 3 + 1
    budgets(erin, model, limit=expected * PRICE * 3 // 2)
    job = imported(erin, model, 2 * MAX_TEXTS)
    assert (job.state, job.error_code, len(provider.requests)) == ("failed", "budget_exhausted", 1)
    used = job.report["embedding"]["input_tokens"] * PRICE
    assert spent() == used > 0
    assert proven_balance(erin) == -credits_for(used)
    assert not Passage.objects.exists()


def test_what_tells_no_usage_is_paid_as_it_was_held_back(erin: User, provider: Provider, model: LanguageModel) -> None:
    budgets(erin, model)
    provider.script(vectors(*[[1.0, 2.0]] * 4, usage={}))
    job = imported(erin, model)
    reserved = -CreditEntry.objects.get(key=f"import:{job.pk}").amount
    told = {"model": "openai/vectors", "input_tokens": 0, "cost_usd": None, "known_cost_usd": "0"}
    assert (job.state, job.report["embedding"]) == ("completed", told)
    assert proven_balance(erin) == -reserved < 0
    assert credits_for(spent()) == reserved
    assert set(BudgetPeriod.objects.values_list("unpriced", flat=True)) == {1}


def test_a_limited_account_embeds_nothing_whose_cost_nobody_knows(erin: User, provider: Provider) -> None:
    free = make_language_model(name="openai/unpriced", kind="embedding", api_base=provider.base_url)
    corpus = imported(erin, free).corpus
    assert corpus is not None
    asked = len(provider.requests)
    poor = limited(10**6)
    assert searched(poor, corpus) == "price_unknown"
    assert imported(poor, free).error_code == "price_unknown"
    assert len(provider.requests) == asked
    assert proven_balance(poor) == 10**6
    assert searched(erin, corpus) == ""


def test_what_a_search_may_cost_is_held_back(erin: User, provider: Provider, model: LanguageModel) -> None:
    corpus = imported(erin, model).corpus
    assert corpus is not None
    asked, long = len(provider.requests), "x" * 3_000
    most: Any = credits_for(1_001 * PRICE)
    assert searched(limited(most - 1), corpus, long) == "insufficient_credits"
    assert len(provider.requests) == asked
    assert searched(limited(most), corpus, long) == ""
