"""Programs that answer from a provider on loopback."""

from __future__ import annotations

import itertools
from typing import Any

from mlops.models import LanguageModel, User
from mlops.types import Role
from programs.models import Program
from programs.services import create_program, create_signature, deploy_program, submit_program
from programs.services.modules import ModuleInput
from tests.factories import make_language_model, make_price, make_user
from tests.provider import Provider

_numbers = itertools.count(1)


def provided_model(provider: Provider, **fields: Any) -> LanguageModel:
    """A priced language model whose calls go to `provider`; the first one becomes the default."""
    price = fields.pop("price", {})
    fields.setdefault("is_default", not LanguageModel.objects.filter(is_default=True).exists())
    defaults = {"name": f"openai/provided-{next(_numbers)}", "api_base": provider.base_url, "max_retries": 0}
    model = make_language_model(**{**defaults, "timeout_s": 5, "deadline_s": 10, **fields})
    if price is not None:
        make_price(model, **price)
    return model


def make_program(
    *,
    shorthand: str = "question: str -> answer: str",
    name: str = "answering",
    kind: str = "predict",
    status: str = "production",
    actor: User | None = None,
    module: dict[str, Any] | None = None,
    **fields: Any,
) -> Program:
    """A program of one module `main`, brought to `status` by the verbs that people use."""
    actor = actor or make_user(Role.ADMIN.value)
    signature = create_signature(actor=actor, name=f"{name}-{next(_numbers)}", shorthand=shorthand)
    one = ModuleInput(key="main", kind=kind, signature=signature, **(module or {}))
    program = create_program(actor=actor, name=name, modules=[one], **fields)
    if status in ("testing", "production"):
        program = submit_program(actor=actor, program=program)
    if status == "production":
        program = deploy_program(actor=actor, program=program)
    return program
