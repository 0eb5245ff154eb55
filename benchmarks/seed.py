"""The rows that the benchmarks execute: a priced language model behind the provider, and the program `bench` on it.

PROVIDER_URL=http://127.0.0.1:9000/v1 python manage.py shell -c "from benchmarks.seed import seed; seed()"
"""

from __future__ import annotations

import os

from django.utils import timezone

from mlops.models import LanguageModel, User
from mlops.services.budgets import create_budget
from mlops.services.budgets.verbs import MAX_LIMIT
from mlops.services.history import operator
from mlops.services.language_models import create_language_model, set_default, set_secret
from mlops.services.prices import add_price
from programs.models import Program
from programs.services import ModuleInput, create_program, create_signature, deploy_program, submit_program
from programs.types import ModuleKind

CALLS_IN_FLIGHT = 1024
"""Above the number of clients of every scenario: the limit is not what is measured."""


def seed() -> None:
    """Make the model and put the program into production, by the same services as everybody."""
    actor = operator()
    program = _program(actor, _language_model(actor))
    deploy_program(actor=actor, program=submit_program(actor=actor, program=program), reason="benchmark")


def seed_with_budgets() -> None:
    """Three budgets in force beside it, which are never used up: of the program, the model and the installation."""
    seed()
    for target in (
        {"scope": "program", "program": "bench"},
        {"scope": "language_model", "language_model": LanguageModel.objects.get(name="openai/stub")},
        {"scope": "installation"},
    ):
        create_budget(actor=operator(), period="day", limit=MAX_LIMIT, **target)


def _language_model(actor: User) -> LanguageModel:
    model = create_language_model(
        actor=actor, name="openai/stub", api_base=os.environ["PROVIDER_URL"], concurrency_limit=CALLS_IN_FLIGHT
    )
    set_secret(actor=actor, model=model, variable="SIGNET_LM_BENCH")
    add_price(
        actor=actor,
        model=model,
        valid_from=timezone.now(),
        input_price=150_000,
        cached_input_price=75_000,
        output_price=600_000,
    )
    return set_default(actor=actor, model=model)


def _program(actor: User, model: LanguageModel) -> Program:
    signature = create_signature(
        actor=actor, name="bench", instructions="Answer the question.", shorthand="question: str -> answer: str"
    )
    module = ModuleInput("answer", ModuleKind.CHAIN_OF_THOUGHT.value, signature=signature, language_model=model)
    return create_program(actor=actor, name="bench", modules=[module])
