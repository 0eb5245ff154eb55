"""Minimal valid rows. They stand in where a test is about something else."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

from django.utils import timezone

from mlops.models import ApiToken, LanguageModel, ModelPrice, User
from mlops.services.credits import grant_credits
from mlops.services.history import operator
from mlops.services.tokens import create_token
from mlops.types import MICRO_PER_CREDIT, Role
from programs.models import Program, Signature
from programs.services import (
    ModuleInput,
    archive_program,
    create_program,
    create_signature,
    deploy_program,
    submit_program,
)
from programs.types import ProgramStatus

_numbers = itertools.count(1)


def make_user(role: str = Role.ML_USER.value, **fields: Any) -> User:
    """A saved account; `credits` (whole ones) are granted through the ledger."""
    credits = fields.pop("credits", 0)
    number = next(_numbers)
    user: User = User.objects.create_user(
        fields.pop("username", f"user{number}"),
        f"user{number}@example.org",
        fields.pop("password", None),
        role=role,
        **fields,
    )
    if credits:
        from_ledger(user, credits)
    return user


def from_ledger(user: User, credits: int) -> None:
    """Grant whole credits, so that cached balance and ledger agree."""
    grant_credits(
        actor=operator(), user=user, amount=credits * MICRO_PER_CREDIT, key=f"test:{next(_numbers)}", note="test"
    )
    user.refresh_from_db(fields=["ml_credits"])


def make_token(user: User, **fields: Any) -> tuple[ApiToken, str]:
    """A usable token of `user` and its raw form."""
    return create_token(actor=user, user=user, name=fields.pop("name", "test"), **fields)


def make_language_model(**fields: Any) -> LanguageModel:
    number = next(_numbers)
    return LanguageModel.objects.create(**{"name": f"openai/test-{number}", **fields})


def make_price(model: LanguageModel, **fields: Any) -> ModelPrice:
    return ModelPrice.objects.create(
        model=model,
        **{
            "valid_from": timezone.now() - timedelta(days=1),
            "input_price": 400_000,
            "cached_input_price": 100_000,
            "output_price": 1_600_000,
            **fields,
        },
    )


def make_signature(shorthand: str = "message: str -> intent: str", **fields: Any) -> Signature:
    return create_signature(
        actor=operator(), **{"name": f"signature{next(_numbers)}", "shorthand": shorthand, **fields}
    )


def make_default_language_model() -> LanguageModel:
    """The default chat model, made on first use."""
    found: LanguageModel | None = LanguageModel.objects.filter(is_default=True, kind="chat").first()
    return found or make_language_model(is_default=True)


def make_program(
    *, status: str = ProgramStatus.DRAFT.value, shorthand: str = "message: str -> intent: str", **fields: Any
) -> Program:
    """A program with one `predict` module named `classify` unless `modules` says otherwise, brought to `status`."""
    if "modules" not in fields:
        fields["modules"] = [ModuleInput(key="classify", signature=make_signature(shorthand))]
    program = create_program(actor=operator(), **{"name": f"program{next(_numbers)}", **fields})
    return bring_to(program, status)


def bring_to(program: Program, status: str) -> Program:
    """Walk the life cycle as far as `status`."""
    make_default_language_model()
    if status != ProgramStatus.DRAFT:
        program = submit_program(actor=operator(), program=program)
    if status in (ProgramStatus.PRODUCTION, ProgramStatus.ARCHIVED):
        program = deploy_program(actor=operator(), program=program)
    if status == ProgramStatus.ARCHIVED:
        program = archive_program(actor=operator(), program=program)
    return program
